"""The key/value cache: what attention has already computed for the tokens so far."""

import torch
from jaxtyping import Float
from torch import Tensor

from lm_core.config import ModelConfig
from lm_core.errors import ConfigError, ShapeError


class KVCache:
    """Keys and values of up to `capacity` tokens, for `batch` sequences of the same length.

        keys, values    (n_layers, batch, n_kv_heads, capacity, d_head), allocated once; keys are stored after rotation
        length          tokens held so far: the position of the next one

    `model(ids, cache)` reads the cache and appends to it; its logits are those of one pass over all the tokens.
    A cache is for generating: no gradient flows through it. `capacity=None` is the config's context.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch: int = 1,
        capacity: int | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        capacity = config.context if capacity is None else capacity
        if batch < 1:
            raise ConfigError(f"a KVCache needs a batch of at least 1, got {batch}")
        if not 1 <= capacity <= config.context:
            raise ConfigError(
                f"capacity must be from 1 to the model's context of {config.context} tokens, got {capacity}"
            )
        self.n_layers = config.n_layers
        self.batch = batch
        self.capacity = capacity
        self.length = 0
        shape = (config.n_layers, batch, config.n_kv_heads, capacity, config.d_head)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)

    @property
    def bytes(self) -> int:
        """Memory held, in bytes."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def check_room(self, batch: int, tokens: int) -> None:
        """Raises ShapeError unless `tokens` more tokens of `batch` sequences fit."""
        if batch != self.batch:
            raise ShapeError(
                f"the cache was made for a batch of {self.batch}, got {batch} sequences; make a KVCache(config, {batch})"
            )
        if self.length + tokens > self.capacity:
            raise ShapeError(
                f"the cache holds {self.length} of {self.capacity} tokens, so {tokens} more do not fit; "
                f"truncate(n) it, reset() it, or make one with a larger capacity"
            )

    def append(
        self,
        layer: int,
        k: Float[Tensor, "batch n_kv_heads new d_head"],
        v: Float[Tensor, "batch n_kv_heads new d_head"],
    ) -> tuple[Float[Tensor, "batch n_kv_heads seen d_head"], Float[Tensor, "batch n_kv_heads seen d_head"]]:
        """Stores one layer's new keys and values after the `length` held, and returns views of all of them.

        `length` moves on when the last layer has appended, so all layers of one pass see the same one.
        """
        new = k.shape[2]
        self.check_room(k.shape[0], new)
        if k.dtype != self.keys.dtype:
            raise ShapeError(
                f"the cache holds {self.keys.dtype} but the model computes {k.dtype}; make it with dtype={k.dtype}"
            )
        stop = self.length + new
        self.keys[layer, :, :, self.length : stop] = k.detach()
        self.values[layer, :, :, self.length : stop] = v.detach()
        if layer == self.n_layers - 1:
            self.length = stop
        return self.keys[layer, :, :, :stop], self.values[layer, :, :, :stop]

    def truncate(self, length: int) -> None:
        """Forgets everything after the first `length` tokens."""
        if not 0 <= length <= self.length:
            raise ConfigError(f"the cache holds {self.length} tokens, so it cannot be cut to {length}")
        self.length = length

    def reset(self) -> None:
        """Forgets everything; the memory is kept."""
        self.length = 0
