"""Files of ids: the ids of the documents in a row, whole or not at all."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import sample_texts
import zstandard
from lm_tokenizer import FileAccessError, SpecialTokenError, Tokenizer, TokenizerError
from trained import END, trained

DOCUMENTS = ["First one.\n", "Second,\nlonger one. ", "日本語", " spaces  "]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def ids_in(path: Path, dtype: str = "<u2") -> list[int]:
    return np.fromfile(path, dtype=dtype).tolist()


def test_documents_are_encoded_each_by_itself(tmp_path: Path):
    tokenizer = trained()
    source = write(tmp_path / "text", END.join(DOCUMENTS))
    result = tokenizer.encode_file(
        source, tmp_path / "ids", separator=END, append=END, ends=tmp_path / "ends"
    )
    end = tokenizer.special_tokens[END]
    documents = [[*tokenizer.encode(document), end] for document in DOCUMENTS]
    expected = [id for ids in documents for id in ids]
    assert ids_in(tmp_path / "ids") == expected
    assert ids_in(tmp_path / "ends", "<u8") == np.cumsum([len(ids) for ids in documents]).tolist()
    content = (tmp_path / "ids").read_bytes()
    assert result.sha256 == hashlib.sha256(content).hexdigest()
    assert (result.tokens, result.documents, result.bytes) == (len(expected), 4, len(content))
    assert (result.largest_id, result.dtype) == (end, "uint16")
    assert result.text_bytes == sum(len(document.encode()) for document in DOCUMENTS)


def test_without_a_separator_each_file_is_a_document(tmp_path: Path):
    tokenizer = trained()
    sources = [write(tmp_path / str(index), document) for index, document in enumerate(DOCUMENTS)]
    result = tokenizer.encode_file(sources, tmp_path / "ids", append=7)
    assert ids_in(tmp_path / "ids") == [id for text in DOCUMENTS for id in [*tokenizer.encode(text), 7]]
    assert result.documents == 4


def test_documents_without_text_are_left_out(tmp_path: Path):
    source = write(tmp_path / "text", f"{END}{END}a{END}{END}b{END}")
    result = trained().encode_file(
        [source, write(tmp_path / "empty", "")], tmp_path / "ids", separator=END, append=END
    )
    assert result.documents == 2
    assert len(ids_in(tmp_path / "ids")) == 4


def test_an_empty_file_gives_an_empty_file(tmp_path: Path):
    result = trained().encode_file(write(tmp_path / "text", ""), tmp_path / "ids", append=END)
    assert (result.tokens, result.documents, result.largest_id, result.bytes) == (0, 0, None, 0)
    assert (tmp_path / "ids").read_bytes() == b""


def test_compressed_files_are_encoded_as_what_is_in_them(tmp_path: Path):
    tokenizer = trained()
    data = (sample_texts.ALL_KINDS * 40).encode()
    (tmp_path / "a.gz").write_bytes(gzip.compress(data))
    (tmp_path / "b.zst").write_bytes(zstandard.compress(data[:1000]) + zstandard.compress(data[1000:]))
    sources = [tmp_path / "a.gz", tmp_path / "b.zst"]
    result = tokenizer.encode_file(sources, tmp_path / "ids", ends=tmp_path / "ends")
    ids = tokenizer.encode_bytes(data)
    assert ids_in(tmp_path / "ids") == [*ids, *ids]
    assert ids_in(tmp_path / "ends", "<u8") == [len(ids), 2 * len(ids)]
    assert result.text_bytes == 2 * len(data)
    for name in ("a.gz", "b.zst"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-9])
        with pytest.raises(FileAccessError, match=rf"{name}: not whole (gzip|zstd) data: "):
            tokenizer.encode_file(tmp_path / name, tmp_path / "never")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.zst", "ends", "ids"]


def test_special_tokens_in_the_text_are_ordinary_text(tmp_path: Path):
    tokenizer = trained()
    tokenizer.encode_file(write(tmp_path / "text", f"a{END}b"), tmp_path / "ids")
    assert ids_in(tmp_path / "ids") == tokenizer.encode_ordinary(f"a{END}b")


def test_bytes_that_are_no_utf8_are_kept(tmp_path: Path):
    (tmp_path / "text").write_bytes(b"a\xff\xfe b\xe2\x82")
    trained().encode_file(tmp_path / "text", tmp_path / "ids")
    assert trained().decode_bytes(ids_in(tmp_path / "ids")) == b"a\xff\xfe b\xe2\x82"


def test_a_file_of_many_windows_has_the_ids_of_its_documents(tmp_path: Path):
    # Windows are 256 KiB. Those that end among documents of one letter begin with a separator, for there is no other cut.
    tokenizer = trained()
    documents = [
        sample_texts.PROSE * 11,
        sample_texts.SCRIPTS * 7,
        "x1 " * 99_991,
        sample_texts.CODE * 13,
        *["a" * 70_001] * 5,
        "",
    ] * 7
    source = write(tmp_path / "text", END.join(documents))
    assert source.stat().st_size > 4 << 20
    end = tokenizer.special_tokens[END]
    expected = [[*tokenizer.encode(document), end] for document in documents[:9]] * 7
    result = tokenizer.encode_file(
        source, tmp_path / "ids", separator=END, append=END, ends=tmp_path / "ends"
    )
    assert result.documents == 63
    assert ids_in(tmp_path / "ids") == [id for ids in expected for id in ids]
    assert ids_in(tmp_path / "ends", "<u8") == np.cumsum([len(ids) for ids in expected]).tolist()


def test_the_dtype_follows_the_vocabulary(tmp_path: Path):
    source = write(tmp_path / "text", "the sea")
    tokenizer = trained()
    for dtype in ("uint32", "u32", "<u4", np.uint32, np.dtype("uint32")):
        assert tokenizer.encode_file(source, tmp_path / "ids", dtype=dtype).dtype == "uint32"
        assert ids_in(tmp_path / "ids", "<u4") == tokenizer.encode("the sea")
    with pytest.raises(TokenizerError, match="as uint16 or uint32, not as"):
        tokenizer.encode_file(source, tmp_path / "ids", dtype="float32")


@pytest.mark.parametrize(("largest", "dtype"), [(65_535, "uint16"), (65_536, "uint32")])
def test_uint16_ends_at_65535(largest: int, dtype: str, tmp_path: Path):
    vocab = {byte: bytes([byte]) for byte in range(256)}
    tokenizer = Tokenizer.from_vocab(vocab, [], special_tokens={END: largest})
    result = tokenizer.encode_file(write(tmp_path / "text", "a"), tmp_path / "ids", append=END)
    assert result.dtype == dtype
    assert ids_in(tmp_path / "ids", "<u2" if dtype == "uint16" else "<u4") == [97, largest]
    if dtype == "uint32":
        with pytest.raises(TokenizerError, match="uint16 holds ids below 65536"):
            tokenizer.encode_file(tmp_path / "text", tmp_path / "ids", dtype="uint16")


def test_after_an_error_the_old_file_is_untouched_and_nothing_else_is_left(tmp_path: Path):
    target = write(tmp_path / "ids", "old")
    source = write(tmp_path / "text", "some text")
    with pytest.raises(FileAccessError, match="absent: No such file"):
        trained().encode_file([source, tmp_path / "absent"], target)
    with pytest.raises(TokenizerError, match="character 'é'"):
        Tokenizer.characters("abc").encode_file(write(tmp_path / "é", "abé"), target)

    def stop(progress: object) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        trained().encode_file(source, target, progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ids", "text", "é"]
    assert target.read_text() == "old"


def test_what_is_to_be_appended_must_be_in_the_vocabulary(tmp_path: Path):
    source = write(tmp_path / "text", "a")
    with pytest.raises(
        SpecialTokenError, match=r"'<\|x\|>' is not a special token of this tokenizer \(it has: <"
    ):
        trained().encode_file(source, tmp_path / "ids", append="<|x|>")
    with pytest.raises(TokenizerError, match="cannot append id 800: ids of this vocabulary are below 800"):
        trained().encode_file(source, tmp_path / "ids", append=800)
    with pytest.raises(TokenizerError, match="separator is empty"):
        trained().encode_file(source, tmp_path / "ids", separator="")
