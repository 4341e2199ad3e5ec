"""Guesses change how fast a text is written, and nothing in it."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_generate.cli import run
from lm_generate.errors import NonFiniteLogitsError, SettingError
from lm_generate.generate import Row
from lm_generate.rules import Rules
from lm_generate.sampling import Sampling, probabilities
from lm_generate.speculate import GUESSES, DraftModel, PromptLookup, Speculation
from tiny_engines import SHAPES, save_tiny, tiny_engine

ENGINE = tiny_engine(context=128)
LIKE = tiny_engine(context=128)
with torch.no_grad():  # a draft that is right sometimes
    for parameter in LIKE.model.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.02)
OTHER = tiny_engine(seed=5, context=128)
REPEATING = "def find(names):\n    for name in names:\n" * 2


def a_row(ids, **changes):
    rules = Rules(
        sampling=Sampling(temperature=0), seed=0, row=0, max_tokens=50, stop_ids=frozenset(), **changes
    )
    return Row(ids, rules)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_text_is_bit_for_bit_the_one_without_guesses(shape, temperature):
    engine, other = tiny_engine(**SHAPES[shape]), tiny_engine(seed=3)
    options = {"max_tokens": 25, "temperature": temperature, "seed": 4, "logprobs": 2, "stop_ids": ()}
    for prompt in ("def", REPEATING[:40]):
        wanted = engine.generate(prompt, **options)
        for draft in ("prompt", engine, other):
            got = engine.generate(prompt, draft=draft, **options)
            assert (got.text, got.ids) == (wanted.text, wanted.ids)
            if engine.decode.any_pieces:
                assert got.logprobs == wanted.logprobs


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["prompt", LIKE, OTHER]),
    st.integers(0, 2**32),
    st.sampled_from(
        [
            {},
            {"stop": ["n", " s"]},
            {"top_k": 5, "repetition_penalty": 1.3},
            {"heal": True, "min_tokens": 5},
            {"past_context": "roll", "max_tokens": 300},
        ]
    ),
)
def test_whatever_the_settings_are(draft, seed, options):
    options = {"max_tokens": 30, "seed": seed} | options
    wanted, got = ENGINE.generate(REPEATING, **options), ENGINE.generate(REPEATING, draft=draft, **options)
    assert (got.text, got.ids, got.finish_reason, got.stopped_by) == (
        wanted.text, wanted.ids, wanted.finish_reason, wanted.stopped_by
    )  # fmt: skip
    stream = ENGINE.stream(REPEATING, draft=draft, **options)
    assert "".join(stream) == wanted.text


def test_the_distribution_of_two_tokens_is_the_models_own():
    prompt, sampling, count = [1, 2, 3], Sampling(temperature=0.7, top_k=4), 1500
    expected, cache = {}, ENGINE.decode.new_cache(16)
    first = probabilities(ENGINE.decode([(cache, prompt)])[0], sampling)
    for a in np.flatnonzero(first):
        second = probabilities(ENGINE.decode([(ENGINE.decode.new_cache(16), [*prompt, int(a)])])[0], sampling)
        expected |= {(int(a), int(b)): first[a] * second[b] for b in np.flatnonzero(second)}
    found = dict.fromkeys(expected, 0)
    for seed in range(count):
        result = ENGINE.generate(
            prompt, draft=LIKE, max_tokens=2, temperature=0.7, top_k=4, seed=seed, stop_ids=()
        )
        found[result.ids] += 1
    squares = sum((found[pair] - count * p) ** 2 / (count * p) for pair, p in expected.items())
    freedom = len(expected) - 1
    assert freedom >= 8
    assert squares < freedom + 4 * (2 * freedom) ** 0.5  # 4 standard deviations of a chi-square


def steps_of(engine, drafter, prompt, **options):
    """The number of tokens that each step wrote."""
    from lm_generate.settings import make_settings

    batch = Speculation(engine.decode, drafter)
    batch.add(engine.text(prompt, make_settings(stop_ids=(), **options), 0).row)
    written = []
    while batch.busy:
        if step := batch.step():
            written.append(len(step))
    return written


def test_a_draft_that_is_always_right_writes_all_its_guesses_and_one_more_at_a_step():
    written = steps_of(ENGINE, DraftModel(ENGINE.decode), "def", max_tokens=2 + 3 * (GUESSES + 1), seed=1)
    assert written == [1] + [GUESSES + 1] * 3 + [1]


def test_a_draft_of_another_mind_costs_no_token():
    assert sum(steps_of(ENGINE, DraftModel(OTHER.decode), "def", max_tokens=30, seed=1)) == 30


def test_what_followed_the_longest_same_ending_is_guessed_newest_first():
    lookup = PromptLookup()
    row = a_row([1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3])
    assert list(lookup.guess(row, 3)) == [4, 9, 2]  # after 1 2 3, not after the newer 2 3
    row.written += [9]
    assert list(lookup.guess(row, 2)) == [2, 3]
    row.written += [2, 3]
    assert list(lookup.guess(row, 9)) == [5, 1, 2, 3, 9, 2, 3]
    assert list(PromptLookup().guess(a_row([1, 2, 3]), 5)) == []
    assert list(PromptLookup().guess(a_row([7, 7]), 5)) == [7]


def test_a_draft_model_forgets_what_was_wrong_and_guesses_nothing_past_its_context():
    draft = DraftModel(ENGINE.decode)
    row = a_row([1, 2, 3])
    guesses = draft.guess(row, 4)
    row.written += [guesses[0], (guesses[1] + 1) % 300]
    assert draft.guess(row, 4) == DraftModel(ENGINE.decode).guess(row, 4)
    assert list(draft.guess(a_row([1] * 125), 5)) == []


def test_on_the_command_line_a_draft_changes_no_text(tmp_path, capsys):
    folder, small = str(save_tiny(tmp_path / "model")), str(save_tiny(tmp_path / "small", seed=2))
    command = ["--prompt", "def", "--model", folder, "--max-tokens", "20", "--seed", "1", "-q"]
    texts = []
    for more in ([], ["--draft", "prompt"], ["--draft", small], ["--json"], ["--json", "--draft", small]):
        assert run([*command, *more]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] == texts[2]
    assert json.loads(texts[3])["ids"] == json.loads(texts[4])["ids"]
    assert run([*command, "--draft", "prompt", "-n", "2"]) == 2
    assert "--draft is for one text" in capsys.readouterr().err


def test_a_wrong_draft_is_refused_by_name():
    with pytest.raises(SettingError, match='draft must be None, "prompt" or an Engine'):
        ENGINE.generate("def", draft="lookup")
    with pytest.raises(SettingError, match=r"vocabulary \(330, this model's 320\)"):
        ENGINE.stream("def", draft=tiny_engine(vocab_size=330))


def test_damaged_weights_end_the_text_with_their_error():
    engine = tiny_engine()
    guesses = engine.generate([1], temperature=0, max_tokens=3, stop_ids=()).ids
    with torch.no_grad():
        engine.model.embedding.weight[guesses[1]] = float("nan")
    for draft in (None, tiny_engine()):
        with pytest.raises(NonFiniteLogitsError):
            engine.generate([1], temperature=0, max_tokens=9, draft=draft, stop_ids=())
