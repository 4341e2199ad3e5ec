import gzip
import io
import os

import pytest
from lm_train.errors import SourceError
from lm_train.texts.sources import TEXT_EXTENSIONS, open_sources
from lm_train.texts.stdlib_text import stdlib_files, stdlib_folder
from lm_train.texts.stories import story_bits


def texts(names, tmp_path, **options):
    found = []
    for source in open_sources(names, spool=tmp_path / "spool", **options):
        found += [text for text, last in source.pieces() if last]
    return found


def test_a_folder_gives_its_text_files_by_relative_path_and_nothing_hidden(tmp_path):
    corpus = tmp_path / "corpus"
    for name in [
        "b.txt",
        "a/z.md",
        "a/y.TXT",
        ".git/c.txt",
        "a/.d.txt",
        "__pycache__/e.py",
        "f.png",
        "g",
        "h.jsonl",
        "i.txt.gz",
    ]:
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).write_text(name)
    (corpus / "h.jsonl").write_text('{"text": "h"}')
    (corpus / "i.txt.gz").write_bytes(gzip.compress(b"i"))
    (corpus / "empty.txt").write_text("")
    assert texts(str(corpus), tmp_path) == ["a/y.TXT", "a/z.md", "b.txt", "h", "i"]


def test_sources_come_in_the_order_they_are_named_in(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name)
    assert texts([tmp_path / "c.txt", str(tmp_path / "[ab].txt")], tmp_path) == ["c", "a", "b"]


def test_a_file_that_is_named_itself_is_read_whatever_it_is_called(tmp_path):
    (tmp_path / "notes.weird").write_text("text")
    assert texts(str(tmp_path / "notes.weird"), tmp_path) == ["text"]


def test_standard_input_can_be_read_twice(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("from é pipe".encode())))
    (source,) = open_sources("-", spool=tmp_path / "spool")
    assert list(source.pieces()) == list(source.pieces()) == [("from é pipe", True)]


def test_errors_about_standard_input_call_it_that(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(SourceError, match="standard input is empty; pipe text into it"):
        open_sources("-", spool=tmp_path / "spool")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\0")))
    (source,) = open_sources("-", spool=tmp_path / "spool")
    with pytest.raises(SourceError, match="standard input is not text: it has a NUL byte at offset 1"):
        list(source.pieces())


def test_stories_stop_at_the_first_one_that_reaches_the_size(tmp_path):
    told = texts("stories:5kB", tmp_path)
    assert sum(map(len, told[:-1])) < 5_000 <= sum(map(len, told))
    assert all(story_bits(text) > 0 for text in told)
    assert texts("stories:5000", tmp_path) == told
    assert texts("stories:5kb", tmp_path, seed=1) != told


def test_a_file_called_stories_is_reached_by_its_path(tmp_path, monkeypatch):
    (tmp_path / "stories").write_text("mine")
    monkeypatch.chdir(tmp_path)
    assert texts("./stories", tmp_path) == ["mine"]


def test_the_standard_library_is_code_without_tests_and_tables(tmp_path):
    files = [path.relative_to(stdlib_folder()).as_posix() for path in stdlib_files()]
    assert {"argparse.py", "json/decoder.py", "asyncio/tasks.py"} <= set(files)
    assert files == sorted(files)
    for part in ("test", "tests", "idle_test", "encodings", "site-packages", "pydoc_data"):
        assert not any(part in file.split("/") for file in files), part
    assert not any("_sysconfigdata" in file for file in files)
    (source,) = open_sources("stdlib", spool=tmp_path / "spool")
    assert source.name.startswith("stdlib (CPython 3.")
    assert 5_000_000 < source.size < 20_000_000


def test_a_python_without_its_source_says_what_to_use_instead(tmp_path):
    with pytest.raises(SourceError, match=r"no standard-library source at .*; try --data stories"):
        stdlib_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "missing.txt",
            "there is no file or folder missing.txt; give a path, - for standard input, or one of stdlib, stories",
        ),
        ("*.nothing", r"no file matches \*\.nothing"),
        ("empty.txt", "empty.txt is empty; give a file with text in it"),
        ("pictures", r"pictures holds no text file \(.*\), only \(no extension\), \.png;"),
        ("hollow", r"hollow holds no text file \(.*\), no files at all"),
        ("stories:many", "stories:many: wanted a size such as stories:20MB, got 'many'"),
        ("stories:0", "wanted a size such as"),
        ("/dev/null", "is neither a file nor a folder"),
        ([], "no text was named; give files, folders, or one of stdlib"),
    ],
)
def test_what_is_no_source_is_one_plain_message(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "hollow").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    (tmp_path / "pictures" / "LICENSE").touch()
    with pytest.raises(SourceError, match=message):
        open_sources(name, spool=tmp_path / "spool")


def test_a_broken_link_in_a_folder_is_passed_over(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "a.txt").write_text("a")
    os.symlink(corpus / "gone.txt", corpus / "b.txt")
    assert texts(str(corpus), tmp_path) == ["a"]


def test_the_extensions_are_lower_case_with_a_dot():
    assert all(extension == extension.lower() and extension.startswith(".") for extension in TEXT_EXTENSIONS)
