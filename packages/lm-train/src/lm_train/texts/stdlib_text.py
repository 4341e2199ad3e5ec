"""The `stdlib` text: the source of Python's own standard library, one document a file, as it lies on this machine.

Real text that every machine has, about 10 MB. Which files (docs/data-order.md counts them for one version):

  left out                                     because
  test/, tests/, idle_test/                    tests: tables and near copies, half of all bytes
  site-packages/, dist-packages/, __pycache__/ not the standard library
  encodings/, pydoc_data/, html/entities.py,   tables, not code: 13 % of the characters, and they spoil what a small model writes
    stringprep.py, unicodedata-like modules
  _sysconfigdata*, config-*/                   written when Python was built; full of this machine's paths
  links, names that do not end in .py          sitecustomize.py on some distributions

The order is that of the relative POSIX path, so that equal Pythons give equal text.
"""

from __future__ import annotations

import os
import platform
import sysconfig
from pathlib import Path

from lm_train.errors import SourceError

_LEFT_OUT_FOLDERS = frozenset(
    {
        "test",
        "tests",
        "idle_test",
        "site-packages",
        "dist-packages",
        "__pycache__",
        "encodings",
        "pydoc_data",
        "__phello__",
        "_bundled",
    }
)
_LEFT_OUT_FILES = frozenset({"html/entities.py", "stringprep.py", "sitecustomize.py", "usercustomize.py"})


def stdlib_folder() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def stdlib_name() -> str:
    return f"stdlib ({platform.python_implementation()} {platform.python_version()})"


def stdlib_files(folder: Path | None = None) -> list[Path]:
    """The files of the text in order; `SourceError` where this Python has no readable library (an embedded or frozen one)."""
    folder = folder or stdlib_folder()
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if name not in _LEFT_OUT_FOLDERS
            and not name.startswith("config-")
            and not os.path.islink(os.path.join(parent, name))
        ]
        for name in names:
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            kept = (
                name.endswith(".py")
                and not name.startswith("_sysconfigdata")
                and relative not in _LEFT_OUT_FILES
            )
            if kept and not path.is_symlink():
                found.append((relative, path))
    if not found:
        raise SourceError(
            f"this Python has no standard-library source at {folder} (an embedded or frozen one?); "
            "try --data stories, or a text of your own"
        )
    return [path for _, path in sorted(found)]
