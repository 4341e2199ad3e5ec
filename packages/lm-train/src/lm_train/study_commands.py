"""The commands that train more than once to answer a question: `lr`."""

from __future__ import annotations

from lm_train.command_types import Action, Config, Files
from lm_train.config import TrainConfig
from lm_train.signals import Stop


def lr_command(
    *,
    config: Files = (),
    low: float = 0.01,
    high: float = 30.0,
    settings: Config = TrainConfig(),  # noqa: B008
) -> Action:
    """Find a learning rate: short training with a rate that rises a little every step, 100 steps unless --steps says otherwise.

    Parameters
    ----------
    config
        A settings file or a recipe by name; may be given several times.
    low
        Where to begin, as a share of the configured learning rates.
    high
        Where to end, as a share of the configured learning rates.
    """

    def find(stop: Stop) -> int:
        from lm_train.display import open_display
        from lm_train.lr_test import lr_test
        from lm_train.lr_test_page import test_lines, write_test_page

        display = open_display()
        try:
            test = lr_test(settings, low=low, high=high, display=display)
        finally:
            display.close()
        page = write_test_page(test, settings)
        print("\n".join([*test_lines(test), f"picture    {page}"]), flush=True)
        return 0

    return find
