"""What a run says at its end: how it went, what it writes, and the exact next commands."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from lm_train.config import TrainConfig
from lm_train.overfitting import OVERFIT_ADVICE
from lm_train.result import RunResult
from lm_train.signals import Stop
from lm_train.view.display import clock, printable


def perplexity(loss: float) -> str:
    """e to the loss: as unsure as between so many tokens, all as likely."""
    return f"{math.exp(min(loss, 99.0)):,.1f}"


def closing_lines(result: RunResult, config: TrainConfig, stop: Stop, command: str) -> list[str]:
    """The last lines on the screen."""
    folder = shlex.quote(str(result.folder))
    if result.status != "done":
        return [
            "",
            f"stopped by {stop.requested} at step {result.step:,}, saved in {result.checkpoint}",
            f"continue   {command} --resume {folder}",
        ]
    lines = [
        "",
        f"done       {result.step:,} steps, {result.tokens:,} tokens in {clock(result.seconds)} of training",
    ]
    if result.valid_loss is not None:
        bits = (
            f"{result.valid_bits_per_byte:.3f} bits per byte, "
            if result.valid_bits_per_byte is not None
            else ""
        )
        lines.append(
            f"held out   {bits}loss {result.valid_loss:.3f} nats per token, perplexity {perplexity(result.valid_loss)}"
        )
    if result.overfit_since is not None:
        lines.append(
            f"overfit    the held-out loss was lowest at step {result.overfit_since:,} and has risen since: {OVERFIT_ADVICE}"
        )
    for prompt, text in result.samples:
        lines += ["", *(f"    {line}" for line in printable(prompt + text).splitlines()), ""]
    prompt = shlex.quote(result.samples[0][0]) if result.samples and result.samples[0][0] else '"Once"'
    lines += [
        f"model      {result.checkpoint}",
        *([f"best       {result.best_checkpoint}"] if result.best_checkpoint is not None else []),
        f"report     {result.report}",
        f"write      {_sibling(command)} --prompt {prompt}{_model_flag(result.checkpoint, config)}",
        f"go on      {command} --resume {folder} {_more(config, result)}",
        f"repeat     {command} --config {shlex.quote(str(result.folder / 'config.toml'))}",
    ]
    return lines


def _sibling(command: str) -> str:
    if command.startswith("uv run --package"):
        return "uv run --package lm-generate lm-generate"
    return "uv run lm-generate" if command.startswith("uv run") else "lm-generate"


def _model_flag(checkpoint: Path, config: TrainConfig) -> str:
    return "" if config.out == TrainConfig().out else f" --model {shlex.quote(str(checkpoint))}"


def _more(config: TrainConfig, result: RunResult) -> str:
    """A budget of twice this one's."""
    if config.tokens:
        return f"--tokens {2 * config.tokens}"
    if config.steps or config.epochs:
        return f"--steps {2 * result.step}"
    return f"--minutes {2 * (config.budget_minutes or 1):g}"
