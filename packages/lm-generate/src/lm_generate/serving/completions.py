"""POST /v1/completions: from a checked request to parts of an answer, sent as one JSON object or as events."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lm_generate.explain import Explained, Seen, explain
from lm_generate.request_log import make_record
from lm_generate.results import Generation
from lm_generate.serving import reply
from lm_generate.serving.problems import Problem, as_problem, bad_request
from lm_generate.serving.request import (
    DEFAULT_MAX_TOKENS,
    CompletionRequest,
    Prompt,
)
from lm_generate.serving.service import Service
from lm_generate.serving.shelf import Loaded
from lm_generate.serving.surprise import TokenScore, surprises
from lm_generate.serving.worker import Ended, Piece, Scored, ScoreJob, WriteJob
from lm_generate.serving.writing import Part, RowText
from lm_generate.stream import Text

Json = dict[str, Any]


@dataclass(frozen=True)
class Echo:
    """A prompt as it is given back."""

    text: str
    logprobs: Json | None


class Completion:
    """One request on one model. `prepare` checks the rest and raises `Problem`; then `whole` or `events`, once."""

    def __init__(self, service: Service, model: Loaded, request: CompletionRequest) -> None:
        self.service, self.model, self.request = service, model, request
        self.head = reply.Head(
            f"cmpl-{uuid.uuid4().hex}", int(time.time()), model.name, request.settings.seed
        )
        self.deadline = service.deadline()
        self.results: dict[int, Generation] = {}

    async def prepare(self) -> None:
        """Encodes the prompts, in a thread: a megabyte takes its time."""
        if self.request.settings.heal and self.request.echo and self.request.logprobs is not None:
            raise bad_request(
                "heal writes the end of the prompt anew, so echo has no log-probabilities of it", "heal"
            )
        await asyncio.to_thread(self._prepare)

    def _prepare(self) -> None:
        engine, request = self.model.engine, self.request
        self.prompt_ids = [engine.encode(prompt) for prompt in request.prompts]
        self.seen: list[list[Seen]] = []
        self.texts: list[Text] = []
        for number, prompt in enumerate(request.prompts):
            settings = request.settings
            if settings.max_tokens is None:
                room = engine.config.context - max(1, len(self.prompt_ids[number]))
                settings = replace(settings, max_tokens=max(1, min(DEFAULT_MAX_TOKENS, room)))
            if request.scores_prompt_only:
                if len(self.prompt_ids[number]) > engine.config.context:
                    raise Problem(
                        400,
                        f"the prompt has {len(self.prompt_ids[number])} tokens, the context is {engine.config.context}",
                        param="prompt",
                        code="context_length_exceeded",
                    )
                continue
            for copy in range(request.n):
                seen: list[Seen] = []
                watch = seen.append if request.explain is not None else None
                self.seen.append(seen)
                self.texts.append(engine.text(prompt, settings, number * request.n + copy, watch))

    def _account(self, seen: Seen) -> Explained:
        assert self.request.explain is not None
        return explain(seen, self.request.settings.sampling, self.model.names.texts, self.request.explain)

    async def echoes(self) -> list[Echo]:
        """The prompts as they are given back, with their log-probabilities where those were asked for."""
        result = []
        for prompt, ids in zip(self.request.prompts, self.prompt_ids, strict=True):
            logprobs = None
            if self.request.logprobs is not None:
                scores = await self._scores(ids, self.request.logprobs)
                offsets = offsets_of(self.model, ids)
                logprobs = reply.prompt_logprobs(ids, offsets, scores, self.model.names)
            result.append(Echo(self._text(prompt), logprobs))
        return result

    def _text(self, prompt: Prompt) -> str:
        return prompt if isinstance(prompt, str) else self.model.engine.tokenizer.decode(prompt)

    async def _scores(self, ids: Sequence[int], top: int) -> list[TokenScore]:
        if len(ids) < 2:
            return []
        engine = self.model.engine
        job = ScoreJob(surprises(engine.model, ids, engine.config.context, top))
        found: list[TokenScore] = []
        async with contextlib.aclosing(self.service.events(job, self.deadline)) as stream:
            async for events in stream:
                for event in events:
                    if not isinstance(event, Scored):
                        continue
                    found += event.tokens
                    if event.last:
                        return found
        return found

    async def parts(self) -> AsyncGenerator[list[tuple[int, Part]], None]:
        """What is written, as it comes: each row's number with what is added to it."""
        if not self.texts:
            return
        job = WriteJob(
            self.model.engine,
            self.texts,
            self.seen,
            self._account if self.request.explain is not None else None,
        )
        places = self.request.logprobs is not None or self.request.explain is not None
        rows = [RowText(self.model.engine, text, places=places) for text in self.texts]
        async with contextlib.aclosing(self.service.events(job, self.deadline)) as stream:
            async for events in stream:
                parts = []
                for event in events:
                    if not isinstance(event, (Piece, Ended)):
                        continue
                    part = rows[event.row].add(event)
                    if part.result is not None:
                        self._count(event.row, part.result)
                    if part.text or part.tokens or part.result:
                        parts.append((event.row, part))
                if parts:
                    yield parts
                if len(self.results) == len(self.texts):
                    return

    def _count(self, row: int, result: Generation) -> None:
        self.results[row] = result
        metrics = self.service.metrics
        metrics.written_tokens += len(result.ids)
        metrics.first_token.add(result.timings.first_token)
        metrics.total.add(result.timings.total)

    def choice(self, row: int, part: Part, echo: Echo | None) -> Json:
        """A part as a choice of the answer."""
        logprobs, before = None, "" if echo is None else echo.text
        if self.request.logprobs is not None:
            stop_ids = self.texts[row].row.rules.stop_ids
            start = len(self._text(self.request.prompts[row // self.request.n])) if self.request.echo else 0
            logprobs = reply.logprobs_of(part, self.model.names, start, stop_ids)
            logprobs = reply.joined(echo.logprobs if echo else None, logprobs)
        choice = reply.choice(row, before + part.text, logprobs, part.result)
        if self.request.explain is not None:
            choice["explained"] = [
                reply.explained(token.account, self.model.names)
                for token in part.tokens
                if token.account is not None
            ]
        return choice

    def usage(self) -> Json:
        prompt = sum(len(ids) for ids in self.prompt_ids)
        self.service.metrics.prompt_tokens += prompt
        return dict(reply.usage(prompt, sum(len(result.ids) for result in self.results.values())))

    async def whole(self) -> Json:
        """The answer as one object."""
        echoes = await self.echoes() if self.request.echo else []
        collected: dict[int, list[Part]] = {row: [] for row in range(len(self.texts))}
        async with contextlib.aclosing(self.parts()) as stream:
            async for parts in stream:
                for row, part in parts:
                    collected[row].append(part)
        choices = []
        for row, added in collected.items():
            text = "".join(part.text for part in added)
            tokens = [token for part in added for token in part.tokens]
            echo = echoes[row // self.request.n] if echoes else None
            choices.append(self.choice(row, Part(text, tokens, self.results[row]), echo) | self.read(row))
        if not self.texts:  # nothing was to be written
            for row in range(len(echoes) * self.request.n):
                echo = echoes[row // self.request.n]
                choices.append(
                    reply.choice(row, echo.text, echo.logprobs, None) | {"finish_reason": "length"}
                )
        return self.head.body(choices) | {"usage": self.usage()}

    def read(self, row: int) -> Json:
        """Beside an account: the prompt that was read, without what healing wrote anew; ids to go on from."""
        if self.request.explain is None:
            return {}
        ids = self.texts[row].row.prompt
        prompt = self._text(self.request.prompts[row // self.request.n])
        return {"read": {"text": prompt[: len(prompt) - self.texts[row].plan.skip], "ids": list(ids)}}

    async def events(self) -> AsyncGenerator[bytes, None]:
        """The answer as server-sent events, `[DONE]` at the end. An error on the way is an event too."""
        usage: Json = {"usage": None} if self.request.include_usage else {}
        try:
            first: dict[int, Echo] = {}
            if self.request.echo:
                echoes = await self.echoes()
                first = {row: echoes[row // self.request.n] for row in range(len(echoes) * self.request.n)}
            if self.request.explain is not None:
                for row in range(len(self.texts)):
                    yield reply.as_event(
                        self.head.body([reply.choice(row, "", None, None) | self.read(row)]) | usage
                    )
            if not self.texts:
                for row, echo in first.items():
                    only = reply.choice(row, echo.text, echo.logprobs, None) | {"finish_reason": "length"}
                    yield reply.as_event(self.head.body([only]) | usage)
            async with contextlib.aclosing(self.parts()) as stream:
                async for parts in stream:
                    yield b"".join(
                        reply.as_event(self.head.body([self.choice(row, part, first.pop(row, None))]) | usage)
                        for row, part in parts
                    )
            last = {"usage": self.usage()}
            if self.request.include_usage:
                yield reply.as_event(self.head.body([]) | last)
            yield b"data: [DONE]\n\n"
        except Exception as error:
            problem = as_problem(error)
            if problem is None:
                problem = Problem(500, "the server failed; its log has the reason")
                yield reply.as_event(problem.body())
                raise
            yield reply.as_event(problem.body())

    def record(self) -> Json:
        """What a log keeps of it, cut where it is long."""
        return make_record(
            id=self.head.id,
            model=self.model.name,
            settings=self.request.settings,
            prompt=self._text(self.request.prompts[0]),
            prompt_tokens=sum(len(ids) for ids in self.prompt_ids),
            results=[self.results[row] for row in sorted(self.results)],
        )


def offsets_of(model: Loaded, ids: Sequence[int]) -> list[int]:
    """The character at which each token of a text begins."""
    decoder = model.engine.tokenizer.stream()
    offsets, decoded = [], 0
    for id in ids:
        offsets.append(decoded)
        decoded += len(decoder.push(id))
    return offsets
