import pytest
import torch
from lm_core import MLP, SwiGLU
from same_gradients import DTYPES, assert_same, randn

functional = torch.nn.functional


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fast", [True, False])
def test_swiglu_is_its_formula_in_torchs_terms(dtype, fast):
    layer = SwiGLU(8, 12, bias=True, fast=fast).to(dtype)

    def theirs(x):
        gate = functional.linear(x, layer.gate.weight, layer.gate.bias)
        up = functional.linear(x, layer.up.weight, layer.up.bias)
        return functional.linear(functional.silu(gate) * up, layer.down.weight, layer.down.bias)

    assert_same(layer, theirs, randn(2, 3, 8, dtype=dtype))


@pytest.mark.parametrize("activation", ["gelu", "relu2", "silu"])
@pytest.mark.parametrize("fast", [True, False])
def test_mlp_is_its_formula_in_torchs_terms(activation, fast):
    layer = MLP(8, 12, activation, fast=fast).double()
    theirs = {
        "gelu": lambda x: functional.gelu(x, approximate="tanh"),
        "relu2": lambda x: functional.relu(x) ** 2,
        "silu": functional.silu,
    }[activation]

    def formula(x):
        return functional.linear(theirs(functional.linear(x, layer.up.weight)), layer.down.weight)

    assert_same(layer, formula, randn(2, 3, 8, dtype=torch.float64))


def test_the_shapes_of_the_weights():
    layer = SwiGLU(8, 12)
    assert layer.gate.weight.shape == layer.up.weight.shape == (12, 8)
    assert layer.down.weight.shape == (8, 12)
