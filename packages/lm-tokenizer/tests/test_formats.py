"""Every format gives the same tokenizer back, other libraries read ours, and ours reads theirs."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import sample_texts
import tiktoken.load
import tokenizers
import transformers
from lm_tokenizer import PATTERN_NAMES, PretokenCounts, Tokenizer, TokenizerFileError
from tokenizers import pre_tokenizers
from trained import END, in_tiktoken, trained

TEXTS = [*sample_texts.TRICKY, sample_texts.ALL_KINDS, *sample_texts.random_texts(20, seed=5)]


@pytest.mark.parametrize("pattern", PATTERN_NAMES)
def test_all_formats_give_the_same_tokenizer(pattern: str, tmp_path: Path):
    tokenizer = trained(pattern)
    special = tokenizer.special_tokens
    tokenizer.save(tmp_path / "tokenizer.json")
    tokenizer.save_tiktoken(tmp_path / "ranks.tiktoken")
    tokenizer.save_vocab_merges(tmp_path)
    readings = [
        Tokenizer.load(tmp_path / "tokenizer.json"),
        Tokenizer.load(tmp_path),
        Tokenizer.load_tiktoken(tmp_path / "ranks.tiktoken", pattern, special),
        Tokenizer.load_tiktoken(tmp_path / "ranks.tiktoken", pattern, list(special)),
        Tokenizer.load_vocab_merges(tmp_path / "vocab.json", tmp_path / "merges.txt", pattern, list(special)),
        Tokenizer.from_vocab(
            {id: token for id, token in tokenizer.vocab.items() if id not in special.values()},
            tokenizer.merges,
            special,
            pattern,
        ),
        Tokenizer.from_vocab(tokenizer.vocab, tokenizer.merges, list(special), pattern),
        Tokenizer.from_vocab(tokenizer.vocab, tokenizer.merges, special, pattern),
    ]
    for reading in readings:
        assert reading.fingerprint == tokenizer.fingerprint
        assert (reading.vocab, reading.merges) == (tokenizer.vocab, tokenizer.merges)
        assert (reading.special_tokens, reading.pattern) == (special, pattern)


def test_transformers_loads_a_saved_folder_with_equal_ids(tmp_path: Path):
    tokenizer = trained("llama3")
    tokenizer.save(tmp_path)
    other = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert other.eos_token_id == tokenizer.special_tokens[END]
    assert len(other) == tokenizer.vocab_size
    for text in TEXTS:
        ids = tokenizer.encode(text, allowed_special="all")
        assert other.encode(text) == ids
        assert other.decode(ids) == tokenizer.decode(ids)


def test_tiktoken_loads_a_saved_rank_file(tmp_path: Path):
    tokenizer = trained()
    tokenizer.save_tiktoken(tmp_path / "ranks")
    special = set(tokenizer.special_tokens.values())
    expected = {token: id for id, token in tokenizer.vocab.items() if id not in special}
    assert tiktoken.load.load_tiktoken_bpe(str(tmp_path / "ranks")) == expected


def test_a_character_tokenizer_is_the_same_file_with_another_model(tmp_path: Path):
    tokenizer = Tokenizer.characters("the quick brown\nfox é日", special_tokens=(END,))
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "quick 日é\nthe  fox"
    assert loaded == tokenizer
    assert loaded.pattern is None
    assert loaded.encode(text) == other.encode(text).ids == [tokenizer.encode(c)[0] for c in text]
    assert other.decode(loaded.encode(text)) == loaded.decode(loaded.encode(text)) == text
    with pytest.raises(
        ValueError, match=r"character 'z' \(U\+007A\) at byte 1 is not in the character-level vocab"
    ):
        loaded.encode("xz")


def hugging_face_file(folder: Path, **parts: Any) -> Path:
    """A file as Hugging Face's library trains and writes it, with some parts replaced."""
    other = tokenizers.Tokenizer(tokenizers.models.BPE())
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    other.decoder = tokenizers.decoders.ByteLevel()
    other.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    other.train_from_iterator([sample_texts.ALL_KINDS], trainer)
    content = json.loads(other.to_str())
    for part, value in parts.items():
        place = content
        *parents, last = part.split("__")
        for parent in parents:
            place = place[parent]
        place[last] = value
    path = folder / "theirs.json"
    path.write_text(json.dumps(content))
    return path


def check_same_ids(path: Path) -> Tokenizer:
    ours, theirs = Tokenizer.load(path), tokenizers.Tokenizer.from_file(str(path))
    for text in TEXTS:
        ids = ours.encode(text, allowed_special="all")
        assert ids == theirs.encode(text, add_special_tokens=False).ids, repr(text)
    return ours


def split(regex: str) -> dict[str, Any]:
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    }


LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
BEGIN_OF_TEXT = {
    "type": "Sequence",
    "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": END, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {END: {"id": END, "ids": [0], "tokens": [END]}},
        },
    ],
}
SMOLLM = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"pre_tokenizer": split(LLAMA3), "post_processor": BEGIN_OF_TEXT},
        {"pre_tokenizer": split(LLAMA3.replace("{1,3}", "")), "normalizer": {"type": "NFC"}},
        {"pre_tokenizer": SMOLLM},
        {"model__unk_token": END, "model__byte_fallback": True, "model__fuse_unk": True},
        {"model__continuing_subword_prefix": "", "model__end_of_word_suffix": ""},
    ],
    ids=["GPT-2", "Llama 3", "Qwen 3", "SmolLM", "unknown tokens that never come", "affixes that are empty"],
)
def test_files_of_hugging_face_give_equal_ids(parts: dict[str, Any], tmp_path: Path):
    ours = check_same_ids(hugging_face_file(tmp_path, **parts))
    ours.save(tmp_path / "again.json")
    assert check_same_ids(tmp_path / "again.json") == ours


def test_merges_may_be_strings_as_in_older_files(tmp_path: Path):
    path = hugging_face_file(tmp_path)
    content = json.loads(path.read_text())
    expected = Tokenizer.load(path)
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    del content["model"]["type"], content["model"]["ignore_merges"]
    path.write_text(json.dumps(content))
    assert check_same_ids(path) == expected


def test_a_post_processor_that_adds_tokens_is_kept_but_never_runs(tmp_path: Path):
    path = hugging_face_file(tmp_path, post_processor=BEGIN_OF_TEXT)
    ours = Tokenizer.load(path)
    assert ours.encode("a") == tokenizers.Tokenizer.from_file(str(path)).encode("a").ids[1:]
    ours.save(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text())["post_processor"] == BEGIN_OF_TEXT


def test_a_file_that_lists_every_split_of_a_token_is_the_rank_file_it_came_from(tmp_path: Path):
    """So Llama 3's tokenizer.json was made from its ranks, with whole tokens found first."""
    tokenizer = trained("llama3")
    tokenizer.save_tiktoken(tmp_path / "ranks")
    tokenizer.save(tmp_path / "tokenizer.json")
    spell = {token: text for text, token in byte_level_tokens(tokenizer).items()}
    every_split = [
        [spell[token[:cut]], spell[token[cut:]]]
        for id, token in tokenizer.vocab.items()
        if id < 798
        for cut in range(1, len(token))
        if token[:cut] in spell and token[cut:] in spell
    ]
    assert len(every_split) > len(tokenizer.merges)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"] |= {"merges": every_split, "ignore_merges": True}
    (tmp_path / "splits.json").write_text(json.dumps(content))
    ours = check_same_ids(tmp_path / "splits.json")
    assert (
        ours == Tokenizer.load_tiktoken(tmp_path / "ranks", "llama3", tokenizer.special_tokens) == tokenizer
    )
    assert ours.merges == tokenizer.merges


def byte_level_tokens(tokenizer: Tokenizer) -> dict[str, bytes]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    spelled = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return {"".join(spelled[byte] for byte in token): token for token in tokenizer.vocab.values()}


def test_ranks_whose_tokens_no_merges_reach_give_tiktokens_ids(tmp_path: Path):
    # Bytes in another order; a token below its parts; one that only a whole pretoken can be.
    tokens = [bytes([255 - byte]) for byte in range(256)]
    tokens += [b"abc", b"bc", b"ab", b" ab", b"zzz", b"ababx", b"aa", b"aaa", b" abc"]
    ranks = "".join(f"{base64(token)} {rank}\n" for rank, token in enumerate(tokens))
    (tmp_path / "ranks").write_text(ranks)
    ours = Tokenizer.load_tiktoken(tmp_path / "ranks", special_tokens={END: 300})
    other = in_tiktoken(ours)
    import itertools

    for letters in itertools.product("abcxz ", repeat=5):
        text = "".join(letters)
        assert ours.encode(text) == other.encode(text), text
    ours.save(tmp_path / "tokenizer.json")
    check_same_ids(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json") == ours
    with pytest.raises(TokenizerFileError, match="tokens that no merges make; these files cannot say so"):
        ours.save_vocab_merges(tmp_path)


def base64(token: bytes) -> str:
    import base64

    return base64.b64encode(token).decode()


def test_the_fingerprint_tells_tokenizers_apart(tmp_path: Path):
    vocab = {byte: bytes([byte]) for byte in range(256)} | {256: b"ab", 257: b"bc"}
    merges = [(b"a", b"b"), (b"b", b"c")]
    fingerprints = [
        Tokenizer.from_vocab(vocab, merges).fingerprint,
        Tokenizer.from_vocab(vocab, merges[::-1]).fingerprint,
        Tokenizer.from_vocab(vocab | {256: b"bc", 257: b"ab"}, merges).fingerprint,
        Tokenizer.from_vocab(vocab, merges, pattern="llama3").fingerprint,
        Tokenizer.from_vocab(vocab, merges, [END]).fingerprint,
        Tokenizer.from_vocab(vocab, merges, {END: 300}).fingerprint,
        Tokenizer.from_vocab(vocab, merges[:1]).fingerprint,
        Tokenizer.characters("ab").fingerprint,
    ]
    assert len(set(fingerprints)) == len(fingerprints)


def test_ranks_cannot_say_merges_in_another_order_than_ids(tmp_path: Path):
    vocab = {byte: bytes([byte]) for byte in range(256)} | {256: b"ab", 257: b"bc"}
    tokenizer = Tokenizer.from_vocab(vocab, [(b"b", b"c"), (b"a", b"b")])
    with pytest.raises(TokenizerFileError, match="merge 0: ranks cannot say this"):
        tokenizer.save_tiktoken(tmp_path / "ranks")
    assert list(tmp_path.iterdir()) == []


def test_special_tokens_keep_ids_with_gaps_in_other_libraries(tmp_path: Path):
    vocab = {byte: bytes([byte]) for byte in range(256)}
    tokenizer = Tokenizer.from_vocab(vocab, [], {END: 1000, "<|pad|>": 500})
    tokenizer.save(tmp_path)
    for other in (
        tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json")),
        transformers.AutoTokenizer.from_pretrained(tmp_path),
    ):
        encoded = other.encode(f"a{END}b<|pad|>")
        assert (encoded if isinstance(encoded, list) else encoded.ids) == [97, 1000, 98, 500]
    assert tokenizer.vocab_size == 1001


def test_counts_are_the_same_after_saving(tmp_path: Path):
    counts = PretokenCounts(pattern="o200k", special_tokens=(END,))
    counts.add_texts(TEXTS)
    counts.save(tmp_path / "counts")
    loaded = PretokenCounts.load(tmp_path / "counts")
    assert loaded == counts
    assert (loaded.pattern, loaded.special_tokens, loaded.total) == ("o200k", (END,), counts.total)
    content = (tmp_path / "counts").read_bytes()
    for place in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[place] ^= 1
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(TokenizerFileError, match="damaged"):
            PretokenCounts.load(tmp_path / "damaged")


def test_saving_over_a_file_that_cannot_be_replaced_leaves_it(tmp_path: Path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "folder.json" / "kept").write_text("kept")
    trained().save(tmp_path / "folder.json")  # an existing folder takes the file in
    assert (tmp_path / "folder.json" / "tokenizer.json").is_file()
    with pytest.raises(TokenizerFileError, match="No such file or directory"):
        trained().save(tmp_path / "absent" / "tokenizer.json")
    with pytest.raises(TokenizerFileError, match=r"folder\.json: a folder; name a file in it"):
        trained().save_tiktoken(tmp_path / "folder.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_a_device_is_never_replaced_by_a_file(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")  # what is done to it would be done to /dev/null
    with pytest.raises(TokenizerFileError, match="pipe: no regular file; name another"):
        trained().save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()
