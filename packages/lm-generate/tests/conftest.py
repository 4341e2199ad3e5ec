"""One seed for each test."""

import pytest
import torch


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """The same draws in whichever order and process the tests run."""
    torch.manual_seed(0)
