"""The run that several tests look at; and torch on one thread: on a machine that others use too, threads that wait for each other cost minutes."""

import os

import pytest
from run_command import command

# Before torch is imported; the commands that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Counting in words: small, regular, and quickly learnt."""
    numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    lines = [", ".join(numbers[(start + i) % 10] for i in range(8)) + ".\n" for start in range(10)]
    path = tmp_path_factory.mktemp("text") / "counting.txt"
    path.write_text("".join(lines[(7 * i) % 10] for i in range(400)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def walked(corpus, tmp_path_factory):
    """The folder in which `train` made its run, as a user would: one command on one text file."""
    folder = tmp_path_factory.mktemp("walk")
    done = command(
        "lm_train", "--data", corpus, "--vocab-size", "300", "--steps", "60", "--name", "counting",
        "--model.context", "32", "--model.d-model", "64", "--model.n-layers", "2", "--model.n-heads", "2", "--model.d-ff", "128",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return folder
