"""A run's settings: frozen dataclasses, checked when they are made.

What is written under a field is its `--help` text. The defaults are the recipe of `train` with no argument: on two CPU cores
it takes the standard library's source to about 2 bits per byte in a minute. Nothing here imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from lm_train.errors import ConfigError

BUDGETS = ("minutes", "steps", "tokens", "epochs")
DEFAULT_MINUTES = 1.0


def _check(ok: bool, name: str, value: object, wanted: str) -> None:
    if not ok:
        raise ConfigError(f"{name} must be {wanted}, got {value}")


def _positive(**values: float | None) -> None:
    for name, value in values.items():
        _check(
            value is None or (math.isfinite(value) and value > 0), name.replace("__", "."), value, "above 0"
        )


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        _check(math.isfinite(value) and value >= 0, name.replace("__", "."), value, "0 or more")


def _share(**values: float) -> None:
    for name, value in values.items():
        _check(0 <= value <= 1, name.replace("__", "."), value, "between 0 and 1")


def _text_and_share(mixed: str) -> tuple[str, float]:
    text, _, share = mixed.rpartition("=")
    try:
        number = float(share)
    except ValueError:
        number = math.nan
    _check(bool(text) and 0 < number < 1, "mix", mixed, "a text and its share, as in books/=0.3")
    return text, number


def _below_one(**values: float) -> None:
    for name, value in values.items():
        _check(0 <= value < 1, name.replace("__", "."), value, "at least 0 and below 1")


@Parameter(group=Group("Model", sort_key=3))
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The transformer; `lm_core.ModelConfig` without the vocabulary, which the tokenizer brings."""

    context: int = 128
    """Tokens that a position can look back on; also the length of a training window."""
    d_model: int = 128
    """Width of the residual stream."""
    n_layers: int = 4
    """Blocks."""
    n_heads: int = 4
    """Attention heads."""
    n_kv_heads: int | None = None
    """Key/value heads; n_heads unless given (grouped-query attention when fewer)."""
    d_head: int | None = None
    """Width of a head; d_model / n_heads unless given."""
    d_ff: int | None = 352
    """Width of the feed-forward layer."""
    rope_theta: float = 10_000.0
    """Base of the rotary angles."""
    norm_eps: float = 1e-5
    """Added under the root of a norm."""
    tie_embeddings: bool = False
    """One matrix for the embedding and the output head."""
    qk_norm: bool = True
    """Normalize queries and keys per head (a Qwen3 block)."""
    position: Literal["rope", "learned", "sinusoidal", "none"] = "rope"
    """How a position is told."""
    norm: Literal["rms", "layer"] = "rms"
    """Which normalization."""
    activation: Literal["swiglu", "gelu", "relu2", "silu"] = "swiglu"
    """The feed-forward layer's activation."""
    bias: bool = False
    """Biases in the linear layers."""
    qkv_bias: bool = False
    """Biases on queries, keys and values only (a Qwen2 block)."""
    init: Literal["fan_in", "gpt2", "truncated", "mup"] = "fan_in"
    """How weights start."""
    sliding_window: int | None = None
    """A token sees so many tokens, itself included; all before it unless given."""
    dropout: float = 0.0
    """Share of numbers dropped while training; for small texts that are seen many times."""
    logit_softcap: float | None = None
    """Bends the logits so that they stay within plus and minus this."""
    vocab_multiple: int = 1
    """Rows of the embedding and the head are padded to a multiple of this, for speed on a GPU (64)."""


@Parameter(group=Group("Optimizer", sort_key=4))
@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """Which update rule, and its numbers."""

    name: Literal["muon", "adamw", "adafactor", "lion", "schedule-free"] = "muon"
    """muon: Muon on the blocks' matrices and AdamW on everything else. The others: one rule for all (schedule-free: with schedule.name constant)."""
    lr: float = 0.004
    """Peak learning rate (with muon: of what AdamW updates)."""
    muon_lr: float = 0.012
    """Peak learning rate of Muon's matrices."""
    beta1: float = 0.9
    """Decay of the mean of gradients (AdamW, Lion)."""
    beta2: float = 0.95
    """Decay of the mean of squared gradients (AdamW), or of Lion's memory."""
    eps: float = 1e-10
    """Added to AdamW's divisor."""
    weight_decay: float = 0.0
    """Decoupled decay of matrices; norms, biases and embeddings are never decayed."""
    momentum: float = 0.95
    """Muon's momentum once it is warm."""
    momentum_start: float = 0.85
    """Muon's momentum at step 0."""
    momentum_warmup: int = 150
    """Steps from momentum_start to momentum."""
    clip: float = 1.0
    """Largest gradient norm over all parameters; 0 clips nothing."""
    ema: float | None = None
    """Decay of an average of the weights (0.999), which is then scored, sampled and saved; the last weights unless given."""
    mup_base: int | None = None
    """The d_model that lr was tuned at: with model.init mup it then serves any width (AdamW and schedule-free)."""
    compile: bool = False
    """Compile AdamW's update: half its time on a CPU, after some seconds at the first step; equal to rounding."""
    max_bad_steps: int = 10
    """Stop after so many steps in a row whose loss or gradient is not finite."""

    def __post_init__(self) -> None:
        _positive(
            optim__lr=self.lr,
            optim__muon_lr=self.muon_lr,
            optim__eps=self.eps,
            optim__max_bad_steps=self.max_bad_steps,
            optim__mup_base=self.mup_base,
        )
        _not_negative(
            optim__weight_decay=self.weight_decay,
            optim__momentum_warmup=self.momentum_warmup,
            optim__clip=self.clip,
        )
        _below_one(
            optim__beta1=self.beta1,
            optim__beta2=self.beta2,
            optim__momentum=self.momentum,
            optim__momentum_start=self.momentum_start,
            **({} if self.ema is None else {"optim__ema": self.ema}),
        )
        by_adamw = self.name in ("adamw", "muon")
        _check(
            not self.compile or by_adamw,
            "optim.compile",
            "true",
            f"left out with {self.name}: it is of AdamW",
        )
        _check(
            self.mup_base is None or self.name in ("adamw", "schedule-free", "muon"),
            "optim.mup_base",
            self.mup_base,
            f"left out with {self.name}: its rule is Adam's",
        )
        if self.name == "schedule-free":
            _check(
                self.ema is None,
                "optim.ema",
                self.ema,
                "left out with schedule-free, which averages by itself",
            )
            _check(self.beta1 > 0, "optim.beta1", self.beta1, "above 0 with schedule-free")


@Parameter(group=Group("Schedule", sort_key=5))
@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """The learning rate over the run, as a share of its peak."""

    name: Literal["wsd", "cosine", "linear", "constant"] = "wsd"
    """wsd: warm up, stay, decay in a line; cosine and linear: decay from the end of the warm-up; constant: never decay."""
    warmup: int = 20
    """Steps from 0 to the peak."""
    decay: float = 0.5
    """Share of the run at its end over which wsd decays."""
    floor: float = 0.0
    """Where the decay ends, as a share of the peak."""

    def __post_init__(self) -> None:
        _not_negative(schedule__warmup=self.warmup)
        _share(schedule__decay=self.decay, schedule__floor=self.floor)


@Parameter(group=Group("Evaluation and samples", sort_key=6))
@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How the held-out text is scored while training, and at the end."""

    every: int | None = None
    """Steps between evaluations; ten in a run unless given."""
    windows: int = 64
    """Windows of held-out text for an evaluation while training."""
    final_windows: int = 1024
    """Windows for the one at the end (all of them where the text has fewer)."""

    def __post_init__(self) -> None:
        _positive(
            evaluate__every=self.every,
            evaluate__windows=self.windows,
            evaluate__final_windows=self.final_windows,
        )


@Parameter(group=Group("Evaluation and samples", sort_key=6))
@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What the model is asked to write while it learns."""

    prompts: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Prompts to continue, once each; one that suits the text unless given."""
    every: int | None = None
    """Steps between samples; twenty times in a run unless given."""
    tokens: int = 100
    """Tokens to write, at most what the context holds."""
    temperature: float = 0.8
    """0 always takes the likeliest token."""
    top_k: int = 50
    """Choose among the k likeliest tokens; 0: among all."""

    def __post_init__(self) -> None:
        _positive(samples__every=self.every, samples__tokens=self.tokens)
        _not_negative(samples__temperature=self.temperature, samples__top_k=self.top_k)


@Parameter(group=Group("Checkpoints", sort_key=7))
@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When the run is saved, besides at its end and when it is stopped."""

    every: int | None = None
    """Steps between checkpoints."""
    minutes: float = 10.0
    """Minutes between checkpoints."""
    keep: int = 2
    """Newest checkpoints to keep; older ones are removed once a newer one is whole on disk."""
    best: bool = False
    """Also keep the one with the lowest held-out loss, saved whenever an evaluation on the way finds a lower one."""
    background: bool = False
    """Write checkpoints while training goes on, which then waits only for a copy in memory; takes the memory of one."""

    def __post_init__(self) -> None:
        _positive(checkpoint__every=self.every, checkpoint__minutes=self.minutes, checkpoint__keep=self.keep)


@Parameter(group=Group("Many ranks (torchrun)", sort_key=8))
@dataclass(frozen=True, kw_only=True)
class ScaleConfig:
    """How the processes that torchrun starts share one run."""

    sharding: Literal["auto", "replicate", "full", "hybrid"] = "auto"
    """replicate: all weights on every rank. full: a part on each. hybrid: a part on each of a machine, the same on all machines. auto: replicate while it fits."""
    stall_minutes: float = 10.0
    """Minutes without any progress after which the silent process is named, stacks are printed and the run ends."""

    def __post_init__(self) -> None:
        _positive(scale__stall_minutes=self.stall_minutes)


_RUN = Group("Run", sort_key=1)
_BUDGET = Group("Budget (one of the first four; one minute unless given)", sort_key=2)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a run computes. `train(TrainConfig(...))` and the command line share it."""

    data: Annotated[str, Parameter(group=_RUN)] = "stdlib"
    """Text: stdlib, stories, shakespeare, tinystories, a file (.txt, .jsonl, .parquet; .gz, .zst), a folder of text, or a prepared dataset's folder."""
    mix: Annotated[tuple[str, ...], Parameter(group=_RUN, negative=())] = ()
    """Another text and the share of the windows to take from it, as in books/=0.3; may be given several times, --data has the rest."""
    tokenizer: Annotated[str, Parameter(group=_RUN)] = "bpe"
    """bpe (trained on the text), characters, or a tokenizer.json of your own."""
    vocab_size: Annotated[int, Parameter(group=_RUN)] = 4096
    """Tokens of a tokenizer that is trained here."""
    batch: Annotated[int, Parameter(group=_RUN)] = 8
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
    dtype: Annotated[Literal["auto", "float32", "bfloat16"], Parameter(group=_RUN)] = "auto"
    """Arithmetic of matrix products; weights stay float32."""
    threads: Annotated[int | None, Parameter(group=_RUN)] = None
    """CPU threads; as many as this process may use unless given."""
    compile: Annotated[bool, Parameter(group=_RUN)] = False
    """Compile the blocks first (torch.compile), for long runs on a GPU; on a CPU it rarely pays."""
    profile: Annotated[bool, Parameter(group=_RUN)] = False
    """Profile five steps after the first ten: profile/ in the run's folder has a trace and a table of where their time goes."""
    init_from: Annotated[str | None, Parameter(group=_RUN)] = None
    """Fine-tune: start from the weights of a model folder, a checkpoint or a run, with its shape and its tokenizer."""
    log: Annotated[tuple[Literal["wandb", "console-json"], ...], Parameter(group=_RUN, negative=())] = ()
    """Send metrics there too: wandb (needs `pip install lm-train[wandb]`); console-json: a JSON line a step on standard output."""

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
        _positive(
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
        _check(self.threads is None or self.threads <= 1024, "threads", self.threads, "at most 1024")
        _check(self.vocab_size >= 2, "vocab_size", self.vocab_size, "at least 2")
        _check(0 <= self.seed < 2**63, "seed", self.seed, "between 0 and 2**63 - 1")
        _check(
            self.optim.name != "schedule-free" or self.schedule.name == "constant",
            "schedule.name",
            self.schedule.name,
            "constant with schedule-free, whose average takes the place of a decay",
        )
        _check(bool(self.data), "data", repr(self.data), "a source's name or a path")
        _check(
            sum(share for _, share in self.mixed) < 1,
            "mix",
            ", ".join(self.mix),
            "shares of less than 1 in all",
        )
        if self.name is not None:
            plain = self.name not in ("", ".", "..") and not any(c in "/\\\0" for c in self.name)
            _check(plain, "name", repr(self.name), "a folder name without slashes")

    @property
    def mixed(self) -> tuple[tuple[str, float], ...]:
        """(text, share) of each of `mix`. Raises ConfigError for one that is not TEXT=SHARE."""
        return tuple(_text_and_share(each) for each in self.mix)

    @property
    def budget_minutes(self) -> float | None:
        """Minutes of training, or None when something else bounds the run."""
        return self.minutes if self.minutes or self.steps or self.tokens or self.epochs else DEFAULT_MINUTES

    @property
    def tokens_per_step(self) -> int:
        return self.batch * self.model.context

    @property
    def budget_steps(self) -> int | None:
        """Steps of the whole run where that is known beforehand."""
        if self.tokens:
            return math.ceil(self.tokens / self.tokens_per_step)
        return self.steps
