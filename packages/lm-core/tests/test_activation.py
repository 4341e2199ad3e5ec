import math

import pytest
import torch
from lm_core import silu, softmax
from lm_core.activation import dropout, gelu, relu2
from same_gradients import DTYPES, assert_same, randn


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_softmax_is_torchs_in_value_and_gradient(dtype, dim):
    assert_same(lambda x: softmax(x, dim), lambda x: torch.softmax(x, dim), randn(3, 4, 5, dtype=dtype) * 4)


@pytest.mark.parametrize("offset", [1e4, -1e4, 3e38])
def test_large_numbers_do_not_overflow_softmax(offset):
    y = softmax(torch.tensor([offset, offset, offset * 0.5]), dim=-1)
    assert y.isfinite().all()
    assert y.sum().item() == pytest.approx(1.0)


def test_minus_infinity_gets_probability_zero_as_in_torch():
    x = torch.tensor([[0.0, -math.inf, 1.0]])
    torch.testing.assert_close(softmax(x, -1), torch.softmax(x, -1))
    assert softmax(x, -1)[0, 1] == 0


def test_a_slice_of_only_minus_infinity_gives_zeros_with_zero_gradient():
    x = torch.tensor([[-math.inf, -math.inf], [0.0, 1.0]], requires_grad=True)
    y = softmax(x, -1)
    (y * torch.tensor([3.0, 5.0])).sum().backward()
    assert y[0].tolist() == [0.0, 0.0]
    assert x.grad[0].tolist() == [0.0, 0.0]
    assert x.grad[1].abs().min() > 0


def test_nan_stays_visible():
    assert softmax(torch.tensor([math.nan, 1.0]), -1).isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (silu, torch.nn.functional.silu),
        (gelu, lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
        (relu2, lambda x: torch.relu(x) ** 2),
    ],
)
def test_activations_are_torchs_in_value_and_gradient(dtype, ours, theirs):
    assert_same(ours, theirs, randn(50, dtype=dtype) * 3)


def test_worked_values():
    assert silu(torch.tensor([0.0, 100.0, -100.0])).tolist() == pytest.approx([0.0, 100.0, 0.0], abs=1e-30)
    assert relu2(torch.tensor([-2.0, 0.0, 3.0])).tolist() == [0.0, 0.0, 9.0]
    assert gelu(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.0, 0.841192], abs=1e-6)


def test_dropout_keeps_the_mean_and_zeroes_the_stated_share():
    torch.manual_seed(0)
    x = torch.ones(100_000, requires_grad=True)
    y = dropout(x, 0.3)
    assert (y == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, 1 / 0.7]))
    y.sum().backward()
    assert torch.equal(x.grad, y)  # the same mask on the way back
    assert dropout(x, 0.0) is x
