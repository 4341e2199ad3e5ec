"""From a text of your own to batches, step by step: prepare, look, check, batch.

python prepare_your_text.py [TEXT ...]          # files, folders, .jsonl, .gz; without any: a megabyte of made-up stories
"""

import math
import sys
import tempfile
from pathlib import Path

from lm_train import Batches, ValidationWindows, prepare
from lm_train.texts.stories import story_entropy


def main() -> None:
    texts = sys.argv[1:] or ["stories:1MB"]
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(texts, Path(folder) / "data", vocab_size=1024)
        print(
            f"{dataset.documents():,} documents, {dataset.tokens():,} tokens, {dataset.tokens('valid'):,} held out"
        )

        tokenizer = dataset.load_tokenizer()
        end = int(dataset.document_ends("train")[0])
        print("\nThe first document and its tokens:")
        print(
            " ".join(
                repr(tokenizer.decode([token])) for token in dataset.read("train", 0, end).tolist()[:40]
            ),
            "...",
        )

        # batch(step) needs nothing but the step: that is all that resuming a run takes
        batches = Batches(dataset, context=64, batch=4, seed=0)
        inputs, targets = batches.batch(1_000)
        print(
            f"\nstep 1000 is in epoch {batches.epoch(1_000):.2f}; its first row begins: {tokenizer.decode(inputs[0].tolist())[:60]!r}"
        )
        assert inputs[0, 1:].equal(targets[0, :-1])

        # a model that gives every token the same chance, in bits per byte of text
        windows = ValidationWindows(dataset, context=64, batch=4)
        nats = windows.tokens * math.log(dataset.vocab_size)
        print(f"\nknowing nothing costs {nats / math.log(2) / windows.text_bytes:.3f} bits per byte")
        if texts[0].startswith("stories"):
            print(f"knowing everything costs {story_entropy().bits_per_byte:.3f}: the grammar's true entropy")


if __name__ == "__main__":
    main()
