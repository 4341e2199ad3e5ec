"""Tokens a second of whole training loops, ours beside others', on the same text, the same windows a step and the same shape of model.

    python benchmarks/loop_peers.py [--config tinystories] [--batch 8] [--text stdlib] [--turns 5] [--threads 2] [--compile] [--nanogpt FOLDER] [--json]

ours                  a run of `train` with AdamW: batches, schedule, metrics, log
Hugging Face Trainer  the same block of transformers under its Trainer, with its defaults for one process (transformers, accelerate)
litgpt                its model and its chunked loss under Lightning Fabric, in the order of its pretraining loop (where it is installed)
nanoGPT               its model and its optimizer in the order of its train.py: a GPT-2 block of the same width and depth (with --nanogpt,
                      the folder that holds its model.py: it is no package)
plain loop            what single-file trainers do: random windows from a memory map, torch.nn layers, torch's loss, clipping and fused AdamW

All update by AdamW in float32 (bfloat16 on a GPU that has it) and clip to 1. They take turns of `STEPS` steps; in its first, which does not
count, each is built and compiled. A turn's rate is the median of its steps after the first, from the end of one to the end of the next.
Evaluations, samples and checkpoints are left out of all of them.
"""

import argparse
import contextlib
import functools
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
from turns import Turns

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "lm-core/benchmarks"))
from peers import litgpt_peer, torch_peer, transformers_peer  # the same model as others build it

STEPS = 4
CLIP, RATE = 1.0, 1e-3
Stepped = Callable[[], None]
"""To be called at the end of each step; gives the turn to the next contender at times."""


class Watch(Silent):
    """Tells of each step when it is shown."""

    def __init__(self, stepped: Stepped) -> None:
        self.stepped = stepped

    def training(self, status: Status) -> None:
        self.stepped()


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

    def __init__(self, config: TrainConfig, dataset: TokenDataset, steps: int, nanogpt: Path | None) -> None:
        self.config, self.dataset, self.steps, self.nanogpt = config, dataset, steps, nanogpt
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

    def random_windows(self) -> tuple[Tensor, Tensor]:
        """As single-file trainers take them."""
        ids, context = self.windows.ids, self.shape.context
        starts = torch.randint(len(ids) - context, (self.config.batch,)).tolist()
        rows = torch.stack([torch.from_numpy(ids[i : i + context + 1].astype(np.int64)) for i in starts])
        rows = rows.to(self.device.kind)
        return rows[:, :-1], rows[:, 1:].contiguous()


def ours(case: Case, stepped: Stepped) -> None:
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
        train(config, display=Watch(stepped))


def trainer(case: Case, stepped: Stepped) -> None:
    import transformers

    transformers.logging.set_verbosity_error()

    class Noted(transformers.TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            stepped()

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


def litgpt(case: Case, stepped: Stepped) -> None:
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
    for _, (inputs, targets) in zip(range(case.steps), case.batches(), strict=False):
        loss = chunked_cross_entropy(model(inputs), targets)
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=CLIP)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()  # it logs the loss of every step
        stepped()


def nanogpt(case: Case, stepped: Stepped) -> None:
    sys.path.insert(0, str(case.nanogpt))
    from model import GPT, GPTConfig

    shape = case.shape
    model = GPT(
        GPTConfig(
            block_size=shape.context,
            vocab_size=shape.vocab_size,
            n_layer=shape.n_layers,
            n_head=shape.n_heads,
            n_embd=shape.d_model,
            bias=False,
        )
    ).to(case.device.kind)
    optimizer = model.configure_optimizers(0.1, RATE, (0.9, 0.95), case.device.kind)
    model = torch.compile(model) if case.config.compile else model
    inputs, targets = case.random_windows()
    for _ in range(case.steps):
        with case.device.autocast():
            _, loss = model(inputs, targets)
        inputs, targets = case.random_windows()  # it reads the next batch between the two
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        stepped()


def plain(case: Case, stepped: Stepped) -> None:
    model, _ = torch_peer(case.shape)
    model = model.to(case.device.kind)
    model = torch.compile(model) if case.config.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=True)
    for _ in range(case.steps):
        inputs, targets = case.random_windows()
        with case.device.autocast():
            loss = functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        stepped()


CONTENDERS: dict[str, tuple[str, Callable[[Case, Stepped], None]]] = {
    "ours": ("lm_train", ours),
    "Hugging Face Trainer": ("accelerate", trainer),
    "litgpt": ("litgpt", litgpt),
    "nanoGPT": ("torch", nanogpt),
    "plain loop": ("torch", plain),
}


def measured(case: Case, names: list[str]) -> dict[str, list[float]]:
    """Tokens a second of each contender, turn by turn."""
    turns = Turns(names)
    times: dict[str, list[float]] = {name: [] for name in names}

    def stepped(name: str) -> None:
        times[name].append(time.perf_counter())
        if len(times[name]) % STEPS == 0 and len(times[name]) < case.steps:
            turns.pass_on(name)

    def contender(name: str) -> None:
        torch.set_num_threads(case.device.threads)  # a thread has its own
        CONTENDERS[name][1](case, functools.partial(stepped, name))

    turns.run({name: functools.partial(contender, name) for name in names})
    return {name: [rate(case, turn) for turn in batched(each)[1:]] for name, each in times.items()}


def batched(times: list[float]) -> list[list[float]]:
    return [times[start : start + STEPS] for start in range(0, len(times), STEPS)]


def rate(case: Case, times: list[float]) -> float:
    """Tokens a second of a turn."""
    gaps = [after - before for before, after in itertools.pairwise(times)]
    return case.config.tokens_per_step / statistics.median(gaps)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="tinystories", help="a recipe, for its shape")
    parser.add_argument("--text", default="stdlib", help="what to train on: a named text or a file")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5, help="of each, and one more to begin with")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--nanogpt", type=Path, metavar="FOLDER", help="the folder of nanoGPT's model.py")
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
    names = [
        name
        for name, (needs, _) in CONTENDERS.items()
        if importlib.util.find_spec(needs) and (options.nanogpt or name != "nanoGPT")
    ]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = prepare(options.text, f"{folder}/data", vocab_size=config.vocab_size)
        case = Case(config, dataset, STEPS * (options.turns + 1), options.nanogpt)
        with contextlib.redirect_stdout(sys.stderr):
            runs = measured(case, names)
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
