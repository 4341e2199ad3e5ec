"""The command `simulate`: what it takes, and what it prints."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lm_train.command_types import Action, Config, Files
from lm_train.config import TrainConfig
from lm_train.errors import ConfigError
from lm_train.signals import Stop

if TYPE_CHECKING:
    from lm_train.batches import Batches
    from lm_train.mixture import Mixture
    from lm_train.parallel.failures import Failure
    from lm_train.parallel.simulate import Outcome, Times

DEFAULT_STEPS = 1000
_EPOCHS = 2.5  # of a text that is made up
_FAILURES = 10  # expected in a run for which nothing was said
_BYTES_A_WINDOW, _BYTES_A_PACKED_ROW = 80, 300  # measured
_MOST_BYTES = 4_000_000_000  # what the proof may take


def simulate_command(
    *,
    config: Files = (),
    world: int = 8,
    per_machine: int = 8,
    step_seconds: float = 10.0,
    save_seconds: float = 30.0,
    restart_seconds: float = 120.0,
    repair_hours: float = 1.0,
    hours_to_failure: float | None = None,
    trace: Path | None = None,
    text_tokens: int | None = None,
    settings: Config = TrainConfig(),  # noqa: B008
) -> Action:
    """Play a run on many ranks through failures.

    Nothing is computed; it proves that no window of text is lost or repeated.

    Parameters
    ----------
    config
        A settings file or a recipe by name; may be given several times.
    world
        Ranks at the start; --batch is shared equally.
    per_machine
        Ranks of a machine, failing together.
    step_seconds
        Of a step on all ranks (see plan --world); fewer take longer.
    save_seconds
        Of writing a checkpoint.
    restart_seconds
        From a failure to the next step.
    repair_hours
        Until a failed machine is back; 0: another one stands by.
    hours_to_failure
        Of one rank, on average; at most ten failures are expected unless given. --seed draws them.
    trace
        Failures instead, a line each: {"seconds": 5400, "ranks": 4096, "damaged": false}.
    text_tokens
        Of a made-up text; else --data, if a dataset's folder, or 2.5 epochs.
    """

    def play(stop: Stop) -> int:
        from lm_train.parallel.failures import drawn_failures, read_failures
        from lm_train.parallel.ranks import Ranks
        from lm_train.parallel.simulate import Times, simulate
        from lm_train.view.display import open_display

        times = Times(step=step_seconds, save=save_seconds, restart=restart_seconds)
        _check_positive(step_seconds=step_seconds, text_tokens=text_tokens, hours_to_failure=hours_to_failure)
        if world < 1 or per_machine < 1 or min(save_seconds, restart_seconds, repair_hours) < 0:
            raise ConfigError("--world and --per-machine must be at least 1, times at least 0")
        Ranks(0, world).check_divides(settings.batch)
        steps = settings.budget_steps or DEFAULT_STEPS
        row = _BYTES_A_WINDOW if settings.order == "windows" else _BYTES_A_PACKED_ROW
        if steps * settings.batch * row > _MOST_BYTES:
            raise ConfigError(
                f"{steps:,} steps of {settings.batch:,} rows are too many to keep count of in 4 GB; "
                f"--steps {_MOST_BYTES // row // settings.batch:,} can be played through"
            )
        between = _between_failures(settings, times, steps, hours_to_failure, world)
        failures: Iterable[Failure] = (
            drawn_failures(world, per_machine, between, 3600 * repair_hours, settings.seed)
            if trace is None
            else read_failures(trace)
        )
        batches = _batches(settings, steps, text_tokens)
        display = open_display()
        try:
            outcome = simulate(
                settings,
                batches,
                world,
                steps,
                failures,
                times,
                lambda step: display.preparing("steps", step, steps),
            )
        finally:
            display.close()
        lines = outcome_lines(outcome, settings, times, None if trace else between)
        print("\n".join(lines), flush=True)
        return 0

    return play


def outcome_lines(outcome: Outcome, config: TrainConfig, times: Times, between: float | None) -> list[str]:
    """What the command prints; `between`: mean seconds between the failures that were drawn."""
    from lm_train.parallel.failures import expected_useful
    from lm_train.view.display import clock, count

    o, total = outcome, outcome.seconds
    source = "from the trace" if between is None else f"one in {clock(between)} drawn with seed {config.seed}"
    few, most = min(o.worlds), max(o.worlds)
    ranks = f"{most:,} ranks" if few == most else f"{few:,} to {most:,} ranks"
    read = f"{count(o.proof.rows)} windows"
    if config.order != "windows":
        read = f"{count(o.proof.pieces)} documents or pieces of long ones in {count(o.proof.rows)} rows"
    lines = [
        f"failures   {o.failures}, {source}; run on {ranks}",
        f"order      {o.steps:,} steps, {read}, {o.proof.epochs:.2f} epochs: none lost, none repeated, each in the batch that one process has",
        f"work       {o.repeated:,} steps done again; {o.saves} checkpoints, {o.damaged} of them found damaged",
        f"time       {clock(total)}: {o.useful / total:.1%} useful, {o.lost / total:.1%} lost, {o.saving / total:.1%} saving, {o.restarting / total:.1%} restarting",
    ]
    if between is not None and times.save > 0:
        interval = _interval(config, times)
        best = math.sqrt(2 * times.save * between)

        def useful(seconds: float) -> str:
            return f"{expected_useful(seconds, times.save, times.restart, between):.1%}"

        lines.append(
            f"expected   {useful(interval)} useful with {clock(interval)} between checkpoints (Daly); best is {clock(best)} (Young): {useful(best)}"
        )
    return [
        *lines,
        "Nothing was computed: the order of data and the resuming are real, the times are as given.",
    ]


def _interval(config: TrainConfig, times: Times) -> float:
    """Seconds of work between checkpoints, as --checkpoint.every and --checkpoint.minutes have it."""
    minutes = 60 * config.checkpoint.minutes
    every = config.checkpoint.every
    return minutes if every is None else min(minutes, every * times.step)


def _between_failures(
    config: TrainConfig, times: Times, steps: int, hours: float | None, world: int
) -> float:
    """Mean seconds: as given for one rank; else some failures in the run, but so that it gets on between them."""
    if hours is not None:
        return hours * 3600 / world
    return max(steps * times.step / _FAILURES, 3 * (_interval(config, times) + times.save + times.restart))


def _batches(config: TrainConfig, steps: int, text_tokens: int | None) -> Batches | Mixture:
    from lm_train.corpus import MixedIn
    from lm_train.dataset import TokenDataset
    from lm_train.mixture import training_batches
    from lm_train.parallel.made_up_text import MadeUpText
    from lm_train.tokens.dataset_format import DATASET_NAME

    shares = [share for _, share in config.mixed]
    made_up = text_tokens or int(steps * config.batch * config.model.context / _EPOCHS)

    def text(data: str, share: float) -> TokenDataset:
        if text_tokens is None and (Path(data) / DATASET_NAME).is_file():
            return TokenDataset(data, verify=False)
        length = max(2 * config.model.context, int(made_up * share))
        return MadeUpText(length, config.model.context, config.seed)  # type: ignore[return-value]

    mixed = [MixedIn(data, text(data, share), share) for data, share in config.mixed]
    return training_batches(config, text(config.data, 1 - sum(shares)), mixed)


def _check_positive(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not (math.isfinite(number) and number > 0):
            raise ConfigError(f"--{name.replace('_', '-')} must be above 0, got {number}")
