import math

import pytest
import torch
from lm_core import IGNORED, cross_entropy, linear_cross_entropy, soft_cap
from lm_core.errors import ConfigError, ShapeError
from same_gradients import assert_same, randn
from torch.utils._python_dispatch import TorchDispatchMode

ROWS, D_MODEL = 19, 6
OPTIONS = [
    {},
    {"z_loss": 0.3},
    {"softcap": 1.5},
    {"vocab_size": 13},
    {"z_loss": 0.3, "softcap": 1.5, "vocab_size": 13},
]


def some_targets(*shape):
    return torch.randint(0, 13, shape, generator=torch.Generator().manual_seed(0))


def spelled_out(hidden, weight, targets, vocab_size=ROWS, softcap=None, z_loss=0.0):
    """The definition, through torch's own loss."""
    logits = hidden @ weight.T
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    flat = logits[..., :vocab_size].flatten(0, -2)
    z = torch.logsumexp(flat, -1)
    return torch.nn.functional.cross_entropy(flat, targets.flatten()) + z_loss * z.square().mean()


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("chunk", [None, 1, 4, 10, 99])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_the_definition_in_value_and_gradient_whatever_the_chunks(options, chunk, dtype):
    targets = some_targets(2, 5)
    assert_same(
        lambda hidden, weight: linear_cross_entropy(hidden, weight, targets, chunk=chunk, **options),
        lambda hidden, weight: spelled_out(hidden, weight, targets, **options),
        randn(2, 5, D_MODEL, dtype=dtype) * 2,
        randn(ROWS, D_MODEL, dtype=dtype, seed=1),
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_the_plain_way_is_the_definition_too(options):
    targets = some_targets(7)
    assert_same(
        lambda hidden, weight: linear_cross_entropy(hidden, weight, targets, fast=False, **options),
        lambda hidden, weight: spelled_out(hidden, weight, targets, **options),
        randn(7, D_MODEL, dtype=torch.float64),
        randn(ROWS, D_MODEL, dtype=torch.float64, seed=1),
    )


@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[-1]])
@pytest.mark.parametrize("chunk", [None, 1, 4])
@pytest.mark.parametrize("fast", [True, False])
def test_ignored_targets_are_as_if_their_rows_were_not_there(options, chunk, fast):
    kept = torch.tensor([True, False, True, True, False, False, False, True, False])
    targets = some_targets(9).masked_fill(~kept, IGNORED)
    assert_same(
        lambda hidden, weight: linear_cross_entropy(
            hidden, weight, targets, chunk=chunk, fast=fast, **options
        ),
        lambda hidden, weight: spelled_out(hidden[kept], weight, targets[kept], **options),
        randn(9, D_MODEL, dtype=torch.float64) * 2,
        randn(ROWS, D_MODEL, dtype=torch.float64, seed=1),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_where_all_is_ignored_nothing_is_learnt(dtype):
    hidden, weight = randn(7, D_MODEL, dtype=dtype), randn(ROWS, D_MODEL, dtype=dtype)
    loss = linear_cross_entropy(hidden.requires_grad_(), weight.requires_grad_(), torch.full((7,), IGNORED))
    loss.backward()
    assert loss.item() == 0.0
    assert not hidden.grad.any()
    assert not weight.grad.any()


@pytest.mark.parametrize("options", [{}, {"softcap": 1.5, "vocab_size": 13, "z_loss": 0.1}])
def test_half_precision_keeps_the_softmax_in_float32_and_the_sum_of_gradients_near(options):
    hidden, weight = (
        randn(64, D_MODEL, dtype=torch.bfloat16),
        randn(ROWS, D_MODEL, dtype=torch.bfloat16, seed=1),
    )
    targets = some_targets(64)
    exact = [hidden.double().requires_grad_(), weight.double().requires_grad_()]
    expected = spelled_out(*exact, targets, **options)
    expected.backward()
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    loss = linear_cross_entropy(*leaves, targets, chunk=16, **options)
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected.detach(), rtol=1e-2, atol=1e-2)
    for leaf, reference in zip(leaves, exact, strict=True):
        assert leaf.grad.dtype == torch.bfloat16
        torch.testing.assert_close(
            leaf.grad.double(), reference.grad, rtol=0, atol=0.02 * reference.grad.abs().max()
        )


@pytest.mark.parametrize("way", ["chunked", "plain"])
def test_in_float16_a_scaled_loss_keeps_gradients_that_the_number_of_tokens_makes_tiny(way):
    hidden, weight = (
        randn(4096, D_MODEL, dtype=torch.float64) * 0.1,
        randn(ROWS, D_MODEL, dtype=torch.float64),
    )
    targets, scale = torch.zeros(4096, dtype=torch.long), 2.0**16
    exact = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    spelled_out(*exact, targets).backward()
    leaves = [hidden.half().requires_grad_(), weight.half().requires_grad_()]
    if way == "chunked":
        loss = linear_cross_entropy(*leaves, targets)
    else:
        loss = cross_entropy(leaves[0] @ leaves[1].T, targets)
    (loss * scale).backward()
    for leaf, reference in zip(leaves, exact, strict=True):
        unscaled, expected = leaf.grad.double() / scale, reference.grad
        assert (unscaled - expected).norm() < 0.01 * expected.norm()
        assert ((unscaled == 0) & (expected.abs() > 1e-9)).sum() == 0


def test_autocast_multiplies_in_bfloat16_and_keeps_the_gradients_in_float32():
    hidden, weight = randn(32, D_MODEL).requires_grad_(), randn(ROWS, D_MODEL, seed=1).requires_grad_()
    targets = some_targets(32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(hidden, weight, targets, chunk=8)
    loss.backward()
    assert loss.dtype == hidden.grad.dtype == weight.grad.dtype == torch.float32
    halved = linear_cross_entropy(hidden.detach().bfloat16(), weight.detach().bfloat16(), targets, chunk=8)
    assert loss.item() == halved.item()
    exact = torch.autograd.grad(spelled_out(hidden, weight, targets), [hidden, weight])
    for leaf, reference in zip((hidden, weight), exact, strict=True):
        torch.testing.assert_close(leaf.grad, reference, rtol=0, atol=0.03 * reference.abs().max().item())


class Largest(TorchDispatchMode):
    """Remembers the elements of the largest tensor that any operation gave."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return result


def test_no_tensor_is_ever_as_large_as_all_the_logits():
    hidden, weight = randn(64, D_MODEL).requires_grad_(), randn(ROWS, D_MODEL).requires_grad_()
    with Largest() as chunked:
        linear_cross_entropy(hidden, weight, some_targets(64), chunk=8, softcap=2.0, z_loss=0.1).backward()
    with Largest() as plain:
        linear_cross_entropy(hidden, weight, some_targets(64), fast=False).backward()
    assert plain.elements == 64 * ROWS
    assert chunked.elements == 64 * D_MODEL  # the hidden states' own gradient


def test_only_the_gradients_that_are_wanted_are_computed_and_a_scaled_loss_scales_them():
    hidden, weight, targets = randn(7, D_MODEL), randn(ROWS, D_MODEL, seed=1), some_targets(7)
    both = [hidden.clone().requires_grad_(), weight.clone().requires_grad_()]
    linear_cross_entropy(*both, targets).backward()
    for wanted in (0, 1):
        leaves = [hidden.clone(), weight.clone()]
        leaves[wanted].requires_grad_()
        (3 * linear_cross_entropy(*leaves, targets)).backward()
        torch.testing.assert_close(leaves[wanted].grad, 3 * both[wanted].grad)
        assert leaves[1 - wanted].grad is None
    with torch.no_grad():
        assert not linear_cross_entropy(hidden, weight, targets).requires_grad


def test_padding_rows_get_no_gradient_and_their_weights_do_not_matter():
    hidden, targets = randn(7, D_MODEL).requires_grad_(), some_targets(7)
    losses = []
    for padding in (0.0, 1e3):
        weight = randn(ROWS, D_MODEL, seed=1)
        weight[13:] = padding
        losses.append(
            linear_cross_entropy(hidden, weight.requires_grad_(), targets, vocab_size=13, softcap=2.0)
        )
        losses[-1].backward()
        assert not weight.grad[13:].any()
    assert losses[0].item() == losses[1].item()


def test_the_cap_keeps_small_logits_and_bounds_large_ones():
    logits = torch.tensor([-1e4, -0.01, 0.0, 0.01, 1e4])
    torch.testing.assert_close(soft_cap(logits, 30.0), torch.tensor([-30.0, -0.01, 0.0, 0.01, 30.0]))
    assert soft_cap(logits, None) is logits


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        (
            {"hidden": randn(7, 5)},
            ShapeError,
            r"hidden must end with the weight's d_model of 6, got \(7, 5\)",
        ),
        (
            {"targets": some_targets(6)},
            ShapeError,
            r"the hidden states' shape without the last axis, \(7,\), got \(6,\)",
        ),
        (
            {"targets": torch.full((7,), 13), "vocab_size": 13},
            ShapeError,
            "target id 13 is outside the vocabulary",
        ),
        ({"vocab_size": 20}, ShapeError, "vocab_size must be from 1 to the weight's 19 rows, got 20"),
        ({"chunk": 0}, ConfigError, "chunk must be at least 1 token, got 0"),
        ({"z_loss": -1.0}, ConfigError, "z_loss must be a finite number >= 0, got -1.0"),
        ({"z_loss": math.nan}, ConfigError, "z_loss must be a finite number >= 0"),
    ],
)
def test_what_does_not_fit_is_named(changes, error, said):
    given = {
        "hidden": randn(7, D_MODEL),
        "weight": randn(ROWS, D_MODEL),
        "targets": some_targets(7),
    } | changes
    with pytest.raises(error, match=said):
        linear_cross_entropy(**given)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_z_loss_adds_the_square_of_the_log_of_the_sum(fast, dtype):
    targets = some_targets(7)

    def theirs(logits):
        z = torch.logsumexp(logits, -1)
        return torch.nn.functional.cross_entropy(logits, targets) + 0.3 * z.square().mean()

    assert_same(
        lambda x: cross_entropy(x, targets, z_loss=0.3, fast=fast), theirs, randn(7, ROWS, dtype=dtype) * 5
    )
