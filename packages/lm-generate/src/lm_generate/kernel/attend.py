"""Attention of one text in a pass of many: over its own cache, in shapes that depend on this text alone."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from lm_core import KVCache
from torch import Tensor
from torch.nn import functional

ALIGNMENT = 64
"""Bytes. torch's allocator begins tensors at such addresses; where a query begins can change the last bits of a sum."""


class Reader:
    """A text's cache during one pass, `new` tokens longer: views of each layer, made once for all of them.

    `keys`, `values`: per layer (1, n_kv_heads, start + new, d_head); `fresh`: the places of the new tokens in both.
    """

    def __init__(self, cache: KVCache, new: int) -> None:
        start = cache.length
        self.new = new
        self.keys, self.values = (
            kept.narrow(3, 0, start + new).unbind(0) for kept in (cache.keys, cache.values)
        )
        self.fresh = [kept.narrow(3, start, new).unbind(0) for kept in (cache.keys, cache.values)]
        self.mask: Tensor | None = None
        if new > 1 and start > 0:
            self.mask = torch.ones(new, start + new, dtype=torch.bool).tril(start)
        self.causal = new > 1 and start == 0


def attend_each(
    readers: Sequence[Reader],
    layer: int,
    q: Float[Tensor, "rows n_heads d_head"],
    k: Float[Tensor, "rows n_kv_heads d_head"],
    v: Float[Tensor, "rows n_kv_heads d_head"],
) -> Float[Tensor, "rows n_heads*d_head"]:
    """Stores each text's new keys and values, and what its queries see in what it has read; padding rows get zeros."""
    rows, n_heads, d_head = q.shape
    grouped = n_heads != k.shape[1]
    # Decided for all texts alike: a copy also has other distances between heads.
    aligned = q.data_ptr() % ALIGNMENT == 0 and q.stride(0) * q.element_size() % ALIGNMENT == 0
    lengths = [reader.new for reader in readers]
    lengths.append(rows - sum(lengths))
    pieces = []
    for reader, q_new, k_new, v_new in zip(
        readers, *(torch.split(part, lengths) for part in (q, k, v)), strict=False
    ):
        reader.fresh[0][layer].copy_(k_new.transpose(0, 1))  # (1, n_kv_heads, new, d_head)
        reader.fresh[1][layer].copy_(v_new.transpose(0, 1))
        query = q_new.transpose(0, 1)[None]  # (1, n_heads, new, d_head)
        if not aligned:
            query = query.clone(memory_format=torch.contiguous_format)
        seen = functional.scaled_dot_product_attention(
            query,
            reader.keys[layer],
            reader.values[layer],
            reader.mask,
            is_causal=reader.causal,
            enable_gqa=grouped,
        )
        pieces.append(seen[0].transpose(0, 1))
    if lengths[-1]:
        pieces.append(torch.zeros(lengths[-1], n_heads, d_head))
    return torch.cat(pieces).view(rows, n_heads * d_head)
