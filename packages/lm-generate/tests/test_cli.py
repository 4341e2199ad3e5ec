"""The command line as a user meets it: in processes of its own where the process is the point."""

import inspect
import io
import json
import os
import signal
import subprocess
import sys

import pytest
from lm_generate.cli import run, write
from lm_generate.serving.command import serve
from lm_generate.terminal.short_help import HELP_ALL
from tiny_engines import save_run, save_tiny, tiny_engine

COMMAND = [sys.executable, "-m", "lm_generate"]
ENDLESS = ["--max-tokens", "10000000", "--min-tokens", "10000000", "--roll", "--seed", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("cli") / "model"))


def test_help_imports_no_torch_and_states_the_order_of_sampling():
    code = (
        "import sys\nfrom lm_generate.cli import run\nassert run(['--help-all']) == 0\n"
        "assert not {'torch', 'lm_core', 'lm_tokenizer'} & set(sys.modules), 'heavy'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    words = " ".join(done.stdout.split())
    assert "in this order: bias, penalties, temperature, top-k, top-p, min-p, typical, then one draw" in words
    for option in ("--prompt", "--max-tokens", "--top-p", "--seed", "--no-verify", "--no-heal"):
        assert option in words


def test_a_prompt_is_continued_with_its_text_first_and_the_figures_on_standard_error(model, capsys):
    code = run(["--prompt", "def", "--model", model, "--max-tokens", "12", "--seed", "3", "--no-heal"])
    out, err = capsys.readouterr()
    assert code == 0
    assert out.rstrip("\n") == ("def" + tiny_engine().generate("def", max_tokens=12, seed=3).text).rstrip(
        "\n"
    )
    assert f"model: {model} (" in err
    assert "12 tokens" in err
    assert "seed 3]" in err


def test_without_a_model_the_newest_run_writes_and_is_named(tmp_path, monkeypatch, capsys):
    save_run(tmp_path / "runs", "first", 5)
    monkeypatch.chdir(tmp_path)
    assert run(["--prompt", "def", "--max-tokens", "3", "--seed", "0"]) == 0
    assert (
        f"model: {os.path.join('runs', 'first', 'checkpoints', 'step-00000005')} (newest run; "
        in capsys.readouterr().err
    )


def test_json_has_one_object_a_line_for_each_sample(model, capsys):
    options = ["--max-tokens", "5", "--min-tokens", "1", "--n", "3", "--seed", "1", "--logprobs", "2"]
    assert run(["--prompt", "def", "-m", model, *options, "--json", "-q"]) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [row["row"] for row in rows] == [0, 1, 2]
    assert len({row["text"] for row in rows}) > 1
    for row in rows:
        assert row["prompt"] == "def"
        assert row["finish_reason"] in ("length", "stop")
        assert len(row["logprobs"]) == len(row["ids"])
        assert len(row["logprobs"][0]["top"]) == 2


def test_the_prompt_can_come_from_standard_input_or_a_file(model, tmp_path, monkeypatch, capsys):
    options = ["-m", model, "--max-tokens", "5", "--temperature", "0", "-q", "--no-heal"]
    wanted = "naïve" + tiny_engine().generate("naïve", max_tokens=5, temperature=0).text
    (tmp_path / "prompt.txt").write_text("naïve\n", encoding="utf-8")
    assert run(["--file", str(tmp_path / "prompt.txt"), *options]) == 0
    assert capsys.readouterr().out.rstrip("\n") == wanted.rstrip("\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("naïve\n".encode())))
    assert run(["--prompt", "-", *options]) == 0
    assert capsys.readouterr().out.rstrip("\n") == wanted.rstrip("\n")


def test_score_prints_bits_per_byte(model, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("def find(names):", encoding="utf-8")
    assert run(["score", str(tmp_path / "text.txt"), "-m", model, "--json", "-q"]) == 0
    got = json.loads(capsys.readouterr().out)
    assert got["bits_per_byte"] == pytest.approx(tiny_engine().score("def find(names):").bits_per_byte)
    assert run(["score", str(tmp_path / "text.txt"), "-m", model, "-q"]) == 0
    assert "bits per byte" in capsys.readouterr().out


def test_verify_says_whole_or_names_what_changed(tmp_path, capsys):
    run_folder = save_run(tmp_path, "r", 1, 2)
    assert run(["verify", str(run_folder)]) == 0
    assert capsys.readouterr().out.count(": whole (") == 2
    config = run_folder / "checkpoints" / "step-00000001" / "config.json"
    config.write_text(config.read_text().replace("32", "33"))
    assert run(["verify", str(run_folder)]) == 1
    out = capsys.readouterr().out
    assert out.count(": whole (") == 1
    assert f"{config} is damaged" in out
    assert run(["verify", str(config.parent)]) == 1  # the checkpoint alone
    assert f"{config} is damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prmpt", "x"], "Unknown option: --prmpt. Did you mean --prompt?"),
        (["--prompt", "x", "--top-k", "many"], "unable to convert"),
        (["--prompt", "x", "--top-p", "2"], "top_p must lie in (0, 1]"),
        (["--prompt", "x", "--temperature", "nan"], "temperature must be a finite number"),
        (["--prompt", "x", "--seed", "-1"], "seed must be a whole number from 0"),
        (["--prompt", "x", "--n", "0"], "n must be a whole number from 1"),
        (["--prompt", "x", "--top-k", "1.5"], 'unable to convert "1.5" into int'),
        (["--prompt", "x", "--threads", "0"], "threads must be a whole number from 1"),
        (["--prompt", "x", "--threads", "1025"], "threads must be at most 1024, got 1025"),
        (["--prompt", "x", "--min-p", "2"], "min_p must lie in [0, 1]"),
        (
            ["--prompt", "x", "--logit-bias", "a=1"],
            "--logit-bias takes ID=VALUE, such as 5=-inf or 7=2.5; got 'a=1'",
        ),
        (["--prompt", "x", "--min-tokens", "9", "--max-tokens", "3"], "min_tokens (9) must not be above"),
        (["--prompt", "x", "--stop", ""], "every stop string needs at least one character"),
        (["--prompt", "x", "--file", "y"], "give --prompt or --file, not both"),
        (["--file", "nowhere.txt"], "cannot read nowhere.txt: No such file"),
        (["--prompt", "x", "--model", "nowhere"], "there is no folder nowhere"),
        (["--prompt", "x"], "train one with `uv run --package lm-train train`"),
        (["verify", "nowhere"], "there is no folder nowhere"),
        (["score", "nowhere.txt"], "cannot read nowhere.txt"),
        (["hello", "world"], 'write --prompt "hello world"'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lm-generate: ")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt", "<|endoftext|>"], "<|endoftext|>"),
        (["--prompt", "def", "--max-tokens", "100"], "ask for at most"),
        (["--prompt", "def", "--device", "tpu"], "device 'tpu' cannot be used here"),
        (["--prompt", "\udcff"], "lone surrogate"),
    ],
)
def test_mistakes_that_only_the_model_can_see_are_one_message_too(options, message, model, capsys):
    assert run([*options, "-m", model, "-q"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("lm-generate: ")
    assert message in err


def test_several_samples_are_those_of_the_batch_and_shown_one_below_the_other(model, capsys):
    options = ["--max-tokens", "9", "--seed", "5", "--no-heal", "--n", "3"]
    assert run(["--prompt", "def", "-m", model, *options]) == 0
    out, err = capsys.readouterr()
    rows = tiny_engine().batch(["def"] * 3, max_tokens=9, seed=5)
    wanted = "".join(
        f"--- {i} of 3 ---\ndef{row.text.removesuffix(chr(10))}\n" for i, row in enumerate(rows, 1)
    )
    assert out == wanted
    assert "[3 rows, " in err
    assert "seed 5]" in err


def test_sampling_options_reach_the_sampler(model, capsys):
    options = {"top_k": 20, "min_p": 0.02, "typical_p": 0.9, "repetition_penalty": 1.3, "presence_penalty": -0.5,
               "frequency_penalty": 0.2, "penalty_window": 7, "min_tokens": 3, "temperature": 1.2}  # fmt: skip
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    bias = ["--logit-bias", "70=4.5", "--logit-bias", "10=-inf"]
    code = run(
        [
            "--prompt",
            "def",
            "-m",
            model,
            "--max-tokens",
            "20",
            "--seed",
            "2",
            "--no-heal",
            "-q",
            *flags,
            *bias,
        ]
    )
    assert code == 0
    wanted = tiny_engine().generate(
        "def", max_tokens=20, seed=2, logit_bias={70: 4.5, 10: -float("inf")}, **options
    )
    assert capsys.readouterr().out.rstrip("\n") == ("def" + wanted.text).rstrip("\n")


def test_explain_shows_the_text_and_a_line_for_each_token(model, capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    options = [
        "--prompt",
        "def",
        "-m",
        model,
        "--max-tokens",
        "6",
        "--seed",
        "1",
        "--top-k",
        "3",
        "--no-heal",
    ]
    assert run([*options, "--explain", "--logprobs", "4", "-q"]) == 0
    out = capsys.readouterr().out
    explanation = tiny_engine().explain("def", top=4, max_tokens=6, seed=1, top_k=3)
    result, told = explanation.result, explanation.tokens
    assert out.count("top_k") >= len(result.ids)
    for entry in told:
        assert f"{entry.chosen.before:7.1%} {entry.chosen.after:7.1%} {entry.rank:5}" in out
    assert "\x1b[" not in out  # no colours where there is no terminal
    assert run([*options, "--explain", "--json", "-q"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [entry["chosen"]["id"] for entry in record["explained"]] == list(result.ids)


def test_a_file_that_is_no_text_is_refused_naming_the_byte(tmp_path, capsys):
    (tmp_path / "x.bin").write_bytes(b"abc\xff")
    assert run(["--file", str(tmp_path / "x.bin")]) == 2
    assert "x.bin is not UTF-8 text: byte 0xff at offset 3" in capsys.readouterr().err


def test_a_closed_pipe_ends_it_quietly(model):
    options = ["--prompt", "def", "-m", model, *ENDLESS, "-q"]
    process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no device that is always full")
def test_a_full_disk_is_one_message_and_a_closed_output_is_none(model):
    command = " ".join([*COMMAND, "--prompt", "def", "-m", str(model), "--max-tokens", "2", "-q"])
    for target, code, said in ((">/dev/full", 1, "lm-generate: the disk is full"), (">&-", 0, "")):
        result = subprocess.run(
            ["bash", "-c", f"{command} {target}"], stderr=subprocess.PIPE, text=True, check=False
        )
        assert result.returncode == code
        assert result.stderr.startswith(said)
        assert result.stderr.count("\n") == bool(said)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_ends_it_with_130_and_no_traceback(model):
    options = ["--prompt", "def", "-m", model, *ENDLESS]
    process = subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(40)  # it is writing
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.decode().rstrip().endswith("stopped")
    assert b"Traceback" not in err


def test_no_arguments_show_the_help(capsys):
    assert run([]) == 0
    assert "--prompt" in capsys.readouterr().out


def test_text_cannot_take_over_a_terminal():
    from lm_generate.terminal.show import visible

    assert visible("a\n\tb\x1b[2J\r\x7f\x9b日") == "a\n\tb␛[2J␍␡\ufffd日"


def test_help_fits_a_screen_and_help_all_has_every_setting(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in ([], ["score"], ["verify"], ["serve"], ["quality"], ["export"], ["completion"]):
        assert run([*command, "--help"]) == 0
        assert len(capsys.readouterr().out.splitlines()) < 50, command
    assert run(["--help-all"]) == 0
    whole = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')} " in whole for name in inspect.signature(write).parameters)


def test_a_command_behind_it_shows_all_of_its_settings(capsys):
    assert run(["serve", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')} " in shown for name in inspect.signature(serve).parameters)
    assert HELP_ALL not in shown


def test_bash_completes_commands_settings_and_choices(capsys):
    assert run(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    for words, offered in (("sc", "score"), ("--temp", "--temperature"), ("--log c", "console-json")):
        line = ["lm-generate", *words.split(" ")]
        ask = f'COMP_WORDS=({" ".join(line)}); COMP_CWORD={len(line) - 1}; _lm_generate; echo "${{COMPREPLY[*]}}"'
        heard = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
        assert heard.stdout.strip() == offered
    ask = "complete -p lm-generate"
    heard = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
    assert "-o default" in heard.stdout  # where it has no words, files: score my.txt
