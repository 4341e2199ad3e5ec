"""Photographs a real first run into first-run.svg, next to this file: `python docs/draw_first_run.py [--at SECONDS] [train's arguments]`.

Runs `train` in a terminal (tmux), takes the screen when the run has trained for a while, and lets it end. Run it on an idle machine:
the figures in the picture are those of the run.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 100, 30
PICTURE = Path(__file__).with_name("first-run.svg")


def tmux(*arguments: str) -> str:
    return subprocess.run(["tmux", *arguments], capture_output=True, text=True, check=True).stdout


def screen(session: str) -> str:
    return tmux("capture-pane", "-t", session, "-p", "-e").rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description="Photographs a real first run into first-run.svg.")
    parser.add_argument("--at", type=float, default=45, help="seconds after the first numbers")
    own, arguments = parser.parse_known_args()
    session = f"first-run-{os.getpid()}"
    command = shlex.join([sys.executable, "-m", "lm_train", *arguments])
    with tempfile.TemporaryDirectory() as folder:
        tmux("new-session", "-d", "-s", session, "-x", str(COLUMNS), "-y", str(ROWS), "-c", folder)
        tmux("send-keys", "-t", session, f"clear; PS1='$ '; {command}; exit", "Enter")
        while "tokens/s" not in screen(session):
            time.sleep(0.5)
        time.sleep(own.at)
        picture = screen(session)
        while (
            subprocess.run(
                ["tmux", "has-session", "-t", session], check=False, stderr=subprocess.DEVNULL
            ).returncode
            == 0
        ):
            time.sleep(0.5)
    lines = picture.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("data "))
    shown = Text("$ uv run --package lm-train train\n", "bold").append_text(
        Text.from_ansi("\n".join(lines[first:]))
    )
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    console.print(shown)
    without_fonts = re.sub(
        r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL
    )  # they are on the network
    console.save_svg(str(PICTURE), title="a first run", code_format=without_fonts)
    print(PICTURE.name)


if __name__ == "__main__":
    main()
