"""Scores against one plain pass for each token."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_generate.errors import NonFiniteLogitsError, PromptError, SettingError
from lm_generate.score import windows
from tiny_engines import TEXT, tiny_engine

ENGINE = tiny_engine(context=32)


def naive_logprobs(ids: list[int], context: int, stride: int) -> list[float]:
    """For each token by itself: find its window, read the window up to it, look the token up."""
    result = []
    for t in range(1, len(ids)):
        start = 0 if t <= context else stride * math.ceil((t - context) / stride)
        with torch.inference_mode():
            logits = ENGINE.model(torch.tensor([ids[start:t]]))[0, -1]
        result.append(float(logits.log_softmax(-1)[ids[t]]))
    return result


@pytest.mark.parametrize("stride", [1, 5, 16, 32])
def test_every_token_is_scored_once_in_the_first_window_that_reaches_it(stride):
    ids = ENGINE.encode(TEXT)[:90]
    score = ENGINE.score(ids, stride=stride)
    wanted = naive_logprobs([ENGINE.start_id, *ids], 32, stride)
    torch.testing.assert_close(torch.tensor(score.logprobs), torch.tensor(wanted), atol=2e-5, rtol=0)


@given(st.integers(0, 200), st.integers(1, 40), st.data())
@settings(deadline=None)
def test_windows_cover_every_token_but_the_first_exactly_once(length, context, data):
    stride = data.draw(st.integers(1, context))
    scored = []
    for start, first, stop in windows(length, context, stride):
        assert stop - start - 1 <= context
        assert start < first
        if start:
            assert first - start >= context - stride + 1
        scored += range(first, stop)
    assert scored == list(range(1, length))


def test_the_sums_follow_from_the_log_probabilities():
    score = ENGINE.score("def find(names):")
    assert score.nats == pytest.approx(-sum(score.logprobs))
    assert score.bytes == 16
    assert len(score.logprobs) == len(score.ids)
    assert score.bits_per_byte == pytest.approx(score.nats / math.log(2) / 16)
    assert score.perplexity == pytest.approx(math.exp(score.nats / len(score.ids)))


def test_without_a_token_that_begins_a_text_the_first_is_not_scored_nor_are_its_bytes():
    engine = tiny_engine(context=32)
    engine.start_id = None
    score = engine.score("def find(names):")
    first = len(engine.tokenizer.decode_bytes(score.ids[:1]))
    assert len(score.logprobs) == len(score.ids) - 1
    assert score.bytes == 16 - first
    with pytest.raises(PromptError, match="nothing to score: the text holds 1 token"):
        engine.score([5])


def test_log_probabilities_of_written_tokens_are_those_of_scoring_them():
    prompt = ENGINE.encode("def find")
    got = ENGINE.generate(  # a scored text is read as the beginning of a document
        [ENGINE.start_id, *prompt],
        max_tokens=10,
        temperature=1.3,
        top_k=50,
        seed=4,
        logprobs=3,
        stop_ids=(),
    )
    assert got.logprobs is not None
    score = ENGINE.score(prompt + list(got.ids))
    for told, wanted in zip(got.logprobs, score.logprobs[len(prompt) :], strict=True):
        assert told.logprob == pytest.approx(wanted, abs=2e-5)
        assert len(told.top) == 3
        assert told.top[0][1] >= told.top[1][1] >= told.top[2][1]
        assert told.top[0][1] >= told.logprob - 1e-6


def test_an_empty_text_and_a_bad_stride_are_refused():
    with pytest.raises(PromptError, match="nothing to score"):
        ENGINE.score("")
    with pytest.raises(SettingError, match="stride must be from 1 to the context of 32, got 33"):
        ENGINE.score("def", stride=33)


def test_damaged_weights_have_no_score():
    engine = tiny_engine()
    with torch.no_grad():
        engine.model.norm.weight[0] = float("nan")
    with pytest.raises(NonFiniteLogitsError, match="the weights are damaged"):
        engine.score("def")
