"""Named texts from the network: fetched once into the user's cache, resumed where they stopped, checked by SHA-256.

The hash of a text is known beforehand where it could be verified (`Download.sha256`). Where it could not, the first download is trusted: its
hash is written beside it and holds from then on, so that a file that changes later is noticed.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lm_core.atomic_folder import naming_a_full_disk

from lm_train.errors import DownloadError
from lm_train.lock import locked
from lm_train.texts.text_files import SEPARATOR

log = logging.getLogger(__name__)
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Download:
    """A text on the network. `bytes` is exact. `sha256=None`: not known beforehand."""

    name: str
    file: str
    url: str
    bytes: int
    licence: str
    sha256: str | None = None
    separator: str | None = SEPARATOR

    @property
    def size(self) -> str:
        return f"{self.bytes / 1e6:.1f} MB"

    @property
    def host(self) -> str:
        return self.url.split("/")[2]


SHAKESPEARE = Download(
    name="shakespeare",
    file="tinyshakespeare.txt",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    bytes=1_115_394,
    licence="public domain",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    separator=None,
)
TINYSTORIES = Download(
    name="tinystories",
    file="TinyStoriesV2-GPT4-valid.txt",
    url="https://huggingface.co/datasets/roneneldan/TinyStories/resolve/main/TinyStoriesV2-GPT4-valid.txt",
    bytes=22_502_601,
    licence="CDLA-Sharing-1.0",
)


def cache_folder() -> Path:
    """`LM_CACHE`, or the place for caches of this system (`XDG_CACHE_HOME`, ~/.cache, ~/Library/Caches, LOCALAPPDATA) + lm-train."""
    if chosen := os.environ.get("LM_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "lm-train"


def fetch(
    download: Download,
    *,
    folder: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    timeout: float = 30.0,
) -> Path:
    """The path of the downloaded text; fetches what is not there yet. Two processes that want the same text fetch it once.

    `progress("download shakespeare, 1.1 MB from ...", done, total)` is called before the first byte and then for each block.
    `DownloadError`, one line, when the network cannot be reached (what came stays, and the next call goes on from there) and when the text is
    not the one it should be (what came is removed).
    """
    target = (folder or cache_folder()) / download.file
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target, wait=True):
        if not target.exists():
            part = target.with_name(target.name + ".part")
            _download(download, part, progress, timeout)
            _check(download, part, target, first=True)
            os.replace(part, target)
        else:
            _check(download, target, target, first=False)
    return target


def _download(
    download: Download, part: Path, progress: Callable[[str, int, int], None] | None, timeout: float
) -> None:
    done = part.stat().st_size if part.exists() else 0
    if done > download.bytes:
        part.unlink()
        done = 0
    phase = f"download {download.name}, {download.size} from {download.host}"
    log.info("%s (%s) to %s", phase, download.licence, part.parent)
    if progress:
        progress(phase, done, download.bytes)
    if done == download.bytes:
        return
    request = urllib.request.Request(
        download.url, headers={"User-Agent": "lm-train", "Accept-Encoding": "identity"}
    )
    if done:
        request.add_header("Range", f"bytes={done}-")
    answer = _answer(request, download, timeout)
    with answer, naming_a_full_disk(part, download.bytes - done), open(part, "ab") as file:
        if done and not _goes_on_at(answer, done):
            file.truncate(0)
            done = 0
        while done <= download.bytes and (block := _next_block(answer, download)):
            file.write(block)
            done += len(block)
            if progress:
                progress(phase, done, download.bytes)
        file.flush()
        os.fsync(file.fileno())
    if done < download.bytes:
        raise DownloadError(
            f'"{download.name}" came only to {done:,} of {download.bytes:,} bytes before {download.host} hung up; run it again to go on from there'
        )


def _answer(request: urllib.request.Request, download: Download, timeout: float) -> http.client.HTTPResponse:
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=timeout)
        return answer
    except urllib.error.HTTPError as error:
        error.close()
        raise DownloadError(
            f'{download.host} answered {error.code} ({error.reason}) for "{download.name}" ({download.url}); '
            "try again later, or --data stories (built in) or --data PATH"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(download, error) from error


def _next_block(answer: http.client.HTTPResponse, download: Download) -> bytes:
    try:
        return answer.read1(_BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(download, error) from error


def _unreachable(download: Download, error: Exception) -> DownloadError:
    return DownloadError(
        f'cannot reach {download.host} to get "{download.name}" ({download.size}): {getattr(error, "reason", error)}. '
        "Offline? Try --data stories (built in) or --data PATH"
    )


def _goes_on_at(answer: http.client.HTTPResponse, done: int) -> bool:
    return answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")


def _check(download: Download, path: Path, target: Path, *, first: bool) -> None:
    """The file's length and hash against what is known; on the first download a hash that is not known is written down."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    note = target.with_name(target.name + ".sha256")
    wanted = download.sha256
    if wanted is None and not first and note.exists():
        wanted = (note.read_text(encoding="utf-8").split() or ["nothing"])[0]
    if size == download.bytes and wanted in (None, actual):
        if wanted is None:
            note.write_text(f"{actual}  {target.name}\n", encoding="utf-8", newline="\n")
        return
    if first:
        path.unlink()
    what = (
        f"{size:,} bytes, not {download.bytes:,}"
        if size != download.bytes
        else f"SHA-256 {actual}, not {wanted}"
    )
    where = f"{download.url} gave" if first else f"{path} has"
    advice = "it may have changed there; report it" if first else f"delete {path} and run it again"
    raise DownloadError(f'"{download.name}" is not the text it should be: {where} {what}; {advice}')
