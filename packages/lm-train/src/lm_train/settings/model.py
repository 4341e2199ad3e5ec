"""The shape of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cyclopts import Group, Parameter


@Parameter(group=Group("Model", sort_key=3))
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The transformer; `lm_core.ModelConfig` without the vocabulary, which the tokenizer brings."""

    context: int = 128
    """Tokens that a position can look back on; also the length of a training window."""
    d_model: int = 128
    """Width of the residual stream."""
    n_layers: int = 2
    """Blocks."""
    n_heads: int = 2
    """Attention heads."""
    n_kv_heads: int | None = None
    """Key/value heads; n_heads unless given (grouped-query attention when fewer)."""
    d_head: int | None = None
    """Width of a head; d_model / n_heads unless given."""
    d_ff: int | None = 352
    """Width of the feed-forward layer."""
    rope_theta: float = 10_000.0
    """Base of the rotary angles."""
    norm_eps: float = 1e-5
    """Added under the root of a norm."""
    tie_embeddings: bool = False
    """One matrix for the embedding and the output head."""
    qk_norm: bool = True
    """Normalize queries and keys per head (a Qwen3 block)."""
    position: Literal["rope", "learned", "sinusoidal", "none"] = "rope"
    """How a position is told."""
    norm: Literal["rms", "layer"] = "rms"
    """Which normalization."""
    activation: Literal["swiglu", "gelu", "relu2", "silu"] = "swiglu"
    """The feed-forward layer's activation."""
    bias: bool = False
    """Biases in the linear layers."""
    qkv_bias: bool = False
    """Biases on queries, keys and values only (a Qwen2 block)."""
    init: Literal["fan_in", "gpt2", "truncated", "mup"] = "fan_in"
    """How weights start."""
    sliding_window: int | None = None
    """A token sees so many tokens, itself included; all before it unless given."""
    dropout: float = 0.0
    """Share of numbers dropped while training; for small texts that are seen many times."""
    logit_softcap: float | None = None
    """Bends the logits so that they stay within plus and minus this."""
    vocab_multiple: int = 1
    """Rows of the embedding and the head are padded to a multiple of this, for speed on a GPU (64)."""
