"""Makes run-v1/ beside this file: a run folder and checkpoint of format version 1, frozen, stopped at step 3 of 5.

python tests/golden/make_run_v1.py         # refuses to overwrite: a released version's golden files never change
"""

import contextlib
import shutil
import tempfile
from pathlib import Path

from lm_train import TrainConfig, train
from lm_train.config import EvaluateConfig, ModelOptions, SampleConfig
from lm_train.run_folder import RunFolder

HERE = Path(__file__).parent
TEXT = "one two three four five six seven eight nine ten\n" * 40


def main() -> None:
    target = HERE / "run-v1"
    if target.exists():
        raise SystemExit(f"{target} is frozen")
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
    ):  # so that the files name no machine's paths
        Path("counting.txt").write_text(TEXT, encoding="utf-8")
        config = TrainConfig(
            data="counting.txt",
            name="run-v1",
            vocab_size=260,
            batch=2,
            steps=3,
            threads=1,
            model=ModelOptions(context=8, d_model=8, n_layers=1, n_heads=2, d_ff=16),
            evaluate=EvaluateConfig(every=2),
            samples=SampleConfig(every=3, prompts=("one",), tokens=4),
        )
        run = RunFolder.open(train(config).folder)
        run.update(machine={"system": "any"})
        # The report is made from the other files, and is no format: it is not frozen.
        shutil.copytree(run.path, target, ignore=shutil.ignore_patterns("report.html"))


if __name__ == "__main__":
    main()
