"""Draws the course's pictures into packages/*/docs, from the packages' own functions: `uv run --group docs python scripts/draw_course.py`.

The same machine-independent figures each time, so that a picture changes only when what it shows does.
"""

import random
from pathlib import Path

import matplotlib
import numpy as np
from lm_generate.sampling import Sampling, probabilities
from lm_tokenizer import Tokenizer
from lm_train.permutation import Permutation
from lm_train.texts.stdlib_text import stdlib_files
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PACKAGES = Path(__file__).resolve().parent.parent / "packages"
BLUE, RED, GREEN = "#4269d0", "#ff725c", "#3ca951"

matplotlib.use("svg")
matplotlib.rcParams.update(
    {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "course",
        "font.family": "sans-serif",
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#dddddd",
        "axes.axisbelow": True,
    }
)


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight", facecolor="white")
    pyplot.close(figure)


def plot(width: float = 6, height: float = 3) -> tuple[Figure, Axes]:
    return pyplot.subplots(figsize=(width, height))


def vocabulary(path: Path) -> None:
    """Bytes per token of held-out standard-library source, against the size of the vocabulary."""
    sources = [file.read_text(encoding="utf-8", errors="replace") for file in stdlib_files()]
    random.Random(0).shuffle(sources)
    learnt, held_out = sources[: len(sources) * 9 // 10], "".join(sources[len(sources) * 9 // 10 :])
    sizes = [256, 512, 1024, 2048, 4096, 8192, 16384, 32768]
    tokenizers = [Tokenizer.train(texts=learnt, vocab_size=size, special_tokens=()) for size in sizes]
    figure, axes = plot()
    axes.plot(sizes, [len(held_out.encode()) / t.count(held_out) for t in tokenizers], marker="o", color=BLUE)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_ylim(0)
    axes.set(xlabel="ids in the vocabulary", ylabel="bytes per token")
    save(figure, path)


def order(path: Path) -> None:
    """Which of 100 windows the first 100 samples take: places drawn at random, and the keyed permutation."""
    windows = 100
    drawn = np.random.default_rng(0).integers(windows, size=windows)
    permuted = Permutation(windows, "course")(np.arange(windows))
    figure, both = pyplot.subplots(1, 2, figsize=(8, 3.4), sharey=True)
    for axes, places, name in zip(both, (drawn, permuted), ("drawn at random", "permuted"), strict=True):
        times = np.bincount(places, minlength=windows)
        axes.scatter(np.arange(windows), places, s=9, color=BLUE)
        axes.scatter(np.full((times == 0).sum(), 106), np.flatnonzero(times == 0), s=9, color=RED, marker="_")
        axes.set(title=f"{name}: {(times == 0).sum()} never seen", xlabel="sample")
    both[0].set_ylabel("window of the text")
    save(figure, path)


def surprise(path: Path) -> None:
    """-ln p, and its gradient with respect to the right id's logit."""
    p = np.linspace(0.005, 1, 200)
    figure, axes = plot()
    axes.plot(p, -np.log(p), color=BLUE)
    axes.plot(p, p - 1, color=RED)
    axes.text(0.1, 2.9, "loss, −ln p", color=BLUE)
    axes.text(0.5, -0.62, "gradient at its logit, p − 1", color=RED, va="top")
    axes.set(xlabel="p, the probability given to what came", ylabel="nats")
    save(figure, path)


def sampling(path: Path) -> None:
    """One distribution under three settings."""
    logits = np.array([3.0, 2.4, 1.7, 1.2, 0.6, 0.3, 0.0, -0.4, -0.8, -1.5])
    settings = {
        "as the model gives it": Sampling(temperature=1.0),
        "temperature 0.5": Sampling(temperature=0.5),
        "top-p 0.8": Sampling(temperature=1.0, top_p=0.8),
    }
    figure, axes = plot(7)
    for place, ((name, setting), colour) in enumerate(zip(settings.items(), (BLUE, RED, GREEN), strict=True)):
        axes.bar(
            np.arange(len(logits)) + 0.27 * (place - 1),
            probabilities(logits, setting),
            0.25,
            color=colour,
            label=name,
        )
    axes.set_xticks(range(len(logits)))
    axes.set(xlabel="id", ylabel="probability")
    axes.legend(frameon=False)
    save(figure, path)


PICTURES = {
    "lm-tokenizer/docs/course-1-vocabulary.svg": vocabulary,
    "lm-train/docs/course-2-order.svg": order,
    "lm-core/docs/course-5-surprise.svg": surprise,
    "lm-generate/docs/course-8-sampling.svg": sampling,
}


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        draw(PACKAGES / name)
