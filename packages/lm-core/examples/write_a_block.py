"""A new block in 30 lines, trained beside the usual one: attention and feed-forward side by side (GPT-J, PaLM).

    python examples/write_a_block.py            # a few seconds on one CPU core

The usual block is x + attention(norm(x)), then x + feed_forward(norm(x)). The parallel one normalises once and adds both
at the same time (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311, section 2). Everything else is lm-core's.
"""

import argparse
from pathlib import Path

import torch
from lm_core import Attention, KVCache, ModelConfig, RMSNorm, SwiGLU, Transformer
from lm_core.optim import AdamW
from lm_core.schedule import wsd


class ParallelBlock(torch.nn.Module):
    """x + attention(norm(x)) + feed_forward(norm(x))"""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config, layer)
        self.feed_forward = SwiGLU(config.d_model, config.d_ff)

    def forward(self, x: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
        normed = self.norm(x)
        return x + self.attention(normed, cache) + self.feed_forward(normed)


def with_blocks(config: ModelConfig, parallel: bool) -> Transformer:
    model = Transformer(config, seed=0)
    if parallel:
        torch.manual_seed(0)
        model.blocks = torch.nn.ModuleList(ParallelBlock(config, layer) for layer in range(config.n_layers))
    return model


def train(model: Transformer, text: torch.Tensor, steps: int) -> float:
    """The mean loss of the last quarter of the steps, in nats per byte."""
    optimizer = AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.95))
    generator, losses = torch.Generator().manual_seed(0), []
    for step in range(steps):
        starts = torch.randint(0, len(text) - 65, (8,), generator=generator)
        windows = torch.stack([text[start : start + 65] for start in starts])
        loss = model.loss(windows[:, :-1], windows[:, 1:])
        loss.backward()
        optimizer.param_groups[0]["lr"] = wsd(
            step, peak=4e-3, floor=0.0, warmup=min(10, steps // 4), decay=steps // 2, total=steps
        )
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return sum(losses[-steps // 4 :]) / len(losses[-steps // 4 :])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=120)
    steps = parser.parse_args().steps
    text = torch.tensor(list(Path(argparse.__file__).read_bytes()))  # 100 kB of Python, on every machine
    config = ModelConfig(vocab_size=256, context=64, d_model=64, n_layers=3, n_heads=4)
    for name, parallel in (("one after the other", False), ("side by side", True)):
        model = with_blocks(config, parallel)
        size = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name:20} {size:8,} parameters  loss {train(model, text, steps):.3f} nats per byte")


if __name__ == "__main__":
    main()
