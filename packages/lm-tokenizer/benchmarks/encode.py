"""MB of text a second into ids, beside `tokenizers` and tiktoken; the ids are compared.

"cold" is the first pass in a fresh process, "warm" the second over the same text. Documents are 4 kB pieces.
python benchmarks/encode.py [TEXT] [--megabytes 10] [--vocab-size 10000]
"""

import hashlib
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from bench import make_parser, measure, peak_megabytes, report, sample
from lm_tokenizer import Tokenizer

WAYS = {
    "lm-tokenizer one text": "lm_tokenizer",
    "lm-tokenizer batch": "lm_tokenizer",
    "lm-tokenizer batch array": "lm_tokenizer",
    "lm-tokenizer file": "lm_tokenizer",
    "lm-tokenizer count": "lm_tokenizer",
    "tiktoken one text": "tiktoken",
    "tiktoken batch": "tiktoken",
    "tokenizers batch": "tokenizers",
}
SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"  # tiktoken's r50k


def main() -> None:
    parser = make_parser(__doc__ or "", megabytes=10)
    options = parser.parse_args()
    if options.one:
        return one(*options.one)
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text"
        text.write_text(sample(options.text, options.megabytes), encoding="utf-8")
        Tokenizer.train(files=[text], vocab_size=options.vocab_size).save(folder)
        megabytes = text.stat().st_size / 1e6
        rows = []
        for way, module in WAYS.items():
            if importlib.util.find_spec(module) is None:
                print(f"{module} is not installed; left out")
                continue
            row = measure(__file__, way, text, options)
            row |= {"cold MB/s": megabytes / row["seconds"], "warm MB/s": megabytes / row.pop("warm seconds")}
            rows.append(row)
        title = f"encode {megabytes:.1f} MB, vocabulary {options.vocab_size}, pattern gpt2"
        report(title, rows, as_json=options.json)
    return None


def ways(
    peer: str, tokenizer: Tokenizer, path: str, text: str, documents: list[str]
) -> dict[str, Callable[[], Any]]:
    """What is measured of one peer, by name; another's library is not imported."""
    folder = Path(path).parent
    if peer == "tokenizers":
        from tokenizers import Tokenizer as Theirs

        theirs = Theirs.from_file(str(folder / "tokenizer.json"))
        return {"tokenizers batch": lambda: flat(encoding.ids for encoding in theirs.encode_batch(documents))}
    if peer == "tiktoken":
        import tiktoken

        special = tokenizer.special_tokens
        ranks = {token: id for id, token in tokenizer.vocab.items() if id not in special.values()}
        encoding = tiktoken.Encoding("ours", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens=special)
        return {
            "tiktoken one text": lambda: encoding.encode_ordinary(text),
            "tiktoken batch": lambda: flat(encoding.encode_ordinary_batch(documents)),
        }
    ids, dtype = folder / "ids", np.dtype("uint32")
    return {
        "lm-tokenizer one text": lambda: tokenizer.encode_ordinary(text),
        "lm-tokenizer batch": lambda: flat(tokenizer.encode_batch(documents)),
        "lm-tokenizer batch array": lambda: tokenizer.encode_batch_array(documents)[0],
        "lm-tokenizer file": lambda: np.fromfile(tokenizer.encode_file(path, ids, dtype=dtype).target, dtype),
        "lm-tokenizer count": lambda: [tokenizer.count(text)],
    }


def flat(lists: Iterable[list[int]]) -> list[int]:
    return [id for ids in lists for id in ids]


def one(way: str, path: str) -> None:
    folder = Path(path).parent
    text = Path(path).read_text(encoding="utf-8")
    documents = [text[start : start + 4096] for start in range(0, len(text), 4096)]
    tokenizer = Tokenizer.load(folder)
    before = peak_megabytes()
    encode = ways(way.split()[0], tokenizer, path, text, documents)[way]
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        ids = encode()
        seconds.append(time.perf_counter() - start)
    count = int(ids[0]) if way == "lm-tokenizer count" else len(ids)
    digest = hashlib.sha256(np.asarray(ids, dtype=np.uint32).tobytes()).hexdigest()[:12]
    row = {"way": way, "seconds": seconds[0], "warm seconds": seconds[1], "+ MB": peak_megabytes() - before}
    print(json.dumps(row | {"ids": count, "ids sha": "" if way == "lm-tokenizer count" else digest}))


if __name__ == "__main__":
    main()
