"""Many text files to a folder of id files, one each, that can be taken up again where it was left.

Shard i is `00000.bin` and so on, made by `encode_file`; `00000.json` seals it, written last. A shard whose seal names
the same inputs, and whose file has the size that the seal says, is kept. See docs/tokenizer-format.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lm_tokenizer.counts import paths, total_bytes
from lm_tokenizer.encode_file import append_id, chosen_dtype, encode_file
from lm_tokenizer.errors import FileAccessError, TokenizerError
from lm_tokenizer.types import FileEncoding, Progress, ProgressFunction, StrPath

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from lm_tokenizer import _rust

FORMAT = "lm-tokenizer shard 0.1"


def encode_shards(
    core: _rust.Core,
    sources: Sequence[StrPath],
    folder: StrPath,
    dtype: DTypeLike | None,
    separator: str | None,
    field: str | None,
    append: str | int | None,
    ends: bool,
    progress: ProgressFunction | None,
) -> list[FileEncoding]:
    """See `Tokenizer.encode_shards`."""
    files = paths(sources)
    if "-" in files:
        raise TokenizerError("standard input cannot be encoded again, so it is no shard; use encode_file")
    settings = {
        "fingerprint": core.fingerprint,
        "dtype": chosen_dtype(core, dtype),
        "separator": separator,
        "field": field,
        "append": None if append is None else append_id(core, append),
        "ends": ends,
    }
    os.makedirs(folder, exist_ok=True)
    total, done = total_bytes(files), 0
    shards = []
    for index, source in enumerate(files):
        name = os.path.join(os.fspath(folder), f"{index:05}")
        inputs = {"format": FORMAT, "source": source} | identity(source) | settings
        shard = sealed(name, inputs)
        if shard is None:
            shard = encode_file(
                core,
                source,
                name + ".bin",
                dtype=dtype,
                separator=separator,
                field=field,
                append=append,
                ends=name + ".idx" if ends else None,
                progress=None if progress is None else moved(progress, done, total),
            )
            seal(name, inputs, shard)
        done += inputs["source_bytes"]
        if progress is not None:
            progress(Progress("encoding", done, total))
        shards.append(shard)
    return shards


def identity(source: str) -> dict[str, Any]:
    """What tells whether a file is still the one that was encoded."""
    try:
        found = os.stat(source)
    except OSError as error:
        raise FileAccessError(f"{source}: {error.strerror}") from None
    return {"source_bytes": found.st_size, "source_modified_ns": found.st_mtime_ns}


def sealed(name: str, inputs: dict[str, Any]) -> FileEncoding | None:
    """The shard as its seal tells it; None if it is not there, not whole, or made of other inputs."""
    target = name + ".bin"
    try:
        with open(name + ".json", encoding="utf-8") as file:
            record = json.load(file)
        shard = FileEncoding(target=target, **record.pop("shard"))
        sizes = os.path.getsize(target) == shard.bytes and (
            not inputs["ends"] or os.path.getsize(name + ".idx") == 8 * shard.documents
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # no seal of ours: the shard is made anew
    return shard if sizes and record == inputs else None


def seal(name: str, inputs: dict[str, Any], shard: FileEncoding) -> None:
    """Writes the seal beside its shard, whole or not at all."""
    facts = shard._asdict()
    del facts["target"]  # the folder may be moved
    with open(name + ".json.tmp", "w", encoding="utf-8", newline="\n") as file:
        json.dump(inputs | {"shard": facts}, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(name + ".json.tmp", name + ".json")


def moved(progress: ProgressFunction, before: int, total: int | None) -> ProgressFunction:
    """The same function, told of one of several files, tells of all of them."""
    return lambda one: progress(Progress(one.phase, before + one.done, total))
