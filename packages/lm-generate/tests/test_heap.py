"""Where large blocks lie while a model is read."""

import platform
import subprocess
import sys

import pytest

PLACES = """
import numpy as np
from lm_generate.kernel.heap import large_blocks_apart

def lies_in_the_heap():
    block = np.ones(500_000)  # 4 MB
    (heap,) = (line.split()[0] for line in open("/proc/self/maps") if "[heap]" in line)
    first, last = (int(end, 16) for end in heap.split("-"))
    return first <= block.ctypes.data < last

freed = np.ones(3_900_000)
del freed  # from here on glibc takes 31 MB and less from the heap
print(lies_in_the_heap())
with large_blocks_apart():
    print(lies_in_the_heap())
print(lies_in_the_heap())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's threshold rises by itself")
def test_large_blocks_lie_outside_the_heap_only_while_a_model_is_read():
    told = subprocess.run([sys.executable, "-c", PLACES], check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["True", "False", "True"]
