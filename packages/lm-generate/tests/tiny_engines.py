"""Small random models and a small trained tokenizer, for tests."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from lm_core import ModelConfig, Transformer, save_model
from lm_generate.engine import Engine
from lm_tokenizer import Tokenizer

os.environ.setdefault("LM_NATIVE", "1")
"""All processes of the tests wait for the kernel, so that all write the same bits on a machine that has yet to compile it."""

TEXT = (
    "def find(names, wanted):\n    for name in names:\n        if name == wanted:\n            return name\n"
    "    return None\n\nclass Finder:\n    def __init__(self, names):\n        self.names = names\n"
    "# naïve, schön, 日本語, 🙂🙃\n"
)
END = "<|endoftext|>"

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"n_kv_heads": 2},
    "qwen3": {"qk_norm": True, "tie_embeddings": True},
    "gpt2": {
        "position": "learned",
        "norm": "layer",
        "activation": "gelu",
        "bias": True,
        "tie_embeddings": True,
    },
}


@cache
def tiny_tokenizer(vocab_size: int = 320) -> Tokenizer:
    return Tokenizer.train(texts=[TEXT], vocab_size=vocab_size, special_tokens=(END,))


def tiny_model(seed: int = 0, **changes: Any) -> Transformer:
    """Weights large enough that its distributions are neither flat nor one-hot."""
    shape = {
        "vocab_size": 320,
        "context": 64,
        "d_model": 32,
        "n_layers": 2,
        "n_heads": 4,
        "d_ff": 64,
    } | changes
    model = Transformer(ModelConfig(**shape), seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() != 2:
                continue
            if not parameter.any():  # what writes into the stream starts at zero; here it must say something
                parameter.normal_(0, 1.5 / parameter.shape[1] ** 0.5, generator=generator)
            elif "embedding" not in name:
                parameter.mul_(2.0)
            elif model.head is None:
                parameter.mul_(20.0)
    return model


def tiny_engine(seed: int = 0, **changes: Any) -> Engine:
    tokenizer = tiny_tokenizer()
    end = tokenizer.special_tokens[END]
    return Engine(tiny_model(seed, **changes), tokenizer, stop_ids=[end], start_id=end)


def save_tiny(
    folder: Path, *, facts: dict[str, Any] | None = None, kind: str = "model", seed: int = 0, **changes: Any
) -> Path:
    """A model folder as lm-train writes it."""
    tokenizer = tiny_tokenizer()
    known = {"tokenizer_fingerprint": tokenizer.fingerprint, "step": 10}
    end = tokenizer.special_tokens[END]
    save_model(
        tiny_model(seed, **changes),
        folder,
        kind=kind,
        facts=known if facts is None else facts,
        add_files=tokenizer.save,
        bos_token_id=end,
        eos_token_id=end,
    )
    return folder


def save_run(runs: Path, name: str, *steps: int) -> Path:
    """A run folder with a checkpoint for each step; the seed of its weights is the step."""
    for step in steps:
        folder = runs / name / "checkpoints" / f"step-{step:08d}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        save_tiny(folder, kind="checkpoint", seed=step)
    return runs / name
