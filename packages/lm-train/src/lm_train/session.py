"""Everything that a run works with, put together once: data, model, optimizers, budget, counters, files.

`begin` starts a run in a new folder, `reopen` continues one from its newest whole checkpoint; the loop treats both alike.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lm_core import ModelConfig, Transformer, load_model
from lm_core import read_config as read_model_config
from lm_core.counts import parameter_count
from lm_tokenizer import Tokenizer

from lm_train.background import Background
from lm_train.batches import ValidationWindows
from lm_train.budget import Budget
from lm_train.checkpoint import newest_verified, versions
from lm_train.compiled import check_compiler
from lm_train.config import ModelOptions, TrainConfig
from lm_train.config_file import read_config, to_settings, to_toml
from lm_train.dataset import TokenDataset
from lm_train.device import Device, choose_device, machine_card
from lm_train.errors import DatasetError
from lm_train.evaluate import Evaluation
from lm_train.fine_tune import start_model
from lm_train.mixture import MixedIn, data_fingerprint, mean_bytes_per_token, training_batches
from lm_train.nvtx import both, marking, nvtx_level
from lm_train.optimizers import Optimizers
from lm_train.parallel.exchange import Exchange
from lm_train.parallel.launcher import processes_here
from lm_train.parallel.ranks import Ranks
from lm_train.parallel.sharding import REPLICATE, choose_sharding
from lm_train.profiling import MemoryRecord, Ranges, StepProfiler, no_ranges, ranges
from lm_train.read_ahead import ReadAhead
from lm_train.resuming import check_changes
from lm_train.run_errors import CheckpointError, RunError
from lm_train.run_folder import RunFolder, check_free
from lm_train.samples import prompts_for
from lm_train.state import RunState, read_record, read_state
from lm_train.view.display import Display, Status
from lm_train.view.metrics import ConsoleJson, JsonLines, Loggers, Row, drop_after
from lm_train.view.trackers import Trackers, open_trackers, require

_RECENT_STEPS = 20  # steps whose mean time predicts the next ones'


@dataclass
class Session:
    """A run at work. `state` moves on with every step; the rest stays."""

    config: TrainConfig
    run: RunFolder
    dataset: TokenDataset
    tokenizer: Tokenizer
    device: Device
    model: Transformer
    optimizers: Optimizers
    mixed: tuple[MixedIn, ...] = ()
    ranks: Ranks = field(default_factory=Ranks)
    sharding: str = REPLICATE
    state: RunState = field(default_factory=RunState)
    metrics: Loggers = field(default_factory=lambda: Loggers([]))
    sample_log: Loggers = field(default_factory=lambda: Loggers([]))
    trackers: Trackers = field(default_factory=Trackers)
    notes: list[str] = field(default_factory=list)
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_STEPS))

    def __post_init__(self) -> None:
        c = self.config
        self.budget = Budget.of(c)
        self.prompts = prompts_for(c.samples, c.data)
        self.batches = training_batches(c, self.dataset, self.mixed)
        rows = self.ranks.rows(c.batch)
        self.ahead = ReadAhead(lambda step: self.batches.rows(step, *rows))
        memory = MemoryRecord(torch.cuda.memory) if self.device.kind == "cuda" else None
        self.profiler = StepProfiler(self.run.path / "profile", self.run.log, memory) if c.profile else None
        self.ranges: Ranges = both(
            ranges if c.profile else no_ranges, marking(self.nvtx_level, torch.cuda.nvtx, self.model)
        )
        self.background = Background(self.model) if c.checkpoint.background else None
        self.exchange = (
            None if self.ranks.alone or self.sharding != REPLICATE else Exchange(self.model, self.ranks)
        )
        self.bytes_per_token = mean_bytes_per_token(self.dataset, self.mixed)

    @property
    def nvtx_level(self) -> str | None:
        """What NVTX marks; nothing without a GPU."""
        return nvtx_level() if self.device.kind == "cuda" else None

    def windows(self, count: int) -> ValidationWindows | None:
        """At most `count` held-out windows; None where no text was held out."""
        if "valid" not in self.dataset.splits:
            return None
        c = self.config
        batch = max(1, c.batch // self.ranks.world)
        return ValidationWindows(
            self.dataset, context=c.model.context, batch=batch, windows=count, apart=c.keeps_apart
        )

    @property
    def closing_windows(self) -> int:
        """Windows of the closing evaluation: fewer than configured where they would take more than a tenth of a time budget."""
        evaluate = self.config.evaluate
        if self.budget.seconds is None or not self.recent:
            return evaluate.final_windows
        window_seconds = self.step_seconds / self.config.batch / 3  # no backward pass
        return max(
            evaluate.windows, min(evaluate.final_windows, int(self.budget.seconds / 10 / window_seconds))
        )

    @property
    def step_seconds(self) -> float:
        """What a step takes now, in seconds."""
        return sum(self.recent) / len(self.recent) if self.recent else 0.0

    @property
    def progress(self) -> float:
        s = self.state
        return self.budget.progress(s.step, s.seconds, s.total_steps)

    @property
    def seconds_left(self) -> float | None:
        """Expected training time to the end; None before any step was timed."""
        s = self.state
        if s.total_steps is None:
            return max(0.0, self.budget.seconds - s.seconds) if self.budget.seconds else None
        return (s.total_steps - s.step) * self.step_seconds if self.recent else None

    def facts(self) -> dict[str, Any]:
        """What a checkpoint's manifest says of the run."""
        return {
            "tokenizer_fingerprint": self.tokenizer.fingerprint,
            "dataset_fingerprint": data_fingerprint(self.dataset, self.mixed),
            "config_hash": config_hash(self.config),
        }

    def log(self, **values: float | int | str | None) -> None:
        """A row of metrics.jsonl, with where the run stands."""
        s = self.state
        self.metrics.log({"step": s.step, "tokens": s.tokens, "seconds": round(s.seconds, 4), **values})

    def log_sample(self, prompt: str, text: str) -> None:
        """A row of samples.jsonl."""
        row: Row = {"step": self.state.step, "tokens": self.state.tokens, "prompt": prompt, "text": text}
        self.sample_log.log(row)
        self.trackers.log(row)

    def hand_over(self, checkpoint: Path) -> None:
        """Give the trackers the files of a run that is done."""
        for kind, path in (
            ("checkpoint", checkpoint),
            ("tokenizer", checkpoint / "tokenizer.json"),
            ("samples", self.run.samples),
        ):
            self.trackers.keep(kind, path)

    def committed(self, checkpoint: Path, seconds: float) -> None:
        """Tell programs that watch the run of a checkpoint."""
        step = int(checkpoint.name.removeprefix("step-"))
        self.run.events.tell("saved", step=step, checkpoint=checkpoint.name, seconds=round(seconds, 3))

    def skipped(self, loss: float, grad_norm: float) -> None:
        """Count a step that updated nothing, and tell of it."""
        self.state.skipped += 1
        self.run.events.tell("skipped", step=self.state.step, loss=loss, grad_norm=grad_norm)

    def say(self, display: Display, text: str) -> None:
        """A line for the person and for log.txt."""
        self.run.log(text)
        display.say(text)

    def status(self, held_out: Evaluation | None) -> Status:
        """The figures that a display shows."""
        s = self.state
        loss = s.smoothed_loss if s.smoothed_loss is not None else math.nan
        return Status(
            step=s.step,
            total_steps=s.total_steps,
            progress=self.progress,
            seconds_left=self.seconds_left,
            loss=loss,
            bits_per_byte=loss / math.log(2) / self.bytes_per_token,
            valid_bits_per_byte=held_out.bits_per_byte if held_out else None,
            lr=self.optimizers.lr,
            tokens_per_second=self.batches.tokens_per_step / self.step_seconds,
        )

    def settle(self, *, wait: bool) -> None:
        """Raise what went wrong with a checkpoint that is written in the background; with `wait`, once all are written."""
        if self.background is not None:
            self.background.wait() if wait else self.background.check()

    def profiled(self) -> contextlib.AbstractContextManager[object]:
        """Around a step: what the profiler sees, if there is one."""
        return contextlib.nullcontext() if self.profiler is None else self.profiler.step()

    def close(self) -> None:
        if self.profiler is not None:
            self.profiler.close()
        self.ahead.close()
        if self.background is not None:
            self.background.join()
        self.metrics.close()
        self.sample_log.close()


def model_config(options: ModelOptions, vocab_size: int) -> ModelConfig:
    """lm_core's config of these options. Raises lm_core's ConfigError where they do not fit each other."""
    return ModelConfig(vocab_size=vocab_size, **{k: v for k, v in asdict(options).items() if v is not None})


def config_hash(config: TrainConfig) -> str:
    """SHA-256 of the settings, in JSON with sorted keys."""
    return hashlib.sha256(json.dumps(to_settings(config), sort_keys=True).encode()).hexdigest()


def resolved(config: TrainConfig, device: Device) -> TrainConfig:
    """The config with what was left open filled in, as `config.toml` keeps it: without a name, so that it can be run again."""
    minutes = config.budget_minutes
    dtype = str(device.dtype).removeprefix("torch.")
    choice = {
        "name": None,
        "minutes": minutes,
        "device": device.kind,
        "dtype": dtype,
        "threads": device.threads if processes_here() == 1 else config.threads,
    }
    return replace(config, **choice)  # type: ignore[arg-type]  # a Device's names are the setting's


def check(config: TrainConfig) -> None:
    """What can be known to be wrong before the data is prepared, which may take long. Raises ConfigError, lm_core's too, and RunError."""
    device = choose_device(config.device, config.dtype, config.threads)
    nvtx_level()
    if config.compile:
        check_compiler("--compile", device.kind)
    if config.optim.compile:
        check_compiler("--optim.compile", device.kind)
    model_config(config.model, config.vocab_size)
    check_free(Path(config.out), config.name)
    require(config.log)


def begin(
    config: TrainConfig,
    run: RunFolder,
    dataset: TokenDataset,
    mixed: tuple[MixedIn, ...],
    tokenizer: Tokenizer,
    ranks: Ranks,
) -> Session:
    """A new run at step 0: weights from the seed, the folder's first files written."""
    device = choose_device(config.device, config.dtype, config.threads)
    config = resolved(config, device)
    torch.manual_seed(config.seed)  # a checkpoint holds its state, which is then the same each time
    model = start_model(config, model_config(config.model, dataset.vocab_size))
    sharding = choose_sharding(config, model.config, device, ranks)
    model = model.to(device.kind if sharding == REPLICATE else "cpu").train()
    model.recompute = config.recompute
    optimizers = Optimizers(model, config.optim, scaled=device.scaled, ranks=ranks.group)
    parts = (dataset, tokenizer, device, model, optimizers, mixed, ranks, sharding)
    session = Session(config, run, *parts)
    run.write_config(to_toml(config))
    run.update(
        status="running",
        config_sealed=True,
        versions=versions(),
        machine=machine_card(device),
        dataset=data_card(dataset, mixed),
        model=asdict(model.config),
        parameters=parameter_count(model.config),
    )
    run.events.tell("started", world=ranks.world, sharding=sharding, device=device.kind, seed=config.seed)
    _open_loggers(session)
    return session


def reopen(
    run: RunFolder,
    config: TrainConfig,
    dataset: TokenDataset,
    mixed: tuple[MixedIn, ...],
    ranks: Ranks,
    say: Callable[[str], None],
) -> Session:
    """The run continued from its newest whole checkpoint. `config` may differ from the run's where `check_changes` allows it."""
    old = read_config([str(run.config)])
    config = replace(config, dtype=old.dtype) if config.dtype == "auto" else config
    check_changes(old, config, run.path)
    ranks.check_divides(config.batch)

    def set_aside(text: str) -> None:
        run.events.tell("set-aside", damage=text)
        say(text)

    checkpoint = newest_verified(run.checkpoints, set_aside)
    facts = _facts(checkpoint)
    fingerprint = data_fingerprint(dataset, mixed)
    if facts.get("dataset_fingerprint") != fingerprint:
        folders = ", ".join(str(each.folder) for each in (dataset, *(part.dataset for part in mixed)))
        raise DatasetError(
            f"{folders} is not the data that {run.path} was trained on: fingerprint {fingerprint}, "
            f"the checkpoint's is {facts.get('dataset_fingerprint')}; put the old data back, or start a new run"
        )
    tokenizer = Tokenizer.load(checkpoint)
    dataset.check_tokenizer(tokenizer)
    device = choose_device(config.device, config.dtype, config.threads)
    config = resolved(config, device)
    sharding = choose_sharding(config, read_model_config(checkpoint), device, ranks)
    home = device.kind if sharding == REPLICATE else "cpu"
    model = load_model(checkpoint, device=home, verify=False)  # newest_verified has read every byte
    model.train()
    model.recompute = config.recompute
    optimizers = Optimizers(model, config.optim, scaled=device.scaled, ranks=ranks.group)
    parts = (dataset, tokenizer, device, model, optimizers, mixed, ranks, sharding)
    session = Session(config, run, *parts)
    session.state = read_state(checkpoint, session.optimizers)
    if Budget.of(old) != session.budget:
        session.state.total_steps = None
    elif run.facts().get("status") == "done" and session.state.step == session.state.total_steps:
        raise RunError(
            f"{run.path} is done; give it a larger budget to train it further, for example --steps {2 * session.state.step}"
        )
    dropped = drop_after(run.metrics, session.state.step) + drop_after(run.samples, session.state.step)
    run.write_config(to_toml(config))
    run.update(status="running", config_sealed=True, versions=versions(), machine=machine_card(device))
    run.events.tell(
        "resumed",
        step=session.state.step,
        checkpoint=checkpoint.name,
        saved_on=read_record(checkpoint)["world_size"],
        world=ranks.world,
        sharding=sharding,
        device=device.kind,
    )
    session.notes.append(f"continuing {run.path} from step {session.state.step}")
    if dropped:
        run.log(f"{dropped} rows after step {session.state.step} dropped: they are computed again")
    _open_loggers(session)
    return session


def data_card(dataset: TokenDataset, mixed: tuple[MixedIn, ...] = ()) -> dict[str, Any]:
    """What run.json says of the data."""
    others = (
        {"mix": [{"text": m.name, "share": m.share, **data_card(m.dataset)} for m in mixed]} if mixed else {}
    )
    splits = {
        split: {
            "tokens": dataset.tokens(split),
            "documents": dataset.documents(split),
            "bytes": dataset.text_bytes(split),
        }
        for split in dataset.splits
    }
    return {
        "folder": str(dataset.folder),
        "fingerprint": dataset.fingerprint,
        "tokenizer_fingerprint": dataset.tokenizer_fingerprint,
        "vocab_size": dataset.vocab_size,
        "splits": splits,
        "sources": [str(source.get("name", source)) for source in dataset.info.sources]
        if dataset.info
        else [],
        **others,
    }


def _facts(checkpoint: Path) -> dict[str, Any]:
    from lm_core.manifest import read_manifest

    manifest = read_manifest(checkpoint)
    if manifest is None:
        raise CheckpointError(f"{checkpoint}: no manifest.json; continue from another checkpoint")
    return manifest.facts


def _open_loggers(session: Session) -> None:
    c, run = session.config, session.run
    trackers, notes = open_trackers(c.log, run.path, to_settings(c), session.state.step)
    session.notes += notes
    console = [ConsoleJson(sys.stdout)] if "console-json" in c.log else []
    session.metrics = Loggers([JsonLines(run.metrics), *console, trackers])
    session.sample_log, session.trackers = Loggers([JsonLines(run.samples)]), trackers
