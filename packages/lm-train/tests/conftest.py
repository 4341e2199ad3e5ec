"""Tests run torch on one thread: on a machine that others use too, threads that wait for each other cost minutes."""

import os

# Before torch is imported; the commands that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a continuous-integration service or a narrow terminal sets would change the help's line breaks and colours.
os.environ["COLUMNS"] = "80"
for name in ("FORCE_COLOR", "NO_COLOR"):
    os.environ.pop(name, None)
