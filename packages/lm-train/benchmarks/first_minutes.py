"""What a model knows of held-out text after its first minutes on a CPU, in bits per byte: less is better.

    python benchmarks/first_minutes.py [--seconds 60] [--threads 2] [--json]
    python benchmarks/first_minutes.py --shakespeare input.txt --tinystories stories.txt       also on these two, which others report

Each figure is a whole run: `lm-train`'s defaults (for Shakespeare with the vocabulary of its recipe), or nanoGPT's own CPU recipe for
Shakespeare as its README gives it (characters, 4 layers of 128, windows of 64, batches of 12, AdamW), trained by the same loop: three times
as long, since that is what it is to be reached in a fifth of. Both hold out the same last twentieth.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from lm_train import TrainConfig, train
from lm_train.config import EvaluateConfig, ModelOptions, OptimConfig, SampleConfig, ScheduleConfig
from lm_train.view.display import Silent

NANOGPT = TrainConfig(
    tokenizer="characters",
    batch=12,
    model=ModelOptions(
        context=64, d_model=128, n_layers=4, n_heads=4, d_ff=512, position="learned", norm="layer", activation="gelu",
        qk_norm=False, tie_embeddings=True, init="gpt2",
    ),
    optim=OptimConfig(name="adamw", lr=1e-3, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1),
    schedule=ScheduleConfig(name="cosine", warmup=100, floor=0.1),
)  # fmt: skip


def bits(config: TrainConfig, seconds: float, threads: int | None) -> float:
    """Held-out bits per byte at the end of a run of so many seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        whole = replace(
            config,
            minutes=seconds / 60,
            threads=threads,
            out=f"{folder}/runs",
            datasets=f"{folder}/datasets",
            evaluate=EvaluateConfig(every=10**9, windows=1, final_windows=100_000),
            samples=SampleConfig(every=10**9, tokens=1),
        )
        return float(train(whole, display=Silent()).valid_bits_per_byte)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shakespeare", type=Path, metavar="FILE", help="the 1.1 MB that nanoGPT begins with"
    )
    parser.add_argument("--tinystories", type=Path, metavar="FILE", help="some megabytes of TinyStories")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    short, long = options.seconds, 3 * options.seconds
    rows = []

    def row(case: str, **runs: float) -> None:
        found = {name.replace("_", " "): [value] for name, value in runs.items()}
        rows.append(
            {"case": case, "measure": "held-out text", "unit": "bits/byte", "better": "lower", "runs": found}
        )
        if not options.json:
            print(
                f"{case:44}" + "   ".join(f"{name} {value[0]:.3f}" for name, value in found.items()),
                flush=True,
            )

    row(f"standard library, {short:g} s", ours=bits(TrainConfig(), short, options.threads))
    if options.tinystories:
        stories = TrainConfig(data=str(options.tinystories))
        row(f"TinyStories, {short:g} s", ours=bits(stories, short, options.threads))
    if options.shakespeare:
        plays = TrainConfig(data=str(options.shakespeare), vocab_size=1024)
        theirs = replace(NANOGPT, data=str(options.shakespeare))
        row(
            f"Shakespeare, {0.2 * long:g} s against {long:g} s",
            ours=bits(plays, 0.2 * long, options.threads),
            nanoGPT_recipe=bits(theirs, long, options.threads),
        )
    if options.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
