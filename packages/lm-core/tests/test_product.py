import pytest
import torch
from lm_core import product as product_module
from lm_core.product import product


@pytest.fixture(autouse=True)
def every_product_is_worth_it(monkeypatch):
    monkeypatch.setattr(product_module, "WORTH_MULTIPLICATIONS", 1)


def operands():
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator) for shape in [(2, 3, 6), (5, 6)])
    return x.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("learning", [(True, True), (True, False), (False, True), (False, False)])
def test_the_fast_product_is_the_plain_one_in_value_and_gradient(learning):
    ours, plain = operands(), operands()
    for tensor, wanted in zip((*ours, *plain), learning * 2, strict=True):
        tensor.requires_grad_(wanted)
    grad = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1))
    for operand, fast in ((ours, True), (plain, False)):
        y = product(*operand, fast=fast)
        if any(learning):
            y.backward(grad)
        torch.testing.assert_close(y, plain[0] @ plain[1].T)
    for mine, other in zip(ours, plain, strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, other.grad)


def test_any_order_in_memory_will_do_also_of_the_gradient():
    x, weight = operands()
    turned = x.detach().transpose(0, 1).requires_grad_()
    product(
        turned, weight.detach().T.contiguous().T
    ).sum().backward()  # a gradient of ones that share one number
    torch.testing.assert_close(turned.grad, weight.sum(0).expand(3, 2, 6))
    torch.testing.assert_close(product(turned, weight), product(x, weight).transpose(0, 1))


def test_it_can_be_differentiated_twice():
    slopes = []
    for fast in (True, False):
        x, weight = operands()
        (first,) = torch.autograd.grad(product(x, weight, fast=fast).pow(3).sum(), x, create_graph=True)
        slopes.append(torch.autograd.grad(first.square().sum(), (x, weight)))
    for mine, other in zip(*slopes, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-3)


def test_other_types_and_autocast_are_left_to_torch():
    x, weight = (tensor.detach() for tensor in operands())
    for kind in (torch.float64, torch.bfloat16):
        assert product(x.to(kind), weight.to(kind)).dtype == kind
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product(x, weight).dtype == torch.bfloat16
    assert product(x[:0], weight).shape == (0, 3, 5)
    assert product(x[0, 0], weight).shape == (5,)


def test_the_compiler_is_told_the_right_shape():
    x, weight = (tensor.detach() for tensor in operands())
    torch.library.opcheck(product_module._opaque, (x, weight), test_utils=("test_schema", "test_faketensor"))
