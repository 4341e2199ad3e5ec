"""Files read in blocks of bytes by lm-tokenizer give to the last byte what reading them as text (text_files.py) gives."""

import gzip
import itertools
import json
import shutil
from importlib import import_module

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_tokenizer import Tokenizer
from lm_train import prepare
from lm_train.errors import DataError, SourceError
from lm_train.permutation import keyed_below, keyed_below_each
from lm_train.texts import blocks as blocks_module
from lm_train.texts import text_scan
from lm_train.texts.blocks import Blocks, files_in_blocks
from lm_train.texts.compressed import zstandard_window
from lm_train.texts.sources import Files, Stories
from lm_train.texts.stories import story
from lm_train.texts.text_scan import scan_texts
from lm_train.tokens import encode_blocks, partial
from lm_train.tokens.partial import partial_path

prepare_module = import_module("lm_train.prepare")  # the package has a function of that name

STORIES = [story(number) for number in range(60)]
FRAGMENTS = [
    "<|endoftext|>",
    "<|endof",
    "\n",
    "\r\n",
    " ",
    "a word",
    "ünï 日本",
    "\x1c",
    "\u2003",
    "don't 12",
    "\ufeff",
]
fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "corpus.txt").write_text("<|endoftext|>\n".join(STORIES))
    return tmp_path / "corpus.txt"


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(texts=STORIES, vocab_size=300)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    texts=st.lists(fragments, min_size=1, max_size=3),
    separator=st.sampled_from(["<|endoftext|>", None, "\n"]),
    size=st.sampled_from([1, 30, 1 << 20]),
)
def test_the_documents_of_blocks_are_those_of_pieces(tmp_path, texts, separator, size):
    paths = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text.encode())
    check_blocks(Files("texts", tuple(paths), separator=separator), size)


def check_blocks(source, size):
    """The blocks of a source hold the documents of its pieces, and say of them what reading it as text says."""
    blocks = Blocks([source], size)
    found, parts, first, start = [], [], 0, 0
    for block in blocks:
        assert (block.first, block.start, block.goes_on) == (first, start, bool(parts))
        for place in range(len(block.documents)):
            parts.append(block.documents[place].decode())
            if place < len(block.documents) - 1 or block.documents.ended == len(block.documents):
                found.append("".join(parts))
                parts = []
        first, start = first + block.documents.ended, start + block.documents.text_bytes
    assert found == [text for text, _ in source.pieces()]
    assert not parts
    assert blocks.file_bytes == source.file_bytes
    by_character = True  # reads it as text
    assert blocks.read == scan_texts([source], by_character, None).sources


PACKED = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}
names = st.sampled_from(["id", "score", "tëxt", "meta", "a\nb"])
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),  # Python writes NaN and Infinity, which are no JSON, and reads them
    fragments,
    st.lists(st.floats(width=32), max_size=3),
    st.dictionaries(names, st.sampled_from(["text", "x", 1.5, float("-inf")]), max_size=2),
)
rows = st.builds(
    lambda before, text, after: before | {"text": text} | after,
    st.dictionaries(names, values, max_size=2),
    st.one_of(fragments, st.text(st.characters(exclude_categories=["Cs"]), max_size=30)),
    st.dictionaries(names, values, max_size=2),
)
lines = st.lists(
    st.one_of(
        st.builds(
            lambda row, ascii, mark, end: mark + json.dumps(row, ensure_ascii=ascii).encode() + end,
            rows,
            st.booleans(),
            st.sampled_from([b"", b"", b" ", "\ufeff".encode()]),
            st.sampled_from([b"\n", b"\r\n", b" \n"]),
        ),
        st.sampled_from([b"\n", b" \t\r\n"]),
    ),
    max_size=12,
).map(b"".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    contents=st.lists(lines, min_size=1, max_size=3),
    packed=st.sampled_from(sorted(PACKED)),
    text=fragments,
    size=st.sampled_from([1, 30, 1 << 20]),
)
def test_json_lines_and_packed_files_give_the_documents_of_pieces(tmp_path, contents, packed, text, size):
    paths = [tmp_path / f"{number}.jsonl{packed}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(PACKED[packed](content.removesuffix(b"\n")))
    (tmp_path / f"text.txt{packed}").write_bytes(PACKED[packed](text.encode()))
    check_blocks(Files("lines", (paths[0], tmp_path / f"text.txt{packed}", *paths[1:])), size)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.01, 0.0])
@pytest.mark.parametrize("given_tokenizer", [True, False])
def test_a_dataset_made_from_blocks_is_the_one_made_from_pieces(
    corpus, tmp_path, monkeypatch, tokenizer, share, given_tokenizer
):
    (tmp_path / "more.txt").write_text("\n".join(STORIES[:9]) + "  no line end at all " * 30)
    (tmp_path / "valid.txt").write_text(STORIES[3])
    valid = tmp_path / "valid.txt" if share == 0.3 else None
    options = {
        "valid": valid,
        "valid_share": share,
        "shard_tokens": 3_000,
        "vocab_size": 300,
        "tokenizer": tokenizer if given_tokenizer else None,
    }
    (tmp_path / "lines.ndjson.zst").write_bytes(
        zstandard.compress("\n".join(json.dumps({"text": text}) for text in STORIES[20:40]).encode())
    )
    texts = [corpus, tmp_path / "lines.ndjson.zst", tmp_path / "more.txt"]
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "files_in_blocks", lambda train, valid: None)
        wanted = contents(prepare(texts, tmp_path / "pieces", **options).folder)
    sizes = (
        (1 << 24,) if share == 0.01 else (1 << 24, 1_000)
    )  # the line end before a tail is looked for in one block, or piece
    for size in sizes:
        monkeypatch.setattr(encode_blocks, "BLOCK_BYTES", size)
        assert contents(prepare(texts, tmp_path / f"blocks-{size}", **options).folder) == wanted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(text=fragments, share=st.sampled_from([0.0, 0.05, 0.4]), end=st.sampled_from(["<|endoftext|>", None]))
def test_any_small_text_gives_the_same_dataset_or_the_same_error(tmp_path, tokenizer, text, share, end):
    path = tmp_path / "text.txt"
    path.write_bytes(f"some words.\n{text}\n".encode())
    made = []
    for plain in (files_in_blocks, lambda train, valid: None):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepare_module, "files_in_blocks", plain)
            try:
                made.append(
                    contents(
                        prepare(
                            path, tmp_path / "data", tokenizer=tokenizer, valid_share=share, end_of_text=end
                        ).folder
                    )
                )
            except DataError as error:
                made.append(str(error))
    assert made[0] == made[1]


def test_which_sources_come_in_blocks(tmp_path):
    def in_blocks(*names):
        return files_in_blocks([Files("a", tuple(tmp_path / name for name in names))], []) is not None

    assert in_blocks("a.txt", "b.md", "c", "D.PY", "b.jsonl", "b.NDJSON", "b.txt.gz", "b.txt.ZST")
    assert not in_blocks("a.txt", "b.parquet")
    assert files_in_blocks([Stories("stories")], []) is None


def test_zstd_with_a_window_that_lm_tokenizer_does_not_read_is_read_as_text(tmp_path):
    text = "words of text\n" * 9_000
    wide = zstandard.ZstdCompressionParameters(window_log=28, write_content_size=False)
    stream = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    (tmp_path / "wide.txt.zst").write_bytes(stream.compress(text.encode()) + stream.flush())
    (tmp_path / "wide.txt").write_text(text)
    assert zstandard_window(tmp_path / "wide.txt.zst") == 1 << 28
    made = [prepare(tmp_path / name, tmp_path / f"data of {name}") for name in ("wide.txt.zst", "wide.txt")]
    assert made[0].fingerprint == made[1].fingerprint


def test_how_much_there_is_of_packed_text_is_told_while_it_is_read(tmp_path, monkeypatch, tokenizer):
    monkeypatch.setattr(encode_blocks, "BLOCK_BYTES", 100_000)
    monkeypatch.setattr(text_scan, "BLOCK_BYTES", 100_000)
    lines = "\n".join(json.dumps({"text": story(number)}) for number in range(5_000))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    for known in (tokenizer, None):
        told = []
        prepare(
            tmp_path / "a.jsonl.gz",
            tmp_path / f"data {known is None}",
            tokenizer=known,
            vocab_size=300,
            progress=lambda *each, told=told: told.append(each),
        )
        for phase in ("encode",) if known else ("read", "encode"):
            of_phase = [(done, total) for name, done, total in told if name == phase]
            size = of_phase[-1][0]
            assert of_phase[-1] == (size, size)
            assert all(done <= total for done, total in of_phase)
            late = [total for done, total in of_phase if done > 0.7 * size]  # it is read 64 KB at a time
            assert all(0.7 * size <= total <= 1.4 * size for total in late)


@pytest.mark.parametrize("bad", [b"\0", b"\xff", b"\xe6\x97", b"\xc3("])
def test_a_fault_is_told_in_the_same_words_and_once_it_is_mended_the_work_goes_on(
    corpus, tmp_path, monkeypatch, tokenizer, bad
):
    monkeypatch.setattr(encode_blocks, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(blocks_module, "_LOOK_BYTES", 1_000)
    monkeypatch.setattr(partial, "MARK_SECONDS", 0.0)
    whole = contents(prepare(corpus, tmp_path / "whole", tokenizer=tokenizer).folder)
    sound = corpus.read_bytes()
    place = sound.index(b"<|endoftext|>", 20_000)
    corpus.write_bytes(sound[:place] + bad + sound[place:])
    with pytest.raises(SourceError) as said:
        list(Files("corpus", (corpus,)).pieces())
    with pytest.raises(SourceError) as told:
        prepare(corpus, tmp_path / "data", tokenizer=tokenizer)
    assert str(told.value) == str(said.value)
    corpus.write_bytes(sound)
    phases = []
    prepare(corpus, tmp_path / "data", tokenizer=tokenizer, progress=lambda *told: phases.append(told[:2]))
    assert phases[0][0] == "read"
    assert next(done for phase, done in phases if phase == "encode") > 10_000
    assert contents(tmp_path / "data") == whole


@pytest.mark.parametrize(
    "bad",
    [
        b'{"title": "a", "body": "b"}',
        b'{"text": 5}',
        b'{"text": "\\ud800"}',
        b'{"text": "a\xff"}',
        b'{"text": "a", "b": "\xff"}',
        b'{"text": "a',
        b'["text"]',
        b"plain text",
        b'{"text": "a"} {}',
        b'{"text": NaN}',
        b'{"text": "a", "n": 1NaN}',
        b'{"text": "a\tb"}',
    ],
)
@pytest.mark.parametrize("packed", sorted(PACKED))
def test_a_fault_in_a_line_is_told_in_the_same_words(tmp_path, tokenizer, bad, packed):
    good = "".join(json.dumps({"text": text}) + "\n" for text in STORIES).encode()
    path = tmp_path / f"a.jsonl{packed}"
    path.write_bytes(PACKED[packed](good + b"\n" + bad + b"\n" + good))
    with pytest.raises(SourceError) as said:
        list(Files("a", (path,)).pieces())
    assert f"line {len(STORIES) + 2}: " in str(said.value)
    for known in (tokenizer, None):
        with pytest.raises(SourceError) as told:
            prepare(path, tmp_path / "data", tokenizer=known, vocab_size=300)
        assert str(told.value) == str(said.value)


@pytest.mark.parametrize("packed", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-5], lambda data: data[:40] + bytes(each ^ 0xFF for each in data[40:60]) + data[60:]],
)
def test_damaged_packed_files_are_told_in_the_same_words(tmp_path, tokenizer, name, packed, damage):
    text = "".join(json.dumps({"text": text}) + "\n" for text in STORIES).encode()
    path = tmp_path / f"{name}{packed}"
    path.write_bytes(damage(PACKED[packed](text)))
    with pytest.raises(SourceError) as said:
        list(Files("a", (path,)).pieces())
    assert "fetch it again" in str(said.value)
    with pytest.raises(SourceError) as told:
        prepare(path, tmp_path / "data", tokenizer=tokenizer)
    assert str(told.value) == str(said.value)


def test_in_one_go_it_is_stopped_and_goes_on_but_not_with_another_text(
    corpus, tmp_path, monkeypatch, tokenizer
):
    monkeypatch.setattr(encode_blocks, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(blocks_module, "_LOOK_BYTES", 1_000)
    monkeypatch.setattr(partial, "MARK_SECONDS", 0.0)
    whole = contents(prepare(corpus, tmp_path / "whole", tokenizer=tokenizer).folder)

    def stop_at(call):
        calls = itertools.count(1)

        def progress(phase, done, total):
            if phase == "encode" and next(calls) == call:
                raise KeyboardInterrupt

        return progress

    for call in (1, 5, 3, 8):
        with pytest.raises(KeyboardInterrupt):
            prepare(corpus, tmp_path / "data", tokenizer=tokenizer, progress=stop_at(call))
        assert partial_path(tmp_path / "data").is_dir()
    first = []
    prepare(corpus, tmp_path / "data", tokenizer=tokenizer, progress=lambda *told: first.append(told[:2]))
    assert next(done for phase, done in first if phase == "encode") > 15_000
    assert contents(tmp_path / "data") == whole

    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, tmp_path / "other", tokenizer=tokenizer, progress=stop_at(9))
    corpus.write_text(corpus.read_text().replace("the", "The", 1))
    wanted = contents(prepare(corpus, tmp_path / "wanted", tokenizer=tokenizer).folder)
    assert contents(prepare(corpus, tmp_path / "other", tokenizer=tokenizer).folder) == wanted != whole


def test_many_keyed_numbers_are_those_of_one_call_each():
    assert keyed_below_each(20, "a", 3, each=range(500)) == [
        keyed_below(20, "a", 3, number) for number in range(500)
    ]
