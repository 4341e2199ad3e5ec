"""The whole road once: text -> tokenizer -> token dataset -> model -> checkpoint -> generated text."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Counting in words: small, regular, and quickly learnt."""
    numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    lines = [", ".join(numbers[(start + i) % 10] for i in range(8)) + ".\n" for start in range(10)]
    path = tmp_path_factory.mktemp("text") / "counting.txt"
    path.write_text("".join(lines[(7 * i) % 10] for i in range(400)), encoding="utf-8")
    return path


def command(module: str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
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


def test_a_run_leaves_everything_that_the_design_promises(walked):
    run = walked / "runs" / "counting"
    for name in ["config.toml", "metrics.jsonl", "samples.jsonl", "log.txt", "report.html"]:
        assert (run / name).stat().st_size > 0, name
    (checkpoint,) = sorted((run / "checkpoints").iterdir())[-1:]
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "manifest.json",
    ]:
        assert (checkpoint / name).stat().st_size > 0, name


def test_the_loss_falls_on_a_regular_text(walked):
    lines = (walked / "runs/counting/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [row["loss"] for row in map(json.loads, lines) if "loss" in row]
    assert losses[-1] < 0.5 * losses[0]


def test_the_newest_run_writes_text(walked):
    done = command(
        "lm_generate", "--prompt", "one, two,", "--max-tokens", "12", "--temperature", "0", cwd=walked
    )
    assert done.returncode == 0, done.stderr
    assert "one, two," in done.stdout + done.stderr
    assert "three" in done.stdout


def test_generating_where_nothing_was_trained_names_the_command_to_train(tmp_path):
    done = command("lm_generate", "--prompt", "x", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "train" in done.stderr
