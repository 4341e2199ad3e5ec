"""Draws the course's pictures into packages/*/docs, from the packages' own functions: `uv run --group docs python scripts/draw_course.py [NAME ...]`.

The same machine-independent figures each time, so that a picture changes only when what it shows does.
"""

import random
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import matplotlib
import numpy as np
import torch
from lm_core import ModelConfig, Transformer
from lm_core.optim import AdamW, clip_grad_norm
from lm_generate.sampling import Sampling, probabilities
from lm_tokenizer import Tokenizer
from lm_train import Batches, ValidationWindows, prepare
from lm_train.device import choose_device
from lm_train.evaluate import evaluate
from lm_train.permutation import Permutation
from lm_train.texts.stdlib_text import stdlib_files
from lm_train.texts.stories import story
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

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


def model(path: Path) -> None:
    """The stream from the ids to the logits, and the parts of a block that read it and add to it."""
    figure, axes = plot(7, 5)
    axes.set(xlim=(0, 10), ylim=(-0.3, 8.6))
    axes.axis("off")

    def box(x: float, y: float, text: str, colour: str, width: float = 2.4) -> None:
        place = FancyBboxPatch((x - width / 2, y - 0.25), width, 0.5, boxstyle="round,pad=0.08")
        place.set(facecolor="white", edgecolor=colour, linewidth=1.8)
        axes.add_patch(place)
        axes.text(x, y, text, ha="center", va="center")

    def arrow(*points: tuple[float, float], colour: str = "#888888", width: float = 1.4) -> None:
        for (x0, y0), (x1, y1) in pairwise(points):
            last = (x1, y1) == points[-1]
            shape = {"arrowstyle": "-|>" if last else "-", "color": colour, "linewidth": width}
            axes.annotate("", (x1, y1), (x0, y0), arrowprops={**shape, "shrinkA": 0, "shrinkB": 0})

    stream = 1.8
    arrow((stream, 0.95), (stream, 6.55), colour=BLUE, width=3)
    box(stream, 0.6, "embedding", BLUE)
    arrow((stream, -0.2), (stream, 0.25))
    axes.text(stream + 0.2, -0.15, "ids (length)", color="#555555")
    box(stream, 6.9, "norm, head", BLUE)
    arrow((stream, 7.25), (stream, 7.8))
    axes.text(stream + 0.2, 7.5, "logits (length, vocab_size)", color="#555555")
    axes.text(
        stream - 0.25, 3.7, "the stream (length, d_model)", color=BLUE, rotation=90, ha="right", va="center"
    )
    for bottom, name, task in (
        (1.5, "attention", "looks at the places before"),
        (4.0, "feed-forward", "thinks at each place alone"),
    ):
        arrow((stream, bottom), (4.1, bottom), (4.1, bottom + 0.3))
        box(4.1, bottom + 0.6, "norm", RED, 1.6)
        arrow((4.1, bottom + 0.95), (4.1, bottom + 1.15))
        box(4.1, bottom + 1.5, name, RED)
        axes.text(5.6, bottom + 1.5, task, va="center", color="#555555")
        arrow((4.1, bottom + 1.85), (4.1, bottom + 2.1), (stream + 0.17, bottom + 2.1))
        axes.text(
            stream,
            bottom + 2.1,
            "+",
            ha="center",
            va="center",
            bbox={"boxstyle": "circle,pad=0.1", "facecolor": "white", "edgecolor": BLUE},
        )
    axes.plot([9.3, 9.5, 9.5, 9.3], [1.3, 1.3, 6.2, 6.2], color="#888888")
    axes.text(9.65, 3.75, "a block,\nn_layers times", va="center", color="#555555")
    save(figure, path)


def surprise(path: Path) -> None:
    """-ln p, and its gradient with respect to the right id's logit."""
    p = np.linspace(0.005, 1, 200)
    figure, axes = plot()
    axes.plot(p, -np.log(p), color=BLUE)
    axes.plot(p, p - 1, color=RED)
    axes.text(0.1, 2.9, "loss, −ln p", color=BLUE)
    axes.text(0.3, -0.78, "gradient at its logit, p − 1", color=RED, va="top")
    axes.set_ylim(-1.5)
    axes.set(xlabel="p, the probability given to what came", ylabel="nats")
    save(figure, path)


def rates(path: Path) -> None:
    """The loss after 60 steps on one batch, against the rate: gradient descent and Adam."""
    config = ModelConfig(vocab_size=50, context=16, d_model=32, n_layers=2, n_heads=4)
    ids = torch.randint(50, (4, 17), generator=torch.Generator().manual_seed(0))

    def learn(rate: float, adam: bool) -> float:
        model = Transformer(config, seed=0)
        weights = list(model.parameters())
        adams = AdamW(weights, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
        optimizer = adams if adam else torch.optim.SGD(weights, lr=rate)
        for _ in range(60):
            optimizer.zero_grad()
            model.loss(ids[:, :-1], ids[:, 1:]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return model.loss(ids[:, :-1], ids[:, 1:]).item()

    figure, axes = plot()
    for name, adam, exponents, colour in (
        ("gradient descent", False, np.arange(-1.5, 0.8, 0.25), RED),
        ("Adam", True, np.arange(-3, 0.1, 0.25), BLUE),
    ):
        losses = [learn(float(10**exponent), adam) for exponent in exponents]
        axes.plot(10**exponents, losses, marker="o", markersize=4, color=colour, label=name)
    axes.axhline(np.log(50), color="#888888", linestyle="--")
    axes.text(0.0011, np.log(50) + 0.08, "nothing learnt, ln 50", color="#555555")
    axes.set(xscale="log", ylim=(-0.1, 5), xlabel="rate", ylabel="loss after 60 steps")
    axes.legend(frameon=False, loc=(0.22, 0.55))
    save(figure, path)


def by_heart(path: Path) -> None:
    """Twenty stories, read nearly twenty times: the loss on them, and on stories that are held out."""
    with tempfile.TemporaryDirectory() as folder:
        text = "<|endoftext|>".join(story(number) for number in range(20))
        Path(folder, "few.txt").write_text(text, encoding="utf-8")
        dataset = prepare(Path(folder, "few.txt"), Path(folder, "few"), vocab_size=600)
        batches = Batches(dataset, context=32, batch=8, seed=0)
        windows = ValidationWindows(dataset, context=32, batch=8)
        config = ModelConfig(vocab_size=dataset.vocab_size, context=32, d_model=64, n_layers=2, n_heads=4)
        model = Transformer(config, seed=0)
        optimizer = AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95), weight_decay=0.1)
        learnt, held_out, steps = [], [], range(0, 201, 10)
        for step in range(201):
            if step in steps:
                evaluation = evaluate(model, windows, choose_device("cpu", "float32", 1))
                assert evaluation is not None
                held_out.append(evaluation.loss)
            loss = model.loss(*batches.batch(step))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            clip_grad_norm(model.parameters(), max_norm=1.0)
            optimizer.step()
            learnt.append(loss.item())
    figure, axes = plot()
    axes.plot([batches.epoch(step) for step in range(201)], learnt, color=BLUE)
    axes.plot([batches.epoch(step) for step in steps], held_out, color=RED)
    axes.text(11, 1.35, "text it trains on", color=BLUE)
    axes.text(13.5, 4.0, "held-out text", color=RED)
    axes.set(xlabel="times it has read the text", ylabel="nats per token", ylim=(0, 7))
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
    "lm-core/docs/course-4-model.svg": model,
    "lm-core/docs/course-5-surprise.svg": surprise,
    "lm-core/docs/course-6-rates.svg": rates,
    "lm-train/docs/course-7-by-heart.svg": by_heart,
    "lm-generate/docs/course-8-sampling.svg": sampling,
}


if __name__ == "__main__":
    for name, draw in PICTURES.items():
        if not sys.argv[1:] or any(part in name for part in sys.argv[1:]):
            draw(PACKAGES / name)
