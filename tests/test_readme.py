"""The README of the whole: its commands run as they are printed, its example too, and every file that it names is there."""

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("uv run --package")
]
MODULES = {"train": "lm_train", "lm-train": "lm_train", "lm-generate": "lm_generate"}

# A smaller model for less time: what is tested is that the commands do what is said of them, not how well the model writes.
SMALL = {
    "LM_MINUTES": "0.05",
    "LM_MODEL_D_MODEL": "32",
    "LM_MODEL_N_HEADS": "2",
    "LM_MODEL_N_LAYERS": "1",
    "LM_MODEL_D_FF": "64",
    "LM_MODEL_CONTEXT": "64",
    "NO_COLOR": "1",
}


def start(line: str, folder: Path) -> subprocess.Popen[str]:
    """A command of the README without `uv run`, which would install packages, and with a budget of seconds."""
    _, _, _, _, program, *arguments = shlex.split(line, comments=True)
    arguments = [
        "0.1" if before == "--minutes" else each
        for before, each in zip(["", *arguments], arguments, strict=False)
    ]
    return subprocess.Popen(
        [sys.executable, "-m", MODULES[program], *arguments],
        cwd=folder,
        env={**os.environ, **SMALL},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Every command of the README, one after another in one folder: its exit code, output and complaints."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("my.txt", "other.txt"):
        (folder / name).write_text(
            "Once upon a time there was a small text. It told of itself, twice. " * 400
        )
    results = {}
    for line in COMMANDS:
        process = start(line, folder)
        if "--data my.txt" in line:  # the next command goes on with a run that was stopped
            assert process.stdout is not None
            while "step 1 " not in process.stdout.readline():
                assert process.poll() is None, process.stderr.read() if process.stderr else ""
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
        results[line.split("#")[0].strip()] = (process.returncode, out, err)
    return results


def test_the_first_command_trains_and_names_the_second(done):
    code, out, err = done["uv run --package lm-train train"]
    assert code == 0, err
    assert "bits per byte" in out
    assert "lm-generate --prompt" in out


def test_the_second_command_writes_on_from_its_prompt(done):
    code, out, err = done['uv run --package lm-generate lm-generate --prompt "def "']
    assert code == 0, err
    assert out.startswith("def")
    assert "stdlib-1" in err


def test_ctrl_c_stops_with_75_and_resume_goes_on(done):
    stopped = next(result for line, result in done.items() if "--data my.txt" in line)
    resumed = next(result for line, result in done.items() if line.endswith("--resume"))
    assert stopped[0] == 75, stopped[2]
    assert "--resume runs/my-1" in stopped[1]
    assert resumed[0] == 0, resumed[2]


def test_every_other_command_succeeds(done):
    assert len(done) >= 7
    failed = {line: result for line, result in done.items() if result[0] != 0 and "--data my.txt" not in line}
    assert failed == {}


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    assert "bits per byte on held-out text" in capsys.readouterr().out


def test_every_link_leads_to_a_file():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("https://")]
    assert len(links) > 8
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_source_file_that_is_named_exists():
    sources = [
        *ROOT.glob("packages/*/src/**/*.py"),
        *ROOT.glob("packages/*/tests/*.py"),
        *ROOT.glob("rust/*/src/**/*.rs"),
        *ROOT.glob("rust/*/tests/*.rs"),
    ]
    known = {path.name for path in [*sources, *ROOT.glob("tests/*.py"), *ROOT.glob("scripts/*.py")]}
    named = set(re.findall(r"[`/]([a-z0-9_]+\.(?:py|rs))`", README))
    assert len(named) > 30
    assert named - known == set()


def test_the_test_command_of_the_readme_is_the_one_that_a_submission_must_pass():
    assert "uv run pytest -n auto\n```" in README
    assert "\nuv run pytest -n auto\n" in (ROOT / ".ci/run").read_text(encoding="utf-8")
