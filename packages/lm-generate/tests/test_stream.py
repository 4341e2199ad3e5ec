"""Streams: whole characters, nothing of a stop string, the same text as in one piece."""

import pytest
from lm_generate.decoder import Decoder
from lm_generate.errors import PromptError, SettingError
from lm_generate.generate import Row, Written
from lm_generate.rules import Rules
from lm_generate.sampling import Sampling
from lm_generate.stream import Plan, Text, TextStream, pieces
from lm_tokenizer import Tokenizer
from tiny_engines import END, tiny_engine, tiny_tokenizer

BYTES = Tokenizer.train(texts=[], vocab_size=256, special_tokens=())
ENGINE = tiny_engine()


class Speaker:
    """In a batch's place: a model that says this, one byte a token."""

    def __init__(self, data: bytes) -> None:
        self.said = iter(data)
        self.busy = True

    def add(self, row: Row) -> None:
        self.row = row

    def step(self):
        byte = None if self.row.done else next(self.said, None)
        self.busy = byte is not None
        return [] if byte is None else [(self.row, Written(byte))]


def spoken(said: str | bytes, *, stop: tuple[str, ...] = (), seen: bytes = b"x", skip: int = 0) -> TextStream:
    rules = Rules(sampling=Sampling(), seed=0, row=0, max_tokens=10**6, stop_ids=frozenset())
    plan = Plan(skip=skip, stop_strings=stop, ran_out="length", called=0.0)
    data = said.encode() if isinstance(said, str) else said
    return TextStream(pieces(Speaker(data), Text(BYTES, Row(list(seen), rules), plan)))


def test_every_piece_is_whole_characters_whichever_bytes_the_tokens_are():
    text = "aé日🙂" + "".join(map(chr, [*range(1, 0xD800, 97), *range(0xE000, 0x110000, 5003)]))
    got = list(spoken(text))
    assert "".join(got) == text
    assert "\ufffd" not in text
    assert all(len(piece) == 1 for piece in got)


def test_a_character_that_the_prompt_began_is_completed_by_the_first_tokens():
    smile = "🙂".encode()
    assert list(spoken(smile[2:], seen=smile[:2])) == ["🙂"]


def test_a_character_left_unfinished_at_the_end_comes_out_as_a_replacement():
    assert list(spoken("é".encode()[:1])) == ["\ufffd"]


def test_a_stop_string_across_token_edges_ends_the_text_and_is_never_shown():
    stream = spoken("one\n\ntwo\n\n", stop=("\n\n",))
    assert list(stream) == ["o", "n", "e"]
    assert stream.result is not None
    assert (stream.result.text, stream.result.finish_reason, stream.result.stopped_by) == (
        "one",
        "stop",
        "\n\n",
    )
    assert len(stream.result.ids) == 5


def test_characters_that_repeat_the_prompt_are_left_out():
    assert "".join(spoken(" foo bar", skip=1)) == "foo bar"
    assert "".join(spoken("日本", skip=1)) == "本"


def test_pieces_joined_are_the_text_of_generate_and_of_decode():
    stream = ENGINE.stream("def", max_tokens=40, temperature=1.5, seed=5)
    joined = "".join(stream)
    assert stream.result is not None
    assert joined == stream.result.text == ENGINE.generate("def", max_tokens=40, temperature=1.5, seed=5).text
    assert joined == tiny_tokenizer().decode(stream.result.ids)


def test_a_stop_string_cuts_a_generated_text_where_it_first_appears():
    whole = ENGINE.generate("def", max_tokens=40, temperature=1.0, seed=1, stop_ids=())
    stop = whole.text[9:12]
    cut = ENGINE.generate("def", max_tokens=40, temperature=1.0, seed=1, stop_ids=(), stop=[stop])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.stopped_by == stop


def test_one_stop_string_may_be_given_without_a_list():
    options = {"max_tokens": 40, "temperature": 1.0, "seed": 1}
    assert (
        ENGINE.generate("def", stop="e", **options).text == ENGINE.generate("def", stop=["e"], **options).text
    )


def test_leaving_a_stream_early_stops_the_model():
    calls = []
    engine = tiny_engine()

    class Counted(Decoder):
        def __call__(self, work):
            calls.append(work)
            return super().__call__(work)

    engine.decode = Counted(engine.model)
    stream = engine.stream("def", max_tokens=50, seed=0, stop_ids=())
    next(stream)
    assert 0 < len(calls) < 10
    assert stream.result is None


def test_mistakes_are_told_when_the_stream_is_asked_for_and_not_at_its_first_piece():
    with pytest.raises(SettingError, match="max_tokens must be a whole number from 1"):
        ENGINE.stream("def", max_tokens=0)
    with pytest.raises(SettingError, match="seed must be a whole number from 0"):
        ENGINE.stream("def", seed=-1)
    with pytest.raises(SettingError, match='past_context must be "error" or "roll"'):
        ENGINE.stream("def", past_context="wrap")
    with pytest.raises(SettingError, match="logprobs must be a whole number"):
        ENGINE.stream("def", logprobs=True)


def test_an_empty_prompt_begins_a_text_where_the_model_has_a_token_for_that():
    got = ENGINE.generate("", max_tokens=5, seed=0)
    end = tiny_tokenizer().special_tokens[END]
    assert got.ids == ENGINE.generate([end], max_tokens=5, seed=0).ids
    bare = tiny_engine()
    bare.start_id = None
    with pytest.raises(PromptError, match="the prompt is empty"):
        bare.generate("")
