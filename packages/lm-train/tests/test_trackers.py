"""Metrics to Weights & Biases: an extra that never stops a run."""

import pytest
from lm_train.errors import ConfigError
from lm_train.view import metrics
from lm_train.view.metrics import Wandb, require_wandb


class FakeRun:
    def __init__(self):
        self.rows, self.finished = [], False

    def log(self, values, step):
        self.rows.append((step, values))

    def finish(self):
        self.finished = True


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """wandb with its `init` replaced: what it was called with, and the run it gave."""
    import sys
    import types

    seen = {}

    def init(**settings):
        seen.update(settings, run=FakeRun())
        return seen["run"]

    module = types.SimpleNamespace(init=init, Settings=lambda **settings: settings)
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return seen


def test_without_a_key_and_a_terminal_it_logs_offline_and_says_so(fake, tmp_path):
    logger = Wandb(tmp_path, "run", {"seed": 1})
    assert (fake["mode"], fake["name"], fake["config"]) == ("offline", "run", {"seed": 1})
    assert logger.note.startswith("wandb: no key here, logging offline; later: wandb sync ")


def test_with_a_key_or_a_mode_of_ones_own_it_is_left_alone(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert Wandb(tmp_path, "run", {}).note is None
    assert fake["mode"] is None
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    Wandb(tmp_path, "run", {})
    assert fake["mode"] == "disabled"


def test_rows_keep_their_step_and_lose_what_is_none(fake, tmp_path):
    logger = Wandb(tmp_path, "run", {})
    logger.log({"step": 3, "loss": 1.5, "grad_norm": None})
    logger.close()
    assert fake["run"].rows == [(3, {"loss": 1.5})]
    assert fake["run"].finished


def test_where_it_is_not_installed_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'lm-train\[wandb\]'"):
        require_wandb()
