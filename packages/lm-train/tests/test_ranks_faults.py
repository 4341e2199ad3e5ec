"""What goes wrong on many ranks: a rank dies, hangs, is stopped, computes nonsense, or has no disk."""

import errno
import json
import math
import os
import resource
import signal
import time
from dataclasses import replace
from pathlib import Path

import lm_train.checkpoint
import pytest
import torch
from lm_core import Transformer, load_model
from lm_train.checkpoint import checkpoints
from lm_train.config import EvaluateConfig, SampleConfig
from lm_train.config_file import to_toml
from lm_train.parallel.heartbeat import Pulse, judge
from lm_train.state import read_record
from many_ranks import Launch, at_step, run_ranks, with_patience
from tiny_runs import rows, tiny_config, tiny_corpus

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its ranks")
STEPS = 12
CLOCKED = (
    *("slowest_rank", "slowest_seconds", "median_seconds", "fastest_seconds"),
    *("fullest_rank", "largest_memory", "smallest_memory"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A corpus, and settings whose checkpoints are of steps 4, 8 and 12."""
    folder = tmp_path_factory.mktemp("faults")
    tiny_corpus(folder)
    rare = {
        "evaluate": EvaluateConfig(every=100, windows=2, final_windows=2),
        "samples": SampleConfig(every=100),
    }
    config = tiny_config(folder, batch=4, steps=STEPS, **rare)
    (folder / "run.toml").write_text(to_toml(replace(config, name=None)))
    return folder


def arguments(home: Path, name: str, *more: str) -> list[str]:
    return ["--config", str(home / "run.toml"), "--name", name, *more]


def steps_of(run: Path) -> list[int]:
    return [read_record(path)["step"] for path in checkpoints(run / "checkpoints")]


def metrics(run: Path):
    return [{k: v for k, v in row.items() if k not in CLOCKED} for row in rows(run / "metrics.jsonl")]


def test_a_rank_that_is_killed_ends_all_and_the_same_command_started_again_ends_at_the_same_loss(
    home, tmp_path
):
    whole = run_ranks(2, arguments(home, "whole"), tmp_path / "whole")
    assert [rank.code for rank in whole] == [0, 0], whole

    def kill_rank_1(rank: int) -> None:
        if rank == 1:
            at_step(7, lambda: os.kill(os.getpid(), signal.SIGKILL))

    restarts = {"TORCHELASTIC_MAX_RESTARTS": "1"}
    first = run_ranks(2, arguments(home, "killed"), tmp_path / "first", kill_rank_1, restarts)
    assert [rank.code for rank in first] == [1, -signal.SIGKILL]
    assert first[0].err.startswith("rank 0: another process of this run has ended or cannot be reached")
    assert "Traceback" not in first[0].err
    run = home / "runs/killed"
    assert steps_of(run) == [4]
    again = {**restarts, "TORCHELASTIC_RESTART_COUNT": "1"}
    second = run_ranks(2, arguments(home, "killed"), tmp_path / "second", environment=again)
    assert [rank.code for rank in second] == [0, 0], second
    assert "continuing" in second[0].out
    assert metrics(run) == metrics(home / "runs/whole")
    ours, theirs = (
        load_model(checkpoints(each / "checkpoints")[-1]).state_dict() for each in (run, home / "runs/whole")
    )
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_run_that_may_be_started_again_must_have_a_name(home, tmp_path):
    restarts = {"TORCHELASTIC_MAX_RESTARTS": "3"}
    ended = run_ranks(1, ["--config", str(home / "run.toml")], tmp_path, environment=restarts)
    assert ended[0].code == 2
    assert ended[0].err == (
        "torchrun may start this run again 3 times, and a run without a name cannot be found again; give it one: --name NAME\n"
    )


def test_a_run_killed_before_its_first_checkpoint_is_set_aside_and_begun_again(home, tmp_path):
    def kill_both(rank: int) -> None:
        at_step(2, lambda: os.kill(os.getpid(), signal.SIGKILL))

    first = run_ranks(2, arguments(home, "early", "--resume", "auto"), tmp_path / "first", kill_both)
    assert [rank.code for rank in first] == [-signal.SIGKILL] * 2
    second = run_ranks(2, arguments(home, "early", "--resume", "auto"), tmp_path / "second")
    assert [rank.code for rank in second] == [0, 0], second
    assert steps_of(home / "runs/early") == [8, 12]
    assert (home / "runs/early-unsaved-1/config.toml").is_file()


def test_a_loss_that_is_not_finite_on_one_rank_skips_the_step_on_all(home, tmp_path):
    def poison_rank_1(rank: int) -> None:
        sound, calls = Transformer.loss, []

        def poisoned(self, inputs, targets):
            calls.append(1)
            return sound(self, inputs, targets) * (math.nan if len(calls) == 5 else 1)

        if rank == 1:
            Transformer.loss = poisoned

    ended = run_ranks(2, arguments(home, "poisoned"), tmp_path, poison_rank_1)
    assert [rank.code for rank in ended] == [0, 0], ended  # the replicas were compared at every checkpoint
    found = [row for row in metrics(home / "runs/poisoned") if "loss" in row]
    assert [row["step"] for row in found if row["loss"] is None] == [5]
    assert len(found) == STEPS
    assert read_record(checkpoints(home / "runs/poisoned/checkpoints")[-1])["skipped"] == 1


STALL = ("--scale.stall-minutes", "7")  # and, from step 3, four seconds


def test_a_rank_that_is_stopped_is_named_and_the_run_ends_with_its_stacks(home, tmp_path):
    def stop_rank_1(rank: int) -> None:
        stop = lambda: os.kill(os.getpid(), signal.SIGSTOP) if rank == 1 else None  # noqa: E731
        at_step(3, with_patience(4, stop))

    launch = Launch(2, arguments(home, "stopped", *STALL), tmp_path, stop_rank_1)
    _, status = os.waitpid(launch.pids[0], 0)  # what its launcher sees before it ends the others
    os.kill(launch.pids[1], signal.SIGKILL)
    os.waitpid(launch.pids[1], 0)
    err = (tmp_path / "err-0").read_text()
    assert os.waitstatus_to_exitcode(status) == 1
    assert (
        "rank 0: rank 1 has been silent for 4 s: the process was stopped, or its machine or network hangs"
        in err
    )
    assert "all_reduce" in err  # where rank 0 waited


def test_a_rank_that_is_stuck_is_named_and_every_rank_prints_its_stack(home, tmp_path):
    def stuck_in_here() -> None:
        while True:
            time.sleep(0.1)

    def hold_rank_1(rank: int) -> None:
        at_step(3, with_patience(4, stuck_in_here if rank == 1 else lambda: None))

    ended = run_ranks(2, arguments(home, "stuck", *STALL), tmp_path, hold_rank_1)
    assert [rank.code for rank in ended] == [1, 1]
    for rank in ended:
        assert "rank 1 has been without progress for 4 s while the others wait" in rank.err
    assert "all_reduce" in ended[0].err
    assert "stuck_in_here" in ended[1].err
    assert "rank 0, last collectives: gloo:all_reduce" in ended[0].err
    assert "rank 1 has been without progress" in (home / "runs/stuck/log.txt").read_text()
    last = json.loads((home / "runs/stuck/events.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "rank-silent"
    assert last["verdict"].startswith("rank 1 has been without progress")


def test_no_rank_but_the_first_needs_a_disk_or_looks_at_the_checkpoints(home, tmp_path):
    def no_disk_for_rank_1(rank: int) -> None:
        def blind(*args, **kwargs):
            raise AssertionError("rank 1 looked")

        if rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            lm_train.checkpoint.checkpoints = lm_train.checkpoint.newest_verified = blind

    first = run_ranks(2, arguments(home, "diskless", "--steps", "6"), tmp_path / "1", no_disk_for_rank_1)
    run = str(home / "runs/diskless")
    second = run_ranks(2, ["--resume", run, "--steps", "9"], tmp_path / "2", no_disk_for_rank_1)
    assert [rank.code for rank in first + second] == [0] * 4, first + second


def test_a_disk_that_is_full_at_a_save_ends_all_ranks_and_leaves_the_older_checkpoint(home, tmp_path):
    def full_at_the_second_save(rank: int) -> None:
        sound, calls = lm_train.checkpoint.write_state, []

        def full(*args, **kwargs):
            calls.append(1)
            if len(calls) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            sound(*args, **kwargs)

        lm_train.checkpoint.write_state = full

    ended = run_ranks(2, arguments(home, "full"), tmp_path, full_at_the_second_save)
    assert [rank.code for rank in ended] == [1, 0], ended
    assert "space" in ended[0].err
    assert "Traceback" not in ended[0].err
    assert ended[1].err == ""
    assert steps_of(home / "runs/full") == [4]


def test_a_replica_whose_weights_differ_is_named_and_nothing_of_it_is_saved(home, tmp_path):
    def flip_a_bit_of_rank_1(rank: int) -> None:
        import lm_train.parallel.follow

        sound = lm_train.parallel.follow.run_step

        def flipped(follower, step, factor):
            if step == 6:
                follower.model.norm.weight.data.view(torch.int32)[3] ^= 1 << 5
            return sound(follower, step, factor)

        lm_train.parallel.follow.run_step = flipped

    ended = run_ranks(
        4,
        arguments(home, "flipped"),
        tmp_path,
        lambda rank: flip_a_bit_of_rank_1(rank) if rank == 2 else None,
    )
    assert [rank.code for rank in ended] == [1] * 4
    assert ended[0].err.startswith("the weights of rank 2 differ from the other ranks'")
    assert steps_of(home / "runs/flipped") == [4]


@pytest.mark.parametrize(
    ("pulses", "verdict"),
    [
        ([(90, 90, 0), (90, 90, 0)], None),
        ([(90, 90, 1), (80, 80, 0)], "rank 1 has been silent for 10 s"),
        ([(80, 80, 1), (80, 80, 0), (99, 99, 1)], "ranks 0, 1 have been silent"),
        ([(99, 80, 1), (99, 80, 0)], "rank 1 has been without progress for 10 s while the others wait"),
        ([(99, 80, 1), (99, 80, 1)], "all 2 ranks wait for each other"),
        ([(99, 80, 1), (99, 95, 0)], None),  # rank 1 still comes further: the others wait with reason
    ],
)
def test_the_judge_blames_the_silent_then_the_stuck_then_the_network(pulses, verdict):
    heard = [
        Pulse(beat_at=beat, progress_at=progress, waiting=bool(waiting)) for beat, progress, waiting in pulses
    ]
    found = judge(heard, now=100.0, seconds=10.0)
    assert found is None if verdict is None else found is not None and found.startswith(verdict)


def test_a_patient_rank_need_not_come_further_but_must_live():
    pulse = Pulse()
    for second in range(30):
        pulse.hear(f"{second} 7 0 1", float(second))
    assert judge([pulse], 30.0, 10.0) is None
    assert "silent" in str(judge([pulse], 50.0, 10.0))


def test_json_rows_of_all_runs_are_whole(home):
    for file in (home / "runs").glob("*/metrics.jsonl"):
        assert all(json.loads(line) for line in file.read_text().splitlines())
