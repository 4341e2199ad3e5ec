"""Weights on pages of 2 MB: looking up where each 4 KB lie is what holds a core back while it reads them (docs/speed.md)."""

import ctypes
import sys
import threading
from collections.abc import Sequence

_PAGE = 2 << 20
_COLLAPSE = 25
"""MADV_COLLAPSE, of Linux 6.1 on; an older one refuses it, and nothing happens."""


def begin_large_pages(places: Sequence[tuple[int, int]]) -> None:
    """Lets a thread put memory, given as (address, bytes), on large pages where the system can: beside the first pass, which need not
    wait for it. The contents stay as they are. Of memory that is gone meanwhile nothing is read or written.

    Numbers, not tensors: where the interpreter ends while such a thread is inside torch, whose functions may not be unwound, the process
    would end by abort().
    """
    if sys.platform == "linux":
        threading.Thread(target=_collapse, args=(places,), daemon=True).start()


def _collapse(places: Sequence[tuple[int, int]]) -> None:
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for address, size in places:
        for page in range(address // _PAGE * _PAGE, address + size, _PAGE):
            advise(page, _PAGE, _COLLAPSE)
