"""Sweep files: the format of Weights & Biases, read without it.

    method: grid | random | bayes        metric: {name, goal}        run_cap: 20
    parameters:
      optim.lr: {distribution: log_uniform_values, min: 0.0005, max: 0.02}
      model: {parameters: {d_model: {values: [96, 128]}}}            # nested, as optim.lr is with a dot

docs/sweeps.md says what of the format is carried out here. https://docs.wandb.ai/guides/sweeps/sweep-config-keys
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from lm_train.errors import ConfigError

METHODS = ("grid", "random", "bayes")
DISTRIBUTIONS = ("constant", "categorical", "uniform", "int_uniform", "log_uniform_values")
_KEYS = (
    "program",
    "name",
    "description",
    "project",
    "entity",
    "method",
    "metric",
    "run_cap",
    "parameters",
    "command",
)


@dataclass(frozen=True)
class Parameter:
    """What may be chosen for one setting: one of `values`, or a number from `low` to `high` by `kind` of distribution."""

    kind: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class SweepPlan:
    """A sweep file. `runs` None: all of a grid."""

    name: str
    method: str
    metric: str
    maximize: bool
    runs: int | None
    parameters: dict[str, Parameter]


def ready_sweeps() -> list[str]:
    """Names of the sweep files in the package."""
    folder = resources.files("lm_train") / "sweeps"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def read_sweep(name: str, runs: int | None = None) -> SweepPlan:
    """The plan in a file, or in a ready one by name; `runs` goes before its run_cap. Raises ConfigError."""
    import yaml  # type: ignore[import-untyped]

    if name in ready_sweeps() and not Path(name).is_file():
        text = (resources.files("lm_train") / "sweeps" / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(
                f"{name}: no sweep file that can be read; ready ones: {', '.join(ready_sweeps())}"
            ) from None
    try:
        table = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from None
    return _plan(table, name, runs)


def _plan(table: Any, source: str, runs: int | None) -> SweepPlan:
    if (
        not isinstance(table, dict)
        or not isinstance(table.get("parameters"), dict)
        or not table["parameters"]
    ):
        raise ConfigError(f"{source}: a sweep file needs a table of parameters")
    if unknown := [key for key in table if key not in _KEYS]:
        raise ConfigError(
            f"{source}: {unknown[0]} is not carried out here; take it out, or run the file with wandb (known: {', '.join(_KEYS)})"
        )
    method = table.get("method")
    if method not in METHODS:
        raise ConfigError(f"{source}: method must be one of {', '.join(METHODS)}, got {method}")
    metric = table.get("metric") or {}
    goal = metric.get("goal", "minimize") if isinstance(metric, dict) else None
    if goal not in ("minimize", "maximize"):
        raise ConfigError(f"{source}: metric must be {{name, goal: minimize or maximize}}, got {metric}")
    cap = runs if runs is not None else table.get("run_cap")
    if cap is not None and (not isinstance(cap, int) or cap < 1):
        raise ConfigError(f"{source}: run_cap must be a whole number above 0, got {cap}")
    if cap is None and method != "grid":
        raise ConfigError(f"{source}: a {method} sweep has no end of its own; give run_cap, or --runs")
    parameters = {name: _parameter(name, entry, source) for name, entry in _flat(table["parameters"], "")}
    if method == "grid" and (open_ := [name for name, p in parameters.items() if not p.values]):
        raise ConfigError(
            f"{source}: a grid needs values; {open_[0]} has a range. Give values, or method: random"
        )
    return SweepPlan(
        name=str(table.get("name") or Path(source).stem),
        method=method,
        metric=str(metric.get("name", "valid_bits_per_byte")),
        maximize=goal == "maximize",
        runs=cap,
        parameters=parameters,
    )


def _flat(table: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found = []
    for name, entry in table.items():
        if isinstance(entry, dict) and isinstance(entry.get("parameters"), dict):
            found += _flat(entry["parameters"], f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", entry))
    return found


def _parameter(name: str, entry: Any, source: str) -> Parameter:
    if not isinstance(entry, dict):
        raise ConfigError(f"{source}: {name} needs value, values, or min and max, got {entry}")
    if "value" in entry:
        return Parameter("constant", (entry["value"],))
    if "values" in entry:
        if not isinstance(entry["values"], list) or not entry["values"]:
            raise ConfigError(f"{source}: {name}: values is a list, got {entry['values']}")
        return Parameter("categorical", tuple(entry["values"]))
    low, high = _number(entry.get("min")), _number(entry.get("max"))
    if low is None or high is None or not low < high:
        raise ConfigError(f"{source}: {name} needs value, values, or min below max, got {entry}")
    whole = isinstance(low, int) and isinstance(high, int)
    kind = entry.get("distribution", "int_uniform" if whole else "uniform")
    if kind not in DISTRIBUTIONS[2:]:
        raise ConfigError(
            f"{source}: {name}: the distribution {kind} is not carried out here; {', '.join(DISTRIBUTIONS[2:])} are"
        )
    if kind == "log_uniform_values" and low <= 0:
        raise ConfigError(f"{source}: {name}: log_uniform_values needs min above 0, got {low}")
    return Parameter(kind, low=float(low), high=float(high))


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
