"""What holds for every optimizer of the package."""

import copy

import pytest
import torch
from lm_core.errors import ConfigError
from lm_core.optim import Adafactor, AdamW, Lion, Muon, ScheduleFreeAdamW

ALL = [AdamW, Muon, Adafactor, Lion, ScheduleFreeAdamW]
every_optimizer = pytest.mark.parametrize("optimizer_class", ALL, ids=lambda c: c.__name__)


def matrices():
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(shape, generator=generator).requires_grad_() for shape in [(6, 4), (4, 6), (6, 4), (5, 5)]
    ]


def run(optimizer, params, steps):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in params:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@every_optimizer
def test_a_run_continued_from_its_state_dict_is_the_uninterrupted_run_bit_for_bit(optimizer_class, tmp_path):
    straight = matrices()
    run(optimizer_class(straight), straight, range(8))
    stopped = matrices()
    optimizer = optimizer_class(stopped)
    run(optimizer, stopped, range(5))
    state = copy.deepcopy(optimizer.state_dict())
    continued = [parameter.detach().clone().requires_grad_() for parameter in stopped]
    resumed = optimizer_class(continued, lr=0.123)
    resumed.load_state_dict(state)
    run(resumed, continued, range(5, 8))
    for mine, other in zip(continued, straight, strict=True):
        assert torch.equal(mine, other)


@every_optimizer
def test_state_holds_tensors_only_and_keeps_its_bits_through_a_state_dict(optimizer_class):
    params = matrices()
    optimizer = optimizer_class(params)
    run(optimizer, params, range(3))
    again = optimizer_class(matrices())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    before, after = optimizer.state_dict()["state"], again.state_dict()["state"]
    assert before.keys() == after.keys() == set(range(4))
    for index, state in before.items():
        for name, value in state.items():
            assert torch.equal(value, after[index][name])
            assert value.dtype == after[index][name].dtype


@every_optimizer
def test_the_same_run_twice_gives_the_same_bits(optimizer_class):
    first, second = matrices(), matrices()
    for params in (first, second):
        run(optimizer_class(params), params, range(4))
    for mine, other in zip(first, second, strict=True):
        assert torch.equal(mine, other)


@every_optimizer
def test_a_parameter_without_a_gradient_is_left_alone_and_has_no_state(optimizer_class):
    params = matrices()
    before = params[1].detach().clone()
    optimizer = optimizer_class(params)
    params[0].grad = torch.ones(6, 4)
    optimizer.step()
    assert torch.equal(params[1], before)
    assert set(optimizer.state) == {params[0]}


@every_optimizer
def test_a_step_brings_a_quadratic_down(optimizer_class):
    target = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
    x = (-target).requires_grad_()
    optimizer = optimizer_class([x], lr=0.05)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = (x - target).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]


@every_optimizer
def test_the_closure_is_evaluated_with_gradients_and_its_loss_returned(optimizer_class):
    x = torch.ones(2, 2, requires_grad=True)
    optimizer = optimizer_class([x])

    def closure():
        loss = (3 * x).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 12.0
    assert x.grad is not None
    assert not torch.equal(x.detach(), torch.ones(2, 2))


@every_optimizer
def test_sparse_gradients_and_complex_parameters_are_refused_by_name(optimizer_class):
    x = torch.ones(2, 2, requires_grad=True)
    x.grad = torch.eye(2).to_sparse()
    with pytest.raises(
        ConfigError,
        match=rf"^{optimizer_class.__name__} needs dense gradients; that of table of shape \(2, 2\) is sparse",
    ):
        optimizer_class([("table", x)]).step()
    with pytest.raises(
        ConfigError, match=r"is for real numbers; parameter 0 of shape \(2, 2\) is torch.complex64"
    ):
        optimizer_class([torch.ones(2, 2, dtype=torch.complex64, requires_grad=True)])


@every_optimizer
def test_a_group_added_later_is_checked_and_a_refused_one_is_not_kept(optimizer_class):
    optimizer = optimizer_class(matrices())
    with pytest.raises(ConfigError, match=r"^lr must be a finite number >= 0, got -1.0$"):
        optimizer.add_param_group({"params": [torch.ones(2, 2, requires_grad=True)], "lr": -1.0})
    assert len(optimizer.param_groups) == 1


@every_optimizer
def test_gradients_are_not_changed_by_a_step(optimizer_class):
    params = matrices()
    optimizer = optimizer_class(params)
    run(optimizer, params, [0])
    kept = [parameter.grad.clone() for parameter in params]
    optimizer.step()
    for parameter, before in zip(params, kept, strict=True):
        assert torch.equal(parameter.grad, before)
