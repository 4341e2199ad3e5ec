"""Charts of the root mean squares that `metrics.jsonl` holds for each layer: weights, stream, gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_train.view.charts import Line, chart

_SHOWN = 6  # layers at most: the outermost, and some between them
_KINDS = (
    ("weight_rms", "Weights, by layer"),
    ("activation_rms", "What leaves each block (the stream), by layer"),
    ("gradient_rms", "Gradient of the held-out loss, by layer"),
)


def layer_charts(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """(caption, SVG) of each kind that the rows have."""
    found = []
    for kind, caption in _KINDS:
        keys = [key for key in (rows[-1] if rows else {}) if key.startswith(f"{kind}/")]
        lines = []
        for number, key in enumerate(evenly(keys)):
            points = [(row["tokens"], row[key]) for row in rows if row.get(key) is not None]
            x, y = [tokens for tokens, _ in points], [value for _, value in points]
            lines.append(Line(number, key.partition("/")[2], x, y, dots=True))
        if svg := chart(lines, x="tokens", y="root mean square"):
            found.append((caption, svg))
    return found


def evenly(keys: Sequence[str], most: int = _SHOWN) -> list[str]:
    """All of them, or `most` at even distances, the first and the last among them."""
    if len(keys) <= most:
        return list(keys)
    return [keys[round(place * (len(keys) - 1) / (most - 1))] for place in range(most)]
