"""Checkpoints of a run: `checkpoints/step-00001000/`, each a model folder plus `state/`, sealed by its manifest.

A checkpoint appears whole or not at all (written aside, fsynced, renamed). The newest one that verifies is the one resumed; a damaged
one is named and renamed to `damaged-step-...`, never deleted. Older ones are removed only once a newer one is committed.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lm_core import Transformer, save_model
from lm_core.errors import LmCoreError
from lm_core.manifest import FileEntry, verify_folder
from lm_tokenizer import Tokenizer

from lm_train.background import Background
from lm_train.optimizers import Optimizers
from lm_train.run_errors import CheckpointError
from lm_train.state import KeptState, OptimizerState, RunState, kept_state, optimizer_state, write_state
from lm_train.tokens.text_tokenizer import END_OF_TEXT

PACKAGES = ("lm-train", "lm-core", "lm-tokenizer", "torch")
_STEP = re.compile(r"step-(\d{8,})")


def checkpoint_path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08}"


def save_checkpoint(
    folder: Path,
    model: Transformer,
    tokenizer: Tokenizer,
    optimizers: Optimizers,
    state: RunState,
    *,
    seed: int,
    keep: int,
    best: int | None = None,
    facts: dict[str, Any],
    world_size: int = 1,
    background: Background | None = None,
    gathered: tuple[Transformer, OptimizerState] | None = None,
    committed: Callable[[Path, float], None] = lambda path, seconds: None,
) -> Path:
    """Commit the run's state under `folder` and prune to the newest `keep` and the one of step `best`. Raises lm_core's DiskFullError when there is no room.

    With `background` only a copy has been taken when it returns; the folder is there after `background.wait()`. `gathered` is the
    whole model and optimizer state where `model` and `optimizers` are parts of them. `committed` hears, from the thread that
    writes, which folder is whole on disk and how many seconds its writing took.
    """

    if background is not None:
        background.wait()
    target = checkpoint_path(folder, state.step)
    if target.exists():
        prune(folder, keep, best)
        return target
    folder.mkdir(exist_ok=True)
    state = replace(state)  # as it is now: in the background the run goes on
    counted = {"step": state.step, "tokens": state.tokens, "versions": versions(), **facts}
    # The token between documents ends a text, and so begins one; without these ids other programs write on for ever.
    end = tokenizer.special_tokens.get(END_OF_TEXT)

    def write(weights: Transformer, kept: KeptState) -> None:
        def add_files(unfinished: Path) -> dict[str, FileEntry]:
            tokenizer.save(unfinished)
            return write_state(unfinished, state, kept, seed=seed, world_size=world_size)

        started = time.monotonic()
        save_model(
            weights,
            target,
            kind="checkpoint",
            facts=counted,
            add_files=add_files,
            bos_token_id=end,
            eos_token_id=end,
        )
        committed(target, time.monotonic() - started)
        prune(folder, keep, best)

    with optimizers.resting():
        whole, held = gathered or (model, optimizer_state(optimizers))
        if background is None:
            write(whole, kept_state(held))
        else:
            background.save(whole, kept_state(held), write)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """The committed checkpoints, oldest first, by step; half-written and damaged ones are not among them."""
    if not folder.is_dir():
        return []
    found = [
        (int(match[1]), path)
        for path in folder.iterdir()
        if (match := _STEP.fullmatch(path.name)) and path.is_dir()
    ]
    return [path for _, path in sorted(found)]


def prune(folder: Path, keep: int, best: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints and the one of step `best`, and what killed writers left half-written."""
    spared = None if best is None else checkpoint_path(folder, best)
    for path in checkpoints(folder)[:-keep]:
        if path == spared:
            continue
        doomed = path.with_name(
            f".tmp-removed-{path.name}"
        )  # so that a kill now leaves no half-deleted checkpoint
        path.rename(doomed)
    for path in folder.glob(".tmp-*"):
        shutil.rmtree(path, ignore_errors=True)


def newest_verified(folder: Path, say: Callable[[str], None]) -> Path:
    """The newest checkpoint whose every byte is as written; damaged newer ones are named and set aside. Raises CheckpointError."""
    for path in reversed(checkpoints(folder)):
        problem = damage(path)
        if problem is None:
            return path
        aside = _free_name(path.with_name(f"damaged-{path.name}"))
        path.rename(aside)
        say(f"{problem}\n{path.name} is set aside as {aside.name}; the one before it is used")
    raise CheckpointError(f"{folder}: no whole checkpoint to continue from; start a new run")


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, or None where every byte is as it was written."""
    try:
        manifest = verify_folder(path)
    except LmCoreError as error:
        return str(error)
    if manifest is None:
        return f"{path}: damaged: its manifest.json is missing"
    if manifest.kind != "checkpoint":
        return f"{path}: a {manifest.kind}, not a checkpoint"
    return None


def versions() -> dict[str, str]:
    """Versions of the packages that decide a run's numbers."""
    return {name: version(name) for name in PACKAGES}


def _free_name(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
