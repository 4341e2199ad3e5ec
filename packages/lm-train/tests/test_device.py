"""The device and the arithmetic of a run, and the reason that is printed."""

import pytest
import torch
from lm_train.device import choose_device
from lm_train.errors import ConfigError


def test_a_cpu_computes_in_float32_and_says_what_its_matrix_units_would_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for units in (True, False):
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda units=units: {"amx_bf16": units}, raising=False
        )
        device = choose_device("auto", "auto", 1)
        assert (device.kind, device.dtype) == ("cpu", torch.float32)
        assert "no GPU found; float32 is the safe choice there" in device.why
        assert ("--dtype bfloat16" in device.why) is units
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # as in an older torch
    assert choose_device("cpu", "auto", 1).why == "float32 is the safe choice there"


def test_a_dtype_that_was_asked_for_is_taken_and_not_argued_with():
    device = choose_device("cpu", "bfloat16", 2)
    assert str(device) == "cpu, bfloat16, 2 threads (dtype as asked)"
    assert torch.get_num_threads() == 2
    choose_device("cpu", "auto", 1)


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(ConfigError, match=rf"--device {missing}: not available here \(available: .*cpu"):
        choose_device(missing, "auto", 1)
