"""Two tokenizers side by side, and tokens as a page."""

import html
import re
from pathlib import Path

import pytest
import sample_texts
from lm_tokenizer import Tokenizer, TokenizerError
from lm_tokenizer.cli import main
from lm_tokenizer.compare import as_report, compare
from lm_tokenizer.show import as_html
from trained import trained

BYTES = {byte: bytes([byte]) for byte in range(256)}
ONE = Tokenizer.from_vocab(BYTES | {256: b"ab", 257: b"abc"}, [(b"a", b"b"), (b"ab", b"c")])
OTHER = Tokenizer.from_vocab(BYTES | {256: b"bc"}, [(b"b", b"c")])


def test_differences_are_the_shortest_spans_with_common_ends():
    comparison = compare(ONE, OTHER, "abc abc xab")
    assert (comparison.text_bytes, comparison.ids) == (11, (6, 9))
    spans = {((b"abc",), (b"a", b"bc")): 2, ((b"ab",), (b"a", b"b")): 1}
    assert (dict(comparison.differences), comparison.differing_bytes) == (spans, 8)
    report = as_report(["one", "other"], comparison, 1)
    assert report.splitlines() == [
        "one             6 ids  1.833 bytes an id",
        "other           9 ids  1.222 bytes an id",
        "72.7 % of 11 bytes are cut differently, in 3 places of 2 kinds",
        "       2  abc   a|bc",
    ]


def test_a_tokenizer_does_not_differ_from_itself():
    comparison = compare(trained(), trained(), sample_texts.ALL_KINDS)
    assert (comparison.differing_bytes, len(comparison.differences)) == (0, 0)
    assert compare(trained(), ONE, "").ids == (0, 0)


def test_the_spans_of_any_two_cover_what_differs():
    first, second = trained("gpt2"), trained("o200k", 500)
    comparison = compare(first, second, sample_texts.ALL_KINDS)
    for one, other in comparison.differences:
        assert b"".join(one) == b"".join(other)
        assert one != other
    saved = sum((len(two) - len(one)) * count for (one, two), count in comparison.differences.items())
    assert saved == comparison.ids[1] - comparison.ids[0]


def test_a_text_that_one_of_them_changes_is_refused(tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    ONE.save(path)
    text = path.read_text().replace('"normalizer": null', '"normalizer": {"type": "NFC"}')
    path.write_text(text)
    with pytest.raises(TokenizerError, match="normalizes this text"):
        compare(ONE, Tokenizer.load(path), "e\u0301")


def test_the_command_compares_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    ONE.save("a.json")
    OTHER.save("b.json")
    Path("text").write_text("abc")
    assert main(["compare", "a.json", "b.json", "text"]) == 0
    assert "1 ids" in capsys.readouterr().out
    assert main(["compare", "a.json", "b.json", "--text", "ab", "--most", "0"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(["compare", "a.json", "gone.json", "text"]) == 2


def test_a_page_holds_every_token_and_nothing_of_the_text_becomes_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    text = '<script>"&amp;\n日本 \'"'
    tokenizer = trained()
    ids = tokenizer.encode(text)
    page = as_html((id, tokenizer.vocab[id]) for id in ids)
    titles = re.findall(r'<span class="t\d" title="([^"]*)">[^<>]*</span>', page)
    assert [html.unescape(title) for title in titles] == [f"{id}: {tokenizer.vocab[id]!r}" for id in ids]
    assert "<script" not in page
    monkeypatch.chdir(tmp_path)
    tokenizer.save("t.json")
    assert main(["show", "-t", "t.json", "--html", "--text", text]) == 0
    assert capsys.readouterr().out == page
