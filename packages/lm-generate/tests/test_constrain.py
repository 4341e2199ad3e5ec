"""Constrained output against its definition: which texts may come, and with what probability."""

import json
import re
import sys

import numpy as np
import pytest
from lm_generate.cli import run
from lm_generate.constrain import Grammars, read_constraint
from lm_generate.errors import ConstraintError, SettingError
from lm_generate.sampling import Sampling, probabilities
from lm_tokenizer import Tokenizer
from tiny_engines import END, save_tiny, tiny_engine, tiny_model, tiny_tokenizer
from tiny_server import serve

ENGINE = tiny_engine()
VOCAB = {id: data for id, data in tiny_tokenizer().vocab.items() if data != END.encode()}
LAST = tiny_tokenizer().special_tokens[END]
SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 4},
        "n": {"type": "integer", "minimum": 0, "maximum": 99},
        "kind": {"enum": ["a", "return", None]},
    },
    "required": ["name", "n", "kind"],
    "additionalProperties": False,
}


def is_of_the_schema(text):
    value = json.loads(text)
    return (
        list(value) == ["name", "n", "kind"]
        and isinstance(value["name"], str)
        and len(value["name"]) <= 4
        and isinstance(value["n"], int)
        and 0 <= value["n"] <= 99
        and value["kind"] in ("a", "return", None)
    )


def follower(regex):
    return Grammars(tiny_tokenizer(), 330).follow(read_constraint(regex=regex, json_schema=None))


def may_come_by_definition(language, written):
    """Tokens that lead on to a text of the language, and the end where what is written is one."""
    ids = {
        id for id, data in VOCAB.items() if data and any(text.startswith(written + data) for text in language)
    }
    return sorted(ids | ({LAST} if written in language else set()))


@pytest.mark.parametrize(
    ("regex", "language"),
    [
        ("(return|def|ret) None", ["return None", "def None", "ret None"]),
        ("a{0,3}b?", ["a" * n + b for n in range(4) for b in ("", "b")]),
        ("(é|日本語|\U0001f642)x?", [c + x for c in ("é", "日本語", "\U0001f642") for x in ("", "x")]),
        (r"a/b\\\n|\"", ["a/b\\\n", '"']),
        (
            r"[012]\.(?i:ok)",
            [f"{d}.{w}" for d in range(3) for w in ("ok", "Ok", "oK", "OK", "o\u212a", "O\u212a")],
        ),
    ],
)
def test_the_tokens_that_may_come_are_those_of_the_definition(regex, language):
    language = [text.encode() for text in language]
    ways = [b""]
    seen = set()
    while ways:
        written = ways.pop()
        for id in may_come_by_definition(language, written):
            if id != LAST and written + VOCAB[id] not in seen:
                seen.add(written + VOCAB[id])
                ways.append(written + VOCAB[id])
    for written in [b"", *seen]:
        walk = follower(regex)
        for byte in written:
            walk.take(byte)  # the ids of single bytes are the bytes
        wanted = may_come_by_definition(language, written)
        assert walk.matches == (written in language)
        assert walk.complete == (wanted == [LAST])
        assert walk.may_come([LAST]).tolist() == wanted, written


def test_the_distribution_is_the_models_own_renormalised_over_what_may_come():
    language = [b"return None", b"def None", b"names"]
    sampling = Sampling(temperature=0.7, top_k=3)
    choices = []
    text = ENGINE.text(
        "def ", settings(regex="(return|def) None|names", temperature=0.7, top_k=3), 0, choices.append
    )
    ids = write(text)
    written = b""
    assert len(choices) == len(ids) > 1
    for choice, id in zip(choices, ids, strict=True):
        allowed = may_come_by_definition(language, written)
        masked = np.full(320, -np.inf)
        masked[allowed] = choice.logits[allowed]
        np.testing.assert_array_equal(
            probabilities(choice.adjusted, sampling), probabilities(masked, sampling)
        )
        p = np.exp(masked / 0.7) / np.exp(masked / 0.7).sum()
        p[np.argsort(-p)[3:]] = 0
        np.testing.assert_allclose(probabilities(choice.adjusted, sampling), p / p.sum(), rtol=1e-6)
        written += VOCAB.get(id, b"")


def settings(**options):
    from lm_generate.settings import make_settings

    return make_settings(**{"seed": 4, "max_tokens": 30, **options})


def write(text):
    from lm_generate.generate import Batch

    batch = Batch(ENGINE.decode, slots=1)
    batch.add(text.row)
    while batch.busy:
        batch.step()
    return text.row.written


@pytest.mark.parametrize(
    "regex", ["[a-z]{3,8}", "(return|def) None", r"-?\d{1,3}\.\d\d", "é+x", "[^a-z]{2}", "a*"]
)
def test_every_text_matches_as_a_whole(regex):
    for result in ENGINE.batch(["def ", "", "naïve ", "class"] * 3, regex=regex, seed=1, max_tokens=40):
        if result.finish_reason != "length":
            assert re.fullmatch(regex, result.text), result.text


def test_every_text_is_json_of_the_schema():
    for result in ENGINE.batch(["x"] * 6, json_schema=SCHEMA, seed=2, max_tokens=60):
        assert result.finish_reason == "match"
        assert is_of_the_schema(result.text)


def test_a_row_is_the_same_alone_in_company_and_with_guesses():
    regexes = ["[a-f]{2,9}", "(return|def) None", r"\d+"]
    alone = [ENGINE.generate("def", regex=regex, seed=5, max_tokens=12) for regex in regexes]
    guessed = [
        ENGINE.generate("def", regex=regex, seed=5, max_tokens=12, draft="prompt") for regex in regexes
    ]
    assert [result.ids for result in guessed] == [result.ids for result in alone]
    assert [result.finish_reason for result in guessed] == [result.finish_reason for result in alone]
    for regex, single in zip(regexes, alone, strict=True):
        together = ENGINE.batch(["def", "class ", "def"], regex=regex, seed=5, max_tokens=12)
        assert together[0].ids == single.ids


def test_how_a_text_ended_is_told():
    assert ENGINE.generate("def", regex="ab", stop_ids=()).finish_reason == "match"
    assert (
        ENGINE.generate(
            "def", regex="ab", max_tokens=1, banned_ids=[id for id, data in VOCAB.items() if data == b"ab"]
        ).finish_reason
        == "length"
    )
    assert ENGINE.generate("def", regex="(ab)+", stop="b").stopped_by == "b"
    long = ENGINE.generate("def", regex="a*", min_tokens=7, max_tokens=9, seed=1)
    assert len(long.ids) >= 7
    assert ENGINE.generate("def", regex="aaa", min_tokens=9, max_tokens=9).text == "aaa"


def test_a_special_token_is_never_text():
    every = follower("(?s).*").may_come([])
    assert LAST not in every
    assert set(every) <= set(VOCAB)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"regex": "("}, r'regex "\(" cannot be used: unclosed group'),
        ({"regex": "(?=a)b"}, "look-around, including look-ahead and look-behind, is not supported"),
        ({"regex": "a\\"}, "ends in a lone backslash"),
        ({"regex": ""}, "only the empty text matches"),
        ({"regex": r"[^\s\S]"}, "no text matches it"),
        ({"regex": "\ud800"}, "half a character"),
        ({"regex": 5}, "regex must be a string, got int"),
        ({"regex": "a", "json_schema": {}}, "cannot both be given"),
        ({"regex": "a", "heal": True}, "leave heal out"),
        ({"json_schema": "{"}, "json_schema is not JSON"),
        ({"json_schema": "[1]"}, "json_schema must be an object"),
        ({"json_schema": {"type": "frob"}}, "Invalid type: frob"),
        (
            {"json_schema": {"type": "integer", "minimum": 2, "maximum": 1}},
            "minimum .* is greater than maximum",
        ),
    ],
)
def test_what_cannot_be_a_constraint_is_one_plain_error(options, told):
    with pytest.raises(SettingError, match=told):
        ENGINE.generate("def", **options)


def test_a_constraint_that_other_settings_or_the_vocabulary_leave_no_way_is_told():
    with pytest.raises(ConstraintError, match="other settings ban each of the 1 tokens"):
        ENGINE.generate("def", regex="a", banned_ids=[97])
    letters = Tokenizer.characters("ab", special_tokens=(END,))
    from lm_generate.engine import Engine

    engine = Engine(tiny_model(vocab_size=3), letters, stop_ids=[2])
    assert engine.generate("a", regex="[ab]{3}").text in {
        "aaa",
        "aab",
        "aba",
        "abb",
        "baa",
        "bab",
        "bba",
        "bbb",
    }
    with pytest.raises(SettingError, match="no text matches it"):
        engine.generate("a", regex="c")
    with pytest.raises(
        ConstraintError, match=r'no token of the vocabulary can go on towards a match of "ac"'
    ):
        engine.generate("a", regex="ac")


def test_without_the_library_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(SettingError, match=r"pip install 'lm-generate\[constrain\]'"):
        ENGINE.generate("def", regex="a")
    assert run(["--prompt", "x", "--regex", "a", "--model", str(tmp_path)]) == 2
    assert "lm-generate[constrain]" in capsys.readouterr().err


def test_the_command_line_takes_an_expression_or_a_file_with_a_schema(tmp_path, capsys):
    model = str(save_tiny(tmp_path / "model"))
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    options = ["--model", model, "--seed", "1", "-q", "--no-echo"]
    assert run(["--prompt", "def ", "--regex", "-?[0-9]{2}", *options]) == 0
    assert re.fullmatch("-?[0-9]{2}\n", capsys.readouterr().out)
    assert (
        run(
            [
                "--prompt",
                "def ",
                "--json-schema",
                str(tmp_path / "schema.json"),
                "--n",
                "2",
                "--json",
                *options,
            ]
        )
        == 0
    )
    for line in capsys.readouterr().out.splitlines():
        assert is_of_the_schema(json.loads(line)["text"])
    assert run(["--prompt", "def ", "--regex", "a", "--heal", *options]) == 2
    assert run(["--prompt", "def ", "--json-schema", str(tmp_path / "none.json"), *options]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_the_server_takes_them_for_each_request_and_names_the_field_that_is_wrong(tmp_path):
    wrap = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA}}
    with serve(tmp_path) as server:
        choice = server.complete("def ", regex="[a-c]{3}", seed=1)["choices"][0]
        assert re.fullmatch("[a-c]{3}", choice["text"])
        assert choice["finish_reason"] == "stop"
        told = server.complete(["x", "y"], response_format=wrap, max_tokens=60, n=2, seed=1)
        assert all(is_of_the_schema(choice["text"]) for choice in told["choices"])
        free = server.complete("x", response_format={"type": "text"}, seed=3)["choices"][0]["text"]
        assert free == server.complete("x", seed=3)["choices"][0]["text"]
        assert (
            server.complete("x", response_format={"type": "json_object"}, seed=1)["choices"][0]["text"][0]
            == "{"
        )
        for body, field in (
            ({"regex": "("}, "regex"),
            ({"regex": "a" * 20_000}, "regex"),
            ({"response_format": {"type": "xml"}}, "response_format.type"),
            ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
            (
                {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
                "response_format.json_schema.schema",
            ),
            ({"response_format": {**wrap, "json_schema": {"schema": {"type": "frob"}}}}, "response_format"),
        ):
            answer = server.client.post("/v1/completions", json={"prompt": "x", **body})
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == field
