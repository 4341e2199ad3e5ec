"""Weights on large pages: the same numbers, whatever the system makes of the request."""

import threading

import numpy as np
from lm_generate.kernel.pages import begin_large_pages


def begun_and_ended(places):
    before = set(threading.enumerate())
    begin_large_pages(places)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_what_lies_on_large_pages_is_the_same_numbers():
    weights = np.arange(3_000_000, dtype=np.float32)
    begun_and_ended([(weights.ctypes.data + 12, weights.nbytes - 12)])  # from anywhere to anywhere
    assert np.array_equal(weights, np.arange(3_000_000, dtype=np.float32))


def test_memory_that_is_gone_meanwhile_does_no_harm():
    begun_and_ended([(0, 4 << 20), (1 << 46, 4 << 20)])
