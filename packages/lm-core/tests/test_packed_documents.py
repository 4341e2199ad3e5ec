"""Several documents in a row (lm_core/documents.py; test_documents.py runs the README)."""

import itertools

import pytest
import torch
from lm_core import IGNORED, Attention, KVCache
from lm_core.documents import Documents, read_documents
from lm_core.errors import ShapeError
from same_gradients import assert_same, randn
from tiny_models import VARIANTS, shaken, some_ids, tiny_config, tiny_model

NUMBERS = torch.tensor([[7, 7, 7, 2, 2, 2, 2, 2, 2, 2, 9, 4], [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]])


def alone(numbers):
    """(row, start, stop) of each document, by hand."""
    for row, line in enumerate(numbers.tolist()):
        cuts = [i for i in range(len(line) + 1) if i in (0, len(line)) or line[i] != line[i - 1]]
        for start, stop in itertools.pairwise(cuts):
            yield row, start, stop


def test_the_places_of_tokens_in_their_documents():
    documents = read_documents(NUMBERS, NUMBERS)
    assert documents.first[0].tolist() == [0, 0, 0, 3, 3, 3, 3, 3, 3, 3, 10, 11]
    assert documents.positions[0].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5, 6, 0, 0]
    assert documents.lengths == [3, 7, 1, 1, 12]


@pytest.mark.parametrize("window", [None, 1, 3])
def test_the_mask_is_the_same_document_and_not_later_and_within_the_window(window):
    mask = read_documents(NUMBERS, NUMBERS).mask(window)
    for row, line in enumerate(NUMBERS.tolist()):
        for i in range(12):
            for j in range(12):
                expected = line[i] == line[j] and j <= i and (window is None or j > i - window)
                assert mask[row, 0, i, j] == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_logits_are_those_of_every_document_alone(variant):
    model, ids = tiny_model(variant), some_ids(2, 12)
    logits = model(ids, documents=NUMBERS)
    for row, start, stop in alone(NUMBERS):
        torch.testing.assert_close(
            logits[row, start:stop], model(ids[row : row + 1, start:stop])[0], atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_document_by_document_is_the_plain_definition_in_value_and_gradient(variant):
    fast, plain = (shaken(Attention(tiny_config(variant), fast=fast).double()) for fast in (True, False))
    plain.load_state_dict(fast.state_dict())
    documents = read_documents(NUMBERS, NUMBERS)
    x = randn(2, 12, 32, dtype=torch.float64)
    masked = Documents(documents.first, None)  # what a GPU runs
    for given in (documents, masked):
        assert_same(lambda x, given=given: fast(x, None, given), lambda x: plain(x, None, documents), x)


@pytest.mark.parametrize("variant", ["llama", "gpt2", "qwen3 with a window", "soft-capped, padded"])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("recompute", [True, False])
def test_the_loss_of_a_packed_row_is_the_mean_over_its_documents_alone(variant, fast, recompute):
    model, ids = tiny_model(variant, fast=fast), some_ids(2, 13)
    model.recompute = recompute
    last = torch.cat([NUMBERS[:, 1:] != NUMBERS[:, :-1], torch.tensor([[True], [True]])], 1)
    targets = ids[:, 1:].masked_fill(last, IGNORED)  # a document's last token is followed by another document
    loss = model.loss(ids[:, :-1], targets, documents=NUMBERS)
    parts, count = 0.0, 0
    for row, start, stop in alone(NUMBERS):
        if stop - start > 1:
            here = ids[row : row + 1, start:stop]
            parts = parts + model.loss(here[:, :-1], here[:, 1:]) * (stop - start - 1)
            count += stop - start - 1
    torch.testing.assert_close(loss, parts / count, atol=1e-6, rtol=1e-5)
    ours, theirs = (torch.autograd.grad(x, list(model.parameters())) for x in (loss, parts / count))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_one_document_a_row_is_no_document_at_all():
    model, ids = tiny_model("gpt2"), some_ids(2, 12)
    torch.testing.assert_close(model(ids, documents=torch.zeros_like(ids)), model(ids))


def test_what_does_not_fit_is_named():
    model, ids = tiny_model(), some_ids(2, 12)
    with pytest.raises(ShapeError, match=r"a number for each id, \(2, 12\), got \(2, 11\)"):
        model(ids, documents=NUMBERS[:, 1:])
    with pytest.raises(ShapeError, match="give documents, or a cache, not both"):
        model(ids, KVCache(model.config, 2), documents=NUMBERS)
