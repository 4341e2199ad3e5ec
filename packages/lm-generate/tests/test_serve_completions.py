"""The completions API: held to the engine's own answers, and used by OpenAI's client."""

import json
import re
from pathlib import Path

import openai
import pytest
from lm_generate.engine import Engine
from tiny_engines import END, tiny_engine
from tiny_server import serve

PROMPT = "def find(names"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def engine() -> Engine:
    return tiny_engine()


def events(server, **body):
    """The data of each event of a stream."""
    found = []
    with server.client.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line:
                assert line.startswith("data: ")
                found.append(line.removeprefix("data: "))
    return found


def test_a_text_is_the_engines_own_for_the_same_seed(server, engine):
    answer = server.complete(PROMPT, max_tokens=20, seed=7, temperature=0.9, top_p=0.9)
    own = engine.generate(PROMPT, max_tokens=20, seed=7, temperature=0.9, top_p=0.9)
    assert answer["choices"][0]["text"] == own.text
    assert answer["seed"] == 7
    assert answer["usage"] == {
        "prompt_tokens": own.prompt_tokens,
        "completion_tokens": len(own.ids),
        "total_tokens": own.prompt_tokens + len(own.ids),
    }


def test_choices_are_the_rows_of_the_engines_batch(server, engine):
    prompts = [PROMPT, "class ", "# na"]
    answer = server.complete(prompts, n=2, max_tokens=9, seed=3)
    own = engine.batch([p for p in prompts for _ in range(2)], max_tokens=9, seed=3, temperature=1.0)
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert [choice["text"] for choice in answer["choices"]] == [row.text for row in own]
    assert len({choice["text"] for choice in answer["choices"]}) > 3


def test_without_settings_openais_defaults_hold(server, engine):
    answer = server.complete(PROMPT)
    own = engine.generate(PROMPT, max_tokens=16, temperature=1.0, seed=answer["seed"])
    assert answer["choices"][0]["text"] == own.text


def test_every_sampler_of_the_engine_can_be_asked_for(server, engine):
    options = {
        "temperature": 1.3, "top_k": 30, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.95, "min_tokens": 3,
        "repetition_penalty": 1.2, "presence_penalty": 0.3, "frequency_penalty": 0.2, "penalty_window": 12,
        "max_tokens": 15, "seed": 5, "heal": True,
    }  # fmt: skip
    bias = {97: 3.0, 98: -4.0}
    answer = server.complete("def fin", logit_bias={str(id): value for id, value in bias.items()}, **options)
    assert answer["choices"][0]["text"] == engine.generate("def fin", logit_bias=bias, **options).text


def test_stop_strings_end_a_text_and_its_tokens(server, engine):
    free = engine.generate(PROMPT, max_tokens=40, temperature=0).text
    stop = free[11:14]
    answer = server.complete(PROMPT, max_tokens=40, temperature=0, stop=["never there", stop], logprobs=0)
    choice = answer["choices"][0]
    assert choice["text"] == free[: free.index(stop)]
    assert choice["finish_reason"] == "stop"
    told = len(choice["logprobs"]["tokens"])
    assert all(offset < len(choice["text"]) for offset in choice["logprobs"]["text_offset"])
    assert told < answer["usage"]["completion_tokens"] < 40  # those of the stop string were written, not told
    own = engine.generate(PROMPT, max_tokens=told, temperature=0)
    assert len(own.text) >= len(choice["text"]) > len(own.text) - 8


def test_a_stream_is_the_whole_answer_in_pieces(server):
    body = {"prompt": PROMPT, "max_tokens": 24, "seed": 5, "n": 3, "logprobs": 2, "stop": ["\n"]}
    whole = server.complete(**body)
    *chunks, done = events(server, **body, stream_options={"include_usage": True})
    assert done == "[DONE]"
    chunks = [json.loads(chunk) for chunk in chunks]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    for choice in whole["choices"]:
        parts = [
            part for chunk in chunks[:-1] for part in chunk["choices"] if part["index"] == choice["index"]
        ]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        for name, values in choice["logprobs"].items():
            assert [value for part in parts for value in part["logprobs"][name]] == values


def test_logprobs_are_the_engines_and_place_each_token_in_the_text(server, engine):
    choice = server.complete(PROMPT, max_tokens=25, temperature=0, logprobs=3)["choices"][0]
    own = engine.generate(PROMPT, max_tokens=25, temperature=0, logprobs=3)
    logprobs = choice["logprobs"]
    assert logprobs["token_logprobs"] == [entry.logprob for entry in own.logprobs]
    vocab = engine.tokenizer.vocab
    for entry, name, offset, top in zip(
        own.logprobs, *(logprobs[key] for key in ("tokens", "text_offset", "top_logprobs")), strict=True
    ):
        text = vocab[entry.id].decode("utf-8", "ignore")
        if name.startswith("bytes:"):
            assert text != vocab[entry.id]
        else:
            # A token that ends broken bytes shares their place: only there it is known that they are broken.
            assert choice["text"][offset:].lstrip("\ufffd").startswith(name)
        assert 3 <= len(top) <= 4
        assert top[name] == entry.logprob


def test_an_echoed_prompt_is_scored_as_the_engine_scores_it(server, engine):
    text = "def find(names, wanted):\n    # schön 日本語 🙂"
    choice = server.complete(text, max_tokens=0, echo=True, logprobs=1)["choices"][0]
    assert choice["text"] == text
    assert choice["finish_reason"] == "length"
    logprobs = choice["logprobs"]
    ids = engine.encode(text)
    alone = Engine(engine.model, engine.tokenizer)  # reads nothing before the text
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["token_logprobs"][1:] == pytest.approx(alone.score(ids).logprobs, abs=1e-5)
    assert len(logprobs["text_offset"]) == len(logprobs["tokens"]) == len(ids)
    for name, offset in zip(logprobs["tokens"], logprobs["text_offset"], strict=True):
        assert name.startswith("bytes:") or text[offset:].startswith(name)
    written = server.complete(engine.encode(text), max_tokens=5, temperature=0, echo=True, logprobs=1)
    assert written["choices"][0]["text"].startswith(text)
    both = written["choices"][0]["logprobs"]
    assert both["token_logprobs"][: len(ids)] == logprobs["token_logprobs"]
    assert both["text_offset"][len(ids)] == len(text)


def test_an_account_is_the_engines_and_gives_the_ids_to_go_on_from(server, engine):
    told = engine.explain("def fin", max_tokens=8, top_k=20, seed=2, top=3, heal=True, temperature=1.0)
    body = {"prompt": "def fin", "max_tokens": 8, "top_k": 20, "seed": 2, "explain": 3, "heal": True}
    choice = server.complete(**body)["choices"][0]
    assert choice["read"]["text"] == told.read
    assert [token["id"] for token in choice["explained"]] == [entry.chosen.id for entry in told.tokens]
    for token, entry in zip(choice["explained"], told.tokens, strict=True):
        assert (token["before"], token["after"], token["rank"]) == (
            entry.chosen.before, entry.chosen.after, entry.rank,
        )  # fmt: skip
        assert [other["id"] for other in token["alternatives"]] == [other.id for other in entry.alternatives]
        assert [other["removed_by"] for other in token["alternatives"]] == [
            other.removed_by for other in entry.alternatives
        ]
    branch = [*choice["read"]["ids"], *(token["id"] for token in choice["explained"][:3]), 100]
    assert server.complete(branch, max_tokens=4, seed=1)["choices"][0]["text"] == (
        engine.generate(branch, max_tokens=4, seed=1, temperature=1.0).text
    )
    streamed = [json.loads(data) for data in events(server, **body)[:-1]]
    accounts = [token for chunk in streamed for token in chunk["choices"][0].get("explained", [])]
    assert accounts == choice["explained"]
    assert streamed[0]["choices"][0]["read"] == choice["read"]


def test_openais_client_completes_streams_and_lists(client, engine):
    own = engine.generate(PROMPT, max_tokens=12, seed=1, temperature=0.7)
    settings = {"model": "tiny", "prompt": PROMPT, "max_tokens": 12, "seed": 1, "temperature": 0.7}
    answer = client.completions.create(**settings, logprobs=2)
    assert answer.choices[0].text == own.text
    assert answer.choices[0].finish_reason == "length"
    assert len(answer.choices[0].logprobs.tokens) == len(own.ids)
    assert answer.usage.total_tokens == own.prompt_tokens + len(own.ids)
    stream = client.completions.create(**settings, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == own.text
    assert chunks[-1].usage.completion_tokens == len(own.ids)
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").object == "model"


def test_the_example_of_the_documents_runs(server, capsys):
    document = Path(__file__).resolve().parent.parent / "docs" / "serving.md"
    (example,) = re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    here = example.replace("http://127.0.0.1:8000", server.address).replace("stdlib-1/step-00000114", "tiny")
    assert "max_tokens=50, stream=True" in here
    here = here.replace(
        "max_tokens=50, stream=True", "max_tokens=50, stream=True, seed=7"
    )  # without one, each run writes another text
    names = {}
    exec(compile(here, str(document), "exec"), names)
    whole = names["client"].completions.create(model="tiny", prompt="def ", max_tokens=50, seed=7)
    names["client"].close()
    assert capsys.readouterr().out == whole.choices[0].text != ""


def test_openais_client_gets_its_own_error_types(client):
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-5'; there are: tiny"):
        client.completions.create(model="gpt-5", prompt="a")
    with pytest.raises(openai.BadRequestError, match="temperature must be a number") as caught:
        client.completions.create(model="tiny", prompt="a", temperature=-1)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({}, "prompt", "prompt is missing"),
        ({"prompt": 5}, "prompt", "prompt must be a string or a list of token ids, got 5"),
        ({"prompt": [1, "a"]}, "prompt", "got 1"),
        ({"prompt": []}, "prompt", "got \\[\\]"),
        ({"prompt": [320]}, "prompt", "id 320 is outside the model's vocabulary"),
        ({"prompt": "a" + END}, "prompt", "special token"),
        ({"prompt": "\ud800"}, "prompt", "surrogate"),
        ({"prompt": "a", "temprature": 1}, "temprature", "did you mean 'temperature'"),
        ({"prompt": "a", "temperature": 1e10}, "temperature", "number from 0 to 1e\\+09"),
        ({"prompt": "a", "temperature": True}, "temperature", "got true"),
        ({"prompt": "a", "top_p": 0}, "top_p", "top_p must lie in"),
        ({"prompt": "a", "top_p": 1.1}, "top_p", "from 0 to 1"),
        ({"prompt": "a", "top_k": -1}, "top_k", "whole number"),
        ({"prompt": "a", "n": 10**9}, "n", "from 1 to 128"),
        ({"prompt": ["a"] * 65, "n": 2}, "n", "at most 128, got 130"),
        ({"prompt": ["a"] * 129}, "prompt", "at most 128 prompts"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens", "at least 1"),
        ({"prompt": "a", "max_tokens": 10**6}, "max_tokens", "from 0 to 4096"),
        ({"prompt": "a", "max_tokens": 500}, "max_tokens", "context is 64"),
        ({"prompt": "ab " * 80}, "max_tokens", "no room to write"),
        ({"prompt": "ab " * 80, "max_tokens": 0, "echo": True}, "prompt", "context is 64"),
        ({"prompt": "a", "min_tokens": 5, "max_tokens": 4}, "min_tokens", "must not be above"),
        ({"prompt": "a", "logprobs": 21}, "logprobs", "from 0 to 20"),
        ({"prompt": "a", "stop": ""}, "stop", "1 to 256 characters"),
        ({"prompt": "a", "stop": ["a"] * 17}, "stop", "at most 16"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias", "no token id"),
        ({"prompt": "a", "logit_bias": {"5": 101}}, "logit_bias.5", "from -100 to 100"),
        ({"prompt": "a", "logit_bias": {"4000": 1}}, "logit_bias", "outside the model's vocabulary"),
        ({"prompt": "a", "seed": -1}, "seed", "whole number"),
        ({"prompt": "a", "best_of": 3}, "best_of", "not done here"),
        ({"prompt": "a", "suffix": "b"}, "suffix", "not done here"),
        ({"prompt": "a", "stream_options": {}}, "stream_options", "beside"),
        ({"prompt": "a", "stream": True, "stream_options": {"x": 1}}, "stream_options.x", "unknown field"),
        ({"prompt": "a", "model": 5}, "model", "a string"),
        ({"prompt": "a", "heal": True, "echo": True, "logprobs": 1}, "heal", "anew"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_the_field_named(server, fields, param, message):
    body = json.dumps(fields)  # in ASCII, which lets half a surrogate pair through
    answer = server.client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert re.search(message, error["message"]), error["message"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"prompt": NaN}', b"[" * 100_000, b"1" * 5000, b'"a"', b"\xff"]
)
def test_a_body_that_is_no_json_object_is_refused(server, body):
    answer = server.client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("the body")


def test_paths_methods_and_types_that_are_not_there_are_told_as_json(server):
    assert server.client.get("/v1/nothing").json()["error"]["message"] == "there is no GET /v1/nothing"
    wrong = server.client.get("/v1/completions")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert server.client.post("/v1/score", content=b"{}").status_code == 415


def test_a_text_is_scored_token_by_token(server, engine):
    text = "def find(names):\n    return 日本 " * 6  # longer than the context
    answer = server.client.post("/v1/score", json={"input": text, "top": 4}).json()
    own = engine.score(text)
    assert [token["logprob"] for token in answer["tokens"]] == pytest.approx(own.logprobs, abs=1e-5)
    assert answer["bits_per_byte"] == pytest.approx(own.bits_per_byte)
    assert answer["bytes"] == own.bytes
    for token in answer["tokens"]:
        values = [other["logprob"] for other in token["alternatives"]]
        assert values == sorted(values, reverse=True)
        assert len(values) == 4
        assert (token["rank"] == 1) == (token["alternatives"][0]["id"] == token["id"])
        assert 0 <= token["entropy_bits"] <= answer["vocabulary_bits"]


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({}, 400, "input"),
        ({"input": ""}, 400, "input"),
        ({"input": END}, 400, "input"),
        ({"input": "a b c", "stride": 65}, 400, "stride"),
        ({"input": "a b c", "top": 21}, 400, "top"),
        ({"input": "a b " * 10_000}, 413, "input"),
    ],
)
def test_what_cannot_be_scored_is_refused(server, fields, status, param):
    answer = server.client.post("/v1/score", json=fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
