"""Other programs that follow a run, each an extra: Weights & Biases, TensorBoard, Trackio.

    wandb          online with a key, else offline; at the end checkpoint, tokenizer and samples as artifacts
    tensorboard    event files in runs/<name>/tensorboard:   tensorboard --logdir runs
    trackio        a local database, no account:             trackio show

Each of them gets the rows of metrics.jsonl and samples.jsonl.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from lm_train.errors import ConfigError
from lm_train.run_folder import RunFolder
from lm_train.view.metrics import Logger, Loggers, Row

PROJECT = "lm-train"
TRACKERS = ("wandb", "tensorboard", "trackio")


class Tracker(Logger, Protocol):
    def keep(self, kind: str, path: Path) -> None:
        """Take a file or folder of the finished run as well: its "checkpoint", "tokenizer" or "samples"."""


class Trackers(Loggers):
    """Several trackers as one."""

    def __init__(self, trackers: Iterable[Tracker] = ()) -> None:
        self._trackers = list(trackers)
        super().__init__(self._trackers)

    def keep(self, kind: str, path: Path) -> None:
        for tracker in self._trackers:
            tracker.keep(kind, path)


def require(chosen: Iterable[str]) -> None:
    """Raises ConfigError for a tracker that is not installed."""
    for name in chosen:
        if name in TRACKERS and importlib.util.find_spec(name) is None:
            raise ConfigError(f"--log {name}: {name} is not installed; pip install 'lm-train[{name}]'")


def open_trackers(
    chosen: Iterable[str], run: RunFolder, settings: dict[str, Any], step: int
) -> tuple[Trackers, list[str]]:
    """Those of `chosen` that are trackers, for a run that stands at `step`; and what a person should know of them.

    What a tracker calls the run is kept in run.json, so that a resumed run goes on in the same place.
    """
    found: list[Tracker] = []
    folder, known = run.path, run.facts().get("trackers", {})
    notes = []
    if "wandb" in chosen:
        wandb = Wandb(folder, folder.name, settings, known.get("wandb"))
        known = known | {"wandb": wandb.id}
        found.append(wandb)
        notes += [wandb.note] if wandb.note else []
    if "tensorboard" in chosen:
        found.append(TensorBoard(folder / "tensorboard", step))
        notes.append(f"tensorboard --logdir {folder.parent}")
    if "trackio" in chosen:
        trackio = Trackio(folder.name, settings, known.get("trackio"))
        known = known | {"trackio": trackio.name}
        found.append(trackio)
        notes.append(f'trackio show --project "{PROJECT}"')
    if known:
        run.update(trackers=known)
    return Trackers(found), notes


def numbers(row: Row) -> dict[str, float]:
    """What can be drawn: the row without its step and its words; scores of a mixed-in text have its name in theirs."""
    where = f"/{row['mix']}" if "mix" in row else ""
    return {
        f"{key}{where}": value
        for key, value in row.items()
        if key != "step" and isinstance(value, int | float)
    }


def words(row: Row) -> str | None:
    """A sample, in one text."""
    return f"{row['prompt']}{row['text']}" if "text" in row else None


def _step(row: Row) -> int:
    return int(row["step"] or 0)


class Wandb:
    """Rows to Weights & Biases: online with a key, offline (said in one line) where there is no key and nobody to ask.

    `id` is W&B's name of a run that goes on (None: a new one), of which `.id` is the name.
    """

    def __init__(self, folder: Path, name: str, settings: dict[str, Any], id: str | None = None) -> None:
        import wandb

        self.note: str | None = None
        self._name = name
        mode = os.environ.get("WANDB_MODE")
        if mode is None and not _wandb_key() and not sys.stdin.isatty():
            mode = "offline"
            self.note = f"wandb: no key here, logging offline; later: wandb sync --append {folder / 'wandb'}/offline-run-*"
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            dir=str(folder),
            config=settings,
            mode=mode,  # type: ignore[arg-type]
            id=id,
            resume=None if id is None else "allow",
            settings=wandb.Settings(silent=True),
        )
        self.id: str = self._run.id

    def log(self, row: Row) -> None:
        text = words(row)
        self._run.log(numbers(row) | ({} if text is None else {"sample": text}), step=_step(row))

    def keep(self, kind: str, path: Path) -> None:
        import wandb

        artifact = wandb.Artifact(f"{self._name}-{kind}", type="model" if kind == "checkpoint" else kind)
        artifact.add_dir(str(path)) if path.is_dir() else artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self) -> None:
        self._run.finish()


def _wandb_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    return netrc.is_file() and "wandb" in netrc.read_text(encoding="utf-8", errors="replace")


class TensorBoard:
    """Rows to event files in `folder`. What an earlier process wrote there of steps after `step` is hidden, for they are computed again."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # imports tensorboard, which takes a second

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def log(self, row: Row) -> None:
        for key, value in numbers(row).items():
            self._writer.add_scalar(key, value, _step(row))
        if (text := words(row)) is not None:
            indented = "".join(
                f"    {line}\n" for line in text.splitlines()
            )  # code, or Markdown would eat it
            self._writer.add_text("sample", indented, _step(row))

    def keep(self, kind: str, path: Path) -> None:
        """TensorBoard holds no files."""

    def close(self) -> None:
        self._writer.close()


class Trackio:
    """Rows to Trackio's database on this machine.

    Its runs go by their names: `known` is that of a run that goes on; a new one (None) has the folder's and, since another folder
    may have had that as well, some letters.
    """

    def __init__(self, folder_name: str, settings: dict[str, Any], known: str | None = None) -> None:
        import trackio

        self.name = known or f"{folder_name}-{secrets.token_hex(3)}"
        with contextlib.redirect_stdout(io.StringIO()):  # standard output is the run's
            self._run = trackio.init(
                project=PROJECT, name=self.name, config=settings, resume="allow", embed=False
            )

    def log(self, row: Row) -> None:
        text = words(row)
        self._run.log(numbers(row) | ({} if text is None else {"sample": text}), step=_step(row))

    def keep(self, kind: str, path: Path) -> None:
        """Trackio gets the figures only: the files stay in the run's folder."""

    def close(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._run.finish()
