"""What the README and the example show is what happens."""

import re
import runpy
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1]


def test_the_code_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert len(blocks) >= 5
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]):
    runpy.run_path(str(PACKAGE / "examples" / "train_and_encode.py"), run_name="__main__")
    assert "saved: tokenizer.json tokenizer_config.json" in capsys.readouterr().out
