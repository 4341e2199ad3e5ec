"""`prepare` with other processes at work: the same bytes, whoever counts and encodes, and whenever workers die."""

import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from lm_tokenizer import PretokenCounts, Tokenizer
from lm_train import cli
from lm_train.errors import ConfigError
from lm_train.prepare import prepare
from lm_train.tokens import encode_documents, text_tokenizer
from lm_train.tokens.on_ray import RayEngine
from lm_train.tokens.tasks import (
    count_texts,
    counting_bytes,
    counts_of,
    encode_texts,
    summed,
    tokenizer_bytes,
)
from tiny_runs import tiny_text


class OutOfOrder:
    """Workers that end in any order; each task is done twice, as after a death, and must give the same."""

    def __init__(self):
        self.tasks = 0
        self.most = 0

    def map(self, task, shared, items, texts):
        working = threading.Semaphore(4)
        with ThreadPoolExecutor(4) as pool:

            def twice(item):
                first, second = task(shared, texts(item)), task(shared, texts(item))
                working.release()
                assert str(first) == str(second)
                return second

            futures = []
            for item in items:
                working.acquire()
                self.tasks += 1
                futures.append((item, pool.submit(twice, item)))
            for item, future in futures:
                yield item, future.result()


@pytest.fixture
def books(tmp_path, monkeypatch):
    """A folder of texts, of which a few thousand characters are handed out at a time."""
    monkeypatch.setattr(encode_documents, "ENCODED_AT_ONCE", 3000)
    monkeypatch.setattr(text_tokenizer, "COUNTED_AT_ONCE", 3000)
    folder = tmp_path / "books"
    folder.mkdir()
    rng = random.Random(4)
    for number in range(7):
        text = tiny_text(6000, seed=number) + "".join(rng.choices("äöü€🙂 \n", k=300))
        (folder / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("tokenizer", [None, "characters"])
def test_a_dataset_made_by_other_workers_is_the_same_to_the_last_byte(books, tmp_path, tokenizer):
    settings = {"vocab_size": 400, "shard_tokens": 2000, "tokenizer": tokenizer}
    here, engine = prepare(books, tmp_path / "here", **settings), OutOfOrder()
    there = prepare(books, tmp_path / "there", **settings, engine=engine)
    assert files_of(there.folder) == files_of(here.folder)
    assert len(list(there.folder.glob("train-*.bin"))) > 3
    assert engine.tasks > (20 if tokenizer is None else 10)


def test_counts_of_parts_add_up_to_those_of_the_whole_in_any_number():
    texts = [tiny_text(500, seed=number) for number in range(13)]
    shared = counting_bytes("gpt2", ("<|endoftext|>",))
    for parts in (0, 1, 2, 7, 13):
        found = summed((counts_of(count_texts(shared, [t])) for t in texts[:parts]), PretokenCounts())
        whole = PretokenCounts()
        whole.add_texts(texts[:parts])
        assert found == whole


def test_a_tokenizer_travels_as_bytes_and_special_tokens_in_texts_stay_text():
    tokenizer = Tokenizer.train(texts=[tiny_text()], vocab_size=300)
    texts = ["a small cat <|endoftext|>", "", "🙂"]
    ids, offsets = encode_texts(tokenizer_bytes(tokenizer), texts)
    sound_ids, sound_offsets = tokenizer.encode_batch_array(texts, disallowed_special=())
    assert ids.tolist() == sound_ids.tolist()
    assert offsets.tolist() == sound_offsets.tolist()


def test_an_error_of_a_worker_ends_prepare_as_one_of_its_own_would(books, tmp_path):
    class Failing:
        def map(self, task, shared, items, texts):
            raise MemoryError("a worker had no memory")
            yield

    with pytest.raises(MemoryError, match="a worker had no memory"):
        prepare(books, tmp_path / "data", vocab_size=300, engine=Failing())
    assert not (tmp_path / "data").exists()


def test_an_address_where_nobody_listens_is_told_at_once(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "installed")
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"no Ray cluster at {address}"), RayEngine(address):
            raise AssertionError("nobody is there")


def test_without_ray_the_engine_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'lm-train\[ray\]'"):
        RayEngine("auto")
    (tmp_path / "a.txt").write_text(tiny_text())
    assert cli.run(["prepare", str(tmp_path / "a.txt"), "--engine", "ray"]) == 2
    assert "ray is not installed" in capsys.readouterr().err
