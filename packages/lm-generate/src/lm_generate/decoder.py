"""One pass over the weights for many texts at once.

    decode = Decoder(model)
    logits = decode([(cache, ids), ...])        appends each `ids` to its cache; what may follow the last of each

There are three forms, tried in this order, and in each a row's bits do not depend on its neighbours:

    native      `lm_generate.kernel.native`: a kernel compiled on this machine, over the model's own weights
    packed      `lm_generate.kernel.packed_model`: torch's packed kernels, where there is no C compiler; a second copy of the weights
    the model   `decode_plainly`: lm_core's own, one text at a time: on a GPU, and what the others are tested against
"""

import os
import threading
from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from lm_core import KVCache, Transformer

from lm_generate.kernel.native import Native, make_native
from lm_generate.kernel.packed_model import PackedModel, pack_model

# torch's threads stay with the parent: a child made by fork that hands them work waits for ever. It may ask for more threads where the
# native form decodes, which makes its own anew.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))

Logits = npt.NDArray[np.float32]
Work = tuple[KVCache, Sequence[int]]
"""A text's cache and the tokens to append to it."""


class Decoder:
    """What reads and decodes with a model, in the fastest form that it can have.

    The form is made when the first cache is made, and again when the weights have changed or moved since. `fast=False`
    is the definition alone: each text by itself, through the model.
    """

    def __init__(self, model: Transformer, *, fast: bool = True) -> None:
        self.model = model
        self.config = model.config
        self.fast = fast
        self._native: Native | None = None
        self._packed: PackedModel | None = None
        self._seen: object = None
        self._lock = threading.Lock()

    @property
    def any_pieces(self) -> bool:
        """Whether keys and values have the same bits in whatever pieces a text was read."""
        return self._native is not None

    def new_cache(self, tokens: int) -> KVCache:
        """An empty cache for one text of so many tokens. Its capacity is rounded up, since the distance between
        heads in memory can change the last bits: a text then begins the same whatever its `max_tokens`."""
        capacity = min(self.config.context, -(-tokens // 16) * 16)
        if self.fast:
            self._prepare()
        weight = self.model.norm.weight
        return KVCache(self.config, 1, capacity, device=weight.device, dtype=weight.dtype)

    def state(self) -> object:
        """What is equal as long as no weight has changed; None where a change would not be seen."""
        weights = list(chain(self.model.parameters(), self.model.buffers()))
        if any(weight.is_inference() for weight in weights):
            return None
        return [(weight.data_ptr(), weight._version) for weight in weights]

    def _prepare(self) -> None:
        weights = list(chain(self.model.parameters(), self.model.buffers()))
        places = [(w.data_ptr(), w.dtype) for w in weights]
        with self._lock:
            if self._native is not None and places == self._seen:
                return  # it reads the weights where they are
            versions = [0 if w.is_inference() else w._version for w in weights]
            if (places, versions) == self._seen:
                return
            self._native = make_native(self.model)
            self._packed = None if self._native else pack_model(self.model)
            self._seen = places if self._native else (places, versions)

    def __call__(self, work: Sequence[Work]) -> list[Logits]:
        """Appends each `ids` to its cache; the float32 logits (vocab_size,) of what follows the last of them."""
        if self._native:
            return [rows[0] for rows in self._native([(cache, ids, 1) for cache, ids in work])]
        return self._packed(work) if self._packed else decode_plainly(self.model, work)

    def after_each(self, cache: KVCache, ids: Sequence[int]) -> Sequence[Logits]:
        """As a call for one text, but the logits of what follows each of `ids`: the bits of one call for each."""
        if self._native:
            return list(self._native([(cache, ids, len(ids))])[0])
        return [self([(cache, [id])])[0] for id in ids]


@torch.inference_mode()
def decode_plainly(model: Transformer, work: Sequence[Work]) -> list[Logits]:
    """The definition: each text by itself, through the model as it is."""
    device = next(model.parameters()).device
    result = []
    for cache, ids in work:
        hidden = model.hidden(torch.tensor([list(ids)], device=device), cache)  # (1, length, d_model)
        result.append(model.logits(hidden[0, -1]).float().cpu().numpy())
    return result
