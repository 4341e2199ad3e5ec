"""Where the C library keeps large blocks while a model is read.

glibc takes blocks above a threshold from the system, which has them back when they are freed. The threshold rises with what was freed
before, up to 32 MB, and so by chance: above it matrices lie in the heap, where the hole that a freed one leaves is soon too small
for the next. int8 weights of 124 M parameters peaked at 774 MB or, in one run of three, at 907 to 1,160.
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of malloc.h
_LARGE = 1 << 20
_HIGHEST = 32 << 20
"""Where glibc's own rising ends (DEFAULT_MMAP_THRESHOLD_MAX); it then keeps twice as much at the heap's end."""


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Inside, blocks of 1 MB and more go back to the system as soon as they are freed; afterwards only those of 32 MB and more, as in
    any process that has freed one. Without glibc nothing is changed."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    mallopt, trim = getattr(libc, "mallopt", None), getattr(libc, "malloc_trim", None)
    if mallopt is None or trim is None:
        yield
        return
    mallopt(_MMAP_THRESHOLD, _LARGE)
    mallopt(_TRIM_THRESHOLD, _LARGE)
    trim(0)  # what the heap has free already it would still give
    try:
        yield
    finally:
        mallopt(_MMAP_THRESHOLD, _HIGHEST)
        mallopt(_TRIM_THRESHOLD, 2 * _HIGHEST)
