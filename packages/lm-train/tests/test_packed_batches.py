"""Rows of whole documents: each token predicted once an epoch, from its own document, whoever reads which rows."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from lm_core import IGNORED
from lm_train.batches import ValidationWindows
from lm_train.corpus import MixedIn
from lm_train.dataset import TokenDataset
from lm_train.errors import DatasetError
from lm_train.mixture import training_batches
from lm_train.packed_batches import PackedBatches
from lm_train.prepare import prepare
from tiny_runs import tiny_config, tiny_text

CONTEXT = 48


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Documents from 1 token (empty) to some times the context, in several files."""
    folder = tmp_path_factory.mktemp("packed")
    text = tiny_text(6_000) + "<|endoftext|>\n" + "<|endoftext|>\n".join("ab " * n for n in range(90))
    (folder / "text.txt").write_text(text)
    (folder / "other.txt").write_text(tiny_text(2_000, seed=1))
    made = prepare(folder / "text.txt", folder / "data", vocab_size=280, shard_tokens=900)
    prepare(folder / "other.txt", folder / "other", tokenizer=made.load_tokenizer())
    return TokenDataset(folder / "data")


def packed(data, *, batch=5, seed=0, context=CONTEXT, apart=True):
    return PackedBatches(data, context=context, batch=batch, seed=seed, apart=apart)


def documents_of(data):
    """Each document's token places in the split."""
    ends = [int(end) for end in data.document_ends("train")]
    return list(itertools.pairwise([0, *ends]))


def pieces_by_hand(data, context):
    """(start, length) of every piece, by the rule: cut every `context` tokens from the document's beginning."""
    return [
        (at, min(context, stop - at))
        for start, stop in documents_of(data)
        for at in range(start, stop, context)
    ]


@pytest.mark.parametrize("context", [7, CONTEXT, 300])
@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_every_token_of_every_document_is_a_target_once_an_epoch(data, context, epoch):
    batches = packed(data, context=context)
    found = [
        piece
        for sample in range(epoch * batches.windows, (epoch + 1) * batches.windows)
        for piece in batches.pieces_of(sample)
    ]
    assert sorted(found) == pieces_by_hand(data, context)
    assert sum(length for _, length in found) == data.tokens("train")


@pytest.mark.parametrize("context", [7, CONTEXT, 300])
def test_the_pieces_of_many_rows_are_those_of_each(data, context):
    batches = packed(data, context=context)
    samples = np.random.default_rng(0).permutation(3 * batches.windows)[: batches.windows]
    rows, starts, lengths = batches.spans(samples)
    one_by_one = [
        (row, *piece) for row, sample in enumerate(samples) for piece in batches.pieces_of(int(sample))
    ]
    assert list(zip(rows, starts, lengths, strict=True)) == one_by_one


def test_a_row_holds_its_pieces_one_after_the_other_and_then_padding(data):
    batches, ids = packed(data), data.read("train", 0, data.tokens("train")).astype(np.int64)
    end = data.end_of_text
    for step in range(4):
        inputs, targets, documents = batches.batch(step)
        for row in range(5):
            read, predicted, numbers = [], [], []
            for number, (start, length) in enumerate(batches.pieces_of(step * 5 + row)):
                before = ids[start - 1] if start else end
                read += [before, *ids[start : start + length - 1]]
                predicted += ids[start : start + length].tolist()
                numbers += [number] * length
            padding = CONTEXT - len(read)
            assert inputs[row].tolist() == read + [end] * padding
            assert targets[row].tolist() == predicted + [IGNORED] * padding
            assert documents[row].tolist() == numbers + [-1] * padding


def test_each_document_is_read_after_an_end_of_text(data):
    batches, starts = packed(data), {start for start, _ in documents_of(data)}
    for step in range(6):
        inputs = batches.batch(step)[0]
        for row in range(5):
            at = 0
            for start, length in batches.pieces_of(step * 5 + row):
                if start in starts:
                    assert inputs[row, at] == data.end_of_text
                at += length


def test_rows_are_fuller_than_with_documents_in_their_order(data):
    batches = packed(data)
    rows, room = 0, 0
    for _, length in pieces_by_hand(data, CONTEXT):
        if length > room:
            rows, room = rows + 1, CONTEXT
        room -= length
    assert batches.windows < rows
    assert batches.efficiency == data.tokens("train") / (batches.windows * CONTEXT)
    assert batches.efficiency > 0.97


def test_the_tokens_of_a_step_are_its_targets(data):
    batches = packed(data)
    steps = range(batches.windows)  # batch epochs
    counted = [batches.tokens(step) for step in steps]
    assert counted[:20] == [int((batches.batch(step)[1] != IGNORED).sum()) for step in range(20)]
    assert sum(counted) == batches.batch_size * data.tokens("train")
    assert sum(counted) / len(counted) == pytest.approx(batches.tokens_per_step)


def test_a_step_needs_nothing_but_its_number_and_any_ranks_read_the_same_batch(data):
    unbroken = packed(data, batch=6)
    wanted = [unbroken.batch(step) for step in range(40)]  # into a second epoch
    for step in (39, 0, 17):
        fresh = packed(data, batch=6)
        for ranks in (1, 2, 3):
            rows = 6 // ranks
            parts = [fresh.rows(step, rank * rows, (rank + 1) * rows) for rank in range(ranks)]
            for whole, tensors in zip(wanted[step], zip(*parts, strict=True), strict=True):
                assert torch.equal(torch.cat(tensors), whole)


def test_each_epoch_and_each_seed_has_its_own_rows(data):
    def rows(seed, epoch):
        batches = packed(data, seed=seed)
        first = epoch * batches.windows
        return [tuple(batches.pieces_of(first + place)) for place in range(batches.windows)]

    one, other, reseeded = rows(0, 0), rows(0, 1), rows(1, 0)
    assert one == rows(0, 0)
    for another in (other, reseeded):
        assert one != another
        shared = {frozenset(row) for row in one if len(row) > 1} & {frozenset(row) for row in another}
        assert len(shared) < len(one) / 4  # other documents together


def test_without_numbers_of_documents_the_rows_are_the_same(data):
    inputs, targets, _ = packed(data).batch(3)
    together = packed(data, apart=False).batch(3)
    assert len(together) == 2
    assert torch.equal(together[0], inputs)
    assert torch.equal(together[1], targets)


def test_a_mixture_takes_packed_rows_of_each_part(data, tmp_path):
    other = TokenDataset(data.folder.parent / "other")
    config = replace(
        tiny_config(tmp_path, order="packed", batch=7, mix=("other=0.25",)),
        model=replace(tiny_config(tmp_path).model, context=CONTEXT),
    )
    mixed = training_batches(config, data, [MixedIn("other", other, 0.25)])
    alone = [PackedBatches(each, context=CONTEXT, batch=1, seed=config.seed) for each in (data, other)]
    for step in (0, 30, 142):
        batch = mixed.batch(step)
        parts, numbers = mixed.assigned(np.arange(7 * step, 7 * step + 7))
        for row, (part, number) in enumerate(zip(parts, numbers, strict=True)):
            for tensor, expected in zip(batch, alone[part].batch(int(number)), strict=True):
                assert torch.equal(tensor[row], expected[0])
        assert mixed.tokens(step) == int((batch[1] != IGNORED).sum())
    assert set(parts) == {0, 1}


def test_held_out_windows_tell_documents_apart_at_the_end_of_text(data):
    windows = ValidationWindows(data, context=CONTEXT, batch=4, split="train", apart=True)
    inputs, _, documents = windows[0]
    for row in range(4):
        number = 0
        for place in range(CONTEXT):
            number += int(inputs[row, place] == data.end_of_text)
            assert documents[row, place] == number


def test_the_example_of_the_specification(tmp_path):
    lengths = [5, 3, 11, 2, 6, 4, 3, 8]  # with the end-of-text
    (tmp_path / "text.txt").write_text("<|endoftext|>".join("a" * (length - 1) for length in lengths))
    made = prepare(tmp_path / "text.txt", tmp_path / "data", tokenizer="characters", valid_share=0)
    batches = packed(made, context=8, batch=2)
    assert batches.windows == 6
    assert [batches.pieces_of(sample) for sample in range(7)] == [
        [(27, 4), (16, 3)],
        [(19, 2), (21, 6)],
        [(8, 8)],
        [(34, 8)],
        [(31, 3)],
        [(5, 3), (0, 5)],
        [(0, 5), (31, 3)],
    ]


def test_what_cannot_be_packed_is_refused(tmp_path, data):
    np.save(tmp_path / "ids.npy", np.arange(500, dtype="<u2"))
    with pytest.raises(DatasetError, match=r"has no end-of-text token between documents.*--order windows"):
        packed(TokenDataset(tmp_path / "ids.npy"))
