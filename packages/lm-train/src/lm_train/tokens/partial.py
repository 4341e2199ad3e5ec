"""A dataset that is being written: `.partial-<name>/` beside its place. What a stopped or killed `prepare` leaves, the next one goes on from.

Every half minute the files are brought to disk and a mark is made in `progress.json`: how many groups of documents are encoded, and
what each split's files hold at that moment. Whatever was written after the mark is cut off when the work is taken up again. The mark
names its job (the texts by content, the settings); another job's leftovers are thrown away.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from lm_core.atomic_folder import TEMPORARY_PREFIX
from lm_core.errors import DamagedFileError
from lm_core.manifest import read_sealed_json, write_sealed_json
from lm_tokenizer import Tokenizer, TokenizerError

from lm_train.tokens.dataset_writer import SplitWriter, WriterMark
from lm_train.tokens.prepared_before import without_name

MARK_SECONDS = 30.0
_PROGRESS = "progress.json"
_VERSION = 2


class Partial:
    """The folder `path`, and what its last mark says: `groups` and `text_bytes` encoded (0: none yet)."""

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        """Open what is left of the same job, or begin with an empty folder."""
        self.path = partial_path(folder)
        self._job = {"version": _VERSION, **job}
        self._progress = self._left()
        self._marked = time.monotonic()
        if not self._progress:
            self.begin_again()
        for torn in self.path.glob(f"{TEMPORARY_PREFIX}*"):  # a mark that a kill cut short
            torn.unlink()

    def begin_again(self) -> None:
        """Throw away what is there."""
        self._progress = {}
        self.remove()
        self.path.mkdir(parents=True)

    @property
    def groups(self) -> int:
        return int(self._progress.get("groups", 0))

    @property
    def text_bytes(self) -> int:
        return int(self._progress.get("text_bytes", 0))

    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer that the work was begun with; None at the beginning."""
        return Tokenizer.load(self.path) if self._progress else None

    def writer(self, split: str, vocab_size: int, shard_tokens: int) -> SplitWriter:
        """The writer of a split, as it was at the mark."""
        mark = self._progress.get("splits", {}).get(split)
        return SplitWriter(self.path, split, vocab_size, shard_tokens=shard_tokens, mark=mark)

    def was_read(self, read: list[dict[str, Any]]) -> bool:
        """Whether what was read of each source is what had been read at the mark."""
        return bool(self._progress["read"] == [without_name(row) for row in read])

    def mark_if_due(
        self,
        groups: int,
        text_bytes: int,
        writers: dict[str, SplitWriter],
        read: list[dict[str, Any]] | None = None,
    ) -> None:
        """Remember this moment, at most every `MARK_SECONDS`. `read`: what was read of each source, if that is known only now."""
        if time.monotonic() - self._marked < MARK_SECONDS:
            return
        splits: dict[str, WriterMark] = {split: writer.mark() for split, writer in writers.items()}
        self._progress = {
            "job": self._job,
            "groups": groups,
            "text_bytes": text_bytes,
            "splits": splits,
            "read": [without_name(row) for row in read or []],
        }
        write_sealed_json(self.path / _PROGRESS, self._progress)
        self._marked = time.monotonic()

    def move_into(self, folder: Path) -> None:
        """Hand the finished files over to the dataset's own folder, on the same disk."""
        (self.path / _PROGRESS).unlink(missing_ok=True)  # from here on there is nothing to go on from
        for path in sorted(self.path.iterdir()):
            path.rename(folder / path.name)
        self.path.rmdir()

    def leave(self) -> None:
        """The work is stopped, and may be taken up again: kept where a mark was made."""
        if not self._progress:
            self.remove()

    def remove(self) -> None:
        if self.path.is_dir():
            shutil.rmtree(self.path)

    def _left(self) -> dict[str, Any]:
        """The mark of an earlier, unfinished run of this job; empty where there is none that can be trusted."""
        try:
            progress = read_sealed_json(self.path / _PROGRESS)
            if progress.get("job") != self._job:
                return {}
            Tokenizer.load(self.path)
            marks = progress["splits"].values()
        except (OSError, DamagedFileError, TokenizerError, KeyError):
            return {}
        return progress if all(SplitWriter.is_there(self.path, mark) for mark in marks) else {}


def partial_path(folder: Path) -> Path:
    folder = folder.absolute()
    return folder.with_name(f".partial-{folder.name}")
