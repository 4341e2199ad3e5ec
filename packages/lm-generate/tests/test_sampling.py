"""Each step of sampling against its definition, on whole distributions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_generate.errors import NonFiniteLogitsError, SettingError
from lm_generate.sampling import Sampling, choose, greedy, log_probabilities, probabilities


def by_definition(logits: list[float], temperature: float, top_k: int, top_p: float) -> list[float]:
    """The four lines of the module's docstring, spelled out with lists and sorted()."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if temperature == 0:
        return [1.0 if i == order[0] else 0.0 for i in range(len(logits))]
    p = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    keep = set(order[:top_k] if top_k else order)
    total = math.fsum(p[i] for i in keep)
    p = [p[i] / total if i in keep else 0.0 for i in range(len(p))]
    reached, nucleus = 0.0, set()
    for i in sorted(keep, key=lambda i: (-p[i], i)):
        nucleus.add(i)
        reached += p[i]
        if reached >= top_p:
            break
    total = math.fsum(p[i] for i in nucleus)
    return [p[i] / total if i in nucleus else 0.0 for i in range(len(p))]


quarter_steps = st.integers(-16, 16).map(lambda n: n / 4)  # few values, so that ties are common


@settings(max_examples=300, deadline=None)
@given(
    st.lists(quarter_steps, min_size=1, max_size=12),
    st.sampled_from([0, 0.3, 0.8, 1, 2.5]),
    st.integers(0, 14),
    st.sampled_from([0.05, 0.37, 0.5, 0.9, 0.999, 1.0]),
)
def test_the_distribution_is_the_definitions(logits, temperature, top_k, top_p):
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    got = probabilities(np.array(logits, dtype=np.float32), sampling)
    np.testing.assert_allclose(got, by_definition(logits, temperature, top_k, top_p), rtol=1e-12, atol=1e-15)


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


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(0.7, 5, 0.8), (1.3, 0, 0.6), (0.8, 20, 1.0)])
def test_the_order_of_the_steps_is_that_of_transformers(temperature, top_k, top_p):
    import torch
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.randn(1, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    scores = TemperatureLogitsWarper(temperature)(None, logits.clone())
    if top_k:
        scores = TopKLogitsWarper(top_k)(None, scores)
    if top_p < 1:
        scores = TopPLogitsWarper(top_p)(None, scores)
    got = probabilities(logits[0].numpy(), Sampling(temperature=temperature, top_k=top_k, top_p=top_p))
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
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(settings_given, message):
    with pytest.raises(SettingError, match=message):
        Sampling(**settings_given)
