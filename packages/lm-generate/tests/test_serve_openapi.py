"""The description of the interface: true to what the server reads, and tried by a machine."""

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from lm_generate.errors import LmGenerateError
from lm_generate.serving.limits import Limits
from lm_generate.serving.openapi import description
from lm_generate.serving.request import COMPLETION_FIELDS, SCORE_FIELDS, read_completion, read_score
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tiny_server import serve


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("openapi"), limits={"requests": 8}) as running:
        yield running


def test_the_description_names_every_field_and_its_true_range():
    limits = Limits()
    schemas = description(limits)["components"]["schemas"]
    for name, fields, read, base in (
        ("CompletionRequest", COMPLETION_FIELDS, read_completion, {"prompt": "a", "echo": True}),
        ("ScoreRequest", SCORE_FIELDS, read_score, {"input": "a"}),
    ):
        properties = schemas[name]["properties"]
        assert set(properties) == set(fields)
        for field, schema in properties.items():
            if "minimum" not in schema or field == "best_of":
                continue
            step = 1 if "integer" in schema["type"] else 1e-3 * schema["maximum"]
            for value in (schema["minimum"] - step, schema["maximum"] + step):
                with pytest.raises(LmGenerateError, match=field):
                    read({**base, field: value}, limits)
            more = {"max_tokens": limits.max_tokens} if field == "min_tokens" else {}
            read({**base, **more, field: schema["maximum"]}, limits)


def test_the_description_is_served_and_its_examples_of_answers_are_true(server):
    told = server.client.get("/openapi.json").json()
    assert told == description(server.service.limits)
    assert {*told["paths"]} == {
        "/v1/completions", "/v1/score", "/v1/models", "/v1/models/{name}", "/health", "/openapi.json",
    }  # fmt: skip


def try_all(address, examples):
    """Bodies that the description allows, and bodies that it forbids: each answer must be one that it names."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]
    statuses = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and operation.method == "get":
                continue  # nothing can be wrong with what has no fields

            @settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                      suppress_health_check=list(HealthCheck))  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def one(case):
                answer = case.call(base_url=address, timeout=30)
                case.validate_response(answer, checks=checks)
                statuses[case.operation.label, answer.status_code] += 1

            one()
    return statuses


def test_no_body_that_the_description_allows_or_forbids_makes_a_fault(server):
    statuses = try_all(server.address, 2)
    assert statuses["GET /health", 200]
    assert statuses["POST /v1/completions", 400]


@pytest.mark.slow
def test_hundreds_of_bodies_make_no_fault(server):
    statuses = try_all(server.address, 200)
    assert statuses["POST /v1/completions", 200] > 20
    assert statuses["POST /v1/score", 200] > 20
