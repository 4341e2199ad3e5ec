"""The command line: help without torch, precedence, and one plain message for every mistake."""

import inspect
import os
import subprocess
import sys
import tomllib

import pytest
from lm_train import cli, layers, short_help
from lm_train.config import BUDGETS, TrainConfig
from lm_train.config_file import build
from lm_train.layers import sources


@pytest.fixture
def settings(capsys, monkeypatch, tmp_path):
    """What `--print-config` gives for some arguments."""
    monkeypatch.chdir(tmp_path)

    def parse(*arguments):
        assert cli.run([*arguments, "--print-config"]) == 0
        return build(tomllib.loads(capsys.readouterr().out))

    return parse


@pytest.fixture
def mistake(capsys, monkeypatch, tmp_path):
    """The message of a call that must end with exit code 2."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        assert cli.run(list(arguments)) == 2
        err = capsys.readouterr().err
        assert "Traceback" not in err
        return err

    return call


def test_help_print_config_and_prepare_import_no_torch(tmp_path):
    code = (
        "import contextlib, io, sys\nfrom lm_train.cli import run\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "    codes = run(['--help']), run(['--print-config']), run(['report', '--help'])\n"
        "    wrong = run(['--modle.d-model', '3'])\n"
        "    made = run(['prepare', 'text.txt', '--out', 'made', '--vocab-size', '300'])\n"
        "assert codes == (0, 0, 0) and wrong == 2 and made == 0, (codes, wrong, made)\n"
        "assert '--model.d-model' in out.getvalue() and 'Minutes of training' in out.getvalue()\n"
        "print('torch' in sys.modules, 'matplotlib' in sys.modules)\n"
    )
    (tmp_path / "text.txt").write_text("one line of text\n" * 200)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    assert done.stdout.strip() == "False False"


def test_the_module_and_the_script_are_the_same_program():
    done = subprocess.run(
        [sys.executable, "-m", "lm_train", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "0.1.0"


def test_a_flag_goes_before_the_environment_before_a_later_file_before_an_earlier_one(
    settings, monkeypatch, tmp_path
):
    (tmp_path / "a.toml").write_text("seed = 1\nbatch = 11\n[optim]\nlr = 0.1\nclip = 0.1")
    (tmp_path / "b.toml").write_text("batch = 12\n[optim]\nlr = 0.2")
    monkeypatch.setenv("LM_OPTIM_LR", "0.3")
    monkeypatch.setenv("LM_VOCAB_SIZE", "333")
    found = settings("--config", "a.toml", "--config=b.toml", "--vocab-size", "444")
    assert (found.seed, found.batch, found.optim.lr, found.optim.clip, found.vocab_size) == (
        1,
        12,
        0.3,
        0.1,
        444,
    )


def test_print_config_says_the_default_budget(settings):
    assert settings() == TrainConfig(minutes=1.0)


def test_a_budget_replaces_lower_ones_of_any_unit(settings, monkeypatch, tmp_path):
    (tmp_path / "a.toml").write_text("minutes = 30")
    assert settings("--config", "a.toml", "--steps", "5") == TrainConfig(steps=5)
    monkeypatch.setenv("LM_TOKENS", "1000")
    assert settings("--config", "a.toml") == TrainConfig(tokens=1000)
    assert settings("--config", "a.toml", "--steps=5") == TrainConfig(steps=5)


def test_lr_takes_its_steps_from_a_flag_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("LM_TOKENS", "1000")
    lower = sources(["lr", "--config", "nano", "--steps", "50"])
    assert [layer.source for layer in lower] == ["nano"]
    assert not set(BUDGETS) & set(lower[-1].config)
    assert set(BUDGETS) & set(sources(["--config", "nano"], {})[-1].config)


def test_the_environment_can_name_a_recipe(settings, monkeypatch):
    monkeypatch.setenv("LM_CONFIG", "shakespeare")
    assert settings().data == "shakespeare"


def test_lists_are_given_by_repeating_a_flag(settings):
    assert settings("--samples.prompts", "a b", "--samples.prompts", "c").samples.prompts == ("a b", "c")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model.d-modle", "3"], "Unknown option: --model.d-modle. Did you mean --model.d-model?"),
        (["--minutes", "soon"], 'Invalid value for --minutes: unable to convert "soon" into float.'),
        (["--minutes", "-1"], "minutes must be above 0, got -1.0"),
        (["--steps", "3", "--minutes", "3"], "give one budget, got minutes and steps"),
        (["--model.norm", "batch"], 'Invalid value "batch" for --model.norm. Choose from: "rms", "layer".'),
        (["reprot", "x"], 'no such command: reprot; did you mean "report"?'),
        (["corpus.txt"], "--data corpus.txt"),
        (["--config", "nowhere.toml"], "--config nowhere.toml: no such file or recipe"),
        (
            ["--resume"],
            "--resume: no run under runs/ was stopped; name the run to continue: --resume runs/NAME",
        ),
        (["--resume", "nowhere"], "nowhere: no such run folder"),
        (["--resume", "."], ".: not a run folder: it has no config.toml"),
        (["report"], "no run to report on"),
        (["report", "nowhere"], "nowhere: no such run folder"),
        (["verify"], "nothing to verify"),
        (["verify", "nowhere"], "nowhere: no such folder"),
        (["--data", "nowhere.txt"], "there is no file or folder nowhere.txt"),
        (["--tokenizer", "nowhere.json"], "--tokenizer nowhere.json: no such file"),
        (["--model.n-heads", "3", "--data", "stories:1kb"], "n_heads (3) must divide d_model (128)"),
        (
            ["--data", "stories:1kb", "--model.context", "4096"],
            "need at least context + 1 = 4,097 tokens for one window",
        ),
        (["--device", "cuda", "--data", "stories:1kb"], "--device cuda: not available here (available: cpu)"),
    ],
)
def test_a_mistake_is_one_plain_message(mistake, arguments, message, monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert message in mistake(*arguments)
    assert not list(tmp_path.glob("runs/*"))


def test_a_wrong_value_in_the_environment_names_its_variable(mistake, monkeypatch):
    monkeypatch.setenv("LM_BATCH", "many")
    assert 'Invalid value for [batch] from LM_BATCH: unable to convert "many" into int.' in mistake(
        "--print-config"
    )


def test_a_misspelt_name_in_the_environment_is_an_error(mistake, monkeypatch):
    monkeypatch.setenv("LM_LICENSE_FILE", "another program's")
    monkeypatch.setenv("LM_OPTIM_LRR", "0.1")
    assert "LM_OPTIM_LRR names no setting; did you mean LM_OPTIM_LR?" in mistake("--print-config")


def test_a_fraction_is_no_whole_number(mistake, monkeypatch):
    assert 'Invalid value for --steps: unable to convert "1.5" into int.' in mistake("--steps", "1.5")
    assert 'Invalid value for --vocab-size: unable to convert "3e-1" into int.' in mistake(
        "prepare", "x", "--vocab-size", "3e-1"
    )
    monkeypatch.setenv("LM_MODEL_N_LAYERS", "2.5")
    assert 'from LM_MODEL_N_LAYERS: unable to convert "2.5" into int.' in mistake("--print-config")


def test_an_error_of_the_program_itself_keeps_its_traceback(monkeypatch):
    def broken(arguments, stop):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(cli, "_dispatch", broken)
    with pytest.raises(ZeroDivisionError):
        cli.run([])


def test_a_full_disk_and_full_memory_are_faults_with_a_message(monkeypatch, capsys):
    for error, text in (
        (OSError(28, "No space left on device", "x"), "the disk is full"),
        (MemoryError(), "try --micro-batch 1"),
    ):

        def fail(arguments, stop, error=error):
            raise error

        monkeypatch.setattr(cli, "_dispatch", fail)
        assert cli.run([]) == 1
        assert text in capsys.readouterr().err


def test_a_reader_who_has_gone_changes_nothing_and_hears_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    small = "--model.context 16 --model.d-model 16 --model.n-layers 1 --model.n-heads 2 --model.d-ff 32 --threads 1"
    run = f"--data stories:20kb --vocab-size 300 --steps 2 --name a {small}".split()
    for arguments in (run, ["verify", "runs/a"], ["--print-config"]):
        read, write = os.pipe()
        os.close(read)
        with open(write, "w", encoding="utf-8") as gone:
            monkeypatch.setattr(sys, "stdout", gone)
            assert cli.run(arguments) == 0
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
    assert (tmp_path / "runs/a/report.html").exists()
    assert "Broken pipe" not in capsys.readouterr().err
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "lm_train", "--help"]  # rich writes it, and goes without it from then on
    assert subprocess.run(command, stdout=write, timeout=60, check=False).returncode == 0
    os.close(write)


def test_help_fits_a_screen_and_help_all_has_every_setting(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in ((), *((name,) for name in layers.ALL_COMMANDS)):
        assert cli.run([*command, "--help"]) == 0
        assert len(capsys.readouterr().out.splitlines()) < 50, command
    assert cli.run(["--help-all"]) == 0
    whole = capsys.readouterr().out
    assert [flag for flag in short_help.settings() if f"{flag} " not in whole] == []


def test_a_command_without_a_runs_settings_shows_all_of_its_own(capsys):
    assert cli.run(["prepare", "--help"]) == 0
    shown = capsys.readouterr().out
    own = set(inspect.signature(cli.prepare_command).parameters) - {"text"}
    assert [name for name in sorted(own) if f"--{name.replace('_', '-')} " not in shown] == []
    assert short_help.HELP_ALL not in shown


def test_bash_completes_commands_settings_and_choices(capsys):
    assert cli.run(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    for words, offered in (("sw", "sweep"), ("--optim.muon", "--optim.muon-lr"), ("--dtype b", "bfloat16")):
        line = ["lm-train", *words.split(" ")]
        ask = (
            f'COMP_WORDS=({" ".join(line)}); COMP_CWORD={len(line) - 1}; _lm_train; echo "${{COMPREPLY[*]}}"'
        )
        heard = subprocess.run(["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=True)
        assert heard.stdout.strip() == offered
    heard = subprocess.run(
        ["bash", "-c", f"{script}\ncomplete -p lm-train"], capture_output=True, text=True, check=True
    )
    assert "-o default" in heard.stdout  # where it has no words, files: --data my.txt
