import pytest
import torch
from lm_core import LayerNorm, RMSNorm
from same_gradients import DTYPES, assert_same, randn

functional = torch.nn.functional


def rms_norm(fast, eps=1e-5):
    def call(x, weight):
        layer = RMSNorm(x.shape[-1], eps, fast=fast).to(x.dtype)
        return torch.func.functional_call(layer, {"weight": weight}, (x,))

    return call


def layer_norm(fast, eps=1e-5):
    def call(x, weight, bias):
        layer = LayerNorm(x.shape[-1], eps, fast=fast).to(x.dtype)
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    return call


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 4, 8)])
def test_rms_norm_is_torchs_in_value_and_gradient(dtype, fast, shape):
    x, weight = randn(*shape, dtype=dtype) * 3, 1 + randn(8, dtype=dtype, seed=1) / 3
    assert_same(rms_norm(fast), lambda x, w: functional.rms_norm(x, (8,), w, 1e-5), x, weight)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fast", [True, False])
def test_layer_norm_is_torchs_in_value_and_gradient(dtype, fast):
    x, weight, bias = (
        randn(2, 3, 8, dtype=dtype) * 3,
        randn(8, dtype=dtype, seed=1),
        randn(8, dtype=dtype, seed=2),
    )
    assert_same(layer_norm(fast), lambda x, w, b: functional.layer_norm(x, (8,), w, b, 1e-5), x, weight, bias)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gradient_by_hand_is_the_one_that_autograd_finds(dtype):
    x, weight = randn(5, 16, dtype=dtype), randn(16, dtype=dtype, seed=1)
    assert_same(rms_norm(True, eps=0.1), rms_norm(False, eps=0.1), x, weight)


def test_the_gradient_by_hand_passes_a_numerical_check():
    x, weight = (
        randn(3, 6, dtype=torch.float64).requires_grad_(),
        randn(6, dtype=torch.float64).requires_grad_(),
    )
    assert torch.autograd.gradcheck(rms_norm(True), (x, weight))


@pytest.mark.parametrize("fast", [True, False])
def test_half_precision_input_is_squared_in_float32(fast):
    x = torch.full((4,), 300.0, dtype=torch.float16)  # whose square is beyond float16
    layer = RMSNorm(4, fast=fast).half()
    torch.testing.assert_close(layer(x), torch.ones(4, dtype=torch.float16))


@pytest.mark.parametrize("fast", [True, False])
def test_a_row_of_zeros_stays_zero_with_a_finite_gradient(fast):
    x = torch.zeros(2, 4, requires_grad=True)
    y = RMSNorm(4, fast=fast)(x)
    y.sum().backward()
    assert not y.any()
    assert x.grad.isfinite().all()


def test_layer_norm_may_have_no_bias():
    layer = LayerNorm(4, bias=False)
    assert layer.bias is None
    torch.testing.assert_close(layer(torch.randn(3, 4)).mean(-1), torch.zeros(3), atol=1e-6, rtol=0)
