"""What is kept of each request: on the console, and at Weights & Biases."""

import io
import json
import sys
import types

import pytest
from lm_generate import request_log
from lm_generate.cli import run
from lm_generate.errors import SettingError
from lm_generate.request_log import CUT, Log, Wandb, flat, make_record, open_log
from lm_generate.settings import make_settings
from lm_generate.terminal.dialogue import Dialogue
from tiny_engines import save_tiny, tiny_engine

ENGINE = tiny_engine()


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """wandb with its `init` replaced: what it was called with, and the rows it was given."""
    seen = {"rows": [], "finished": 0}

    def finish():
        seen["finished"] += 1

    def init(**settings):
        seen.update(settings)
        return types.SimpleNamespace(log=seen["rows"].append, finish=finish)

    module = types.SimpleNamespace(init=init, Settings=lambda **settings: settings)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(request_log.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    return seen


def test_a_record_has_the_settings_the_counts_the_times_and_the_text_cut():
    options = {"max_tokens": 50, "seed": 4, "top_k": 7, "frequency_penalty": 0.5, "stop_ids": ()}
    prompt = "def " * 10
    results = ENGINE.batch([prompt] * 2, **options)
    record = make_record(model="m", settings=make_settings(**options), prompt=prompt * 9, results=results)
    assert record["sampling"]["top_k"] == 7
    assert record["sampling"]["frequency_penalty"] == 0.5
    assert (record["seed"], record["rows"], record["tokens"], record["max_tokens"]) == (4, 2, 100, 50)
    assert record["prompt_tokens"] == results[0].prompt_tokens
    assert record["finish_reason"] == "length"
    assert 0 < record["first_token_seconds"] <= record["seconds"]
    assert record["prompt"] == (prompt * 9)[-CUT:]
    assert record["text"] == results[0].text[:CUT]
    nothing = make_record(model="m", settings=make_settings(), prompt="a", results=[])
    assert (nothing["tokens"], nothing["text"], nothing["seconds"]) == (0, "", None)


def test_a_command_keeps_a_line_beside_its_text(tmp_path, capsys, fake):
    options = [
        "--prompt",
        "def",
        "-m",
        str(save_tiny(tmp_path / "m")),
        "--max-tokens",
        "5",
        "--seed",
        "2",
        "-q",
    ]
    for more, rows in ([], 1), (["--n", "2"], 2), (["--beams", "2"], 1), (["--explain"], 1):
        assert run([*options, *more, "--log", "console-json", "--log", "wandb"]) == 0
        out, err = capsys.readouterr()
        told = [line for line in err.splitlines() if line.startswith("{")]
        assert len(told) == 1
        record = json.loads(told[0])
        assert (record["rows"], record["prompt"], record["seed"]) == (rows, "def", 2)
        assert record["text"].split("\n")[0] in out
        assert fake["rows"][-1]["tokens"] == record["tokens"]
    assert fake["finished"] == 4


def test_a_dialogue_keeps_a_record_of_each_text(capsys):
    stream = io.StringIO()
    lines = iter(["def", "/again", "/quit"])
    options = {"max_tokens": 4, "seed": 3}
    Dialogue(ENGINE, options, quiet=True, log=open_log(["console-json"], stream)).run(lambda _: next(lines))
    records = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [record["prompt"] for record in records] == ["def", "def"]
    assert [record["seed"] for record in records] == [3, 3]


def test_wandb_is_offline_without_a_key_and_says_so(fake, capsys, monkeypatch):
    log = open_log(["wandb"], sys.stdout)
    log.write({"model": "m", "seconds": None, "sampling": {"temperature": 0.5}})
    log.close()
    assert (fake["mode"], fake["project"]) == ("offline", "lm-generate")
    assert fake["rows"] == [{"model": "m", "sampling/temperature": 0.5}]
    assert fake["finished"] == 1
    assert (
        "wandb: no key here, logging offline; later: wandb sync wandb/offline-run-*"
        in capsys.readouterr().err
    )
    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    Wandb()
    assert (fake["mode"], fake["project"]) == (None, "mine")
    assert capsys.readouterr().err == ""


def test_without_wandb_the_extra_is_named_before_anything_is_loaded(monkeypatch, capsys):
    monkeypatch.setattr(request_log.importlib.util, "find_spec", lambda name: None)
    for command in (["--prompt", "a"], ["serve"]):
        assert run([*command, "--model", "nowhere", "--log", "wandb"]) == 2
        assert "pip install 'lm-generate[" in capsys.readouterr().err
    with pytest.raises(SettingError, match=r"pip install 'lm-generate\[wandb\]'"):
        open_log(["wandb"], sys.stdout)


def test_no_sink_is_fine_and_nesting_becomes_a_path():
    Log(()).write({"a": 1})
    assert flat({"a": {"b": {"c": 1}, "d": None}, "e": 2}) == {"a/b/c": 1, "e": 2}
