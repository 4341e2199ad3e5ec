"""A data set on the Hugging Face Hub: `hub:owner/name`, its files fetched once by huggingface_hub (an extra) and read as any others.

    hub:owner/name                     the files of its training split; all of them where nothing is called so
    hub:owner/name/FOLDER              of one configuration, where it has several
    hub:owner/name/data/*-0000?.parquet     files by a pattern
    hub:owner/name@REVISION            of a branch, tag or commit; may stand before a folder as well

Parquet, JSON lines and text. The files lie in the Hub's own cache; which ones they are is noted in ours, so that without a network the same
ones are read again. `HF_ENDPOINT` names another server, `HF_TOKEN` who asks.
"""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lm_core.atomic_folder import write_file_atomically

from lm_train.errors import DownloadError, SourceError
from lm_train.texts.compressed import without_compression
from lm_train.texts.download import cache_folder

PREFIX = "hub:"
_READABLE = (".parquet", ".jsonl", ".ndjson", ".txt")
_TRAIN = re.compile(r"(^|[/_.\-])train([/_.\-]|$)")
_NAME = re.compile(r"(?P<repo>[\w.\-]+/[\w.\-]+)(@(?P<revision>[\w.\-]+))?(/(?P<inside>.+))?")


@dataclass(frozen=True)
class HubText:
    """What `hub:...` names: a repository, a revision of it, and a folder, file or pattern inside ("" for all)."""

    repo: str
    revision: str = "main"
    inside: str = ""

    @classmethod
    def of(cls, name: str) -> HubText:
        """Raises SourceError for a name that is not of the form."""
        match = _NAME.fullmatch(name.removeprefix(PREFIX))
        if match is None:
            raise SourceError(
                f"{name}: wanted a data set of the Hub, as in hub:owner/name or hub:owner/name/folder"
            )
        return cls(match["repo"], match["revision"] or "main", (match["inside"] or "").strip("/"))

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return f"{PREFIX}{self.repo}{revision}{'/' if self.inside else ''}{self.inside}"


def hub_files(name: str, progress: Callable[[str, int, int], None] | None = None) -> list[Path]:
    """The files of a data set on this machine, in order, fetched if they are not there yet.

    `progress("download hub:..., 3 files, 12.3 MB from huggingface.co", done, total)` is called before the first byte and after each file.
    Raises SourceError for what is not there or cannot be read, DownloadError where the Hub cannot be reached.
    """
    text = HubText.of(name)
    if importlib.util.find_spec("huggingface_hub") is None:
        raise SourceError(f"{text}: huggingface_hub is not installed; pip install 'lm-train[hub]'")
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # the run has its own
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    host = endpoint.partition("://")[2]
    note = _note(text)

    def fetched(file: str, commit: str, *, offline: bool = False) -> Path:
        return Path(
            hf_hub_download(
                text.repo,
                file,
                repo_type="dataset",
                revision=commit,
                endpoint=endpoint,
                local_files_only=offline,
            )
        )

    try:
        found = HfApi(endpoint=endpoint).dataset_info(text.repo, revision=text.revision, files_metadata=True)
        sizes = {each.rfilename: each.size or 0 for each in found.siblings or []}
        chosen = choose_files(text, sizes)
        total, done, paths = sum(sizes[file] for file in chosen), 0, []
        plural = "" if len(chosen) == 1 else "s"
        phase = f"download {text}, {len(chosen)} file{plural}, {total / 1e6:.1f} MB from {host}"
        for file in chosen:
            if progress:
                progress(phase, done, total)
            paths.append(fetched(file, str(found.sha)))
            done += sizes[file]
        if progress:
            progress(phase, done, total)
    except (OSError, _http_error()) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise
        if isinstance(error, HfHubHTTPError) and not isinstance(error, LocalEntryNotFoundError):
            said = _first_line(error.server_message or error)
            raise DownloadError(
                f'{host} answered {error.response.status_code} for "{text}": {said}; check its name, and HF_TOKEN where it asks who you are'
            ) from error
        try:
            commit, files = _noted(note)
            return [fetched(file, commit, offline=True) for file in files]
        except (LookupError, LocalEntryNotFoundError):
            raise DownloadError(
                f'cannot reach {host} to get "{text}": {_first_line(error)}. Offline? Try --data stories (built in) or --data PATH'
            ) from error
    note.parent.mkdir(parents=True, exist_ok=True)
    write_file_atomically(note, json.dumps({"commit": found.sha, "files": chosen}).encode())
    return paths


def choose_files(text: HubText, files: Iterable[str]) -> list[str]:
    """Those of a repository's files that hold the text that is meant. Raises SourceError where there are none, or of several kinds."""
    readable = sorted(file for file in files if _suffix(file) in _READABLE and not _is_about(file))
    inside = [file for file in readable if _is_inside(file, text.inside)]
    if not inside:
        where = (
            f"{PREFIX}{text.repo} holds no {text.inside}"
            if text.inside
            else f"{text} holds no text that can be read"
        )
        seen = ", ".join(readable[:8] or sorted(files)[:8]) or "nothing"
        raise SourceError(f"{where} (.parquet, .jsonl, .txt); it has {seen}")
    training = [file for file in inside if _TRAIN.search(file)] or inside
    folders = sorted({str(PurePosixPath(file).parent) for file in training})
    if len(folders) > 1 and not text.inside:
        raise SourceError(
            f"{text} has text in several folders: {', '.join(folders[:8])}; name one, as in {text}/{folders[0]}"
        )
    return training


def _is_inside(file: str, inside: str) -> bool:
    return not inside or file == inside or file.startswith(f"{inside}/") or fnmatch.fnmatch(file, inside)


def _suffix(file: str) -> str:
    return PurePosixPath(without_compression(file.lower())).suffix


def _is_about(file: str) -> bool:
    """Whether a text file is about the data set, and not of it."""
    return PurePosixPath(file).stem.lower() in ("readme", "license", "licence", "notice", "requirements")


def _http_error() -> type[Exception]:
    """What the HTTP client raises that this version of huggingface_hub uses: it has had three."""
    from huggingface_hub.utils import get_session  # type: ignore[attr-defined]  # exported lazily

    client = sys.modules[type(get_session()).__module__.partition(".")[0]]
    found: type[Exception] = client.HTTPError
    return found


def _note(text: HubText) -> Path:
    """Where it is noted which files `text` was, the last time that the Hub was asked."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", str(text).removeprefix(PREFIX))
    return cache_folder() / "hub" / f"{plain}-{hashlib.sha256(str(text).encode()).hexdigest()[:8]}.json"


def _noted(note: Path) -> tuple[str, list[str]]:
    """Commit and files. Raises LookupError where nothing was noted that can be read."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return str(known["commit"]), [str(file) for file in known["files"]]
    except (OSError, ValueError) as error:
        raise LookupError(note) from error


def _first_line(said: object) -> str:
    return next(iter(str(said).splitlines()), "") or type(said).__name__
