"""What the documents print is what runs."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from lm_generate.cli import run
from lm_generate.settings import Options
from tiny_engines import save_run

PACKAGE = Path(__file__).resolve().parent.parent
README, ENGINE, SAMPLING = (PACKAGE / name for name in ("README.md", "docs/engine.md", "docs/sampling.md"))
SCRIPT = PACKAGE / "examples" / "complete.py"


@pytest.fixture
def in_a_folder_with_a_run(tmp_path, monkeypatch):
    save_run(tmp_path / "runs", "stdlib", 3)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("document", [README, ENGINE], ids=lambda path: path.name)
def test_the_python_of_the_documents_runs(document, in_a_folder_with_a_run, capsys):
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(document), "exec"), {})


def test_the_example_writes_with_the_newest_run(in_a_folder_with_a_run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["complete.py"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    out = capsys.readouterr().out
    assert "--- as it is written ---\ndef " in out
    assert "bits per byte" in out


def test_every_option_that_the_readme_names_is_in_the_help(capsys):
    for command in ([], ["export"], ["quality"], ["verify"]):
        run([*command, "--help-all"])
    shown = capsys.readouterr().out
    for option in set(re.findall(r"--[a-z][a-z-]+", README.read_text(encoding="utf-8"))) - {
        "--package",
        "--help",
        "--help-all",
    }:
        assert option in shown, option


def test_every_setting_is_in_the_documents_with_its_default():
    text = ENGINE.read_text(encoding="utf-8")
    for name in ("row", "slots", "draft", *Options.__annotations__):
        assert f"`{name}`" in text, name


def rows_of_commands() -> list[str]:
    """The commands of the README's table, whole: `...` stands for the command of the row above it."""
    whole, last = [], ""
    for cell in re.findall(
        r"^\| (`(?:lm-generate|\.\.\.).*?) \|", README.read_text(encoding="utf-8"), re.MULTILINE
    ):
        first, *others = re.findall(r"`([^`]+)`", cell)
        if not first.startswith("..."):
            last = first.removesuffix(" FOLDER")
        whole += [first.replace("...", last), *(f"{last} {other}" for other in others)]
    return whole


ELSEWHERE = {  # a terminal, a server, an account, other libraries: the tests that have them
    "lm-generate": "test_dialogue.py",
    "lm-generate serve": "test_serve_command.py",
    "lm-generate --prompt TEXT --log wandb": "test_request_log.py",
    "lm-generate export --gguf FILE": "test_gguf.py",
    "lm-generate verify FOLDER --against transformers": "test_against.py",
}


@pytest.mark.parametrize("command", [each for each in rows_of_commands() if each not in ELSEWHERE])
def test_every_command_of_the_readme_runs(command, in_a_folder_with_a_run, capsys):
    Path("text.txt").write_text("def f(x):\n    return x\n" * 40)
    Path("schema.json").write_text('{"type": "boolean"}')
    words = shlex.split(command.replace("$'\\n\\n'", "'\n\n'"))[1:]
    model = next(Path("runs").glob("*/checkpoints/*"))
    files = {
        "TEXT": "def",
        "FILE": "schema.json" if "--json-schema" in words else "text.txt",
        "FOLDER": str(model),
    }
    words = [files.get(word, "40" if word == "2000" else word) for word in words]
    if "--max-tokens" not in words and "--prompt" in words:
        words += ["--max-tokens", "9"]
    assert run(words) == 0, capsys.readouterr().err


def test_every_other_command_of_the_readme_has_its_test():
    assert set(ELSEWHERE) <= set(rows_of_commands())
    assert [name for name in ELSEWHERE.values() if not (PACKAGE / "tests" / name).is_file()] == []
