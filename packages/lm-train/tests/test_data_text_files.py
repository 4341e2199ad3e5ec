import gzip
import itertools
import json
import lzma

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_train.errors import SourceError
from lm_train.texts import compressed, text_files
from lm_train.texts.text_files import read_pieces, split_documents

SEPARATOR = "<|endoftext|>"


def documents(pieces):
    found, parts = [], []
    for text, last in pieces:
        parts.append(text)
        if last:
            found.append("".join(parts))
            parts = []
    assert not parts, "the last document never ended"
    return found


def naive_documents(text, separator=SEPARATOR):
    """The definition: split, drop one line end after each separator, drop what is only white space."""
    first, *others = text.split(separator)
    parts = [first] + [part[2:] if part.startswith("\r\n") else part.removeprefix("\n") for part in others]
    return [part for part in parts if part.strip()]


pieces_of_text = st.lists(
    st.sampled_from(
        [SEPARATOR, "<|endof", "text|>", "\n", "\r\n", " ", "a", "Ünï ", "日本語", "one two three", "\r", "."]
    ),
    max_size=30,
)


@given(parts=pieces_of_text, block=st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_documents_are_those_of_the_definition_however_the_text_is_cut_into_blocks(parts, block):
    text = "".join(parts)
    blocks = (text[at : at + block] for at in range(0, len(text), block))
    assert documents(split_documents(blocks, SEPARATOR)) == naive_documents(text)


@given(parts=pieces_of_text, size=st.integers(4, 40))
@settings(max_examples=200, deadline=None)
def test_long_documents_come_in_pieces_that_join_to_the_document(parts, size):
    text = "".join(parts)
    before = text_files.PIECE_CHARS, text_files._CUT_WINDOW
    text_files.PIECE_CHARS, text_files._CUT_WINDOW = size, size
    try:
        pieces = list(split_documents(iter([text]), SEPARATOR))
    finally:
        text_files.PIECE_CHARS, text_files._CUT_WINDOW = before
    assert documents(pieces) == naive_documents(text)
    assert all(len(piece) <= size + len(SEPARATOR) + 2 for piece, _ in pieces)


def test_a_long_document_is_cut_before_the_space_between_two_letters(tmp_path):
    text = "the quick brown fox, 12 times\n\n    and so on\nagain " * 20_000
    path = tmp_path / "long.txt"
    path.write_text(text)
    pieces = list(read_pieces(path))
    assert len(pieces) > 3
    assert [last for _, last in pieces] == [False] * (len(pieces) - 1) + [True]
    assert "".join(piece for piece, _ in pieces) == text
    for (piece, _), (following, _) in itertools.pairwise(pieces):
        assert piece[-1].isalpha()
        assert following[0] == " "
        assert following[1].isalpha()


def test_without_a_separator_option_the_separator_is_ordinary_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(f"one\n{SEPARATOR}\ntwo")
    assert documents(read_pieces(path, separator=None)) == [f"one\n{SEPARATOR}\ntwo"]
    assert documents(read_pieces(path)) == ["one\n", "two"]


def test_line_ends_stay_as_they_are_and_a_byte_order_mark_is_left_out(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n")
    assert documents(read_pieces(path)) == ["one\r\ntwo\rthree\n"]


def test_a_jsonl_line_is_a_document_also_when_it_is_compressed(tmp_path):
    rows = [{"text": "one\ntwo", "id": 1}, {"text": "  "}, {"id": 2, "text": f"dréi {SEPARATOR} \U0001f600"}]
    lines = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    wanted = ["one\ntwo", f"dréi {SEPARATOR} \U0001f600"]
    assert documents(read_pieces(tmp_path / "a.jsonl")) == wanted
    assert documents(read_pieces(tmp_path / "a.jsonl.gz")) == wanted
    (tmp_path / "b.JSONL").write_text('{"body": "x"}')
    assert documents(read_pieces(tmp_path / "b.JSONL", field="body")) == ["x"]


def test_a_compressed_text_is_the_text(tmp_path):
    text = "line of text\n" * 200_000
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode(), 1))
    assert documents(read_pieces(tmp_path / "a.txt.gz")) == [text]


def test_a_zstd_text_is_the_text_of_all_its_frames(tmp_path):
    lines = "".join(f"line {i} of text\n" for i in range(50_000))
    frames = [zstandard.compress(lines[:300_000].encode()), zstandard.compress(lines[300_000:].encode(), 19)]
    path = tmp_path / "a.txt.zst"
    path.write_bytes(b"".join(frames))
    assert documents(read_pieces(path)) == [lines]
    path = tmp_path / "a.jsonl.ZST"
    path.write_bytes(zstandard.compress(b'{"text": "one"}\n{"text": "two"}\n'))
    assert documents(read_pieces(path)) == ["one", "two"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda z: z[:-9], "its end is missing"),
        (lambda z: z + z[:30], "its end is missing"),
        (lambda z: b"", "its end is missing"),
        (lambda z: b"no zstd at all", "Unknown frame descriptor"),
        (lambda z: z[:30] + bytes(b ^ 0xFF for b in z[30:60]) + z[60:], "fetch it again"),
    ],
)
def test_a_damaged_zstd_file_is_named(tmp_path, damage, message):
    path = tmp_path / "a.txt.zst"
    text = "".join(f"{i * 7919 % 10007} words " for i in range(5000)).encode()
    path.write_bytes(damage(zstandard.ZstdCompressor(write_checksum=True).compress(text)))
    with pytest.raises(SourceError, match=r"a\.txt\.zst is not a whole zstd file.*" + message):
        list(read_pieces(path))


def test_a_hostile_zstd_file_unpacks_in_bounded_blocks(tmp_path):
    path = tmp_path / "zeros.zst"
    with path.open("wb") as file, zstandard.ZstdCompressor(19).stream_writer(file) as writer:
        for _ in range(32):  # 512 MB in some kilobytes
            writer.write(bytes(1 << 24))
    with path.open("rb") as file:
        largest = max(len(block) for block in compressed.unpacked(file, path.name))
    assert largest <= 1 << 28


def test_a_character_split_between_two_blocks_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "BLOCK_BYTES", 1)
    (tmp_path / "a.txt").write_text("aé日\U0001f600b", encoding="utf-8")
    assert documents(read_pieces(tmp_path / "a.txt")) == ["aé日\U0001f600b"]


def test_a_file_that_is_packed_in_another_way_is_named_so(tmp_path):
    (tmp_path / "a.txt.xz").write_bytes(lzma.compress(b"words"))
    with pytest.raises(
        SourceError, match=r"a\.txt\.xz is packed in a way that is not read \(\.xz\); unpack it"
    ):
        documents(read_pieces(tmp_path / "a.txt.xz"))


@pytest.mark.parametrize("block", [3, 4, 5, 1 << 20])  # a mark at the start is looked for in the first block
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ab\0c", "is not text: it has a NUL byte at offset 2;"),
        (b"\xef\xbb\xbfab\0c", "NUL byte at offset 5;"),
        (b"ab\xe9c d", r"is not UTF-8 text: byte 0xe9 at offset 2 \(invalid continuation byte\)"),
        (b"\xef\xbb\xbfab\xff", r"byte 0xff at offset 5 \(invalid start byte\)"),
        (b"ab\xe6\x97", r"byte 0xe6 at offset 2 \(unexpected end of data\)"),
        ("日本".encode() + b"\xe6\x97z", r"byte 0xe6 at offset 6 \(invalid continuation byte\)"),
        ("hello".encode("utf-16"), "is UTF-16 text; convert it to UTF-8 first"),
    ],
)
def test_what_is_no_utf8_text_is_named_with_its_offset(tmp_path, monkeypatch, content, message, block):
    monkeypatch.setattr(compressed, "BLOCK_BYTES", block)
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        list(read_pieces(path))
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": \n', r"line 2: not valid JSON"),
        (
            '{"text": "a"}\n["b"]',
            r'line 2: wanted an object with a string in the field "text", got no object but list',
        ),
        (
            '{"body": "a", "id": 3}',
            r'field "text", got body, id; name the field that holds the text \(lm-train prepare --field\)',
        ),
        ('{"text": 3}', r"line 1: wanted an object with a string"),
        (
            '{"text": "a\\ud800"}',
            r'line 1: "text" holds half a character \(a lone surrogate\) at character 1',
        ),
    ],
)
def test_a_bad_json_line_is_named(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(SourceError, match=message):
        list(read_pieces(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    "damage", [lambda z: z[:-9], lambda z: b"no gzip at all", lambda z: z[:30] + b"\xff\xff\xff" + z[33:]]
)
def test_a_damaged_gzip_file_is_named(tmp_path, damage):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(damage(gzip.compress(b"some text " * 100)))
    with pytest.raises(SourceError, match=r"a\.txt\.gz is not a whole gzip file"):
        list(read_pieces(path))


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(SourceError, match="gone cannot be read: No such file or directory"):
        list(read_pieces(tmp_path / "gone"))
    with pytest.raises(SourceError, match="cannot be read: Is a directory"):
        list(read_pieces(tmp_path))
