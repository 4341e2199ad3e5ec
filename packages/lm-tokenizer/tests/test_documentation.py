"""What the README and the example show is what happens."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from lm_tokenizer import Tokenizer

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text(encoding="utf-8")


def test_the_code_in_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 5
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)


def test_the_commands_in_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "books").mkdir()
    (tmp_path / "other").mkdir()
    prose = "The sea was calm. The lamp was lit, and 1,204 gulls slept.<|endoftext|>Hello there! "
    for name in ("books/one.txt", "books/two.txt", "book.txt", "corpus.txt"):
        Path(name).write_text(prose * 50)
    Path("code.txt.zst").write_bytes(zstandard.compress(b"for i in range(10): print(i)\n" * 80))
    other = Tokenizer.train(texts=[prose * 9], vocab_size=280, pattern="cl100k", special_tokens=())
    other.save("other/tokenizer.json")
    other.save_tiktoken("cl100k_base.tiktoken")
    blocks = re.findall(r"```\n(lm-tokenizer .*?)```", README, re.DOTALL)
    lines = "".join(blocks).splitlines()
    assert len(lines) >= 6
    for line in lines:
        # so little text gives fewer merges than the README's books
        small = re.sub(r"--vocab-size (\d)000", r"--vocab-size 2\g<1>0", line)
        command = re.sub(
            r"\blm-tokenizer (?=[a-z])", f"{shlex.quote(sys.executable)} -m lm_tokenizer.cli ", small
        )
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stderr)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]):
    runpy.run_path(str(PACKAGE / "examples" / "train_and_encode.py"), run_name="__main__")
    assert "saved: tokenizer.json tokenizer_config.json" in capsys.readouterr().out
