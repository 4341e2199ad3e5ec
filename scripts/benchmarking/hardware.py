"""The machine and the versions that a record was taken with."""

import datetime
import os
import platform
import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

VERSIONS = """
import importlib.metadata, sys
for name in sys.argv[1:]:
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        pass
"""


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def hardware(python: Path, package: str) -> dict[str, str]:
    """The machine in words, a name for it that a folder can have, and the versions of the package, its dependencies and its peers."""
    cpu, flags = _processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    widest = "avx512" if "avx512f" in flags else "avx2" if "avx2" in flags else platform.machine().lower()
    kind = re.sub(r"[^a-z0-9]+", "-", platform.machine().lower()).strip("-")
    return {
        "name": f"{kind}-{widest}-{cores}cpu",
        "processor": cpu,
        "cores": f"{cores} cores",
        "vectors": widest,
        "system": f"{platform.system()}, Python {platform.python_version()}",
        "versions": _versions(python, package),
    }


def _processor() -> tuple[str, str]:
    """(model name, flags) where the system tells, else the architecture."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine(), ""
    name = re.search(r"model name\s*:\s*(.+)", told)
    flags = re.search(r"flags\s*:\s*(.+)", told)
    return (name[1] if name else platform.machine()), (flags[1] if flags else "")


def _versions(python: Path, package: str) -> str:
    project = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text(encoding="utf-8"))
    named = [package, *project["project"]["dependencies"], *project["dependency-groups"].get("bench", [])]
    names = dict.fromkeys(re.split(r"[<>=!\[; ]", line)[0] for line in named)
    done = subprocess.run([python, "-c", VERSIONS, *names], capture_output=True, text=True, check=True)
    return ", ".join(done.stdout.splitlines())
