"""Attention: the formula, and the layer with grouped key/value heads, rotary positions and a cache."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lm_core.activation import softmax
from lm_core.config import ModelConfig
from lm_core.documents import Documents
from lm_core.errors import ShapeError
from lm_core.kv_cache import KVCache
from lm_core.linear import Linear, cast_once
from lm_core.norm import RMSNorm
from lm_core.rope import RotaryEmbedding
from lm_core.shapes import require_last_axis


def attend(
    q: Float[Tensor, "... queries d_head"],
    k: Float[Tensor, "... keys d_head"],
    v: Float[Tensor, "... keys d_value"],
    mask: Bool[Tensor, "... queries keys"] | None = None,
) -> Float[Tensor, "... queries d_value"]:
    """softmax(q k^T / sqrt(d_head)) v; where `mask` is False the query may not look at that key.

    A query that may look at no key gives zeros. Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, eq. 1.
    Raises ShapeError when d_head or the numbers of keys differ, or the mask is not one of queries by keys.
    """
    require_last_axis(k, q.shape[-1], "d_head", "k")
    if v.shape[-2] != k.shape[-2]:
        raise ShapeError(f"v must have k's {k.shape[-2]} keys, got {tuple(v.shape)} beside {tuple(k.shape)}")
    wanted = (q.shape[-2], k.shape[-2])
    if mask is not None and any(mask.shape[axis] not in (1, wanted[axis]) for axis in (-2, -1)):
        raise ShapeError(
            f"mask must be (..., queries, keys), here (..., {wanted[0]}, {wanted[1]}), got {tuple(mask.shape)}"
        )
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., queries, keys)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return softmax(scores, dim=-1) @ v


def causal_mask(
    queries: int, keys: int, device: torch.device | None = None, window: int | None = None
) -> Bool[Tensor, "queries keys"]:
    """True where query i, the (keys - queries + i)-th token of the sequence, may look: at itself and all before it.

    With a `window`, at itself and the window - 1 before it (Beltagy et al. 2020, https://arxiv.org/abs/2004.05150).
    """
    mask = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    return mask if window is None else mask.triu(keys - queries - window + 1)


class Attention(nn.Module):
    """Causal self-attention: project to q, k, v; normalise and rotate q and k; attend; project back.

    Query head h uses key/value head h // (n_heads / n_kv_heads) (grouped queries: Ainslie et al. 2023,
    https://arxiv.org/abs/2305.13245). `qk_norm` is RMSNorm over each head (Qwen3; Henry et al. 2020,
    https://arxiv.org/abs/2010.04245). `layer` is this layer's place in a KVCache.
    """

    def __init__(
        self,
        config: ModelConfig,
        layer: int = 0,
        rotary: RotaryEmbedding | None = None,
        *,
        fast: bool = True,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.fast = fast
        self.n_heads = config.n_heads
        self.n_kv_heads = config.n_kv_heads
        self.d_head = config.d_head
        self.window = config.sliding_window
        qkv_bias = config.bias or config.qkv_bias
        self.q = Linear(config.d_model, config.n_heads * config.d_head, qkv_bias, fast=fast)
        self.k = Linear(config.d_model, config.n_kv_heads * config.d_head, qkv_bias, fast=fast)
        self.v = Linear(config.d_model, config.n_kv_heads * config.d_head, qkv_bias, fast=fast)
        self.o = Linear(config.n_heads * config.d_head, config.d_model, config.bias, fast=fast)
        self.q_norm = RMSNorm(config.d_head, config.norm_eps, fast=fast) if config.qk_norm else None
        self.k_norm = RMSNorm(config.d_head, config.norm_eps, fast=fast) if config.qk_norm else None
        if rotary is None and config.position == "rope":
            rotary = RotaryEmbedding(config.d_head, config.context, config.rope_theta, config.rope_scaling)
        self.rotary = rotary

    def forward(
        self,
        x: Float[Tensor, "batch length d_model"],
        cache: KVCache | None = None,
        documents: Documents | None = None,
    ) -> Float[Tensor, "batch length d_model"]:
        if x.dim() != 3:
            raise ShapeError(f"x must be (batch, length, d_model), got {tuple(x.shape)}")
        batch, length, _ = x.shape
        q, k, v = self.project(x, 0 if cache is None else cache.length)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)
        if not self.fast:
            out = self._plain(q, k, v, documents)
        elif documents is None:
            out = self._fused(q, k, v)
        else:
            out = self._fused_documents(q, k, v, documents)
        y: Tensor = self.o(out.transpose(1, 2).reshape(batch, length, self.n_heads * self.d_head))
        return y

    def project(
        self, x: Float[Tensor, "batch length d_model"], start: int = 0
    ) -> tuple[
        Float[Tensor, "batch n_heads length d_head"],
        Float[Tensor, "batch n_kv_heads length d_head"],
        Float[Tensor, "batch n_kv_heads length d_head"],
    ]:
        """Queries, keys and values of tokens that stand at `start` and after: normalised and rotated, as they meet."""
        batch, length, _ = x.shape
        x = cast_once(x)
        q = self.q(x).view(batch, length, self.n_heads, self.d_head)
        k = self.k(x).view(batch, length, self.n_kv_heads, self.d_head)
        v = self.v(x).view(batch, length, self.n_kv_heads, self.d_head).transpose(1, 2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = q.transpose(1, 2), k.transpose(1, 2)  # (batch, heads, length, d_head)
        if self.rotary is not None:
            q, k = self.rotary(q, start), self.rotary(k, start)
        return q, k, v

    def _plain(
        self,
        q: Float[Tensor, "batch n_heads queries d_head"],
        k: Float[Tensor, "batch n_kv_heads keys d_head"],
        v: Float[Tensor, "batch n_kv_heads keys d_head"],
        documents: Documents | None,
    ) -> Float[Tensor, "batch n_heads queries d_head"]:
        groups = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        if documents is not None:
            return attend(q, k, v, documents.mask(self.window))
        return attend(q, k, v, causal_mask(q.shape[2], k.shape[2], q.device, self.window))

    def _fused(
        self,
        q: Float[Tensor, "batch n_heads queries d_head"],
        k: Float[Tensor, "batch n_kv_heads keys d_head"],
        v: Float[Tensor, "batch n_kv_heads keys d_head"],
    ) -> Float[Tensor, "batch n_heads queries d_head"]:
        queries = q.shape[2]
        if queries == 1 and self.window is not None:  # what lies before the window need not even be read
            k, v = k[:, :, -self.window :], v[:, :, -self.window :]
        keys = k.shape[2]
        window = None if self.window is None or self.window >= keys else self.window
        whole = queries == keys and window is None  # nothing cached before: torch's own causal mask fits
        mask = None if whole or queries == 1 else causal_mask(queries, keys, q.device, window)
        return nn.functional.scaled_dot_product_attention(
            q, k, v, mask, is_causal=whole and queries > 1, enable_gqa=self.n_heads != self.n_kv_heads
        )

    def _fused_documents(
        self,
        q: Float[Tensor, "batch n_heads length d_head"],
        k: Float[Tensor, "batch n_kv_heads length d_head"],
        v: Float[Tensor, "batch n_kv_heads length d_head"],
        documents: Documents,
    ) -> Float[Tensor, "batch n_heads length d_head"]:
        """One call with a mask; or, where the lengths are known, a causal one for each document.

        benchmarks/documents.py has what that saves.
        """
        if (
            torch.compiler.is_compiling() or documents.lengths is None
        ):  # lengths unread: one program for all of them
            mask = documents.mask(self.window)
            return nn.functional.scaled_dot_product_attention(
                q, k, v, mask, enable_gqa=self.n_heads != self.n_kv_heads
            )
        rows = [torch.split(x.transpose(1, 2).flatten(0, 1), documents.lengths) for x in (q, k, v)]
        outs = [
            self._fused(*(x.transpose(0, 1)[None] for x in one))[0].transpose(0, 1)
            for one in zip(*rows, strict=True)
        ]  # of (tokens, n_heads, d_head)
        return torch.cat(outs).view(q.shape[0], q.shape[2], *outs[0].shape[1:]).transpose(1, 2)
