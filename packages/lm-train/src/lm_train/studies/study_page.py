"""The page of a study: a comparison's differences and curves, or a sweep's scores by each setting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_train.run_folder import RunFolder
from lm_train.studies.compare import difference_text, label, paired
from lm_train.studies.study import Trial, curve
from lm_train.studies.sweep_file import SweepPlan
from lm_train.view.charts import Line, chart
from lm_train.view.report import environment

Done = tuple[Trial, RunFolder, float | None]
_SHOWN = 10  # of a sweep's runs, on the terminal


def write_comparison(
    folder: Path,
    names: Sequence[str],
    runs: Sequence[Sequence[RunFolder]],
    scores: Sequence[Sequence[float]],
    what: str,
) -> Path:
    """`folder/report.html` of variants (rows) and seeds; gives its path."""
    charts = []
    for axis, unit in (("tokens", "tokens"), ("seconds", "seconds of training")):
        lines = []
        for number, row in enumerate(runs):
            curves = [curve(run) for run in row]
            for seed in curves:
                lines.append(Line(number, "", [r[axis] for r in seed], [r[what] for r in seed], faint=True))
            shared = _at_the_same_tokens(curves)
            xs = [_mean([r[axis] for r in at]) for at in shared]
            ys = [_mean([r[what] for r in at]) for at in shared]
            lines.append(Line(number, names[number], xs, ys, dots=True))
        charts.append(
            (f"Held out, by {unit}: the mean, and each seed", chart(lines, x=unit, y=_unit(what), zoom=True))
        )
    rows = []
    for number, (name, found) in enumerate(zip(names, scores, strict=True)):
        against = "" if number == 0 else difference_text(paired(found, scores[0]))
        rows.append([name, f"{_mean(found):.4f}", against, *(f"{value:.4f}" for value in found)])
    seeds = [f"seed {place + 1}" for place in range(len(scores[0]))]
    return _write(
        folder,
        title=f"{len(names)} variants",
        lead=f"{_unit(what)} on the same held-out text; lower is better. A seed has the same data order and initial weights in every variant; "
        f"the difference to {names[0]} is taken seed by seed, ± is its 95 % interval.",
        charts=charts,
        head=["variant", "mean", "difference", *seeds],
        rows=rows,
        links=[run for row in runs for run in row],
    )


def write_sweep(folder: Path, plan: SweepPlan, done: Sequence[Done]) -> Path:
    """`folder/report.html` of a sweep's runs; gives its path."""
    scored = [(trial, value) for trial, _, value in done if value is not None]
    charts = []
    for name, parameter in plan.parameters.items():
        if parameter.kind == "constant":
            continue
        numbers = all(isinstance(trial.choice[name], int | float) for trial, _ in scored)
        xs = [
            trial.choice[name] if numbers else parameter.values.index(trial.choice[name])
            for trial, _ in scored
        ]
        dots = [Line(0, "", [float(x) for x in xs], [value for _, value in scored], scattered=True)]
        axis = (
            name if numbers else f"{name}: " + ", ".join(f"{i} {v}" for i, v in enumerate(parameter.values))
        )
        svg = chart(dots, x=axis, y=plan.metric, log_x=parameter.kind == "log_uniform_values")
        charts.append((name, svg))
    ordered = _ordered(plan, done)
    return _write(
        folder,
        title=f"Sweep {plan.name}",
        lead=f"{len(done)} runs, {plan.method}; {plan.metric}, {'higher' if plan.maximize else 'lower'} is better. The best first.",
        charts=[(caption, svg) for caption, svg in charts if svg],
        head=["run", plan.metric, *plan.parameters],
        rows=[
            [trial.name, _shown(value), *map(_shown, trial.choice.values())] for trial, _, value in ordered
        ],
        links=[run for _, run, _ in ordered],
    )


def sweep_lines(plan: SweepPlan, done: Sequence[Done]) -> list[str]:
    """The table on the terminal: the best runs first."""
    ordered = _ordered(plan, done)
    lines = [f"{plan.metric}, the best of {len(done)} runs first", ""]
    for trial, _, value in ordered[:_SHOWN]:
        choice = {name: _shown(v) for name, v in trial.choice.items()}
        lines.append(f"  {_shown(value):>8}  {trial.name}  {label(choice)}")
    if ordered and ordered[0][2] is not None:
        lines += ["", f"again      --config {ordered[0][1].config}"]
    return lines


def _ordered(plan: SweepPlan, done: Sequence[Done]) -> list[Done]:
    sign = -1 if plan.maximize else 1
    return sorted(done, key=lambda each: (each[2] is None, sign * (each[2] or 0.0)))


def _write(
    folder: Path,
    *,
    title: str,
    lead: str,
    charts: list[tuple[str, str]],
    head: list[str],
    rows: list[list[str]],
    links: list[RunFolder],
) -> Path:
    page = folder / "report.html"
    html = (
        environment()
        .get_template("study.html.j2")
        .render(
            title=title, lead=lead, charts=charts, head=head, rows=rows, links=[run.name for run in links]
        )
    )
    page.write_text(html, encoding="utf-8")
    return page


def _at_the_same_tokens(curves: Sequence[Sequence[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    """The points that all seeds have, each a row of every seed."""
    by_tokens = [{row["tokens"]: row for row in one} for one in curves]
    shared = sorted(set.intersection(*(set(one) for one in by_tokens)))
    return [[one[tokens] for one in by_tokens] for tokens in shared]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _unit(what: str) -> str:
    return "bits per byte" if what == "valid_bits_per_byte" else "nats per token"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)
