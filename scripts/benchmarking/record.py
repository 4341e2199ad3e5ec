"""The record of a package's benchmarks, and what it says.

A benchmark prints {"rows": [row, ...]}; a row is one measurement of several contenders, ours first:
  case      what was worked on: "8 x 256 tokens, 22,675,456 parameters"; may be empty
  measure   what was measured: "decoding"
  unit      of every number: "tokens/s", "ms", "MB/s"
  better    "higher" or "lower"
  runs      {contender: [a number a round]}; the contenders take turns, so the numbers of one round belong together

`record.json` is {"format": 1, "package", "date", "hardware": {...}, "load": [before, after], "benchmarks": [{"name", "title",
"command", "rows"}]}. Loads are the machine's one-minute averages: well beyond one process's share, the figures are of a busy machine.
"""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

FORMAT = 1
RECORDS = "benchmarks/records"


class RowError(ValueError):
    """A benchmark printed something that is no row."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement of several contenders; the first is ours."""

    case: str
    measure: str
    unit: str
    better: Literal["higher", "lower"]
    runs: dict[str, list[float]]

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise RowError(f"better is {self.better!r}; wanted higher or lower ({self.case}, {self.measure})")
        if not self.runs:
            raise RowError(f"no contender ran ({self.case}, {self.measure})")
        for name, numbers in self.runs.items():
            if not numbers or not all(math.isfinite(number) and number > 0 for number in numbers):
                raise RowError(
                    f"{name} has no run, or one that is not above 0: {numbers} ({self.case}, {self.measure})"
                )

    def named(self, title: str) -> str:
        """The row in words, under its benchmark's title."""
        return f"{title}: " + ", ".join(filter(None, (self.case, self.measure)))

    @property
    def ours(self) -> str:
        return next(iter(self.runs))

    def median(self, contender: str) -> float:
        return statistics.median(self.runs[contender])

    def spread(self, contender: str) -> tuple[float, float]:
        """The smallest and the largest of its runs."""
        return min(self.runs[contender]), max(self.runs[contender])

    def advantage(self, contender: str) -> float:
        """How many times better ours is: the median over the rounds of the two numbers' ratio; above 1 is better.

        Of the medians' ratio where the two have not the same number of rounds.
        """
        mine, theirs = self.runs[self.ours], self.runs[contender]
        if len(mine) == len(theirs):
            ratio = statistics.median(m / t for m, t in zip(mine, theirs, strict=True))
        else:
            ratio = self.median(self.ours) / self.median(contender)
        return ratio if self.better == "higher" else 1 / ratio


@dataclass(frozen=True)
class Benchmark:
    """A script of a package with its arguments; `rows` once it has run."""

    name: str
    title: str
    command: list[str]
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """What a package's benchmarks gave on one machine on one day."""

    package: str
    date: str
    hardware: dict[str, str]
    load: Sequence[float]
    benchmarks: list[Benchmark]

    @property
    def folder(self) -> str:
        return f"{self.date}-{self.hardware['name']}"

    def onto(self, older: "Record") -> "Record":
        """This record with those benchmarks of an older one, of the same machine, that were not run again."""
        if older.hardware["name"] != self.hardware["name"]:
            return self
        mine = {each.name: each for each in self.benchmarks}
        kept = {each.name: each for each in older.benchmarks}
        return replace(self, benchmarks=list((kept | mine).values()))


def read_rows(printed: dict[str, Any]) -> list[Row]:
    """The rows that a benchmark printed. RowError for anything else."""
    try:
        return [Row(**row) for row in printed["rows"]]
    except (KeyError, TypeError) as error:
        raise RowError(f'wanted {{"rows": [...]}} of case, measure, unit, better, runs: {error}') from error


def save(root: Path, record: Record) -> Path:
    """Writes `record.json` and `record.md` into the record's folder, and gives that back."""
    folder = root / "packages" / record.package / RECORDS / record.folder
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"format": FORMAT, **asdict(record)}
    for benchmark in facts["benchmarks"]:
        for row in benchmark["rows"]:
            row["runs"] = {name: [round_off(each) for each in runs] for name, runs in row["runs"].items()}
    (folder / "record.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (folder / "record.md").write_text(as_markdown(read(folder)), encoding="utf-8")
    return folder


def read(folder: Path) -> Record:
    """The record of a folder. RowError for a format that is not this one's."""
    facts = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    if facts.pop("format", None) != FORMAT:
        raise RowError(f"{folder.name}/record.json has another format than {FORMAT}; measure anew")
    benchmarks = [Benchmark(**{**each, "rows": read_rows(each)}) for each in facts.pop("benchmarks")]
    return Record(**facts, benchmarks=benchmarks)


def newest(root: Path, package: str) -> Record | None:
    """The record of the latest date, or None where there is none."""
    found = sorted((root / "packages" / package / RECORDS).glob("*/record.json"))
    return read(found[-1].parent) if found else None


def round_off(number: float) -> float:
    """Four digits: more would be noise."""
    return float(f"{number:.4g}")


def as_markdown(record: Record) -> str:
    """The record as one table a benchmark: each contender's median and spread, and how many times better ours is."""
    machine = ", ".join(
        f"{value}" for key, value in record.hardware.items() if key not in ("name", "versions")
    )
    lines = [
        f"{record.date}, {machine}; the machine's load was {record.load[0]:.1f} before and {record.load[1]:.1f} after.",
        "",
        f"Versions: {record.hardware['versions']}.",
    ]
    for benchmark in record.benchmarks:
        lines += ["", f"## {benchmark.title}", "", f"`{' '.join(benchmark.command)}`", ""]
        lines += [
            "| case | measure | contender | median | least to most | ours is better by |",
            "|---|---|---|---:|---:|---:|",
        ]
        for row in benchmark.rows:
            for name in row.runs:
                low, high = row.spread(name)
                better = "" if name == row.ours else f"{row.advantage(name):.2f}x"
                lines.append(
                    f"| {row.case} | {row.measure} | {name} | {number(row.median(name))} {row.unit} "
                    f"| {number(low)} to {number(high)} | {better} |"
                )
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
