import cmath
import math

import lm_core.rope
import pytest
import torch
from lm_core import RopeScaling, RotaryEmbedding
from lm_core.rope_scaling import rope_frequencies
from same_gradients import randn


def naive_rotation(x, position, theta):
    """Pair (i, i + half) as the complex number x_i + i x_{i+half}, times e^(i t theta^(-2i/d)). One vector, a list."""
    half = len(x) // 2
    turned = [
        complex(x[i], x[i + half]) * cmath.exp(1j * position * theta ** (-2 * i / len(x)))
        for i in range(half)
    ]
    return [z.real for z in turned] + [z.imag for z in turned]


@pytest.mark.parametrize("start", [0, 7])
@pytest.mark.parametrize("theta", [10_000.0, 500_000.0])
def test_each_pair_is_multiplied_by_a_complex_number_of_length_one(start, theta):
    x = randn(2, 3, 5, 8, dtype=torch.float64)
    y = RotaryEmbedding(8, 16, theta)(x, start)
    for batch in range(2):
        for head in range(3):
            for i in range(5):
                expected = naive_rotation(x[batch, head, i].tolist(), start + i, theta)
                assert y[batch, head, i].tolist() == pytest.approx(expected, abs=1e-5)


def test_positions_may_be_given_one_by_one():
    rope, x = RotaryEmbedding(8, 32), randn(2, 5, 8)
    assert torch.equal(rope(x, torch.arange(3, 8)), rope(x, 3))
    each = torch.tensor([[0, 1, 2, 0, 1], [7, 3, 3, 9, 0]])
    torch.testing.assert_close(rope(x, each)[1, 3], rope(x[1, 3:4], 9)[0])


def test_a_product_of_two_turned_vectors_depends_on_their_distance_only():
    rope = RotaryEmbedding(16, 64)
    q, k = randn(1, 16), randn(1, 16, seed=1)
    near = (rope(q, 5) * rope(k, 3)).sum()
    far = (rope(q, 55) * rope(k, 53)).sum()
    torch.testing.assert_close(near, far, atol=1e-4, rtol=0)


def test_position_zero_is_left_alone_and_lengths_are_kept():
    rope, x = RotaryEmbedding(8, 32), randn(32, 8)
    torch.testing.assert_close(rope(x)[0], x[0])
    torch.testing.assert_close(rope(x).norm(dim=-1), x.norm(dim=-1))


def test_the_gradient_is_the_inverse_rotation():
    rope, x = RotaryEmbedding(8, 32), randn(5, 8).requires_grad_()
    g = randn(5, 8, seed=1)
    (gradient,) = torch.autograd.grad(rope(x), x, g)
    torch.testing.assert_close(rope(gradient), g)


def test_positions_beyond_the_table_are_computed_to_the_same_numbers(monkeypatch):
    x = randn(6, 8)
    whole = RotaryEmbedding(8, 100)
    monkeypatch.setattr(lm_core.rope, "TABLE_ROWS", 10)
    short = RotaryEmbedding(8, 100)
    assert short.cos.shape[0] == 10
    for start in (0, 4, 7, 50):
        assert torch.equal(short(x, start), whole(x, start))


def test_a_huge_context_costs_a_bounded_table():
    assert RotaryEmbedding(64, 2**24).cos.numel() <= lm_core.rope.TABLE_ROWS * 64


def test_the_tables_survive_a_cast_and_an_allocation_without_values():
    rope, fresh = RotaryEmbedding(8, 32), RotaryEmbedding(8, 32)
    rope.bfloat16().float()
    assert torch.equal(rope.cos, fresh.cos)
    rope.to("meta").to_empty(device="cpu")
    assert torch.equal(rope.sin, fresh.sin)
    assert not rope.state_dict()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_the_dtype_of_the_input_is_kept(dtype):
    assert RotaryEmbedding(8, 32)(randn(5, 8, dtype=dtype)).dtype == dtype


def test_linear_scaling_squeezes_positions():
    plain, scaled = (
        RotaryEmbedding(8, 64),
        RotaryEmbedding(8, 64, scaling=RopeScaling(kind="linear", factor=4.0)),
    )
    x = randn(1, 8)
    torch.testing.assert_close(scaled(x, 40), plain(x, 10))


def test_llama3_keeps_fast_pairs_and_slows_slow_ones():
    scaling = RopeScaling(kind="llama3", factor=8.0, original_context=8192)
    plain, _ = rope_frequencies(128, 500_000.0, None)
    scaled, factor = rope_frequencies(128, 500_000.0, scaling)
    turns = 8192 * plain / (2 * math.pi)
    assert factor == 1.0
    torch.testing.assert_close(scaled[turns > 4], plain[turns > 4])
    torch.testing.assert_close(scaled[turns < 1], plain[turns < 1] / 8)
    between = (turns >= 1) & (turns <= 4)
    assert (scaled[between] <= plain[between]).all()
    assert (scaled[between] >= plain[between] / 8).all()


def test_yarn_keeps_the_first_pairs_slows_the_last_and_stretches_the_dot_product():
    scaling = RopeScaling(kind="yarn", factor=16.0, original_context=4096)
    plain, _ = rope_frequencies(128, 10_000.0, None)
    scaled, factor = rope_frequencies(128, 10_000.0, scaling)
    assert factor == pytest.approx(0.1 * math.log(16) + 1)
    torch.testing.assert_close(scaled[0], plain[0])
    torch.testing.assert_close(scaled[-1], plain[-1] / 16)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "dynamic", "factor": 2.0}, "linear, llama3 or yarn, got 'dynamic'"),
        ({"kind": "linear", "factor": 0.5}, "at least 1, got 0.5"),
        ({"kind": "linear", "factor": math.nan}, "finite number above 0"),
        ({"kind": "linear", "factor": True}, "finite number above 0"),
        ({"kind": "linear", "factor": 10**400}, "finite number above 0"),
        ({"kind": "yarn", "factor": 2.0}, "needs original_context"),
        ({"kind": "llama3", "factor": 2.0, "original_context": 8, "low_freq_factor": 4.0}, "must be below"),
        ({"kind": "yarn", "factor": 2.0, "original_context": 8, "beta_slow": 40.0}, "must be below"),
        ({"kind": "yarn", "factor": 2.0, "original_context": 0}, "whole number above 0"),
    ],
)
def test_a_scaling_that_makes_no_sense_is_refused(fields, said):
    with pytest.raises(lm_core.errors.ConfigError, match=said):
        RopeScaling(**fields)
