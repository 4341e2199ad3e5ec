"""What a learning-rate range test says: lines for the terminal, and a page with its curve."""

from __future__ import annotations

from pathlib import Path

from lm_train.config import TrainConfig
from lm_train.corpus import stem
from lm_train.own_command import own_command
from lm_train.studies.lr_test import LrTest, rounded
from lm_train.view.charts import Line, chart
from lm_train.view.report import environment

_ROWS = 12
_BAR = 32  # characters


def test_rows(test: LrTest) -> list[tuple[str, float, bool]]:
    """(rate, smoothed loss, whether it is the lowest) of some steps at even distances, the lowest among them."""
    smooth, peak = test.smoothed, next(iter(test.peaks.values()))
    places = {round(i * (len(smooth) - 1) / (_ROWS - 1)) for i in range(_ROWS)} | {test.lowest}
    return [(rounded(peak * test.factors[p]), smooth[p], p == test.lowest) for p in sorted(places)]


def test_lines(test: LrTest) -> list[str]:
    """A table with a bar for each loss, and the suggestion."""
    rows = test_rows(test)
    low, high = min(loss for _, loss, _ in rows), max(loss for _, loss, _ in rows)
    scale = _BAR / (high - low) if high > low else 0.0
    lines = ["", f"{'lr':>10}  {'loss':>7}"]
    for rate, loss, is_lowest in rows:
        bar = "▇" * round((loss - low) * scale)
        lines.append(f"{rate:>10}  {loss:7.3f}  {bar}{'  lowest' if is_lowest else ''}")
    return [*lines, "", f"suggestion {advice(test)}"]


def advice(test: LrTest) -> str:
    """The flags to use, or what to do where there is nothing to suggest."""
    if test.flags is None:
        return "none: the loss still fell at the end; test further with a larger --high"
    return f"{test.flags}   (half the rate with the lowest loss)"


def write_test_page(test: LrTest, config: TrainConfig) -> Path:
    """`<out>/<data>-lr.html`: the curve, the table and the suggestion; gives its path."""
    peak = next(iter(test.peaks.values()))
    rates = [peak * factor for factor in test.factors]
    mark = None if test.suggestion is None else peak * test.suggestion
    lines = [
        Line(0, "each step", rates, test.losses, faint=True),
        Line(0, "smoothed", rates, test.smoothed),
    ]
    svg = chart(lines, x="learning rate", y="loss", zoom=True, log_x=True, mark=mark)
    html = (
        environment()
        .get_template("lr.html.j2")
        .render(
            data=config.data,
            svg=svg,
            rows=test_rows(test),
            peaks=test.peaks,
            flags=test.flags,
            advice=advice(test),
            command=own_command(),
            optimizer=config.optim.name,
        )
    )
    path = Path(config.out) / f"{stem(config.data)}-lr.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")
    return path
