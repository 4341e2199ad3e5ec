"""Token healing: wherever a text is cut, going on must be able to reach the tokens of the whole text."""

import random
from functools import cache

import pytest
import torch
from lm_generate.engine import Engine
from lm_generate.heal import Healer
from lm_tokenizer import Tokenizer
from tiny_engines import tiny_engine, tiny_model

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


@pytest.mark.parametrize("prompt", ["def ", "class Fin", "    return no", "# 日", "    ", "d"])
def test_a_healed_text_goes_right_behind_the_prompt_and_is_cut_as_one_text(prompt):
    engine = tiny_engine()
    for row in range(5):
        got = engine.generate(prompt, max_tokens=12, temperature=1.0, seed=1, row=row, heal=True, stop_ids=())
        healer = Healer(engine.tokenizer)
        kept, rest = healer.split(engine.encode(prompt))
        data = engine.tokenizer.decode_bytes([*kept, *got.ids])
        assert data.decode(errors="replace") == prompt + got.text
        first = healer.allowed([], rest)
        assert first is not None
        assert got.ids[0] in first


def test_a_prompt_that_no_token_can_reach_across_is_continued_as_without_healing():
    engine = tiny_engine()
    ids = engine.encode("def find(names")
    assert engine.generate(ids, seed=1, heal=True).ids == engine.generate(ids, seed=1).ids
    characters = Engine(tiny_model(vocab_size=4), Tokenizer.characters("abc "))
    healed = characters.generate("ab ", max_tokens=9, seed=2, heal=True)
    assert healed.text == characters.generate("ab ", max_tokens=9, seed=2).text


def test_a_model_that_has_learnt_the_text_goes_on_after_a_trailing_space_only_with_healing():
    """A bigram table learnt by counting: behind the lone token " " it has seen nothing, behind `def` it has."""
    tokenizer = Tokenizer.train(texts=["def find def find def find"], vocab_size=266, special_tokens=())
    find = list(tokenizer.encode("def find"))
    assert [tokenizer.decode([id]) for id in find] == ["def", " find"]
    model = tiny_model(vocab_size=266, n_layers=1)
    with torch.no_grad():
        model.blocks[0].attention.o.weight.zero_()
        model.blocks[0].feed_forward.down.weight.zero_()
        model.head.weight.zero_()
        model.head.weight[find[1]] = 9 * model.embedding.weight[find[0]]  # behind `def` comes ` find`
    engine = Engine(model, tokenizer)
    healed = engine.generate("def ", max_tokens=1, temperature=0, heal=True)
    assert (healed.text, healed.ids) == ("find", (find[1],))
    assert engine.generate("def ", max_tokens=1, temperature=0).text != "find"
