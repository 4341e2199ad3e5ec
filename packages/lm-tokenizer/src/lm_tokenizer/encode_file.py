"""Text files to one raw file of ids, with memory that does not grow with them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lm_tokenizer import _rust
from lm_tokenizer.counts import as_progress, paths, total_bytes
from lm_tokenizer.errors import SpecialTokenError, TokenizerError
from lm_tokenizer.types import FileEncoding, ProgressFunction, StrPath

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

_DTYPES = {
    "uint16": "uint16",
    "u16": "uint16",
    "<u2": "uint16",
    "uint32": "uint32",
    "u32": "uint32",
    "<u4": "uint32",
}


def encode_file(
    core: _rust.Core,
    source: StrPath | Sequence[StrPath],
    target: StrPath,
    *,
    dtype: DTypeLike | None,
    separator: str | None,
    field: str | None,
    append: str | int | None,
    ends: StrPath | None,
    progress: ProgressFunction | None,
) -> FileEncoding:
    """See `Tokenizer.encode_file`."""
    name = chosen_dtype(core, dtype)
    if separator == "":
        raise TokenizerError("the separator is empty; leave it out to make each file one document")
    if separator is not None and field is not None:
        raise TokenizerError("each JSON line is a document by itself; give a separator or a field, not both")
    sources = paths(source)
    written = core.encode_file(
        sources,
        os.fspath(target),
        None if ends is None else os.fspath(ends),
        name == "uint32",
        separator,
        field,
        None if append is None else append_id(core, append),
        total_bytes(sources),
        as_progress(progress),
    )
    return FileEncoding(target=os.fspath(target), dtype=name, **written)


def chosen_dtype(core: _rust.Core, dtype: DTypeLike | None) -> str:
    """The type of a file's ids: the one that is asked for, which must hold the vocabulary, or the smaller that does."""
    name = dtype_name(dtype) if dtype is not None else ("uint16" if core.id_bound <= 1 << 16 else "uint32")
    if name == "uint16" and core.id_bound > 1 << 16:
        raise TokenizerError(
            f"uint16 holds ids below 65536, but this vocabulary's go up to {core.id_bound - 1}; use uint32"
        )
    return name


def dtype_name(dtype: DTypeLike) -> str:
    """`"uint16"` or `"uint32"` for anything that names one of the two."""
    if isinstance(dtype, str) and dtype in _DTYPES:
        return _DTYPES[dtype]
    import numpy as np

    try:
        return _DTYPES[np.dtype(dtype).name]
    except (TypeError, KeyError):
        raise TokenizerError(f"ids are written as uint16 or uint32, not as {dtype!r}") from None


def append_id(core: _rust.Core, append: str | int) -> int:
    """The id of what is to be appended; a text must be a special token's."""
    special = core.special_tokens()
    if isinstance(append, str):
        if append not in special:
            known = ", ".join(special) or "none"
            raise SpecialTokenError(f"{append!r} is not a special token of this tokenizer (it has: {known})")
        return special[append]
    if not 0 <= append < core.id_bound:
        raise TokenizerError(f"cannot append id {append}: ids of this vocabulary are below {core.id_bound}")
    return append
