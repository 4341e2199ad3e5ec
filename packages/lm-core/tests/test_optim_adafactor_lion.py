import naive_optimizers as naive
import pytest
import torch
from lm_core.errors import ConfigError
from lm_core.optim import Adafactor, Lion, adafactor, pieces
from lm_core.optim.lion import _foreach_update, lion_update


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()
        for shape in [(7, 5), (5,), (3, 2, 4), (1, 9), ()]
    ]


def give_gradients(params, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in params:
        scale = 10.0 ** torch.randint(-4, 2, (), generator=generator).item()
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"lr": 0.1, "beta2_decay": -0.5, "eps": (1e-4, 1e-2), "d": 2.0, "weight_decay": 0.1},
        {"lr": 1.0, "eps": (1e-30, 0.5), "weight_decay": 0.01},
    ],
)
@pytest.mark.parametrize("in_pieces", [True, False])
def test_a_hundred_steps_of_adafactor_give_what_torch_gives(settings, in_pieces, monkeypatch):
    if in_pieces:  # of two rows
        monkeypatch.setattr(adafactor, "WORTH_PIECES", 1)
        monkeypatch.setattr(adafactor, "PIECE", 10)
    ours, theirs = parameters(), parameters()
    optimizer, reference = Adafactor(ours, **settings), torch.optim.Adafactor(theirs, **settings)
    for step in range(100):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimizer.step()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("floor", [1e-20, 1e-2])  # below all, and above some of it
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adafactor_in_pieces_gives_what_the_definition_gives_also_for_rows_that_never_occur(
    floor, dtype, monkeypatch
):
    monkeypatch.setattr(adafactor, "WORTH_PIECES", 1)
    monkeypatch.setattr(adafactor, "PIECE", 13)
    ours, definition = (
        torch.randn(9, 6, generator=torch.Generator().manual_seed(1), dtype=dtype).requires_grad_()
        for _ in range(2)
    )
    optimizers = [
        Adafactor([ours], eps=(floor, 1e-3), weight_decay=0.1),
        Adafactor([definition], eps=(floor, 1e-3), weight_decay=0.1, foreach=False),
    ]
    for step in range(20):
        give_gradients([ours], step)
        ours.grad[2] = ours.grad[:, 4] = 0.0
        if step % 2:
            ours.grad[5] = 0.0
        definition.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    precision = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(ours, definition, rtol=precision, atol=precision)
    for name in ("R", "C", "step"):
        mine, other = (
            optimizer.state[p][name] for optimizer, p in zip(optimizers, (ours, definition), strict=True)
        )
        torch.testing.assert_close(mine, other)


def test_adafactors_state_of_a_matrix_is_one_row_and_one_column():
    x = torch.ones(7, 5, requires_grad=True)
    x.grad = torch.ones(7, 5)
    optimizer = Adafactor([x])
    optimizer.step()
    assert {name: tuple(value.shape) for name, value in optimizer.state[x].items()} == {
        "step": (),
        "R": (7, 1),
        "C": (1, 5),
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "^lr must be"),
        ({"beta2_decay": 0.1}, r"^beta2_decay must be <= 0, got 0\.1$"),
        ({"d": 0.5}, r"^d must be >= 1, got 0\.5$"),
        ({"eps": (-1.0, 1e-3)}, r"^eps\[0\] must be"),
        ({"eps": (None, -1e-3)}, r"^eps\[1\] must be"),
    ],
)
def test_a_setting_of_adafactor_out_of_range_is_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        Adafactor(parameters(), **settings)
    with pytest.raises(ConfigError, match=r"^eps must be two numbers"):
        Adafactor([{"params": parameters(), "eps": (1e-3,)}])


@pytest.mark.parametrize("settings", [{}, {"lr": 0.01, "betas": (0.95, 0.98), "weight_decay": 1.0}])
@pytest.mark.parametrize("foreach", [True, False])
def test_lion_is_the_papers_algorithm(settings, foreach):
    params = parameters(torch.float64)
    starts, grads = [p.detach().numpy().copy() for p in params], [[] for _ in params]
    optimizer = Lion(params, **settings, foreach=foreach)
    for step in range(20):
        give_gradients(params, step)
        for history, parameter in zip(grads, params, strict=True):
            history.append(parameter.grad.numpy().copy())
        optimizer.step()
    full = {"lr": 1e-4, "betas": (0.9, 0.99), "weight_decay": 0.0} | settings
    for parameter, start, history in zip(params, starts, grads, strict=True):
        expected = torch.as_tensor(naive.lion(start, history, **full))
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-12)


def test_pieces_of_a_tensor_give_the_same_bits_as_the_whole(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_PER_THREAD", 3)
    cut, whole = parameters(), parameters()
    a, b = Lion(cut), Lion(whole, foreach=False)
    for step in range(5):
        give_gradients(cut, step)
        give_gradients(whole, step)
        a.step()
        b.step()
    for mine, other in zip(cut, whole, strict=True):
        assert torch.equal(mine, other)


def test_the_many_tensor_kernels_give_the_same_as_the_definition():
    group = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}
    one = [[torch.randn(4, 3) for _ in range(3)] for _ in range(3)]
    many = [[tensor.clone() for tensor in tensors] for tensors in one]
    for tensors in zip(*one, strict=True):
        lion_update(*tensors, group)
    _foreach_update(list(zip(*many, strict=True)), group)
    torch.testing.assert_close(many, one, rtol=1e-6, atol=1e-7)


def test_rates_of_lion_out_of_range_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"^betas\[1\] must be in \[0, 1\), got 1\.5$"):
        Lion(parameters(), betas=(0.9, 1.5))
    with pytest.raises(ConfigError, match=r"^betas must be two numbers"):
        Lion([{"params": parameters(), "betas": (0.9, 0.9, 0.9)}])
