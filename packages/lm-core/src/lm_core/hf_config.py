"""`config.json`: a `ModelConfig` under the names that transformers gives to Llama, Mistral, Qwen2, Qwen3 and GPT-2.

Reading is strict where it matters: a field that changes the formula and that no ModelConfig can express is refused by
name, never passed over. Models that no published block expresses are written as `"model_type": "lm_core"` with the
ModelConfig's own fields. docs/model-folder.md has the tables.
"""

import dataclasses
from typing import Any

from lm_core.config import ModelConfig
from lm_core.errors import ConfigError, ModelFolderError
from lm_core.hf_rope import rope_from_json, rope_to_json
from lm_core.hf_window import window_from_json, window_to_json
from lm_core.rope_scaling import RopeScaling

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "lm_core": "LmCoreTransformer",
}
# Fields that change the formula, with the values at which they do not.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "partial_rotary_factor": (1, 1.0),
    "rotary_pct": (1, 1.0),
    "rope_interleaved": (False,),
    "alibi": (False,),
    "attn_logit_softcapping": (),
    "final_logit_softcapping": (),
    "logit_scale": (1, 1.0),
    "logits_scaling": (1, 1.0),
    "embedding_multiplier": (1, 1.0),
    "residual_multiplier": (1, 1.0),
    "attention_multiplier": (),
    "query_pre_attn_scalar": (),
    "num_experts": (0,),
    "num_local_experts": (0,),
    "no_rope_layers": ([],),
    "attention_chunk_size": (),
    "quantization_config": (),
    "add_cross_attention": (False,),
    "is_encoder_decoder": (False,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
}


def config_to_json(
    config: ModelConfig, dtype: str, bos_token_id: int | None, eos_token_id: int | None
) -> dict[str, Any]:
    """The content of `config.json`; `dtype` is torch's name for the weights' type, "float32"."""
    if config.family == "gpt2":
        fields = _gpt2_to_json(config)
    elif config.family == "lm_core":
        fields = {"vocab_size": config.vocab_size, "lm_core": dataclasses.asdict(config)}
    else:
        fields = _llama_to_json(config)
    return {
        "architectures": [ARCHITECTURES[config.family]],
        "model_type": config.family,
        **fields,
        "bos_token_id": bos_token_id,
        "eos_token_id": eos_token_id,
        "pad_token_id": None,
        "use_cache": True,
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def config_from_json(data: dict[str, Any]) -> ModelConfig:
    """The ModelConfig of a `config.json`. Raises ModelFolderError naming every field that cannot be honoured."""
    family = data.get("model_type")
    complaints = [
        f"{name} = {data[name]!r}"
        for name, neutral in NEUTRAL.items()
        if data.get(name) is not None and data[name] not in neutral
    ]
    if complaints:
        raise _refusal(family, complaints)
    if family in ("llama", "mistral", "qwen2", "qwen3"):
        return _llama_from_json(data)
    if family == "gpt2":
        return _gpt2_from_json(data)
    if family == "lm_core":
        return _own_from_json(data)
    raise ModelFolderError(
        f"model_type is {family!r}; only llama, mistral, qwen2, qwen3, gpt2 and lm_core are understood"
    )


def _refusal(family: Any, complaints: list[str]) -> ModelFolderError:
    listed = "; ".join(complaints)
    return ModelFolderError(
        f"this {family} model has settings that lm-core does not implement: {listed}; choose a model without them"
    )


def _llama_to_json(config: ModelConfig) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_ff,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.d_head,
        "hidden_act": "silu",
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        **rope_to_json(config),
        "lm_core": _notes_to_json(config),
    }
    if config.family == "llama":
        return {**fields, "attention_bias": config.bias, "mlp_bias": config.bias}
    fields |= window_to_json(config)
    return {**fields, "attention_bias": False} if config.family == "qwen3" else fields


def _llama_from_json(data: dict[str, Any]) -> ModelConfig:
    family = data["model_type"]
    needed = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
    if family != "llama":  # whose default is num_attention_heads; the others' defaults are those of one size
        needed.append("num_key_value_heads")
    if family == "qwen3":
        needed.append("head_dim")
    _need(data, [*needed, "max_position_embeddings"])
    context = data["max_position_embeddings"]
    theta, scaling, complaints = _rope(data, context)
    if data.get("hidden_act", "silu") not in ("silu", "swish"):
        complaints.append(f"hidden_act = {data['hidden_act']!r} (silu is implemented)")
    bias, mlp_bias = data.get("attention_bias") or False, data.get("mlp_bias") or False
    if family == "llama" and bias != mlp_bias:
        complaints.append(f"attention_bias = {bias!r} with mlp_bias = {mlp_bias!r} (both or neither)")
    if family != "llama" and (bias or mlp_bias):
        complaints.append(f"attention_bias = {bias!r}, mlp_bias = {mlp_bias!r}")
    window, refused = window_from_json(data, context)
    complaints += refused
    if complaints:
        raise _refusal(family, complaints)
    return ModelConfig(
        vocab_size=data["vocab_size"],
        context=context,
        d_model=data["hidden_size"],
        n_layers=data["num_hidden_layers"],
        n_heads=data["num_attention_heads"],
        n_kv_heads=data.get("num_key_value_heads"),  # type: ignore[arg-type]  # None: as many as heads
        d_head=data.get("head_dim"),  # type: ignore[arg-type]  # None: hidden_size / heads
        d_ff=data["intermediate_size"],
        rope_theta=theta,
        norm_eps=data.get("rms_norm_eps", 1e-6),
        tie_embeddings=data.get("tie_word_embeddings", False),
        qk_norm=family == "qwen3",
        bias=family == "llama" and bias,
        qkv_bias=family == "qwen2",
        rope_scaling=scaling,
        sliding_window=window,
        **_notes_from_json(data),
    )


def _rope(data: dict[str, Any], context: Any) -> tuple[Any, RopeScaling | None, list[str]]:
    try:
        return rope_from_json(data, context)
    except (ConfigError, TypeError) as error:
        return None, None, [str(error)]


def _gpt2_to_json(config: ModelConfig) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "n_ctx": config.context,
        "n_embd": config.d_model,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.d_ff,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        "tie_word_embeddings": config.tie_embeddings,
        "attn_pdrop": 0.0,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "initializer_range": 0.02,
        "lm_core": _notes_to_json(config),
    }


def _gpt2_from_json(data: dict[str, Any]) -> ModelConfig:
    _need(data, ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"])
    activation = data.get("activation_function", "gelu_new")
    if activation not in ("gelu_new", "gelu_pytorch_tanh"):
        raise _refusal("gpt2", [f"activation_function = {activation!r} (gelu_new is implemented)"])
    return ModelConfig(
        vocab_size=data["vocab_size"],
        context=data["n_positions"],
        d_model=data["n_embd"],
        n_layers=data["n_layer"],
        n_heads=data["n_head"],
        d_ff=data.get("n_inner"),  # type: ignore[arg-type]  # None: 4 d_model
        norm_eps=data.get("layer_norm_epsilon", 1e-5),
        tie_embeddings=data.get("tie_word_embeddings", True),
        position="learned",
        norm="layer",
        activation="gelu",
        bias=True,
        **_notes_from_json(data),
    )


def _own_from_json(data: dict[str, Any]) -> ModelConfig:
    fields = data.get("lm_core")
    if not isinstance(fields, dict):
        raise ModelFolderError('a "model_type": "lm_core" config needs an object "lm_core" with its fields')
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    if unknown := sorted(fields.keys() - known):
        raise _refusal("lm_core", [f"{name} = {fields[name]!r}" for name in unknown])
    _need(fields, ["vocab_size"])
    scaling = fields.get("rope_scaling")
    if scaling is not None:
        fields = {**fields, "rope_scaling": _own_scaling(scaling)}
    return ModelConfig(**fields)


def _own_scaling(scaling: Any) -> RopeScaling:
    try:
        return RopeScaling(**scaling)
    except TypeError as error:
        raise ModelFolderError(f"rope_scaling must be one that lm-core knows: {error}") from error


def _need(data: dict[str, Any], names: list[str]) -> None:
    if missing := [name for name in names if data.get(name) is None]:
        raise ModelFolderError(
            f"config.json lacks {', '.join(missing)}; take the one that came with the weights"
        )


def _notes_to_json(config: ModelConfig) -> dict[str, Any]:
    """What only matters to us (how the weights started, training, memory), under a key that others pass over."""
    notes: dict[str, Any] = {"init": config.init}
    if config.dropout:
        notes["dropout"] = config.dropout
    if config.vocab_multiple != 1:
        notes["vocab_multiple"] = config.vocab_multiple
    return notes


def _notes_from_json(data: dict[str, Any]) -> dict[str, Any]:
    ours = data.get("lm_core")
    if not isinstance(ours, dict):
        return {}
    return {name: ours[name] for name in ("init", "dropout", "vocab_multiple") if name in ours}
