"""One thread for arithmetic: tiny tensors gain nothing from more, and waiting threads make a busy machine crawl. One seed for each test."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is first imported
import torch


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """The same draws in whichever order and process the tests run."""
    torch.manual_seed(0)
