import math

import pytest
import torch
from lm_core import IGNORED, cross_entropy
from lm_core.errors import ShapeError
from same_gradients import assert_same, randn


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(7, 11), (2, 5, 11), (1, 1), (11,)])
def test_cross_entropy_is_torchs_in_value_and_gradient(fast, dtype, shape):
    targets = torch.randint(0, shape[-1], shape[:-1], generator=torch.Generator().manual_seed(0))

    def theirs(logits):
        return torch.nn.functional.cross_entropy(logits.reshape(-1, shape[-1]), targets.reshape(-1))

    assert_same(
        lambda logits: cross_entropy(logits, targets, fast=fast), theirs, randn(*shape, dtype=dtype) * 5
    )


@pytest.mark.parametrize("fast", [True, False])
def test_bfloat16_logits_are_summed_in_float32(fast):
    logits, targets = randn(64, 50, dtype=torch.bfloat16) * 3, torch.arange(64) % 50
    loss = cross_entropy(logits.requires_grad_(), targets, fast=fast)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits.float(), targets))
    loss.backward()
    assert logits.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("fast", [True, False])
def test_large_logits_do_not_overflow(fast):
    logits = torch.tensor([[1e4, 0.0, -1e4]])
    assert cross_entropy(logits, torch.tensor([0]), fast=fast) == 0.0
    assert cross_entropy(logits, torch.tensor([2]), fast=fast) == 2e4


@pytest.mark.parametrize("fast", [True, False])
def test_an_id_ruled_out_by_minus_infinity_costs_nothing_until_it_is_the_target(fast):
    logits = torch.tensor([[0.0, -math.inf, 0.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0]), fast=fast)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad.tolist() == [pytest.approx([-0.5, 0.0, 0.5])]
    assert cross_entropy(logits, torch.tensor([1]), fast=fast) == math.inf


def test_equal_logits_cost_the_logarithm_of_the_vocabulary_in_nats():
    assert cross_entropy(torch.zeros(3, 4, 256), torch.zeros(3, 4, dtype=torch.long)).item() == pytest.approx(
        math.log(256)
    )


def test_the_gradient_by_hand_passes_a_numerical_check_and_can_be_asked_for_twice():
    logits = randn(3, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: cross_entropy(x, torch.tensor([0, 4, 2])), (logits,))
    loss = cross_entropy(logits, torch.tensor([0, 4, 2]))
    (first,) = torch.autograd.grad(loss, logits, retain_graph=True)
    (tripled,) = torch.autograd.grad(3 * loss, logits)
    torch.testing.assert_close(tripled, 3 * first)


def test_a_kept_gradient_that_was_overwritten_is_refused_and_never_used():
    logits = randn(3, 5).requires_grad_()
    loss = cross_entropy(logits, torch.tensor([0, 4, 2]))
    loss.backward(retain_graph=True)
    logits.grad.fill_(7.0)  # the gradient is handed out without a copy
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("bad", [-1, 5, 100, -99])
def test_a_target_outside_the_vocabulary_is_named(bad):
    with pytest.raises(ShapeError, match=rf"target id {bad} is outside the vocabulary \(0\.\.4\)"):
        cross_entropy(torch.zeros(2, 5), torch.tensor([1, bad]))


def test_shapes_that_do_not_match_are_both_named():
    with pytest.raises(ShapeError, match=r"without the last axis, \(2, 3\), got \(3, 2\)"):
        cross_entropy(torch.zeros(2, 3, 5), torch.zeros(3, 2, dtype=torch.long))


def test_no_target_is_an_error_and_not_nan():
    with pytest.raises(ShapeError, match="at least one target"):
        cross_entropy(torch.zeros(0, 5), torch.zeros(0, dtype=torch.long))


def test_no_gradient_buffer_is_made_when_none_is_asked_for():
    with torch.no_grad():
        assert not cross_entropy(randn(3, 5), torch.tensor([0, 1, 2])).requires_grad


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_ignored_target_is_in_no_mean_as_in_torch(fast, dtype):
    targets = torch.tensor([[3, IGNORED, 0], [IGNORED, IGNORED, 10]])

    def theirs(logits):
        return torch.nn.functional.cross_entropy(logits.reshape(-1, 11), targets.reshape(-1))

    assert_same(lambda x: cross_entropy(x, targets, fast=fast), theirs, randn(2, 3, 11, dtype=dtype) * 5)


@pytest.mark.parametrize("fast", [True, False])
def test_the_z_loss_leaves_out_what_is_ignored(fast):
    logits, targets = randn(4, 11, dtype=torch.float64), torch.tensor([IGNORED, 2, IGNORED, 7])
    loss = cross_entropy(logits, targets, z_loss=0.3, fast=fast)
    torch.testing.assert_close(loss, cross_entropy(logits[[1, 3]], targets[[1, 3]], z_loss=0.3))


@pytest.mark.parametrize("fast", [True, False])
def test_an_ignored_row_costs_nothing_even_where_its_first_id_is_ruled_out(fast):
    logits = torch.tensor([[-math.inf, 0.0], [0.0, 0.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([IGNORED, 1]), fast=fast)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad.tolist() == [[0.0, 0.0], [0.5, -0.5]]


@pytest.mark.parametrize("fast", [True, False])
def test_where_all_is_ignored_the_loss_and_its_gradient_are_zero(fast):
    logits = randn(3, 5).requires_grad_()
    loss = cross_entropy(logits, torch.full((3,), IGNORED), z_loss=0.1, fast=fast)
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()
