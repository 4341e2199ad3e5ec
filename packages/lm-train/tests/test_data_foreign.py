import io

import numpy as np
import pytest
from lm_tokenizer import Tokenizer
from lm_train.dataset import TokenDataset
from lm_train.errors import DatasetError


def llm_c(ids, *, version=1, tokens=None):
    header = np.zeros(256, "<i4")
    header[:3] = 20240520, version, len(ids) if tokens is None else tokens
    return header.tobytes() + np.array(ids, "<u2").tobytes()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_nanogpt_folder_is_read_with_both_splits(tmp_path):
    np.arange(100, dtype="<u2").tofile(tmp_path / "train.bin")
    np.arange(100, 120, dtype="<u2").tofile(tmp_path / "val.bin")
    dataset = TokenDataset(tmp_path)
    assert dataset.splits == ("train", "valid")
    assert dataset.read("train", 0, 100).tolist() == list(range(100))
    assert dataset.read("valid", 5, 3).tolist() == [105, 106, 107]
    assert dataset.vocab_size == 65_536
    assert (
        dataset.documents(),
        dataset.text_bytes(),
        dataset.tokenizer_fingerprint,
        dataset.end_of_text,
    ) == (None,) * 4


def test_llm_c_shards_are_read_behind_their_headers_in_order(tmp_path):
    for number in range(3):
        (tmp_path / f"fineweb_train_{number:06}.bin").write_bytes(llm_c(range(number * 10, number * 10 + 10)))
    (tmp_path / "fineweb_val_000000.bin").write_bytes(llm_c([7, 8]))
    dataset = TokenDataset(tmp_path, vocab_size=50_257)
    assert dataset.read("train", 0, 30).tolist() == list(range(30))
    assert dataset.read("valid", 0, 2).tolist() == [7, 8]
    assert dataset.vocab_size == 50_257


@pytest.mark.parametrize("dtype", ["<u2", "<u4"])
def test_a_numpy_file_is_read_in_its_own_dtype(tmp_path, dtype):
    (tmp_path / "ids.npy").write_bytes(npy(np.arange(50, dtype=dtype)))
    dataset = TokenDataset(tmp_path / "ids.npy")
    assert dataset.dtype == np.dtype(dtype)
    assert dataset.read("train", 10, 5).tolist() == [10, 11, 12, 13, 14]


def test_a_raw_file_of_uint32_is_read_when_told(tmp_path):
    np.array([1, 70_000, 3], "<u4").tofile(tmp_path / "ids.bin")
    dataset = TokenDataset(tmp_path / "ids.bin", dtype="uint32", vocab_size=100_000)
    assert dataset.read("train", 0, 3).tolist() == [1, 70_000, 3]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.bin", b"", {}, r"a\.bin is empty; give a file"),
        ("a.bin", b"abc", {}, r"a\.bin has 3 bytes, which is no whole number of 2-byte tokens"),
        ("a.bin", b"abcdef", {"dtype": "uint32"}, "6 bytes, which is no whole number of 4-byte tokens"),
        (
            "a.bin",
            llm_c([1, 2, 3])[:-2],
            {},
            r"has 1,028 bytes and its header asks for 1,030 \(3 tokens\); it is cut or damaged",
        ),
        ("a.bin", llm_c([1, 2, 3]) + b"\0", {}, "has 1,031 bytes and its header asks for 1,030"),
        ("a.bin", llm_c([1], tokens=2**31 - 1), {}, r"asks for [\d,]+ \(2,147,483,647 tokens\)"),
        ("a.bin", llm_c([1], tokens=-5), {}, r"its header asks for 1,014 \(-5 tokens\)"),
        ("a.bin", llm_c([1], version=7), {}, "is an llm.c token file of version 7; only version 1"),
        ("a.bin", llm_c([1, 2]), {"dtype": "uint32"}, "holds uint16, not uint32"),
        ("a.npy", b"no numpy", {}, r"a\.npy is not a \.npy file"),
        ("a.npy", npy(np.zeros((2, 3), "<u2")), {}, r"holds uint16 of shape \(2, 3\); wanted one dimension"),
        ("a.npy", npy(np.zeros(3, "<i8")), {}, "holds int64 of shape"),
        ("a.npy", npy(np.zeros(3, ">u2")), {}, "wanted one dimension of little-endian"),
        (
            "a.npy",
            npy(np.zeros(9, "<u2"))[:-4],
            {},
            r"has 142 bytes and its header asks for 146 \(9 tokens\)",
        ),
        ("a.npy", npy(np.array([None, 1], dtype=object)), {}, "holds object of shape"),
    ],
)
def test_what_is_no_token_file_is_refused_with_both_lengths(tmp_path, name, content, options, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        TokenDataset(tmp_path / name, **options)


def test_a_uint32_file_read_as_uint16_is_found_by_its_ids(tmp_path):
    np.array([1, 70_000], "<u4").tofile(tmp_path / "ids.bin")
    with pytest.raises(DatasetError, match="token 2 is the id 4464, outside the vocabulary of 1,000"):
        TokenDataset(tmp_path / "ids.bin", vocab_size=1_000)


def test_the_fingerprint_changes_with_any_byte_of_the_same_length(tmp_path):
    """D6: also for files that carry no hash of their own."""
    fingerprints = set()
    for last in (1, 2):
        np.array([5, 6, last], "<u2").tofile(tmp_path / "ids.bin")
        fingerprints.add(TokenDataset(tmp_path / "ids.bin").fingerprint)
    fingerprints.add(TokenDataset(tmp_path / "ids.bin", vocab_size=100).fingerprint)
    assert len(fingerprints) == 3


def test_a_tokenizer_with_fewer_ids_than_may_occur_is_refused(tmp_path):
    np.arange(3, dtype="<u2").tofile(tmp_path / "ids.bin")
    tokenizer = Tokenizer.characters("abc")
    TokenDataset(tmp_path / "ids.bin", vocab_size=3).check_tokenizer(tokenizer)
    with pytest.raises(
        DatasetError, match=r"may hold ids up to 65,535 and this tokenizer knows 3; say how many"
    ):
        TokenDataset(tmp_path / "ids.bin").check_tokenizer(tokenizer)


def test_what_foreign_files_do_not_say_is_asked_for(tmp_path):
    np.arange(3, dtype="<u2").tofile(tmp_path / "ids.bin")
    dataset = TokenDataset(tmp_path / "ids.bin")
    with pytest.raises(DatasetError, match="does not say which tokenizer made its ids"):
        dataset.load_tokenizer()
    with pytest.raises(DatasetError, match="does not say where its documents end"):
        dataset.document_ends()


def test_beyond_4_gib_the_right_tokens_are_read(tmp_path):
    """D10: a sparse file of 5 GiB, which takes no room on the disk."""
    path = tmp_path / "huge.bin"
    tokens = 5 * 2**30 // 2
    with open(path, "wb") as file:
        for at, ids in ((2**31 - 3, [11, 12, 13, 14, 15, 16]), (tokens - 4, [21, 22, 23, 24])):
            file.seek(2 * at)
            file.write(np.array(ids, "<u2").tobytes())
    dataset = TokenDataset(path)
    assert dataset.tokens() == tokens
    assert dataset.read("train", 2**31 - 3, 6).tolist() == [11, 12, 13, 14, 15, 16]
    assert dataset.read("train", tokens - 4, 4).tolist() == [21, 22, 23, 24]
    assert dataset.read("train", 2**32 // 2 + 5, 3).tolist() == [0, 0, 0]
