"""A model as a GGUF file, for llama.cpp and what is built on it. Needs the `gguf` package (the extra lm-generate[gguf]).

    write_gguf(engine, Path("model.gguf"), "float16")

One file holds the shape, the tokenizer and the weights (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Written:
Llama, Qwen2, Qwen3 and GPT-2 blocks with byte-level BPE tokenizers. What llama.cpp has no counterpart for is refused by name
before anything is written. docs/gguf.md has the names and the layouts.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from lm_core import LayerNorm, SwiGLU, Transformer
from lm_core.transformer import Block
from torch import Tensor

from lm_generate.engine import Engine
from lm_generate.errors import ExportError

if TYPE_CHECKING:
    import gguf

GgufType = Literal["float32", "float16", "bfloat16", "q8_0"]
TYPES: dict[GgufType, str] = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "q8_0": "Q8_0"}
PRETOKENIZERS = {"gpt2": "gpt-2", "gpt2-digits": "smollm", "llama3": "llama-bpe", "qwen2": "qwen2"}
"""llama.cpp's names for the patterns that it cuts text by."""
NORMAL, CONTROL, UNUSED = 1, 3, 5  # kinds of token
BLOCK = 32
"""Weights that share a scale in q8_0."""


def write_gguf(engine: Engine, path: Path, type: GgufType = "float32") -> int:
    """Writes the file, which appears whole or not at all; its bytes. Matrices are kept as `type`, the rest as float32.

    Raises ExportError for what the format or llama.cpp cannot express, an existing file, or without the package.
    """
    try:
        import gguf
    except ImportError as error:
        raise ExportError("writing GGUF needs the gguf package: pip install 'lm-generate[gguf]'") from error
    if type not in TYPES:
        raise ExportError(f"weights are written as {', '.join(TYPES)}; got {type!r}")
    check(engine)
    if path.exists():
        raise ExportError(f"{path} exists: remove it, or give another name")
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        writer = gguf.GGUFWriter(unfinished, engine.config.family)
        _add_shape(writer, engine)
        _add_tokenizer(writer, engine)
        wanted = gguf.GGMLQuantizationType[TYPES[type]]
        for name, tensor in tensors(engine.model):
            _add_tensor(writer, name, tensor, wanted)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(unfinished, path)
    except OSError as error:
        raise ExportError(f"cannot write {path}: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return path.stat().st_size


def check(engine: Engine) -> None:
    """Raises ExportError naming what llama.cpp has no counterpart for."""
    config, tokenizer = engine.config, engine.tokenizer
    reason = config.why_not_exportable
    if config.family == "mistral":
        reason = f"sliding_window={config.sliding_window}: llama.cpp's Llama block sees all tokens before"
    elif config.rope_scaling is not None:
        reason = f"rope_scaling ({config.rope_scaling.kind}): only plain rotary positions are written"
    elif config.family != "gpt2" and config.bias:
        reason = "bias=True with rope: a Llama block of llama.cpp's has no biases"
    elif tokenizer.pattern not in PRETOKENIZERS:
        kind = "a character" if tokenizer.pattern is None else f"the {tokenizer.pattern!r}"
        reason = f"{kind} tokenizer: llama.cpp cuts text as {', '.join(PRETOKENIZERS)} do"
    if reason is not None:
        raise ExportError(f"this model cannot be a GGUF file: {reason}")


def _add_shape(writer: "gguf.GGUFWriter", engine: Engine) -> None:
    config = engine.config
    writer.add_name(engine.folder.name if engine.folder else "model")
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.d_model)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_head_count(config.n_heads)
    if config.family == "gpt2":
        writer.add_layer_norm_eps(config.norm_eps)
        return
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_key_length(config.d_head)
    writer.add_value_length(config.d_head)
    writer.add_rope_dimension_count(config.d_head)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer: "gguf.GGUFWriter", engine: Engine) -> None:
    tokenizer, letters = engine.tokenizer, byte_letters()
    vocab = tokenizer.vocab  # made anew whenever it is asked for
    special = {id: text for text, id in tokenizer.special_tokens.items()}
    tokens, kinds = [], []
    for id in range(engine.config.vocab_size):
        data = vocab.get(id)
        if id in special:
            tokens.append(special[id])
            kinds.append(CONTROL)
        elif data is not None:
            tokens.append("".join(letters[byte] for byte in data))
            kinds.append(NORMAL)
        else:
            tokens.append(f"[PAD{id}]")
            kinds.append(UNUSED)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRETOKENIZERS[tokenizer.pattern or ""])
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(
        [" ".join("".join(letters[b] for b in part) for part in pair) for pair in tokenizer.merges]
    )
    if engine.start_id is not None:
        writer.add_bos_token_id(engine.start_id)
    if engine.stop_ids:
        writer.add_eos_token_id(min(engine.stop_ids))
    writer.add_add_bos_token(False)


def _add_tensor(
    writer: "gguf.GGUFWriter", name: str, tensor: Tensor, wanted: "gguf.GGMLQuantizationType"
) -> None:
    import gguf

    data: npt.NDArray[np.float32] = tensor.detach().float().contiguous().numpy()
    kinds = gguf.GGMLQuantizationType
    if data.ndim == 1 or name == "position_embd.weight":
        wanted = kinds.F32
    elif wanted == kinds.Q8_0 and data.shape[-1] % BLOCK:
        wanted = kinds.F16
    writer.add_tensor(name, gguf.quants.quantize(data, wanted), raw_dtype=wanted)


def tensors(model: Transformer) -> Iterator[tuple[str, Tensor]]:
    """Every tensor under llama.cpp's name, as it lays it out."""
    config = model.config
    rows = config.vocab_size  # what pads the table is not written
    yield "token_embd.weight", model.embedding.weight[:rows]
    if config.position == "learned":
        yield "position_embd.weight", model.position_embedding.weight
    if model.head is not None:
        yield "output.weight", model.head.weight[:rows]
    yield from _norm("output_norm", model.norm)
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        for name, tensor in _block(model, block):
            yield f"blk.{number}.{name}", tensor


def _block(model: Transformer, block: Block) -> Iterator[tuple[str, Tensor]]:
    config, attention, feed_forward = model.config, block.attention, block.feed_forward
    yield from _norm("attn_norm", block.attention_norm)
    yield from _norm("ffn_norm", block.feed_forward_norm)
    if attention.q_norm is not None and attention.k_norm is not None:
        yield "attn_q_norm.weight", attention.q_norm.weight
        yield "attn_k_norm.weight", attention.k_norm.weight
    parts = {"attn_q": attention.q, "attn_k": attention.k, "attn_v": attention.v}
    if config.family == "gpt2":
        yield "attn_qkv.weight", torch.cat([part.weight for part in parts.values()])
        yield "attn_qkv.bias", torch.cat([part.bias for part in parts.values() if part.bias is not None])
        parts = {}
    elif config.family == "llama":  # there it pairs neighbours, here halves: a fixed order of the rows
        yield "attn_q.weight", neighbours(attention.q.weight, config.n_heads)
        yield "attn_k.weight", neighbours(attention.k.weight, config.n_kv_heads)
        parts = {"attn_v": attention.v}
    parts |= {"attn_output": attention.o, "ffn_up": feed_forward.up, "ffn_down": feed_forward.down}
    if isinstance(feed_forward, SwiGLU):
        parts["ffn_gate"] = feed_forward.gate
    for name, part in parts.items():
        yield f"{name}.weight", part.weight
        if part.bias is not None:
            yield f"{name}.bias", part.bias


def _norm(name: str, norm: torch.nn.Module) -> Iterator[tuple[str, Tensor]]:
    assert isinstance(norm.weight, Tensor)
    yield f"{name}.weight", norm.weight
    if isinstance(norm, LayerNorm) and norm.bias is not None:
        yield f"{name}.bias", norm.bias


def neighbours(weight: Tensor, heads: int) -> Tensor:
    """The rows of each head in the order 0, half, 1, half + 1, ...: pairs that rotate together stand side by side."""
    d_out, d_in = weight.shape
    half = d_out // heads // 2
    return weight.view(heads, 2, half, d_in).transpose(1, 2).reshape(d_out, d_in)


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: printable ones for themselves, others from U+0100 on.

    Radford et al. 2019 (GPT-2), whose files all byte-level formats follow.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(0x100 + others.index(byte)) for byte in range(256)]
