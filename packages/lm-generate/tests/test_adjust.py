"""Bias, penalties and bans against their definition, in lists and loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_generate.adjust import Adjustment, adjust
from lm_generate.errors import NonFiniteLogitsError, SettingError
from tiny_engines import tiny_engine

SIZE = 9
ids = st.integers(0, SIZE - 1)
ENGINE = tiny_engine()


def by_definition(logits, a, prompt, written, banned, ends, may_come):
    """The docstring of the module, line by line."""
    logit = [x + a.logit_bias.get(i, 0.0) for i, x in enumerate(logits)]
    recent = (["prompt"] * len(prompt) + ["written"] * len(written), [*prompt, *written])
    pairs = list(zip(*recent, strict=True))
    if a.penalty_window:
        pairs = pairs[-a.penalty_window :]
    for i in range(SIZE):
        if any(id == i for _, id in pairs):
            logit[i] = logit[i] / a.repetition_penalty if logit[i] > 0 else logit[i] * a.repetition_penalty
        times = sum(1 for where, id in pairs if where == "written" and id == i)
        logit[i] -= a.frequency_penalty * times
        if times:
            logit[i] -= a.presence_penalty
        out = i in banned or i in a.banned_ids
        out = out or (a.allowed_ids is not None and i not in a.allowed_ids)
        out = out or (may_come is not None and i not in may_come)
        out = out or (len(written) < a.min_tokens and i in ends)
        if out:
            logit[i] = -math.inf
    return logit


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(-8, 8).map(float), min_size=SIZE, max_size=SIZE),
    st.builds(
        Adjustment,
        logit_bias=st.dictionaries(ids, st.sampled_from([-math.inf, -2.0, 0.5, 3.0]), max_size=3),
        repetition_penalty=st.sampled_from([1.0, 1.3, 0.5]),
        presence_penalty=st.sampled_from([0.0, 0.7, -0.7]),
        frequency_penalty=st.sampled_from([0.0, 0.4, -1.0]),
        penalty_window=st.sampled_from([0, 1, 3, 50]),
        allowed_ids=st.none() | st.frozensets(ids, min_size=1),
        min_tokens=st.integers(0, 4),
    ),
    st.lists(ids, min_size=1, max_size=6),
    st.lists(ids, max_size=6),
    st.sets(ids, max_size=2),
    st.sets(ids, max_size=2),
    st.none() | st.sets(ids, min_size=1),
)
def test_adjusted_logits_are_the_definitions(logits, adjustment, prompt, written, banned, ends, may_come):
    got = adjust(
        np.array(logits, dtype=np.float32),
        adjustment,
        prompt,
        written,
        banned=np.array(sorted(banned), dtype=np.int64),
        ends=ends,
        may_come=None if may_come is None else sorted(may_come),
    )
    wanted = by_definition(logits, adjustment, prompt, written, banned, ends, may_come)
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_the_repetition_penalty_is_that_of_transformers():
    import torch
    from transformers import RepetitionPenaltyLogitsProcessor

    logits = torch.randn(1, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = [3, 8, 8, 20]
    wanted = RepetitionPenaltyLogitsProcessor(1.4)(torch.tensor([seen]), logits.clone())[0].numpy()
    got = adjust(logits[0].numpy(), Adjustment(repetition_penalty=1.4), seen[:2], seen[2:])
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_nothing_to_adjust_gives_the_same_array():
    logits = np.zeros(3, dtype=np.float32)
    assert adjust(logits, Adjustment(), [1], [2]) is logits


def test_penalties_act_on_greedy_choice_as_well():
    loop = ENGINE.generate("def", max_tokens=40, temperature=0, stop_ids=())
    free = ENGINE.generate("def", max_tokens=40, temperature=0, stop_ids=(), frequency_penalty=1000.0)
    assert len(set(free.ids)) == 40
    assert len(set(loop.ids)) < 40


def test_reported_log_probabilities_are_those_of_the_model_before_any_adjustment():
    free = ENGINE.generate("def", max_tokens=1, temperature=0, logprobs=2)
    best = free.ids[0]
    other = ENGINE.generate("def", max_tokens=1, temperature=0, logprobs=2, banned_ids=[best])
    assert other.ids[0] == free.logprobs[0].top[1][0]
    assert other.logprobs[0].top == free.logprobs[0].top


def test_allowed_ids_are_all_that_is_written():
    got = ENGINE.generate("def", max_tokens=30, temperature=2.0, seed=1, allowed_ids=[65, 70, 75])
    assert set(got.ids) == {65, 70, 75}


def test_no_end_comes_before_min_tokens():
    (end,) = ENGINE.stop_ids
    eager = {"logit_bias": {end: 1000.0}, "seed": 0, "max_tokens": 9}
    assert ENGINE.generate("def", **eager).ids == ()
    late = ENGINE.generate("def", min_tokens=4, **eager)
    assert (len(late.ids), late.finish_reason, late.stopped_by) == (4, "stop", end)


def test_a_row_with_penalties_is_the_same_alone_and_beside_others():
    options = {"max_tokens": 12, "seed": 3, "repetition_penalty": 1.5, "presence_penalty": 0.5, "min_p": 0.02}
    rows = ENGINE.batch(["def", "class", "return x"], **options)
    for row, prompt in enumerate(["def", "class", "return x"]):
        assert rows[row].ids == ENGINE.generate(prompt, row=row, **options).ids


def test_bans_that_leave_nothing_are_an_error():
    with pytest.raises(NonFiniteLogitsError, match="no token is left to choose from"):
        ENGINE.generate("def", max_tokens=2, banned_ids=range(320))


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        (
            {"repetition_penalty": 0},
            r"repetition_penalty must be a finite number above 0 \(1 turns it off\), got 0",
        ),
        ({"repetition_penalty": math.inf}, "repetition_penalty .* got inf"),
        ({"presence_penalty": math.nan}, "presence_penalty must be a finite number"),
        ({"frequency_penalty": math.inf}, "frequency_penalty must be a finite number"),
        ({"penalty_window": -1}, "penalty_window must be a whole number from 0"),
        ({"min_tokens": -1}, "min_tokens must be a whole number from 0"),
        ({"min_tokens": 5, "max_tokens": 4}, r"min_tokens \(5\) must not be above max_tokens \(4\)"),
        ({"logit_bias": {1: math.nan}}, "logit_bias of id 1 must be a number or -inf, got nan"),
        ({"logit_bias": {320: 1.0}}, r"logit_bias: id 320 is outside the model's vocabulary \(0..319\)"),
        ({"allowed_ids": []}, "allowed_ids leaves no id to choose from"),
        ({"allowed_ids": [1], "banned_ids": [1]}, "allowed_ids leaves no id to choose from"),
        ({"banned_ids": [-1]}, "banned_ids: id -1 is outside"),
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused_by_name(given_settings, message):
    with pytest.raises(SettingError, match=message):
        ENGINE.generate("def", **given_settings)
