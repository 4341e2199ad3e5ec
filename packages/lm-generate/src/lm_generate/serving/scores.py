"""POST /v1/score: each token of a given text with its probability, and what the model expected instead."""

import asyncio
import contextlib
import math
from typing import Any

from lm_generate.score import make_score
from lm_generate.serving import reply
from lm_generate.serving.problems import as_problem, bad_request
from lm_generate.serving.request import SCORE_FIELDS, ScoreRequest, check_length
from lm_generate.serving.service import Service
from lm_generate.serving.shelf import Loaded
from lm_generate.serving.surprise import TokenScore, surprises
from lm_generate.serving.worker import Scored, ScoreJob


async def score(service: Service, model: Loaded, request: ScoreRequest) -> dict[str, Any]:
    """The answer. As `Engine.score`: read as a document's beginning where the model has a token for that."""
    engine, deadline = model.engine, service.deadline()
    try:
        ids = await asyncio.to_thread(engine.encode, request.text)
    except Exception as error:
        problem = as_problem(error, SCORE_FIELDS)
        if problem is None:
            raise
        raise bad_request(str(problem), "input") from error
    check_length(ids, service.limits)
    head = [] if engine.start_id is None else [engine.start_id]
    stride = max(1, engine.config.context // 2) if request.stride is None else request.stride
    if stride > engine.config.context:
        raise bad_request(
            f"stride must be at most the context of {engine.config.context}, got {stride}", "stride"
        )
    if len(head) + len(ids) < 2:
        raise bad_request(f"nothing to score: the input holds {len(ids)} token(s)", "input")
    job = ScoreJob(surprises(engine.model, head + ids, stride, request.top))
    found: list[TokenScore] = []
    last = False
    async with contextlib.aclosing(service.events(job, deadline)) as stream:
        async for events in stream:
            for event in events:
                if isinstance(event, Scored):
                    found += event.tokens
                    last = last or event.last
            if last:
                break
    service.metrics.scored_tokens += len(found)
    tokens: list[dict[str, Any]] = [] if head else [unscored(ids[0], model)]
    tokens += [reply.scored(each, model.names) for each in found]
    scored = ids if head else ids[1:]
    sums = make_score(
        ids, [each.logprob for each in found], max(1, len(engine.tokenizer.decode_bytes(scored)))
    )
    return {
        "object": "score",
        "model": model.name,
        "bits_per_byte": sums.bits_per_byte,
        "perplexity": sums.perplexity,
        "nats": sums.nats,
        "bytes": sums.bytes,
        "vocabulary_bits": math.log2(engine.config.vocab_size),
        "tokens": tokens,
        "usage": dict(reply.usage(len(ids), 0)),
    }


def unscored(id: int, model: Loaded) -> dict[str, Any]:
    """The first token, which nothing predicts."""
    return {
        "id": id, "text": model.names[id], "logprob": None, "rank": None, "entropy_bits": None, "alternatives": []
    }  # fmt: skip
