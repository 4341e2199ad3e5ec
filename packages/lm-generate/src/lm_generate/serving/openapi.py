"""The interface described in OpenAPI 3.1: GET /openapi.json. The fields' ranges are those of `request.py` (a test compares)."""

from typing import Any

from lm_generate import __version__
from lm_generate.serving.limits import Limits

Json = dict[str, Any]


def description(limits: Limits) -> Json:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lm-generate serve",
            "version": __version__,
            "description": "OpenAI's completions API for models on this machine, and scores of given texts.",
        },
        "paths": {
            "/v1/completions": post("Write on from prompts", "CompletionRequest", "Completion", stream=True),
            "/v1/score": post("How surprised a model is, token by token", "ScoreRequest", "Score"),
            "/v1/models": get("The models that can be asked for", reference("ModelList")),
            "/v1/models/{name}": {
                **get("One model", reference("Model"), "404"),
                "parameters": [
                    {
                        "name": "name",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "minLength": 1},
                    }
                ],
            },
            "/health": get("Whether it works", {"type": "object", "required": ["status"]}, "503"),
            "/openapi.json": get("This description", {"type": "object"}),
        },
        "components": {"schemas": schemas(limits)},
    }


def reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def holds(schema: Json, told: str, kind: str = "application/json") -> Json:
    return {"description": told, "content": {kind: {"schema": schema}}}


def errors(*statuses: str) -> Json:
    told = {
        "400": "A field that cannot be",
        "401": "No token, or a wrong one",
        "403": "Another host's name",
        "404": "No such model",
        "408": "The body came too slowly",
        "413": "Too large",
        "415": "Not sent as JSON",
        "429": "Too many requests: come again",
        "500": "A fault of the server",
        "503": "Not now",
        "504": "It took too long",
    }
    return {status: holds(reference("Error"), told[status]) for status in statuses}


def get(told: str, schema: Json, *more: str) -> Json:
    return {
        "get": {"summary": told, "responses": {"200": holds(schema, told), **errors("401", "403", *more)}}
    }


def post(told: str, body: str, answer: str, *, stream: bool = False) -> Json:
    success = holds(reference(answer), told)
    if stream:
        success["content"]["text/event-stream"] = {"schema": {"type": "string"}}
    statuses = ("400", "401", "403", "404", "408", "413", "415", "429", "500", "503", "504")
    return {
        "post": {
            "summary": told,
            "requestBody": {"required": True, "content": {"application/json": {"schema": reference(body)}}},
            "responses": {"200": success, **errors(*statuses)},
        }
    }


def number(low: float, high: float, told: str) -> Json:
    return {"type": ["number", "null"], "minimum": low, "maximum": high, "description": told}


def whole(low: int, high: int, told: str) -> Json:
    return {"type": ["integer", "null"], "minimum": low, "maximum": high, "description": told}


def flag(told: str) -> Json:
    return {"type": ["boolean", "null"], "description": told}


def object_of(required: list[str], **properties: Json) -> Json:
    return {"type": "object", "required": required, "properties": properties}


def schemas(limits: Limits) -> Json:
    ids: Json = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
        "minItems": 1,
    }
    prompt: Json = {"anyOf": [{"type": "string"}, ids]}
    model: Json = {
        "type": ["string", "null"],
        "description": "One of /v1/models; without it the first of them",
    }
    prompts: Json = {"anyOf": [*prompt["anyOf"], {"type": "array", "items": prompt, "minItems": 1}]}
    stop: Json = {"type": "string", "minLength": 1, "maxLength": limits.stop_characters}
    completion = object_of(
        ["prompt"],
        model=model,
        prompt=prompts,
        max_tokens=whole(0, limits.max_tokens, "16, or what the context still holds; 0 only beside echo"),
        temperature=number(0, 1e9, "1; 0 takes the likeliest token"),
        top_p=number(0, 1, "1: all; above 0"),
        n=whole(1, limits.texts, "Texts for each prompt; 1"),
        stream=flag("Send server-sent events"),
        stream_options={
            "type": ["object", "null"],
            "properties": {"include_usage": flag("Token counts in a last event")},
            "additionalProperties": False,
        },
        logprobs=whole(0, limits.top, "So many of the likeliest tokens at each place"),
        echo=flag("Give the prompt back, with log-probabilities where those are asked for"),
        stop={"anyOf": [stop, {"type": "array", "items": stop, "maxItems": limits.stops}, {"type": "null"}]},
        presence_penalty=number(-100, 100, "0"),
        frequency_penalty=number(-100, 100, "0"),
        logit_bias={
            "type": ["object", "null"],
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
            "propertyNames": {"pattern": "^[0-9]{1,10}$"},
            "maxProperties": limits.biases,
        },
        seed=whole(0, 2**64 - 1, "Same seed, same text; drawn where there is none"),
        user={"type": ["string", "null"], "description": "Changes nothing"},
        best_of=whole(1, limits.texts, "Only what n is"),
        suffix={"type": ["string", "null"], "maxLength": 0},
        response_format={
            "type": ["object", "null"],
            "description": "The text is JSON of a schema: OpenAI's form for chats",
            "properties": {
                "type": {"enum": ["text", "json_object", "json_schema"]},
                "json_schema": {
                    "type": ["object", "null"],
                    "properties": {
                        "schema": {"type": ["object", "boolean"]},
                        "name": {},
                        "description": {},
                        "strict": {},
                    },
                    "required": ["schema"],
                    "additionalProperties": False,
                },
            },
            "required": ["type"],
            "additionalProperties": False,
        },
        regex={
            "type": ["string", "null"],
            "maxLength": limits.constraint_characters,
            "description": "Ours. What the whole text must match",
        },
        top_k=whole(0, 2**31, "Ours. 0: all"),
        min_p=number(0, 1, "Ours. 0: all"),
        typical_p=number(0, 1, "Ours. 1: all; above 0"),
        repetition_penalty=number(0, 100, "Ours. 1: off; above 0"),
        penalty_window=whole(0, 2**31, "Ours. So many newest tokens; 0: all"),
        min_tokens=whole(0, limits.max_tokens, "Ours. No end of text before"),
        ignore_eos=flag("Ours. Write on past the end of a text"),
        heal=flag("Ours. Write an unfinished last token anew"),
        roll=flag("Ours. When the context is full, go on with its newer half"),
        explain=whole(0, limits.top, "Ours. Account for each token, with so many alternatives"),
    )
    scores = object_of(
        ["input"],
        model=model,
        input=prompt,
        top=whole(0, limits.top, "So many of the likeliest at each place; 0"),
        stride=whole(1, 2**31, "Tokens that the window moves on by; half the context"),
    )
    for request in (completion, scores):
        request["additionalProperties"] = False
    text, count, anything = {"type": "string"}, {"type": "integer"}, {"type": "object"}
    choice = object_of(
        ["index", "text", "logprobs", "finish_reason"],
        index=count,
        text=text,
        logprobs={"type": ["object", "null"]},
        finish_reason={"enum": ["stop", "length", None]},
    )
    usage = object_of(
        ["prompt_tokens", "completion_tokens", "total_tokens"],
        prompt_tokens=count,
        completion_tokens=count,
        total_tokens=count,
    )
    one_model = object_of(
        ["id", "object", "created", "owned_by"], id=text, object={"const": "model"}, created=count
    )
    error = object_of(
        ["message", "type", "param", "code"],
        message=text,
        type=text,
        param={"type": ["string", "null"]},
        code={"type": ["string", "null"]},
    )
    return {
        "CompletionRequest": completion,
        "ScoreRequest": scores,
        "Completion": object_of(
            ["id", "object", "created", "model", "choices", "usage"],
            id=text,
            object={"const": "text_completion"},
            created=count,
            model=text,
            choices={"type": "array", "items": choice},
            usage=usage,
        ),
        "Score": object_of(
            ["object", "model", "tokens", "bits_per_byte", "perplexity"],
            object={"const": "score"},
            model=text,
            tokens={"type": "array", "items": anything},
            bits_per_byte={"type": "number"},
            perplexity={"type": "number"},
        ),
        "Model": one_model,
        "ModelList": object_of(
            ["object", "data"],
            object={"const": "list"},
            data={"type": "array", "items": reference("Model")},
        ),
        "Error": object_of(["error"], error=error),
    }
