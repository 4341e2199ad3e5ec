"""Overfit one batch: the first thing to try with any model. If it cannot learn one sentence by heart, nothing else will work.

    python examples/overfit_one_batch.py            # a few seconds on one CPU core

A Qwen3 block with bytes as ids learns one sentence with Muon and AdamW, says it back from its first letter through the
KV cache, is saved as a model folder, and is loaded again.
"""

import tempfile
from pathlib import Path

import torch
from lm_core import KVCache, ModelConfig, Transformer, clip_grad_norm, cross_entropy, load_model, save_model
from lm_core.optim import AdamW, Muon, split_parameters
from lm_core.schedule import wsd

SENTENCE = b"What I cannot create, I do not understand."
STEPS = 120


def learn(model: Transformer, ids: torch.Tensor) -> None:
    matrices, rest = split_parameters(model)
    optimizers = [Muon(matrices), AdamW(rest, betas=(0.9, 0.95))]
    peaks = [0.012, 0.004]
    for step in range(STEPS):
        loss = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        norm = clip_grad_norm(model.parameters(), max_norm=1.0)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            rate = wsd(step, peak=peak, floor=0.0, warmup=5, decay=60, total=STEPS)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step % 20 == 0 or step == STEPS - 1:
            print(f"step {step:4}  loss {loss.item():7.4f} nats per byte  gradient norm {norm.item():6.3f}")


@torch.no_grad()
def say(model: Transformer, first: int, length: int) -> bytes:
    """Greedy: the likeliest id each time, one new token through the cache a step."""
    cache = KVCache(model.config, batch=1)
    ids = [first]
    while len(ids) < length:
        logits = model(torch.tensor([ids[-1:]]), cache)
        ids.append(int(logits[0, -1].argmax()))
    return bytes(ids)


def main() -> None:
    config = ModelConfig(vocab_size=256, context=64, d_model=64, n_layers=2, n_heads=4, qk_norm=True)
    model = Transformer(config, seed=0)
    learn(model, torch.tensor([list(SENTENCE)]))
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "model"
        save_model(model, folder)
        loaded = load_model(folder)
    print(say(loaded, SENTENCE[0], len(SENTENCE)).decode())


if __name__ == "__main__":
    main()
