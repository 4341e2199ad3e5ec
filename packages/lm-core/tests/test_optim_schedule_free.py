import naive_optimizers as naive
import pytest
import torch
from lm_core.errors import ConfigError
from lm_core.optim import ScheduleFreeAdamW, pieces

SETTINGS = [
    {},
    {"lr": 0.05, "betas": (0.95, 0.99), "weight_decay": 0.1, "warmup_steps": 4},
    {"lr": 0.01, "betas": (0.6, 0.9), "eps": 1e-3},
]


def parameters(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in [(7, 5), (5,), ()]
    ]


def run(optimizer, params, steps):
    """Steps with gradients that do not depend on the parameters; gives them back, for the oracle."""
    given = [[] for _ in params]
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for history, parameter in zip(given, params, strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            history.append(parameter.grad.numpy().copy())
        optimizer.step()
    return given


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("piece", [3, 1 << 17])
def test_it_is_the_papers_algorithm_in_train_mode_and_in_eval_mode(settings, piece, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_PER_THREAD", piece)
    params = parameters()
    starts = [parameter.detach().numpy().copy() for parameter in params]
    optimizer = ScheduleFreeAdamW(params, **settings)
    grads = run(optimizer, params, range(12))
    full = {
        "lr": 2.5e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "warmup_steps": 0,
    } | settings
    expected = [
        naive.schedule_free_adamw(start, history, **full)
        for start, history in zip(starts, grads, strict=True)
    ]
    for parameter, (_, y) in zip(params, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), torch.as_tensor(y), rtol=1e-11, atol=1e-11)
    optimizer.eval()
    for parameter, (x, _) in zip(params, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), torch.as_tensor(x), rtol=1e-10, atol=1e-10)


def test_going_to_eval_and_back_changes_nothing_but_rounding():
    there, stayed = parameters(), parameters()
    a, b = ScheduleFreeAdamW(there), ScheduleFreeAdamW(stayed)
    run(b, stayed, range(6))
    run(a, there, range(3))
    a.eval()
    a.eval()  # it is there already
    a.train()
    run(a, there, range(3, 6))
    for mine, other in zip(there, stayed, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def test_a_step_in_eval_mode_is_refused():
    params = parameters()
    optimizer = ScheduleFreeAdamW(params)
    run(optimizer, params, range(1))
    optimizer.eval()
    with pytest.raises(
        ConfigError, match=r"hold the average; call optimizer\.train\(\) before the next step"
    ):
        optimizer.step()


def test_a_first_beta_of_zero_is_refused():
    with pytest.raises(ConfigError, match=r"betas\[0\] must be above 0"):
        ScheduleFreeAdamW(parameters(), betas=(0.0, 0.9))


def test_the_average_ends_nearer_to_the_minimum_than_the_noisy_iterates():
    generator = torch.Generator().manual_seed(0)
    x = torch.full((50,), 3.0, requires_grad=True)
    optimizer = ScheduleFreeAdamW([x], lr=0.3)
    for _ in range(400):
        x.grad = x.detach() + torch.randn(50, generator=generator)
        optimizer.step()
    z = optimizer.state[x]["z"].norm().item()
    optimizer.eval()
    assert x.detach().norm().item() < 0.5 * z
