"""What a client asks for, as checked values: the body of POST /v1/completions and of POST /v1/score.

The fields, their defaults and their meaning are those of OpenAI's completions API; those in `EXTENSIONS` are ours.
What we do not do is refused by name, never silently ignored.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lm_generate.serving.fields import Fields, kind
from lm_generate.serving.limits import Limits
from lm_generate.serving.problems import Problem, bad_request
from lm_generate.settings import Settings, make_settings

Prompt = str | tuple[int, ...]
OPENAI = (
    "model", "prompt", "max_tokens", "temperature", "top_p", "n", "stream", "stream_options", "logprobs", "echo",
    "stop", "presence_penalty", "frequency_penalty", "logit_bias", "seed", "user", "best_of", "suffix", "response_format",
)  # fmt: skip
EXTENSIONS = (
    "top_k", "min_p", "typical_p", "repetition_penalty", "penalty_window", "min_tokens", "ignore_eos", "heal", "roll",
    "explain", "regex",
)  # fmt: skip
COMPLETION_FIELDS = OPENAI + EXTENSIONS
SCORE_FIELDS = ("model", "input", "top", "stride")
DEFAULT_MAX_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """`settings.max_tokens` is None where none was given: 16, or what the context still holds."""

    model: str | None
    prompts: tuple[Prompt, ...]
    n: int
    settings: Settings
    stream: bool
    include_usage: bool
    echo: bool
    explain: int | None
    """How many alternatives to account for at each token."""
    scores_prompt_only: bool
    """max_tokens 0 with echo: nothing is written."""

    @property
    def logprobs(self) -> int | None:
        return self.settings.logprobs


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    model: str | None
    text: Prompt
    top: int
    stride: int | None


def read_completion(body: dict[str, Any], limits: Limits) -> CompletionRequest:
    """Raises `Problem` 400 naming the field, `SettingError` for what `make_settings` refuses."""
    fields = Fields(body, COMPLETION_FIELDS)
    refuse_what_is_not_done(fields)
    prompts = read_prompts(fields.value("prompt"), limits)
    n = fields.whole("n", 1, 1, limits.texts)
    if n * len(prompts) > limits.texts:
        raise bad_request(
            f"n times the number of prompts must be at most {limits.texts}, got {n * len(prompts)}", "n"
        )
    stream, echo = fields.flag("stream", False), fields.flag("echo", False)
    options = fields.value("stream_options")
    if options is not None and not (isinstance(options, dict) and stream):
        raise fields.wrong("stream_options", 'an object, beside "stream": true')
    include_usage = Fields(options or {}, ("include_usage",), "stream_options.").flag("include_usage", False)
    max_tokens = fields.whole_or_none("max_tokens", 0, limits.max_tokens)
    if max_tokens == 0 and not echo:
        raise bad_request('max_tokens must be at least 1, or 0 beside "echo": true', "max_tokens")
    settings = make_settings(
        max_tokens=max_tokens or None,
        min_tokens=fields.whole("min_tokens", 0, 0, limits.max_tokens),
        temperature=fields.number("temperature", 1.0, 0, 1e9),
        top_k=fields.whole("top_k", 0, 0, 2**31),
        top_p=fields.number("top_p", 1.0, 0, 1),
        min_p=fields.number("min_p", 0.0, 0, 1),
        typical_p=fields.number("typical_p", 1.0, 0, 1),
        repetition_penalty=fields.number("repetition_penalty", 1.0, 0, 100),
        presence_penalty=fields.number("presence_penalty", 0.0, -100, 100),
        frequency_penalty=fields.number("frequency_penalty", 0.0, -100, 100),
        penalty_window=fields.whole("penalty_window", 0, 0, 2**31),
        logit_bias=read_bias(fields, limits),
        seed=fields.whole_or_none("seed", 0, 2**64 - 1),
        stop=read_stop(fields, limits),
        stop_ids=() if fields.flag("ignore_eos", False) else None,
        heal=fields.flag("heal", False),
        regex=read_regex(fields, limits),
        json_schema=read_format(fields, limits),
        past_context="roll" if fields.flag("roll", False) else "error",
        logprobs=fields.whole_or_none("logprobs", 0, limits.top),
    )
    return CompletionRequest(
        model=fields.text("model"),
        prompts=prompts,
        n=n,
        settings=settings,
        stream=stream,
        include_usage=include_usage,
        echo=echo,
        explain=fields.whole_or_none("explain", 0, limits.top),
        scores_prompt_only=max_tokens == 0,
    )


def refuse_what_is_not_done(fields: Fields) -> None:
    """`user` changes nothing by its definition; `best_of` and `suffix` would."""
    fields.text("user")
    best_of = fields.value("best_of")
    if best_of is not None and best_of != (fields.value("n") or 1):
        raise bad_request(
            "best_of other than n is not done here: ask for n texts with logprobs and choose", "best_of"
        )
    if fields.text("suffix"):
        raise bad_request("suffix is not done here: these models only write on from a prompt", "suffix")


def read_prompts(value: Any, limits: Limits) -> tuple[Prompt, ...]:
    """A string, ids, or a list of either."""
    if value is None:
        raise bad_request(
            "prompt is missing: give a string, a list of token ids, or a list of those", "prompt"
        )
    if isinstance(value, list) and value and not all(is_id(item) for item in value):
        if len(value) > limits.texts:
            raise bad_request(f"at most {limits.texts} prompts, got {len(value)}", "prompt")
        return tuple(read_prompt(item, "prompt") for item in value)
    return (read_prompt(value, "prompt"),)


def read_prompt(value: Any, name: str) -> Prompt:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(is_id(item) for item in value):
        return tuple(value)
    raise bad_request(f"{name} must be a string or a list of token ids, got {kind(value)}", name)


def is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def read_bias(fields: Fields, limits: Limits) -> dict[int, float]:
    given = fields.value("logit_bias")
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > limits.biases:
        raise fields.wrong("logit_bias", f"an object of at most {limits.biases} entries, id to number")
    bias = Fields(given, tuple(given), "logit_bias.")
    for id in given:
        if not (id.isascii() and id.isdigit() and len(id) < 11):
            raise bad_request(f"logit_bias: {kind(id)} is no token id", "logit_bias")
    return {int(id): bias.number(id, 0.0, -100, 100) for id in given}


def read_stop(fields: Fields, limits: Limits) -> Sequence[str]:
    value = fields.value("stop")
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(
        isinstance(stop, str) and 0 < len(stop) <= limits.stop_characters for stop in stops
    ):
        raise fields.wrong(
            "stop", f"a string of 1 to {limits.stop_characters} characters, or a list of such strings"
        )
    if len(stops) > limits.stops:
        raise bad_request(f"stop: at most {limits.stops} strings, got {len(stops)}", "stop")
    return stops


def read_regex(fields: Fields, limits: Limits) -> str | None:
    regex = fields.text("regex")
    if regex is not None and len(regex) > limits.constraint_characters:
        raise fields.wrong("regex", f"at most {limits.constraint_characters} characters")
    return regex


def read_format(fields: Fields, limits: Limits) -> dict[str, Any] | bool | None:
    """The JSON schema that `response_format` asks for, in OpenAI's form for chats; None for plain text."""
    given = fields.value("response_format")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise fields.wrong("response_format", "an object")
    format = Fields(given, ("type", "json_schema"), "response_format.")
    type = format.text("type")
    if type not in ("text", "json_object", "json_schema"):
        raise format.wrong("type", '"text", "json_object" or "json_schema"')
    if type != "json_schema":
        return {"type": "object"} if type == "json_object" else None
    wrapped = format.value("json_schema")
    if not isinstance(wrapped, dict):
        raise format.wrong("json_schema", "an object with the field schema")
    fields = Fields(wrapped, ("schema", "name", "description", "strict"), "response_format.json_schema.")
    schema = fields.value("schema")
    if not isinstance(schema, dict | bool) or len(json.dumps(schema)) > limits.constraint_characters:
        raise fields.wrong("schema", f"a JSON schema of at most {limits.constraint_characters} characters")
    return schema


def read_score(body: dict[str, Any], limits: Limits) -> ScoreRequest:
    """Raises `Problem` 400 naming the field."""
    fields = Fields(body, SCORE_FIELDS)
    if fields.value("input") is None:
        raise bad_request("input is missing: give the text to score, or its token ids", "input")
    return ScoreRequest(
        model=fields.text("model"),
        text=read_prompt(fields.value("input"), "input"),
        top=fields.whole("top", 0, 0, limits.top),
        stride=fields.whole_or_none("stride", 1, 2**31),
    )


def check_length(ids: Sequence[int], limits: Limits) -> None:
    if len(ids) > limits.score_tokens:
        raise Problem(
            413,
            f"input has {len(ids)} tokens, at most {limits.score_tokens} are scored at once",
            param="input",
        )
