"""Prefill tokens/s, milliseconds to the first token, decode tokens/s of one model, beside transformers' generate.

    python benchmarks/latency.py                    # a random model of the size "S", made for the purpose
    python benchmarks/latency.py MODEL_FOLDER --json

Each figure is the median of the rounds; both engines take turns in every round, write greedily from the same ids, never
stop early, and must agree on the tokens.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from lm_core import ModelConfig, Transformer, save_model
from lm_generate import Engine, load
from lm_tokenizer import Tokenizer

SIZES = {
    "S": ModelConfig(vocab_size=10_000, context=512, d_model=512, n_layers=4, n_heads=16, d_ff=1344),
    "M": ModelConfig(
        vocab_size=50_257, context=1024, d_model=768, n_layers=12, n_heads=12, d_ff=3072, position="learned",
        norm="layer", activation="gelu", bias=True, tie_embeddings=True,
    ),
}  # fmt: skip
"""S: a Llama of about 22 M parameters. M: GPT-2's 124 M."""


def make_model(folder: Path, size: str = "S") -> Path:
    """A random model of that size, with a tokenizer that has every id: an engine that never writes others is like all."""
    config = SIZES[size]
    library = Path(json.__file__).parent.parent  # Python's own, on every machine
    sources = sorted(path for path in library.rglob("*.py") if "site-packages" not in path.parts)
    tokenizer = Tokenizer.train(files=sources, vocab_size=config.vocab_size)
    model = Transformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():  # what starts at zero would make every token the same
                parameter.normal_(0, 0.5 / parameter.shape[-1] ** 0.5)
        (model.embedding if model.head is None else model.head).weight.mul_(4)
    save_model(model, folder / size, add_files=tokenizer.save)
    return folder / size


def ours(engine: Engine, ids: list[int], new: int) -> tuple[dict[str, float], tuple[int, ...]]:
    got = engine.generate(ids, max_tokens=new, temperature=0, stop_ids=())
    return {
        "prefill tok/s": len(ids) / got.timings.prefill,
        "first token ms": got.timings.first_token * 1e3,
        "decode tok/s": got.timings.tokens_per_second(len(got.ids)),
    }, got.ids


def theirs(
    model: torch.nn.Module, ids: list[int], new: int, banned: list[list[int]] | None
) -> tuple[dict[str, float], tuple[int, ...]]:
    """transformers with its dynamic cache: one call for the first token, one for all, so that decode is the difference."""
    tokens = torch.tensor([ids])
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0, "bad_words_ids": banned}
    seconds = []
    for count in (1, new):
        started = time.perf_counter()
        out = model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            min_new_tokens=count,
            max_new_tokens=count,
            **options,
        )
        seconds.append(time.perf_counter() - started)
    return {
        "prefill tok/s": len(ids) / seconds[0],
        "first token ms": seconds[0] * 1e3,
        "decode tok/s": (new - 1) / (seconds[1] - seconds[0]),
    }, tuple(out[0, len(ids) :].tolist())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="a model folder; without one a random model is made")
    parser.add_argument("--prompt", type=int, default=128, help="prompt tokens (default 128)")
    parser.add_argument("--new", type=int, default=100, help="tokens to write (default 100)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    with tempfile.TemporaryDirectory() as made:
        folder = Path(arguments.model) if arguments.model else make_model(Path(made))
        engine = load(folder)
        engines = {"lm-generate": lambda ids: ours(engine, ids, arguments.new)}
        try:
            from transformers import AutoModelForCausalLM

            peer = AutoModelForCausalLM.from_pretrained(folder, dtype=engine.dtype).eval()
            vocab = engine.tokenizer.vocab
            unknown = [[id] for id in range(engine.config.vocab_size) if id not in vocab]
            engines["transformers"] = lambda ids: theirs(peer, ids, arguments.new, unknown or None)
        except ImportError:
            pass  # it is a peer to compare with, not a dependency

        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
        tokens = {}
        for number in range(arguments.rounds + 1):  # the first warms up
            # a new prompt in every round: what was read before would not be read again
            ids = [
                (31 * i + 7 * number + 1) % min(256, engine.config.vocab_size)
                for i in range(arguments.prompt)
            ]
            for name, measure in engines.items():
                figures, tokens[name] = measure(ids)
                rounds[name].append(figures)
        table = {
            name: {key: statistics.median(r[key] for r in measured[1:]) for key in measured[0]}
            for name, measured in rounds.items()
        }
        agree = len(set(tokens.values())) == 1

    if arguments.json:
        case = f"prompt of {arguments.prompt} tokens, {arguments.threads} threads"
        rows = [
            {
                "case": case,
                "measure": measure.removesuffix(unit).strip(),
                "unit": {"tok/s": "tokens/s"}.get(unit, unit),
                "better": "lower" if unit == "ms" else "higher",
                "runs": {name: [each[measure] for each in measured[1:]] for name, measured in rounds.items()},
            }
            for measure in table["lm-generate"]
            for unit in [measure.split()[-1]]
        ]
        print(json.dumps({"rows": rows}))
        return
    print(f"{'':14}" + "".join(f"{key:>16}" for key in table["lm-generate"]))
    for name, figures in table.items():
        print(f"{name:14}" + "".join(f"{value:16.1f}" for value in figures.values()))
    print("same tokens" if agree else "THE TOKENS DIFFER")


if __name__ == "__main__":
    main()
