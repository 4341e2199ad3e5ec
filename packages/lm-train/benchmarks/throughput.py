"""How fast the loop trains, and what it adds to the bare step.

    python throughput.py [--config RECIPE_OR_FILE ...] [--steps N] [--threads N] [--json]

bare step    forward, loss, backward, clip, update on one batch that is already there
whole loop   a run of as many steps through `train`: batches, schedule, metrics, display (evaluations, samples, checkpoints and report apart)

Time is of steps after the first five; the median is given, and tokens per second from it.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace

os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as the command line does, before torch is imported

import torch
from lm_core import Transformer
from lm_train import Batches, TrainConfig, prepare, train
from lm_train.config import EvaluateConfig, SampleConfig
from lm_train.config_file import read_config
from lm_train.device import choose_device
from lm_train.opening import model_config
from lm_train.optimizers import Optimizers
from lm_train.step import train_step
from lm_train.view.display import Silent, Status

_FIRST = 5


class Watch(Silent):
    """When each step was shown."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def training(self, status: Status) -> None:
        self.times.append(time.perf_counter())


def bare(config: TrainConfig, steps: int, folder: str) -> list[float]:
    """Seconds of each step on one batch."""
    dataset = prepare(config.data, f"{folder}/data", vocab_size=config.vocab_size)
    device = choose_device(config.device, config.dtype, config.threads)
    model = Transformer(model_config(config.model, dataset.vocab_size)).to(device.kind)
    optimizers = Optimizers(model, config.optim, scaled=device.scaled)
    optimizers.set_step(0, 1.0)
    batches = Batches(dataset, context=config.model.context, batch=config.batch, seed=0)
    inputs, targets = (ids.to(device.kind) for ids in batches.batch(0))
    times = []
    for _ in range(steps):
        started = time.perf_counter()
        train_step(model, optimizers, inputs, targets, clip=config.optim.clip, autocast=device.autocast)
        times.append(time.perf_counter() - started)
    return times[_FIRST:]


def whole(config: TrainConfig, steps: int, folder: str) -> list[float]:
    """Seconds from each step to the next in a run."""
    never = steps + 1
    config = replace(
        config,
        data=f"{folder}/data",
        out=f"{folder}/runs",
        datasets=f"{folder}/datasets",
        minutes=None,
        tokens=None,
        steps=steps,
        evaluate=EvaluateConfig(every=never, windows=1, final_windows=1),
        samples=SampleConfig(every=never, tokens=1),
    )
    watch = Watch()
    train(config, display=watch)
    gaps = [after - before for before, after in zip(watch.times, watch.times[1:], strict=False)]
    return gaps[_FIRST:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description="How fast the loop trains, and what it adds to the bare step."
    )
    parser.add_argument("--config", action="append", default=[], help="a recipe or a settings file")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    config = replace(config, threads=arguments.threads or config.threads)
    with tempfile.TemporaryDirectory() as folder:
        step = bare(config, arguments.steps, folder)  # it makes the dataset, too
        times = {"whole loop": whole(config, arguments.steps, folder), "bare step": step}
    seconds = {what: statistics.median(each) for what, each in times.items()}
    rows = [
        {"what": what, "ms": 1000 * value, "tokens_per_second": config.tokens_per_step / value}
        for what, value in seconds.items()
    ]
    overhead = seconds["whole loop"] / seconds["bare step"] - 1
    if arguments.json:
        rates = {what: [config.tokens_per_step / each for each in taken] for what, taken in times.items()}
        case = f"{config.batch} x {config.model.context} tokens a step"
        row = {"case": case, "measure": "training", "unit": "tokens/s", "better": "higher", "runs": rates}
        print(json.dumps({"rows": [row]}))
        return
    print(f"{'':12}{'ms a step':>12}{'tokens/s':>12}")
    for row in rows:
        print(f"{row['what']:12}{row['ms']:12.1f}{row['tokens_per_second']:12,.0f}")
    print(f"the loop adds {overhead:.1%}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
