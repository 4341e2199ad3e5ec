"""The decoding kernel of `native/*.c`: compiled once on the machine that runs it, then kept and loaded.

    library = load_library()          None where there is no C compiler; why_not() then says so

The compiler takes a few seconds, once for each version of the source, compiler and processor; `begin_compiling` lets it
work while torch is being imported. The result is kept in the user's own cache folder ($XDG_CACHE_HOME/lm-generate, or
~/.cache/lm-generate), which nobody else may write to, and is named by a hash of all that went into it.
`LM_NATIVE=0` does without. Imports no torch.
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
from pathlib import Path

SOURCES = Path(__file__).parent / "native"
FLAGS = ("-O3", "-std=gnu11", "-D_DEFAULT_SOURCE", "-shared", "-fPIC", "-pthread")
_TIME = 120
"""Seconds after which a compiler is given up."""
_PATIENCE = 4.0
"""Seconds after which whoever waits for it is told."""

log = logging.getLogger(__name__)
_lock = threading.Lock()
_compiling: "subprocess.Popen[bytes] | None" = None
_library: ctypes.CDLL | None = None
_why_not: str | None = None


def load_library() -> ctypes.CDLL | None:
    """The compiled kernel, made now if it has to be. None, always, once it could not be had."""
    global _library, _why_not
    with _lock:
        if _library is None and _why_not is None:
            try:
                _library = ctypes.CDLL(str(_compiled()))
            except (OSError, subprocess.SubprocessError) as error:
                _why_not = str(error)
        return _library


def why_not() -> str | None:
    """Why there is no kernel; None while nobody has asked for it, and where there is one."""
    return _why_not


def begin_compiling() -> bool:
    """Starts the compiler in the background if the kernel is not in the cache; whether one is at work. Tells no errors: `load_library` does."""
    global _compiling
    try:
        command, target = _plan()
        if not target.exists() and _compiling is None:
            _compiling = subprocess.Popen(
                _command(command, _unfinished(target)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
    except OSError:
        pass  # load_library tries again, and says why
    return _compiling is not None


def _compiled() -> Path:
    command, target = _plan()
    if target.exists():
        return target
    global _compiling
    if _made is not None and target.parent == Path(_made.name):
        log.info(
            "the decoding kernel is compiled for this process alone, since nothing can be kept in %s; "
            "set XDG_CACHE_HOME to a folder of yours and it is compiled once",
            _wanted_folder() or "a home folder",
        )
    unfinished = _unfinished(target)
    if _compiling is not None:
        compiler, _compiling = _compiling, None
        failed = _wait(compiler)
    else:
        failed = 1
    if failed:
        ran = subprocess.run(_command(command, unfinished), capture_output=True, timeout=_TIME, check=False)
        if ran.returncode:
            lines = ran.stderr.decode("utf-8", "replace").splitlines()
            raise OSError(
                f"{command[0]} could not compile the kernel: {lines[0] if lines else ran.returncode}"
            )
    unfinished.replace(target)
    return target


def _wait(compiler: "subprocess.Popen[bytes]") -> int:
    """Its exit code. One that takes too long is ended and raises TimeoutExpired."""
    try:
        return compiler.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        log.info(
            "waiting for the C compiler to make the decoding kernel, once for this machine (LM_NATIVE=0: without)"
        )
    try:
        return compiler.wait(_TIME)
    except subprocess.TimeoutExpired:
        compiler.kill()
        compiler.wait()
        raise


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


def _unfinished(target: Path) -> Path:
    """Where this process's compiler writes; renamed when it is whole, so that nobody loads half a file."""
    return target.with_suffix(f".{os.getpid()}.tmp")


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


def _temporary() -> Path:
    global _made
    if _made is None:
        _made = tempfile.TemporaryDirectory(prefix="lm-generate-")
    return Path(_made.name)


_made: "tempfile.TemporaryDirectory[str] | None" = None
