"""The decoding kernel of `native/*.c`: compiled once on the machine that runs it, then kept and loaded.

    library = load_library()          None where there is no C compiler, or not yet a kernel; why_not() then says so

The compiler takes a few seconds, once for each version of the source, compiler and processor. `begin_compiling` lets it work in the
background, at low priority, while torch is being imported; with no patience nothing waits for it, and where the process ends
first it finishes by itself, for the next one. The result is kept in the user's own cache folder
($XDG_CACHE_HOME/lm-generate, or ~/.cache/lm-generate), which nobody else may write to, and is named by a hash of all that went into it.
`LM_NATIVE=0` does without, `LM_NATIVE=1` waits for it. Imports no torch.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

SOURCES = Path(__file__).parent / "native"
FLAGS = ("-O3", "-std=gnu11", "-D_DEFAULT_SOURCE", "-shared", "-fPIC", "-pthread")
PATIENCE = 5.0
"""Seconds that whoever can wait does wait for the compiler: idle, it takes 2 to 3."""
LONG_PATIENCE = 120.0
"""The same for a server, which is started once and stays, and where LM_NATIVE=1 asks for it."""
_LONGEST = 600
"""Seconds after which a compiler is ended."""
_TOLD_AFTER = 2.0
"""Seconds after which whoever waits for it is told."""
_KEEP = """
unfinished=$1; target=$2; claim=$3; shift 3
"$@" && mv -f "$unfinished" "$target"
code=$?
rm -f "$unfinished" "$claim"
exit $code
"""
"""What the compiler runs in, so that its result is kept, whole, though the process that wanted it has ended."""

log = logging.getLogger(__name__)
_lock = threading.Lock()
_compiling: "subprocess.Popen[bytes] | None" = None
_said: "IO[bytes] | None" = None
_library: ctypes.CDLL | None = None
_why_not: str | None = None


def load_library(patience: float = PATIENCE) -> ctypes.CDLL | None:
    """The compiled kernel; where it is not in the cache, it is waited for so many seconds. None, always, once it could not be
    had: a process writes all its texts in one form, so that their bits do not depend on when the compiler was ready."""
    global _library, _why_not
    with _lock:
        if _library is None and _why_not is None:
            try:
                _library = ctypes.CDLL(str(_compiled(patience)))
            except OSError as error:
                _why_not = str(error)
        return _library


def why_not() -> str | None:
    """Why there is no kernel; None while nobody has asked for it, and where there is one."""
    return _why_not


def begin_compiling(*, for_later: bool = False) -> bool:
    """Starts the compiler in the background if the kernel is not in the cache; whether one is at work. Tells no errors:
    `load_library` does. `for_later`: only where the result can be kept, since this process will not wait for it."""
    try:
        command, target = _plan()
        if target.exists() or (for_later and not _patient() and _is_temporary(target)):
            return False
        _start(command, target)
    except OSError:
        return False  # load_library tries again, and says why
    return True


def _patient() -> bool:
    return os.environ.get("LM_NATIVE") == "1"


def _compiled(patience: float) -> Path:
    command, target = _plan()
    if target.exists():
        return target
    if _patient():
        patience = LONG_PATIENCE
    if _is_temporary(target):
        log.info(
            "the decoding kernel is %s, since nothing can be kept in %s; "
            "set XDG_CACHE_HOME to a folder of yours and it is compiled once",
            "compiled for this process alone" if patience > 0 else "done without",
            _wanted_folder() or "a home folder",
        )
    if patience > 0:
        _start(command, target)
        _wait(target, patience)
        if _compiling is None:  # another process was at work; where it failed, this one finds out why
            _start(command, target)
            _wait(target, patience)
    if target.exists():
        if _said is not None:
            _said.close()
        return target
    if _compiling is not None and (code := _compiling.poll()):
        assert _said is not None
        _said.seek(0)
        lines = _said.read().decode("utf-8", "replace").splitlines()
        raise OSError(f"{command[0]} could not compile the kernel: {lines[0] if lines else code}")
    raise OSError(
        "the C compiler is still at work on the kernel, which the next process has; LM_NATIVE=1 waits for it"
    )


def _start(command: list[str], target: Path) -> None:
    """Lets the compiler make `target`, unless it is at work, here or in another process."""
    global _compiling, _said
    if _compiling is not None or not _claimed(_claim(target)):
        return
    unfinished = target.with_suffix(f".{os.getpid()}.tmp")
    bounded = ["timeout", str(_LONGEST)] if shutil.which("timeout") else []
    gentle = ["nice", "-n", "10"] if shutil.which("nice") and not _patient() else []
    words = [*bounded, *gentle, *_command(command, unfinished)]
    _said = tempfile.TemporaryFile()  # noqa: SIM115  # no pipe: the compiler may outlive this process
    try:
        _compiling = subprocess.Popen(
            ["/bin/sh", "-c", _KEEP, "sh", str(unfinished), str(target), str(_claim(target)), *words],
            stdin=subprocess.DEVNULL, stdout=_said, stderr=_said, start_new_session=True,  # Ctrl-C is not for it
        )  # fmt: skip
    except OSError:
        _claim(target).unlink(missing_ok=True)
        raise


def _claim(target: Path) -> Path:
    return target.with_suffix(".compiling")


def _claimed(claim: Path) -> bool:
    """Whether this process is the one to compile: ten commands at once on a new machine are one compiler."""
    try:
        if time.time() - claim.stat().st_mtime > 2 * _LONGEST:  # whoever it was was killed
            claim.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _wait(target: Path, patience: float) -> None:
    """Until the compiler has ended, this process's or another's, or patience has."""
    started, told = time.monotonic(), False
    while (at_work := _claim(target).exists() and (_compiling is None or _compiling.poll() is None)) and (
        waited := time.monotonic() - started
    ) < patience:
        if waited > _TOLD_AFTER and not told:
            told = True
            log.info(
                "waiting for the C compiler to make the decoding kernel, once for this machine (LM_NATIVE=0: without)"
            )
        time.sleep(0.01)
    if not at_work and _compiling is not None:
        _compiling.wait()  # it removes its claim before it ends


def _plan() -> tuple[list[str], Path]:
    """The compiler with its flags, and where its result is kept."""
    if os.environ.get("LM_NATIVE") == "0":
        raise OSError("LM_NATIVE=0 says to do without")
    given = os.environ.get("CC", "").split()
    found = [*given[:1], "cc", "gcc", "clang"]
    compiler = next((path for name in found if (path := shutil.which(name))), None)
    if compiler is None:
        raise OSError("there is no C compiler (cc, gcc or clang) on this machine")
    tune = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
    command = [compiler, *FLAGS, tune]
    known = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        known.update(source.name.encode() + b"\0" + source.read_bytes())
    known.update(repr((command, os.stat(compiler).st_mtime_ns, platform.platform(), _processor())).encode())
    return command, _cache() / f"step-{known.hexdigest()[:24]}.so"


def _command(command: list[str], target: Path) -> list[str]:
    return [*command, str(SOURCES / "step.c"), "-o", str(target), "-lm"]


def _processor() -> str:
    """What the compiler's `native` depends on: the instructions that this processor has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _cache() -> Path:
    """A folder that this user alone can write to: what lies in it is run. A fresh one where that cannot be had."""
    if sys.platform == "win32":
        raise OSError("the kernel is for Linux and macOS")
    try:
        folder = _wanted_folder()
        if folder is None:
            return _temporary()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
        private = not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and found.st_uid == os.getuid()
        if private and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass  # told in `_compiled`
    return _temporary()


def _wanted_folder() -> Path | None:
    """Where the kernel is to be kept; None for a user without a home, as in some containers."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lm-generate"
    except RuntimeError:
        return None


def _is_temporary(target: Path) -> bool:
    return _made is not None and target.parent == Path(_made.name)


def _temporary() -> Path:
    global _made
    if _made is None:
        _made = tempfile.TemporaryDirectory(prefix="lm-generate-")
    return Path(_made.name)


_made: "tempfile.TemporaryDirectory[str] | None" = None
