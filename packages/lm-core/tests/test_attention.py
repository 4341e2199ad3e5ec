import math

import pytest
import torch
from lm_core import Attention, attend
from lm_core.attention import causal_mask
from same_gradients import DTYPES, assert_same, randn
from tiny_models import VARIANTS, shaken, tiny_config

sdpa = torch.nn.functional.scaled_dot_product_attention


def naive_attention(q, k, v, mask):
    """Query by query, key by key, in Python numbers. q: a list of vectors."""
    out = []
    for i, query in enumerate(q):
        weights = []
        for j, key in enumerate(k):
            score = sum(a * b for a, b in zip(query, key, strict=True)) / math.sqrt(len(query))
            weights.append(math.exp(score) if mask[i][j] else 0.0)
        total = sum(weights) or 1.0
        out.append(
            [sum(w * value[d] for w, value in zip(weights, v, strict=True)) / total for d in range(len(v[0]))]
        )
    return out


def test_attend_is_the_formula_written_out():
    q, k, v = randn(3, 4), randn(5, 4, seed=1), randn(5, 6, seed=2)
    mask = torch.rand(3, 5, generator=torch.Generator().manual_seed(3)) < 0.6
    expected = naive_attention(q.tolist(), k.tolist(), v.tolist(), mask.tolist())
    torch.testing.assert_close(attend(q, k, v, mask), torch.tensor(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("masked", [True, False])
def test_attend_is_torchs_in_value_and_gradient(dtype, masked):
    q, k, v = (
        randn(2, 3, 4, 8, dtype=dtype),
        randn(2, 3, 6, 8, dtype=dtype, seed=1),
        randn(2, 3, 6, 8, dtype=dtype, seed=2),
    )
    mask = causal_mask(4, 6) if masked else None
    assert_same(lambda q, k, v: attend(q, k, v, mask), lambda q, k, v: sdpa(q, k, v, mask), q, k, v)


def test_a_query_never_sees_later_keys():
    q, k, v = torch.randn(3, 1, 2, 5, 4).unbind(0)
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    before = attend(q, k, v, causal)
    v[:, :, 3:] = 99.0
    torch.testing.assert_close(attend(q, k, v, causal)[:, :, :3], before[:, :, :3])


def test_a_query_that_may_look_at_nothing_gives_zeros_with_a_finite_gradient():
    q, k, v = (randn(3, 4, seed=i).requires_grad_() for i in range(3))
    mask = torch.tensor([[True, False, False], [False, False, False], [True, True, True]])
    out = attend(q, k, v, mask)
    out.sum().backward()
    assert out[1].tolist() == [0.0] * 4
    assert q.grad[1].tolist() == [0.0] * 4
    assert all(tensor.grad.isfinite().all() for tensor in (q, k, v))


def test_the_causal_mask_of_new_tokens_after_seen_ones():
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True, True, True, True]]


def test_a_window_lets_a_query_see_itself_and_the_ones_just_before_it():
    assert causal_mask(2, 4, window=2).tolist() == [[False, True, True, False], [False, False, True, True]]
    assert torch.equal(causal_mask(3, 5, window=5), causal_mask(3, 5))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_fused_path_is_the_plain_one_in_value_and_gradient(variant):
    fast, plain = (shaken(Attention(tiny_config(variant), fast=fast).double()) for fast in (True, False))
    plain.load_state_dict(fast.state_dict())
    assert_same(fast, plain, randn(2, 9, 32, dtype=torch.float64))


def test_grouped_queries_are_heads_with_copied_keys_and_values():
    grouped = shaken(Attention(tiny_config(n_kv_heads=2)))
    full = Attention(tiny_config(n_kv_heads=4))
    state = grouped.state_dict()
    for part in ("k", "v"):
        state[f"{part}.weight"] = (
            state[f"{part}.weight"].view(2, 8, 32).repeat_interleave(2, 0).reshape(32, 32)
        )
    full.load_state_dict(state)
    x = randn(2, 7, 32)
    torch.testing.assert_close(grouped(x), full(x))


def test_without_positions_the_order_of_earlier_tokens_does_not_matter():
    layer = shaken(Attention(tiny_config(position="none")))
    x = randn(1, 5, 32)
    shuffled = x[:, [2, 0, 3, 1, 4]]
    torch.testing.assert_close(layer(x)[:, -1], layer(shuffled)[:, -1])
    assert not torch.allclose(
        shaken(Attention(tiny_config()))(x)[:, -1], shaken(Attention(tiny_config()))(shuffled)[:, -1]
    )


def test_qk_norm_makes_attention_blind_to_the_scale_of_its_input():
    layer = shaken(Attention(tiny_config("qwen3", norm_eps=1e-12)))
    x = randn(1, 5, 32)
    torch.testing.assert_close(layer(8 * x), 8 * layer(x), atol=1e-4, rtol=1e-4)
