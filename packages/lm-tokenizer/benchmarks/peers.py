"""What each peer does for one row of the table, in a fresh process: `compare.py` starts it.

python benchmarks/peers.py TASK PEER TOKENIZER TEXT VOCABULARY_SIZE prints one JSON object. Every peer gets the same
text and the same `tokenizer.json` (tiktoken: the same ranks); what it returns is told by a digest, so rows can be
compared for equality, too. A library that is not installed fails to import, and its row is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

R50K = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
SPLITS = {"gpt2": R50K, "cl100k": CL100K}

WORST = {
    "one letter": "a",
    "spaces": " ",
    "newlines": "\n",
    "carets": "^",
    "zero bytes": "\0",
    "random letters": "abcdefghijklmnopqrstuvwxyz",
    "base64": "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
    "random latin-1": "".join(map(chr, range(0xC0, 0x100))),
}


def load(peer: str, tokenizer: str) -> Any:
    """The peer's own object for a tokenizer.json."""
    if peer.startswith("lm-tokenizer"):
        from lm_tokenizer import Tokenizer

        return Tokenizer.load(tokenizer)
    if peer == "tokenizers":
        from tokenizers import Tokenizer as HuggingFace

        return HuggingFace.from_file(tokenizer)
    if peer == "gigatoken":
        import gigatoken

        return gigatoken.Tokenizer(tokenizer)
    if peer == "fastokens":
        import fastokens

        return fastokens.Tokenizer.from_file(tokenizer)
    if peer == "tuetoken":
        import tuetoken

        return tuetoken.Tokenizer(tokenizer)
    import base64

    import tiktoken

    name, ranks = tiktoken_files(tokenizer)
    lines = (line.split() for line in ranks.read_bytes().splitlines() if line)
    table = {base64.b64decode(token): int(rank) for token, rank in lines}
    return tiktoken.Encoding("bench", pat_str=SPLITS[name], mergeable_ranks=table, special_tokens={})


def tiktoken_files(tokenizer: str) -> tuple[str, Path]:
    """The pattern's name and the rank file that `compare.py` put beside the tokenizer."""
    name = Path(tokenizer).with_suffix(".pattern").read_text()
    if name not in SPLITS:
        raise ImportError(f"tiktoken's own split is not written down here for {name}")
    return name, Path(tokenizer).with_suffix(".tiktoken")


def array_encoder(peer: str, tokenizer: Any) -> Callable[[str], Any]:
    """One text to the peer's leanest form of ids."""
    if peer == "lm-tokenizer":
        return lambda text: tokenizer.encode_array(text, disallowed_special=())
    if peer == "tiktoken":
        return lambda text: tokenizer.encode_to_numpy(text, disallowed_special=())
    if peer == "tuetoken":
        return lambda text: tokenizer.encode_ordinary_to_buffer([text])["data"]
    if peer == "fastokens":
        import numpy as np

        return lambda text: np.frombuffer(tokenizer.encode_batch_flat([text])[0], np.uint32)
    if peer == "gigatoken":
        return lambda text: tokenizer.encode(text)
    return lambda text: tokenizer.encode(text).ids


def list_encoder(peer: str, tokenizer: Any) -> Callable[[str], Any]:
    """One text to ids as the peer's users call it: a list (gigatoken: an array)."""
    if peer == "lm-tokenizer":
        return lambda text: tokenizer.encode_ordinary(text)
    if peer in ("tiktoken", "tuetoken"):
        return lambda text: tokenizer.encode_ordinary(text)
    return lambda text: tokenizer.encode(text) if peer == "gigatoken" else tokenizer.encode(text).ids


def digest(ids: Iterable[int]) -> str:
    import numpy as np

    flat = ids if isinstance(ids, np.ndarray) else np.asarray(list(ids), dtype=np.uint32)
    return hashlib.sha256(np.ascontiguousarray(flat, dtype=np.uint32).tobytes()).hexdigest()[:8]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def train(peer: str, text: str, vocab_size: int) -> dict[str, Any]:
    if peer == "lm-tokenizer":
        from lm_tokenizer import Tokenizer

        seconds, made = timed(lambda: Tokenizer.train(files=[text], vocab_size=vocab_size, special_tokens=()))
        count = len(made.merges)
    elif peer == "gigabpe":
        import gigabpe

        seconds, made = timed(
            lambda: gigabpe.train_bpe([text], vocab_size, special_tokens=[], pretokenizer="bytelevel")
        )
        count = len(made[1])
    elif peer == "rustbpe":
        import rustbpe

        theirs, lines = rustbpe.Tokenizer(), read(text).splitlines(keepends=True)
        seconds, _ = timed(lambda: theirs.train_from_iterator(iter(lines), vocab_size))
        count = vocab_size - 256
    else:
        from tokenizers import Tokenizer as HuggingFace
        from tokenizers import models, pre_tokenizers, trainers

        made = HuggingFace(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
        content = read(text)
        seconds, _ = timed(lambda: made.train_from_iterator([content], trainer))
        count = made.get_vocab_size() - 256
    return {"seconds": seconds, "merges": count, "peak MB": peak_megabytes()}


def file(peer: str, tokenizer: Any, text: str) -> dict[str, Any]:
    """A file to ids, twice: the first pass is cold, the second warm. All end in memory, ours in a file there."""
    in_memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=in_memory) as folder:
        encode, flat = file_encoder(peer, tokenizer, text, folder)
        megabytes = Path(text).stat().st_size / 1e6
        before = peak_megabytes()
        cold, _ = timed(encode)
        warm, ids = timed(encode)
        peak = peak_megabytes() - before
        return {
            "cold MB/s": megabytes / cold,
            "warm MB/s": megabytes / warm,
            "+ MB": peak,
            "ids": digest(flat(ids)),
        }


def cpus(peer: str, tokenizer: Any, text: str) -> dict[str, Any]:
    """A file to ids by all processors, and by one of them."""
    if peer.endswith(" on 1 CPU"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    return file("lm-tokenizer", tokenizer, text)


def file_encoder(
    peer: str, tokenizer: Any, text: str, folder: str
) -> tuple[Callable[[], Any], Callable[[Any], Iterable[int]]]:
    """How the peer encodes a file, and how its result becomes an array. `folder` is for results that are files."""
    import numpy as np

    if peer == "lm-tokenizer":
        ids = folder + "/ids"
        return lambda: tokenizer.encode_file(text, ids), lambda made: np.fromfile(made.target, made.dtype)
    if peer == "gigatoken":
        import awkward  # noqa: F401  (a second that its first batch would spend)

        return lambda: tokenizer.encode_files(text), lambda rows: np.asarray(rows[0])
    one = array_encoder(peer, tokenizer)
    return lambda: one(read(text)), lambda made: made


def one(peer: str, tokenizer: Any, text: str) -> dict[str, Any]:
    """The same from a str in memory to an array (tokenizers: a list)."""
    encode, content = array_encoder(peer, tokenizer), read(text)
    megabytes = Path(text).stat().st_size / 1e6
    cold, _ = timed(lambda: encode(content))
    warm, ids = timed(lambda: encode(content))
    return {"cold MB/s": megabytes / cold, "warm MB/s": megabytes / warm, "ids": digest(ids)}


def short(peer: str, tokenizer: Any, text: str) -> dict[str, Any]:
    """Microseconds for a call on 20 to 200 characters, everything warm."""
    encode, content = list_encoder(peer, tokenizer), read(text)
    row: dict[str, Any] = {}
    for length in (20, 60, 200):
        texts = [content[at : at + length] for at in range(0, 500 * length, length)]
        best = min(timed(lambda texts=texts: [encode(part) for part in texts])[0] for _ in range(30))
        row[f"us at {length}"] = 1e6 * best / len(texts)
    return row


def decode(peer: str, tokenizer: Any, text: str) -> dict[str, Any]:
    """Ten million ids to text, from a list and, where that is offered, from an array."""
    import numpy as np

    ids = load("lm-tokenizer", sys.argv[3]).encode_array(read(text)[:20_000_000], disallowed_special=())
    array = np.resize(ids, 10_000_000)
    whole: list[int] = array.tolist()
    row: dict[str, Any] = {"seconds, list": min(timed(lambda: tokenizer.decode(whole))[0] for _ in range(3))}
    if peer == "lm-tokenizer":
        row["seconds, array"] = min(timed(lambda: tokenizer.decode(array))[0] for _ in range(3))
    elif peer == "tuetoken":
        row["seconds, array"] = min(timed(lambda: tokenizer.decode_array(array))[0] for _ in range(3))
    return row


def count(peer: str, tokenizer: Any, text: str) -> dict[str, Any]:
    """Warm counting beside warm encoding to an array."""
    content = read(text)
    encode = array_encoder(peer, tokenizer)
    count_ids = tokenizer.count_tokens if peer == "tuetoken" else tokenizer.count
    encode(content)
    encoded = min(timed(lambda: encode(content))[0] for _ in range(3))
    counted = min(timed(lambda: count_ids(content))[0] for _ in range(3))
    megabytes = Path(text).stat().st_size / 1e6
    return {"count MB/s": megabytes / counted, "encode MB/s": megabytes / encoded, "ratio": encoded / counted}


def start(peer: str, tokenizer: str) -> dict[str, Any]:
    """Import, load and the first short encode; the interpreter's own start is not counted."""
    seconds, _ = timed(lambda: list_encoder(peer, load(peer, tokenizer))("Hello, world"))
    return {"ms": 1e3 * seconds}


def worst(peer: str, tokenizer: Any, megabytes: float) -> dict[str, Any]:
    """Milliseconds for a text without a place to cut, or of nothing but one character."""
    import random

    encode = array_encoder(peer, tokenizer)
    encode("warm up")
    row: dict[str, Any] = {}
    for name, letters in WORST.items():
        size = int(1e6 * megabytes)
        pick = random.Random(1)
        text = letters * size if len(letters) == 1 else "".join(pick.choices(letters, k=size))
        try:
            row[name] = 1e3 * timed(lambda text=text: encode(text))[0]
        except (ValueError, RuntimeError, OSError) as error:
            row[name] = type(error).__name__
    return row


def peak_megabytes() -> float:
    """The most memory that this process has held; on Linux not what its parent held when it forked."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # bytes elsewhere


def read(text: str) -> str:
    """The text, line ends and all."""
    return Path(text).read_bytes().decode()


def main(arguments: Sequence[str]) -> None:
    task, peer, tokenizer, text, vocab_size = arguments
    if task == "train":
        row = train(peer, text, int(vocab_size))
    elif task == "start":
        row = start(peer, tokenizer)
    elif task == "worst":
        row = worst(peer, load(peer, tokenizer), 1)
    else:
        work = {"file": file, "cpus": cpus, "one": one, "short": short, "decode": decode, "count": count}[
            task
        ]
        row = work(peer, load(peer, tokenizer), text)
    print(json.dumps(row))


if __name__ == "__main__":
    main(sys.argv[1:])
