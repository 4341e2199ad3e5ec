import copy
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lm_core import Block, Transformer, cross_entropy
from lm_core import attention as attention_module
from lm_core import feed_forward as feed_forward_module
from lm_core.embedding import sinusoidal_positions
from lm_core.errors import ConfigError, ShapeError
from same_gradients import randn
from tiny_models import VARIANTS, shaken, some_ids, tiny_config, tiny_model


def gradients(model, ids):
    fast = model.blocks[0].attention.fast
    cross_entropy(model(ids[:, :-1]), ids[:, 1:], fast=fast).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_fast_paths_give_the_plain_definitions_logits_and_gradients(variant):
    fast, plain = tiny_model(variant).double(), tiny_model(variant, fast=False).double()
    ids = some_ids(2, 12)
    torch.testing.assert_close(fast(ids), plain(ids), atol=1e-12, rtol=1e-10)
    expected = gradients(plain, ids)
    for name, gradient in gradients(fast, ids).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-12, rtol=1e-9, msg=name)


@pytest.mark.parametrize("variant", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_recomputed_blocks_give_the_same_gradients_to_the_last_bit(variant, dropout):
    model, ids = tiny_model(variant, dropout=dropout), some_ids(2, 12)
    torch.manual_seed(3)
    expected = gradients(model, ids)
    model.zero_grad(set_to_none=True)
    model.recompute = True
    torch.manual_seed(3)
    for name, gradient in gradients(model, ids).items():
        assert torch.equal(gradient, expected[name]), name


def test_every_block_runs_twice_when_recomputed_and_once_when_nothing_is_to_be_learnt():
    model, ids = tiny_model(dropout=0.1), some_ids(2, 12)
    model.recompute = True
    runs = []
    for block in model.blocks:
        block.attention.register_forward_hook(lambda module, *_: runs.append(module.layer))
    model.loss(ids, ids).backward()
    assert runs == [0, 1, 1, 0]
    runs.clear()
    with torch.no_grad():
        model(ids)
    assert runs == [0, 1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_gets_a_gradient(variant):
    for name, gradient in gradients(tiny_model(variant), some_ids(2, 40)).items():
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_never_depend_on_later_ids(variant):
    model, ids = tiny_model(variant), some_ids(2, 12)
    before = model(ids)
    changed = ids.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 61
    after = model(changed)
    torch.testing.assert_close(after[:, :7], before[:, :7], atol=1e-6, rtol=0)
    assert (after[:, 7:] - before[:, 7:]).abs().amax(-1).min() > 1e-3


def test_sequences_of_a_batch_do_not_see_each_other():
    model, ids = tiny_model(), some_ids(3, 12)
    torch.testing.assert_close(model(ids)[1:2], model(ids[1:2]), atol=1e-6, rtol=0)


def test_the_model_is_its_parts_in_the_stated_order():
    model, ids = tiny_model(), some_ids(2, 9)
    x = model.embedding(ids)
    for block in model.blocks:
        x = x + block.attention(block.attention_norm(x))
        x = x + block.feed_forward(block.feed_forward_norm(x))
    torch.testing.assert_close(model(ids), model.head(model.norm(x)))
    torch.testing.assert_close(model.logits(model.hidden(ids)), model(ids))


def test_a_block_stands_alone():
    block = shaken(Block(tiny_config()))
    assert block(randn(2, 5, 32)).shape == (2, 5, 32)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (Transformer(tiny_config(), seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])


def test_building_a_model_leaves_torchs_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    Transformer(tiny_config())
    assert torch.equal(torch.rand(1), expected)


def test_a_model_can_be_built_without_memory_and_filled_later():
    with torch.device("meta"):
        model = Transformer(tiny_config())
    assert all(parameter.is_meta for parameter in model.parameters())
    whole = tiny_model()
    model.to_empty(device="cpu").load_state_dict(whole.state_dict())
    assert torch.equal(model(some_ids(1, 5)), whole(some_ids(1, 5)))


def test_a_tied_head_is_the_embedding_also_after_copies_and_casts():
    model = copy.deepcopy(tiny_model(tie_embeddings=True)).double().float()
    assert model.head is None
    assert "head.weight" not in model.state_dict()
    hidden = randn(1, 2, 32)
    torch.testing.assert_close(model.logits(hidden), hidden @ model.embedding.weight.T)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cast_model_computes_in_that_dtype_and_stays_near(variant, dtype):
    model, ids = tiny_model(variant), some_ids(2, 9)
    expected = model(ids)
    logits = model.to(dtype)(ids)
    assert logits.dtype == dtype
    scale = expected.abs().max().item()
    torch.testing.assert_close(logits.float(), expected, atol=0.05 * scale, rtol=0)


def test_autocast_to_bfloat16_runs_forward_and_backward():
    model, ids = tiny_model("qwen3"), some_ids(2, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(ids)
        loss = cross_entropy(logits, ids)
    loss.backward()
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), model(ids), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("variant", ["qwen3", "gpt2"])
def test_casting_once_trains_as_autocasts_own_casts_do(monkeypatch, variant):
    ids = some_ids(2, 9)

    def train(dtype=torch.bfloat16):
        """The first gradients, by name, and the losses of ten steps."""
        model, losses, gradients = tiny_model(variant), [], {}
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(10):
            with torch.autocast("cpu", dtype=dtype, enabled=dtype is not torch.float32):
                loss = model.loss(ids[:, :-1], ids[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            gradients = gradients or {name: p.grad.clone() for name, p in model.named_parameters()}
            optimizer.step()
            losses.append(loss.item())
        return gradients, torch.tensor(losses)

    exact, exact_losses = train(torch.float32)
    once, once_losses = train()
    for module in (attention_module, feed_forward_module):
        monkeypatch.setattr(module, "cast_once", lambda x: x)
    torchs, torchs_losses = train()
    assert any(not torch.equal(once[name], torchs[name]) for name in once), "nothing was cast otherwise"
    errors = {"once": 0.0, "torch's": 0.0}  # of all gradients, squared
    rounding = 1e-3 * math.hypot(*(gradient.norm().item() for gradient in exact.values()))  # all of k's bias
    for name, gradient in exact.items():
        assert (once[name] - torchs[name]).norm() <= 0.03 * gradient.norm() + rounding, name
        errors["once"] += (once[name] - gradient).square().sum().item()
        errors["torch's"] += (torchs[name] - gradient).square().sum().item()
    assert errors["once"] <= 1.5 * errors["torch's"]
    torch.testing.assert_close(once_losses, torchs_losses, rtol=0.01, atol=0)
    torch.testing.assert_close(once_losses, exact_losses, rtol=0.01, atol=0)
    assert once_losses[-1] < 0.9 * once_losses[0]


COMPILED = """
import torch
from lm_core import IGNORED, cross_entropy
from lm_core import product as product_module
from tiny_models import some_ids, tiny_model
from torch._dynamo.utils import counters

def agree(function, *inputs):
    torch.testing.assert_close(torch.compile(function, backend="eager", fullgraph=True)(*inputs), function(*inputs))

for variant in ("qwen3", "gpt2", "soft-capped, padded"):
    model, ids = tiny_model(variant), some_ids(2, 9)
    agree(lambda ids: cross_entropy(model(ids), ids, z_loss=0.1), ids)
agree(lambda ids: model.loss(ids, ids), ids)
documents = torch.arange(9).div(4, rounding_mode="floor").expand(2, 9)
targets = ids.masked_fill(documents == 1, IGNORED)
agree(lambda ids: model.loss(ids, targets, documents=documents), ids)
def gradients(loss):
    return torch.autograd.grad(loss, list(model.parameters()))

for model in (tiny_model("soft-capped, padded"), tiny_model("gpt2")):  # the head and the loss in chunks, in one operation
    compiled = torch.compile(model.loss, backend="aot_eager", fullgraph=True)
    options = {"documents": documents, "z_loss": 0.1}
    both = gradients(compiled(ids, targets, **options)), gradients(model.loss(ids, targets, **options))
    torch.testing.assert_close(*both)
product_module.WORTH_MULTIPLICATIONS = 1  # every product through oneDNN, where there is one
model = tiny_model("qwen2")
compiled = torch.compile(lambda ids: cross_entropy(model(ids), ids), backend="aot_eager", fullgraph=True)
torch.testing.assert_close(gradients(compiled(ids)), gradients(cross_entropy(model(ids), ids)))
model = tiny_model("qwen3 with a window")
expected = model(ids)
for block in model.blocks:
    block.compile(backend="eager", fullgraph=True)
torch.testing.assert_close(model(ids), expected)
programs = []
for numbers in (documents, documents // 2, ids):  # other lengths, the same program
    with torch.compiler.set_stance("force_eager"):
        expected = model(ids, documents=numbers)
    torch.testing.assert_close(model(ids, documents=numbers), expected)
    programs.append(counters["stats"]["unique_graphs"])
assert len(set(programs)) == 1, programs
"""


def test_the_model_and_its_loss_compile_without_a_graph_break():
    # in a process of its own: the shape checks that these tests run under do not compile
    subprocess.run([sys.executable, "-c", COMPILED], check=True, cwd=Path(__file__).parent)


@pytest.mark.parametrize("variant", ["llama", "soft-capped, padded", "padded"])
@pytest.mark.parametrize("fast", [True, False])
def test_the_models_loss_is_the_loss_of_its_logits(variant, fast):
    model, ids = tiny_model(variant, fast=fast).double(), some_ids(2, 12)
    expected = cross_entropy(model(ids[:, :-1]), ids[:, 1:], z_loss=0.01)
    loss = model.loss(ids[:, :-1], ids[:, 1:], z_loss=0.01)
    torch.testing.assert_close(loss, expected, atol=1e-12, rtol=1e-12)
    wanted = torch.autograd.grad(expected, list(model.parameters()))
    for gradient, other in zip(torch.autograd.grad(loss, list(model.parameters())), wanted, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-12, rtol=1e-9)


def test_padding_is_never_in_the_logits_and_never_an_id():
    padded, plain = tiny_model("padded"), tiny_model()
    assert padded.embedding.weight.shape == (64, 32)
    ids = some_ids(2, 9)
    assert padded(ids).shape == (2, 9, 61)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(padded.get_parameter(name)[: len(parameter)])
    torch.testing.assert_close(padded(ids), plain(ids))
    with pytest.raises(ShapeError, match=r"token id 61 is outside the vocabulary \(0\.\.60\)"):
        padded(torch.full((1, 1), 61))


def test_capped_logits_stay_within_the_cap():
    model = tiny_model("soft-capped, padded")
    with torch.no_grad():
        model.embedding.weight.mul_(100)
    assert model(some_ids(2, 9)).abs().max() <= 2.0


def test_with_a_window_far_tokens_do_not_matter_but_through_the_layers():
    model, ids = tiny_model("mistral", n_layers=1), some_ids(1, 12)
    changed = ids.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 61
    difference = (model(changed) - model(ids)).abs().amax(-1)[0]
    assert (difference[3:8] > 1e-4).all()  # 5 tokens see token 3
    torch.testing.assert_close(difference[8:], torch.zeros(4), atol=1e-6, rtol=0)


def test_dropout_is_off_in_eval_mode_and_drawn_from_the_global_generator_while_training():
    model, ids = tiny_model(dropout=0.5), some_ids(2, 12)
    assert torch.equal(model.eval()(ids), tiny_model()(ids))
    torch.manual_seed(0)
    first = model.train()(ids)
    assert not torch.equal(model(ids), first)
    torch.manual_seed(0)
    assert torch.equal(model(ids), first)


def test_sinusoidal_positions_are_the_papers():
    table = sinusoidal_positions(3, 2, 6)
    expected = [f(t / 10_000 ** (2 * i / 6)) for t in (3, 4) for i in range(3) for f in (math.sin, math.cos)]
    assert table.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_a_sequence_longer_than_the_context_is_refused():
    with pytest.raises(ShapeError, match="context is 40 tokens, got 41; give it fewer"):
        tiny_model()(some_ids(1, 41))


def test_ids_without_a_token_are_refused():
    with pytest.raises(ShapeError, match=r"at least one token, got \(1, 0\)"):
        tiny_model()(some_ids(1, 0))


def test_a_model_larger_than_the_machine_is_refused_before_it_is_allocated():
    with pytest.raises(ConfigError, match="GiB for its weights, this machine has"):
        Transformer(tiny_config(d_model=2**17, n_layers=10, d_ff=2**16))
