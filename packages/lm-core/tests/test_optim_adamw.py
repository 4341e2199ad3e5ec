import shutil
import subprocess
import sys

import naive_optimizers as naive
import pytest
import torch
from lm_core.errors import ConfigError
from lm_core.optim import AdamW, adamw, one_pass, pieces

SETTINGS = [
    {},
    {"lr": 0.03, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.3},
    {"lr": 0.003, "betas": (0.9, 0.95), "eps": 1e-10, "weight_decay": 0.0},
    {"lr": 0.01, "betas": (0.0, 0.0)},
]


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = [
        (7, 5),
        (5,),
        (),
        (3, 2, 4),
        (16, 16),
        (1000,),
    ]  # the last two are large enough for the fused kernel
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def give_gradients(params, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in params:
        scale = 10.0 ** torch.randint(-6, 2, (), generator=generator).item()
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("ways", [{}, {"fused_kernel": False}, {"foreach": False}], ids=str)
def test_a_hundred_steps_give_what_torch_gives(settings, ways):
    ours, theirs = parameters(), parameters()
    optimizer = AdamW(ours, **settings, **ways)
    reference = torch.optim.AdamW(theirs, **settings)
    for step in range(100):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimizer.step()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() <= 1e-7 * other.norm()


@pytest.mark.parametrize("settings", SETTINGS)
def test_it_is_the_papers_algorithm(settings):
    params = parameters(torch.float64)
    starts, grads = [p.detach().numpy().copy() for p in params], [[] for _ in params]
    optimizer = AdamW(params, **settings)
    for step in range(10):
        give_gradients(params, step)
        for history, parameter in zip(grads, params, strict=True):
            history.append(parameter.grad.numpy().copy())
        optimizer.step()
    full = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01} | settings
    for parameter, start, history in zip(params, starts, grads, strict=True):
        expected = torch.as_tensor(naive.adamw(start, history, **full))
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=1e-12)


def test_pieces_of_a_tensor_give_the_same_bits_as_the_whole(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_PER_THREAD", 11)
    cut, whole = parameters(), parameters()
    a, b = AdamW(cut, fused_kernel=False), AdamW(whole, foreach=False)
    for step in range(5):
        give_gradients(cut, step)
        give_gradients(whole, step)
        a.step()
        b.step()
    for mine, other in zip(cut, whole, strict=True):
        assert torch.equal(mine, other)


def test_large_tensors_go_through_the_fused_kernel_and_small_ones_have_the_definitions_bits(monkeypatch):
    sizes, through = set(), adamw._fused

    def spy(works, group, step):
        sizes.update(parameter.numel() for parameter, *_ in works)
        through(works, group, step)

    monkeypatch.setattr(adamw, "_fused", spy)
    fused, plain, theirs = parameters(), parameters(), parameters()
    optimizers = [AdamW(fused), AdamW(plain, fused_kernel=False), torch.optim.AdamW(theirs, fused=True)]
    for step in range(5):
        for params, optimizer in zip((fused, plain, theirs), optimizers, strict=True):
            give_gradients(params, step)
            optimizer.step()
    for mine, definition, kernel in zip(fused, plain, theirs, strict=True):
        assert torch.equal(mine, kernel if mine.numel() >= adamw.WORTH_FUSING else definition)
    assert sizes == {256, 1000}  # by their bits alone they cannot be told apart on every processor


def test_a_state_of_before_the_fused_kernel_goes_on_without_it():
    old, new = AdamW(parameters()), AdamW(parameters())
    state = old.state_dict()
    for group in state["param_groups"]:
        del group["fused_kernel"]
    new.load_state_dict(state)
    give_gradients(new.param_groups[0]["params"], 0)
    new.step()
    reference = parameters()
    give_gradients(reference, 0)
    AdamW(reference, foreach=False).step()
    for mine, definition in zip(new.param_groups[0]["params"], reference, strict=True):
        assert torch.equal(mine, definition)


def test_the_many_tensor_kernels_give_the_same_as_the_definition():
    from lm_core.optim.adamw import _Constants, _foreach_update, adamw_update

    constants = _Constants({"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}, step=3)
    one = [[torch.rand(4, 3) for _ in range(3)] for _ in range(4)]
    many = [[tensor.clone() for tensor in tensors] for tensors in one]
    for tensors in zip(*one, strict=True):
        adamw_update(*tensors, constants)
    _foreach_update(list(zip(*many, strict=True)), constants)
    torch.testing.assert_close(many, one, rtol=1e-6, atol=0)


def test_a_parameter_whose_memory_is_not_in_order_is_updated_too():
    transposed, plain = torch.ones(3, 4).t().requires_grad_(), torch.ones(4, 3).requires_grad_()
    for parameter in (transposed, plain):
        parameter.grad = torch.arange(12.0).view(4, 3)
        AdamW([parameter]).step()
    assert torch.equal(transposed, plain)


def test_every_setting_can_differ_between_groups():
    fast, slow = (torch.ones(3, requires_grad=True) for _ in range(2))
    optimizer = AdamW([{"params": [fast], "lr": 0.1, "weight_decay": 0.0}, {"params": [slow]}], lr=0.0)
    fast.grad = slow.grad = torch.ones(3)
    optimizer.step()
    torch.testing.assert_close(fast.detach(), torch.full((3,), 0.9))
    assert torch.equal(slow.detach(), torch.ones(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, r"^lr must be a finite number >= 0, got -1\.0$"),
        ({"lr": float("nan")}, "^lr must be a finite number"),
        ({"eps": -1e-8}, "^eps must be"),
        ({"weight_decay": float("inf")}, "^weight_decay must be"),
        ({"betas": (1.0, 0.9)}, r"^betas\[0\] must be in \[0, 1\), got 1\.0$"),
        ({"betas": (0.9, -0.1)}, r"^betas\[1\] must be in \[0, 1\)"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        AdamW(parameters(), **settings)
    with pytest.raises(ConfigError, match=message):
        AdamW([{"params": parameters()} | settings])


def test_betas_of_a_group_must_be_two():
    with pytest.raises(ConfigError, match=r"^betas must be two numbers, got \(0\.9,\)$"):
        AdamW([{"params": parameters(), "betas": (0.9,)}])


def test_the_first_step_is_the_sign_of_the_gradient_times_the_learning_rate():
    x = torch.tensor(1.0, requires_grad=True)
    optimizer = AdamW([x], lr=0.1, weight_decay=0.0)
    x.grad = torch.tensor(123.0)
    optimizer.step()  # m_hat / sqrt(v_hat) is the sign of the first gradient
    assert x.item() == pytest.approx(0.9)


needs_c = pytest.mark.skipif(
    not any(shutil.which(name) for name in one_pass.COMPILERS), reason="no C compiler on this machine"
)


@needs_c
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_loop_in_c_gives_what_torch_gives(settings, dtype):
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer, reference = AdamW(ours, **settings, compile=True), torch.optim.AdamW(theirs, **settings)
    for step in range(100):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimizer.step()
        reference.step()
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() <= 2e-7 * other.norm()  # torch's own fused kernel is 1.7e-7 away


@needs_c
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_loop_in_c_gives_the_same_bits_however_many_threads_share_it(threads, monkeypatch):
    alone, shared = parameters(), parameters()
    one, many = AdamW(alone, compile=True), AdamW(shared, compile=True)
    monkeypatch.setattr(one_pass, "SMALLEST_SHARE", 5)
    for step in range(3):
        give_gradients(alone, step)
        give_gradients(shared, step)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        one.step()
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        many.step()
    for mine, other in zip(shared, alone, strict=True):
        assert torch.equal(mine, other)


@needs_c
def test_what_the_loop_in_c_does_not_know_is_updated_by_the_definition():
    kinds = [torch.ones(4, 3, dtype=torch.bfloat16), torch.ones(3, 4).t(), torch.ones(12)]
    ours, theirs = ([kind.clone().requires_grad_() for kind in kinds] for _ in range(2))
    for params, compile in ((ours, True), (theirs, False)):
        for parameter in params:
            parameter.grad = torch.ones_like(parameter)
        AdamW(params, lr=0.1, compile=compile).step()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_no_compiler_is_an_error_that_says_what_to_do(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"^compile=True needs a C compiler \(cc, gcc, clang\) and none is"):
        AdamW(parameters(), compile=True)


@needs_c
def test_a_compiler_that_fails_is_quoted(monkeypatch, tmp_path):
    broken = tmp_path / "broken.c"
    broken.write_text("int main( {")
    monkeypatch.setattr(one_pass, "SOURCE", broken)
    with pytest.raises(
        ConfigError, match=r"(?s)could not build AdamW's step; leave compile=False. It says:.*error"
    ):
        one_pass.library.__wrapped__()


def by_tensor(work, constants, one_pass_update):
    numbers = torch.tensor(constants.numbers(), dtype=torch.float64)
    one_pass_update(*(tensor.view(-1) for tensor in work), numbers)


def test_what_torch_compiles_gives_what_the_definition_gives():
    constants = adamw._Constants({"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}, step=3)
    one = [torch.rand(4, 3) for _ in range(4)]
    other = [tensor.clone() for tensor in one]
    adamw.adamw_update(*one, constants)
    by_tensor(other, constants, one_pass.update_by_tensor)
    torch.testing.assert_close(other, one, rtol=1e-6, atol=0)


COMPILED = """
import torch
from lm_core.optim import adamw, one_pass

constants = adamw._Constants({"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}, step=3)
numbers = torch.tensor(constants.numbers(), dtype=torch.float64)
for size in (40, 64 * 70):
    one = [torch.rand(size) for _ in range(4)]
    other = [tensor.clone() for tensor in one]
    adamw.adamw_update(*one, constants)
    one_pass.compiled_update()(*other, numbers)
    torch.testing.assert_close(other, one, rtol=1e-6, atol=0)
"""


@pytest.mark.slow
def test_the_step_compiled_by_torch_gives_what_the_definition_gives():
    # in a process of its own: the checks that these tests run under do not compile
    subprocess.run([sys.executable, "-W", "ignore", "-c", COMPILED], check=True)


def test_settings_saved_before_there_was_a_compiled_step_load():
    params = parameters()
    optimizer = AdamW(params)
    state = optimizer.state_dict()
    del state["param_groups"][0]["compile"]
    optimizer.load_state_dict(state)
    give_gradients(params, 0)
    optimizer.step()
    assert optimizer.state[params[0]]["step"] == 1
