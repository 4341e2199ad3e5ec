"""What a model writes while it learns: temperature and top-k sampling on the key/value cache.

Small on purpose: lm-generate has the full set of choices and the speed. Same weights, prompt and seed: same text.
"""

from __future__ import annotations

import torch
from lm_core import KVCache, Transformer
from lm_tokenizer import Tokenizer

from lm_train.compiled import uncompiled
from lm_train.config import SampleConfig
from lm_train.parallel.ranks import Ranks
from lm_train.prepare import END_OF_TEXT

_PROMPTS = {
    "stdlib": ("def",),
    "stories": ("Once upon a time",),
    "tinystories": ("Once upon a time",),
    "shakespeare": ("ROMEO:",),
}


def prompts_for(config: SampleConfig, data: str) -> tuple[str, ...]:
    """The prompts asked for, or those that suit a named text; an empty one starts a document."""
    return config.prompts or _PROMPTS.get(data.partition(":")[0], ("",))


@torch.no_grad()
def sample(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: str,
    config: SampleConfig,
    *,
    seed: int,
    ranks: Ranks | None = None,
) -> str:
    """The text that the model writes after `prompt`, until the document ends or `config.tokens` tokens are written."""
    ranks = ranks or Ranks()
    stop = tokenizer.special_tokens.get(END_OF_TEXT)
    ids = tokenizer.encode_ordinary(prompt) or [stop if stop is not None else 0]
    ids = ids[-max(1, model.config.context // 2) :]  # a long prompt keeps its end, and leaves room to write
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    cache = KVCache(model.config, 1, device=str(device))
    written: list[int] = []
    feed = ids
    model.eval()
    while len(written) < config.tokens and cache.length + len(feed) <= model.config.context:
        with uncompiled(model), ranks.forward():
            logits = model(torch.tensor([feed], device=device), cache)[0, -1].float().cpu()
        token = choose(logits, config.temperature, config.top_k, generator)
        if token == stop:
            break
        written.append(token)
        feed = [token]
    model.train()
    return tokenizer.decode(written)


def choose(logits: torch.Tensor, temperature: float, top_k: int, generator: torch.Generator) -> int:
    """An id drawn from softmax(logits / temperature) over the `top_k` likeliest ids; the likeliest at temperature 0."""
    if temperature == 0:
        return int(logits.argmax())
    values, ids = logits.topk(min(top_k or len(logits), len(logits)))
    weights = torch.exp((values - values[0]) / temperature)
    drawn = torch.multinomial(weights, 1, generator=generator)
    return int(ids[drawn])
