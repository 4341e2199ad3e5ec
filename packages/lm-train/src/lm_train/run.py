"""A run from start to end: its data, its folder, its loop, its report. `train(config)` is the package's main entry."""

from __future__ import annotations

import contextlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from lm_core.atomic_folder import require_space
from lm_core.counts import parameter_count

from lm_train.batches import Batches
from lm_train.checkpoint import checkpoint_path, checkpoints
from lm_train.compiled import compile_blocks
from lm_train.config import TrainConfig, with_rate
from lm_train.corpus import open_corpus, open_mixture, reopen_corpus, reopen_mixture, stem
from lm_train.disk_full import is_full, with_advice
from lm_train.explain import EXIT_FAULT, explain
from lm_train.fine_tune import check_vocabulary, with_shape_of_start
from lm_train.lock import locked
from lm_train.loop import Loop
from lm_train.mixture import Mixture, training_batches
from lm_train.opening import begin, check, reopen
from lm_train.out_of_memory import advice, device_memory, ran_out
from lm_train.overfitting import overfits
from lm_train.parallel.follow import follow, lead
from lm_train.parallel.launcher import EXIT_DONE, exit_when_stopped
from lm_train.parallel.ranks import Ranks, joined
from lm_train.parallel.sharding import check_sharding
from lm_train.plan import describe
from lm_train.result import RunResult
from lm_train.run_errors import MemoryRunError
from lm_train.run_folder import RunFolder
from lm_train.session import Session
from lm_train.signals import Stop
from lm_train.view.display import Display, Silent
from lm_train.view.report import write_report


def train(config: TrainConfig, *, display: Display | None = None, stop: Stop | None = None) -> RunResult:
    """Train a model in a new run folder. Raises LmTrainError, LmCoreError or TokenizerError, each with one plain message."""
    display, stop = display or Silent(), stop or Stop()
    with joined(stop) as ranks:
        if ranks.rank:
            return RunResult.from_json(_follow(ranks, stop))
        return _train(config, ranks, display, stop)


def _train(config: TrainConfig, ranks: Ranks, display: Display, stop: Stop) -> RunResult:
    config = with_rate(with_shape_of_start(config))
    ranks.check_divides(config.batch)
    check_sharding(config)
    check(config)
    with ranks.patience():
        dataset, tokenizer = open_corpus(config, display)
        mixed = open_mixture(config, tokenizer, display)
    # What does not fit the data is told before there is a folder.
    check_vocabulary(config, dataset.vocab_size)
    config = with_steps_of_data(config, training_batches(config, dataset, mixed))
    run = RunFolder.create(Path(config.out), config.name, stem(config.data))
    with locked(run.path), stop.deferred():
        return _run(begin(config, run, dataset, mixed, tokenizer, ranks), display, stop)


def with_steps_of_data(config: TrainConfig, batches: Batches | Mixture) -> TrainConfig:
    """A budget that only the data can turn into steps, in steps, which is what a run keeps: epochs, and tokens of rows not quite full."""
    if config.epochs is not None:
        return replace(config, epochs=None, steps=max(1, round(config.epochs * batches.steps_per_epoch)))
    if config.tokens is not None and config.order == "packed":
        return replace(config, tokens=None, steps=math.ceil(config.tokens / batches.tokens_per_step))
    return config


def resume(
    folder: Path, config: TrainConfig, *, display: Display | None = None, stop: Stop | None = None
) -> RunResult:
    """Continue the run in `folder` from its newest whole checkpoint; `config` is its own, or that with another budget."""
    display, stop = display or Silent(), stop or Stop()
    with joined(stop) as ranks:
        if ranks.rank:
            return RunResult.from_json(_follow(ranks, stop))
        return _resume(folder, config, ranks, display, stop)


def _resume(folder: Path, config: TrainConfig, ranks: Ranks, display: Display, stop: Stop) -> RunResult:
    config = with_rate(config)
    run = RunFolder.open(folder)
    run.check_config()
    with locked(run.path):
        with ranks.patience():
            dataset = reopen_corpus(run, config, display)
            mixed = reopen_mixture(run, config, dataset, display)
        if config.epochs or config.tokens:
            config = with_steps_of_data(config, training_batches(config, dataset, mixed))
        with stop.deferred():
            return _run(reopen(run, config, dataset, mixed, ranks, display.say), display, stop)


def follow_run(stop: Stop) -> None:
    """What a process after the first of several does, start to end."""
    with joined(stop) as ranks:
        _follow(ranks, stop)


def _follow(ranks: Ranks, stop: Stop) -> str:
    with stop.deferred():
        return follow(ranks)


def _compile(s: Session) -> None:
    rows = s.config.micro_batch or s.config.batch // s.ranks.world
    batch = [ids.to(s.device.kind) for ids in s.batches.rows(0, 0, rows)]
    with s.device.autocast():
        compile_blocks(s.model, *batch)


def _run(s: Session, display: Display, stop: Stop) -> RunResult:
    status, code, loop = "failed", EXIT_FAULT, Loop(s, display, stop)
    error: str | None = None
    ended: dict[str, Any] = {}
    if s.profiler is not None:
        s.profiler.say = lambda line: s.say(display, line)
    try:
        for line in describe(s):
            display.say(line)
            s.run.log(line)
        require_space(
            s.run.path, 4 * parameter_count(s.model.config) + s.optimizers.state_bytes
        )  # one checkpoint
        lead(s)
        if s.config.compile:
            display.say("compiling the blocks; this takes a while and does not count to the budget")
            _compile(s)
        if s.config.max_minutes is not None:
            stop.after(s.config.max_minutes)
        loop.learn()
        if stop.requested:
            s.run.events.tell("stop-asked", by=stop.requested, step=s.state.step)
        s.close_rows()
        loop.finish()
        checkpoint = loop.save()
        s.settle(wait=True)
        done = not stop.requested
        if done:
            s.hand_over(checkpoint)
            ended = {"ended_with": {"step": s.state.step, "rows": [lines.rows for lines in s.lines]}}
        status = "done" if done else "stopped"
        code = EXIT_DONE if done else exit_when_stopped()
    except Exception as caught:
        failure = _worded(caught, s)
        error, (_, code) = str(failure) or type(failure).__name__, explain(failure)
        if failure is caught:
            raise
        raise failure from caught
    finally:
        s.run.events.tell("ended", status=status, code=code, step=s.state.step, error=error)
        with (
            contextlib.suppress(OSError) if error else contextlib.nullcontext()
        ):  # one error is told: the first
            s.close()
            s.run.update(status=status, step=s.state.step, seconds=round(s.state.seconds, 3), **ended)
    if status == "done":
        write_report(s.run)
    result = RunResult(
        folder=s.run.path,
        status=status,
        step=s.state.step,
        tokens=s.state.tokens,
        seconds=s.state.seconds,
        loss=s.state.smoothed_loss,
        valid_loss=loop.held_out.loss if loop.held_out else None,
        valid_bits_per_byte=loop.held_out.bits_per_byte if loop.held_out else None,
        samples=loop.samples,
        checkpoint=checkpoint,
        report=s.run.report,
        overfit_since=s.state.lowest_step if overfits(s.state, loop.on_curve) else None,
        best_checkpoint=_best_checkpoint(s),
    )
    s.ranks.end(result.to_json())
    return result


def _worded(error: Exception, s: Session) -> Exception:
    """The error, or one that says what to do where memory ran out, or the disk is full."""
    if is_full(error):
        return with_advice(error, *_how_to_go_on(s))
    if not ran_out(error):
        return error
    state, memory = s.optimizers.state_bytes, device_memory(s.device)
    return MemoryRunError(advice(s.config, s.model.config, state, s.device, memory, s.ranks.world))


def _how_to_go_on(s: Session) -> tuple[str, str]:
    stopped = f"the run has stopped at step {s.state.step:,}"
    whole = checkpoints(s.run.checkpoints)
    if not whole:
        return f"{stopped} and has no checkpoint yet", "start it again, or choose another disk with --out"
    return f"{stopped}, and {whole[-1]} is whole", f"go on from there with --resume {s.run.path}"


def _best_checkpoint(s: Session) -> Path | None:
    if not s.config.checkpoint.best or s.state.lowest_step is None:
        return None
    path = checkpoint_path(s.run.checkpoints, s.state.lowest_step)
    return path if path.is_dir() else None
