"""`lm-train verify`: every byte of a dataset, a checkpoint, a model folder or a whole run against what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lm_core.errors import LmCoreError
from lm_core.manifest import verify_folder
from lm_tokenizer import TokenizerError

from lm_train.checkpoint import checkpoints
from lm_train.dataset import TokenDataset
from lm_train.errors import LmTrainError
from lm_train.events import ENDS
from lm_train.run_errors import RunError
from lm_train.run_folder import RunFolder
from lm_train.tokens.dataset_format import DATASET_NAME
from lm_train.view.metrics import read_lines


def verify_path(path: Path) -> Iterator[tuple[str, bool]]:
    """A line for each dataset or checkpoint found at `path`, and whether it is sound. Raises RunError where there is none."""
    if (path / DATASET_NAME).is_file():
        yield _dataset(path)
    elif (path / "config.toml").is_file():
        run = RunFolder.open(path)
        yield from _config(run)
        found = checkpoints(run.checkpoints)
        if not found:
            yield f"{path}: a run without a checkpoint", True
        for checkpoint in found:
            yield _folder(checkpoint)
        yield from _killed(run)
        card = run.facts().get("dataset", {})
        for folder in [part.get("folder") for part in (card, *card.get("mix", []))]:
            if folder and (Path(folder) / DATASET_NAME).is_file():
                yield _dataset(Path(folder))
    elif path.is_dir():
        yield _folder(path)
    else:
        raise RunError(f"{path}: no such folder; name a dataset, a checkpoint, a model folder or a run")


def _config(run: RunFolder) -> Iterator[tuple[str, bool]]:
    try:
        run.check_config()
    except RunError as error:
        yield str(error), False


def _killed(run: RunFolder) -> Iterator[tuple[str, bool]]:
    """A line where the last process of the run wrote no end: no damage, but what to go on from may be older than one thinks."""
    events = read_lines(run.events.path)
    if events and events[-1].get("event") not in ENDS and not run.in_use():
        last = events[-1]
        yield (
            f"{run.path}: its last process ended without a word (killed, or its machine lost) after {last.get('event')!r} at {last.get('time')}",
            True,
        )


def _dataset(path: Path) -> tuple[str, bool]:
    try:
        dataset = TokenDataset(path)
    except (LmTrainError, LmCoreError, TokenizerError) as error:
        return str(error), False
    tokens = sum(dataset.tokens(split) for split in dataset.splits)
    return f"{path}: dataset of {tokens:,} tokens, every byte as written", True


def _folder(path: Path) -> tuple[str, bool]:
    try:
        manifest = verify_folder(path)
    except LmCoreError as error:
        return str(error), False
    if manifest is None:
        return f"{path}: no manifest.json, so nothing to check it against", False
    return f"{path}: {manifest.kind} of {len(manifest.files)} files, every byte as written", True
