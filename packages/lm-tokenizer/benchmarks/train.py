"""Seconds and memory to train a tokenizer, beside `tokenizers`; the merge lists are compared.

python benchmarks/train.py [TEXT] [--megabytes 10] [--vocab-size 10000]
"""

import hashlib
import importlib.util
import json
import tempfile
import time
from pathlib import Path

from bench import make_parser, measure, peak_megabytes, report, sample

PEERS = ["lm-tokenizer", "tokenizers"]


def main() -> None:
    parser = make_parser(__doc__ or "", megabytes=10)
    options = parser.parse_args()
    if options.one:
        return one(*options.one, options.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text"
        text.write_text(sample(options.text, options.megabytes), encoding="utf-8")
        rows = []
        for peer in PEERS:
            if importlib.util.find_spec(peer.replace("-", "_")) is None:
                print(f"{peer} is not installed; left out")
                continue
            rows.append(measure(__file__, peer, text, options))
            rows[-1]["MB/s"] = text.stat().st_size / 1e6 / rows[-1]["seconds"]
        title = f"train {text.stat().st_size / 1e6:.1f} MB, vocabulary {options.vocab_size}, pattern gpt2"
        report(title, rows, as_json=options.json)
    return None


def one(peer: str, text: str, vocab_size: int) -> None:
    merges = []
    if peer == "lm-tokenizer":
        from lm_tokenizer import Tokenizer

        start = time.perf_counter()
        tokenizer = Tokenizer.train(files=[text], vocab_size=vocab_size, special_tokens=())
        seconds = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save(folder)
            merges = json.loads((Path(folder) / "tokenizer.json").read_text())["model"]["merges"]
    else:
        from tokenizers import Tokenizer as Theirs
        from tokenizers import models, pre_tokenizers, trainers

        theirs = Theirs(models.BPE())
        theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
        content = Path(text).read_text(encoding="utf-8")
        start = time.perf_counter()
        theirs.train_from_iterator([content], trainer)
        seconds = time.perf_counter() - start
        merges = json.loads(theirs.to_str())["model"]["merges"]
    digest = hashlib.sha256(json.dumps(merges).encode()).hexdigest()[:12]
    row = {
        "peer": peer,
        "seconds": seconds,
        "peak MB": peak_megabytes(),
        "merges": len(merges),
        "merges sha": digest,
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
