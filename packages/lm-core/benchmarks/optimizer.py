"""Milliseconds of one optimizer step beside torch's, on the parameters of a small transformer.

python benchmarks/optimizer.py                       # about 20 M parameters
ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/optimizer.py --slow --rounds 2    # as on a CPU without bfloat16 units: read "Muon in float32"
python benchmarks/optimizer.py --d-model 768 --layers 12 --vocab-size 50304 --threads 2 --json
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
from lm_core.optim import Adafactor, AdamW, Lion, Muon, ScheduleFreeAdamW, clip_grad_norm
from torch import Tensor

# What is set beside what in a record: ours first.
COMPARED = {
    "AdamW": ("AdamW", "AdamW, compiled", "torch AdamW fused", "torch AdamW foreach"),
    "Adafactor": ("Adafactor", "torch Adafactor"),
    "Muon": ("Muon (matrices only)", "Muon in float32 (matrices only)", "torch Muon (matrices only)"),
    "clipping": ("clip_grad_norm", "torch clip_grad_norm_"),
}


def make_parameters(
    vocab_size: int, d_model: int, layers: int, device: str
) -> tuple[list[Tensor], list[Tensor]]:
    """(matrices of the blocks, all the rest) with random gradients: 4 attention and 3 SwiGLU matrices a layer."""
    d_ff = (8 * d_model // 3 + 63) // 64 * 64
    block = [(d_model, d_model)] * 4 + [(d_ff, d_model)] * 2 + [(d_model, d_ff)]
    rest = [(vocab_size, d_model)] * 2 + [(d_model,)] * (2 * layers + 1)
    return _random(block * layers, device), _random(rest, device)


def _random(shapes: list[tuple[int, ...]], device: str) -> list[Tensor]:
    parameters = [(0.02 * torch.randn(shape, device=device)).requires_grad_() for shape in shapes]
    for parameter in parameters:
        parameter.grad = 0.01 * torch.randn_like(parameter)
    return parameters


def take_turns(steps: list[Callable[[], object]], rounds: int, device: str) -> list[list[float]]:
    """Milliseconds of each in every round, taken in turns so that a slow moment of the machine hits all alike."""
    times: list[list[float]] = [[] for _ in steps]
    for round_number in range(rounds + 1):
        for step, record in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            if device == "cuda":
                torch.cuda.synchronize()
            if round_number:  # the first one allocates the state
                record.append(1000 * (time.perf_counter() - start))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocab-size", type=int, default=10_000)
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--slow", action="store_true", help="also torch's Muon, which takes seconds where bfloat16 is slow"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    matrices, rest = make_parameters(options.vocab_size, options.d_model, options.layers, options.device)
    everything = matrices + rest
    theirs = torch.optim
    steps: dict[str, Callable[[], object]] = {
        "AdamW": AdamW(everything, lr=1e-6).step,
        "AdamW, compiled": AdamW(everything, lr=1e-6, compile=True).step,
        "AdamW, one tensor after another": AdamW(everything, lr=1e-6, foreach=False).step,
        "torch AdamW fused": theirs.AdamW(everything, lr=1e-6, fused=True).step,
        "torch AdamW foreach": theirs.AdamW(everything, lr=1e-6, foreach=True).step,
        "torch AdamW default": theirs.AdamW(everything, lr=1e-6).step,
        "ScheduleFreeAdamW": ScheduleFreeAdamW(everything, lr=1e-6).step,
        "Lion": Lion(everything, lr=1e-6).step,
        "Adafactor": Adafactor(everything, lr=1e-6).step,
        "torch Adafactor": theirs.Adafactor(everything, lr=1e-6).step,
        "Muon (matrices only)": Muon(matrices, lr=1e-6).step,
        "Muon, one matrix after another": Muon(matrices, lr=1e-6, foreach=False).step,
        "clip_grad_norm": lambda: clip_grad_norm(everything, 1e9),
        "torch clip_grad_norm_": lambda: torch.nn.utils.clip_grad_norm_(everything, 1e9),
    }
    if options.slow:
        steps["Muon in float32 (matrices only)"] = Muon(matrices, lr=1e-6, ns_dtype=torch.float32).step
        steps["torch Muon (matrices only)"] = theirs.Muon(matrices, lr=1e-6).step
    names = list(steps)
    times = dict(zip(names, take_turns(list(steps.values()), options.rounds, options.device), strict=True))
    milliseconds = {name: min(record) for name, record in times.items()}
    facts = {
        "parameters": sum(parameter.numel() for parameter in everything),
        "in_matrices": sum(parameter.numel() for parameter in matrices),
        "threads": options.threads,
        "device": options.device,
        "milliseconds": milliseconds,
    }
    if options.json:
        case = f"{facts['parameters']:,} parameters"
        kept = [
            {
                "case": case,
                "measure": measure,
                "unit": "ms",
                "better": "lower",
                "runs": {name: times[name] for name in contenders if name in times},
            }
            for measure, contenders in COMPARED.items()
        ]
        print(json.dumps({"rows": kept}))
        return
    print(
        f"{facts['parameters']:,} parameters, {facts['in_matrices']:,} in matrices of blocks; {options.threads} threads, {options.device}"
    )
    for name, value in milliseconds.items():
        print(f"{name:34} {value:9.2f} ms")


if __name__ == "__main__":
    main()
