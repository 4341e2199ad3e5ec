"""Plain text files, read in blocks of bytes by lm-tokenizer, give to the last byte what reading them as text (text_files.py) gives."""

import itertools
import shutil
from importlib import import_module

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_tokenizer import Tokenizer
from lm_train import prepare
from lm_train.errors import DataError, SourceError
from lm_train.permutation import keyed_below, keyed_below_each
from lm_train.texts import blocks as blocks_module
from lm_train.texts.blocks import Blocks, plain_files
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
    source = Files("texts", tuple(paths), separator=separator)
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
    by_character = True  # reads it as text
    assert (
        blocks.read
        == scan_texts([Files("texts", tuple(paths), separator=separator)], by_character, None).sources
    )


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
    texts = [corpus, tmp_path / "more.txt"]
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "plain_files", lambda train, valid: None)
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
    for plain in (plain_files, lambda train, valid: None):
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepare_module, "plain_files", plain)
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


def test_which_sources_are_plain(tmp_path):
    def plain(*names):
        return plain_files([Files("a", tuple(tmp_path / name for name in names))], []) is not None

    assert plain("a.txt", "b.md", "c", "D.PY")
    assert not any(
        plain("a.txt", name) for name in ("b.jsonl", "b.NDJSON", "b.txt.gz", "b.txt.ZST", "b.parquet")
    )
    assert plain_files([Stories("stories")], []) is None


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
