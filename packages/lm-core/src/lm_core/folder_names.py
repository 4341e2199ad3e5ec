"""Which files of a sealed folder count, and which names its manifest may list.

A manifest comes with a downloaded folder, so its names are not trusted: each must be a plain relative path
that ends inside the folder, also after its links are followed.
"""

import os
import re
from pathlib import Path

from lm_core.atomic_folder import TEMPORARY_PREFIX
from lm_core.errors import DamagedFileError

MANIFEST_NAME = "manifest.json"

# What file browsers, git and download tools leave behind: never listed, never reported, never read by us.
_LITTER = frozenset(
    {".DS_Store", "Thumbs.db", "desktop.ini", ".git", ".gitattributes", ".gitignore", ".cache"}
)
# What people add to a finished folder to publish it. No code reads them; checked when listed, allowed when not.
MAY_BE_ADDED = frozenset({"README.md", "LICENSE"})


def file_names(folder: Path) -> list[str]:
    """The relative POSIX names of all files below `folder`, sorted, without the manifest and the litter."""
    found = []
    for parent, folders, names in os.walk(folder):
        linked = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        folders[:] = [name for name in folders if not _is_litter(name) and name not in linked]
        for name in [*names, *linked]:  # a link to a folder is reported as a file: it is never followed
            if not _is_litter(name):
                found.append(Path(parent, name).relative_to(folder).as_posix())
    return sorted(name for name in found if name != MANIFEST_NAME)


def _is_litter(name: str) -> bool:
    return name in _LITTER or name.startswith(TEMPORARY_PREFIX)


def name_complaint(name: str) -> str:
    """Why a listed name is not a plain relative path ("" if it is one)."""
    if re.search(r"[\\:\x00-\x1f]", name):
        return "has a backslash, a colon or a control character"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return 'is not a plain relative path (no "..", no leading or doubled "/")'
    return "is the manifest's own" if name == MANIFEST_NAME else ""


def path_inside(folder: Path, name: str) -> Path:
    """`folder / name`, refused if a link on the way leads out of the folder."""
    path = folder / name
    try:
        root, end = folder.resolve(), path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise DamagedFileError(f"{path} cannot be followed ({error}); replace it by the file") from error
    allowed = [root]
    if root.parent.name == "snapshots":  # Hugging Face's cache: snapshots/<revision>/* are links into blobs/
        allowed.append(root.parent.parent / "blobs")
    if not any(end.is_relative_to(place) for place in allowed):
        raise DamagedFileError(f"{path} is a link that leaves the folder, to {end}; replace it by the file")
    return path
