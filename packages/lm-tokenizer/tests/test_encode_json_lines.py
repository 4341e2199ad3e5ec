"""JSON lines to a file of ids: each line a document, which has the ids of its text."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import sample_texts
import zstandard
from lm_tokenizer import (
    FileAccessError,
    PretokenCounts,
    Progress,
    Tokenizer,
    TokenizerError,
    TokenizerFileError,
)
from lm_tokenizer.cli import main
from trained import END, trained

DOCUMENTS = [
    "one",
    'two\nlines "quoted" \\ \t',
    "日本語 é 😀",
    f"with {END} in it",
    *[sample_texts.ALL_KINDS] * 3,
]


def lines(documents: list[str], **others: object) -> bytes:
    objects = [
        {"id": index, "text": text, "meta": {"text": "not this"}} | others
        for index, text in enumerate(documents)
    ]
    # The same text in either spelling: as it is, and with \\u escapes (surrogate pairs beyond the first plane).
    return "".join(json.dumps(one, ensure_ascii=one["id"] % 2 == 0) + "\n" for one in objects).encode()


def expected(tokenizer: Tokenizer, documents: list[str]) -> list[list[int]]:
    end = tokenizer.special_tokens[END]
    return [[*tokenizer.encode_ordinary(document), end] for document in documents]


def check(tokenizer: Tokenizer, sources: list[Path], documents: list[str], folder: Path) -> None:
    result = tokenizer.encode_file(sources, folder / "ids", field="text", append=END, ends=folder / "ends")
    wanted = expected(tokenizer, documents)
    assert np.fromfile(folder / "ids", "<u2").tolist() == [id for ids in wanted for id in ids]
    assert np.fromfile(folder / "ends", "<u8").tolist() == np.cumsum([len(ids) for ids in wanted]).tolist()
    assert (result.documents, result.text_bytes) == (
        len(documents),
        sum(len(text.encode()) for text in documents),
    )


def test_every_line_is_a_document_in_plain_and_in_compressed_files(tmp_path: Path):
    data = lines(DOCUMENTS)
    plain = tmp_path / "a.jsonl"
    plain.write_bytes(data.removesuffix(b"\n"))  # the last line needs no end
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(data))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(data))
    sources = [plain, tmp_path / "b.jsonl.gz", tmp_path / "c.jsonl.zst"]
    check(trained(), sources, DOCUMENTS * 3, tmp_path)


def test_a_tokenizer_learns_from_the_field_and_nothing_else(tmp_path: Path):
    data = lines(DOCUMENTS * 40, note="unrelated words")
    (tmp_path / "a.jsonl").write_bytes(data)
    (tmp_path / "b.NDJSON.gz").write_bytes(gzip.compress(data))
    files = [tmp_path / "a.jsonl", tmp_path / "b.NDJSON.gz"]
    told: list[Progress] = []
    learnt = Tokenizer.train(files, vocab_size=400, field="text", progress=told.append)
    wanted = Tokenizer.train(texts=DOCUMENTS * 80, vocab_size=400)
    assert learnt.fingerprint == wanted.fingerprint
    counting = [each for each in told if each.phase == "counting"]
    assert counting[-1].done == counting[-1].total == sum(path.stat().st_size for path in files)
    further = wanted.train_further(files, vocab_size=420, field="text")
    assert further.fingerprint == wanted.train_further(texts=DOCUMENTS * 80, vocab_size=420).fingerprint
    output = tmp_path / "tokenizer.json"
    assert main(["train", "--field", "text", "--vocab-size", "400", "-o", str(output), *map(str, files)]) == 0
    assert Tokenizer.load(output).fingerprint == learnt.fingerprint


def test_what_holds_no_field_teaches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.jsonl").write_bytes(lines(["one"]) + b'{"title": "two"}\n')
    counts = PretokenCounts()
    with pytest.raises(TokenizerFileError, match=r'a\.jsonl.*line 2: the object has no field "text"'):
        counts.add_files(tmp_path / "a.jsonl", field="text")
    assert len(counts) == 0
    with pytest.raises(TokenizerError, match=r"\.jsonl or \.ndjson; .*a\.txt is called otherwise"):
        counts.add_files(tmp_path / "a.txt", field="text")
    with pytest.raises(TokenizerError, match="give files"):
        Tokenizer.train(texts=["a"], field="text")
    with pytest.raises(FileAccessError, match=r"none\.jsonl"):
        counts.add_files(tmp_path / "none.jsonl", field="text")
    missing = ["train", "--field", "body", "-o", str(tmp_path / "t.json"), str(tmp_path / "a.jsonl")]
    assert main(missing) == 2
    assert 'line 1: the object has no field "body"' in capsys.readouterr().err


def test_blank_lines_and_empty_texts_are_no_documents(tmp_path: Path):
    (tmp_path / "text").write_bytes(b'\n  \r\n{"text": "a"}\r\n{"text": ""}\n\n{"text": "b"}\n')
    check(trained(), [tmp_path / "text"], ["a", "b"], tmp_path)


def test_lines_of_any_length_are_read_across_windows(tmp_path: Path):
    # Windows are 256 KiB.
    documents = [sample_texts.PROSE, "x" * 700_000, *["short"] * 20_000, "y " * 300_000, sample_texts.CODE]
    (tmp_path / "text").write_bytes(lines(documents))
    check(trained(), [tmp_path / "text"], documents, tmp_path)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"title": "a"}', 'the object has no field "text"'),
        (b'{"text": null}', "invalid type: null, expected a string"),
        (b"plain text", "expected value"),
        (b'[{"text": "a"}]', "a JSON array, where each line must be one JSON object"),
        (b'{"text":', "it ends amid JSON (at column 8)"),
        (b'{"text": "a\xff"}', "it is no UTF-8 text (at column 12)"),
        (b'{"text": "\\ud800"}', "unexpected end of hex escape"),
    ],
)
def test_a_line_that_is_no_document_is_named_with_its_file(line: bytes, problem: str, tmp_path: Path):
    (tmp_path / "first").write_bytes(lines(["a"] * 50_000))
    (tmp_path / "bad").write_bytes(lines(["a"] * 29_999) + line + b"\n")
    with pytest.raises(TokenizerFileError, match="bad: line 30000: ") as raised:
        trained().encode_file([tmp_path / "first", tmp_path / "bad"], tmp_path / "ids", field="text")
    assert problem in str(raised.value)
    assert not (tmp_path / "ids").exists()


def test_a_field_and_a_separator_exclude_each_other(tmp_path: Path):
    (tmp_path / "text").write_bytes(lines(["a"]))
    with pytest.raises(TokenizerError, match="a separator or a field, not both"):
        trained().encode_file(tmp_path / "text", tmp_path / "ids", field="text", separator=END)


def test_the_command_encodes_json_lines_into_one_file_and_into_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    tokenizer = trained()
    tokenizer.save(tmp_path / "tokenizer.json")
    source = tmp_path / "text.jsonl"
    source.write_bytes(lines(DOCUMENTS).replace(b'"text":', b'"body":'))
    command = [
        "encode",
        str(source),
        "-t",
        str(tmp_path / "tokenizer.json"),
        "--field",
        "body",
        "--append",
        END,
    ]
    assert main([*command, "-o", str(tmp_path / "ids")]) == 0
    wanted = [id for ids in expected(tokenizer, DOCUMENTS) for id in ids]
    assert np.fromfile(tmp_path / "ids", "<u2").tolist() == wanted
    assert main([*command, "--shards", str(tmp_path / "shards")]) == 0
    assert np.fromfile(tmp_path / "shards" / "00000.bin", "<u2").tolist() == wanted
    assert main(command) == 2
    assert "--field is about a file of ids; name that file with -o" in capsys.readouterr().err
