"""What evaluation harnesses ask of a model: how likely are these endings, how likely is this text, and write until.

    log_likelihoods(engine, [("2 + 2 =", " 4"), ...])      [(log-probability in nats, whether greedy writes it), ...]
    text_likelihood(engine, text)                          of a whole text, read in windows
    write_until(engine, [("Q: ...", {"until": ["\\n"]}), ...])         texts

The rules are those of EleutherAI's lm-evaluation-harness (https://github.com/EleutherAI/lm-evaluation-harness), so figures can be
compared: `lm_generate.lm_eval_adapter` hands them over. A context is read once for all of its endings that follow each other.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from lm_generate.engine import Engine
from lm_generate.errors import ContextLengthError, PromptError, SettingError
from lm_generate.generate import CHUNK
from lm_generate.sampling import log_probabilities
from lm_generate.settings import Options

DEFAULT_MAX_TOKENS = 256
WRITING = ("until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k", "seed")
"""What a task may ask of a text that is written."""


def log_likelihoods(engine: Engine, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
    """For each (context, ending): the sum of log p over the ending's tokens, and whether each is the likeliest.

    The two are encoded as one text, white space at the end of the context going with the ending; the ending's tokens are
    those behind the context's count. An empty context is the model's begin token. What is too long loses its beginning.
    Raises `PromptError` for an ending without tokens, `ContextLengthError` for one longer than the context.
    """
    encoded = [encode_pair(engine, context, ending) for context, ending in pairs]
    result: list[tuple[float, bool]] = []
    for context, group in groupby(encoded, key=lambda pair: pair[0]):
        result += endings_likelihood(engine, context, [ending for _, ending in group])
    return result


def text_likelihood(engine: Engine, text: str) -> float:
    """log p of a whole text behind the begin token, in nats: windows of the context's length, each token predicted once, the
    first token of a window from the last one before it, the last window a full one."""
    ids = [begin(engine), *engine.encode(text)]
    total = 0.0
    for start, first, stop in text_windows(len(ids), engine.config.context):
        total += endings_likelihood(engine, ids[start:first], [ids[first:stop]])[0][0]
    return total


def text_windows(length: int, context: int) -> Iterator[tuple[int, int, int]]:
    """(start, first, stop): ids[first:stop] are predicted from what lies behind `start`; ids[0] is the begin token."""
    first = 1
    while first < length:
        stop = min(length, first + context)
        yield max(0, stop - 1 - context), first, stop
        first = stop


def write_until(engine: Engine, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """A text for each (context, settings): greedy unless `do_sample`, up to `max_gen_toks` (256) or one of `until`.

    Requests with equal settings are written together. A context that leaves no room loses its beginning. Raises
    `SettingError` for a setting that is not in `WRITING`.
    """
    texts = [""] * len(requests)
    waiting = list(range(len(requests)))
    while waiting:
        wanted = requests[waiting[0]][1]
        same = [place for place in waiting if requests[place][1] == wanted]
        waiting = [place for place in waiting if place not in set(same)]
        options = writing_options(wanted, engine.config.context)
        room = engine.config.context - (options["max_tokens"] or 0)
        prompts = [engine.encode(requests[place][0])[-room:] or [begin(engine)] for place in same]
        for place, written in zip(same, engine.batch(prompts, **options), strict=True):
            texts[place] = written.text
    return texts


def writing_options(wanted: Mapping[str, Any], context: int) -> Options:
    """A task's settings as ours."""
    unknown = sorted(set(wanted) - set(WRITING))
    if unknown:
        raise SettingError(
            f"the task sets {unknown[0]!r}, which is not done here; known are {', '.join(WRITING)}"
        )
    until = wanted.get("until") or []
    samples = bool(wanted.get("do_sample", False))
    most = int(wanted.get("max_gen_toks", DEFAULT_MAX_TOKENS))
    return {
        "max_tokens": min(most, max(1, context - 1)),
        "stop": [until] if isinstance(until, str) else list(until),
        "temperature": float(wanted.get("temperature", 1.0)) if samples else 0.0,
        "top_p": float(wanted.get("top_p", 1.0)),
        "top_k": int(wanted.get("top_k", 0)),
        "seed": int(wanted.get("seed", 0)),
    }


def encode_pair(engine: Engine, context: str, ending: str) -> tuple[list[int], list[int]]:
    """The ids of a context and of its ending, at most the context and one more."""
    spaces = len(context) - len(context.rstrip())
    if spaces:
        context, ending = context[:-spaces], context[-spaces:] + ending
    before = engine.encode(context) if context else []
    ids = engine.encode(context + ending)
    behind = ids[len(before) :]
    if not behind:
        raise PromptError(
            f"there is nothing to score behind the context: the ending {ending[:40]!r} has no token"
        )
    before = ids[: len(before)] or [begin(engine)]
    most = engine.config.context
    if len(behind) > most:
        raise ContextLengthError(
            f"an ending of {len(behind)} tokens is longer than the model's context of {most}; take a model that sees more"
        )
    return before[-(most + 1 - len(behind)) :], behind


def endings_likelihood(
    engine: Engine, context: Sequence[int], endings: Sequence[Sequence[int]]
) -> list[tuple[float, bool]]:
    """log p of each ending behind one context, and whether it is greedy's."""
    decode = engine.decode
    cache = decode.new_cache(len(context) + max(map(len, endings)) - 1)
    for first in range(0, len(context), CHUNK):
        (behind_context,) = decode([(cache, context[first : first + CHUNK])])
    result = []
    for ending in endings:
        logits = [behind_context, *(decode.after_each(cache, ending[:-1]) if len(ending) > 1 else ())]
        log_p = [log_probabilities(each)[id] for each, id in zip(logits, ending, strict=True)]
        greedy = all(int(np.argmax(each)) == id for each, id in zip(logits, ending, strict=True))
        result.append((math.fsum(log_p), greedy))
        cache.truncate(len(context))
    return result


def begin(engine: Engine) -> int:
    """The token before a text: the model's begin token, else one that ends a text. Raises `PromptError` for neither."""
    if engine.start_id is not None:
        return engine.start_id
    if not engine.stop_ids:
        raise PromptError(
            "the model has no token that begins or ends a text, so nothing predicts a text's first token"
        )
    return min(engine.stop_ids)
