"""A run's folder: who holds it, what is in it, and the facts about the run (`run.json`).

    runs/<name>/ config.toml  run.json  metrics.jsonl  samples.jsonl  events.jsonl  log.txt  report.html  checkpoints/step-00001000/

docs/run-folder.md is the specification. Who writes a run holds `locked(run.path)`.
"""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path
from typing import Any

from lm_train.errors import BusyFolderError
from lm_train.events import Events
from lm_train.lock import lock_path, locked
from lm_train.run_errors import RunError

FORMAT_VERSION = 1
_SEAL = "# sha256 "


class RunFolder:
    """One run on disk. Make one by `create` or `open`; write to it only while holding `locked(run.path)`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.toml"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.report = path / "report.html"
        self.checkpoints = path / "checkpoints"
        self.events = Events(path / "events.jsonl")
        self._facts_file = path / "run.json"
        self._log_file = path / "log.txt"

    @classmethod
    def create(cls, out: Path, name: str | None, stem: str) -> RunFolder:
        """A new folder `out/name`, or `out/stem-N` with the next free number. Raises RunError where it exists or cannot be made."""
        try:
            out.mkdir(parents=True, exist_ok=True)
            if name is None:
                return cls(_numbered(out, stem))
            (out / name).mkdir()
        except FileExistsError:
            raise RunError(_why_taken(out / (name or ""))) from None
        except OSError as error:
            raise RunError(
                f"cannot make a run folder in {out}: {error.strerror}; choose another place with --out"
            ) from None
        return cls(out / name)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run that exists. Raises RunError for a folder that is none."""
        if not path.is_dir():
            raise RunError(f"{path}: no such run folder{_known_runs(path)}")
        run = cls(path)
        if not run.config.is_file():
            hint = ""
            if path.parent.name == "checkpoints" and cls(path.parent.parent).config.is_file():
                hint = f"; this is a checkpoint of the run {path.parent.parent}"
            raise RunError(f"{path}: not a run folder: it has no config.toml{hint}")
        return run

    @property
    def name(self) -> str:
        return self.path.name

    def write_config(self, text: str) -> None:
        """Write config.toml, whole or not at all, with a last line that seals the others."""
        from lm_core.atomic_folder import (
            write_file_atomically,  # lm_core imports torch, and `train --help` must not
        )

        write_file_atomically(self.config, f"{text}{_SEAL}{_digest(text.encode())}\n".encode())

    def check_config(self) -> None:
        """Raises RunError where a byte of config.toml is not as `write_config` wrote it; one of an older version has no seal."""
        body, seal, digest = self.config.read_bytes().rpartition(_SEAL.encode())
        if not seal and not self.facts().get("config_sealed"):
            return
        if digest.decode(errors="replace") != f"{_digest(body)}\n":
            raise RunError(
                f"{self.config} is not as lm-train wrote it (its last line is the SHA-256 of the others): damaged or edited. Put it back; "
                "settings that may change within a run are given as flags"
            )

    def in_use(self) -> bool:
        """Whether a living process writes the folder."""
        if not lock_path(self.path).exists():
            return False
        try:
            with locked(self.path):
                return False
        except BusyFolderError:
            return True

    def facts(self) -> dict[str, Any]:
        """What `run.json` holds; empty where there is none or it is damaged (it is for people, nothing is resumed from it)."""
        from lm_core.errors import DamagedFileError  # lm_core imports torch, and `train --help` must not
        from lm_core.manifest import read_sealed_json

        try:
            return read_sealed_json(self._facts_file)
        except (FileNotFoundError, DamagedFileError):
            return {}

    def update(self, **facts: Any) -> None:
        """Add to or change the facts."""
        from lm_core.manifest import write_sealed_json

        write_sealed_json(
            self._facts_file,
            {**self.facts(), "format": "lm-train run", "format_version": FORMAT_VERSION, **facts},
        )

    def status(self) -> str:
        """running, done, failed, or stopped; a run whose process died without a word is stopped."""
        status = str(self.facts().get("status", "stopped"))
        return "stopped" if status == "running" and not self.in_use() else status

    def resumable(self) -> bool:
        """Whether it ended before its end and has a checkpoint to continue from."""
        return self.status() in ("stopped", "failed") and any(self.checkpoints.glob("step-*"))

    def log(self, text: str) -> None:
        """A line in log.txt, with the time."""
        with self._log_file.open("a", encoding="utf-8", newline="\n") as file:
            for line in text.splitlines():
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n")

    def stalled(self, verdict: str) -> None:
        """Note who was silent, before the process ends with code 1."""
        self.events.tell("rank-silent", verdict=verdict, code=1)
        self.log(verdict)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_free(out: Path, name: str | None) -> None:
    """Raises RunError where a run of that name cannot be made."""
    if name is not None and (out / name).exists():
        raise RunError(_why_taken(out / name))


def newest_run(out: Path, *, stopped: bool = False) -> RunFolder | None:
    """The run under `out` that was written last; with `stopped` only one that has a checkpoint to continue from."""
    found = []
    for config in out.glob("*/config.toml"):
        run = RunFolder(config.parent)
        if run.resumable() or not stopped:
            written = max(
                p.stat().st_mtime for p in (run.path, config, run.metrics, run._facts_file) if p.exists()
            )
            found.append((written, run.name, run))
    return max(found, key=lambda item: item[:2])[2] if found else None


def _numbered(out: Path, stem: str) -> Path:
    taken = [
        int(match[1])
        for entry in out.iterdir()
        if (match := re.fullmatch(rf"{re.escape(stem)}-(\d+)", entry.name))
    ]
    number = max(taken, default=0) + 1
    while True:
        path = out / f"{stem}-{number}"
        try:
            path.mkdir()
        except FileExistsError:  # another run was a moment faster
            number += 1
        else:
            return path


def _why_taken(path: Path) -> str:
    if not RunFolder(path).config.is_file():
        return f"{path} exists already and is not a run; choose another --name"
    run = RunFolder(path)
    status = run.status()
    if status == "running":
        return f"the run {path} is running now; choose another --name"
    if status == "done":
        return f"the run {path} exists and is done; choose another --name, or train it further with more steps by --resume {path} --steps N"
    return (
        f"the run {path} exists and was stopped; continue it with --resume {path}, or choose another --name"
    )


def _known_runs(path: Path) -> str:
    parent = path.parent
    names = sorted(config.parent.name for config in parent.glob("*/config.toml")) if parent.is_dir() else []
    return f"; runs there: {', '.join(names[-5:])}" if names else ""
