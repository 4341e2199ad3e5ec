"""The same run on many ranks: R12 (the same mathematics), R2 (the same samples in the same order), and one voice."""

import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lm_core.optim import muon
from lm_train import cli
from lm_train.batches import Batches, samples_of
from lm_train.checkpoint import checkpoints
from lm_train.config_file import to_toml
from lm_train.parallel.ranks import Ranks
from lm_train.run import train
from lm_train.state import read_record
from many_ranks import at_step, run_ranks
from run_comparison import assert_close, figures, same_bits, state, weights
from tiny_runs import tiny_config, tiny_corpus

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its ranks")
STEPS = 20


def config_of(home: Path):
    return replace(tiny_config(home, batch=8, steps=STEPS, micro_batch=3), name=None)


def record_ids(folder: Path):
    """Each rank notes which pieces of text (start, length) it reads at each step: a window in a row, or packed documents."""
    folder.mkdir()

    def prepare(rank: int) -> None:
        sound = Batches.rows

        def noted(self, step, start, stop):
            with (folder / f"ids-{rank}").open("a") as file:
                file.write(json.dumps([step, start, pieces(self, step, start, stop)]) + "\n")
            return sound(self, step, start, stop)

        Batches.rows = noted

    return prepare


def pieces(batches: Batches, step: int, start: int, stop: int) -> list[list[list[int]]]:
    """Of each row its pieces of text, (start, length)."""
    rows, starts, lengths = batches.spans(samples_of(step, start, stop, batches.batch_size))
    return [
        [[int(starts[i]), int(lengths[i])] for i in np.flatnonzero(rows == row)]
        for row in range(stop - start)
    ]


def global_ids(folder: Path) -> dict[int, list[list[list[int]]]]:
    """Step -> the rows of its batch, put together from what all ranks read."""
    parts: dict[int, list] = {}
    for file in folder.glob("ids-*"):
        for line in file.read_text().splitlines():
            step, start, starts = json.loads(line)
            parts.setdefault(step, []).append((start, starts))
    return {step: [w for _, starts in sorted(found) for w in starts] for step, found in parts.items()}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A corpus, its settings in run.toml, and the run `one` of a single process."""
    folder = tmp_path_factory.mktemp("ranks")
    tiny_corpus(folder)
    config = config_of(folder)
    (folder / "run.toml").write_text(to_toml(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_train.run.write_report", lambda run: run.report)
        train(replace(config, name="one"))
    return folder


@pytest.fixture(scope="module")
def two(home):
    """The run `two`, on two ranks, unbroken, which note how many matrices they orthogonalize; how each rank ended.

    The clock of rank 1 jumps by years at every look.
    """
    command = ["--config", str(home / "run.toml"), "--name", "two"]

    def prepare(rank: int) -> None:
        note_matrices(home / f"matrices-{rank}")
        if rank == 1:
            rng, sound = random.Random(5), time.time
            time.time = lambda: sound() + rng.uniform(-1e9, 1e9)

    return run_ranks(2, command, home / "logs-two", prepare)


def note_matrices(file: Path) -> None:
    sound = muon.orthogonalize_fast

    def noted(matrices, steps):
        with file.open("a") as target:
            target.write(f"{len(matrices)}\n")
        return sound(matrices, steps)

    muon.orthogonalize_fast = noted


def test_two_ranks_train_as_one_does_though_the_clock_of_one_jumps(home, two):
    assert [rank.code for rank in two] == [0, 0], two
    assert_close(home / "runs/one", home / "runs/two")


def test_muon_orthogonalizes_each_matrix_on_one_rank_only(home, two):
    counts = [sum(int(n) for n in (home / f"matrices-{rank}").read_text().split()) for rank in range(2)]
    hidden = [name for name, w in weights(home / "runs/two").items() if "blocks" in name and w.ndim == 2]
    assert sum(counts) == STEPS * len(hidden)
    assert min(counts) > STEPS  # and both ranks have their part of them


def test_only_rank_0_speaks_and_says_how_many_there_are(home, two):
    assert "ranks      2 processes, 4 of 8 windows each" in two[0].out
    assert "done       20 steps" in two[0].out
    assert (two[1].out, two[0].err, two[1].err) == ("", "", "")


def test_each_step_names_its_slowest_rank_and_a_checkpoint_its_world_size(home, two):
    steps = [
        row
        for row in figures(
            home / "runs/two",
            *("slowest_rank", "slowest_seconds", "median_seconds", "fastest_seconds"),
            *("fullest_rank", "largest_memory", "smallest_memory"),
        )
        if len(row) > 1
    ]
    assert len(steps) == STEPS
    for row in steps:
        assert row["slowest_rank"] in (0, 1)
        assert row["fullest_rank"] in (0, 1)
        assert 0 < row["fastest_seconds"] <= row["median_seconds"] <= row["slowest_seconds"]
        assert row["largest_memory"] >= row["smallest_memory"] > 1 << 20
    assert read_record(checkpoints(home / "runs/two/checkpoints")[-1])["world_size"] == 2


def test_a_run_stopped_on_two_ranks_goes_on_on_one_two_and_four(home, two, tmp_path):
    def stop_rank_1(rank: int) -> None:
        if rank == 1:  # rank 0 hears of it within the step
            at_step(10, lambda: os.kill(os.getpid(), signal.SIGTERM))

    stopped = run_ranks(
        2, ["--config", str(home / "run.toml"), "--name", "stopped"], tmp_path / "logs", stop_rank_1
    )
    assert [rank.code for rank in stopped] == [75, 0], stopped
    assert "stopped by a signal to another rank at step 10" in stopped[0].out
    whole = {step: pieces(Batches_of(home), step, 0, 8) for step in range(STEPS)}
    for world in (1, 2, 4):
        run = home / f"runs/on-{world}"
        shutil.copytree(home / "runs/stopped", run)
        ended = run_ranks(
            world, ["--resume", str(run)], tmp_path / f"logs-{world}", record_ids(tmp_path / f"ids-{world}")
        )
        assert [rank.code for rank in ended] == [0] * world, ended
        assert_close(run, home / "runs/one")
        seen = global_ids(tmp_path / f"ids-{world}")
        seen.pop(STEPS, None)  # read ahead of the last step
        assert seen == {step: whole[step] for step in range(10, STEPS)}
    again = home / "runs/on-2"
    keys = ("loss", "grad_norm", "valid_loss", "tokens", "lr")
    assert figures(again, *keys) == figures(home / "runs/two", *keys)
    same_bits(weights(again), weights(home / "runs/two"))
    same_bits(state(again), state(home / "runs/two"))


def test_packed_rows_are_the_same_on_any_number_of_ranks_also_after_a_stop(home, tmp_path):
    settings = ["--config", str(home / "run.toml"), "--order", "packed", "--steps", "6"]

    def stop_rank_1(rank: int) -> None:
        if rank == 1:
            at_step(3, lambda: os.kill(os.getpid(), signal.SIGTERM))

    for name, world, prepare in (
        ("packed-1", 1, record_ids(tmp_path / "ids")),
        ("packed-2", 2, lambda rank: None),
    ):
        ended = run_ranks(world, [*settings, "--name", name], tmp_path / name, prepare)
        assert [rank.code for rank in ended] == [0] * world, ended
    assert_close(home / "runs/packed-1", home / "runs/packed-2")
    tokens = figures(home / "runs/packed-1", "tokens")
    assert tokens == figures(home / "runs/packed-2", "tokens")
    assert 0 < tokens[-1]["tokens"] < 6 * 8 * 16  # padding is not counted
    stopped = run_ranks(2, [*settings, "--name", "packed"], tmp_path / "stopped", stop_rank_1)
    assert [rank.code for rank in stopped] == [75, 0], stopped
    whole = global_ids(tmp_path / "ids")
    assert max(len(row) for row in whole[3]) > 1  # rows of several documents
    for world in (1, 2, 4):
        run, ids = home / f"runs/packed-on-{world}", tmp_path / f"ids-{world}"
        shutil.copytree(home / "runs/packed", run)
        ended = run_ranks(world, ["--resume", str(run)], tmp_path / f"logs-{world}", record_ids(ids))
        assert [rank.code for rank in ended] == [0] * world, ended
        assert_close(run, home / "runs/packed-1")
        seen = global_ids(ids)
        assert {step: seen[step] for step in (3, 4, 5)} == {step: whole[step] for step in (3, 4, 5)}
        assert min(seen) == 3
    same_bits(weights(home / "runs/packed-on-2"), weights(home / "runs/packed-2"))
    same_bits(state(home / "runs/packed-on-2"), state(home / "runs/packed-2"))


def Batches_of(home: Path) -> Batches:
    from lm_train.dataset import TokenDataset

    config = config_of(home)
    return Batches(
        TokenDataset(home / "datasets/corpus-300"), context=config.model.context, batch=8, seed=config.seed
    )


def test_a_number_of_ranks_that_does_not_divide_the_batch_is_refused_in_one_voice(home, tmp_path):
    ended = run_ranks(3, ["--config", str(home / "run.toml"), "--name", "three"], tmp_path)
    assert [rank.code for rank in ended] == [2, 0, 0]
    assert ended[0].err == (
        "--batch 8 cannot be shared equally by 3 processes; start 1, 2, 4, 8 of them, or take --batch 9\n"
    )
    assert [rank.out + rank.err for rank in ended[1:]] == ["", ""]
    assert not (home / "runs/three").exists()


def test_the_rows_of_all_ranks_are_the_batch_in_order():
    for batch in range(1, 201):
        for world in (w for w in range(1, 9) if batch % w == 0):
            rows = [row for rank in range(world) for row in range(*Ranks(rank, world).rows(batch))]
            assert rows == list(range(batch))


@pytest.mark.parametrize(
    "settings",
    [
        ("--optim.ema", "0.9"),
        pytest.param(
            ("--optim.name", "schedule-free", "--schedule.name", "constant"), marks=pytest.mark.slow
        ),
    ],
)
def test_an_average_of_the_weights_is_kept_on_every_rank_and_goes_on_with_another_number(
    home, tmp_path, settings, monkeypatch
):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    command = ["--config", str(home / "run.toml"), *settings, "--steps", "12"]
    name = settings[1].replace(".", "")

    def stop_both(rank: int) -> None:
        at_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM))

    assert cli.run([*command, "--name", f"{name}-one"]) == 0
    stopped = run_ranks(2, [*command, "--name", name], tmp_path / "stopped", stop_both)
    assert [rank.code for rank in stopped] == [75, 0], stopped
    ended = run_ranks(4, ["--resume", str(home / f"runs/{name}")], tmp_path / "ended")
    assert [rank.code for rank in ended] == [0] * 4, ended
    assert_close(home / f"runs/{name}", home / f"runs/{name}-one")
