"""The model: ids -> embedding -> blocks -> norm -> head -> logits. Start reading here.

Each block adds to the stream twice, x = x + attention(norm(x)) and x = x + feed_forward(norm(x)); nothing else happens.
The parts are one file each: embedding, norm, attention (with rope and kv_cache), feed_forward, linear; the weights'
start is in init, the loss in loss.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lm_core.activation import dropout
from lm_core.attention import Attention
from lm_core.config import ModelConfig
from lm_core.documents import Documents, read_documents
from lm_core.embedding import Embedding, check_ids, sinusoidal_positions
from lm_core.errors import ShapeError
from lm_core.feed_forward import MLP, SwiGLU
from lm_core.init import allocate, initialise
from lm_core.kv_cache import KVCache
from lm_core.linear import Linear
from lm_core.linear_loss import linear_cross_entropy, soft_cap
from lm_core.memory import require_memory
from lm_core.norm import LayerNorm, RMSNorm
from lm_core.product import product
from lm_core.rope import RotaryEmbedding


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x)): the pre-norm block of GPT-2, Llama and Qwen."""

    def __init__(
        self,
        config: ModelConfig,
        layer: int = 0,
        rotary: RotaryEmbedding | None = None,
        *,
        fast: bool = True,
    ) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention_norm = make_norm(config, fast)
        self.attention = Attention(config, layer, rotary, fast=fast)
        self.feed_forward_norm = make_norm(config, fast)
        self.feed_forward = make_feed_forward(config, fast)

    def forward(
        self,
        x: Float[Tensor, "batch length d_model"],
        cache: KVCache | None = None,
        documents: Documents | None = None,
    ) -> Float[Tensor, "batch length d_model"]:
        p = self.dropout if self.training else 0.0
        x = x + dropout(self.attention(self.attention_norm(x), cache, documents), p)
        y: Tensor = x + dropout(self.feed_forward(self.feed_forward_norm(x)), p)
        return y


class Transformer(nn.Module):
    """A decoder-only language model: `model(ids)` gives, at each position, the logits of the next id.

    The same `seed` gives the same weights, bit for bit, on every device. `fast=False` runs the plain definitions in
    place of fused kernels and hand-written gradients; the results agree to rounding. `recompute=True`, also settable
    later as `model.recompute`, keeps only what enters each block for the backward pass and runs the block a second time
    there: the same gradients, a fraction of the memory, a third more arithmetic (Chen et al. 2016,
    https://arxiv.org/abs/1604.06174). Raises ConfigError when the weights would not fit into this machine's memory.
    """

    def __init__(
        self, config: ModelConfig, *, seed: int = 0, fast: bool = True, recompute: bool = False
    ) -> None:
        super().__init__()
        self.config = config
        self.fast = fast
        self.recompute = recompute
        device = torch.get_default_device()
        require_memory(config, device)
        rotary = make_rotary(config)
        with torch.device("meta"):  # allocated below, once and drawn once
            self.embedding = Embedding(config.padded_vocab_size, config.d_model)
            if config.position == "learned":
                self.position_embedding = Embedding(config.context, config.d_model)
            self.blocks = nn.ModuleList(
                Block(config, layer, rotary, fast=fast) for layer in range(config.n_layers)
            )
            self.norm = make_norm(config, fast)
            self.head = (
                None if config.tie_embeddings else Linear(config.d_model, config.padded_vocab_size, fast=fast)
            )
        allocate(self, device)
        initialise(self, config, seed)

    def forward(
        self,
        ids: Int[Tensor, "batch length"],
        cache: KVCache | None = None,
        *,
        documents: Int[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch length vocab_size"]:
        """Logits of every position. With a `cache`, `ids` follow the tokens in it and are added to it.

        With `documents`, a number for each token, a row holds several: no token sees another document's, and positions begin
        again with each, so that the logits are those of every document alone (lm_core/documents.py).
        """
        return self.logits(self.hidden(ids, cache, documents=documents))

    def hidden(
        self,
        ids: Int[Tensor, "batch length"],
        cache: KVCache | None = None,
        *,
        documents: Int[Tensor, "..."] | None = None,
    ) -> Float[Tensor, "batch length d_model"]:
        """The stream after the last norm: what the head reads."""
        start = 0 if cache is None else cache.length
        self._check(ids, start, cache)
        if documents is not None and cache is not None:
            raise ShapeError("a KVCache holds one document a row; give documents, or a cache, not both")
        packed = None if documents is None else read_documents(documents, ids)
        x = self.embedding(ids)
        if self.config.position in ("learned", "sinusoidal"):
            x = x + self._positions(start, ids.shape[1], packed).to(x.dtype)
        x = dropout(x, self.config.dropout if self.training else 0.0)
        recompute = self.recompute and cache is None and torch.is_grad_enabled()
        more = (cache,) if packed is None else (cache, packed)  # a block of one's own need not know documents
        for block in self.blocks:
            x = checkpoint(block, x, *more, use_reentrant=False) if recompute else block(x, *more)
        y: Tensor = self.norm(x)
        return y

    def _positions(
        self, start: int, length: int, documents: Documents | None
    ) -> Float[Tensor, "... length d_model"]:
        """What is added to the embeddings of tokens that stand at `start` and after, or in their documents' places."""
        if self.config.position == "learned":
            table = self.position_embedding.weight[start : start + length]
        else:
            table = sinusoidal_positions(start, length, self.config.d_model, self.embedding.weight.device)
        if documents is None:
            return table
        return table.index_select(0, documents.positions.flatten()).view(*documents.first.shape, -1)

    def logits(self, hidden: Float[Tensor, "... d_model"]) -> Float[Tensor, "... vocab_size"]:
        """The head alone: one number for each id of the vocabulary."""
        table = self.embedding.weight
        y: Tensor = product(hidden, table, fast=self.fast) if self.head is None else self.head(hidden)
        y = soft_cap(y, self.config.logit_softcap)
        return y if y.shape[-1] == self.config.vocab_size else y[..., : self.config.vocab_size]  # no padding

    def loss(
        self,
        ids: Int[Tensor, "batch length"],
        targets: Int[Tensor, "batch length"],
        *,
        z_loss: float | int = 0.0,
        documents: Int[Tensor, "..."] | None = None,
    ) -> Float[Tensor, ""]:
        """cross_entropy(model(ids, documents=documents), targets, z_loss=z_loss), never with the logits of all positions."""
        return linear_cross_entropy(
            self.hidden(ids, documents=documents),
            self.embedding.weight if self.head is None else self.head.weight,
            targets,
            vocab_size=self.config.vocab_size,
            softcap=self.config.logit_softcap,
            z_loss=z_loss,
            fast=self.fast,
        )

    def _check(self, ids: Tensor, start: int, cache: KVCache | None) -> None:
        if ids.dim() != 2 or ids.shape[1] == 0:
            raise ShapeError(f"ids must be (batch, length) with at least one token, got {tuple(ids.shape)}")
        if start + ids.shape[1] > self.config.context:
            cached = f" after {start} cached" if start else ""
            raise ShapeError(
                f"the model's context is {self.config.context} tokens, got {ids.shape[1]}{cached}; give it fewer"
            )
        if self.config.padded_vocab_size > self.config.vocab_size:
            check_ids(ids, self.config.vocab_size, "token id")
        if cache is not None:
            cache.check_room(*ids.shape)


def make_norm(config: ModelConfig, fast: bool) -> RMSNorm | LayerNorm:
    if config.norm == "layer":
        return LayerNorm(config.d_model, config.norm_eps, config.bias, fast=fast)
    return RMSNorm(config.d_model, config.norm_eps, fast=fast)


def make_feed_forward(config: ModelConfig, fast: bool) -> SwiGLU | MLP:
    if config.activation == "swiglu":
        return SwiGLU(config.d_model, config.d_ff, config.bias, fast=fast)
    return MLP(config.d_model, config.d_ff, config.activation, config.bias, fast=fast)


def make_rotary(config: ModelConfig) -> RotaryEmbedding | None:
    if config.position != "rope":
        return None
    return RotaryEmbedding(config.d_head, config.context, config.rope_theta, config.rope_scaling)
