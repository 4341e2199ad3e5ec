"""Each step of sampling against its definition, on whole distributions."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lm_generate.errors import NonFiniteLogitsError, SettingError
from lm_generate.sampling import (
    Sampling,
    candidates,
    choose,
    greedy,
    log_probabilities,
    probabilities,
)


def by_definition(
    logits: list[float],
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float = 0.0,
    typical_p: float = 1.0,
) -> list[float]:
    """The lines of the module's docstring, spelled out with lists and sorted()."""
    everything = range(len(logits))
    order = sorted(everything, key=lambda i: (-logits[i], i))
    if temperature == 0:
        return [1.0 if i == order[0] else 0.0 for i in everything]
    p = [math.exp((logit - max(logits)) / temperature) for logit in logits]

    def only(kept):
        total = math.fsum(p[i] for i in kept)
        return [p[i] / total if i in kept else 0.0 for i in everything]

    def first_that_reach(share, order):
        reached, run = 0.0, set()
        for i in order:
            run.add(i)
            reached += p[i]
            if reached >= share:
                break
        return run

    p = only(set(order[:top_k] if top_k else order))
    p = only(first_that_reach(top_p, sorted(everything, key=lambda i: (-p[i], i))))
    p = only({i for i in everything if p[i] >= min_p * max(p)})
    if typical_p < 1:
        surprise = [-math.log(x) if x else math.inf for x in p]
        entropy = math.fsum(x * s for x, s in zip(p, surprise, strict=True) if x)
        nearest = sorted(everything, key=lambda i: (round(abs(surprise[i] - entropy), 9), i))
        p = only(first_that_reach(typical_p, nearest))
    return p


quarter_steps = st.integers(-16, 16).map(lambda n: n / 4)  # few values, so that ties are common


@settings(max_examples=400, deadline=None)
@given(
    st.lists(quarter_steps, min_size=1, max_size=12),
    st.sampled_from([0, 0.3, 0.8, 1, 2.5]),
    st.integers(0, 14),
    st.sampled_from(
        [0.0513, 0.3717, 0.5129, 0.9031, 0.9991, 1.0]
    ),  # no sum of equal shares, which rounding would decide
    st.sampled_from([0.0, 0.0, 0.1, 0.51, 1.0]),
    st.sampled_from([1.0, 1.0, 0.9031, 0.4017]),
)
def test_the_distribution_is_the_definitions(logits, temperature, top_k, top_p, min_p, typical_p):
    given_logits = np.array(logits, dtype=np.float32)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p)
    if typical_p < 1 and temperature > 0:  # its order is of differences: leave out what rounding decides
        before = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        _, p = candidates(given_logits, before)
        p = p[p > 0]
        distance = np.sort(np.abs(-np.log(p) + (p * np.log(p)).sum()))
        assume(not ((np.diff(distance) > 0) & (np.diff(distance) < 1e-8)).any() and distance.size == p.size)
        assume(len(set(np.round(distance, 9))) == len(set(np.round(p, 9))))
    got = probabilities(given_logits, sampling)
    wanted = by_definition(logits, temperature, top_k, top_p, min_p, typical_p)
    np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-15)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32),
    st.sampled_from([0.2, 0.7, 1.3]),
    st.integers(0, 60),
    st.sampled_from([0.3, 0.9, 1.0]),
)
def test_a_large_vocabulary_gives_the_definitions_distribution_too(seed, temperature, top_k, top_p):
    logits = np.random.default_rng(seed).normal(0, 3, 500).astype(np.float32)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    want = by_definition([float(x) for x in logits], temperature, top_k, top_p)
    np.testing.assert_allclose(probabilities(logits, sampling), want, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p", "typical_p"),
    [
        (0.7, 5, 0.8, 0, 1),
        (1.3, 0, 0.6, 0, 1),
        (0.8, 20, 1.0, 0, 1),
        (1.1, 0, 1.0, 0.05, 1),
        (0.9, 0, 1.0, 0, 0.6),
        (1.2, 100, 0.95, 0.02, 0.8),
    ],
)
def test_the_order_of_the_steps_is_that_of_transformers(temperature, top_k, top_p, min_p, typical_p):
    import torch
    from transformers import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
        TypicalLogitsWarper,
    )

    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    scores = TemperatureLogitsWarper(temperature)(None, logits.clone())
    for on, warper in (
        (top_k > 0, lambda: TopKLogitsWarper(top_k)),
        (top_p < 1, lambda: TopPLogitsWarper(top_p)),
        (min_p > 0, lambda: MinPLogitsWarper(min_p)),
        (typical_p < 1, lambda: TypicalLogitsWarper(typical_p)),
    ):
        if on:
            scores = warper()(None, scores)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p)
    got = probabilities(logits[0].numpy(), sampling)
    np.testing.assert_allclose(got, scores.softmax(-1)[0].numpy(), rtol=1e-9, atol=1e-12)


def test_every_drawn_token_is_where_the_running_sum_passes_u():
    logits = np.random.default_rng(1).normal(0, 2, 50).astype(np.float32)
    sampling = Sampling(temperature=0.9, top_k=20, top_p=0.95)
    p = probabilities(logits, sampling)
    for u in [0.0, *np.random.default_rng(2).random(500), 1 - 2**-53]:
        chosen = choose(logits, sampling, float(u))
        assert p[:chosen].sum() <= u + 1e-12
        assert p[: chosen + 1].sum() > u - 1e-12
        assert p[chosen] > 0


def test_evenly_spread_numbers_draw_each_token_in_proportion_to_its_probability():
    logits = np.random.default_rng(3).normal(0, 1.5, 30).astype(np.float32)
    sampling = Sampling(temperature=1.0, top_p=0.9)
    drawn = [choose(logits, sampling, (i + 0.5) / 20_000) for i in range(20_000)]
    np.testing.assert_allclose(
        np.bincount(drawn, minlength=30) / 20_000, probabilities(logits, sampling), atol=1e-4
    )


def test_of_equal_logits_greedy_takes_the_lowest_id_and_top_k_the_lower_ids():
    logits = np.array([0.0, 2.0, 2.0, 1.0, 2.0], dtype=np.float32)
    assert greedy(logits) == 1
    assert np.flatnonzero(probabilities(logits, Sampling(temperature=1, top_k=2))).tolist() == [1, 2]
    assert np.flatnonzero(probabilities(logits, Sampling(temperature=1, top_p=0.5))).tolist() == [1, 2]


def test_a_tiny_temperature_is_greedy_and_a_huge_one_is_uniform():
    logits = np.array([1.0, 3.0, 2.0], dtype=np.float32)
    assert probabilities(logits, Sampling(temperature=5e-324)).tolist() == [0, 1, 0]
    np.testing.assert_allclose(probabilities(logits, Sampling(temperature=1e300)), [1 / 3] * 3)


def test_a_logit_of_minus_infinity_is_never_drawn():
    logits = np.array([-np.inf, 0.0, -np.inf, 0.0], dtype=np.float32)
    assert {choose(logits, Sampling(temperature=1), u) for u in (0.0, 0.3, 0.7, 1 - 2**-53)} == {1, 3}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nan_and_infinity_are_named_with_their_place(bad, temperature):
    logits = np.array([0.0, 1.0, bad, 1.0], dtype=np.float32)
    with pytest.raises(NonFiniteLogitsError, match=r"1 of 4 logits are NaN or \+inf \(the first is id 2"):
        choose(logits, Sampling(temperature=temperature), 0.5)


def test_nothing_left_to_choose_is_an_error():
    with pytest.raises(NonFiniteLogitsError, match="all 3 logits are -inf"):
        choose(np.full(3, -np.inf, dtype=np.float32), Sampling(), 0.5)


def test_log_probabilities_are_a_log_softmax_without_any_setting():
    logits = np.array([1.0, 2.0, 4.0], dtype=np.float32)
    np.testing.assert_allclose(
        np.exp(log_probabilities(logits)), by_definition([1, 2, 4], 1, 0, 1.0), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("settings_given", "message"),
    [
        ({"temperature": -0.1}, r"temperature must be a finite number >= 0 \(0 is greedy\), got -0.1"),
        ({"temperature": float("nan")}, "temperature .* got nan"),
        ({"temperature": float("inf")}, "temperature .* got inf"),
        ({"top_k": -1}, r"top_k must be a whole number >= 0 \(0 turns it off\), got -1"),
        ({"top_k": 2.5}, "top_k .* got 2.5"),
        ({"top_p": 0.0}, r"top_p must lie in \(0, 1\] \(1 turns it off\), got 0.0"),
        ({"top_p": 1.01}, "top_p .* got 1.01"),
        ({"top_p": float("nan")}, "top_p .* got nan"),
        ({"min_p": -0.1}, r"min_p must lie in \[0, 1\] \(0 turns it off\), got -0.1"),
        ({"min_p": 1.5}, "min_p .* got 1.5"),
        ({"typical_p": 0.0}, r"typical_p must lie in \(0, 1\] \(1 turns it off\), got 0.0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(settings_given, message):
    with pytest.raises(SettingError, match=message):
        Sampling(**settings_given)
