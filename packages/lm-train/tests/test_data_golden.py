"""The dataset folder of format version 1, as it was written when the version was released: every later version reads it."""

import hashlib
from pathlib import Path

from lm_train.dataset import TokenDataset
from lm_train.prepare import prepare

GOLDEN = Path(__file__).parent / "golden" / "dataset-v1"
DOCUMENTS = [f"Document {number}: größer, 日本語 🙂 {'and on ' * number}\n" for number in range(24)]


def test_the_golden_dataset_opens_verifies_and_decodes():
    dataset = TokenDataset(GOLDEN)
    assert dataset.fingerprint == "0dc9e09de20418bc6d54bbbb596d5b194c9b0f8fc52fd4696ae37be6a6215b76"
    assert (dataset.vocab_size, dataset.dtype.name, dataset.end_of_text) == (280, "uint16", 279)
    assert (dataset.tokens("train"), dataset.tokens("valid")) == (1024, 46)
    assert (dataset.documents("train"), dataset.documents("valid")) == (23, 1)
    assert len(dataset.info.splits["train"]) == 4
    tokenizer = dataset.load_tokenizer()
    found = []
    for split in dataset.splits:
        start = 0
        for end in dataset.document_ends(split).tolist():
            ids = dataset.read(split, start, end - start).tolist()
            assert ids[-1] == 279
            found.append(tokenizer.decode(ids[:-1]))
            start = end
    assert sorted(found) == sorted(DOCUMENTS)


def test_the_same_text_still_gives_the_bytes_of_version_1(tmp_path):
    (tmp_path / "text.txt").write_text("<|endoftext|>\n".join(DOCUMENTS))
    made = prepare(tmp_path / "text.txt", tmp_path / "data", vocab_size=280, shard_tokens=300)
    assert made.fingerprint == TokenDataset(GOLDEN).fingerprint
    for path in sorted(GOLDEN.glob("*-*")):
        wanted = hashlib.sha256(path.read_bytes()).hexdigest()
        assert hashlib.sha256((tmp_path / "data" / path.name).read_bytes()).hexdigest() == wanted, path.name
