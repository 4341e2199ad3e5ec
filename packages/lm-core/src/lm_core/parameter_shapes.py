"""The names and shapes of a Transformer's parameters, without building one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if (
    TYPE_CHECKING
):  # config.py counts parameters while it checks itself; nothing here needs more than its fields
    from lm_core.config import ModelConfig


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """name -> shape, in the order of `Transformer(config).named_parameters()`."""
    table = (config.padded_vocab_size, config.d_model)
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": table}
    if config.position == "learned":
        shapes["position_embedding.weight"] = (config.context, config.d_model)
    block = _block(config)
    for layer in range(config.n_layers):
        shapes |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    shapes |= _norm(config, "norm")
    if not config.tie_embeddings:
        shapes["head.weight"] = table
    return shapes


def _block(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    heads, kv_heads = config.n_heads * config.d_head, config.n_kv_heads * config.d_head
    qkv_bias = config.bias or config.qkv_bias
    shapes = _norm(config, "attention_norm")
    shapes |= _linear("attention.q", config.d_model, heads, qkv_bias)
    shapes |= _linear("attention.k", config.d_model, kv_heads, qkv_bias)
    shapes |= _linear("attention.v", config.d_model, kv_heads, qkv_bias)
    shapes |= _linear("attention.o", heads, config.d_model, config.bias)
    if config.qk_norm:
        shapes |= {f"attention.{part}_norm.weight": (config.d_head,) for part in "qk"}
    shapes |= _norm(config, "feed_forward_norm")
    for part in ("gate", "up") if config.activation == "swiglu" else ("up",):
        shapes |= _linear(f"feed_forward.{part}", config.d_model, config.d_ff, config.bias)
    return shapes | _linear("feed_forward.down", config.d_ff, config.d_model, config.bias)


def _linear(name: str, d_in: int, d_out: int, bias: bool) -> dict[str, tuple[int, ...]]:
    weight: dict[str, tuple[int, ...]] = {f"{name}.weight": (d_out, d_in)}
    return weight | {f"{name}.bias": (d_out,)} if bias else weight


def _norm(config: ModelConfig, name: str) -> dict[str, tuple[int, ...]]:
    kinds = ("weight", "bias") if config.norm == "layer" and config.bias else ("weight",)
    return {f"{name}.{kind}": (config.d_model,) for kind in kinds}
