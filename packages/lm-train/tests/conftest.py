"""Tests run torch on one thread: on a machine that others use too, threads that wait for each other cost minutes."""

import os

# Before torch is imported; the commands that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
