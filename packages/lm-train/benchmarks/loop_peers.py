"""Tokens a second of whole training loops, ours beside others', on the same text, the same windows a step and the same shape of model.

    python benchmarks/loop_peers.py [--config tinystories] [--batch 8] [--text stdlib] [--steps 20] [--rounds 3] [--threads 2] [--compile] [--json]

ours                  a run of `train` with AdamW: batches, schedule, metrics, log
Hugging Face Trainer  the same block of transformers under its Trainer, with its defaults for one process (transformers, accelerate)
litgpt                its model and its chunked loss under Lightning Fabric, in the order of its pretraining loop (where it is installed)
plain loop            what single-file trainers do: random windows from a memory map, torch.nn layers, torch's loss, clipping and fused AdamW

All update by AdamW in float32 (bfloat16 on a GPU that has it) and clip to 1. Contenders take turns; a round is the median of its steps after
the first five, from the end of one to the end of the next. Evaluations, samples and checkpoints are left out of all of them.
"""

import argparse
import contextlib
import importlib.util
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "5000")  # as the command line does, before torch is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from lm_core import ModelConfig
from lm_train import TokenDataset, TrainConfig, prepare, train
from lm_train.config import EvaluateConfig, OptimConfig, SampleConfig
from lm_train.config_file import read_config
from lm_train.device import Device, choose_device
from lm_train.opening import model_config
from lm_train.view.display import Silent, Status
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lm-core/benchmarks"))
from peers import litgpt_peer, torch_peer, transformers_peer  # the same model as others build it

FIRST = 5
CLIP, RATE = 1.0, 1e-3


class Watch(Silent):
    """When each step was shown."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def training(self, status: Status) -> None:
        self.times.append(time.perf_counter())


class Windows(torch.utils.data.Dataset):
    """Every window of the training split, as inputs and the ids after them."""

    def __init__(self, folder: Path, dtype: str, context: int) -> None:
        self.ids = np.memmap(folder / "train-00000.bin", dtype=dtype, mode="r")
        self.context = context

    def __len__(self) -> int:
        return (len(self.ids) - 1) // self.context

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        start = number * self.context
        ids = torch.from_numpy(self.ids[start : start + self.context + 1].astype(np.int64))
        return ids[:-1], ids[1:]


class Case:
    """What all contenders train: `config` says how, `windows` on what."""

    def __init__(self, config: TrainConfig, dataset: TokenDataset, steps: int) -> None:
        self.config, self.dataset, self.steps = config, dataset, steps
        self.shape: ModelConfig = model_config(config.model, dataset.vocab_size)
        self.device: Device = choose_device(config.device, config.dtype, config.threads)
        kind = "uint16" if dataset.vocab_size <= 1 << 16 else "uint32"
        self.windows = Windows(dataset.folder, kind, self.shape.context)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """As a DataLoader gives them."""
        for inputs, targets in torch.utils.data.DataLoader(
            self.windows, batch_size=self.config.batch, shuffle=True
        ):
            yield inputs.to(self.device.kind), targets.to(self.device.kind)


def ours(case: Case) -> list[float]:
    never = case.steps + 1
    with tempfile.TemporaryDirectory() as folder:
        config = replace(
            case.config,
            data=str(case.dataset.folder),
            out=folder,
            minutes=None,
            tokens=None,
            steps=case.steps,
            optim=OptimConfig(name="adamw", lr=RATE, clip=CLIP),
            evaluate=EvaluateConfig(every=never, windows=1, final_windows=1),
            samples=SampleConfig(every=never, tokens=1),
        )
        watch = Watch()
        train(config, display=watch)
    return watch.times


def trainer(case: Case) -> list[float]:
    import transformers

    transformers.logging.set_verbosity_error()
    times: list[float] = []

    class Noted(transformers.TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            times.append(time.perf_counter())

    def collated(rows: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        ids = torch.stack([inputs for inputs, _ in rows])
        return {"input_ids": ids, "labels": ids}  # it shifts them itself

    with tempfile.TemporaryDirectory() as folder:
        settings = transformers.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=case.config.batch,
            max_steps=case.steps,
            learning_rate=RATE,
            max_grad_norm=CLIP,
            lr_scheduler_type="cosine",
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=case.device.kind == "cpu",
            bf16=case.device.dtype == torch.bfloat16,
            torch_compile=case.config.compile,
        )
        model, _ = transformers_peer(case.shape)
        transformers.Trainer(
            model=model,
            args=settings,
            train_dataset=case.windows,
            data_collator=collated,
            callbacks=[Noted()],
        ).train()
    return times


def litgpt(case: Case) -> list[float]:
    import lightning
    from litgpt.utils import chunked_cross_entropy

    precision = "bf16-true" if case.device.dtype == torch.bfloat16 else "32-true"
    fabric = lightning.Fabric(devices=1, accelerator=case.device.kind, precision=precision)
    with fabric.init_module():
        model, _ = litgpt_peer(case.shape)
    model = fabric.setup(torch.compile(model) if case.config.compile else model)
    optimizer = fabric.setup_optimizers(
        torch.optim.AdamW(model.parameters(), lr=RATE, fused=case.device.kind == "cuda")
    )
    times = []
    for _, (inputs, targets) in zip(range(case.steps), case.batches(), strict=False):
        loss = chunked_cross_entropy(model(inputs), targets)
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=CLIP)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # it logs the loss of every step
        times.append(time.perf_counter())
    return times


def plain(case: Case) -> list[float]:
    model, _ = torch_peer(case.shape)
    model = model.to(case.device.kind)
    model = torch.compile(model) if case.config.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    ids, context, batch = case.windows.ids, case.shape.context, case.config.batch
    times = []
    for _ in range(case.steps):
        starts = torch.randint(len(ids) - context, (batch,)).tolist()
        rows = torch.stack([torch.from_numpy(ids[i : i + context + 1].astype(np.int64)) for i in starts])
        rows = rows.to(case.device.kind)
        with case.device.autocast():
            logits = model(rows[:, :-1])
            loss = functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        times.append(time.perf_counter())
    return times


CONTENDERS: dict[str, tuple[str, Callable[[Case], list[float]]]] = {
    "ours": ("lm_train", ours),
    "Hugging Face Trainer": ("accelerate", trainer),
    "litgpt": ("litgpt", litgpt),
    "plain loop": ("torch", plain),
}


def rate(case: Case, times: list[float]) -> float:
    """Tokens a second from the median step."""
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return case.config.tokens_per_step / statistics.median(gaps[FIRST:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="tinystories", help="a recipe, for its shape")
    parser.add_argument("--text", default="stdlib", help="what to train on: a named text or a file")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    config = read_config([options.config])
    config = replace(
        config,
        batch=options.batch,
        micro_batch=None,
        threads=options.threads or config.threads,
        compile=options.compile,
    )
    runs: dict[str, list[float]] = {
        name: [] for name, (needs, _) in CONTENDERS.items() if importlib.util.find_spec(needs)
    }
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = prepare(options.text, f"{folder}/data", vocab_size=config.vocab_size)
        case = Case(config, dataset, options.steps)
        for _ in range(options.rounds):
            for name in runs:
                with contextlib.redirect_stdout(sys.stderr):
                    runs[name].append(rate(case, CONTENDERS[name][1](case)))
    shape = f"{options.batch} x {case.shape.context} tokens a step, {options.config}{', compiled' if options.compile else ''}"
    row = {"case": shape, "measure": "training loop", "unit": "tokens/s", "better": "higher", "runs": runs}
    if options.json:
        print(json.dumps({"rows": [row]}))
        return
    print(f"{shape}, {case.device}")
    for name, numbers in runs.items():
        ratios = [first / other for first, other in zip(runs["ours"], numbers, strict=True)]
        print(
            f"{name:22}{statistics.median(numbers):10,.0f} tokens/s   ours is {statistics.median(ratios):.2f} x"
        )


if __name__ == "__main__":
    main()
