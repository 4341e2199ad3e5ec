import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from lm_core import ModelConfig, Transformer, cross_entropy
from lm_core import product as product_module
from lm_core.counts import (
    OPTIMIZERS,
    activation_bytes,
    autocast_bytes,
    flops_per_token,
    optimizer_bytes,
    parameter_count,
)
from lm_core.errors import ConfigError
from lm_core.optim import Adafactor, AdamW, Lion, Muon, ScheduleFreeAdamW, split_parameters
from lm_core.parameter_shapes import parameter_shapes
from tiny_models import VARIANTS, some_ids, tiny_config, tiny_model
from torch.utils.flop_counter import FlopCounterMode, flop_registry


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_closed_form_is_what_torch_counts(variant):
    config = tiny_config(variant)
    assert parameter_count(config) == sum(parameter.numel() for parameter in Transformer(config).parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_and_shapes_are_known_without_building(variant):
    built = {
        name: tuple(tensor.shape) for name, tensor in Transformer(tiny_config(variant)).named_parameters()
    }
    known = parameter_shapes(tiny_config(variant))
    assert known == built
    assert list(known) == list(built)


def test_gpt2_small_has_124_million():
    shape = {"vocab_size": 50_257, "context": 1024, "d_model": 768, "n_layers": 12, "n_heads": 12}
    config = ModelConfig(
        **shape, position="learned", norm="layer", activation="gelu", bias=True, tie_embeddings=True
    )
    assert parameter_count(config) == 124_439_808


def test_llama_2_7b_has_6_738_million():
    config = ModelConfig(vocab_size=32_000, d_model=4096, n_layers=32, n_heads=32, d_ff=11_008)
    assert parameter_count(config) == 6_738_415_616


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_operations_are_the_ones_that_torch_counts(variant):
    model = tiny_model(variant, fast=False)  # whose products are all matrix products
    ids = some_ids(3, 16)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model(ids)
    assert forward.get_total_flops() == flops_per_token(model.config, 16, backward=False) * ids.numel()
    with FlopCounterMode(display=False) as step:
        cross_entropy(model(ids), ids, fast=False).backward()
    assert step.get_total_flops() == flops_per_token(model.config, 16) * ids.numel()


@pytest.mark.skipif(
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu not in flop_registry,
    reason="this torch (2.10) does not count its own fused attention on a CPU",
)
@pytest.mark.parametrize("worth", [1, 1 << 60])
def test_the_fast_paths_count_as_what_they_stand_for(worth, monkeypatch):
    monkeypatch.setattr(
        product_module, "WORTH_MULTIPLICATIONS", worth
    )  # all products through oneDNN, or none
    model, ids = tiny_model(n_kv_heads=4), some_ids(3, 16)  # of grouped heads torch counts other attention
    operations = flops_per_token(model.config, 16, backward=False) * ids.numel()
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model(ids)
    assert forward.get_total_flops() == operations
    # torch's fused attention makes its scores again on the way back: 2.5 times the forward pass where the convention has 2
    again = model.config.n_layers * model.config.n_heads * 2 * model.config.d_head * 16 * ids.numel()
    for loss in (lambda: cross_entropy(model(ids), ids), lambda: model.loss(ids, ids)):
        with FlopCounterMode(display=False) as step:
            loss().backward()
        assert step.get_total_flops() == 3 * operations + again


def test_what_the_compiler_does_not_open_is_counted_too():
    hidden, weight, targets = torch.randn(6, 4, requires_grad=True), torch.randn(5, 4), torch.arange(6) % 5
    compiled = (hidden, weight, targets[:, None], torch.full((6, 1), 1 / 6), 5, None, 0.0, 2, torch.float32)
    with FlopCounterMode(display=False) as counted:
        torch.ops.lm_core.linear_cross_entropy(*compiled, True, False)[0].backward()
    assert counted.get_total_flops() == 2 * 2 * 6 * 4 * 5
    with FlopCounterMode(display=False) as counted:
        torch.ops.lm_core.product(hidden.detach(), weight)
    assert counted.get_total_flops() == 2 * 6 * 4 * 5


def test_torchs_counter_is_not_imported_for_its_formulas_and_has_them_once_it_is():
    code = (
        "import sys, torch, lm_core.transformer, lm_core.linear_loss\n"
        "from lm_core.flop_formulas import count\n"
        "print('torch.utils.flop_counter' in sys.modules)\n"
        "from torch.utils.flop_counter import flop_registry\n"
        "print(torch.ops.lm_core.product in flop_registry, torch.ops.lm_core.linear_cross_entropy in flop_registry)\n"
        "count(torch.ops.aten.trace, lambda x: 7); print(torch.ops.aten.trace in flop_registry)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True", "True"]


def test_long_sequences_pay_for_attention():
    config = tiny_config()
    longer = flops_per_token(config, 32) - flops_per_token(config, 16)
    assert longer == 3 * 2 * config.n_layers * 2 * config.n_heads * config.d_head * 16


def bytes_kept(model, ids, **options):
    """What autograd holds on to, each memory once, without the model's own."""
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, or its address would be used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(ids, **options)
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_memory_of_the_activations_is_what_torch_keeps(variant, dropout):
    model = tiny_model(variant, dropout=dropout)
    assert bytes_kept(model, some_ids(3, 16)) == activation_bytes(model.config, 3, 16)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_memory_of_the_activations_under_autocast_is_what_torch_keeps(variant):
    model, ids = tiny_model(variant), some_ids(3, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kept = bytes_kept(model, ids)
    head = (
        2 * model.config.padded_vocab_size * model.config.d_model
    )  # cast for the logits; model.loss casts it by itself
    assert kept - head == activation_bytes(model.config, 3, 16, 2) + autocast_bytes(model.config, 3, 16)


@pytest.mark.parametrize("variant", ["llama", "qwen3", "gpt2"])
def test_documents_keep_the_outputs_of_attention_once_more(variant):
    model, ids = tiny_model(variant), some_ids(3, 16)
    documents = torch.arange(16).div(5, rounding_mode="floor").expand(3, 16)
    more = model.config.n_layers * model.config.n_heads * model.config.d_head * 4 + 8 * (variant == "gpt2")
    expected = activation_bytes(model.config, 3, 16) + 3 * 16 * more
    assert bytes_kept(model, ids, documents=documents) == expected


@pytest.mark.parametrize("variant", ["llama", "mistral", "gpt2", "soft-capped, padded"])
def test_with_recomputing_only_the_inputs_of_the_blocks_are_kept_until_the_way_back(variant):
    model = tiny_model(variant, dropout=0.1, n_layers=4)
    config, d_model = model.config, 4 * 3 * 16 * model.config.d_model
    one_block = activation_bytes(config, 3, 16) - activation_bytes(replace(config, n_layers=3), 3, 16)
    model.recompute = True
    expected = activation_bytes(config, 3, 16, recompute=True) - one_block + d_model
    assert bytes_kept(model, some_ids(3, 16)) == expected
    assert activation_bytes(config, 3, 16, recompute=True) < 0.5 * activation_bytes(config, 3, 16)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("variant", ["llama", "gpt2", "padded"])
def test_the_memory_of_an_optimizer_is_what_it_keeps(name, variant):
    model = tiny_model(variant)
    matrices, rest = split_parameters(model)
    everything = [*model.parameters()]
    optimizers = {
        "adamw": lambda: [AdamW(everything)],
        "schedule_free": lambda: [ScheduleFreeAdamW(everything)],
        "lion": lambda: [Lion(everything)],
        "muon": lambda: [Muon(matrices), AdamW(rest)],
        "adafactor": lambda: [Adafactor(everything)],
    }[name]()
    cross_entropy(model(some_ids(1, 9)), some_ids(1, 9)).backward()
    held = 0
    for optimizer in optimizers:
        optimizer.step()
        for state in optimizer.state.values():
            held += sum(tensor.nbytes for key, tensor in state.items() if key != "step")
    assert held == optimizer_bytes(model.config, name)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(
        ConfigError, match="optimizer must be one of adamw, schedule_free, lion, muon, adafactor"
    ):
        optimizer_bytes(tiny_config(), "sgd")
