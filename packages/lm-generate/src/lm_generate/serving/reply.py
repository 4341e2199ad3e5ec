"""The JSON that goes back for a completion, in OpenAI's form; what is ours beside it is `seed`, `explained` and `read`.

A choice's log-probabilities are four lists of one length: `tokens`, `token_logprobs`, `top_logprobs` (each place's
likeliest and the token itself), `text_offset` (characters of the choice's own text).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lm_generate.explain import Explained
from lm_generate.results import Generation
from lm_generate.serving.names import TokenNames
from lm_generate.serving.surprise import TokenScore
from lm_generate.serving.writing import Part

Json = dict[str, Any]


@dataclass(frozen=True)
class Head:
    """What every part of one answer repeats."""

    id: str
    created: int
    model: str
    seed: int

    def body(self, choices: Sequence[Json]) -> Json:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "seed": self.seed,
            "choices": list(choices),
        }


def choice(index: int, text: str, logprobs: Json | None, result: Generation | None) -> Json:
    reason = None if result is None else "stop" if result.finish_reason in ("stop", "match") else "length"
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


def logprobs_of(part: Part, names: TokenNames, before: int, stop_ids: frozenset[int]) -> Json:
    """Of a part's tokens; `before`: characters of the prompt, where it is echoed. An id that ends the text is no token."""
    placed = [token for token in part.tokens if token.token.id not in stop_ids]
    known = [(token.token.id, token.token.logprob, before + token.offset) for token in placed]
    return {
        "tokens": [names[id] for id, _, _ in known],
        "token_logprobs": [finite(logprob.logprob) for _, logprob, _ in known if logprob],
        "top_logprobs": [top(logprob.top, id, logprob.logprob, names) for id, logprob, _ in known if logprob],
        "text_offset": [offset for _, _, offset in known],
    }


def prompt_logprobs(
    ids: Sequence[int], offsets: Sequence[int], scores: Sequence[TokenScore], names: TokenNames
) -> Json:
    """Of an echoed prompt; nothing predicts its first token."""
    nothing = [None] if ids else []
    return {
        "tokens": [names[id] for id in ids],
        "token_logprobs": [*nothing, *(finite(score.logprob) for score in scores)],
        "top_logprobs": [*nothing, *(top(score.top, score.id, score.logprob, names) for score in scores)],
        "text_offset": list(offsets),
    }


def joined(first: Json | None, second: Json | None) -> Json | None:
    """Two lists of log-probabilities, one behind the other."""
    if first is None or second is None:
        return first or second
    return {name: [*first[name], *second[name]] for name in first}


def top(likeliest: Sequence[tuple[int, float]], id: int, logprob: float, names: TokenNames) -> Json:
    """The likeliest by name, and the token itself where it is not among them."""
    result: Json = {}
    for other, value in (*likeliest, (id, logprob)):
        result.setdefault(names[other], finite(value))
    return result


def finite(logprob: float) -> float:
    """JSON has no infinity; -9999 is what OpenAI's API says for a token that cannot come."""
    return max(logprob, -9999.0)


def explained(account: Explained, names: TokenNames) -> Json:
    """See `lm_generate.explain`."""

    def alternative(one: Any) -> Json:
        return {
            "id": one.id,
            "text": names[one.id],
            "before": one.before,
            "after": one.after,
            "removed_by": one.removed_by,
        }

    return {
        **alternative(account.chosen),
        "rank": account.rank,
        "entropy_bits": account.entropy_bits,
        "alternatives": [alternative(one) for one in account.alternatives],
    }


def usage(prompt_tokens: int, completion_tokens: int) -> Mapping[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def scored(score: TokenScore, names: TokenNames) -> Json:
    return {
        "id": score.id,
        "text": names[score.id],
        "logprob": finite(score.logprob),
        "rank": score.rank,
        "entropy_bits": score.entropy_bits,
        "alternatives": [{"id": id, "text": names[id], "logprob": finite(value)} for id, value in score.top],
    }


def as_event(body: Json) -> bytes:
    """One event."""
    return b"data: " + dumps(body) + b"\n\n"


def dumps(body: Json) -> bytes:
    """JSON in ASCII, so that no text whatever can make it invalid."""
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode("ascii")
