"""Curves as SVG text that takes its colours from the page around it: `var(--ink)`, `var(--grid)`, `var(--run-0)` ...

matplotlib draws; nothing in the SVG depends on the day, the machine or a font file.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MAX_POINTS = 600
_INK, _GRID = "#010203", "#040506"
_RUNS = tuple(
    f"#0a0b{number:02x}" for number in range(8)
)  # placeholders, each replaced by a variable of the page


@dataclass(frozen=True)
class Line:
    """One curve: which run it is of, its points, and whether it is drawn with dots (few points), thin (many) or as dots alone."""

    run: int
    label: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False
    faint: bool = False
    scattered: bool = False


def chart(
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    zoom: bool = False,
    log_x: bool = False,
    mark: float | None = None,
) -> str:
    """An SVG of the lines; "" where there is nothing to draw.

    `zoom` leaves the first tenth of the curves out of the y range, `mark` is an x to draw a dashed line at.
    """
    drawn = [line for line in lines if len(line.x) > 0]
    if not drawn:
        return ""
    import matplotlib

    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "lm-train", "font.family": "sans-serif"}
    ):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for line in drawn:
            xs, ys = (line.x, line.y) if line.scattered else thinned(line.x, line.y)
            colour = _RUNS[line.run % len(_RUNS)]
            style: dict[str, Any] = {
                "color": colour,
                "label": line.label,
                "linewidth": 1.0 if line.faint else 1.8,
            }
            style |= {"alpha": 0.35} if line.faint else {}
            style |= {"marker": "o", "markersize": 3.5} if line.dots or line.scattered else {}
            style |= {"linestyle": "none"} if line.scattered else {}
            axes.plot(xs, ys, **style)
        if log_x:
            axes.set_xscale("log")
        if mark is not None:
            axes.axvline(mark, color=_INK, linewidth=1.0, linestyle="--")
        _dress(axes, x, y)
        if zoom:
            _zoom(axes, drawn)
        elif not all(line.scattered for line in drawn):
            axes.set_ylim(bottom=0)
        if sum(bool(line.label) for line in drawn) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=_INK)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _themed(buffer.getvalue())


def thinned(
    x: Sequence[float], y: Sequence[float], most: int = MAX_POINTS
) -> tuple[list[float], list[float]]:
    """At most `most` points: means over runs of neighbours."""
    size = -(-len(x) // most)
    groups = [slice(start, start + size) for start in range(0, len(x), size)]
    return [_mean(x[g]) for g in groups], [_mean(y[g]) for g in groups]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _dress(axes: Any, x: str, y: str) -> None:
    axes.set_xlabel(x, color=_INK, fontsize=9)
    axes.set_ylabel(y, color=_INK, fontsize=9)
    axes.grid(color=_GRID, linewidth=0.6)
    axes.tick_params(colors=_INK, labelsize=8, length=0)
    axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_GRID)


def _zoom(axes: Any, lines: Sequence[Line]) -> None:
    tails = [value for line in lines if not line.faint for value in line.y[len(line.y) // 10 :]]
    if len(tails) > 2 and max(tails) > min(tails):
        margin = 0.08 * (max(tails) - min(tails))
        axes.set_ylim(min(tails) - margin, max(tails) + margin)


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _themed(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'width="100%"', svg, count=1)
    for number, colour in enumerate(_RUNS):
        svg = svg.replace(colour, f"var(--run-{number})")
    svg = svg.replace(_INK, "var(--ink)").replace(_GRID, "var(--grid)")
    return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", svg)
