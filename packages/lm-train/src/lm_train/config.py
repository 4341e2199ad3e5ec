"""A run's settings: frozen dataclasses, checked when they are made.

What is written under a field is its `--help` text. The defaults are the recipe of `train` with no argument: on two CPU cores
it takes the standard library's source below 1.7 bits per byte in a minute. Few layers and many tokens: what a minute can see decides,
and two layers see twice as much of the text as four. Nothing here imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from lm_train.errors import ConfigError
from lm_train.settings.checks import check, positive
from lm_train.settings.evaluation import EvaluateConfig, SampleConfig
from lm_train.settings.model import ModelOptions
from lm_train.settings.optimizer import OptimConfig, ScheduleConfig
from lm_train.settings.saving import CheckpointConfig
from lm_train.settings.scale import ScaleConfig

__all__ = [
    "BUDGETS",
    "DEFAULT_MINUTES",
    "CheckpointConfig",
    "EvaluateConfig",
    "ModelOptions",
    "OptimConfig",
    "SampleConfig",
    "ScaleConfig",
    "ScheduleConfig",
    "TrainConfig",
]

BUDGETS = ("minutes", "steps", "tokens", "epochs")
DEFAULT_MINUTES = 1.0


def _text_and_share(mixed: str) -> tuple[str, float]:
    text, _, share = mixed.rpartition("=")
    try:
        number = float(share)
    except ValueError:
        number = math.nan
    check(bool(text) and 0 < number < 1, "mix", mixed, "a text and its share, as in books/=0.3")
    return text, number


_RUN = Group("Run", sort_key=1)
_BUDGET = Group("Budget (minutes, steps, tokens or epochs; one minute unless given)", sort_key=2)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a run computes. `train(TrainConfig(...))` and the command line share it."""

    data: Annotated[str, Parameter(group=_RUN)] = "stdlib"
    """Text: stdlib, stories, shakespeare, tinystories, hub:owner/name, a file (.txt, .jsonl, .parquet; .gz, .zst), a folder of text, or a prepared dataset's folder."""
    mix: Annotated[tuple[str, ...], Parameter(group=_RUN, negative=())] = ()
    """Another text and the share of the windows to take from it, as in books/=0.3; may be given several times, --data has the rest."""
    tokenizer: Annotated[str, Parameter(group=_RUN)] = "bpe"
    """bpe (trained on the text), characters, or a tokenizer.json of your own."""
    vocab_size: Annotated[int, Parameter(group=_RUN)] = 4096
    """Tokens of a tokenizer that is trained here."""
    order: Annotated[Literal["windows", "packed"], Parameter(group=_RUN)] = "windows"
    """windows: the text cut every context tokens. packed: whole documents, best fit, each row beginning at one."""
    separate_documents: Annotated[bool, Parameter(group=_RUN)] = True
    """With packed: no token sees another document of its row."""
    batch: Annotated[int, Parameter(group=_RUN)] = 16
    """Windows a step."""
    micro_batch: Annotated[int | None, Parameter(group=_RUN)] = None
    """Windows computed at once: fewer take less memory and more time, the step is the same; all of the batch unless given."""
    recompute: Annotated[bool, Parameter(group=_RUN)] = False
    """Keep only what enters each block, and run it again for its gradient: far less memory, about a third more time."""
    seed: Annotated[int, Parameter(group=_RUN)] = 0
    """Decides initial weights, data order and samples: same seed, same bits."""
    name: Annotated[str | None, Parameter(group=_RUN)] = None
    """Name of the run's folder; the data's name and a number unless given."""
    out: Annotated[str, Parameter(group=_RUN)] = "runs"
    """Folder that holds runs."""
    datasets: Annotated[str, Parameter(group=_RUN)] = "datasets"
    """Folder that holds prepared datasets; one that fits is used again."""
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], Parameter(group=_RUN)] = "auto"
    """Where to compute."""
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], Parameter(group=_RUN)] = "auto"
    """Arithmetic of matrix products; weights stay float32. float16 scales the loss, so that small gradients are not lost."""
    threads: Annotated[int | None, Parameter(group=_RUN)] = None
    """CPU threads; as many as this process may use unless given."""
    compile: Annotated[bool, Parameter(group=_RUN)] = False
    """Compile the blocks first (torch.compile), for long runs on a GPU; on a CPU it rarely pays."""
    profile: Annotated[bool, Parameter(group=_RUN)] = False
    """Profile five steps after the first ten: profile/ in the run's folder has a trace and a table of where their time goes."""
    init_from: Annotated[str | None, Parameter(group=_RUN)] = None
    """Fine-tune: start from the weights of a model folder, a checkpoint or a run, with its shape and its tokenizer."""
    log: Annotated[
        tuple[Literal["wandb", "tensorboard", "trackio", "console-json"], ...],
        Parameter(group=_RUN, negative=()),
    ] = ()
    """Send metrics there too: wandb, tensorboard, trackio (each needs `pip install lm-train[NAME]`); console-json: a JSON line a step on standard output."""

    minutes: Annotated[float | None, Parameter(group=_BUDGET)] = None
    """Minutes of training; the schedule ends with them."""
    steps: Annotated[int | None, Parameter(group=_BUDGET)] = None
    """Optimizer steps."""
    tokens: Annotated[int | None, Parameter(group=_BUDGET)] = None
    """Tokens to train on, rounded up to whole steps."""
    epochs: Annotated[float | None, Parameter(group=_BUDGET)] = None
    """Times to see all of the text, rounded to whole steps."""
    max_minutes: Annotated[float | None, Parameter(group=_BUDGET)] = None
    """Minutes on the clock after which to save and stop (exit 75, go on with --resume), for a machine lent by the hour."""

    model: ModelOptions = ModelOptions()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    samples: SampleConfig = SampleConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    scale: ScaleConfig = ScaleConfig()

    def __post_init__(self) -> None:
        budgets = {"minutes": self.minutes, "steps": self.steps, "tokens": self.tokens, "epochs": self.epochs}
        given = [name for name in BUDGETS if budgets[name] is not None]
        if len(given) > 1:
            raise ConfigError(f"give one budget, got {' and '.join(given)}; leave out all but one")
        positive(
            minutes=self.minutes,
            steps=self.steps,
            tokens=self.tokens,
            epochs=self.epochs,
            max_minutes=self.max_minutes,
            batch=self.batch,
            micro_batch=self.micro_batch,
            threads=self.threads,
        )
        # torch asks the system for all of them, and dies of those that it does not get
        check(self.threads is None or self.threads <= 1024, "threads", self.threads, "at most 1024")
        check(self.vocab_size >= 2, "vocab_size", self.vocab_size, "at least 2")
        check(0 <= self.seed < 2**63, "seed", self.seed, "between 0 and 2**63 - 1")
        check(
            self.optim.name != "schedule-free" or self.schedule.name == "constant",
            "schedule.name",
            self.schedule.name,
            "constant with schedule-free, whose average takes the place of a decay",
        )
        check(bool(self.data), "data", repr(self.data), "a source's name or a path")
        check(
            sum(share for _, share in self.mixed) < 1,
            "mix",
            ", ".join(self.mix),
            "shares of less than 1 in all",
        )
        if self.name is not None:
            plain = self.name not in ("", ".", "..") and not any(c in "/\\\0" for c in self.name)
            check(plain, "name", repr(self.name), "a folder name without slashes")

    @property
    def mixed(self) -> tuple[tuple[str, float], ...]:
        """(text, share) of each of `mix`. Raises ConfigError for one that is not TEXT=SHARE."""
        return tuple(_text_and_share(each) for each in self.mix)

    @property
    def budget_minutes(self) -> float | None:
        """Minutes of training, or None when something else bounds the run."""
        return self.minutes if self.minutes or self.steps or self.tokens or self.epochs else DEFAULT_MINUTES

    @property
    def keeps_apart(self) -> bool:
        """Whether tokens see their own document only."""
        return self.order == "packed" and self.separate_documents

    @property
    def tokens_per_step(self) -> int:
        """Places for tokens; packed rows are not quite full."""
        return self.batch * self.model.context

    @property
    def budget_steps(self) -> int | None:
        """Steps of the whole run where that is known beforehand."""
        if self.tokens:
            return math.ceil(self.tokens / self.tokens_per_step)
        return self.steps


def with_rate(config: TrainConfig) -> TrainConfig:
    """The learning rate that suits the optimizer, as a number: a run keeps what it trained with, whatever later versions find better."""
    return replace(config, optim=replace(config.optim, lr=config.optim.peak))
