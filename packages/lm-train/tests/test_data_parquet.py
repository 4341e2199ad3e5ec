"""Texts in Parquet files: the same documents, in the same order, as in lines of JSON."""

import json

import pyarrow as pa
import pytest
from lm_train.errors import SourceError
from lm_train.prepare import prepare
from lm_train.texts.text_files import PIECE_CHARS, read_pieces
from pyarrow import parquet
from tiny_runs import tiny_text

TEXTS = [tiny_text(400, seed) for seed in range(700)] + [
    "  ",
    "",
    "ümläut \N{SNOWMAN}\r\n",
    "<|endoftext|> is text",
]


def write(path, texts, field="text", **options):
    parquet.write_table(pa.table({"id": list(range(len(texts))), field: texts}), path, **options)
    return path


def pieces(path, **options):
    return list(read_pieces(path, **options))


def test_its_documents_are_those_of_lines_of_json(tmp_path):
    lines = tmp_path / "a.jsonl"
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    assert pieces(write(tmp_path / "a.parquet", TEXTS, row_group_size=100)) == pieces(lines)
    assert pieces(write(tmp_path / "B.PARQUET", TEXTS, "body"), field="body") == pieces(lines)


def test_a_long_document_comes_in_pieces_that_join_to_it(tmp_path):
    text = tiny_text(2 * PIECE_CHARS + 50)
    found = pieces(write(tmp_path / "a.parquet", [text]))
    assert "".join(part for part, _ in found) == text
    assert [ended for _, ended in found] == [False, False, True]


def test_it_is_prepared_as_lines_of_json_are(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:50]))
    write(tmp_path / "a.parquet", TEXTS[:50])
    lines, rows = (
        prepare(str(tmp_path / name), tmp_path / f"data-{name}", vocab_size=300)
        for name in ("a.jsonl", "a.parquet")
    )
    assert lines.fingerprint == rows.fingerprint
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "a.parquet", TEXTS[:50])
    assert prepare(str(folder), tmp_path / "data-folder", vocab_size=300).fingerprint == rows.fingerprint


def test_another_column_is_named(tmp_path):
    with pytest.raises(SourceError, match=r'wanted text in a column "text", got id, body; .*--field'):
        pieces(write(tmp_path / "a.parquet", ["x"], "body"))


def test_a_row_without_text_is_named(tmp_path):
    with pytest.raises(SourceError, match=r'row 2: wanted text in the column "text", got NoneType'):
        pieces(write(tmp_path / "a.parquet", ["x", None]))
    with pytest.raises(SourceError, match=r'row 1: wanted text in the column "id", got int'):
        pieces(tmp_path / "a.parquet", field="id")


def test_a_damaged_file_is_named(tmp_path):
    path = write(tmp_path / "a.parquet", TEXTS)
    whole = path.read_bytes()
    for content in (b"", b"no parquet at all", whole[:-1], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"a\.parquet cannot be read as Parquet"):
            pieces(path)
    with pytest.raises(SourceError, match=r"none\.parquet cannot be read"):
        pieces(tmp_path / "none.parquet")


def test_without_pyarrow_the_message_says_what_to_do(tmp_path, monkeypatch):
    path = write(tmp_path / "a.parquet", ["x"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SourceError, match=r"pip install 'lm-train\[parquet\]'"):
        pieces(path)
