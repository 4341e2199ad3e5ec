"""Special tokens never come from plain text, unless the caller says so; the words of the errors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_tokenizer import Special, SpecialTokenError, Tokenizer, TokenizerError
from trained import END, trained

PAD = "<|pad|>"
PIECES = st.lists(
    st.sampled_from([END, PAD, "<|", "endoftext", "|>", "a", " ", "\n", "<|endoftext|"]), max_size=12
)


def test_a_special_token_in_text_raises_and_is_named_with_its_place():
    message = (
        'the text holds the special token "<|endoftext|>" at character 3, which is not allowed there; pass '
        'allowed_special={"<|endoftext|>"} to encode it as such, or disallowed_special=() to take it as ordinary text'
    )
    with pytest.raises(SpecialTokenError) as error:
        trained().encode(f"añb{END}c")
    assert str(error.value) == message


def test_an_allowed_special_token_becomes_its_id():
    tokenizer = trained()
    id = tokenizer.special_tokens[END]
    for allowed in ("all", {END}, [END, PAD], (END,)):
        assert tokenizer.encode(f"a{END}b", allowed_special=allowed) == [97, id, 98]


def test_allowing_one_special_token_leaves_the_others_disallowed():
    with pytest.raises(SpecialTokenError, match="pad"):
        trained().encode(f"{END}{PAD}", allowed_special={END})


def test_what_is_neither_allowed_nor_disallowed_is_ordinary_text():
    tokenizer = trained()
    ordinary = tokenizer.encode_ordinary(PAD)
    end = tokenizer.special_tokens[END]
    assert tokenizer.encode(PAD, disallowed_special=()) == ordinary
    assert tokenizer.encode(PAD, disallowed_special={END}) == ordinary
    assert tokenizer.encode(END + PAD, allowed_special={END}, disallowed_special=()) == [end, *ordinary]
    with pytest.raises(SpecialTokenError, match="endoftext"):
        tokenizer.encode(PAD + END, disallowed_special={END})


@given(pieces=PIECES)
@settings(max_examples=200, deadline=None)
def test_ordinary_encoding_never_gives_a_special_id(pieces: list[str]):
    tokenizer = trained()
    text = "".join(pieces)
    special = set(tokenizer.special_tokens.values())
    assert special.isdisjoint(tokenizer.encode_ordinary(text))
    assert special.isdisjoint(tokenizer.encode_bytes(text.encode()))
    assert special.isdisjoint(tokenizer.encode_parts([text]))
    assert tokenizer.decode(tokenizer.encode_ordinary(text)) == text


def test_parts_are_special_only_where_the_caller_says_so():
    tokenizer = trained()
    end = tokenizer.special_tokens[END]
    ids = tokenizer.encode_parts([Special(END), f"user text {END}", Special(END)])
    assert ids == [end, *tokenizer.encode_ordinary(f"user text {END}"), end]
    with pytest.raises(
        SpecialTokenError, match=r'"<\|user\|>" is no special token of this tokenizer \(it has: <\|endoftext'
    ):
        tokenizer.encode_parts([Special("<|user|>")])


def test_the_longer_of_two_special_tokens_is_meant():
    tokenizer = Tokenizer.train(texts=["x"], vocab_size=259, special_tokens=("<|a", "<|a|>"))
    assert tokenizer.encode("<|a|><|a", allowed_special="all") == [257, 256]


def test_a_wrong_name_is_refused_rather_than_ignored():
    with pytest.raises(
        SpecialTokenError, match=r'allowed_special names "<\|eot\|>", which is no special token'
    ):
        trained().encode("a", allowed_special={"<|eot|>"})
    with pytest.raises(SpecialTokenError, match=r'"all" or a collection of special tokens, not one str'):
        trained().encode("a", allowed_special=END)


def test_one_str_is_no_list_of_special_tokens():
    with pytest.raises(TokenizerError, match=r"a list of tokens, not one str; write \['<\|x\|>'\]"):
        Tokenizer.train(texts=["a"], vocab_size=300, special_tokens="<|x|>")


def test_in_a_batch_the_text_is_named_too():
    with pytest.raises(SpecialTokenError, match=r"^text 1: the text holds"):
        trained().encode_batch(["fine", END, "fine"])
