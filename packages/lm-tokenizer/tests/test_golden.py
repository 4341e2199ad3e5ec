"""Files of every released version are read for ever, with the ids that they had; see golden/README.md."""

import json
from pathlib import Path

import pytest
from lm_tokenizer import PretokenCounts, Tokenizer

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("version", ["0.1"])
@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_a_released_tokenizer_file_keeps_its_meaning(version: str, kind: str, tmp_path: Path):
    expected = json.loads((GOLDEN / f"{kind}-{version}.expected.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.load(GOLDEN / f"{kind}-{version}.json")
    assert tokenizer.fingerprint == expected["fingerprint"]
    assert tokenizer.encode(expected["text"], allowed_special="all") == expected["ids"]
    assert tokenizer.decode(expected["ids"]) == expected["text"]


@pytest.mark.parametrize("kind", ["bpe", "characters"])
def test_the_newest_version_is_what_is_written_today(kind: str, tmp_path: Path):
    newest = GOLDEN / f"{kind}-0.1.json"
    Tokenizer.load(newest).save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == newest.read_bytes()


def test_a_released_file_of_counts_keeps_its_meaning(tmp_path: Path):
    counts = PretokenCounts.load(GOLDEN / "counts-0.1.bin")
    assert dict(counts.items()) == {b"low": 2, b" low": 1, b" lower": 1, b".": 1}
    counts.save(tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == (GOLDEN / "counts-0.1.bin").read_bytes()
