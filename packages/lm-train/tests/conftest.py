"""Tests run torch on one thread: on a machine that others use too, threads that wait for each other cost minutes. One seed for each test."""

import os

import pytest

# Before torch is imported; the commands that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What a continuous-integration service or a narrow terminal sets would change the help's line breaks and colours.
os.environ["COLUMNS"] = "80"
for name in ("FORCE_COLOR", "NO_COLOR"):
    os.environ.pop(name, None)

import torch  # noqa: E402


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """The same draws in whichever order and process the tests run."""
    torch.manual_seed(0)
