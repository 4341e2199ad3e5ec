"""`dataset.json`: what a token dataset folder holds. Written last, sealed by its own SHA-256 (docs/dataset-format.md).

datasets/books/
    train-00000.bin   token ids, raw little-endian uint16 (vocabulary <= 65,536) or uint32, no header
    train-00000.idx   cumulative document ends of that shard in tokens, raw little-endian uint64
    valid-00000.bin   the held-out split, if any;  valid-00000.idx
    tokenizer.json, tokenizer_config.json
    dataset.json
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lm_core.errors import DamagedFileError
from lm_core.manifest import FileEntry, read_sealed_json, write_sealed_json
from lm_core.sealed_json import canonical_json

from lm_train.errors import DatasetError

DATASET_NAME = "dataset.json"
FORMAT = "lm-train token dataset"
FORMAT_VERSION = 1
SPLITS = ("train", "valid")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Shard:
    """One `.bin` file and the `.idx` beside it. `text_bytes`: UTF-8 bytes of the text that its tokens spell."""

    file: FileEntry
    index: FileEntry
    tokens: int
    documents: int
    text_bytes: int
    largest_id: int


@dataclass(frozen=True)
class DatasetInfo:
    """The content of a `dataset.json`. `splits` maps "train" and "valid" to shards by file name, in order."""

    dtype: np.dtype[np.integer]
    vocab_size: int
    end_of_text: int | None
    """The id after each document; None: documents follow each other with nothing between them."""
    tokenizer_fingerprint: str
    tokenizer_files: dict[str, FileEntry]
    splits: dict[str, dict[str, Shard]]
    sources: list[dict[str, Any]]
    settings: dict[str, Any]
    """What `prepare` was told; with `sources`, the key by which it recognizes its own work."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of what a model sees: dtype, vocabulary, tokenizer, and each shard's content in order.

        Where the text came from and what the files are called does not matter.
        """
        content = {
            "format_version": FORMAT_VERSION,
            "dtype": self.dtype.name,
            "vocab_size": self.vocab_size,
            "end_of_text": self.end_of_text,
            "tokenizer": self.tokenizer_fingerprint,
            "splits": {
                split: [[shard.tokens, shard.file.sha256, shard.index.sha256] for shard in shards.values()]
                for split, shards in self.splits.items()
            },
        }
        return hashlib.sha256(canonical_json(content)).hexdigest()


def dtype_for(vocab_size: int) -> np.dtype[np.integer]:
    """uint16 for up to 65,536 ids, uint32 beyond; little-endian on every machine."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def index_name(file_name: str) -> str:
    return file_name.removesuffix(".bin") + ".idx"


def write_info(folder: Path, info: DatasetInfo) -> None:
    """Writes `dataset.json`: the folder is a dataset from here on."""
    splits = {
        split: [{"name": name, **asdict(shard)} for name, shard in shards.items()]
        for split, shards in info.splits.items()
    }
    payload = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "dtype": info.dtype.name,
        "vocab_size": info.vocab_size,
        "end_of_text": info.end_of_text,
        "tokenizer_fingerprint": info.tokenizer_fingerprint,
        "tokenizer_files": {name: asdict(entry) for name, entry in info.tokenizer_files.items()},
        "splits": splits,
        "sources": info.sources,
        "settings": info.settings,
        "fingerprint": info.fingerprint,
    }
    write_sealed_json(folder / DATASET_NAME, payload)


def read_info(folder: Path) -> DatasetInfo:
    """Reads and checks `dataset.json`; FileNotFoundError without one, `DatasetError` for one that is damaged or foreign."""
    path = folder / DATASET_NAME
    try:
        payload = read_sealed_json(path)
    except DamagedFileError as error:
        raise DatasetError(str(error)) from error
    if payload.get("format") != FORMAT:
        raise DatasetError(
            f'{path} is not a token dataset of ours: its "format" is {payload.get("format")!r}, not {FORMAT!r}; name the folder of a dataset'
        )
    version = payload.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise DatasetError(
            f"{path} has format version {version}; this lm-train reads up to {FORMAT_VERSION}: install a newer one"
        )
    try:
        info = _parse(payload)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{path} is not a valid dataset.json: {what}; prepare the text again") from error
    if info.fingerprint != payload.get("fingerprint"):
        raise DatasetError(
            f"{path} is not a valid dataset.json: its fingerprint is not that of its content; restore it from a good copy"
        )
    return info


def _parse(payload: dict[str, Any]) -> DatasetInfo:
    if payload["format_version"] != 1 or payload["dtype"] not in ("uint16", "uint32"):
        raise ValueError(f"format version {payload['format_version']!r} with dtype {payload['dtype']!r}")
    dtype = np.dtype("<u2" if payload["dtype"] == "uint16" else "<u4")
    vocab_size = _whole(payload, "vocab_size")
    if not 1 <= vocab_size <= 1 << (8 * dtype.itemsize):
        raise ValueError(f"a vocabulary of {vocab_size:,} does not fit {dtype.name}")
    end_of_text = None if payload["end_of_text"] is None else _whole(payload, "end_of_text")
    if end_of_text is not None and end_of_text >= vocab_size:
        raise ValueError(f"end_of_text {end_of_text} is outside the vocabulary of {vocab_size:,}")
    splits = {}
    for split, items in payload["splits"].items():
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}")
        splits[split] = {_file_name(item["name"]): _shard(item, dtype, vocab_size) for item in items}
        if len(splits[split]) != len(items) or not items:
            raise ValueError(f"the {split} split lists no shard, or one twice")
    if "train" not in splits:
        raise ValueError("there is no train split")
    return DatasetInfo(
        dtype=dtype,
        vocab_size=vocab_size,
        end_of_text=end_of_text,
        tokenizer_fingerprint=_sha256(payload["tokenizer_fingerprint"]),
        tokenizer_files={_file_name(name): _entry(item) for name, item in payload["tokenizer_files"].items()},
        splits=splits,
        sources=list(payload["sources"]),
        settings=dict(payload["settings"]),
    )


def shard_of(item: dict[str, Any]) -> Shard:
    """The shard that `asdict` made `item` of. Raises KeyError, TypeError or ValueError for anything else."""
    return Shard(
        file=_entry(item["file"]),
        index=_entry(item["index"]),
        tokens=_whole(item, "tokens"),
        documents=_whole(item, "documents"),
        text_bytes=_whole(item, "text_bytes"),
        largest_id=_whole(item, "largest_id"),
    )


def _shard(item: dict[str, Any], dtype: np.dtype[np.integer], vocab_size: int) -> Shard:
    name, shard = item["name"], shard_of(item)
    if shard.file.bytes != shard.tokens * dtype.itemsize or shard.index.bytes != shard.documents * 8:
        raise ValueError(
            f"the bytes of {name} do not follow from its {shard.tokens:,} tokens and {shard.documents:,} documents"
        )
    if shard.largest_id >= vocab_size:
        raise ValueError(f"{name} holds the id {shard.largest_id}, outside the vocabulary of {vocab_size:,}")
    return shard


def _entry(item: dict[str, Any]) -> FileEntry:
    return FileEntry(bytes=_whole(item, "bytes"), sha256=_sha256(item["sha256"]))


def _whole(item: dict[str, Any], key: str) -> int:
    value = item[key]
    if type(value) is not int or value < 0:
        raise ValueError(f'"{key}" is {value!r}, not a whole number')
    return value


def _sha256(value: Any) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise ValueError(f"{value!r} is not a SHA-256")
    return value


def _file_name(name: Any) -> str:
    """A plain name: it cannot leave the folder."""
    if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a plain file name")
    return name
