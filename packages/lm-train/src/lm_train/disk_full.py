"""A full disk, told with what is kept and how to go on from there."""

from __future__ import annotations

import errno

from lm_core.atomic_folder import DiskFullError


def is_full(error: Exception) -> bool:
    """Whether an error says that there is no room on the disk, or in the user's quota."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def with_advice(error: Exception, state: str, then: str) -> DiskFullError:
    """The same error with what is kept, and what to do once there is room."""
    what = str(error).partition(". ")[0].removesuffix("; free some space or choose another disk")
    if not isinstance(error, DiskFullError):
        what = f"the disk is full: {what}"
    return DiskFullError(f"{what}; {state}. Free some space, and {then}")
