import naive_optimizers as naive
import numpy as np
import pytest
import torch
from lm_core import ModelConfig, Transformer, cross_entropy
from lm_core.errors import ConfigError
from lm_core.optim import AdamW, Muon, muon, mup_groups, newton_schulz, split_parameters, weight_decay_groups
from lm_core.optim.newton_schulz import newton_schulz_dtype, orthogonalize, orthogonalize_fast
from torch import nn

SHAPES = [(6, 4), (4, 6), (6, 4), (5, 5), (8, 1), (1, 8)]


def matrices(dtype=torch.float32, shapes=SHAPES):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def give_gradients(params, step):
    generator = torch.Generator().manual_seed(step)
    for parameter in params:
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (1, 5)])
def test_orthogonalizing_applies_the_quintic_to_the_singular_values(shape):
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.as_tensor(naive.newton_schulz(matrix.numpy(), 5))
    torch.testing.assert_close(orthogonalize(matrix, 5), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 5, 6])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 8, 11), (2, 8, 16), (2, 3, 30), (2, 30, 3), (2, 1, 1)])
def test_the_fast_form_gives_what_the_definition_gives(shape, steps):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = orthogonalize(matrices, steps)
    torch.testing.assert_close(orthogonalize_fast(matrices, steps), exact, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(orthogonalize_fast(matrices.float(), steps).double(), exact, rtol=0, atol=1e-3)


def test_the_fast_form_keeps_gradients_with_tiny_singular_values_within_a_thousandth():
    generator = torch.Generator().manual_seed(0)
    left, _ = torch.linalg.qr(torch.randn(32, 32, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(128, 32, generator=generator, dtype=torch.float64))
    matrix = (left * torch.logspace(0, -6, 32, dtype=torch.float64)) @ right.mT
    exact = orthogonalize(matrix, 5)
    assert (orthogonalize_fast(matrix[None].float(), 5)[0] - exact).norm() < 1e-3 * exact.norm()


def test_the_singular_values_end_near_one():
    matrix = torch.randn(30, 50, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrix, 5))
    assert values.min() > 0.65
    assert values.max() < 1.25


@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("nesterov", [True, False])
def test_it_is_the_published_algorithm_whatever_the_batching(foreach, nesterov, monkeypatch):
    monkeypatch.setattr(muon, "BATCH_ELEMENTS", 50)  # two 6 x 4 matrices a batch
    settings = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, "ns_steps": 4, "weight_decay": 0.2}
    params = matrices(torch.float64)
    starts, grads = [p.detach().numpy().copy() for p in params], [[] for _ in params]
    optimizer = Muon(params, **settings, foreach=foreach)
    for step in range(6):
        give_gradients(params, step)
        for history, parameter in zip(grads, params, strict=True):
            history.append(parameter.grad.numpy().copy())
        optimizer.step()
    for parameter, start, history in zip(params, starts, grads, strict=True):
        expected = torch.as_tensor(naive.muon(start, history, **settings))
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-8, atol=1e-8)


def test_batches_give_what_single_matrices_give():
    together, alone = matrices(), matrices()
    a, b = Muon(together), Muon(alone, foreach=False)
    for step in range(5):
        give_gradients(together, step)
        give_gradients(alone, step)
        a.step()
        b.step()
    for mine, other in zip(together, alone, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_in_bfloat16_it_agrees_with_torchs_muon_and_in_float32_up_to_bfloat16s_rounding():
    shapes = [(32, 16), (16, 32), (24, 24)]
    theirs = matrices(shapes=shapes)
    reference = torch.optim.Muon(theirs, lr=0.02, momentum=0.95, weight_decay=0.1)
    exact = {dtype: matrices(shapes=shapes) for dtype in (torch.bfloat16, torch.float32)}
    optimizers = [Muon(params, weight_decay=0.1, ns_dtype=dtype) for dtype, params in exact.items()]
    starts = matrices(shapes=shapes)
    for step in range(10):
        for params in (theirs, *exact.values()):
            give_gradients(params, step)
        for optimizer in (reference, *optimizers):
            optimizer.step()
    for params in exact.values():
        for mine, other, start in zip(params, theirs, starts, strict=True):
            moved = (other - start).norm()
            assert (mine - other).norm() < 0.03 * moved


def test_tall_matrices_take_larger_steps():
    for shape, scale in [((8, 2), 2.0), ((2, 8), 1.0)]:
        x = torch.zeros(shape, requires_grad=True)
        x.grad = torch.eye(*shape)
        Muon([x], lr=0.5, momentum=0.0).step()
        torch.testing.assert_close(x.detach(), -0.5 * scale * orthogonalize(torch.eye(*shape), 5))


def test_a_zero_gradient_moves_nothing():
    x = torch.ones(3, 4, requires_grad=True)
    x.grad = torch.zeros(3, 4)
    Muon([x]).step()
    assert torch.equal(x.detach(), torch.ones(3, 4))


def test_the_momentum_can_be_warmed_up_through_its_group():
    x = torch.zeros(2, 2, requires_grad=True)
    optimizer = Muon([x])
    optimizer.param_groups[0]["momentum"] = 0.75
    x.grad = torch.eye(2)
    optimizer.step()
    assert torch.equal(optimizer.state[x]["B"], torch.eye(2) * 0.25)


@pytest.mark.parametrize("units", [True, False])
def test_newton_schulz_is_bfloat16_on_a_cpu_only_with_units_for_it_and_for_large_matrices(units, monkeypatch):
    monkeypatch.setattr(newton_schulz, "cpu_has_bfloat16_units", lambda: units)
    for dtype, side, wanted in [
        (torch.bfloat16, 255, torch.float32),
        (torch.float32, 255, torch.float32),
        (torch.float32, 256, torch.bfloat16 if units else torch.float32),
        (torch.float64, 256, torch.float64),
    ]:
        assert newton_schulz_dtype(torch.ones(1, 1, dtype=dtype), side) == wanted


def test_products_by_halves_are_the_whole_products(monkeypatch):
    monkeypatch.setattr(newton_schulz, "WORTH_HALVING", 1)
    for shape in [(2, 8, 11), (2, 7, 30), (3, 1, 1), (1, 5, 5)]:
        matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        exact = orthogonalize(matrices, 5)
        torch.testing.assert_close(orthogonalize_fast(matrices, 5), exact, rtol=1e-9, atol=1e-9)


@pytest.mark.gpu
def test_newton_schulz_runs_in_bfloat16_on_a_recent_gpu_and_agrees_with_the_cpu():
    on_gpu = [p.detach().cuda().requires_grad_() for p in matrices()]
    on_cpu = matrices()
    assert newton_schulz_dtype(on_gpu[0], 4) == torch.bfloat16
    for params in (on_gpu, on_cpu):
        give_gradients(on_cpu, 0)
        for parameter, source in zip(params, on_cpu, strict=True):
            parameter.grad = source.grad.to(parameter.device)
        Muon(params, lr=1.0).step()
    for mine, other in zip(on_gpu, on_cpu, strict=True):
        torch.testing.assert_close(mine.cpu(), other, rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 1.0}, r"^momentum must be in \[0, 1\), got 1\.0$"),
        ({"ns_steps": 0}, "^ns_steps must be >= 1, got 0$"),
        ({"weight_decay": -0.1}, "^weight_decay must be a finite number >= 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        Muon(matrices(), **settings)


def test_what_is_no_matrix_is_refused_with_where_it_belongs():
    with pytest.raises(
        ConfigError, match=r"^Muon is for matrices; norm of shape \(3,\) has 1 dimensions\. Give it to AdamW"
    ):
        Muon([("norm", torch.ones(3, requires_grad=True))])


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.LayerNorm(4)])
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def test_matrices_inside_blocks_go_to_muon_and_all_else_to_adamw_once():
    model = Model()
    matrices, rest = split_parameters(model)
    assert matrices == [model.blocks[0].weight]
    assert list(map(id, rest)) == list(
        map(id, [model.embedding.weight, model.blocks[0].bias, *model.blocks[1].parameters()])
    )


def test_vectors_do_not_decay():
    model = Model()
    decayed, kept = weight_decay_groups([*model.blocks.parameters()], 0.1)
    assert [p.ndim for p in decayed["params"]] == [2]
    assert [p.ndim for p in kept["params"]] == [1, 1, 1]
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert len(weight_decay_groups([model.embedding.weight], 0.1)) == 1


def test_momentum_as_a_sum_or_an_average_orthogonalizes_to_the_same():
    matrix = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(orthogonalize(matrix, 5), orthogonalize(matrix * 20, 5))
    assert np.isfinite(orthogonalize(matrix * 1e-30, 5).numpy()).all()


def test_the_learning_rates_of_mup_fall_with_the_width_for_matrices_only():
    config = ModelConfig(vocab_size=20, d_model=128, n_layers=1, qk_norm=True, init="mup")
    model = Transformer(config)
    wide, narrow = mup_groups(model, lr=0.01, base_width=32)
    assert (wide["lr"], narrow["lr"]) == (0.0025, 0.01)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)] for p in narrow["params"]} == {n for n in names.values() if "norm" in n} | {
        "embedding.weight"
    }
    assert len(wide["params"]) + len(narrow["params"]) == len(names)
    with pytest.raises(ConfigError, match="base_width must be the d_model that lr was tuned at, got 0"):
        mup_groups(model, lr=0.01, base_width=0)
    with pytest.raises(ConfigError, match=r"no trainable embedding\.weight"):
        mup_groups(nn.Linear(2, 2), lr=0.01, base_width=32)


def moved(init, d_model, steps=3):
    """How far the logits of a batch move in a few steps of AdamW, root mean square."""
    config = ModelConfig(
        vocab_size=64, context=16, d_model=d_model, n_layers=2, n_heads=d_model // 16, init=init
    )
    model = Transformer(config)
    ids = torch.randint(0, 64, (4, 17), generator=torch.Generator().manual_seed(0))
    groups = mup_groups(model, 0.01, base_width=64) if init == "mup" else model.parameters()
    optimizer = AdamW(groups, lr=0.01)
    before = model(ids[:, :-1]).detach()
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(ids[:, :-1]), ids[:, 1:]).backward()
        optimizer.step()
    return (model(ids[:, :-1]).detach() - before).square().mean().sqrt().item()


def test_under_mup_wide_models_move_as_far_as_narrow_ones_where_the_usual_start_moves_further():
    # the coordinate check of the paper's appendix D.1
    assert 0.6 < moved("mup", 512) / moved("mup", 64) < 1.6
    assert moved("gpt2", 512) / moved("gpt2", 64) > 2.0
