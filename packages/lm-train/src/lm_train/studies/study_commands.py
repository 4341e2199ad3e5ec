"""The commands that train more than once to answer a question: `lr`, `compare` and `sweep`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lm_train.command_types import Action, Config, Files
from lm_train.config import TrainConfig
from lm_train.errors import ConfigError
from lm_train.parallel.launcher import EXIT_STOPPED, launched
from lm_train.signals import Stop


def lr_command(
    *,
    config: Files = (),
    low: float = 0.01,
    high: float = 30.0,
    settings: Config = TrainConfig(),  # noqa: B008
) -> Action:
    """Find a learning rate.

    Short training with a rate that rises a little every step, 100 steps unless --steps says otherwise.

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
        from lm_train.studies.lr_test import lr_test
        from lm_train.studies.lr_test_page import test_lines, write_test_page
        from lm_train.view.display import open_display

        display = open_display()
        try:
            test = lr_test(settings, low=low, high=high, display=display)
        finally:
            display.close()
        page = write_test_page(test, settings)
        print("\n".join([*test_lines(test), f"picture    {page}"]), flush=True)
        return 0

    return find


def compare_command(
    *vary: str,
    config: Files = (),
    seeds: int = 3,
    settings: Config = TrainConfig(),  # noqa: B008
) -> Action:
    """Compare settings over the same seeds, with error bars.

    optim.name=adamw,muon trains each with the same seeds and says by how much they differ.

    Parameters
    ----------
    vary
        A setting and its values, as in optim.name=adamw,muon; several: every combination.
    config
        A settings file or a recipe by name; may be given several times.
    seeds
        Runs of each variant, on as many orders of the data and initial weights.
    """

    def compare(stop: Stop) -> int:
        from lm_train.corpus import stem
        from lm_train.studies.compare import comparison, comparison_lines, label
        from lm_train.studies.study import held_out, run_trial
        from lm_train.studies.study_page import write_comparison
        from lm_train.view.display import open_display

        _alone("compare")
        grid = comparison(_one_clock(settings, stop), vary, seeds)
        folder = Path(settings.out) / (settings.name or f"{stem(settings.data)}-compare")
        display, runs = open_display(), []
        try:
            for number, trial in enumerate(trial for row in zip(*grid, strict=True) for trial in row):
                display.say(f"run {number + 1} of {len(grid) * seeds}: {trial.name}")
                run = run_trial(trial, folder, display, stop)
                if run is None:
                    return _stopped(stop)
                runs.append(run)
        finally:
            display.close()
        by_variant = [runs[place :: len(grid)] for place in range(len(grid))]
        what, found = held_out([run for row in by_variant for run in row])
        scores = [found[place * seeds : (place + 1) * seeds] for place in range(len(grid))]
        names = [label(row[0].choice) for row in grid]
        page = write_comparison(folder, names, by_variant, scores, what)
        print("\n".join(["", *comparison_lines(names, scores, what), "", f"report     {page}"]), flush=True)
        return 0

    return compare


def sweep_command(
    file: str,
    /,
    *,
    config: Files = (),
    runs: int | None = None,
    settings: Config = TrainConfig(),  # noqa: B008
) -> Action:
    """Search settings as a sweep file says.

    The format of Weights & Biases, run here, without an account.

    Parameters
    ----------
    file
        The sweep file, or a ready one by name: learning-rate, shape.
    config
        A settings file or a recipe by name; may be given several times.
    runs
        How many runs, instead of the file's run_cap.
    """

    def sweep(stop: Stop) -> int:
        from lm_train.studies.study import run_trial, score
        from lm_train.studies.study_page import Done, sweep_lines, write_sweep
        from lm_train.studies.sweep import Search
        from lm_train.studies.sweep_file import read_sweep
        from lm_train.view.display import open_display

        _alone("sweep")
        plan = read_sweep(file, runs)
        folder = Path(settings.out) / (settings.name or f"sweep-{plan.name}")
        search = Search(plan, _one_clock(settings, stop))
        done: list[Done] = []
        display = open_display()
        try:
            while (trial := search.next()) is not None:
                display.say(f"run {len(done) + 1} of {search.planned}: {trial.name}")
                run = run_trial(trial, folder, display, stop)
                if run is None:
                    return _stopped(stop)
                value = score(run, plan.metric)
                search.tell(value)
                done.append((trial, run, value))
        finally:
            display.close()
        page = write_sweep(folder, plan, done)
        print("\n".join(["", *sweep_lines(plan, done), "", f"report     {page}"]), flush=True)
        return 0

    return sweep


def _alone(command: str) -> None:
    """Raises ConfigError under a launcher, whose processes end after one run."""
    if launched():
        raise ConfigError(
            f"{command} trains one run after another, in one process each; start it without torchrun"
        )


def _one_clock(settings: TrainConfig, stop: Stop) -> TrainConfig:
    """The settings of each run, once --max-minutes has been set going for all of them together."""
    if settings.max_minutes is not None:
        stop.after(settings.max_minutes)
    return replace(settings, max_minutes=None)


def _stopped(stop: Stop) -> int:
    print(f"\nstopped by {stop.requested}; the same command goes on", flush=True)
    return EXIT_STOPPED
