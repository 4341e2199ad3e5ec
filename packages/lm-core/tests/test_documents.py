"""The README's examples run as they are printed, and the example script does what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]
README = PACKAGE / "README.md"
SCRIPT = PACKAGE / "examples" / "overfit_one_batch.py"
TEXT = (
    README.read_text(encoding="utf-8") if README.is_file() else ""
)  # tests may be run from a copy of their own
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_of_the_readme_runs(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], f"README.md, example {number}", "exec"), {})


@pytest.mark.skipif(not SCRIPT.is_file(), reason="the tests were copied without the examples")
def test_the_example_learns_its_sentence_by_heart():
    shown = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "What I cannot create, I do not understand."
