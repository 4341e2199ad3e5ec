"""The command `plan`: what it takes, and what it prints."""

from __future__ import annotations

from lm_train.command_types import Action, Config, Files
from lm_train.config import TrainConfig
from lm_train.signals import Stop


def plan_command(
    *,
    config: Files = (),
    world: int | None = None,
    gpu: str = "h100",
    per_machine: int = 8,
    mfu: float = 0.4,
    price: float | None = None,
    settings: Config = TrainConfig(),  # noqa: B008
) -> Action:
    """Say what a run would cost: parameters, memory, time.

    The time is that of a few steps measured here.

    Parameters
    ----------
    config
        A settings file or a recipe by name; may be given several times.
    world
        Work it out for so many GPUs instead, without running anything.
    gpu
        Their kind: a100, h100, h200, b200.
    per_machine
        GPUs of one machine.
    mfu
        Share of a GPU's peak arithmetic that is reached.
    price
        Of a GPU for an hour, in any currency.
    """

    def plan(stop: Stop) -> int:
        if world is not None:
            from lm_train.opening import model_config
            from lm_train.parallel.world_plan import world_lines

            shape = model_config(settings.model, settings.vocab_size)
            lines = world_lines(settings, shape, world, gpu, per_machine=per_machine, mfu=mfu, price=price)
        else:
            from lm_train.plan import plan_lines

            lines = plan_lines(settings, settings.vocab_size)
        print("\n".join(lines), flush=True)
        return 0

    return plan
