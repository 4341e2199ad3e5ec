"""The trainer learns the merges of the definition, under each tie rule, and those of `tokenizers`."""

import gzip
import random
from pathlib import Path

import pytest
import sample_texts
import tokenizers
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_tokenizer import FileAccessError, PretokenCounts, Progress, Tokenizer, TokenizerError, reference
from lm_tokenizer.types import TieBreak
from trained import trained

RULES: list[TieBreak] = ["huggingface", "ids", "greatest"]
WORDS = st.lists(st.text(alphabet="abcé ", min_size=1, max_size=12), min_size=1, max_size=12)


@pytest.mark.parametrize("rule", RULES)
@given(texts=WORDS)
@settings(max_examples=150, deadline=None)
def test_merges_equal_those_of_the_definition(rule: TieBreak, texts: list[str]):
    expected = reference.train(texts, 280, tie_break=rule)
    assert Tokenizer.train(texts=texts, vocab_size=280, tie_break=rule, special_tokens=()).merges == expected


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pattern", ["gpt2", "llama3"])
def test_merges_of_real_text_equal_those_of_the_definition(rule: TieBreak, pattern: str):
    text = sample_texts.ALL_KINDS
    expected = reference.train([text], 330, pattern=pattern, tie_break=rule)
    trained = Tokenizer.train(
        texts=[text], vocab_size=330, pattern=pattern, tie_break=rule, special_tokens=()
    )
    assert trained.merges == expected


def hugging_face_merges(texts: list[str], vocab_size: int) -> list[tuple[str, str]]:
    import json

    other = tokenizers.Tokenizer(tokenizers.models.BPE())
    other.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False
    )
    other.train_from_iterator(texts, trainer)
    return [tuple(merge) for merge in json.loads(other.to_str())["model"]["merges"]]


def merges_as_hugging_face_spells_them(tokenizer: Tokenizer, folder: Path) -> list[tuple[str, str]]:
    tokenizer.save_vocab_merges(folder)
    lines = (folder / "merges.txt").read_text().splitlines()[1:]
    return [tuple(line.split(" ")) for line in lines]  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(3))
def test_merges_equal_those_of_the_tokenizers_library(seed: int, tmp_path: Path):
    rng = random.Random(seed)
    words = [*sample_texts.ALL_KINDS.split(), *sample_texts.random_text(seed, 1500).split()]
    texts = [" ".join(rng.choices(words, k=400)) for _ in range(20)]
    trained = Tokenizer.train(texts=texts, vocab_size=1200, special_tokens=())
    assert merges_as_hugging_face_spells_them(trained, tmp_path) == hugging_face_merges(texts, 1200)


def test_ids_are_bytes_then_merges_then_special_tokens():
    trained = Tokenizer.train(
        texts=["low lower lowest " * 9], vocab_size=264, special_tokens=("<|a|>", "<|b|>")
    )
    assert [trained.vocab[id] for id in range(256)] == [bytes([byte]) for byte in range(256)]
    assert [trained.vocab[256 + rank] for rank in range(6)] == [
        left + right for left, right in trained.merges
    ]
    assert trained.special_tokens == {"<|a|>": 262, "<|b|>": 263}
    assert trained.vocab_size == 264


def test_special_tokens_are_cut_out_of_the_text():
    joined = Tokenizer.train(texts=["ab<|x|>cd"] * 50, vocab_size=300, special_tokens=("<|x|>",))
    apart = Tokenizer.train(texts=["ab", "cd"] * 50, vocab_size=300, special_tokens=("<|x|>",))
    assert joined.merges == apart.merges == [(b"a", b"b"), (b"c", b"d")]


def test_training_ends_when_no_pair_is_left_or_frequent_enough():
    assert Tokenizer.train(texts=["abab"], vocab_size=1000, special_tokens=()).vocab_size == 258
    frequent = Tokenizer.train(texts=["ab ab ab", "cd"], vocab_size=1000, special_tokens=(), min_frequency=2)
    assert frequent.merges == [(b"a", b"b"), (b" ", b"ab")]


def test_going_on_with_the_same_text_gives_the_merges_of_one_go(tmp_path: Path):
    text = sample_texts.ALL_KINDS
    some, all = (Tokenizer.train(texts=[text], vocab_size=size) for size in (400, 600))
    further = some.train_further(texts=[text], vocab_size=601, special_tokens=["<|endoftext|>", "<|new|>"])
    assert further.merges == all.merges
    assert further.special_tokens == {"<|endoftext|>": 399, "<|new|>": 600}
    assert {id: further.vocab[id] for id in some.vocab} == some.vocab
    assert [further.vocab[id] for id in range(400, 600)] == [all.vocab[id] for id in range(399, 599)]
    further.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json") == further
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    mixed = sample_texts.PROSE + "<|new|>" + sample_texts.random_text(8, 500)
    assert further.encode(mixed, allowed_special="all") == other.encode(mixed).ids


def test_going_on_keeps_what_a_tokenizer_does_with_other_text():
    start = Tokenizer.train(texts=[sample_texts.CODE], vocab_size=400)
    further = start.train_further(texts=[sample_texts.PROSE] * 3, vocab_size=450)
    assert further.merges[: len(start.merges)] == start.merges
    assert max(further.encode(sample_texts.PROSE)) >= 400
    assert further.count(sample_texts.PROSE) < start.count(sample_texts.PROSE)


def test_what_training_cannot_go_on_from_is_refused():
    with pytest.raises(TokenizerError, match="cannot go on from this vocabulary: it is character-level"):
        Tokenizer.characters("abc").train_further(texts=["abc"])
    lonely = Tokenizer.from_vocab({id: bytes([id]) for id in range(256)} | {256: b"ab"}, [])
    with pytest.raises(TokenizerError, match=r'its merges do not make token 256, b"ab"'):
        lonely.train_further(texts=["abc"])
    with pytest.raises(TokenizerError, match="need 800, but 799 ids are wanted in all"):
        trained().train_further(texts=["abc"], vocab_size=799)
    counts = PretokenCounts(pattern="cl100k", special_tokens=list(trained().special_tokens))
    with pytest.raises(TokenizerError, match="were cut by pattern 'cl100k', not by 'gpt2'"):
        trained().train_further(counts=counts)


def test_compressed_files_count_as_what_is_in_them(tmp_path: Path):
    data = (sample_texts.ALL_KINDS * 3).encode()
    (tmp_path / "a.gz").write_bytes(gzip.compress(data[:5000]) + gzip.compress(data[5000:]))
    (tmp_path / "b.ZST").write_bytes(zstandard.compress(data))
    (tmp_path / "text").write_bytes(data)
    wanted, seen = PretokenCounts(), PretokenCounts()
    wanted.add_files([tmp_path / "text"] * 2)
    seen.add_files([tmp_path / "a.gz", tmp_path / "b.ZST"])
    assert seen == wanted
    (tmp_path / "text.gz").write_bytes(gzip.compress(data)[:-20])
    with pytest.raises(FileAccessError, match=r"text\.gz: not whole gzip data"):
        seen.add_files(tmp_path / "text.gz")


def test_files_texts_and_counts_give_one_result(tmp_path: Path):
    parts = [sample_texts.PROSE, sample_texts.CODE, sample_texts.SCRIPTS]
    files = [tmp_path / f"{index}.txt" for index in range(3)]
    for file, part in zip(files, parts, strict=True):
        file.write_bytes(part.encode())
    by_texts = Tokenizer.train(texts=iter(parts), vocab_size=500)
    assert Tokenizer.train(files=files, vocab_size=500) == by_texts
    assert Tokenizer.train(files=reversed(files), vocab_size=500) == by_texts
    counts = [PretokenCounts() for _ in files]
    for count, file in zip(counts, files, strict=True):
        count.add_files(file)
        count.save(file.with_suffix(".counts"))
    total = (
        PretokenCounts.load(tmp_path / "0.counts") + PretokenCounts.load(tmp_path / "2.counts") + counts[1]
    )
    assert Tokenizer.train(counts=total, vocab_size=500) == by_texts


def test_a_large_file_counts_as_its_parts_do(tmp_path: Path):
    text = (sample_texts.ALL_KINDS + "\n") * 3000  # several windows, counted by all threads
    (tmp_path / "large.txt").write_bytes(text.encode())
    large, small = PretokenCounts(), PretokenCounts()
    large.add_files(tmp_path / "large.txt")
    small.add_texts([sample_texts.ALL_KINDS + "\n" + sample_texts.ALL_KINDS + "\n"])
    once = PretokenCounts()
    once.add_texts([sample_texts.ALL_KINDS + "\n"])
    step = {pretoken: count - dict(once.items()).get(pretoken, 0) for pretoken, count in small.items()}
    expected = {pretoken: count + 2999 * step[pretoken] for pretoken, count in once.items()}
    assert {pretoken: count for pretoken, count in large.items() if pretoken in expected} == expected


def test_progress_sees_both_phases_to_their_ends(tmp_path: Path):
    (tmp_path / "a.txt").write_text("the sea and the lamp " * 100)
    seen: list[Progress] = []
    Tokenizer.train(files=[tmp_path / "a.txt"], vocab_size=262, special_tokens=(), progress=seen.append)
    assert seen[-1] == Progress("merging", 262, 262)
    assert Progress("counting", 2100, 2100) in seen


def test_an_error_in_the_progress_function_reaches_the_caller():
    def stop(progress: Progress) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        Tokenizer.train(texts=["ab ab"], vocab_size=258, progress=stop)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "train from one of files, texts or counts; got none of them"),
        ({"files": ["a"], "texts": ["b"]}, "got files and texts"),
        ({"texts": "one text"}, "wanted several texts, got one str; put it into a list"),
        ({"texts": ["a"], "vocab_size": 200}, "a vocabulary of 200 is too small"),
        ({"texts": ["a"], "vocab_size": 10**9}, "is too large"),
        ({"texts": ["a"], "pattern": "gpt3"}, 'unknown pattern "gpt3"; the patterns are gpt2, '),
        ({"texts": ["a"], "tie_break": "random"}, 'unknown tie break "random"'),
        ({"texts": ["a"], "special_tokens": ("<|x|>", "<|x|>")}, "is listed twice"),
        ({"texts": ["a\ud800"]}, "lone surrogate at character 1"),
        ({"files": ["no-such-file"]}, "no-such-file: "),
        ({"counts": PretokenCounts(pattern="llama3")}, "cut by pattern 'llama3', not by 'gpt2'"),
        ({"counts": PretokenCounts(special_tokens=())}, "was not cut out of the text of these counts"),
    ],
)
def test_bad_arguments_are_refused_with_their_reason(arguments: dict, message: str):
    with pytest.raises(TokenizerError) as error:
        Tokenizer.train(**arguments)
    assert message in str(error.value)
