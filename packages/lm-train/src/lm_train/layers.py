"""Where a setting comes from: flag > `LM_*` environment > files, later ones first > a resumed run's own > default.

cyclopts reads the flags; this module gives it the layers below them, checked, and with one rule of its own: a budget (--minutes,
--steps, --tokens) replaces the budget of every lower layer, whatever its unit. `lr`, a test of some steps, takes none but a flag's.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclopts.config import Dict

from lm_train.config import BUDGETS, TrainConfig
from lm_train.config_file import merge, read_settings
from lm_train.errors import ConfigError
from lm_train.parallel.launcher import restarts, run_to_continue
from lm_train.run_errors import RunError
from lm_train.run_folder import RunFolder, newest_run

COMMANDS = ("prepare", "verify", "report", "watch", "completion")  # those that take no settings
ALL_COMMANDS = (*COMMANDS, "plan", "simulate", "lr", "compare", "sweep")


def normalized(arguments: Sequence[str]) -> list[str]:
    """The arguments with the run's folder put behind a bare `--resume` (or `--resume auto`). Raises RunError where none was stopped.

    With `--name`, `--resume auto` means the run of that name, or a new one where there is none to continue; a launcher that starts a
    run again means the same.
    """
    found = [word for argument in arguments for word in _as_settings(argument)]
    if restarts() and not any(argument.split("=")[0] == "--resume" for argument in found):
        found += ["--resume", "auto"]
    for place, argument in enumerate(found):
        follows = found[place + 1] if place + 1 < len(found) else "-"
        if argument == "--resume" and (follows.startswith("-") or follows == "auto"):
            out, name = Path(str(_lower(found, "out") or TrainConfig().out)), _lower(found, "name")
            if name and follows == "auto":
                named = run_to_continue(out, str(name))
                found[place : place + 2] = ["--resume", str(named.path)] if named is not None else []
                break
            run = newest_run(out, stopped=True)
            if run is None:
                raise RunError(
                    f"--resume: no run under {out}/ was stopped; name the run to continue: --resume {out}/NAME"
                )
            found[place + 1 : place + 1 + (follows == "auto")] = [str(run.path)]
            break
    return found


def _as_settings(argument: str) -> tuple[str, ...]:
    """`--use_wandb`, as many trainers spell it (W&B's sweep agent: `--use_wandb=true`), is `--log wandb`."""
    name, _, value = argument.partition("=")
    if name not in ("--use_wandb", "--use-wandb"):
        return (argument,)
    return ("--log", "wandb") if value.lower() in ("", "true", "1", "yes") else ()


def sources(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> tuple[Dict, ...]:
    """The layers below the flags, highest first, for `app.config`. Raises ConfigError for a file that is not right, RunError for no run."""
    if arguments[:1] and arguments[0] in COMMANDS:
        return ()
    files = _values(arguments, "--config") or [name for name in (environment.get("LM_CONFIG"),) if name]
    for run in _values(arguments, "--resume")[-1:]:
        files = [str(RunFolder.open(Path(run)).config), *files]
    variables = _environment(environment)
    lower = merge([read_settings(name) for name in files])
    if arguments[:1] == ["lr"] or any(_values(arguments, f"--{name}") for name in BUDGETS):
        variables = [layer for layer in variables if layer[0] not in BUDGETS]
        lower = {key: value for key, value in lower.items() if key not in BUDGETS}
    elif any(key in BUDGETS for key, _, _ in variables):
        lower = {key: value for key, value in lower.items() if key not in BUDGETS}
    layers = [Dict(nested, source=variable, use_commands_as_keys=False) for _, variable, nested in variables]
    return (*layers, Dict(lower, source=", ".join(files) or "settings", use_commands_as_keys=False))


def _environment(environment: Mapping[str, str]) -> list[tuple[str, str, dict[str, Any]]]:
    """(key, variable, nested value) of each `LM_*` variable that names a setting. Raises ConfigError for one that nearly does."""
    known: dict[str, tuple[str, ...]] = {}
    for key, default in dataclasses.asdict(TrainConfig()).items():
        for path in [(key, inner) for inner in default] if isinstance(default, dict) else [(key,)]:
            known["_".join(("LM", *path)).upper()] = path
    for name in environment:
        if name.startswith("LM_") and name not in known:  # it may well be another program's
            for near in difflib.get_close_matches(name, known, 1, cutoff=0.9):
                raise ConfigError(f"{name} names no setting; did you mean {near}?")
    found: list[tuple[str, str, dict[str, Any]]] = []
    for name, (key, *inner) in known.items():
        if name in environment:
            value = environment[name]
            found.append((".".join((key, *inner)), name, {key: {inner[0]: value} if inner else value}))
    return found


def _lower(arguments: Sequence[str], key: str) -> object:
    """A setting before cyclopts has read any: from its flag, the environment, or the files; None where none of them has it."""
    flags = _values(arguments, f"--{key}")
    given = flags[-1] if flags else os.environ.get(f"LM_{key}".upper())
    files = _values(arguments, "--config") or [name for name in (os.environ.get("LM_CONFIG"),) if name]
    return given or merge([read_settings(name) for name in files]).get(key)


def _values(arguments: Sequence[str], flag: str) -> list[str]:
    """What is given to a flag, as `--flag value` or `--flag=value`."""
    found = []
    for place, argument in enumerate(arguments):
        if argument == flag and place + 1 < len(arguments):
            found.append(arguments[place + 1])
        elif argument.startswith(f"{flag}="):
            found.append(argument.removeprefix(f"{flag}="))
    return found
