"""Whole models by name: the fields of their `ModelConfig`s, as data. `ModelConfig.from_size(name)` makes them."""

from typing import Any

from lm_core.errors import ConfigError
from lm_core.rope_scaling import RopeScaling


def _gpt2(d_model: int, n_layers: int, n_heads: int) -> dict[str, Any]:
    return dict(
        vocab_size=50_257,
        context=1024,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        position="learned",
        norm="layer",
        activation="gelu",
        bias=True,
        tie_embeddings=True,
        init="gpt2",
    )


# The first four are ours (a Qwen3 block); the others are the published models of that name, number for number.
SIZES: dict[str, dict[str, Any]] = {
    "nano": dict(vocab_size=4096, context=128, d_model=128, n_layers=4, n_heads=4, d_ff=352, qk_norm=True),
    "tiny": dict(vocab_size=8192, context=256, d_model=256, n_layers=6, n_heads=4, qk_norm=True),
    "small": dict(vocab_size=16_384, context=512, d_model=512, n_layers=8, n_heads=8, qk_norm=True),
    "base": dict(vocab_size=32_768, context=1024, d_model=768, n_layers=12, n_heads=12, qk_norm=True),
    "gpt2": _gpt2(d_model=768, n_layers=12, n_heads=12),
    "gpt2-medium": _gpt2(d_model=1024, n_layers=24, n_heads=16),
    "gpt2-large": _gpt2(d_model=1280, n_layers=36, n_heads=20),
    "gpt2-xl": _gpt2(d_model=1600, n_layers=48, n_heads=25),
    "smollm-135m": dict(
        vocab_size=49_152,
        context=2048,
        d_model=576,
        n_layers=30,
        n_heads=9,
        n_kv_heads=3,
        d_ff=1536,
        tie_embeddings=True,
    ),
    "qwen3-0.6b": dict(
        vocab_size=151_936,
        context=40_960,
        d_model=1024,
        n_layers=28,
        n_heads=16,
        n_kv_heads=8,
        d_head=128,
        d_ff=3072,
        rope_theta=1e6,
        norm_eps=1e-6,
        qk_norm=True,
        tie_embeddings=True,
    ),
    "llama-3.2-1b": dict(
        vocab_size=128_256,
        context=131_072,
        d_model=2048,
        n_layers=16,
        n_heads=32,
        n_kv_heads=8,
        d_ff=8192,
        rope_theta=500_000.0,
        tie_embeddings=True,
        rope_scaling=RopeScaling(kind="llama3", factor=32.0, original_context=8192),
    ),
}


def size_named(name: str) -> dict[str, Any]:
    """The fields of that name; an unknown one is a ConfigError that lists them."""
    if name not in SIZES:
        raise ConfigError(f"there is no size {name!r}; there are {', '.join(SIZES)}")
    return SIZES[name]
