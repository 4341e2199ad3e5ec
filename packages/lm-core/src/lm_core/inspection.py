"""Looking into a model while it runs: attention maps, the stream between the blocks, the logit lens, norms.

All of it stands on `watching`, which puts torch's forward hooks on a model for the length of a `with` block and takes
them off again: a model that is not watched runs the same instructions as if this file did not exist.

    with watching(model, lambda name, module, inputs, output: print(name, output.std())):
        model(ids)
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_core.activation import softmax
from lm_core.attention import Attention, causal_mask
from lm_core.errors import ConfigError
from lm_core.transformer import Block, Transformer

See = Callable[[str, nn.Module, tuple[Any, ...], Any], None]


@contextlib.contextmanager
def watching(model: nn.Module, see: See, *, only: type[nn.Module] = nn.Module) -> Iterator[None]:
    """Calls `see(name, module, inputs, output)` after every module of type `only` has run, inside the block.

    Names are those of `model.named_modules()`: "blocks.3.attention.q". The tensors are the model's own, with their
    gradients: detach what you keep, and change nothing.
    """

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            see(name, module, inputs, output)

        return hook

    with contextlib.ExitStack() as hooks:
        for name, module in model.named_modules():
            if isinstance(module, only):
                hooks.callback(module.register_forward_hook(hook_for(name)).remove)
        yield


@torch.no_grad()
def attention_maps(
    model: Transformer, ids: Int[Tensor, "batch length"]
) -> list[Float[Tensor, "batch n_heads length length"]]:
    """For each layer the weights softmax(q k^T / sqrt(d_head)): entry [b, h, i, j] is how much token i looks at j.

    Rows sum to 1. Computed by the plain formula from the layer's own queries and keys.
    """
    maps: list[Tensor] = []

    def see(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        assert isinstance(module, Attention)
        q, k, _ = module.project(inputs[0])
        k = k.repeat_interleave(module.n_heads // module.n_kv_heads, dim=1)
        scores = q @ k.transpose(-2, -1) / math.sqrt(module.d_head)
        mask = causal_mask(q.shape[2], k.shape[2], q.device, module.window)
        maps.append(softmax(scores.masked_fill(~mask, -math.inf), dim=-1))

    with watching(model, see, only=Attention):
        model.hidden(ids)
    return maps


@torch.no_grad()
def residual_stream(
    model: Transformer, ids: Int[Tensor, "batch length"]
) -> list[Float[Tensor, "batch length d_model"]]:
    """What the blocks read and write: the stream before the first block, and after each; n_layers + 1 tensors."""
    stream: list[Tensor] = []

    def see(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if not stream:
            stream.append(inputs[0])
        stream.append(output)

    with watching(model, see, only=Block):
        model.hidden(ids)
    return stream


@dataclass(frozen=True)
class StreamRow:
    """One block's effect on the stream, over all tokens: root mean squares, and the mean cosine."""

    layer: int
    before: float
    """Of the stream that the block reads."""
    attention: float
    """Of what the attention adds to it."""
    feed_forward: float
    """Of what the feed-forward adds to it."""
    largest: float
    """The largest absolute number in the stream after the block: outliers show here first."""
    cosine: float
    """Between a token's stream before and after the block: 1 where the block changes little."""


@torch.no_grad()
def stream_statistics(model: Transformer, ids: Int[Tensor, "batch length"]) -> list[StreamRow]:
    """A row for each block. Dead blocks add nothing, unstable ones add more than there is."""
    rows: list[StreamRow] = []
    added: dict[str, float] = {}

    def see(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        parts = name.split(".")
        if len(parts) == 3:  # blocks.i.attention, blocks.i.feed_forward
            added[parts[2]] = _rms(output)
        elif isinstance(module, Block):
            before = inputs[0]
            cosine = nn.functional.cosine_similarity(before.float(), output.float(), dim=-1).mean().item()
            largest = output.abs().max().item()
            rows.append(
                StreamRow(len(rows), _rms(before), added["attention"], added["feed_forward"], largest, cosine)
            )

    with watching(model, see):
        model.hidden(ids)
    return rows


@torch.no_grad()
def logit_lens(
    model: Transformer, ids: Int[Tensor, "batch length"]
) -> Float[Tensor, "depths batch length vocab_size"]:
    """What the model would say if it ended after each block: the last norm and the head, put on the stream there.

    depths = n_layers + 1; the last one is `model(ids)`. nostalgebraist 2020, https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru.
    """
    return torch.stack([model.logits(model.norm(x)) for x in residual_stream(model, ids)])


@torch.no_grad()
def activation_norms(model: Transformer, ids: Int[Tensor, "batch length"]) -> dict[str, float]:
    """The root mean square of every module's output, by the module's name."""
    norms: dict[str, float] = {}

    def see(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            norms[name] = _rms(output)

    with watching(model, see):
        model(ids)
    norms.pop("blocks", None)
    return {name or "logits": norm for name, norm in norms.items()}


def weight_norms(model: nn.Module) -> dict[str, float]:
    """The root mean square of every parameter."""
    return {name: _rms(parameter.detach()) for name, parameter in model.named_parameters()}


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """The root mean square of every parameter's gradient. ConfigError before any backward pass."""
    norms = {
        name: _rms(parameter.grad)
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    if not norms:
        raise ConfigError("no parameter has a gradient yet; call loss.backward() first")
    return norms


def _rms(x: Tensor) -> float:
    return x.detach().float().square().mean().sqrt().item()
