"""R3: `kill -9` at random moments of a run, again and again, on one process and on two: it always goes on, to the same bits."""

import json
import os
import random
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from lm_train.checkpoint import checkpoints, damage
from lm_train.config import CheckpointConfig, EvaluateConfig, SampleConfig
from lm_train.config_file import to_toml
from many_ranks import run_ranks
from run_comparison import figures, same_bits, state, weights
from tiny_runs import tiny_config, tiny_corpus

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the processes that it kills")
STEPS = 8
FILE_EVENTS = {
    "open",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.remove",
    "os.listdir",
    "os.scandir",
    "shutil.rmtree",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A corpus, the settings of a run that saves after every second step, and that run unbroken on one and on two processes."""
    folder = tmp_path_factory.mktemp("kills")
    tiny_corpus(folder)
    config = tiny_config(
        folder,
        steps=STEPS,
        checkpoint=CheckpointConfig(every=2),
        evaluate=EvaluateConfig(every=4, windows=2, final_windows=2),
        samples=SampleConfig(every=STEPS, tokens=2),
    )
    (folder / "run.toml").write_text(to_toml(replace(config, name=None)))
    for world in (1, 2):
        ended = run_ranks(world, command(folder, f"whole-{world}"), folder / "logs")
        assert [rank.code for rank in ended] == [0] * world, ended
    return folder


def command(home: Path, name: str) -> list[str]:
    return ["--config", str(home / "run.toml"), "--name", name, "--resume", "auto"]


def die_at_file_event(number: int) -> None:
    """Kill this process at its so-manieth access to a file of a run."""
    seen = 0

    def count(event, arguments):
        nonlocal seen
        if event in FILE_EVENTS and "/runs/" in str(arguments[0]):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def die_at_call(number: int) -> None:
    """Kill this process at its so-manieth call of a function."""
    left = number

    def count(frame, event, argument):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


def told_once(rows: list[dict[str, object]]) -> list[str]:
    """The rows without repetition: the closing evaluation is told again, the same, by a run that was killed right after it."""
    return list(dict.fromkeys(json.dumps(row) for row in rows))


def killed_again_and_again(home: Path, tmp_path: Path, world: int, kills: int, seed: int) -> None:
    """Runs that are killed at random moments until they are done; each must be, bit for bit, the unbroken one."""
    rng, done, number = random.Random(seed), 0, 0
    while done < kills:
        name, number = f"killed-{world}-{seed}-{number}", number + 1
        run = home / "runs" / name
        while True:
            victim, how = rng.randrange(world), rng.choice([die_at_file_event, die_at_call])
            moment = rng.randint(1, 250 if how is die_at_file_event and victim == 0 else 60_000)

            def prepare(rank: int, victim=victim, how=how, moment=moment) -> None:
                if rank == victim:
                    how(moment)

            ended = run_ranks(
                world, command(home, name), tmp_path, prepare if done < kills else lambda rank: None
            )
            killed = ended[victim].code == -signal.SIGKILL
            done += killed
            whole = [damage(path) for path in checkpoints(run / "checkpoints")]
            assert whole == [None] * len(whole)  # what has its name is whole, whenever the kill came
            if "is done; give it a larger budget" in ended[0].err:  # killed after its last word
                break
            if not killed:
                assert [rank.code for rank in ended] == [0] * world, ended
                break
        unbroken = home / f"runs/whole-{world}"
        keys = ("loss", "grad_norm", "valid_loss", "tokens", "lr")
        assert told_once(figures(run, *keys)) == told_once(figures(unbroken, *keys))
        same_bits(weights(run), weights(unbroken))
        same_bits(state(run), state(unbroken))
        for path in run.parent.glob(f"{name}*"):
            shutil.rmtree(path)


def test_twenty_one_kills_at_random_moments_leave_runs_that_go_on_to_the_same_bits(home, tmp_path):
    killed_again_and_again(home, tmp_path, world=1, kills=21, seed=1)


def test_four_kills_of_a_random_rank_of_two_leave_runs_that_go_on_to_the_same_bits(home, tmp_path):
    killed_again_and_again(home, tmp_path, world=2, kills=4, seed=2)


@pytest.mark.slow
@pytest.mark.parametrize(("world", "kills", "seed"), [(1, 150, 3), (2, 50, 4)])
def test_two_hundred_random_kills_leave_no_run_unusable(home, tmp_path, world, kills, seed):
    killed_again_and_again(home, tmp_path, world=world, kills=kills, seed=seed)
