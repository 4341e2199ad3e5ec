"""Records -> documents: `docs/benchmarks.md` of each package with its picture, and the figures in READMEs.

In a README the lines between `<!-- figures: encode-file count -->` and `<!-- end of figures -->` are those of the benchmarks so named,
of the package that the README belongs to; in the README of the whole a name is `lm-core/step`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from benchmarking.record import Benchmark, Record, Row, as_markdown, newest, number

FIGURES = re.compile(r"(<!-- figures: ([^>]+?) -->\n).*?(<!-- end of figures -->)", re.DOTALL)
WIDTH = 9.0  # inches


class FiguresError(ValueError):
    """A README asks for figures that no record has."""


def write_documents(root: Path) -> None:
    """Brings every document to the newest records."""
    for package, record in records(root).items():
        docs = root / "packages" / package / "docs"
        draw(record, docs / "benchmarks.svg")
        (docs / "benchmarks.md").write_text(page(record), encoding="utf-8")
    for readme in readmes(root):
        old = readme.read_text(encoding="utf-8")
        new = with_figures(root, readme, old)
        if new != old:
            readme.write_text(new, encoding="utf-8")


def records(root: Path) -> dict[str, Record]:
    """The newest record of each package that has one."""
    packages = [folder.name for folder in sorted((root / "packages").iterdir()) if folder.is_dir()]
    found = {package: newest(root, package) for package in packages}
    return {package: record for package, record in found.items() if record}


def readmes(root: Path) -> Iterator[Path]:
    yield root / "README.md"
    yield from sorted((root / "packages").glob("*/README.md"))


def page(record: Record) -> str:
    """The text of `docs/benchmarks.md`."""
    return (
        f"# Benchmarks of {record.package}\n\n"
        f"Measured by `uv run --group docs python scripts/benchmarks.py {record.package}`, which anyone can run again; "
        "this page is made from its record. The contenders of a row take turns. A ratio is the median over the rounds; "
        "above 1 ours is better.\n\n"
        "![How many times better ours is than each contender, on a logarithmic scale](benchmarks.svg)\n\n"
        + as_markdown(record)
    )


def with_figures(root: Path, readme: Path, text: str) -> str:
    """The README's text with the newest figures. FiguresError for a name that the records do not have."""
    known = {
        (f"{package}/" if readme.parent == root else "") + benchmark.name: benchmark
        for package, record in records(root).items()
        if readme.parent == root or readme.parent.name == package
        for benchmark in record.benchmarks
    }

    def table(mark: re.Match[str]) -> str:
        names = mark[2].split()
        if missing := [name for name in names if name not in known]:
            raise FiguresError(
                f"{readme.relative_to(root)} shows the benchmark {missing[0]!r}, of which there is no record; "
                f"there are {', '.join(known) or 'none'}"
            )
        return mark[1] + figures([known[name] for name in names]) + mark[3]

    return FIGURES.sub(table, text)


def figures(benchmarks: list[Benchmark]) -> str:
    """A table with a line a row: ours, and every other contender with how many times better ours is."""
    lines = ["| work | ours | others, and how many times better ours is |", "|---|---:|---|"]
    for benchmark in benchmarks:
        for row in benchmark.rows:
            lines.append(f"| {row.named(benchmark.title)} | {value(row, row.ours)} | {others(row)} |")
    return "\n".join(lines) + "\n"


def value(row: Row, contender: str) -> str:
    return f"{number(row.median(contender))} {row.unit}"


def others(row: Row) -> str:
    names = [name for name in row.runs if name != row.ours]
    return ", ".join(f"{name} {value(row, name)} ({row.advantage(name):.2f}x)" for name in names)


def draw(record: Record, path: Path) -> None:
    """A bar a contender: to the right of 1 ours is better."""
    import matplotlib.pyplot as plt

    bars = [
        (row.named(benchmark.title), name, row.advantage(name))
        for benchmark in record.benchmarks
        for row in benchmark.rows
        for name in row.runs
        if name != row.ours
    ]
    plt.rcParams.update({"svg.hashsalt": record.package, "font.size": 8})
    figure, axes = plt.subplots(figsize=(WIDTH, 0.6 + 0.22 * len(bars)))
    places = range(len(bars), 0, -1)
    ratios = [ratio for _, _, ratio in bars]
    colours = ["#2a7f62" if ratio >= 1 else "#b5532a" for ratio in ratios]
    axes.barh(list(places), [ratio - 1 for ratio in ratios], left=1, color=colours, height=0.7)
    shown: list[str] = []
    last = None
    for work, name, _ in bars:
        shown.append(f"{work}   {name}" if work != last else name)
        last = work
    axes.set_yticks(list(places), shown)
    axes.set_xscale("log")
    axes.axvline(1, color="#444444", linewidth=0.8)
    for place, ratio in zip(places, ratios, strict=True):
        axes.annotate(
            f"{ratio:.2f}x", (ratio, place), xytext=(3 if ratio >= 1 else -3, 0), textcoords="offset points",
            ha="left" if ratio >= 1 else "right", va="center", fontsize=7,
        )  # fmt: skip
    axes.set_xlim(min(0.5, *ratios) * 0.8, max(2, *ratios) * 1.4)
    axes.set_ylim(0.3, len(bars) + 0.7)
    axes.set_xlabel("times better than the contender")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
