"""Small models for tests: every block that a config can describe, with weights that are far from their start."""

import torch
from lm_core import ModelConfig, Transformer

GPT2 = {"position": "learned", "norm": "layer", "activation": "gelu", "bias": True}
VARIANTS = {
    "llama": {},
    "llama with biases, tied": {"bias": True, "tie_embeddings": True},
    "llama with wide heads": {"d_head": 16},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
    "gpt2": {**GPT2, "n_kv_heads": 4},
    "gpt2 untied": {**GPT2, "n_kv_heads": 4},
    "gpt2 without biases": {**GPT2, "bias": False, "n_kv_heads": 4},
    "sinusoidal, relu2": {"position": "sinusoidal", "activation": "relu2"},
    "no positions, silu, layer norm": {"position": "none", "activation": "silu", "norm": "layer"},
    "one key/value head": {"n_kv_heads": 1},
    "mistral": {"sliding_window": 5},
    "qwen3 with a window": {"qk_norm": True, "sliding_window": 4},
    "soft-capped, padded": {"logit_softcap": 2.0, "vocab_multiple": 16, "tie_embeddings": True},
    "padded": {"vocab_multiple": 64},
}
VARIANTS["gpt2"]["tie_embeddings"] = True


def tiny_config(variant: str = "llama", **changes: object) -> ModelConfig:
    fields = {"vocab_size": 61, "context": 40, "d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}
    return ModelConfig(**{**fields, "d_ff": 48, **VARIANTS[variant], **changes})


def tiny_model(variant: str = "llama", *, fast: bool = True, **changes: object) -> Transformer:
    """A model whose every parameter matters to its logits (the usual start has zeros in it)."""
    return shaken(Transformer(tiny_config(variant, **changes), fast=fast))


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """Adds the same small noise to every parameter, in place, and gives the model back."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model


def some_ids(batch: int, length: int, vocab_size: int = 61, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))
