"""The README's examples run as they are printed, and the example script does what it says."""

import importlib.util
import re
import runpy
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
README = PACKAGE / "README.md"
EXAMPLES = PACKAGE / "examples"
DOCS = PACKAGE / "docs"
TEXT = (
    README.read_text(encoding="utf-8") if README.is_file() else ""
)  # tests may be run from a copy of their own
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_of_the_readme_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"README.md, example {number}", "exec"), {})


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the tests were copied without the examples")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["overfit_one_batch.py"], r"\nWhat I cannot create, I do not understand\.\n$"),
        (
            ["write_a_block.py", "--steps", "8"],
            r"side by side +192,768 parameters +loss \d\.\d{3} nats per byte",
        ),
        (
            ["compare.py", "--what", "optimizers", "--steps", "4"],
            r"schedule-free AdamW +\d\.\d{3} nats per byte",
        ),
        (
            ["load_and_predict.py"],
            r"qwen3, 139,648 parameters, vocabulary 256\n  id     44  probability 0\.[89]",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_example_says_what_it_should(arguments, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(EXAMPLES / arguments[0]), run_name="__main__")
    shown = capsys.readouterr().out
    assert re.search(said, shown), shown


@pytest.mark.skipif(not DOCS.is_dir(), reason="the tests were copied without the documents")
@pytest.mark.parametrize("script", ["draw_schedules", "draw_parts"])
def test_the_pictures_are_what_the_code_draws(script):
    spec = importlib.util.spec_from_file_location(script, DOCS / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, content in module.pictures().items():
        assert (DOCS / name).read_text(encoding="utf-8") == content, f"run python docs/{script}.py"
