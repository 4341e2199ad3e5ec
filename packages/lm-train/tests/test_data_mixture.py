"""Mixtures: exact shares, each part in its own order, and nothing but the step decides a batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_train.batches import Batches
from lm_train.config import TrainConfig
from lm_train.dataset import TokenDataset
from lm_train.errors import ConfigError, TooFewTokensError
from lm_train.mixture import BLOCK, MixedIn, Mixture, data_fingerprint, places_of, training_batches
from lm_train.permutation import Permutation
from lm_train.read_ahead import ReadAhead

SIZES = {"a": (0, 900), "b": (10_000, 500), "c": (20_000, 160)}  # first id, tokens: an id names its part


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    found = {}
    for name, (first, tokens) in SIZES.items():
        np.save(folder / f"{name}.npy", np.arange(first, first + tokens, dtype="<u4"))
        found[name] = TokenDataset(folder / f"{name}.npy")
    return found


def mixture(parts, shares=(0.25, 0.1), batch=7, seed=3):
    mixed = [MixedIn(name, parts[name], share) for name, share in zip("bc", shares, strict=False)]
    return Mixture(parts["a"], mixed, context=8, batch=batch, seed=seed, name="a")


def naive_rows(parts, shares, samples, seed):
    """The first token of each sample's window, by the definition in docs/data-order.md, one sample after another."""
    names = ["a", *"bc"[: len(shares)]]
    counts = [round(1000 * share) for share in shares]
    counts = [1000 - sum(counts), *counts]
    alone = {name: Batches(parts[name], context=8, batch=1, seed=seed) for name in names}
    first_ids = []
    for sample in samples:
        block, place = divmod(sample, 1000)
        slot = int(Permutation(1000, "lm-train mixture", 1, seed, block)(place))
        part = 0
        while slot >= counts[part]:
            slot -= counts[part]
            part += 1
        inputs, _ = alone[names[part]].batch(block * counts[part] + slot)
        first_ids.append(int(inputs[0, 0]))
    return first_ids


@settings(deadline=None, max_examples=15)
@given(
    step=st.integers(0, 2_000),
    batch=st.integers(1, 9),
    seed=st.integers(0, 2**63 - 1),
    shares=st.sampled_from([(0.25, 0.1), (0.5,), (0.001, 0.998)]),
)
def test_a_batch_is_the_definition_spelled_out(parts, step, batch, seed, shares):
    inputs, targets = mixture(parts, shares, batch, seed).batch(step)
    samples = range(step * batch, (step + 1) * batch)
    assert inputs[:, 0].tolist() == naive_rows(parts, shares, samples, seed)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(8))
    assert torch.equal(targets, inputs + 1)


def test_every_block_has_exactly_the_shares(parts):
    mixed = mixture(parts)
    for block in range(3):
        of, _ = mixed.assigned(np.arange(block * BLOCK, (block + 1) * BLOCK))
        assert np.bincount(of).tolist() == [650, 250, 100]


def test_each_part_takes_its_own_samples_once_and_in_whole_blocks(parts):
    of, numbers = mixture(parts).assigned(np.arange(3 * BLOCK))
    for part, count in enumerate((650, 250, 100)):
        assert sorted(numbers[of == part]) == list(range(3 * count))
        assert sorted(numbers[:BLOCK][of[:BLOCK] == part]) == list(range(count))


def test_any_rows_at_any_step_are_those_of_the_whole_batch_in_a_fresh_reader(parts):
    mixed = mixture(parts)
    for step in (900, 3, 142, 143):  # samples 994..1000 and 1001..: at the edge of a block
        whole = mixed.batch(step)
        again = mixture(parts)
        pieces = [again.rows(step, 5, 7), again.rows(step, 0, 2), again.rows(step, 2, 5)]
        for side in (0, 1):
            assert torch.equal(whole[side], torch.cat([pieces[1][side], pieces[2][side], pieces[0][side]]))
    with pytest.raises(ValueError, match=r"rows 0\.\.8 of a batch of 7"):
        mixed.rows(0, 0, 8)


def test_a_lone_text_is_no_mixture_and_keeps_its_order(parts):
    config = TrainConfig(batch=4, model=replace(TrainConfig().model, context=8))
    assert isinstance(training_batches(config, parts["a"], ()), Batches)
    assert data_fingerprint(parts["a"], ()) == parts["a"].fingerprint


def test_the_fingerprint_knows_every_part_and_share(parts):
    b, c = MixedIn("b", parts["b"], 0.2), MixedIn("c", parts["c"], 0.2)
    prints = [
        data_fingerprint(parts["a"], mixed)
        for mixed in ((), (b,), (c,), (b, c), (c, b), (replace(b, share=0.3),))
    ]
    assert len(set(prints)) == len(prints)
    assert data_fingerprint(parts["a"], (replace(b, name="another name"),)) == prints[1]


def test_a_message_names_the_texts_of_a_batch(parts):
    where = mixture(parts).where(0)
    assert where.count("tokens [") == where.count(" of ") >= 2
    assert "of a" in where


def test_a_part_without_a_window_is_refused(parts):
    with pytest.raises(TooFewTokensError, match="160 in the train split"):
        Mixture(parts["a"], [MixedIn("c", parts["c"], 0.5)], context=160, batch=1, seed=0, name="a")


@pytest.mark.parametrize("shares", [[0.0001], [0.9999], [0.6, 0.3996]])
def test_a_share_without_a_place_is_refused(shares):
    with pytest.raises(ConfigError, match=r"at least 0\.001"):
        places_of(shares)


@pytest.mark.parametrize("mix", ["books", "books=", "=0.3", "books=0", "books=1", "books=-0.1", "books=nan"])
def test_what_is_no_text_and_share_is_refused(mix):
    with pytest.raises(ConfigError, match=r"mix must be a text and its share, as in books/=0\.3"):
        TrainConfig(mix=(mix,))


def test_shares_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match="shares of less than 1 in all"):
        TrainConfig(mix=("a=0.5", "b=0.5"))
    assert TrainConfig(mix=("a=b.txt=0.5",)).mixed == (("a=b.txt", 0.5),)


def test_reading_ahead_gives_what_reading_gives_at_any_step():
    asked = []

    def read(step):
        asked.append(step)
        return 10 * step

    ahead = ReadAhead(read)
    assert [ahead(step) for step in range(5)] == [0, 10, 20, 30, 40]
    assert sorted(asked)[:5] == [0, 1, 2, 3, 4]  # each read once
    assert [ahead(step) for step in (9, 2, 3)] == [90, 20, 30]
    ahead.close()


def test_an_error_of_the_reader_comes_with_its_own_step():
    def read(step):
        if step == 2:
            raise OSError("cut off")
        return step

    ahead = ReadAhead(read)
    assert [ahead(0), ahead(1)] == [0, 1]
    with pytest.raises(OSError, match="cut off"):
        ahead(2)
    ahead.close()
