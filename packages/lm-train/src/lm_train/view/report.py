"""`report.html`: a run, or several side by side, on one page that needs no network and no script.

Everything on it is read from the run folders: config.toml, run.json, metrics.jsonl, samples.jsonl.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_train.config import TrainConfig, with_rate
from lm_train.config_file import differences, read_config, to_settings
from lm_train.overfitting import OVERFIT_ADVICE, OVERFIT_RISE
from lm_train.run_folder import RunFolder
from lm_train.view.charts import Line, chart
from lm_train.view.closing import perplexity
from lm_train.view.display import clock
from lm_train.view.layer_charts import layer_charts
from lm_train.view.metrics import read_lines

if TYPE_CHECKING:
    from jinja2 import Environment

_SHOWN_SAMPLES, _SHOWN_EVENTS = 12, 40


@dataclass(frozen=True)
class Page:
    """One run as the template sees it."""

    name: str
    folder: str
    status: str
    config: TrainConfig
    facts: dict[str, Any]
    metrics: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [row for row in self.metrics if row.get("loss") is not None]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        return [row for row in self.metrics if row.get("valid_loss") is not None]

    @property
    def curve(self) -> list[dict[str, Any]]:
        """The evaluations on the same text as the first one: those on the way, not the closing one on more of it."""
        scored = [row for row in self.evaluations if row.get("valid_bits_per_byte") is not None]
        return [row for row in scored if row.get("valid_tokens") == scored[0].get("valid_tokens")]

    @property
    def overfit(self) -> str | None:
        """What to say where the held-out loss has risen since its lowest point."""
        if not self.curve:
            return None
        lowest, last = min(self.curve, key=lambda row: row["valid_loss"]), self.curve[-1]
        if last["valid_loss"] <= OVERFIT_RISE * lowest["valid_loss"]:
            return None
        return (
            f"Overfitting: the held-out loss was lowest at step {lowest['step']:,} ({lowest['valid_loss']:.3f}) and has risen since "
            f"to {last['valid_loss']:.3f}. What helps: {OVERFIT_ADVICE}."
        )

    @property
    def mixed(self) -> list[dict[str, Any]]:
        """The texts that were mixed in, each with its closing score where it has one."""
        scores = {row["mix"]: row for row in self.metrics if row.get("mix")}
        cards = self.facts.get("dataset", {}).get("mix", [])
        return [{**card, "score": scores.get(card["text"])} for card in cards]

    @property
    def changed(self) -> list[tuple[str, Any, Any]]:
        """(setting, default, here), of those that differ; where the run computes is told elsewhere."""
        return [
            row
            for row in differences(with_rate(self.config), with_rate(TrainConfig()))
            if row[0] not in ("device", "dtype", "threads", "name")
        ]

    @property
    def figures(self) -> list[tuple[str, str]]:
        """The headline: what, and how much."""
        last = self.metrics[-1] if self.metrics else {}
        found = []
        if self.evaluations:
            held_out = self.evaluations[-1]
            if held_out.get("valid_bits_per_byte") is not None:
                found.append(("bits per byte, held out", f"{held_out['valid_bits_per_byte']:.3f}"))
            found.append(("loss, held out", f"{held_out['valid_loss']:.3f}"))
            found.append(("perplexity", perplexity(held_out["valid_loss"])))
        if last:
            found += [
                ("steps", f"{last['step']:,}"),
                ("tokens", f"{last['tokens']:,}"),
                ("training", clock(last["seconds"])),
            ]
            if last["seconds"]:
                found.append(("tokens/s", f"{last['tokens'] / last['seconds']:,.0f}"))
        return found

    @property
    def happened(self) -> list[tuple[str, str, str]]:
        """(time, event, its facts) of the last events; of saves that follow each other only the last."""
        words = [row.get("event") for row in self.events]
        kept = [row for n, row in enumerate(self.events) if words[n : n + 2] != ["saved", "saved"]]
        return [
            (
                str(row.get("time", "")),
                str(row.get("event", "")),
                ", ".join(f"{k} {v}" for k, v in row.items() if k not in ("time", "event") and v is not None),
            )
            for row in kept[-_SHOWN_EVENTS:]
        ]

    @property
    def shown_samples(self) -> list[dict[str, Any]]:
        """The samples of the first prompt, thinned out evenly, and the closing ones of every prompt, newest first."""
        if not self.samples:
            return []
        first, last = self.samples[0]["prompt"], self.samples[-1]["step"]
        on_the_way = [row for row in self.samples if row["prompt"] == first and row["step"] < last]
        size = max(1, -(-len(on_the_way) // _SHOWN_SAMPLES))
        # A run that was stopped after its last step, and resumed, tells of it twice.
        closing = {(row["prompt"], row["text"]): row for row in self.samples if row["step"] == last}
        return [*closing.values(), *on_the_way[::-size]]


def write_report(*runs: RunFolder, out: Path | None = None) -> Path:
    """Write the page of the runs; gives its path: report.html in the one run, comparison.html beside several, or `out`."""
    pages = [read_page(run) for run in runs]
    html = (
        environment()
        .get_template("report.html.j2")
        .render(
            pages=pages,
            charts=_charts(pages),
            settings=_differing(pages),
            title=" · ".join(page.name for page in pages),
        )
    )
    path = out or (runs[0].report if len(runs) == 1 else runs[0].path.parent / "comparison.html")
    path.write_text(html, encoding="utf-8")
    return path


def environment() -> Environment:
    """Where the templates are; every value in them is escaped unless it is marked safe."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("lm_train"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["typed"] = typed
    return made


def typed(value: Any) -> str:
    """A setting as a person would type it: `true`, not `True`; a list without its brackets; nothing for none."""
    if isinstance(value, list | tuple):
        return ", ".join(typed(each) for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def read_page(run: RunFolder) -> Page:
    """Read a run folder, also one that is unfinished."""
    return Page(
        name=run.name,
        folder=str(run.path),
        status=run.status(),
        config=read_config([str(run.config)]),
        facts=run.facts(),
        metrics=read_lines(run.metrics),
        samples=read_lines(run.samples),
        events=read_lines(run.events.path),
    )


def _charts(pages: list[Page]) -> list[tuple[str, str]]:
    """(caption, SVG) of each chart that has data."""
    one = len(pages) == 1
    losses, held_out, by_time, rates, speeds = [], [], [], [], []
    for number, page in enumerate(pages):
        steps, scores = page.steps, page.curve
        tokens = [row["tokens"] for row in steps]
        raw = [row["loss"] for row in steps]
        losses.append(Line(number, "each step" if one else "", tokens, raw, faint=True))
        losses.append(Line(number, "smoothed" if one else page.name, tokens, smoothed(raw)))
        bits = [row["valid_bits_per_byte"] for row in scores]
        held_out.append(Line(number, page.name, [row["tokens"] for row in scores], bits, dots=True))
        by_time.append(Line(number, page.name, [row["seconds"] for row in scores], bits, dots=True))
        rates.append(Line(number, page.name, tokens, [row["lr"] for row in steps]))
        speeds.append(Line(number, page.name, tokens, smoothed([row["tokens_per_second"] for row in steps])))
    found = [
        ("Loss on the training text, nats per token", chart(losses, x="tokens", y="loss", zoom=True)),
        (
            "Bits per byte on held-out text, by tokens",
            chart(held_out, x="tokens", y="bits per byte", zoom=True),
        ),
        (
            "Bits per byte on held-out text, by training time",
            chart(by_time, x="seconds", y="bits per byte", zoom=True),
        ),
        ("Learning rate", chart(rates, x="tokens", y="lr")),
        ("Speed", chart(speeds, x="tokens", y="tokens/s")),
        *(layer_charts(pages[0].curve) if one else []),
    ]
    return [(caption, svg) for caption, svg in found if svg]


def smoothed(values: list[float]) -> list[float]:
    """The exponential mean over the last fiftieth of `values`, at least ten, corrected for its start."""
    share = 1 - 1 / max(10, len(values) / 50)
    found, mean, weight = [], 0.0, 0.0
    for value in values:
        mean, weight = share * mean + (1 - share) * value, share * weight + (1 - share)
        found.append(mean / weight)
    return found


def _differing(pages: list[Page]) -> list[tuple[str, list[Any]]]:
    """(setting, its value in each run) where the runs differ."""
    if len(pages) < 2:
        return []
    flat = [_flat(to_settings(page.config)) for page in pages]
    keys = sorted(set().union(*flat))
    return [
        (key, [table.get(key) for table in flat])
        for key in keys
        if len({str(table.get(key)) for table in flat}) > 1
    ]


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= (
            {f"{key}.{inner}": v for inner, v in value.items()} if isinstance(value, dict) else {key: value}
        )
    return found
