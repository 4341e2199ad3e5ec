"""What the documents print is what runs."""

import re
import runpy
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
        run([*command, "--help"])
    shown = capsys.readouterr().out
    for option in set(re.findall(r"--[a-z][a-z-]+", README.read_text(encoding="utf-8"))) - {
        "--package",
        "--help",
    }:
        assert option in shown, option


def test_every_setting_is_in_the_documents_with_its_default():
    text = ENGINE.read_text(encoding="utf-8")
    for name in ("row", "slots", "draft", *Options.__annotations__):
        assert f"`{name}`" in text, name
