"""A model whose matrices are packed (`lm_generate.kernel.packed`): torch operations, for a machine without a C compiler.

All new tokens of all texts, one each when decoding and many when a prompt is read, are stacked as rows and go through
the linear layers together; attention looks at one text at a time, in shapes that depend on that text alone. A row's bits
then do not depend on its neighbours; everything else done to a row is either exactly rounded arithmetic or a sum along
the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from lm_core import Attention, Block, KVCache, LayerNorm, Linear, RMSNorm, SwiGLU, Transformer
from lm_core.embedding import sinusoidal_positions
from lm_core.linear_loss import soft_cap
from torch import Tensor
from torch.nn import functional

from lm_generate.kernel.attend import Reader, attend_each
from lm_generate.kernel.packed import MIN_ROWS, Activation, PackedLinear, pack
from lm_generate.kernel.pages import begin_large_pages
from lm_generate.kernel.stored import storage_of

Logits = npt.NDArray[np.float32]
Work = tuple[KVCache, Sequence[int]]


@dataclass(frozen=True)
class Layer:
    """One block with its weights packed; q, k and v are one matrix."""

    attention: Attention
    attention_norm: RMSNorm | LayerNorm
    qkv: PackedLinear
    o: PackedLinear
    feed_forward_norm: RMSNorm | LayerNorm
    gate: PackedLinear | None
    up: PackedLinear
    down: PackedLinear


class PackedModel:
    """A model whose matrices are packed; called with work. Made by `pack_model`."""

    def __init__(self, model: Transformer, layers: Sequence[Layer], head: PackedLinear) -> None:
        self.model = model
        self.layers = tuple(layers)
        self.head = head
        parts = [part for layer in layers for part in (layer.qkv, layer.o, layer.gate, layer.up, layer.down)]
        begin_large_pages([part.place() for part in [*parts, head] if part is not None])

    @torch.inference_mode()
    def __call__(self, work: Sequence[Work]) -> list[Logits]:
        ids: list[int] = []
        positions: list[int] = []
        stops: list[int] = []
        for cache, new in work:
            cache.check_room(1, len(new))
            ids += new
            positions += range(cache.length, cache.length + len(new))
            stops.append(len(ids))
        padding = [0] * (padded(len(ids)) - len(ids))
        place = torch.tensor(positions + padding)
        x = self._embed(torch.tensor(ids + padding), place)  # (rows, d_model)
        turn = self._turn(place)
        readers = [Reader(cache, len(new)) for cache, new in work]
        for number, layer in enumerate(self.layers):
            x = self._block(layer, number, x, turn, readers)
        for cache, new in work:
            cache.length += len(new)
        last = x[torch.tensor([stop - 1 for stop in stops] + [0] * (MIN_ROWS - len(stops)))]
        config = self.model.config
        logits: Logits = soft_cap(self.head(norm(self.model.norm, last)), config.logit_softcap).numpy()
        return list(logits[: len(work), : config.vocab_size])

    def _embed(self, ids: Tensor, place: Tensor) -> Tensor:
        config = self.model.config
        x: Tensor = self.model.embedding(ids)
        if config.position == "learned":
            x = x + self.model.position_embedding.weight[place]
        elif config.position == "sinusoidal":
            x = x + sinusoidal_positions(0, int(place.max()) + 1, config.d_model)[place]
        return x

    def _turn(self, place: Tensor) -> tuple[Tensor, Tensor] | None:
        """cos and sin of the rotary positions, (rows, 1, d_head); None where the model has none."""
        rotary = self.layers[0].attention.rotary
        if rotary is None:
            return None
        inside = int(place.max()) < rotary.cos.shape[0]
        cos, sin = (rotary.cos[place], rotary.sin[place]) if inside else rotary.angles(place)
        return cos[:, None], sin[:, None]

    def _block(
        self,
        layer: Layer,
        number: int,
        x: Float[Tensor, "rows d_model"],
        turn: tuple[Tensor, Tensor] | None,
        readers: Sequence[Reader],
    ) -> Float[Tensor, "rows d_model"]:
        attention = layer.attention
        heads, kv_heads = attention.n_heads, attention.n_kv_heads
        qkv = layer.qkv(norm(layer.attention_norm, x)).view(len(x), heads + 2 * kv_heads, attention.d_head)
        qk, v = torch.split(qkv, [heads + kv_heads, kv_heads], dim=1)  # (rows, heads, d_head)
        if attention.q_norm is not None and attention.k_norm is not None:
            qk = torch.cat(
                [norm(attention.q_norm, qk[:, :heads]), norm(attention.k_norm, qk[:, heads:])], dim=1
            )
        if turn is not None:
            qk = rotate(qk, *turn)
        q, k = torch.split(qk, [heads, kv_heads], dim=1)
        x = x + layer.o(attend_each(readers, number, q, k, v))
        h = norm(layer.feed_forward_norm, x)
        if layer.gate is not None:
            inner = layer.gate(h).mul_(layer.up(h))
        else:
            inner = layer.up(h)
            if self.model.config.activation == "relu2":
                inner.square_()
        return x + layer.down(inner)


def padded(rows: int) -> int:
    """Rows of a pass: rounded up, since oneDNN compiles a kernel of its own (0.5 ms and more) for every number of rows."""
    step = MIN_ROWS if rows <= 32 else 16
    return -(-rows // step) * step


def rotate(
    x: Float[Tensor, "rows heads d_head"],
    cos: Float[Tensor, "rows 1 d_head"],
    sin: Float[Tensor, "rows 1 d_head"],
) -> Tensor:
    """`RotaryEmbedding.forward` in single roundings: a fused multiply-add rounds by where it stands in memory."""
    y: Tensor = (x * cos).add_(x.roll(x.shape[-1] // 2, -1).mul_(sin))
    return y


def norm(layer: RMSNorm | LayerNorm, x: Tensor) -> Tensor:
    """The model's own norm, without its module's bookkeeping."""
    if isinstance(layer, LayerNorm):
        return functional.layer_norm(x, x.shape[-1:], layer.weight, layer.bias, layer.eps)
    mean_square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
    y: Tensor = (x * mean_square.add_(layer.eps).rsqrt_()).mul_(layer.weight)
    return y


ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "silu": "swish", "relu2": "relu"}


def pack_model(model: Transformer) -> PackedModel | None:
    """The fast form of a model, at the cost of a second copy of its matrices; None where it cannot be had soundly:
    not float32 on a CPU, a sliding window, an activation that is not in the table above, or a torch whose kernels fail
    the trial of `lm_generate.kernel.packed`."""
    if model.config.sliding_window is not None or storage_of(model) != torch.float32:
        return None
    proven: set[tuple[object, ...]] = set()
    layers = []
    for block in model.blocks:
        assert isinstance(block, Block)
        layer = pack_block(block, proven)
        if layer is None:
            return None
        layers.append(layer)
    head = pack(model.embedding.weight if model.head is None else model.head.weight, proven=proven)
    return None if head is None else PackedModel(model, layers, head)


def pack_block(block: Block, proven: set[tuple[object, ...]]) -> Layer | None:
    attention, feed_forward = block.attention, block.feed_forward
    gate: PackedLinear | None = None
    up_activation: Activation = "none"
    if isinstance(feed_forward, SwiGLU):
        gate = pack_linear(feed_forward.gate, proven, "swish")
        if gate is None:
            return None
    else:
        if feed_forward.activation not in ACTIVATIONS:
            return None
        up_activation = ACTIVATIONS[feed_forward.activation]
    parts = (attention.q, attention.k, attention.v)
    weights: list[Tensor] = [part.weight for part in parts]
    biases: list[Tensor] = [part.bias for part in parts if part.bias is not None]
    qkv = pack(torch.cat(weights), torch.cat(biases) if biases else None, proven=proven)
    o, down = pack_linear(attention.o, proven), pack_linear(feed_forward.down, proven)
    up = pack_linear(feed_forward.up, proven, up_activation)
    if qkv is None or o is None or up is None or down is None:
        return None
    return Layer(attention, block.attention_norm, qkv, o, block.feed_forward_norm, gate, up, down)


def pack_linear(
    linear: Linear, proven: set[tuple[object, ...]], activation: Activation = "none"
) -> PackedLinear | None:
    return pack(linear.weight, linear.bias, activation, proven=proven)
