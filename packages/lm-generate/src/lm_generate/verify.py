"""Checking a model's bytes without loading it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lm_core.errors import LmCoreError

from lm_generate.errors import LmGenerateError, ModelSourceError
from lm_generate.loader import find_model, read_tokenizer
from lm_generate.runs import checkpoints


@dataclass(frozen=True)
class Verified:
    """What was found out about one folder."""

    folder: Path
    files: int
    bytes: int
    problem: str | None
    """What is wrong, naming the file; None when all is whole."""


def verify_model(folder: Path) -> Iterator[Verified]:
    """Checks a model folder or a checkpoint, or every checkpoint of a run: each byte of each listed file, that no file
    was added, and that the tokenizer is the one the model was trained with.

    Raises ModelSourceError for a folder that has no manifest to check against.
    """
    folders = checkpoints(folder) or [folder]
    for each in folders:
        try:
            found, manifest = find_model(each, verify=True)
            if manifest is None:
                raise ModelSourceError(
                    f"{each} has no manifest.json, so there is nothing to check it against; only folders that lm-train or lm-core wrote have one"
                )
            read_tokenizer(found, manifest)
        except (LmCoreError, LmGenerateError) as error:
            if isinstance(error, ModelSourceError) and len(folders) == 1:
                raise
            yield Verified(each, 0, 0, str(error))
        else:
            entries = manifest.files.values()
            yield Verified(found, len(entries), sum(entry.bytes for entry in entries), None)
