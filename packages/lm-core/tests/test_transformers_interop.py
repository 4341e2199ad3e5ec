"""Both ways with transformers, for random models of every family: the contract of the model folder."""

import json

import pytest
import torch
from lm_core import RopeScaling, load_model, save_model
from lm_core.errors import ModelFolderError
from tiny_models import shaken, some_ids, tiny_config, tiny_model

transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
# torch warns about torch.jit under newer Pythons when transformers imports it; no concern of ours
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def rope(kind, **settings):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 500.0, **settings}}


def llama(**changes):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SHAPE, "head_dim": 8, **changes}))


THEIRS = {
    "llama": llama,
    "llama with biases, tied": lambda: llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "llama with wide heads": lambda: llama(head_dim=20),
    "llama, linear": lambda: llama(**rope("linear", factor=4.0)),
    "llama 3.1": lambda: llama(
        **rope(
            "llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        )
    ),
    "llama, yarn": lambda: llama(**rope("yarn", factor=4.0, original_max_position_embeddings=16)),
    "mistral": lambda: transformers.MistralForCausalLM(
        transformers.MistralConfig(**SHAPE, head_dim=8, sliding_window=None)
    ),
    "mistral with a window": lambda: transformers.MistralForCausalLM(
        transformers.MistralConfig(**SHAPE, head_dim=8, sliding_window=16)
    ),
    "qwen2": lambda: transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE)),
    "qwen2 with a window": lambda: transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=16, max_window_layers=0)
    ),
    "qwen3": lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHAPE, head_dim=16)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=61, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    ),
    "gpt2 untied": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=61,
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_inner=48,
            tie_word_embeddings=False,
        )
    ),
}
OURS = {
    "llama": {},
    "llama with biases, tied": {"bias": True, "tie_embeddings": True},
    "llama with wide heads": {"d_head": 20},
    "llama 3.1": {"rope_scaling": RopeScaling(kind="llama3", factor=8.0, original_context=16)},
    "llama, linear": {"rope_scaling": RopeScaling(kind="linear", factor=2.0)},
    "llama, yarn": {"rope_scaling": RopeScaling(kind="yarn", factor=4.0, original_context=10)},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True, "tie_embeddings": True, "d_head": 16},
    "mistral": {"sliding_window": 7},
    "qwen2 with a window": {"qkv_bias": True, "sliding_window": 7},
    "qwen3 with a window": {"qk_norm": True, "sliding_window": 7},
    "padded": {"vocab_multiple": 64, "tie_embeddings": True},
}


@torch.no_grad()
def difference(ours, theirs, ids):
    return (ours(ids) - theirs(ids, use_cache=False).logits).abs().max().item()


@pytest.mark.parametrize("name", THEIRS)
def test_a_model_that_transformers_saved_has_the_same_logits_here(name, tmp_path):
    theirs = shaken(THEIRS[name]().eval())
    theirs.save_pretrained(tmp_path / "theirs")
    ours = load_model(tmp_path / "theirs")
    assert difference(ours, theirs, some_ids(2, 50)) <= 1e-5


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_shards_of_transformers_are_read(name, tmp_path):
    theirs = shaken(THEIRS[name]().eval())
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    assert difference(load_model(tmp_path / "theirs"), theirs, some_ids(2, 20)) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_files_are_read_as_they_are_or_widened(dtype, tmp_path):
    theirs = shaken(llama().eval()).to(dtype)
    theirs.save_pretrained(tmp_path / "theirs")
    assert load_model(tmp_path / "theirs").embedding.weight.dtype == dtype
    widened = load_model(tmp_path / "theirs", dtype=torch.float32)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "theirs", dtype=torch.float32
    ).eval()
    assert difference(widened, theirs, some_ids(2, 20)) <= 1e-5


def check_in_transformers(ours, folder, **options):
    save_model(ours, folder, bos_token_id=1, **options)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    assert difference(ours, theirs, some_ids(2, 30)) <= 1e-5
    prompt = some_ids(1, 5)
    generated = theirs.generate(
        prompt, max_new_tokens=64, do_sample=False, attention_mask=torch.ones_like(prompt)
    )
    ids = prompt
    with torch.no_grad():
        for _ in range(64):
            ids = torch.cat([ids, ours(ids)[:, -1:].argmax(-1)], dim=1)
    assert generated.tolist() == ids.tolist()


@pytest.mark.parametrize("name", OURS)
def test_our_folder_loads_in_transformers_with_the_same_logits_and_greedy_text(name, tmp_path):
    check_in_transformers(tiny_model(**OURS[name], context=80), tmp_path / "ours")


def test_our_shards_do_too(tmp_path):
    check_in_transformers(tiny_model(context=80), tmp_path / "ours", max_shard_bytes=20_000)
    assert len(list((tmp_path / "ours").glob("*.safetensors"))) > 1


@pytest.mark.parametrize("variant", ["gpt2", "gpt2 untied"])
def test_our_gpt2_folder_does_too(variant, tmp_path):
    check_in_transformers(tiny_model(variant, context=80), tmp_path / "ours")


def test_the_first_gpt2_files_without_a_prefix_and_with_buffers_are_read(tmp_path):
    from safetensors.torch import load_file, save_file

    theirs = shaken(THEIRS["gpt2"]().eval())
    theirs.save_pretrained(tmp_path / "theirs")
    path = tmp_path / "theirs" / "model.safetensors"
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in load_file(path).items()}
    save_file({**tensors, "h.0.attn.bias": torch.ones(1, 1, 64, 64)}, path)
    assert difference(load_model(tmp_path / "theirs"), theirs, some_ids(2, 20)) <= 1e-5


def test_windows_in_some_layers_only_are_refused(tmp_path):
    config = transformers.Qwen2Config(
        **SHAPE, use_sliding_window=True, sliding_window=16, max_window_layers=1
    )
    transformers.Qwen2ForCausalLM(config).save_pretrained(tmp_path / "theirs")
    with pytest.raises(ModelFolderError, match="layer_types of both kinds"):
        load_model(tmp_path / "theirs")


def test_what_no_published_block_has_is_saved_under_our_own_name(tmp_path):
    save_model(tiny_model("sinusoidal, relu2"), tmp_path / "ours")
    data = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert data["model_type"] == "lm_core"
    assert load_model(tmp_path / "ours").config == tiny_config("sinusoidal, relu2")
    with pytest.raises(ValueError, match="lm_core"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
