import pytest
import torch
from lm_core import Linear
from lm_core.linear import cast_once
from same_gradients import DTYPES, assert_same, randn


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [False, True])
def test_linear_is_torchs_in_value_and_gradient(dtype, bias):
    layer = Linear(6, 5, bias).to(dtype)
    x, weight = randn(2, 3, 6, dtype=dtype), randn(5, 6, dtype=dtype, seed=1)
    if bias:
        offset = randn(5, dtype=dtype, seed=2)
        names = ("weight", "bias")
        inputs = (x, weight, offset)
    else:
        names, inputs = ("weight",), (x, weight)

    def ours(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert_same(ours, torch.nn.functional.linear, *inputs)


def test_a_worked_example():
    layer = Linear(2, 3, bias=True)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
        layer.bias.copy_(torch.tensor([0.5, 0.0, -0.5]))
    assert layer(torch.tensor([1.0, -1.0])).tolist() == [-0.5, -1.0, -1.5]


def test_there_is_no_bias_unless_asked_for():
    assert Linear(4, 4).bias is None
    assert [name for name, _ in Linear(4, 4).named_parameters()] == ["weight"]


def test_a_layer_alone_starts_at_the_stated_deviation():
    torch.manual_seed(0)
    assert Linear(400, 300).weight.std().item() == pytest.approx(0.7 / 20, rel=0.02)


def test_under_autocast_what_several_products_read_is_cast_once_and_anything_else_never():
    x = torch.randn(2, 3)
    assert cast_once(x) is x
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(cast_once(x), x.bfloat16())
        for other in (x.double(), x.bfloat16()):
            assert cast_once(other) is other
