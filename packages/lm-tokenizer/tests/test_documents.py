"""Documents of text files, read and encoded as bytes, are what reading the files as text gives."""

import gzip
import hashlib
import json
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lm_tokenizer import (
    DocumentReader,
    FileAccessError,
    InvalidTextError,
    PretokenCounts,
    SpecialTokenError,
    Tokenizer,
    TokenizerError,
    TokenizerFileError,
)

END = "<|endoftext|>"
SAMPLE = "It is what it is, don't you think so? 12345 ünïcode 日本語\n  def f(x):\r\n\treturn x\n"


@pytest.fixture(scope="module")
def tok():
    return Tokenizer.train(texts=[SAMPLE * 20], vocab_size=320)


def documents_of(text, separator):
    """The definition: cut at separators, without the line end behind one and without what is only white space."""
    first, *others = text.removeprefix("\ufeff").split(separator)
    others = [
        part[1:] if part.startswith("\n") else part[2:] if part.startswith("\r\n") else part
        for part in others
    ]
    return [part for part in [first, *others] if part and not part.isspace()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    text=st.lists(
        st.sampled_from(
            [END, END + "\n", "<|endof", "\n", "\r\n", " ", "\x1d", "\ufeff", "don't stop", "日本 é", SAMPLE]
        )
    ).map("".join),
    size=st.sampled_from([1, 50, 1 << 20]),
    threads=st.sampled_from([0, 1]),
)
def test_the_ids_are_those_of_each_document_with_what_is_appended(tmp_path, tok, text, size, threads):
    (tmp_path / "a.txt").write_bytes(text.encode())
    wanted = documents_of(text, END)
    reader = DocumentReader(tmp_path / "a.txt", separator=END, block_bytes=size)
    ids, ends, text_ends, spelled, largest = [], [], [], 0, []
    for block in reader:
        encoded = block.encode(tok, append=END, threads=threads)
        ends += (encoded.ends + len(ids)).tolist()
        text_ends += (encoded.text_ends + spelled).tolist()
        ids += encoded.ids.tolist()
        spelled += encoded.text_bytes
        largest += [encoded.largest_id] if len(encoded.ids) else []
    end_id = tok.special_tokens[END]
    assert ids == [each for one in wanted for each in [*tok.encode_ordinary(one), end_id]]
    assert ends == np.cumsum([len(tok.encode_ordinary(one)) + 1 for one in wanted]).tolist()
    assert text_ends == np.cumsum([len(one.encode()) for one in wanted]).tolist()
    assert max(largest, default=None) == max(ids, default=None)
    assert (reader.documents, reader.text_bytes) == (len(wanted), spelled)
    assert reader.sha256 == hashlib.sha256(b"".join(one.encode() + b"\xff" for one in wanted)).hexdigest()


def test_white_space_is_what_python_says_it_is(tmp_path):
    characters = [chr(code) for code in [*range(1, 0x3100), *range(0xF900, 0x10000), sys.maxunicode]]
    (tmp_path / "a.txt").write_bytes(END.join(f"\u2003{each}" for each in characters).encode())
    kept = [one.decode() for block in DocumentReader(tmp_path / "a.txt", separator=END) for one in block]
    assert kept == [f"\u2003{each}" for each in characters if not each.isspace()]


def test_files_and_long_documents_are_joined_and_compressed_ones_unpacked(tmp_path, tok):
    long = SAMPLE * 30_000  # of several threads' parts
    (tmp_path / "a.txt").write_bytes(long.encode())
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(SAMPLE.encode()))
    (block,) = DocumentReader([tmp_path / "a.txt", tmp_path / "b.txt.gz"], block_bytes=1 << 25)
    assert len(block) == block.ended == 2
    encoded = block.encode(tok, dtype="uint32")
    assert encoded.ids.dtype == np.uint32
    assert encoded.ids.tolist() == tok.encode_ordinary(long) + tok.encode_ordinary(SAMPLE)
    counts, wanted = PretokenCounts(), PretokenCounts()
    counts.add_documents(block)
    wanted.add_texts([long, SAMPLE])
    assert counts == wanted


def test_a_block_is_split_by_documents_or_by_bytes(tmp_path, tok):
    texts = [f"text {number}." for number in range(9)]
    (tmp_path / "a.txt").write_text(END.join(texts))
    (block,) = DocumentReader(tmp_path / "a.txt", separator=END, hashed=False)
    chosen, others = block.split([2, 5])
    assert list(chosen) == [b"text 2.", b"text 5."]
    assert [each.decode() for each in others] == [text for text in texts if text[5] not in "25"]
    first, rest = block.split_at(10)
    assert (list(first), rest[0], first.ended, rest.ended) == ([b"text 0.", b"tex"], b"t 1.", 2, 8)
    assert rest.encode(tok).ids.tolist() == tok.encode("t 1.") + [
        each for text in texts[2:] for each in tok.encode(text)
    ]
    assert block.lengths().tolist() == [7] * 9
    with pytest.raises(IndexError):
        block.split([9])
    with pytest.raises(IndexError):
        block[9]
    with pytest.raises(SpecialTokenError):
        block.encode(tok, append="<|no|>")


@pytest.mark.parametrize("bad", [b"\xff", b"\0", b"\xe2\x82"])
def test_what_is_no_text_is_an_error_that_names_file_and_byte(tmp_path, bad):
    path = tmp_path / "a.txt"
    path.write_bytes(SAMPLE.encode() * 100 + bad)
    reader = DocumentReader(path, block_bytes=1000)
    with pytest.raises(TokenizerFileError, match=rf"a\.txt.*byte {100 * len(SAMPLE.encode())}"):
        list(reader)
    assert reader.path == str(path)


def test_json_lines_are_documents_of_a_field_beside_files_of_text(tmp_path, tok):
    texts = ['one\n"two"', "日本語 😀", SAMPLE * 4_000, "  ", "NaN \0"]
    lines = b"\n".join(
        json.dumps({"n": float("nan"), "body": text, "text": 1}, ensure_ascii=len(text) % 2 == 0).encode()
        for text in texts
    )
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + lines + b"\r\n\n")
    (tmp_path / "b.txt").write_text(f"text{END}text")
    (tmp_path / "c.NDJSON.gz").write_bytes(gzip.compress(lines))
    files = [tmp_path / name for name in ("a.jsonl", "b.txt", "c.NDJSON.gz")]
    kept = [text for text in texts if not text.isspace()]
    wanted = [*kept, "text", "text", *kept]
    for size in (1, 1 << 24):
        reader = DocumentReader(files, separator=END, field="body", block_bytes=size)
        blocks = list(reader)
        assert [one.decode() for block in blocks for one in block] == wanted
        assert reader.sha256 == hashlib.sha256(b"".join(one.encode() + b"\xff" for one in wanted)).hexdigest()
        assert reader.file_bytes == sum(path.stat().st_size for path in files)
    assert blocks[0].encode(tok).ids.tolist() == [each for one in wanted for each in tok.encode_ordinary(one)]

    (tmp_path / "a.jsonl").write_text('{"body": "a"}\n\n{"text": "b"}\n')
    reader = DocumentReader(tmp_path / "a.jsonl", field="body")
    with pytest.raises(TokenizerFileError, match=r'a\.jsonl.*line 3: the object has no field "body"'):
        list(reader)
    assert (reader.path, reader.line) == (str(tmp_path / "a.jsonl"), 3)
    ((whole,),) = DocumentReader(tmp_path / "a.jsonl")  # without a field it is text
    assert whole == (tmp_path / "a.jsonl").read_bytes()


def test_mistakes_are_told(tmp_path):
    with pytest.raises(FileAccessError, match="nowhere"):
        list(DocumentReader(tmp_path / "nowhere"))
    with pytest.raises(TokenizerError, match="separator is empty"):
        DocumentReader([], separator="")
    with pytest.raises(TokenizerError, match="block_bytes"):
        DocumentReader([], block_bytes=0)
    (tmp_path / "a.txt").write_text(f"abc{END}abd")
    (block,) = DocumentReader(tmp_path / "a.txt", separator=END)
    with pytest.raises(InvalidTextError, match=r"text 1: .*'d'"):
        block.encode(Tokenizer.characters("abc"))
