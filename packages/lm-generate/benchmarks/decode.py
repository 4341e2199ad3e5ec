"""Decode speed of one model at several batch sizes, beside transformers' generate, taking turns in every round.

    python benchmarks/decode.py                       # a random model of the size "S"; batches of 1, 8 and 32
    python benchmarks/decode.py MODEL_FOLDER --batch 1 4 --threads 1 --json

Figures are new tokens a second, all rows together, after the prompt has been read: the time of N tokens less
the time of one. `transformers` writes equal-length prompts, its best case (it would pad ragged ones). Both write
greedily and must agree on the tokens. The ratio is the median of the rounds' own ratios, so a machine that slows
down for a while slows both.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from latency import make_model
from lm_generate import Engine, load
from transformers import AutoModelForCausalLM

Tokens = list[list[int]]


def ours(engine: Engine, prompts: Tokens, new: int) -> tuple[float, Tokens]:
    seconds, rows = [], []
    for count in (1, new):
        started = time.perf_counter()
        rows = engine.batch(prompts, max_tokens=count, temperature=0, stop_ids=())
        seconds.append(time.perf_counter() - started)
    return len(prompts) * (new - 1) / (seconds[1] - seconds[0]), [list(row.ids) for row in rows]


def theirs(
    model: torch.nn.Module, prompts: Tokens, new: int, unknown: list[list[int]] | None
) -> tuple[float, Tokens]:
    ids = torch.tensor(prompts)
    seconds = []
    for count in (1, new):
        started = time.perf_counter()
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=None, pad_token_id=0,
            min_new_tokens=count, max_new_tokens=count, bad_words_ids=unknown,
        )  # fmt: skip
        seconds.append(time.perf_counter() - started)
    return len(prompts) * (new - 1) / (seconds[1] - seconds[0]), out[:, ids.shape[1] :].tolist()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="a model folder; without one a random model is made")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompt", type=int, default=128, help="prompt tokens (default 128)")
    parser.add_argument("--new", type=int, default=48, help="tokens to write (default 48)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(arguments.model) if arguments.model else make_model(Path(made))
        engine = load(folder)
        peer = AutoModelForCausalLM.from_pretrained(folder, dtype=engine.dtype).eval()
        unknown = [[id] for id in range(engine.config.vocab_size) if id not in engine.tokenizer.vocab] or None
        table, rows = {}, []
        for batch in arguments.batch:
            prompts = [
                [(31 * i + 7 * row) % min(256, engine.config.vocab_size) for i in range(arguments.prompt)]
                for row in range(batch)
            ]
            mine, other, agree = [], [], 0
            for _ in range(arguments.rounds + 1):
                speed, tokens = ours(engine, prompts, arguments.new)
                mine.append(speed)
                speed, expected = theirs(peer, prompts, arguments.new, unknown)
                other.append(speed)
                agree = sum(a == b for a, b in zip(tokens, expected, strict=True))
            ratios = [a / b for a, b in zip(mine[1:], other[1:], strict=True)]  # the first round warms up
            rows.append(
                {
                    "case": f"{batch} row{'s' * (batch > 1)}, {arguments.threads} threads",
                    "measure": "decoding",
                    "unit": "tokens/s",
                    "better": "higher",
                    "runs": {"lm-generate": mine[1:], "transformers": other[1:]},
                }
            )
            table[batch] = {
                "lm-generate": statistics.median(mine[1:]),
                "transformers": statistics.median(other[1:]),
                "ratio": statistics.median(ratios),
                "ratio least": min(ratios),
                "ratio most": max(ratios),
                "rows that agree": agree,
            }
    load_average = os.getloadavg()[0]
    if arguments.json:
        print(json.dumps({"rows": rows}))
        return
    print(f"tokens/s; {arguments.threads} threads, load of the machine {load_average:.1f}")
    print(f"{'batch':>5}{'lm-generate':>13}{'transformers':>14}{'ratio (least-most)':>22}   same rows")
    for batch, row in table.items():
        spread = f"{row['ratio']:.2f} ({row['ratio least']:.2f}-{row['ratio most']:.2f})"
        print(
            f"{batch:>5}{row['lm-generate']:13.0f}{row['transformers']:14.0f}{spread:>22}   {row['rows that agree']}"
        )


if __name__ == "__main__":
    main()
