"""Ids are exact: they equal those of the reference, of `tokenizers` and of tiktoken on every text tried."""

from itertools import pairwise
from pathlib import Path

import pytest
import sample_texts
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_tokenizer import PATTERN_NAMES, Tokenizer
from lm_tokenizer.reference import ReferenceTokenizer
from trained import TIKTOKEN_SPLITS, in_tiktoken, trained

TEXTS = [
    *sample_texts.TRICKY,
    sample_texts.PROSE,
    sample_texts.CODE,
    sample_texts.SCRIPTS,
    *sample_texts.random_texts(60),
]
SHORTER = [*sample_texts.TRICKY, *sample_texts.random_texts(12, seed=3)]


@pytest.fixture(params=PATTERN_NAMES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return trained(request.param)


def test_ids_equal_those_of_the_definition(tokenizer: Tokenizer):
    reference = ReferenceTokenizer(tokenizer.merges, list(tokenizer.special_tokens), tokenizer.pattern or "")
    for text in SHORTER:
        assert tokenizer.encode_ordinary(text) == reference.encode_ordinary(text), repr(text)
        assert tokenizer.encode(text, allowed_special="all") == reference.encode(text), repr(text)


@pytest.mark.parametrize("pattern", TIKTOKEN_SPLITS)
def test_ids_equal_tiktokens(pattern: str):
    tokenizer = trained(pattern)
    other = in_tiktoken(tokenizer)
    for text in TEXTS:
        assert tokenizer.encode_ordinary(text) == other.encode_ordinary(text), repr(text)
        assert tokenizer.encode(text, allowed_special="all") == other.encode(text, allowed_special="all"), (
            repr(text)
        )


def test_ids_equal_those_of_hugging_face_tokenizers(tokenizer: Tokenizer, tmp_path: Path):
    tokenizer.save(tmp_path / "tokenizer.json")
    other = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in TEXTS:
        assert tokenizer.encode(text, allowed_special="all") == other.encode(text).ids, repr(text)


@given(data=st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_decoding_gives_back_all_bytes(data: bytes):
    for pattern in PATTERN_NAMES:
        tokenizer = trained(pattern)
        assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@given(text=st.text(max_size=300))
@settings(max_examples=300, deadline=None)
def test_decoding_gives_back_all_text(text: str):
    tokenizer = trained("o200k")
    assert tokenizer.decode(tokenizer.encode_ordinary(text)) == text


@given(text=st.text(alphabet=st.sampled_from("aAbß'sſ1٣ \n\t\r\u00a0.,/日\u0301e"), max_size=24))
@settings(max_examples=400, deadline=None)
def test_ids_equal_tiktokens_on_small_alphabets(text: str):
    for pattern in TIKTOKEN_SPLITS:
        assert trained(pattern).encode_ordinary(text) == in_tiktoken(trained(pattern)).encode_ordinary(text)


def test_text_and_its_bytes_have_the_same_ids(tokenizer: Tokenizer):
    for text in SHORTER:
        ids = tokenizer.encode_ordinary(text)
        for data in (text.encode(), bytearray(text.encode()), memoryview(text.encode())):
            assert tokenizer.encode_bytes(data) == ids


def test_every_encoding_function_gives_the_same_ids(tokenizer: Tokenizer):
    lists = [tokenizer.encode_ordinary(text) for text in SHORTER]
    everything: dict = {"disallowed_special": ()}
    assert [tokenizer.encode(text, **everything) for text in SHORTER] == lists
    assert [tokenizer.encode_array(text, **everything).tolist() for text in SHORTER] == lists
    assert tokenizer.encode_batch(SHORTER, **everything) == lists
    assert list(tokenizer.encode_iterable(iter(SHORTER), **everything)) == [id for ids in lists for id in ids]
    assert [tokenizer.count(text, **everything) for text in SHORTER] == [len(ids) for ids in lists]
    assert tokenizer.count_batch(SHORTER, **everything) == [len(ids) for ids in lists]
    ids, offsets = tokenizer.encode_batch_array(SHORTER, **everything)
    assert ids.dtype == "uint32"
    assert [ids[a:b].tolist() for a, b in pairwise(offsets)] == lists


def test_a_long_text_has_the_ids_of_its_lines_together():
    # Long texts are cut and shared among threads; every line here ends where a pretoken ends.
    tokenizer = trained("gpt2")
    lines = [f"{index} {word}\n" for index, word in enumerate(sample_texts.ALL_KINDS.split() * 400)]
    expected = [id for line in lines for id in [*tokenizer.encode_ordinary(line.rstrip("\n")), 10]]
    text = "".join(lines)
    assert len(text) > 1 << 20
    assert tokenizer.encode_ordinary(text) == expected
    assert tokenizer.encode_array(text).tolist() == expected
    assert tokenizer.count(text) == len(expected)


def test_arrays_are_writable_and_of_their_own():
    tokenizer = trained()
    first, second = tokenizer.encode_array("the sea"), tokenizer.encode_array("the sea")
    first[0] = 7
    assert second.tolist() == tokenizer.encode("the sea")


def test_encode_iterable_takes_no_more_texts_than_it_needs():
    taken = 0

    def texts():
        nonlocal taken
        while True:
            taken += 1
            yield "a lighthouse "

    ids = trained().encode_iterable(texts())
    assert [next(ids) for _ in range(5)]
    assert taken <= 256
