"""A dataset whose writing was stopped or killed: the next call goes on from the last mark, to the same bytes."""

import errno
import gzip
import itertools
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest
from lm_core.atomic_folder import DiskFullError
from lm_core.manifest import read_sealed_json
from lm_tokenizer import Documents, Tokenizer
from lm_train import TokenDataset, prepare
from lm_train.tokens import dataset_writer, encode_blocks, encode_documents, partial
from lm_train.tokens.dataset_writer import _HashedFile
from lm_train.tokens.partial import Partial, partial_path
from tiny_runs import tiny_text

prepare_module = import_module("lm_train.prepare")  # the package has a function of that name

SETTINGS = {"vocab_size": 300, "shard_tokens": 1000}


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "corpus.txt").write_text(tiny_text(characters=13_000))
    return tmp_path / "corpus.txt"


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    """Groups of 1,000 characters and blocks of 1,000 bytes, a mark after each; each 100 bytes of ids are brought to disk."""
    monkeypatch.setattr(encode_documents, "ENCODED_AT_ONCE", 1_000)
    monkeypatch.setattr(encode_blocks, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(partial, "MARK_SECONDS", 0.0)
    monkeypatch.setattr(dataset_writer, "_SYNCED_AT_ONCE", 100)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def stop_at(call):
    """A progress function that stops the program when it is told of encoded text for the `call`-th time."""
    calls = itertools.count(1)

    def progress(phase, done, total):
        if phase == "encode" and next(calls) == call:
            raise KeyboardInterrupt

    return progress


def test_stopped_after_any_group_it_goes_on_to_the_same_bytes(corpus, tmp_path):
    whole = contents(prepare(corpus, tmp_path / "whole", **SETTINGS).folder)
    groups = 0
    for call in range(1, 100):
        folder = tmp_path / f"stopped-{call}"
        try:
            prepare(corpus, folder, progress=stop_at(call), **SETTINGS)
            break
        except KeyboardInterrupt:
            groups += 1
        assert not folder.exists()
        assert partial_path(folder).is_dir()
        assert contents(prepare(corpus, folder, **SETTINGS).folder) == whole
        assert not partial_path(folder).exists()
    assert groups > 8
    assert len([name for name in whole if name.endswith(".bin")]) > 2


@pytest.mark.parametrize(
    ("name", "home", "call", "again"),
    [("corpus.txt.gz", Tokenizer, "encode_batch_array", 0), ("corpus.txt", Documents, "encode", 4)],
)
def test_stopped_again_and_again_it_encodes_no_group_twice(
    corpus, tmp_path, monkeypatch, name, home, call, again
):
    path = corpus.with_name(
        name
    )  # pieces of text, or blocks of bytes of which two, in two splits, are ahead of what is written
    if path != corpus:
        path.write_bytes(gzip.compress(corpus.read_bytes()))
    encoded, encode = [], getattr(home, call)

    def spy(self, given, **options):
        encoded.append(1)
        return encode(self, given, **options)

    monkeypatch.setattr(home, call, spy)
    whole = contents(prepare(path, tmp_path / "whole", **SETTINGS).folder)
    wanted, encoded[:] = len(encoded), []
    stops, stopped = 0, True
    while stopped:
        try:
            prepare(path, tmp_path / "parts", progress=stop_at(2), **SETTINGS)
            stopped = False
        except KeyboardInterrupt:
            stops += 1
    assert stops > 4
    assert contents(tmp_path / "parts") == whole
    assert wanted <= len(encoded) <= wanted + again * stops


def fill_the_disk(monkeypatch, home, name, call):
    """From its `call`-th call on the function `name` of `home` finds no room."""
    sound, calls = getattr(home, name), itertools.count(1)

    def full(*args, **kwargs):
        if next(calls) >= call:
            raise OSError(28, "No space left on device")
        return sound(*args, **kwargs)

    monkeypatch.setattr(home, name, full)


@pytest.mark.parametrize(
    ("home", "name", "call"),
    [
        (_HashedFile, "write", 3),
        (_HashedFile, "write", 20),
        (_HashedFile, "sync", 9),
        (partial, "write_sealed_json", 4),
        (prepare_module, "write_info", 1),
        (prepare_module, "fsync_tree", 1),
    ],
)
def test_what_is_whole_stays_on_a_full_disk_and_the_next_call_goes_on(
    corpus, tmp_path, monkeypatch, home, name, call
):
    whole = contents(prepare(corpus, tmp_path / "whole", **SETTINGS).folder)
    with monkeypatch.context() as patch:
        fill_the_disk(patch, home, name, call)
        with pytest.raises(DiskFullError) as said:
            prepare(corpus, tmp_path / "data", **SETTINGS)
    kept = partial_path(tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert f"bytes of text are encoded and kept in {kept}. Free some space, and run the same again" in str(
        said.value
    )
    assert read_sealed_json(kept / "progress.json")["text_bytes"] > 0
    encoded = []
    prepare(corpus, tmp_path / "data", progress=lambda *told: encoded.append(told), **SETTINGS)
    first = next((done for phase, done, _ in encoded if phase == "encode"), None)
    assert first is None or first > 1_100  # not from the beginning
    assert contents(tmp_path / "data") == whole
    assert not kept.exists()


def test_without_room_to_go_on_what_is_there_stays(corpus, tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, tmp_path / "data", progress=stop_at(6), **SETTINGS)
    before = contents(partial_path(tmp_path / "data"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(DiskFullError, match="are encoded and kept in"):
        prepare(corpus, tmp_path / "data", **SETTINGS)
    assert contents(partial_path(tmp_path / "data")) == before


@pytest.mark.parametrize("end", ["write", "sync", "close"])
def test_what_the_disk_refuses_while_more_is_written_is_told(tmp_path, monkeypatch, end):
    file = _HashedFile(tmp_path / "ids")
    refused = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(dataset_writer.os, "fsync", raising(refused))
        file.write(b"i" * 100)
        file._thread.shutdown()  # it has asked, and was told
    with pytest.raises(OSError, match="No space left"):
        file.write(b"i" * 100) if end == "write" else getattr(file, end)()
    file.abandon()


def raising(error):
    def refuse(descriptor):
        raise error

    return refuse


def test_a_mark_that_a_kill_cut_short_is_no_part_of_the_dataset(corpus, tmp_path):
    whole = contents(prepare(corpus, tmp_path / "whole", **SETTINGS).folder)
    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, tmp_path / "data", progress=stop_at(4), **SETTINGS)
    (partial_path(tmp_path / "data") / ".tmp-progress.json-0123abcd").write_text("{")
    assert contents(prepare(corpus, tmp_path / "data", **SETTINGS).folder) == whole


def test_what_was_written_after_the_mark_is_cut_off(corpus, tmp_path):
    whole = contents(prepare(corpus, tmp_path / "whole", **SETTINGS).folder)
    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, tmp_path / "data", progress=stop_at(6), **SETTINGS)
    for path in partial_path(tmp_path / "data").glob("*.bin"):
        if path.stat().st_size < 2 * SETTINGS["shard_tokens"]:  # the one that is not closed
            path.write_bytes(path.read_bytes() + b"torn")
    assert contents(prepare(corpus, tmp_path / "data", **SETTINGS).folder) == whole


def damaged(folder):
    content = bytearray((folder / "progress.json").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "progress.json").write_bytes(content)


def shortened(folder):
    path = sorted(folder.glob("train-*.bin"))[0]
    path.write_bytes(path.read_bytes()[:-2])


def without_a_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize("hurt", [damaged, shortened, without_a_tokenizer])
def test_leftovers_that_cannot_be_trusted_are_thrown_away(corpus, tmp_path, hurt):
    whole = contents(prepare(corpus, tmp_path / "whole", **SETTINGS).folder)
    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, tmp_path / "data", progress=stop_at(9), **SETTINGS)
    hurt(partial_path(tmp_path / "data"))
    assert contents(prepare(corpus, tmp_path / "data", **SETTINGS).folder) == whole


def test_another_jobs_leftovers_are_thrown_away(corpus, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, tmp_path / "data", progress=stop_at(9), **SETTINGS)
    other = {**SETTINGS, "vocab_size": 290}
    whole = contents(prepare(corpus, tmp_path / "whole", **other).folder)
    assert contents(prepare(corpus, tmp_path / "data", **other).folder) == whole


def test_without_a_mark_nothing_is_left(tmp_path):
    job = {"sources": []}
    Partial(tmp_path / "data", job).leave()
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys, time
from lm_train import prepare
from lm_train.tokens import encode_blocks, partial
from pathlib import Path
encode_blocks.BLOCK_BYTES, partial.MARK_SECONDS = 1_000, 0.0
corpus, folder = sys.argv[1], sys.argv[2]
for number in range(6):
    child = os.fork()
    if child == 0:
        prepare(corpus, folder, vocab_size=300, shard_tokens=1000, progress=lambda *_: time.sleep(0.01))
        os._exit(0)
    mark = partial.partial_path(Path(folder)) / "progress.json"
    before = mark.read_bytes() if mark.exists() else b""
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        try:
            moved = mark.read_bytes() != before
        except FileNotFoundError:
            moved = False
        if moved:  # somewhere in or after the group behind the mark
            time.sleep(0.002 * number)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            print("killed", flush=True)
            break
    else:
        break
"""


def test_killed_in_the_middle_of_writing_it_goes_on_to_the_same_bytes(corpus, tmp_path):
    whole = contents(prepare(corpus, tmp_path / "whole", **SETTINGS).folder)
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(corpus), str(tmp_path / "data")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert result.stdout.split().count("killed") >= 2, result
    assert contents(prepare(corpus, tmp_path / "data", **SETTINGS).folder) == whole
    TokenDataset(tmp_path / "data")
    assert not partial_path(tmp_path / "data").exists()
