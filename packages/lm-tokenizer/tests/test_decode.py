"""Ids to text: exact bytes, whole characters, offsets, and the errors."""

import random
from itertools import pairwise

import numpy as np
import pytest
import sample_texts
from lm_tokenizer import DecodeError, Tokenizer, UnknownIdError
from trained import in_tiktoken, trained


def bytes_only() -> Tokenizer:
    return Tokenizer.from_vocab({byte: bytes([byte]) for byte in range(256)}, [])


def test_a_stream_gives_what_decoding_at_once_gives():
    tokenizer = trained()
    rng = random.Random(0)
    for _ in range(300):
        ids = rng.choices(range(tokenizer.vocab_size), k=rng.randint(0, 20))
        stream = tokenizer.stream()
        assert "".join([*map(stream.push, ids), stream.finish()]) == tokenizer.decode(ids)


def test_a_stream_never_breaks_a_character():
    # Every 29th code point and all borders, each byte a token of its own.
    borders = [0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]
    stream = bytes_only().stream()
    for code in [*range(0, 0x110000, 29), *borders]:
        if 0xD800 <= code < 0xE000:
            continue
        *first, last = chr(code).encode()
        assert [stream.push(byte) for byte in first] == [""] * len(first)
        assert stream.push(last) == chr(code)
    assert stream.finish() == ""


def test_a_stream_gives_up_on_a_character_that_cannot_become_whole():
    stream = bytes_only().stream()
    assert [stream.push(byte) for byte in (0xF0, 0x9F, 0x41)] == ["", "", "\ufffdA"]
    assert stream.push(0xE2) == ""
    assert stream.finish() == "\ufffd"
    assert stream.push(0x42) == "B"


def test_ids_may_come_in_any_container():
    tokenizer = trained()
    ids = tokenizer.encode("the lighthouse")
    for container in (ids, tuple(ids), iter(ids), range(97, 100)):
        assert tokenizer.decode(container) == ("abc" if isinstance(container, range) else "the lighthouse")
    for dtype in (np.uint16, np.uint32, np.int32, np.int64, ">u2"):
        assert tokenizer.decode(np.array(ids, dtype=dtype)) == "the lighthouse"
        assert tokenizer.decode(np.array([ids, ids], dtype=dtype)[0]) == "the lighthouse"
        assert tokenizer.decode(np.array(ids, dtype=dtype)[::2]) == tokenizer.decode(ids[::2])


@pytest.mark.parametrize("bad", [-1, 800, 2**32, 10**30])
def test_an_id_outside_the_vocabulary_is_named_with_its_position(bad: int):
    tokenizer = trained()
    message = rf"^token id {bad} at position 2 is outside the vocabulary \(ids are below 800\)$"
    with pytest.raises(UnknownIdError, match=message):
        tokenizer.decode([97, 98, bad])
    with pytest.raises(UnknownIdError, match=message):
        tokenizer.decode_bytes(iter([97, 98, bad]))
    with pytest.raises(UnknownIdError, match=f"token id {bad} at position 0"):
        tokenizer.stream().push(bad)


def test_what_is_no_integer_is_a_type_error():
    with pytest.raises(TypeError):
        trained().decode(["a"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        trained().decode([1.5])  # type: ignore[list-item]


def test_a_list_may_hold_integers_of_any_class_even_ones_that_change_it():
    class Number:
        def __index__(self) -> int:
            ids.clear()
            return 98

    assert bytes_only().decode([True, np.uint8(98), 99]) == "\x01bc"
    ids = [97, Number(), 99]
    with pytest.raises(IndexError):
        bytes_only().decode(ids)  # type: ignore[arg-type]
    assert ids == []


def test_bytes_that_are_no_text_are_replaced_or_refused():
    assert bytes_only().decode([0x61, 0xFF, 0x62]) == "a\ufffdb"
    with pytest.raises(DecodeError, match="not UTF-8 at byte 1"):
        bytes_only().decode([0x61, 0xFF], errors="strict")
    with pytest.raises(ValueError, match='errors is "replace" or "strict", not "ignore"'):
        bytes_only().decode([0x61], errors="ignore")


def test_offsets_equal_tiktokens():
    tokenizer = trained("cl100k")
    other = in_tiktoken(tokenizer)
    for text in [sample_texts.SCRIPTS, *sample_texts.random_texts(20, seed=4)]:
        ids = tokenizer.encode_ordinary(text)
        assert tokenizer.decode_with_offsets(ids) == other.decode_with_offsets(ids)
        decoded, starts = tokenizer.decode_with_offsets(ids, unit="bytes")
        parts = [decoded.encode()[a:b] for a, b in pairwise([*starts, len(text.encode())])]
        assert parts == [tokenizer.decode_bytes([id]) for id in ids]
    with pytest.raises(DecodeError):
        tokenizer.decode_with_offsets(tokenizer.encode_bytes(b"\xff"))
    with pytest.raises(ValueError, match=r'unit must be "characters" or "bytes", not .words.'):
        tokenizer.decode_with_offsets([], unit="words")  # type: ignore[arg-type]


def test_a_batch_decodes_as_its_parts():
    tokenizer = trained()
    texts = ["the sea", "", "日本"]
    assert tokenizer.decode_batch(tokenizer.encode_batch(texts)) == texts
