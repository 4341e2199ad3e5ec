import math

import pytest
import torch
from lm_core.errors import ConfigError
from lm_core.optim import clip_grad_norm


def parameters(scale=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    result = []
    for shape in [(7, 5), (5,), (3, 2, 4), ()]:
        parameter = torch.zeros(shape, requires_grad=True, dtype=dtype)
        parameter.grad = (scale * torch.randn(shape, generator=generator)).to(dtype)
        result.append(parameter)
    return [*result, torch.zeros(3, requires_grad=True)]  # the last one has no gradient


@pytest.mark.parametrize("max_norm", [0.0, 0.01, 1.0, 1e6])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_norm_and_gradients_are_those_of_torch(max_norm, scale):
    ours, theirs = parameters(scale), parameters(scale)
    norm = clip_grad_norm(ours, max_norm)
    torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(theirs, max_norm))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_by_hand():
    x, y = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    x.grad, y.grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_grad_norm(iter([x, y]), 2.5, eps=0.0).item() == 5.0
    assert (x.grad.item(), y.grad.item()) == (1.5, 2.0)


def test_gradients_within_the_limit_keep_their_bits_and_eps_counts_at_it():
    params = parameters()
    before = [p.grad.clone() for p in params[:-1]]
    norm = clip_grad_norm(params, math.inf)
    clip_grad_norm(params, norm.item() * 1.01)
    assert all(torch.equal(p.grad, b) for p, b in zip(params, before, strict=False))
    assert clip_grad_norm(params, 1.0, eps=1.0) == norm
    torch.testing.assert_close(clip_grad_norm(params, math.inf), norm / (norm + 1))


def test_one_tensor_is_taken_for_a_list_of_one():
    x = torch.zeros(2, requires_grad=True)
    x.grad = torch.tensor([3.0, 4.0])
    assert clip_grad_norm(x, 1.0) == 5.0
    torch.testing.assert_close(x.grad, torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_norm_that_is_not_finite_is_returned_and_the_gradients_left_alone(bad):
    params = parameters()
    params[0].grad[2, 2] = bad
    before = [p.grad.clone() for p in params[:-1]]
    assert not clip_grad_norm(params, 1.0).isfinite()
    for parameter, kept in zip(params, before, strict=False):
        assert torch.equal(parameter.grad.nan_to_num(7.0), kept.nan_to_num(7.0))


def test_the_norm_of_bfloat16_gradients_is_taken_in_float32():
    params = parameters(dtype=torch.bfloat16)
    exact = torch.cat([p.grad.double().flatten() for p in params[:-1]]).norm()
    norm = clip_grad_norm(params, 1.0)
    assert norm.dtype == torch.float32
    torch.testing.assert_close(norm.double(), exact, rtol=1e-6, atol=0)
    assert params[0].grad.dtype == torch.bfloat16


def test_without_gradients_the_norm_is_zero():
    assert clip_grad_norm([torch.zeros(3, requires_grad=True)], 1.0) == 0.0
    assert clip_grad_norm([], 1.0) == 0.0


@pytest.mark.parametrize("max_norm", [-1.0, float("nan")])
def test_a_limit_that_makes_no_sense_is_refused(max_norm):
    with pytest.raises(ConfigError, match=r"^max_norm must be a number >= 0, got"):
        clip_grad_norm(parameters(), max_norm)


def test_sparse_gradients_are_refused():
    x = torch.ones(2, 2, requires_grad=True)
    x.grad = torch.eye(2).to_sparse()
    with pytest.raises(ConfigError, match="needs dense gradients and one is sparse"):
        clip_grad_norm([x], 1.0)
