"""Runs through failures, played without computing: every order of events on small worlds, and faults that must be found."""

import itertools
import json
import os

import numpy as np
import pytest
from lm_train import cli
from lm_train.batches import Batches
from lm_train.config import CheckpointConfig, ModelOptions, TrainConfig
from lm_train.corpus import MixedIn
from lm_train.errors import ConfigError
from lm_train.mixture import Mixture
from lm_train.packed_batches import PackedBatches
from lm_train.parallel import simulate as module
from lm_train.parallel.failures import (
    Failure,
    drawn_failures,
    expected_useful,
    largest_world,
    read_failures,
)
from lm_train.parallel.made_up_text import MadeUpText
from lm_train.parallel.ranks import Ranks
from lm_train.parallel.simulate import Times, simulate
from lm_train.run_errors import CheckpointError, OrderError

CONTEXT = 4


@pytest.fixture(autouse=True)
def without_fsync(monkeypatch):
    """No power is cut here, and hundreds of checkpoints are written."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Text:
    """As much of a dataset as the order of its windows depends on."""

    def __init__(self, length):
        self.length = length

    def tokens(self, split="train"):
        return self.length


def config_of(batch, every, keep=2, minutes=1e9):
    saving = CheckpointConfig(every=every, keep=keep, minutes=minutes)
    return TrainConfig(batch=batch, checkpoint=saving, model=ModelOptions(context=CONTEXT))


def batches_of(batch, windows=7):
    return Batches(Text((windows + 1) * CONTEXT), context=CONTEXT, batch=batch, seed=3)


def play(config, failures, *, world=4, steps=6, batches=None, times=None):
    times = times or Times(step=1.0, save=1.0, restart=1.0)
    return simulate(config, batches or batches_of(config.batch), world, steps, failures, times)


def test_a_failure_at_any_moment_on_any_small_world_loses_no_window_and_repeats_none():
    config, unbroken = config_of(4, 2), play(config_of(4, 2), [])
    assert (unbroken.repeated, unbroken.saves, unbroken.seconds) == (0, 3, 9.0)
    for half, ranks, damaged in itertools.product(range(18), (3, 4), (False, True)):
        first, second = Failure(half / 2, ranks, damaged), Failure(half / 2 + 4, 4)
        try:
            found = play(config, [first, second])
        except CheckpointError:
            assert damaged  # when there was only one checkpoint
            assert 3 <= first.seconds < 6
            continue
        assert found.failures in (1, 2)
        assert found.damaged == (damaged and first.seconds >= 6)
        assert found.worlds <= {1, 2, 4}
        assert found.useful + found.lost + found.saving + found.restarting >= unbroken.seconds
        assert found.proof.rows == 6 * 4


def test_the_work_between_the_checkpoint_and_the_failure_is_done_again():
    # Steps end at 1, 2 (saved until 3), 4; the failure at 4.5 undoes the third step.
    found = play(config_of(4, 2), [Failure(4.5, 2)])
    assert (found.repeated, found.failures, found.worlds) == (1, 1, {2, 4})
    assert found.lost == 1.5
    assert found.useful == 2 * 1.0 + 4 * 2.0  # on half the ranks a step takes twice as long
    assert found.restarting == 1.0


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_is_gone_on_from():
    found = play(config_of(4, 1), [Failure(6.5, 4, damaged=True)])
    assert (found.damaged, found.repeated) == (1, 1)
    with pytest.raises(CheckpointError, match="no whole checkpoint to continue from"):
        play(config_of(4, 1, keep=1), [Failure(6.5, 4, damaged=True)])


def test_a_mixture_keeps_its_order_through_failures():
    config = config_of(50, 3)
    mixture = Mixture(
        Text(300), [MixedIn("other", Text(90), 0.3)], context=CONTEXT, batch=50, seed=1, name="first"
    )
    found = play(config, [Failure(t, 25) for t in (5.5, 20.2, 31.0)], steps=60, world=50, batches=mixture)
    assert found.failures == 3
    assert found.proof.rows == 60 * 50


def packed_of(batch, seed=3):
    return PackedBatches(MadeUpText(300, 16, seed), context=16, batch=batch, seed=seed)


def test_packed_rows_keep_every_document_through_failures():
    config = config_of(4, 2)
    for half in range(4, 30, 3):
        first, second = Failure(half / 2, 3, damaged=half > 12), Failure(half / 2 + 4, 4)
        found = play(config, [first, second], steps=12, batches=packed_of(4))
        assert found.worlds <= {1, 2, 4}
        assert found.proof.rows == 48
        assert found.proof.pieces > 2 * packed_of(4).pieces  # more than two epochs of them
    mixture = Mixture(
        MadeUpText(900, 16, 1),
        [MixedIn("other", MadeUpText(200, 16, 2), 0.3)],
        context=16, batch=50, seed=1, name="first", order="packed",
    )  # fmt: skip
    found = play(config_of(50, 3), [Failure(20.2, 25)], steps=40, world=50, batches=mixture)
    assert found.proof.rows == 40 * 50


def wrong_rows(monkeypatch):
    """Each rank begins one row early."""
    sound = Ranks.rows
    monkeypatch.setattr(
        Ranks, "rows", lambda self, batch: tuple(max(0, row - (self.rank > 0)) for row in sound(self, batch))
    )


def wrong_resuming(monkeypatch):
    """One step further than the checkpoint says."""
    sound = module.read_record
    monkeypatch.setattr(module, "read_record", lambda folder: {"step": sound(folder)["step"] + 1})


def wrong_epochs(monkeypatch):
    """The permutation is none, the same on one process and on many."""
    sound = Batches.starts
    monkeypatch.setattr(
        Batches, "starts", lambda self, samples: np.maximum(sound(self, samples), self.context)
    )


def wrong_documents(monkeypatch):
    """One length has one permutation too many, the same on one process and on many: its pieces come twice."""
    sound = PackedBatches._order
    monkeypatch.setattr(PackedBatches, "_order", lambda self, epoch, length: (
        (lambda numbers: np.zeros_like(numbers)) if length == 16 else sound(self, epoch, length)
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (wrong_rows, "the ranks' rows of step 0 are not the batch"),
        (wrong_documents, "pieces of text came twice"),
    ],
)
def test_a_wrong_order_of_packed_rows_is_found(fault, message, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(OrderError, match=message):
        play(config_of(4, 2), [Failure(4.5, 4)], batches=packed_of(4))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (wrong_rows, "the ranks' rows of step 0 are not the batch"),
        (wrong_resuming, "the weights have seen 5 batches after 6 steps"),
        (wrong_epochs, "pieces of text came twice"),
    ],
)
def test_a_wrong_order_is_found(fault, message, monkeypatch):
    fault(monkeypatch)
    with pytest.raises(OrderError, match=message):
        play(config_of(4, 2), [Failure(4.5, 4)])


def test_the_useful_share_is_about_what_daly_expects():
    config, times = config_of(1, 50), Times(step=10.0, save=30.0, restart=60.0)
    failures = drawn_failures(8, 8, 2000.0, 0.0, seed=5)
    found = play(config, failures, world=1, steps=4000, times=times, batches=batches_of(1, windows=999))
    assert found.failures >= 20
    expected = expected_useful(500.0, times.save, times.restart, 2000.0)
    assert found.useful / found.seconds == pytest.approx(expected, abs=0.03)


def test_failures_without_pause_end_with_a_word():
    with pytest.raises(ConfigError, match="1000 failures in a row, and no checkpoint between them"):
        play(config_of(4, 2), drawn_failures(4, 1, 0.1, 0.0, seed=0))


def test_drawn_failures_are_the_same_for_a_seed_and_take_machines_away_for_a_while():
    one, two = (list(itertools.islice(drawn_failures(64, 8, 50.0, 70.0, 9), 400)) for _ in range(2))
    assert one == two
    assert {failure.ranks % 8 for failure in one} == {0}
    assert min(f.ranks for f in one) < 48 < max(f.ranks for f in one) <= 56
    spare = list(itertools.islice(drawn_failures(64, 8, 50.0, 0.0, 9), 4000))
    assert {failure.ranks for failure in spare} == {64}
    assert spare[-1].seconds / len(spare) == pytest.approx(50.0, rel=0.05)


def test_the_largest_world_shares_the_batch():
    assert [largest_world(12, ranks) for ranks in (1, 5, 11, 12, 99)] == [1, 4, 6, 12, 12]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1, 2]", 'line 2: wanted a JSON object with "seconds" and "ranks"'),
        ('{"seconds": 9, "ranks": 0}', "at least 1 rank"),
        ('{"seconds": -1, "ranks": 1}', "at least 0"),
        ('{"seconds": 2, "ranks": 1}', "2 s comes after 7 s"),
    ],
)
def test_a_trace_that_is_not_right_is_refused_with_its_line(tmp_path, line, message):
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"seconds": 7, "ranks": 4}\n' + line + "\n")
    with pytest.raises(ConfigError, match=message):
        read_failures(trace)


def test_the_command_plays_a_trace_and_says_what_came_of_it(tmp_path, capsys):
    trace = tmp_path / "trace.jsonl"
    rows = [{"seconds": 95, "ranks": 6}, {"seconds": 900, "ranks": 8, "damaged": True}]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["simulate", "--world", "8", "--batch", "16", "--steps", "60", "--checkpoint.every", "4"]
    assert cli.run([*command, "--trace", str(trace)]) == 0
    out = capsys.readouterr().out
    assert "failures   2, from the trace; run on 4 to 8 ranks" in out
    assert "order      60 steps, 960 windows, 2.51 epochs: none lost, none repeated" in out
    assert "1 of them found damaged" in out
    assert cli.run(command) == 0
    assert "between checkpoints (Daly); best is" in capsys.readouterr().out
    assert cli.run(["simulate", "--world", "3", "--batch", "16"]) == 2
    assert "--batch 16 cannot be shared equally by 3 processes" in capsys.readouterr().err
    assert cli.run([*command, "--trace", str(trace), "--order", "packed"]) == 0
    out = capsys.readouterr().out
    assert "documents or pieces of long ones in 960 rows" in out
    assert "none lost, none repeated" in out
    assert cli.run(["simulate", "--batch", "100000", "--steps", "100000"]) == 2
    assert "--steps 500 can be played through" in capsys.readouterr().err
