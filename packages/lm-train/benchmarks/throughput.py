"""How fast the loop trains, and what it adds to the bare step.

    python throughput.py [--config RECIPE_OR_FILE ...] [--text TEXT] [--batch N] [--steps N] [--rounds N] [--threads N] [--json]

bare step    forward, loss, backward, clip, update, on batches that are already there
whole loop   a run of as many steps through `train`: batches, schedule, metrics, display (evaluations, samples, checkpoints and report apart)

Both train on the same batches of the same run, and take turns. A round is the median of its steps after the first five; the overhead is
the median of the rounds' own ratios.
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
from lm_train import Batches, TokenDataset, TrainConfig, prepare, train
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


def bare(config: TrainConfig, dataset: TokenDataset, steps: int) -> list[float]:
    """Seconds of each step."""
    device = choose_device(config.device, config.dtype, config.threads)
    torch.manual_seed(config.seed)
    model = Transformer(model_config(config.model, dataset.vocab_size)).to(device.kind)
    optimizers = Optimizers(model, config.optim, scaled=device.scaled)
    batches = Batches(dataset, context=config.model.context, batch=config.batch, seed=config.seed)
    read = [[ids.to(device.kind) for ids in batches.batch(step)] for step in range(steps)]
    times = []
    for step, batch in enumerate(read):
        optimizers.set_step(step, 1.0)
        started = time.perf_counter()
        train_step(model, optimizers, *batch, clip=config.optim.clip, autocast=device.autocast)
        times.append(time.perf_counter() - started)
    return times[_FIRST:]


def whole(config: TrainConfig, dataset: TokenDataset, steps: int, out: str) -> list[float]:
    """Seconds from each step to the next in a run."""
    never = steps + 1
    config = replace(
        config,
        data=str(dataset.folder),
        out=out,
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
    parser.add_argument("--text", help="what to train on instead: a named text or a file")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    config = read_config(options.config)
    config = replace(
        config,
        data=options.text or config.data,
        threads=options.threads or config.threads,
        batch=options.batch or config.batch,
        micro_batch=None,
    )
    runs: dict[str, list[float]] = {"whole loop": [], "bare step": []}
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(config.data, f"{folder}/data", vocab_size=config.vocab_size)
        for _ in range(options.rounds):
            for name, times in (
                ("bare step", bare(config, dataset, options.steps)),
                ("whole loop", whole(config, dataset, options.steps, f"{folder}/runs")),
            ):
                runs[name].append(config.tokens_per_step / statistics.median(times))
    case = f"{config.batch} x {config.model.context} tokens a step"
    if options.json:
        row = {"case": case, "measure": "training", "unit": "tokens/s", "better": "higher", "runs": runs}
        print(json.dumps({"rows": [row]}))
        return
    print(f"{case}, {torch.get_num_threads()} threads")
    for name, rates in runs.items():
        rate = statistics.median(rates)
        print(f"{name:12}{1000 * config.tokens_per_step / rate:10.1f} ms{rate:12,.0f} tokens/s")
    ratios = [step / loop for step, loop in zip(runs["bare step"], runs["whole loop"], strict=True)]
    print(
        f"the loop adds {statistics.median(ratios) - 1:.1%} (rounds: {', '.join(f'{r - 1:.1%}' for r in ratios)})"
    )


if __name__ == "__main__":
    main()
