"""A file that is not what it should be gives one typed error that names file, entry and fault; never a crash."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_tokenizer import Tokenizer, TokenizerFileError, VocabularyError

END = "<|endoftext|>"


def small() -> Tokenizer:
    return Tokenizer.train(texts=["low lower lowest newer"], vocab_size=262, special_tokens=(END,))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    small().save(folder / "tokenizer.json")
    small().save_tiktoken(folder / "ranks.tiktoken")
    small().save_vocab_merges(folder)
    return folder


def refused(load: Callable[[], Tokenizer]) -> str:
    with pytest.raises(TokenizerFileError) as error:
        load()
    return str(error.value)


def cuts(content: bytes) -> list[int]:
    """Every place in the first 700 bytes and the last 300, every eleventh between: there it is all alike."""
    return [*range(700), *range(700, len(content) - 300, 11), *range(len(content) - 300, len(content))]


def test_a_file_cut_short_anywhere_is_refused(saved: Path, tmp_path: Path):
    cut = tmp_path / "cut.json"
    content = (saved / "tokenizer.json").read_bytes().rstrip()
    for length in cuts(content):
        cut.write_bytes(content[:length])
        assert refused(lambda: Tokenizer.load(cut)).startswith(f"{cut}: ")


def test_a_rank_file_cut_short_anywhere_is_refused_or_has_fewer_tokens(saved: Path, tmp_path: Path):
    cut = tmp_path / "cut.tiktoken"
    content = (saved / "ranks.tiktoken").read_bytes()
    whole_lines = {place + 1 for place, byte in enumerate(content) if byte == 10}
    for length in cuts(content):
        cut.write_bytes(content[:length])
        loaded = loaded_or_refusal(cut)
        if isinstance(loaded, TokenizerFileError):
            assert str(loaded).startswith(f"{cut}: ")
        else:  # only merged tokens can be missing unnoticed: such a file has no end that could be seen
            assert loaded.vocab_size < 262
            assert (
                length in whole_lines or length + 1 in whole_lines or content[length - 1 : length].isdigit()
            )


def loaded_or_refusal(path: Path) -> Tokenizer | TokenizerFileError:
    try:
        return Tokenizer.load_tiktoken(path)
    except TokenizerFileError as error:
        return error


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_is_refused_or_gives_a_tokenizer_that_works(saved: Path, data: st.DataObject):
    name = data.draw(st.sampled_from(["tokenizer.json", "ranks.tiktoken", "merges.txt", "vocab.json"]))
    content = bytearray((saved / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    files = {other: saved / other for other in ("vocab.json", "merges.txt")} | {
        name: saved / f"changed-{name}"
    }
    files[name].write_bytes(content)
    try:
        if name == "tokenizer.json":
            tokenizer = Tokenizer.load(files[name])
        elif name == "ranks.tiktoken":
            tokenizer = Tokenizer.load_tiktoken(files[name])
        else:
            tokenizer = Tokenizer.load_vocab_merges(files["vocab.json"], files["merges.txt"])
    except TokenizerFileError:
        return
    text = "low lower\nNEW é"
    assert tokenizer.decode(tokenizer.encode_ordinary(text)) == text


Change = Callable[[dict[str, Any]], object]
MUTANTS: list[tuple[str, Change, str]] = [
    ("version", lambda file: file.update(version="2.0"), 'version: "2.0" is not supported; 1.0 is'),
    ("unknown field", lambda file: file.update(extra=1), "unknown field `extra`"),
    ("truncation", lambda file: file.update(truncation={"max_length": 9}), "truncation: not supported"),
    ("padding", lambda file: file.update(padding={"strategy": "BatchLongest"}), "padding: not supported"),
    (
        "normalizer",
        lambda file: file.update(normalizer={"type": "Lowercase"}),
        "normalizer Lowercase is not supported",
    ),
    (
        "pre-tokenizer",
        lambda file: file.update(pre_tokenizer={"type": "Metaspace"}),
        "pre_tokenizer: pre-tokenizer Metaspace is not supported",
    ),
    (
        "prefix space",
        lambda file: file["pre_tokenizer"].update(add_prefix_space=True),
        "ByteLevel with add_prefix_space is not supported",
    ),
    (
        "post-processor",
        lambda file: file.update(post_processor={"type": "BertProcessing"}),
        "post_processor: post-processor BertProcessing is not supported",
    ),
    (
        "decoder",
        lambda file: file.update(decoder={"type": "WordPiece"}),
        "decoder: decoder WordPiece is not supported",
    ),
    (
        "no decoder",
        lambda file: file.update(decoder=None),
        "decoder: no decoder: a byte-level tokenizer has the",
    ),
    (
        "model",
        lambda file: file["model"].update(type="Unigram"),
        "model.type: Unigram is not supported; BPE is",
    ),
    (
        "dropout",
        lambda file: file["model"].update(dropout=0.1),
        "model.dropout: not supported: it makes ids random",
    ),
    (
        "suffix",
        lambda file: file["model"].update(end_of_word_suffix="</w>"),
        'model.end_of_word_suffix: "</w>" is not supported',
    ),
    ("no vocabulary", lambda file: file["model"].pop("vocab"), "missing field `vocab`"),
    ("text as id", lambda file: file["model"]["vocab"].update(a="7"), "invalid type: string"),
    (
        "negative id",
        lambda file: file["model"]["vocab"].update(a=-1),
        "integer `-1`, expected a whole number from 0",
    ),
    (
        "huge id",
        lambda file: file["model"]["vocab"].update(a=2**40),
        "invalid value: integer `1099511627776`",
    ),
    ("large id", lambda file: file["model"]["vocab"].update(a=2**31), "token id 2147483648 is too large"),
    ("same id twice", lambda file: file["model"]["vocab"].update(a=98), "token id 98 is given to two tokens"),
    ("byte missing", lambda file: file["model"]["vocab"].pop("A"), "byte 0x41 has no token"),
    (
        "token of another alphabet",
        lambda file: file["model"]["vocab"].update({"日": 300}),
        "model.vocab[\"日\"]: '日' is not of the byte-level alphabet",
    ),
    (
        "merge of an unknown token",
        lambda file: file["model"]["merges"].append(["Q", "zz"]),
        'model.merges[5]: "zz" is not in the vocabulary',
    ),
    (
        "merge into an unknown token",
        lambda file: file["model"]["merges"].append(["Q", "z"]),
        'model.merges[5]: "Qz" is not in the vocabulary',
    ),
    (
        "merge of three",
        lambda file: file["model"]["merges"].append("a b c"),
        "a merge: two strings in an array",
    ),
    ("merge of one", lambda file: file["model"]["merges"].append(["a"]), "a merge: two strings in an array"),
    (
        "special flag",
        lambda file: file["added_tokens"][0].update(lstrip=True),
        'added_tokens[0]: "<|endoftext|>" has the flag lstrip, which is not supported',
    ),
    (
        "special token with two ids",
        lambda file: file["added_tokens"][0].update(id=300),
        'model.vocab["<|endoftext|>"]: id 261 here, but 300 in added_tokens',
    ),
    (
        "special token with the id of another",
        lambda file: file["added_tokens"].append({"id": 97, "content": "<|x|>", "special": True}),
        "is also an ordinary token",
    ),
    (
        "special token without text",
        lambda file: file["added_tokens"].append({"id": 300, "content": "", "special": True}),
        "special token 300 has no text",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), [mutant[1:] for mutant in MUTANTS], ids=[name for name, *_ in MUTANTS]
)
def test_a_part_that_is_not_right_is_named(change: Change, message: str, saved: Path, tmp_path: Path):
    content = json.loads((saved / "tokenizer.json").read_text())
    change(content)
    path = tmp_path / "mutant.json"
    path.write_text(json.dumps(content, ensure_ascii=False))
    said = refused(lambda: Tokenizer.load(path))
    assert said.startswith(f"{path}: ")
    assert message in said


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no-rank", 'line 262: wanted base64, a space and a rank, got "no-rank"'),
        ("YQ== x", 'line 262: rank "x" is not an id'),
        ("YQ== -1", 'line 262: rank "-1" is not an id'),
        ("YQ== 4294967296", "is not an id"),
        ("Y!== 300", 'line 262: "Y!==" is not base64'),
        (" 300", "token id 300 stands for no bytes"),
        ("YQ== 300", 'token "a" has two ids, 97 and 300'),
        ("enp6 97", "token id 97 is given to two tokens"),
        ("enp6 99999999", "token id 99999999 is too large"),
    ],
)
def test_a_wrong_line_of_ranks_is_named(line: str, message: str, saved: Path, tmp_path: Path):
    path = tmp_path / "ranks"
    path.write_text((saved / "ranks.tiktoken").read_text() + line + "\n")
    said = refused(lambda: Tokenizer.load_tiktoken(path))
    assert said.startswith(f"{path}: ")
    assert message in said


def test_a_token_listed_twice_is_refused_though_json_would_take_the_last(saved: Path, tmp_path: Path):
    for name, load in (("tokenizer.json", Tokenizer.load), ("vocab.json", None)):
        path = tmp_path / name
        path.write_text((saved / name).read_text().replace('"a": 97', '"a": 97, "a": 97'))
        said = refused(
            lambda p=path, f=load: f(p) if f else Tokenizer.load_vocab_merges(p, saved / "merges.txt")
        )
        assert "the token is listed twice" in said


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"\xff\xfe", b"null", b"[]", b"{}", b"[" * 100_000, b"PK\x03\x04", b'"' * 9],
    ids=lambda content: repr(content[:4]),
)
def test_files_that_are_no_tokenizers_are_refused(content: bytes, tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert str(path) in refused(lambda: Tokenizer.load(path))
    assert str(path) in refused(lambda: Tokenizer.load_tiktoken(path))
    assert str(path) in refused(lambda: Tokenizer.load_vocab_merges(path, path))


def test_files_that_are_not_there_are_named(tmp_path: Path):
    assert refused(lambda: Tokenizer.load(tmp_path / "absent")).startswith(f"{tmp_path}/absent: No such file")
    assert refused(lambda: Tokenizer.load(tmp_path)).startswith(f"{tmp_path}/tokenizer.json: No such file")


def test_a_long_token_is_read_in_little_time(tmp_path: Path):
    import base64

    lines = [f"{base64.b64encode(bytes([byte])).decode()} {byte}" for byte in range(256)]
    run = b"a"
    for rank in range(256, 272):  # aa, aaaa, ... up to 65,536 letters
        run += run
        lines.append(f"{base64.b64encode(run).decode()} {rank}")
    (tmp_path / "ranks").write_text("\n".join(lines))
    tokenizer = Tokenizer.load_tiktoken(tmp_path / "ranks")
    assert len(tokenizer.merges) == 16
    assert tokenizer.encode("a" * 65_536) == [271]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({0: b"a"}, []), "byte 0x00 has no token"),
        (({}, [(b"a", b"b")]), "merge 0 names b"),
        (({256: b"a"}, []), "has two ids"),
        (({256: b""}, []), "token id 256 stands for no bytes"),
        (({}, [], {"<|x|>": 97}), "is also an ordinary token"),
        (({}, [], ["a"]), "is also an ordinary token"),
        (({256: b"ab"}, [(b"a", b"b")], ["ab"]), "is also an ordinary token"),
        (({}, [], ["<|x|>", "<|x|>"]), "is listed twice"),
        (({2**32: b"ab"}, []), r"an id is a number from 0 to 2\*\*32 - 1, got 4294967296"),
        (({}, [], {"<|x|>": -1}), r"an id is a number from 0 to 2\*\*32 - 1, got -1"),
    ],
)
def test_parts_that_make_no_vocabulary_are_refused(arguments: tuple[Any, ...], message: str):
    vocab, *rest = arguments
    alphabet = {} if vocab == {0: b"a"} else {byte: bytes([byte]) for byte in range(256)}
    with pytest.raises(VocabularyError, match=message):
        Tokenizer.from_vocab(alphabet | vocab, *rest)
