"""Draws the pictures of architecture.md from lm_core's own functions, next to this file: `python docs/draw_parts.py`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lm_core import RopeScaling, silu, soft_cap
from lm_core.activation import gelu, relu2
from lm_core.attention import causal_mask
from lm_core.embedding import sinusoidal_positions
from lm_core.rope_scaling import rope_frequencies

COLOURS = ("#4269d0", "#ff725c", "#3ca951", "#a463f2", "#efb118")
LEFT, TOP, WIDTH, HEIGHT = 60, 20, 420, 240
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" font-family="sans-serif" font-size="13">\n<rect width="{0}" height="{1}" fill="white"/>'


def plot(
    curves: dict[str, Sequence[float]],
    xs: Sequence[float],
    low: float,
    high: float,
    ticks: tuple[Sequence[float], Sequence[float]],
    labels: tuple[str, str],
) -> str:
    """Curves over common xs, with a legend. Points above or below the picture are left out."""

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            LEFT + WIDTH * (x - xs[0]) / (xs[-1] - xs[0]),
            TOP + HEIGHT * (1 - (y - low) / (high - low)),
        )

    parts = [HEAD.format(LEFT + WIDTH + 190, TOP + HEIGHT + 60)]
    for x in ticks[0]:
        across, _ = at(x, low)
        parts.append(f'<path d="M{across:.1f} {TOP}V{TOP + HEIGHT}" stroke="#dddddd"/>')
        parts.append(f'<text x="{across:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{x:g}</text>')
    for y in ticks[1]:
        _, down = at(xs[0], y)
        parts.append(f'<path d="M{LEFT} {down:.1f}H{LEFT + WIDTH}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{down + 4:.1f}" text-anchor="end">{y:g}</text>')
    parts.append(
        f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 42}" text-anchor="middle">{labels[0]}</text>'
    )
    parts.append(f'<text x="{LEFT}" y="{TOP - 6}">{labels[1]}</text>')
    for (name, ys), colour in zip(curves.items(), COLOURS, strict=False):
        points = " ".join(
            "{:.1f},{:.1f}".format(*at(x, y)) for x, y in zip(xs, ys, strict=True) if low <= y <= high
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        row = TOP + 16 + 22 * list(curves).index(name)
        parts.append(f'<path d="M{LEFT + WIDTH + 14} {row - 4}h22" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{LEFT + WIDTH + 42}" y="{row}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def activations() -> str:
    x = torch.linspace(-4, 4, 81)
    functions: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "silu": silu,
        "gelu": gelu,
        "relu2": relu2,
        "soft_cap(x, 2)": lambda x: soft_cap(x, 2.0),
    }
    curves = {name: function(x).tolist() for name, function in functions.items()}
    return plot(curves, x.tolist(), -2, 4, ((-4, -2, 0, 2, 4), (-2, 0, 2, 4)), ("x", "y"))


def rotations() -> str:
    """Turns of each pair of a 64-wide head over a context of 2048, plain and scaled by 4."""
    kinds = {
        "plain": None,
        "linear": RopeScaling(kind="linear", factor=4.0),
        "llama3": RopeScaling(kind="llama3", factor=4.0, original_context=2048),
        "yarn": RopeScaling(kind="yarn", factor=4.0, original_context=2048),
    }
    curves = {}
    for name, scaling in kinds.items():
        speeds, _ = rope_frequencies(64, 10_000.0, scaling)
        curves[name] = (speeds * 2048 / (2 * torch.pi)).log10().tolist()
    ticks = ((0, 8, 16, 24, 31), (-2, -1, 0, 1, 2))
    return plot(curves, list(range(32)), -2, 2.6, ticks, ("pair", "log10 of the turns in 2048 positions"))


def grid(cells: torch.Tensor, title: str, left: float, size: float) -> list[str]:
    """A matrix of numbers in 0..1 as squares, dark for 1."""
    parts = [f'<text x="{left}" y="16">{title}</text>']
    for row, values in enumerate(cells.tolist()):
        for column, value in enumerate(values):
            shade = f"#{''.join(f'{round(255 + value * (c - 255)):02x}' for c in (0x42, 0x69, 0xD0))}"
            parts.append(
                f'<rect x="{left + column * size:g}" y="{26 + row * size:g}" width="{size:g}" height="{size:g}" fill="{shade}" stroke="#ffffff" stroke-width="0.5"/>'
            )
    return parts


def masks() -> str:
    causal, window, cached = causal_mask(12, 12), causal_mask(12, 12, window=4), causal_mask(4, 12)
    parts = [HEAD.format(640, 240)]
    parts += grid(causal.float(), "causal: row i sees columns up to i", 10, 16)
    parts += grid(window.float(), "sliding_window=4", 250, 16)
    parts += grid(cached.float(), "4 new tokens, 8 cached", 440, 16)
    return "\n".join([*parts, "</svg>", ""])


def sinusoids() -> str:
    table = sinusoidal_positions(0, 16, 32)
    parts = [
        HEAD.format(500, 280),
        *grid(
            (table + 1) / 2, "sinusoidal positions: a row a position, a column a dimension (dark: 1)", 10, 15
        ),
    ]
    return "\n".join([*parts, "</svg>", ""])


def pictures() -> dict[str, str]:
    """File name -> SVG text."""
    return {
        "activations.svg": activations(),
        "rotations.svg": rotations(),
        "masks.svg": masks(),
        "sinusoids.svg": sinusoids(),
    }


if __name__ == "__main__":
    for name, content in pictures().items():
        Path(__file__).with_name(name).write_text(content, encoding="utf-8")
