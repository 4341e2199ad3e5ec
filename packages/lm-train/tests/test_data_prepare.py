import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from lm_tokenizer import Tokenizer
from lm_train.dataset import TokenDataset
from lm_train.errors import BusyFolderError, ConfigError, DatasetError, SourceError, TooFewTokensError
from lm_train.lock import locked
from lm_train.prepare import prepare
from lm_train.texts.stories import story
from lm_train.tokens import encode_blocks, encode_documents

STORIES = [story(number) for number in range(150)]


def digest(folder):
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("<|endoftext|>\n".join(STORIES))
    return path


def documents(dataset, split):
    tokenizer = dataset.load_tokenizer()
    ids, start, found = dataset.read(split, 0, dataset.tokens(split)).tolist(), 0, []
    for end in dataset.document_ends(split).tolist():
        found.append(tokenizer.decode(ids[start : end - (dataset.end_of_text is not None)]))
        start = end
    return found


def test_ids_are_those_of_encoding_each_document_alone_with_end_of_text_after_it(corpus, tmp_path):
    dataset = prepare(corpus, tmp_path / "data", vocab_size=400)
    tokenizer = dataset.load_tokenizer()
    end = tokenizer.special_tokens["<|endoftext|>"]
    assert dataset.vocab_size == tokenizer.vocab_size == 400
    held_out = set(documents(dataset, "valid"))
    for split in ("train", "valid"):
        chosen = [text for text in STORIES if (text in held_out) == (split == "valid")]
        naive = [token for text in chosen for token in [*tokenizer.encode(text), end]]
        assert dataset.read(split, 0, dataset.tokens(split)).tolist() == naive
        assert dataset.documents(split) == len(chosen)
        assert dataset.text_bytes(split) == sum(len(text.encode()) for text in chosen)
    assert (
        len(held_out) == 7
    )  # of each 20 documents one; the last 10 of 150 are a group whose one would come later


def test_the_tokenizer_never_sees_the_held_out_text(corpus, tmp_path):
    dataset = prepare(corpus, tmp_path / "data", vocab_size=350)
    alone = Tokenizer.train(texts=documents(dataset, "train"), vocab_size=350)
    assert dataset.tokenizer_fingerprint == alone.fingerprint


def test_the_same_text_gives_the_same_bytes_from_any_kind_of_file(corpus, tmp_path):
    lines = "\n".join(json.dumps({"text": text}) for text in STORIES)
    (tmp_path / "corpus.jsonl").write_text(lines)
    (tmp_path / "corpus.txt.gz").write_bytes(gzip.compress(corpus.read_bytes()))
    (tmp_path / "each").mkdir()
    for number, text in enumerate(STORIES):
        (tmp_path / "each" / f"{number:03}.txt").write_text(text)
    fingerprints = {
        name: prepare(tmp_path / name, tmp_path / f"data-{name}", vocab_size=300).fingerprint
        for name in ("corpus.txt", "corpus.jsonl", "corpus.txt.gz", "each")
    }
    assert len(set(fingerprints.values())) == 1, fingerprints


def test_special_tokens_in_text_are_ordinary_text(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "before <|endoftext|> after"}))
    dataset = prepare(tmp_path / "a.jsonl", tmp_path / "data", vocab_size=258, valid_share=0)
    ids = dataset.read("train", 0, dataset.tokens()).tolist()
    assert ids.count(dataset.end_of_text) == 1
    assert ids[-1] == dataset.end_of_text
    assert documents(dataset, "train") == ["before <|endoftext|> after"]


def test_a_long_document_has_the_ids_of_its_uncut_text(tmp_path, monkeypatch):
    monkeypatch.setattr("lm_train.texts.text_files.PIECE_CHARS", 500)
    monkeypatch.setattr("lm_train.texts.text_files._CUT_WINDOW", 400)
    text = "".join(STORIES) + "x = [1,  2]\n\n\n   don't  stop\t\tnow 12345 ünïcode 日本語\n" * 40
    (tmp_path / "a.txt").write_text(text)
    for pattern in ("gpt2", "cl100k", "o200k", "llama3", "qwen2"):
        dataset = prepare(
            tmp_path / "a.txt", tmp_path / pattern, vocab_size=600, pattern=pattern, valid_share=0
        )
        tokenizer = dataset.load_tokenizer()
        assert dataset.read("train", 0, dataset.tokens() - 1).tolist() == tokenizer.encode(text), pattern
        assert dataset.documents() == 1


@pytest.mark.parametrize("size", [1, 700, 10**9])
def test_how_much_is_encoded_at_once_changes_nothing(corpus, tmp_path, monkeypatch, size):
    whole = prepare(corpus, tmp_path / "whole", vocab_size=300, shard_tokens=2_000)
    monkeypatch.setattr(encode_documents, "ENCODED_AT_ONCE", size)
    monkeypatch.setattr(encode_blocks, "BLOCK_BYTES", size)
    prepare(corpus, tmp_path / "parts", vocab_size=300, shard_tokens=2_000)
    assert digest(tmp_path / "parts") == digest(tmp_path / "whole")
    assert len(whole.info.splits["train"]) > 5


def test_shards_end_at_the_first_document_end_at_which_they_are_full(corpus, tmp_path):
    dataset = prepare(corpus, tmp_path / "data", vocab_size=300, shard_tokens=1_000)
    ends = dataset.document_ends("train").tolist()
    wanted, start = [], 0
    for end in ends:
        if end - start >= 1_000 or end == ends[-1]:
            wanted.append(end - start)
            start = end
    assert [shard.tokens for shard in dataset.info.splits["train"].values()] == wanted


@pytest.mark.parametrize(
    ("vocab_size", "dtype"), [(65_535, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_the_dtype_holds_every_id_of_the_vocabulary(tmp_path, vocab_size, dtype):
    """D2: the largest id is written and read back."""
    characters = "".join(map(chr, [*range(0x20, 0xD800), *range(0xE000, 0x1_8000)]))[:vocab_size]
    (tmp_path / "a.txt").write_text(characters[:200] + characters[-50:])
    dataset = prepare(
        tmp_path / "a.txt",
        tmp_path / "data",
        tokenizer=Tokenizer.characters(characters),
        end_of_text=None,
        valid_share=0,
    )
    assert dataset.dtype == np.dtype(dtype)
    assert dataset.vocab_size == vocab_size
    assert dataset.read("train", 0, dataset.tokens())[-1] == vocab_size - 1
    assert documents(dataset, "train") == [characters[:200] + characters[-50:]]
    dataset.verify()


def test_a_character_tokenizer_knows_every_character_of_the_text(tmp_path):
    (tmp_path / "a.txt").write_text("one line\n" * 50 + "a rare ß at the end\n")
    dataset = prepare(tmp_path / "a.txt", tmp_path / "data", tokenizer="characters")
    assert dataset.vocab_size == len(set("one line\na rare ß at the end")) + 1
    assert documents(dataset, "train")[0] + documents(dataset, "valid")[0] == (tmp_path / "a.txt").read_text()


def test_a_text_of_its_own_is_held_out_whole(corpus, tmp_path):
    (tmp_path / "valid.txt").write_text("held out\n")
    dataset = prepare(corpus, tmp_path / "data", valid=tmp_path / "valid.txt", vocab_size=300)
    assert documents(dataset, "valid") == ["held out\n"]
    assert documents(dataset, "train") == STORIES


def test_nothing_is_held_out_when_asked(corpus, tmp_path):
    dataset = prepare(corpus, tmp_path / "data", vocab_size=300, valid_share=0)
    assert dataset.splits == ("train",)


def test_the_same_again_is_used_as_it_is_and_anything_else_is_refused_by_name(corpus, tmp_path):
    prepare(corpus, tmp_path / "data", vocab_size=300)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()}
    phases = set()
    prepare(corpus, tmp_path / "data", vocab_size=300, progress=lambda phase, done, total: phases.add(phase))
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "data").iterdir()} == before
    assert phases == {"read"}
    with pytest.raises(
        DatasetError, match=r"data was prepared otherwise: vocab_size was 300, is 301\. Choose another folder"
    ):
        prepare(corpus, tmp_path / "data", vocab_size=301)
    corpus.write_text(corpus.read_text().replace("kind", "wild"))  # the same length
    with pytest.raises(
        DatasetError, match=r"the text was .*corpus\.txt \([\d,]+ bytes, SHA-256 .*\), is .*corpus\.txt"
    ):
        prepare(corpus, tmp_path / "data", vocab_size=300)
    assert prepare(corpus, tmp_path / "data", vocab_size=301, replace=True).vocab_size == 301


def test_a_folder_of_something_else_is_never_touched(corpus, tmp_path):
    (tmp_path / "data").mkdir()
    assert prepare(corpus, tmp_path / "data", vocab_size=300).vocab_size == 300  # an empty one is filled
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    for replace in (False, True):
        with pytest.raises(
            DatasetError, match=r"precious exists and is no token dataset \(it has no dataset\.json\)"
        ):
            prepare(corpus, tmp_path / "precious", replace=replace)
        with pytest.raises(DatasetError, match=r"corpus\.txt is a file; choose another name"):
            prepare(corpus, corpus, replace=replace)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_a_second_writer_is_refused(corpus, tmp_path):
    with (
        locked(tmp_path / "data"),
        pytest.raises(BusyFolderError, match=rf"data is being written by process {os.getpid()} on"),
    ):
        prepare(corpus, tmp_path / "data")


def test_progress_is_in_bytes_of_text_and_ends_at_the_total(corpus, tmp_path):
    calls = {}
    prepare(
        corpus,
        tmp_path / "data",
        vocab_size=300,
        progress=lambda phase, done, total: calls.setdefault(phase, []).append((done, total)),
    )
    assert list(calls) == ["read", "count words", "learn merges", "encode"]
    for phase, pairs in calls.items():
        assert [done for done, _ in pairs] == sorted(done for done, _ in pairs)
        assert pairs[-1][0] == pairs[-1][1], phase
    assert calls["encode"][-1][0] == sum(len(text.encode()) for text in STORIES)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"valid_share": 1.0}, ConfigError, "valid_share must be at least 0 and below 1, got 1.0"),
        ({"folder": "."}, ConfigError, r"the dataset needs a folder of its own, got \.; name one"),
        ({"shard_tokens": 0}, ConfigError, "shard_tokens must be at least 1, got 0"),
        (
            {"tokenizer": "missing.json"},
            ConfigError,
            r'there is no tokenizer missing\.json; give a tokenizer\.json, "characters"',
        ),
        (
            {"tokenizer": Tokenizer.characters("abc")},
            ConfigError,
            r"has no special token <\|endoftext\|> .* \(it has: none\)",
        ),
        ({"valid": "nowhere.txt"}, SourceError, "there is no file or folder nowhere.txt"),
    ],
)
def test_settings_that_cannot_be_are_refused_and_leave_nothing(corpus, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        prepare(corpus, **({"folder": tmp_path / "made" / "data"} | options))
    assert not (tmp_path / "made").exists() or list((tmp_path / "made").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", SourceError, "is empty"),
        (b" \n\t\n", SourceError, r"a\.txt holds no text, only white space"),
        (b"a\0b", SourceError, "NUL byte at offset 1"),
        (b"a\xffb", SourceError, "is not UTF-8 text"),
        (b"ab", TooFewTokensError, "2 bytes of text are too few to train on one part and hold out another"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused_and_leaves_nothing(tmp_path, content, error, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(error, match=message):
        prepare(tmp_path / "a.txt", tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_disk_that_is_full_at_once_is_said_and_leaves_nothing(corpus, tmp_path, monkeypatch):
    from lm_core.manifest import DiskFullError
    from lm_train.tokens.dataset_writer import _HashedFile

    def write(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_HashedFile, "write", write)
    with pytest.raises(
        DiskFullError, match=r"disk is full: could not write .*data.*; nothing was encoded yet"
    ):
        prepare(corpus, tmp_path / "data", vocab_size=300)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


KILLED = """
import os, signal, sys
from lm_train.prepare import prepare
corpus, folder, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
files = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
seen, last = 0, None
def count(event, arguments):
    global seen
    if event in files and str(arguments[0]).startswith(os.path.dirname(folder)):
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
prepare(corpus, folder + "-unbroken", vocab_size=300, shard_tokens=2000)
whole, seen = seen, 0
for number in range(rounds):
    child = os.fork()
    if child == 0:
        last = 1 + whole * number // rounds
        prepare(corpus, folder, vocab_size=300, shard_tokens=2000)
        os._exit(0)
    print("killed" if os.waitpid(child, 0)[1] else "finished", flush=True)
"""


def test_killed_at_any_moment_a_rerun_gives_the_bytes_of_an_unbroken_run(corpus, tmp_path):
    """D3. Killed at eight of the moments at which it touches a file, from the first to one of the last. Leftovers pile up; the last call removes them all."""
    command = [sys.executable, "-W", "ignore", "-c", KILLED, corpus, tmp_path / "data", "8"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert result.stdout.split() == ["killed"] * 8, result
    prepare(corpus, tmp_path / "data", vocab_size=300, shard_tokens=2_000)
    assert digest(tmp_path / "data") == digest(tmp_path / "data-unbroken")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.txt", "data", "data-unbroken"]
    TokenDataset(tmp_path / "data")


def test_a_text_that_grows_while_it_is_read_is_noticed(corpus, tmp_path):
    def grow(phase, done, total):
        if phase == "learn merges":
            with open(corpus, "a") as file:
                file.write("more")

    with pytest.raises(
        SourceError,
        match=r"the text changed while it was read: [\d,]+ bytes at first, then [\d,]+; run it again",
    ):
        prepare(corpus, tmp_path / "data", vocab_size=300, progress=grow)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_ctrl_c_leaves_nothing(corpus, tmp_path):
    def interrupt(phase, done, total):
        if phase == "encode":
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, tmp_path / "data", vocab_size=300, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]
