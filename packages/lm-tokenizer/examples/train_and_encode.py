"""Train a tokenizer on Python's standard library, look at what it learnt, and turn text into ids and back.

python examples/train_and_encode.py
"""

import sysconfig
import tempfile
from pathlib import Path

from lm_tokenizer import Special, Tokenizer


def main() -> None:
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    tokenizer = Tokenizer.train(files=sources, vocab_size=2000)
    print(f"{len(sources)} files, {tokenizer.vocab_size} ids, fingerprint {tokenizer.fingerprint[:16]}")
    print("the first merges:", *(left + right for left, right in tokenizer.merges[:12]))
    print("the last merges: ", *(left + right for left, right in tokenizer.merges[-6:]))

    text = "def merge(ids, pair):\n    return ids  # naïve 日本\n"
    ids = tokenizer.encode(text)
    print(f"{len(text.encode())} bytes are {len(ids)} ids:", [tokenizer.vocab[id] for id in ids])
    assert tokenizer.decode(ids) == text

    end = Special("<|endoftext|>")
    prompt = tokenizer.encode_parts([end, "text that may hold <|endoftext|> itself", end])
    assert prompt.count(tokenizer.special_tokens["<|endoftext|>"]) == 2

    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)
        print("saved:", *sorted(path.name for path in Path(folder).iterdir()))
        assert Tokenizer.load(folder) == tokenizer


if __name__ == "__main__":
    main()
