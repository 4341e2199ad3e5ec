"""Finding what to load: a run's newest checkpoint, and the newest run of a folder of runs. Imports no torch.

runs/<name>/checkpoints/step-00001000/     sealed by its manifest.json, which is written last
"""

import re
from pathlib import Path

from lm_generate.errors import NoRunError

TRAIN_COMMAND = "uv run --package lm-train train"
_STEP = re.compile(r"step-(\d+)")


def checkpoints(run: Path) -> list[Path]:
    """The finished checkpoints of a run, the newest (highest step) first."""
    folder = run / "checkpoints"
    if not folder.is_dir():
        return []
    found = [
        (int(match[1]), path)
        for path in folder.iterdir()
        if (match := _STEP.fullmatch(path.name)) and (path / "manifest.json").is_file()
    ]
    return [path for _, path in sorted(found, reverse=True)]


def newest_run(runs: Path | str = "runs") -> Path:
    """The run whose newest checkpoint was written last. Raises `NoRunError` when no run has one."""
    runs = Path(runs)
    found = []
    if runs.is_dir():
        for run in runs.iterdir():
            if newest := checkpoints(run):
                found.append(((newest[0] / "manifest.json").stat().st_mtime_ns, run.name, run))
    if not found:
        what = "holds no run with a checkpoint" if runs.is_dir() else "does not exist"
        raise NoRunError(
            f"no model to load: the folder {runs} {what}; train one with `{TRAIN_COMMAND}`, "
            "or name a model folder with --model"
        )
    return max(found)[2]
