"""Every command that the README prints does what is said of it: run here with a small model and few steps."""

import os
import re
import shlex
from pathlib import Path

import pytest
from lm_train import cli

PACKAGE = Path(__file__).parents[1]
BLOCK = re.search(
    r"## Commands\n\n```\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL
)
LINES = [re.split(r"  +", line)[0] for line in BLOCK[1].splitlines()] if BLOCK else []
ELSEWHERE = {  # what needs a network, other processes, or many runs, and the test that has it
    "--data shakespeare": "test_data_download.py",
    "--data tinystories": "test_data_download.py",
    "--config shakespeare": "test_data_download.py",
    "torchrun": "test_torchrun.py",
    "train lr": "test_lr_test.py",
    "train compare": "test_compare.py",
    "train sweep": "test_sweep.py",
    "--engine ray": "test_data_ray.py",
    "--data hub:": "test_data_hub.py",
    "LM_NVTX": "test_nvtx.py",
}
# A flag of the README that decides how long a run is, at a size for a test.
SHORTER = {"--minutes": "0.01", "--steps": "3", "--tokens": "500", "--epochs": "0.05"}
SMALL = {
    "LM_VOCAB_SIZE": "300",
    "LM_MODEL_D_MODEL": "16",
    "LM_MODEL_N_HEADS": "2",
    "LM_MODEL_N_LAYERS": "1",
    "LM_MODEL_D_FF": "32",
    "LM_MODEL_CONTEXT": "16",
    "LM_EVALUATE_WINDOWS": "2",
    "LM_EVALUATE_FINAL_WINDOWS": "4",
    "LM_SAMPLES_TOKENS": "4",
    "NO_COLOR": "1",
}


def alternatives(line: str) -> list[str]:
    """`train --data a | b` is two commands; `train --minutes 10 | --steps 2000` too."""
    first, *others = line.split(" | ")
    words = first.split(" ")
    return [first] + [" ".join([*words[: -2 if other.startswith("--") else -1], other]) for other in others]


def commands() -> list[str]:
    """The README's commands in its order, one alternative each."""
    return [each for line in LINES for each in alternatives(line)]


def as_run_here(command: str) -> list[str]:
    """Its words, with the sizes of a test where it sets sizes."""
    words = shlex.split(command.split(" > ")[0])[1:]
    words = [SHORTER.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    stories = [re.sub(r"^stories(?=$|=)", "stories:30kb", word) for word in words]
    if words[0] == "simulate":
        return ["simulate", "--world", "8", "--batch", "8", "--steps", "20"]
    bounded = words[0] in ("plan", "prepare", "verify", "report", "simulate", "watch") or set(words) & set(
        SHORTER
    )
    return stories if bounded or "--print-config" in words else [*stories, "--steps", "3"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with the texts and the runs that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    text = "def f(x): One two three four five, six seven eight nine ten. " * 400
    (tmp_path / "books").mkdir()
    for name in ("corpus.txt", "mine.txt", "books/one.txt", "books/two.txt"):
        Path(name).write_text(f"{name} {text}")
    return tmp_path


def test_the_commands_of_the_readme_run_one_after_another(home, monkeypatch, capsys):
    assert [name for name in ELSEWHERE.values() if not (PACKAGE / "tests" / name).is_file()] == []
    monkeypatch.setattr(
        "lm_train.run.write_report", lambda run: run.report
    )  # the command that makes one is here, too
    monkeypatch.setattr("lm_train.texts.sources.stdlib_files", lambda: [home / "corpus.txt"])
    for name in ("a", "b", "stdlib-1"):
        assert cli.run(["--data", "corpus.txt", "--steps", "2", "--name", name]) == 0
    done = []
    for command in commands():
        if any(words in command for words in ELSEWHERE):
            continue
        if "--init-from FOLDER" in command:
            command = command.replace("FOLDER", "runs/a")
        if "--resume" in command:  # of the run that is stopped here, by its clock
            assert (
                cli.run(
                    ["--data", "mine.txt", "--steps", "4", "--max-minutes", "0.00001", "--name", "stopped"]
                )
                == 75
            )
            command = command.replace("runs/stdlib-1", "runs/stopped")
        code = (
            cli.run(as_run_here(command))
            if "--resume" not in command
            else cli.run(["--resume", "--max-minutes", "9"])
        )
        told = capsys.readouterr()
        assert code == 0, (command, told.err)
        if " > " in command:
            (home / command.split(" > ")[1]).write_text(told.out)
            assert cli.run(["--config", "mine.toml", "--data", "mine.txt", "--steps", "2"]) == 0
        done.append(command)
    assert len(done) > 16
    assert os.listdir(home / "runs")
