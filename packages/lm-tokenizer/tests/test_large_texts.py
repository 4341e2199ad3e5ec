"""Texts of uncommon shape: one word that is the whole corpus, and a corpus that is much larger than what is held of it."""

import os
import random
import resource
from pathlib import Path

import pytest
from lm_tokenizer import PretokenCounts, Tokenizer

UNIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, to measure memory")


def test_a_corpus_that_is_one_long_word_is_learnt_from_and_given_back():
    word = "".join(random.Random(0).choices("abcdefgh", k=1_000_000))
    tokenizer = Tokenizer.train(texts=[word], vocab_size=300)
    ids = tokenizer.encode_array(word)
    assert len(tokenizer.merges) == 300 - 256 - 1
    assert len(ids) < 0.7 * len(word)
    assert tokenizer.decode(ids.tolist()) == word


@UNIX
def test_counting_a_large_file_holds_little_of_it(tmp_path: Path):
    size = 96 << 20
    path = tmp_path / "large.txt"
    line = "the small green cat saw an old house and then it ran under the tree\n" * 1000
    with path.open("w") as file:
        for _ in range(size // len(line)):
            file.write(line)
    PretokenCounts().add_texts(["warm"])
    told, tell = os.pipe()
    if (pid := os.fork()) == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        counts = PretokenCounts()
        counts.add_files(path)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(tell, f"{grown} {counts.total}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    grown, total = (int(word) for word in os.read(told, 100).split())
    assert total > size / 8
    assert grown * 1024 < size / 2
