"""The account of a choice: the model's probabilities, the final ones, and what took a token out."""

import math

import numpy as np
import pytest
from lm_generate.adjust import Adjustment, adjust
from lm_generate.explain import Seen, explain
from lm_generate.sampling import Sampling
from tiny_engines import tiny_engine

ENGINE = tiny_engine()
TEXTS = {i: chr(97 + i) for i in range(6)}
LOGITS = np.log(np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01]))


def account(sampling, **adjustment):
    adjusted = adjust(LOGITS, Adjustment(**adjustment), [0], [])
    return explain(Seen(LOGITS, adjusted, 1), sampling, TEXTS, 6)


def test_each_step_is_named_by_what_it_takes_out():
    got = account(Sampling(temperature=1, top_k=5, top_p=0.9, min_p=0.35), banned_ids=frozenset([0]))
    # left after the ban: b .3 c .15 d .1 e .04 f .01 of .6; top-k 5 keeps all; top-p .9 is b c d (.55 of .6)
    assert [other.text for other in got.alternatives] == list("abcdef")
    assert [other.removed_by for other in got.alternatives] == ["ban", None, None, "min_p", "top_p", "top_p"]
    np.testing.assert_allclose(
        [other.before for other in got.alternatives], [0.4, 0.3, 0.15, 0.1, 0.04, 0.01]
    )
    np.testing.assert_allclose([other.after for other in got.alternatives], [0, 2 / 3, 1 / 3, 0, 0, 0])
    assert (got.chosen.id, got.rank) == (1, 2)
    assert got.entropy_bits == pytest.approx(-sum(p * math.log2(p) for p in np.exp(LOGITS)))


@pytest.mark.parametrize(
    ("sampling", "removed"),
    [
        (Sampling(temperature=1), [None] * 6),
        (Sampling(temperature=0), [None, *["temperature"] * 5]),
        (Sampling(temperature=1, top_k=2), [None, None, *["top_k"] * 4]),
        (
            Sampling(temperature=1, typical_p=0.2),
            ["typical_p", None, *["typical_p"] * 4],
        ),  # entropy 1.45 nats
        (Sampling(temperature=1e-4), [None, *["temperature"] * 5]),
    ],
    ids=str,
)
def test_a_step_alone(sampling, removed):
    assert [other.removed_by for other in account(sampling).alternatives] == removed


def test_an_account_has_the_text_of_generate_and_one_entry_for_each_token():
    options = {"max_tokens": 12, "seed": 3, "top_p": 0.9, "top_k": 30, "stop_ids": (), "logprobs": 3}
    got = ENGINE.explain("def", top=3, **options)
    result, told = got.result, got.tokens
    assert got.read == "def"
    assert result.ids == ENGINE.generate("def", **options).ids
    assert tuple(entry.chosen.id for entry in told) == result.ids
    for entry, logprob in zip(told, result.logprobs, strict=True):
        assert entry.chosen.before == pytest.approx(math.exp(logprob.logprob))
        assert [other.id for other in entry.alternatives] == [id for id, _ in logprob.top]
        assert entry.chosen.after > 0
        assert entry.chosen.removed_by is None


def test_with_healing_the_prompt_that_was_read_and_the_tokens_are_the_whole_text_once():
    for prompt in ("class Fin", "    return no", "def find(names, wanted):\n    for "):
        got = ENGINE.explain(prompt, heal=True, max_tokens=8, seed=1, stop_ids=())
        assert prompt.startswith(got.read)
        whole = got.read.encode() + b"".join(ENGINE.tokenizer.vocab[e.chosen.id] for e in got.tokens)
        assert whole.decode("utf-8", "replace").startswith((prompt + got.result.text).rstrip("\ufffd"))
