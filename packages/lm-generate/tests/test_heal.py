"""Token healing: wherever a text is cut, going on must be able to reach the tokens of the whole text."""

import random
from functools import cache

import pytest
from lm_generate.heal import Healer
from lm_tokenizer import Tokenizer

TEXT = (
    "\n\n\n\n\ndef find(names, wanted):\n    for name in names:\n        if name == wanted:\n            return name\n"
    "    return None\n\n\nclass Finder:\n    '''It's what finds; don't ask.'''\n\n    def __init__(self, names=None): \nx = 1\n\n\n\n\n----------------\n"
    "        self.names = names or []\t# naïve, schön, 日本語のテキスト, 🙂🙃 \n        self.count = 12345 + 678\n"
)


@cache
def trained(pattern: str, vocab_size: int) -> Tokenizer:
    return Tokenizer.train(texts=[TEXT], vocab_size=vocab_size, pattern=pattern)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "llama3"])
@pytest.mark.parametrize("vocab_size", [300, 420])
def test_the_tokens_of_the_whole_text_are_reachable_from_every_cut(pattern, vocab_size):
    tokenizer = trained(pattern, vocab_size)
    healer = Healer(tokenizer)
    whole = list(tokenizer.encode(TEXT))
    for cut in range(1, len(TEXT), 2):
        kept, rest = healer.split(list(tokenizer.encode(TEXT[:cut])))
        assert whole[: len(kept)] == kept, TEXT[:cut][-20:]
        written: list[int] = []
        while (allowed := healer.allowed(written, rest)) is not None:
            wanted = whole[len(kept) + len(written)]
            assert wanted in allowed, (TEXT[:cut][-20:], rest)
            written.append(wanted)


def test_every_path_that_healing_allows_repeats_the_prompt_and_is_how_the_tokenizer_cuts_a_longer_text():
    tokenizer = trained("gpt2", 420)
    healer = Healer(tokenizer)
    draw = random.Random(0)
    for _ in range(300):
        prompt = TEXT[: draw.randrange(1, len(TEXT))]
        kept, rest = healer.split(list(tokenizer.encode(prompt)))
        written: list[int] = []
        while (allowed := healer.allowed(written, rest)) is not None:
            assert allowed
            written.append(draw.choice(allowed))
        data = tokenizer.decode_bytes(kept + written)
        assert data.startswith(prompt.encode())
        longer = [list(tokenizer.encode_bytes(data + more)) for more in (b"", b"x", b"0", b"!", b" ", b"\n")]
        assert kept + written in [ids[: len(kept + written)] for ids in longer]


def test_a_trailing_space_is_taken_back_and_joined_to_the_next_word():
    tokenizer = Tokenizer.train(texts=[" foo bar foo bar foo"], vocab_size=264, pattern="gpt2")
    healer = Healer(tokenizer)
    kept, rest = healer.split(list(tokenizer.encode("foo ")))
    assert rest == b" "
    assert tokenizer.decode(kept) == "foo"
    allowed = healer.allowed([], rest)
    assert allowed is not None
    assert list(tokenizer.encode(" foo")) == [id for id in allowed if tokenizer.decode([id]) == " foo"]
    assert healer.allowed(list(tokenizer.encode(" foo")), rest) is None


def test_where_no_token_is_longer_nothing_is_taken_back():
    tokenizer = Tokenizer.characters("abc ")
    ids = list(tokenizer.encode("ab "))
    assert Healer(tokenizer).split(ids) == (ids, b"")


def test_special_tokens_are_never_written_by_healing():
    tokenizer = Tokenizer.train(texts=["<|end|> <<<"], vocab_size=264, special_tokens=("<|end|>",))
    allowed = Healer(tokenizer).allowed([], b"<")
    assert allowed
    assert tokenizer.special_tokens["<|end|>"] not in allowed
