"""Under the real launcher: a rank is killed and torchrun starts the run again; torchrun itself is told to stop."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lm_core import load_model
from lm_train.checkpoint import checkpoints
from lm_train.config import CheckpointConfig, EvaluateConfig, SampleConfig
from lm_train.config_file import to_toml
from lm_train.run_folder import RunFolder
from lm_train.state import read_record
from many_ranks import run_ranks
from tiny_runs import rows, tiny_config, tiny_corpus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds ranks in /proc"),
]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
STEPS = 300
CLOCKED = (
    *("slowest_rank", "slowest_seconds", "median_seconds", "fastest_seconds"),
    *("fullest_rank", "largest_memory", "smallest_memory"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A corpus, settings, and the run `whole` on two ranks that nothing befell."""
    folder = tmp_path_factory.mktemp("torchrun")
    tiny_corpus(folder)
    rare = {
        "evaluate": EvaluateConfig(every=1000, windows=2, final_windows=2),
        "samples": SampleConfig(every=1000),
    }
    config = tiny_config(folder, batch=4, steps=STEPS, checkpoint=CheckpointConfig(every=20), **rare)
    (folder / "run.toml").write_text(to_toml(replace(config, name=None)))
    assert [
        rank.code
        for rank in run_ranks(2, ["--config", str(folder / "run.toml"), "--name", "whole"], folder / "logs")
    ] == [0, 0]
    return folder


def start(home: Path, name: str, *options: str) -> subprocess.Popen[str]:
    command = [*TORCHRUN, *options, "-m", "lm_train", "--config", str(home / "run.toml"), "--name", name]
    with (home / f"{name}.log").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True)


def wait_for_step(run: Path, step: int, child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and child.poll() is None:
        if (run / "metrics.jsonl").is_file() and (run / "metrics.jsonl").read_text().count("\n") >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"{run} did not reach step {step}")


def pid_of_rank(launcher: int, rank: int) -> int:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == launcher and f"\0RANK={rank}\0".encode() in b"\0" + (entry / "environ").read_bytes():
                return int(entry.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError(f"no rank {rank} under {launcher}")


def assert_is_the_whole_run(home: Path, run: Path) -> None:
    ours, theirs = (
        [{k: v for k, v in r.items() if k not in CLOCKED} for r in rows(each / "metrics.jsonl")]
        for each in (run, home / "runs/whole")
    )
    assert ours == theirs
    weights = [
        load_model(checkpoints(each / "checkpoints")[-1]).state_dict() for each in (run, home / "runs/whole")
    ]
    assert [name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])] == []


def test_a_rank_killed_under_torchrun_is_started_again_and_the_run_ends_at_the_same_loss(home):
    child = start(home, "killed", "--max-restarts", "1")
    wait_for_step(home / "runs/killed", 50, child)
    os.kill(pid_of_rank(child.pid, 1), signal.SIGKILL)
    assert child.wait(timeout=300) == 0, (home / "killed.log").read_text()
    log = (home / "killed.log").read_text()
    assert "continuing" in log
    assert "Traceback" not in log
    assert_is_the_whole_run(home, home / "runs/killed")


def test_torchrun_told_to_stop_saves_exits_with_1_and_the_run_goes_on_exactly(home):
    child = start(home, "told", "--max-restarts", "3")
    run = home / "runs/told"
    wait_for_step(run, 50, child)
    child.terminate()
    assert child.wait(timeout=120) == 1  # torchrun's own code for any signal; its ranks are not started again
    assert RunFolder(run).status() == "stopped"
    assert "stopped by SIGTERM at step" in (home / "told.log").read_text()
    step = read_record(checkpoints(run / "checkpoints")[-1])["step"]
    assert 50 <= step < STEPS
    assert rows(run / "metrics.jsonl")[-1]["step"] == step  # nothing that was computed is lost
    shutil.copytree(run, home / "runs/told-2")
    ended = run_ranks(2, ["--resume", str(home / "runs/told-2")], home / "logs-told")
    assert [rank.code for rank in ended] == [0, 0], ended
    assert_is_the_whole_run(home, home / "runs/told-2")
