"""Draws every schedule of lm_core.schedule into schedules.svg, next to this file: `python docs/draw_schedules.py`."""

from collections.abc import Callable
from pathlib import Path

from lm_core.schedule import constant, cosine, inverse_sqrt, linear, wsd

STEPS, WARMUP = 1000, 100
SCHEDULES: dict[str, tuple[str, Callable[[int], float]]] = {
    "cosine": ("#4269d0", lambda s: cosine(s, peak=1, floor=0.1, warmup=WARMUP, total=STEPS)),
    "wsd": ("#ff725c", lambda s: wsd(s, peak=1, floor=0, warmup=WARMUP, decay=300, total=STEPS)),
    "wsd, sqrt": (
        "#efb118",
        lambda s: wsd(s, peak=1, floor=0, warmup=WARMUP, decay=300, total=STEPS, shape="sqrt"),
    ),
    "linear": ("#3ca951", lambda s: linear(s, peak=1, floor=0, warmup=WARMUP, total=STEPS)),
    "inverse_sqrt": ("#a463f2", lambda s: inverse_sqrt(s, peak=1, warmup=WARMUP)),
    "constant": ("#9498a0", lambda s: constant(s, peak=1, warmup=WARMUP)),
}
LEFT, TOP, WIDTH, HEIGHT = 50, 20, 560, 260


def x(step: float) -> float:
    return LEFT + WIDTH * step / STEPS


def y(rate: float) -> float:
    return TOP + HEIGHT * (1 - rate)


def draw() -> str:
    """The picture as SVG text: rate against step, a line and a label for each schedule."""
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 330" font-family="sans-serif" font-size="13">',
        '<rect width="760" height="330" fill="white"/>',
    ]
    for rate in (0, 0.5, 1):
        parts.append(f'<path d="M{LEFT} {y(rate):.1f}H{LEFT + WIDTH}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(rate) + 4:.1f}" text-anchor="end">{rate:g}</text>')
    for step in range(0, STEPS + 1, 200):
        parts.append(f'<text x="{x(step):.1f}" y="{TOP + HEIGHT + 20}" text-anchor="middle">{step}</text>')
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 42}" text-anchor="middle">step</text>')
    for index, (name, (colour, rate_at)) in enumerate(SCHEDULES.items()):
        points = " ".join(f"{x(step):.1f},{y(rate_at(step)):.1f}" for step in range(0, STEPS + 1, 5))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        row = TOP + 20 + 22 * index
        parts.append(f'<path d="M{LEFT + WIDTH + 16} {row - 4}h22" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{LEFT + WIDTH + 44}" y="{row}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def pictures() -> dict[str, str]:
    """File name -> SVG text."""
    return {"schedules.svg": draw()}


if __name__ == "__main__":
    for name, content in pictures().items():
        Path(__file__).with_name(name).write_text(content, encoding="utf-8")
