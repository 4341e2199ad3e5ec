"""What lies already where a dataset is to be made: nothing, leftovers of a killed run, this very dataset, or something else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from lm_core.atomic_folder import TEMPORARY_PREFIX

from lm_train.dataset import TokenDataset
from lm_train.errors import DatasetError, OtherDatasetError
from lm_train.tokens.dataset_format import DATASET_NAME, read_info


def remove_leftovers(folder: Path) -> None:
    """Deletes what killed runs of this folder left; nobody else is writing it, for the lock is held."""
    pattern = re.compile(re.escape(f"{TEMPORARY_PREFIX}{folder.name}-") + "[0-9a-f]{8}")
    for path in folder.absolute().parent.iterdir():
        if pattern.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def prepared_before(
    folder: Path, sources: list[dict[str, Any]], settings: dict[str, Any], *, replace: bool
) -> TokenDataset | None:
    """The dataset that is there already, if it is this one; None if the way is free."""
    if not folder.exists():
        return None
    try:
        info = read_info(folder)
    except FileNotFoundError:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            return None
        raise DatasetError(
            f"{folder} exists and is no token dataset (it has no {DATASET_NAME}); choose another folder"
        ) from None
    except NotADirectoryError:
        raise DatasetError(f"{folder} is a file; choose another name for the dataset's folder") from None
    except DatasetError:
        if replace:
            return None
        raise
    differences = [
        f"{name} was {info.settings.get(name)}, is {value}"
        for name, value in settings.items()
        if info.settings.get(name) != value
    ]
    if [without_name(row) for row in info.sources] != [without_name(row) for row in sources]:
        differences.append(f"the text was {_described(info.sources)}, is {_described(sources)}")
    if not differences:
        return TokenDataset(folder)
    if replace:
        return None
    raise OtherDatasetError(
        f"{folder} was prepared otherwise: {'; '.join(differences)}. Choose another folder, or say that it may be replaced"
    )


def without_name(source: dict[str, Any]) -> dict[str, Any]:
    """What says which text it is, wherever it lies."""
    return {key: source[key] for key in ("documents", "bytes", "sha256")}


def _described(sources: list[dict[str, Any]]) -> str:
    return " + ".join(
        f"{row['name']} ({row['bytes']:,} bytes, SHA-256 {row['sha256'][:12]})" for row in sources
    )
