"""How this program was called, so that messages can print the next command as it is to be typed."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

from lm_train.parallel.launcher import launched, processes_here


def own_command() -> str:
    """How this program was called, so that it can be called again: `uv run --package lm-train train` in a uv workspace."""
    name = Path(sys.argv[0]).name
    if launched():
        return f"torchrun --nproc-per-node {processes_here()} -m lm_train"
    if name == "__main__.py":
        name = f"{Path(sys.executable).name} -m lm_train"
    elif name not in ("train", "lm-train"):
        name = "lm-train"
    if "UV" not in os.environ:  # uv run tells its children where uv is
        return name
    return f"uv run --package lm-train {name}" if _in_workspace() else f"uv run {name}"


def _in_workspace() -> bool:
    project = Path("pyproject.toml")
    if not project.is_file():
        return False
    try:
        tool = tomllib.loads(project.read_text(encoding="utf-8")).get("tool", {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return False
    return "workspace" in tool.get("uv", {})
