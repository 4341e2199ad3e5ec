import json
import os
import shutil
import threading
import warnings

import numpy as np
import pytest
from lm_core.manifest import write_sealed_json
from lm_tokenizer import Tokenizer
from lm_train.dataset import TokenDataset
from lm_train.errors import DatasetError
from lm_train.prepare import prepare

TEXT = "<|endoftext|>\n".join(
    f"Document {number} says: größer {'very ' * (number % 7)}big.\n" for number in range(60)
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "text.txt").write_text(TEXT)
    prepare(folder / "text.txt", folder / "data", vocab_size=300, shard_tokens=200)
    return folder / "data"


@pytest.fixture
def data(prepared, tmp_path):
    """A copy to do harm to."""
    return shutil.copytree(prepared, tmp_path / "data")


def test_the_tokens_of_all_files_decode_to_the_documents(prepared):
    dataset = TokenDataset(prepared)
    tokenizer = dataset.load_tokenizer()
    documents = []
    for split in dataset.splits:
        ids = dataset.read(split, 0, dataset.tokens(split))
        start = 0
        for end in dataset.document_ends(split).tolist():
            assert ids[end - 1] == dataset.end_of_text
            documents.append(tokenizer.decode(ids[start : end - 1].tolist()))
            start = end
        assert start == dataset.tokens(split)
        assert len(dataset.document_ends(split)) == dataset.documents(split)
    assert sorted(documents) == sorted(text.removeprefix("\n") for text in TEXT.split("<|endoftext|>"))
    assert sum(dataset.text_bytes(split) for split in dataset.splits) == sum(
        len(text.encode()) for text in documents
    )


def test_there_are_several_files_and_any_range_over_them_is_read_as_one_sequence(prepared):
    dataset = TokenDataset(prepared)
    files = sorted(path for path in prepared.glob("train-*.bin"))
    assert len(files) > 3
    everything = np.concatenate([np.fromfile(path, "<u2") for path in files])
    assert dataset.tokens() == len(everything)
    for start in range(0, len(everything), 97):
        for length in (0, 1, 50, 450):
            if start + length <= len(everything):
                assert np.array_equal(
                    dataset.read("train", start, length), everything[start : start + length]
                )


def test_the_files_are_what_nanogpt_reads(prepared):
    ids = np.memmap(prepared / "valid-00000.bin", dtype=np.uint16, mode="r")
    assert np.array_equal(ids, TokenDataset(prepared).read("valid", 0, len(ids)))


def test_a_range_outside_is_refused(prepared):
    dataset = TokenDataset(prepared)
    for start, length in ((-1, 2), (0, dataset.tokens() + 1), (dataset.tokens(), 1)):
        with pytest.raises(DatasetError, match=r"the train split has [\d,]+ tokens, asked for"):
            dataset.read("train", start, length)
    with pytest.raises(DatasetError, match="has no test split, only train and valid"):
        dataset.tokens("test")


def changed_byte(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_every_single_changed_byte_is_named_before_use(data):
    for path in sorted(data.iterdir()):
        size = path.stat().st_size
        for at in {0, size // 2, size - 1}:
            changed_byte(path, at)
            with pytest.raises(DatasetError, match=path.name.replace(".", r"\.")):
                TokenDataset(data)
            changed_byte(path, at)
    TokenDataset(data)


def test_a_changed_byte_is_not_looked_for_where_the_caller_says_so(data):
    changed_byte(data / "train-00001.bin", 0)
    assert TokenDataset(data, verify=False).tokens() > 0


@pytest.mark.parametrize("name", ["train-00001.bin", "train-00001.idx", "tokenizer.json"])
@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b + b"\0", lambda b: b + b"\0\0"],
)
def test_a_file_of_another_length_is_refused_at_once_with_both_lengths(data, name, damage):
    content = (data / name).read_bytes()
    (data / name).write_bytes(damage(content))
    with pytest.raises(DatasetError) as caught:
        TokenDataset(data)
    assert name in str(caught.value)
    assert f"{len(damage(content)):,}" in str(caught.value)
    assert f"{len(content):,}" in str(caught.value)


@pytest.mark.parametrize("name", ["train-00000.bin", "train-00000.idx", "tokenizer_config.json"])
def test_a_missing_file_is_named(data, name):
    (data / name).unlink()
    with pytest.raises(DatasetError, match=f"{name} is missing; restore it"):
        TokenDataset(data)


def test_a_file_that_is_shortened_while_open_is_an_error_and_not_a_dead_process(data):
    dataset = TokenDataset(data)
    tokens = dataset.tokens("valid")
    os.truncate(data / "valid-00000.bin", 10)
    assert len(dataset.read("valid", 0, 5)) == 5
    with pytest.raises(DatasetError, match=r"valid-00000\.bin was shortened while it was open"):
        dataset.read("valid", 3, tokens - 3)


def resealed(data, change):
    """Writes a dataset.json that says something else and has a right seal."""
    payload = json.loads((data / "dataset.json").read_text())
    del payload["sha256"]
    change(payload)
    write_sealed_json(data / "dataset.json", payload)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(format="other"), "is not a token dataset of ours"),
        (
            lambda p: p.update(format_version=2),
            "has format version 2; this lm-train reads up to 1: install a newer one",
        ),
        (lambda p: p.update(dtype="int8"), "is not a valid dataset.json: format version 1 with dtype 'int8'"),
        (lambda p: p.update(dtype="uint32"), r"the bytes of train-00000\.bin do not follow from its"),
        (lambda p: p.update(vocab_size=70_000), "a vocabulary of 70,000 does not fit uint16"),
        (lambda p: p.update(vocab_size=5), "end_of_text 299 is outside the vocabulary of 5"),
        (lambda p: p.update(vocab_size="300"), "\"vocab_size\" is '300', not a whole number"),
        (lambda p: p.pop("splits"), "'splits' is missing"),
        (lambda p: p["splits"].pop("train"), "there is no train split"),
        (lambda p: p["splits"].update(test=[]), "unknown split 'test'"),
        (
            lambda p: p["splits"]["train"][0].update(name="../train-00000.bin"),
            "'../train-00000.bin' is not a plain file name",
        ),
        (lambda p: p["splits"]["train"][0].update(name="/etc/passwd"), "is not a plain file name"),
        (
            lambda p: p["splits"]["train"][0].update(largest_id=300),
            r"holds the id 300, outside the vocabulary of 300",
        ),
        (lambda p: p["splits"]["train"][0].update(tokens=-1), '"tokens" is -1, not a whole number'),
        (lambda p: p["splits"]["train"][0]["file"].update(sha256="00"), "'00' is not a SHA-256"),
        (lambda p: p["splits"]["train"].append(p["splits"]["train"][0]), "lists no shard, or one twice"),
        (lambda p: p.update(end_of_text=None), "its fingerprint is not that of its content"),
    ],
)
def test_a_dataset_json_that_lies_is_refused(data, change, message):
    resealed(data, change)
    with pytest.raises(DatasetError, match=message):
        TokenDataset(data)


def test_an_id_outside_the_vocabulary_is_found_and_placed(data):
    ids = np.fromfile(data / "train-00001.bin", "<u2")
    ids[7] = 60_000
    ids.tofile(data / "train-00001.bin")
    with pytest.raises(
        DatasetError, match=r"train-00001\.bin: token 7 is the id 60000, outside the vocabulary of 300"
    ):
        TokenDataset(data)


def test_another_tokenizer_is_refused_with_both_fingerprints(data):
    """D1."""
    dataset = TokenDataset(data)
    dataset.check_tokenizer(Tokenizer.load(data))
    other = Tokenizer.characters("abc")
    with pytest.raises(
        DatasetError,
        match=f"made with another tokenizer: .*{dataset.tokenizer_fingerprint}.*{other.fingerprint}",
    ):
        dataset.check_tokenizer(other)
    other.save(data / "tokenizer.json")
    with pytest.raises(DatasetError, match=r"tokenizer\.json"):
        TokenDataset(data)


def test_the_fingerprint_is_of_the_content_and_not_of_where_it_lies_or_came_from(data, prepared, tmp_path):
    before = TokenDataset(prepared).fingerprint
    assert TokenDataset(data).fingerprint == before
    resealed(data, lambda p: p["sources"][0].update(name="other.txt"))
    assert TokenDataset(data).fingerprint == before
    (tmp_path / "text.txt").write_text(TEXT.replace("Document 3 says", "Document 3 asks"))
    other = prepare(tmp_path / "text.txt", tmp_path / "other", tokenizer=data, shard_tokens=200)
    assert other.fingerprint != before


def test_a_folder_that_is_no_dataset_says_how_to_go_on(data, tmp_path):
    (data / "dataset.json").unlink()
    with pytest.raises(
        DatasetError,
        match=r"has no dataset\.json: it is unfinished, .* Run the same `lm-train prepare .*` again",
    ):
        TokenDataset(data)
    with pytest.raises(
        DatasetError, match=r"there is no dataset .*nowhere; make one with `lm-train prepare`"
    ):
        TokenDataset(tmp_path / "nowhere")
    (tmp_path / ".tmp-half-0123abcd").mkdir()
    with pytest.raises(DatasetError, match=r"half has no dataset\.json: it is unfinished"):
        TokenDataset(tmp_path / "half")


def test_dtype_and_vocabulary_of_our_own_are_not_to_be_told(prepared):
    TokenDataset(prepared, dtype="uint16", vocab_size=300)
    with pytest.raises(DatasetError, match="has dtype uint16, not uint32; leave dtype out"):
        TokenDataset(prepared, dtype="uint32")
    with pytest.raises(DatasetError, match="has vocab_size 300, not 4096"):
        TokenDataset(prepared, vocab_size=4096)


def test_threads_read_the_same_tokens_at_once(prepared):
    dataset = TokenDataset(prepared)
    wanted = dataset.read("train", 0, dataset.tokens())
    wrong = []

    def read(seed):
        chance = np.random.default_rng(seed)
        for start in chance.integers(0, len(wanted) - 20, 200).tolist():
            if not np.array_equal(dataset.read("train", start, 20), wanted[start : start + 20]):
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_reads_on_beside_its_parent(prepared):
    dataset = TokenDataset(prepared)
    wanted = dataset.read("train", 0, dataset.tokens())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork beside threads
        child = os.fork()
    if child == 0:
        same = all(
            np.array_equal(dataset.read("train", start, 20), wanted[start : start + 20])
            for start in range(300)
        )
        os._exit(0 if same else 1)
    for start in range(300):
        assert np.array_equal(dataset.read("train", start, 20), wanted[start : start + 20])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_more_files_than_may_be_open_are_read_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("lm_train.dataset.MAX_OPEN_FILES", 3)
    for number in range(10):
        np.arange(number * 10, number * 10 + 10, dtype="<u2").tofile(tmp_path / f"x_train_{number:03}.bin")
    dataset = TokenDataset(tmp_path)
    assert dataset.read("train", 0, 100).tolist() == list(range(100))
    assert len(dataset._open) <= 3


def test_a_dataset_is_not_sent_between_processes(prepared):
    import copy

    with pytest.raises(TypeError, match="open the dataset there"):
        copy.deepcopy(TokenDataset(prepared))
