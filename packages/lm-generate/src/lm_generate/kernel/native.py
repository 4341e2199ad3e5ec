"""A model decoded by the kernel of `native/step.c`: one call for a pass, from ids to logits, over the model's own weights.

    native = make_native(model)                    None where it cannot be had (see there)
    logits = native([(cache, ids, 1), ...])        as `Decoder`; the last number of logits for each text

No weight is copied. A row's bits depend on its own text alone: not on its company, the number of threads, or the pieces in
which the text was read, so keys and values that were computed once can be used again anywhere.
"""

import ctypes
import threading
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_float, c_int, c_int32, c_void_p

import numpy as np
import numpy.typing as npt
import torch
from lm_core import Attention, Block, Embedding, KVCache, LayerNorm, Linear, RMSNorm, SwiGLU, Transformer
from lm_core.embedding import sinusoidal_positions
from torch import Tensor

from lm_generate.kernel.native_library import load_library
from lm_generate.kernel.pages import begin_large_pages
from lm_generate.kernel.stored import StoredEmbedding, StoredLinear

Logits = npt.NDArray[np.float32]
ACTIVATIONS = {"swiglu": 0, "gelu": 1, "relu2": 2, "silu": 3}
STORAGES = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2, torch.float16: 3}


class _Matrix(Structure):
    _fields_ = [
        ("weight", c_void_p), ("scale", c_void_p), ("bias", c_void_p),
        ("storage", c_int32), ("d_out", c_int32), ("d_in", c_int32),
    ]  # fmt: skip


class _Norm(Structure):
    _fields_ = [("weight", c_void_p), ("bias", c_void_p), ("eps", c_float), ("layer", c_int32)]


class _Layer(Structure):
    _fields_ = [
        *((name, _Norm) for name in ("attention_norm", "q_norm", "k_norm", "feed_forward_norm")),
        *((name, _Matrix) for name in ("q", "k", "v", "o", "gate", "up", "down")),
    ]


class _Model(Structure):
    _fields_ = [
        *((name, c_int32) for name in ("n_layers", "d_model", "n_heads", "n_kv_heads", "d_head", "d_ff")),
        ("activation", c_int32), ("window", c_int32), ("softcap", c_float),
        ("embedding", _Matrix), ("head", _Matrix),
        ("positions", c_void_p), ("cos", c_void_p), ("sin", c_void_p),
        ("norm", _Norm), ("layers", POINTER(_Layer)),
    ]  # fmt: skip


ROW = np.dtype(
    [("id", "i4"), ("position", "i4"), ("capacity", "i4"), ("wanted", "i4"), ("keys", "u8"), ("values", "u8")]
)
PASS_ROWS = 128
"""Rows of one call: what a longer piece of a prompt is cut into, so that memory stays small."""
_turns = threading.Lock()  # the kernel has one pool of threads


class Native:
    """Called with work, a pass at a time. Made by `make_native`; it keeps the model's tensors alive."""

    def __init__(self, library: ctypes.CDLL, model: Transformer) -> None:
        self._step = library.lm_step
        self._step.argtypes = [POINTER(_Model), c_void_p, c_int, c_void_p, c_int]
        self._step.restype = c_int
        self._kept: list[Tensor] = []
        self.vocab_size = model.config.vocab_size
        self._model = self._describe(model)
        begin_large_pages([(kept.data_ptr(), kept.numel() * kept.element_size()) for kept in self._kept])

    def __call__(self, work: Sequence[tuple[KVCache, Sequence[int], int]]) -> list[Logits]:
        """Appends each `ids` to its cache; for each text the logits (n, vocab_size) of what follows its last n."""
        count, wanted = sum(len(ids) for _, ids, _ in work), sum(n for _, _, n in work)
        rows = np.zeros(count, dtype=ROW)
        first = 0
        for cache, ids, n in work:
            cache.check_room(1, len(ids))
            stop = first + len(ids)
            mine = rows[first:stop]
            mine["id"] = ids
            mine["position"] = np.arange(cache.length, cache.length + len(ids))
            mine["capacity"] = cache.capacity
            mine["wanted"][len(ids) - n :] = 1
            mine["keys"], mine["values"] = cache.keys.data_ptr(), cache.values.data_ptr()
            first = stop
        logits = np.empty((wanted, self.vocab_size), dtype=np.float32)
        self._run(rows, logits)
        result, first = [], 0
        for cache, ids, n in work:
            cache.length += len(ids)
            result.append(logits[first : first + n])
            first += n
        return result

    def _run(self, rows: npt.NDArray[np.void], logits: Logits) -> None:
        threads, done = torch.get_num_threads(), 0
        for first in range(0, len(rows), PASS_ROWS):
            some = rows[first : first + PASS_ROWS]
            with _turns:
                failed = self._step(
                    self._model, some.ctypes.data, len(some), logits[done:].ctypes.data, threads
                )
            if failed:
                raise MemoryError(f"no memory for a pass of {len(some)} tokens")
            done += int(some["wanted"].sum())

    def _describe(self, model: Transformer) -> _Model:
        config = model.config
        attention = _attention(model, 0)
        layers = (_Layer * config.n_layers)(*(self._layer(block) for block in model.blocks))
        described = _Model(
            n_layers=config.n_layers,
            d_model=config.d_model,
            n_heads=config.n_heads,
            n_kv_heads=config.n_kv_heads,
            d_head=config.d_head,
            d_ff=config.d_ff,
            activation=ACTIVATIONS[config.activation],
            window=config.sliding_window or 0,
            softcap=config.logit_softcap or 0.0,
            embedding=self._matrix(model.embedding),
            head=self._matrix(model.embedding if model.head is None else model.head),
            norm=self._norm(model.norm),
            layers=layers,
        )
        described.head.d_out = config.vocab_size  # what pads it is never computed
        if config.position == "learned":
            described.positions = self._keep(model.position_embedding.weight)
        elif config.position == "sinusoidal":
            described.positions = self._keep(sinusoidal_positions(0, config.context, config.d_model))
        if attention.rotary is not None:
            rotary = attention.rotary
            cos, sin = rotary.cos, rotary.sin
            if len(cos) < config.context:
                cos, sin = rotary.angles(torch.arange(config.context))
            described.cos, described.sin = self._keep(cos), self._keep(sin)
        return described

    def _layer(self, block: torch.nn.Module) -> _Layer:
        assert isinstance(block, Block)
        attention, feed_forward = block.attention, block.feed_forward
        return _Layer(
            attention_norm=self._norm(block.attention_norm),
            q_norm=self._norm(attention.q_norm),
            k_norm=self._norm(attention.k_norm),
            feed_forward_norm=self._norm(block.feed_forward_norm),
            q=self._matrix(attention.q),
            k=self._matrix(attention.k),
            v=self._matrix(attention.v),
            o=self._matrix(attention.o),
            gate=self._matrix(feed_forward.gate) if isinstance(feed_forward, SwiGLU) else _Matrix(),
            up=self._matrix(feed_forward.up),
            down=self._matrix(feed_forward.down),
        )

    def _norm(self, norm: RMSNorm | LayerNorm | None) -> _Norm:
        if norm is None:
            return _Norm()
        bias = norm.bias if isinstance(norm, LayerNorm) else None
        return _Norm(self._keep(norm.weight), self._keep(bias), norm.eps, isinstance(norm, LayerNorm))

    def _matrix(self, part: Linear | Embedding) -> _Matrix:
        if isinstance(part, StoredLinear | StoredEmbedding):
            stored, scale = part.stored, part.scale
        else:
            stored, scale = part.weight, None
        bias = part.bias if isinstance(part, Linear) else None
        kind = STORAGES[stored.dtype]
        return _Matrix(self._keep(stored), self._keep(scale), self._keep(bias), kind, *stored.shape)

    def _keep(self, tensor: Tensor | None) -> int | None:
        """The address of a tensor, which from now on lives as long as this."""
        if tensor is None:
            return None
        held = tensor.detach().contiguous()
        self._kept.append(held)
        return held.data_ptr()


def _attention(model: Transformer, layer: int) -> Attention:
    block = model.blocks[layer]
    assert isinstance(block, Block)
    return block.attention


def make_native(model: Transformer) -> Native | None:
    """The model for the kernel. None without a C compiler, for weights not on the CPU, or neither float32 nor stored, and
    for an activation that `step.c` does not have."""
    if model.config.activation not in ACTIVATIONS:
        return None
    for parameter in model.parameters():
        if (
            parameter.device.type != "cpu"
            or parameter.dtype != torch.float32
            or not parameter.is_contiguous()
        ):
            return None
    library = load_library()
    return None if library is None else Native(library, model)
