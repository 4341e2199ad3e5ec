"""`Engine`: a model and its tokenizer, ready to write and to score. Text in, text out.

engine = load("runs/x")
engine.generate("def ", max_tokens=50).text
for piece in engine.stream("def "): ...
engine.batch(["def ", "class "], seed=1)         # row i: the same text as generate(prompt, seed=1, row=i)
engine.score("text").bits_per_byte
"""

import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from lm_core import KVCache, Transformer
from lm_tokenizer import Tokenizer

from lm_generate.errors import ContextLengthError, PromptError, SettingError
from lm_generate.generate import Rules, Written, read, rolled_length, write
from lm_generate.heal import Healer
from lm_generate.results import Generation, Score
from lm_generate.sampling import FloatArray
from lm_generate.score import make_score, token_logprobs
from lm_generate.settings import DEFAULT_MAX_TOKENS, PastContext, Settings, check_whole, make_settings
from lm_generate.stream import Plan, TextStream, pieces

Prompt = str | Sequence[int]


class Engine:
    """Generates and scores. Make one with `lm_generate.load`; see docs/engine.md for every setting.

    `stop_ids` end a text (the model's end-of-text ids); `start_id` begins one where nothing else does: an empty
    prompt, the first token of a scored text. `folder` is where it came from. An engine holds no state between calls.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        *,
        stop_ids: Collection[int] = (),
        start_id: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = model.config
        self.stop_ids = frozenset(stop_ids)
        self.start_id = start_id
        self.folder = folder
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        known = np.fromiter(tokenizer.vocab.keys(), dtype=np.int64)
        # Rows that only pad the embedding, and holes in the vocabulary: ids without bytes are never drawn.
        self._banned = np.setdiff1d(np.arange(self.config.vocab_size), known)
        self._healer: Healer | None = None

    def generate(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
        row: int = 0,
        stop: str | Sequence[str] = (),
        stop_ids: Collection[int] | None = None,
        heal: bool = False,
        past_context: PastContext = "error",
        logprobs: int | None = None,
    ) -> Generation:
        """The continuation of one prompt, a text or ids.

        max_tokens    None: 200, or as many as the context still holds
        temperature, top_k, top_p   see `lm_generate.sampling`; temperature 0 is greedy
        seed, row     the text is a function of both; seed None draws one and tells it in the result
        stop          a string, or several, that end the text and are not part of it
        stop_ids      ids that end it, instead of the model's own end-of-text ids; () ignores those
        heal          write an unfinished last token of a text prompt anew (`lm_generate.heal`)
        past_context  "error", or "roll": when the context is full, its newer half is read afresh
        logprobs      None, or how many most likely tokens to report beside each written one

        Raises SettingError, PromptError, ContextLengthError, NonFiniteLogitsError, and the tokenizer's errors.
        """
        return self.stream(
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            row=row,
            stop=stop,
            stop_ids=stop_ids,
            heal=heal,
            past_context=past_context,
            logprobs=logprobs,
        ).finish()

    def batch(
        self,
        prompts: Sequence[Prompt],
        *,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        stop_ids: Collection[int] | None = None,
        heal: bool = False,
        past_context: PastContext = "error",
        logprobs: int | None = None,
    ) -> list[Generation]:
        """One continuation for each prompt, of any lengths; row i is exactly `generate(prompts[i], seed=seed, row=i)`.

        Every prompt is checked before the first is read. Rows are decoded one after another; a prompt equal to the
        one before it is not read again. So `batch([prompt] * 4)` is four independent samples for one prefill.
        """
        if isinstance(prompts, str):
            raise PromptError("batch takes a list of prompts, got one string; use generate, or a list")
        settings = make_settings(
            max_tokens, temperature, top_k, top_p, seed, stop, stop_ids, heal, past_context, logprobs
        )
        shared = _Shared()
        streams = [self._start(prompt, settings, row, shared) for row, prompt in enumerate(prompts)]
        return [stream.finish() for stream in streams]

    def stream(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
        row: int = 0,
        stop: str | Sequence[str] = (),
        stop_ids: Collection[int] | None = None,
        heal: bool = False,
        past_context: PastContext = "error",
        logprobs: int | None = None,
    ) -> TextStream:
        """As `generate`, but an iterator over pieces of the text as it is written; `.result` at the end.

        Settings and prompt are checked here, not at the first piece.
        """
        settings = make_settings(
            max_tokens, temperature, top_k, top_p, seed, stop, stop_ids, heal, past_context, logprobs
        )
        return self._start(prompt, settings, row, _Shared())

    def score(self, text: Prompt, *, stride: int | None = None) -> Score:
        """How well the model predicts a text, a string or ids: log-probabilities, bits per byte, perplexity.

        Where the model has a `start_id`, the text is read as a document's beginning and every token is scored;
        otherwise the first token, which nothing predicts, is left out together with its bytes. Longer texts are read
        in overlapping windows: `stride` tokens further each time (None: half the context), see `lm_generate.score`.
        """
        stride = max(1, self.config.context // 2) if stride is None else stride
        if isinstance(stride, bool) or not 1 <= stride <= self.config.context:
            raise SettingError(f"stride must be from 1 to the context of {self.config.context}, got {stride}")
        ids = self.encode(text)
        head = [] if self.start_id is None else [self.start_id]
        scored = ids if head else ids[1:]
        if not scored:
            raise PromptError(
                f"nothing to score: the text holds {len(ids)} token(s) and the first has none before it"
            )
        logprobs = token_logprobs(self.model, head + ids, stride)
        return make_score(ids, logprobs, len(self.tokenizer.decode_bytes(scored)))

    def encode(self, prompt: Prompt) -> list[int]:
        """A prompt as ids; given ids are checked against the model's vocabulary. Raises `PromptError`."""
        if isinstance(prompt, str):
            return list(self.tokenizer.encode(prompt))
        ids = [int(id) for id in prompt]
        for id in ids:
            if not 0 <= id < self.config.vocab_size:
                raise PromptError(
                    f"id {id} is outside the model's vocabulary (0..{self.config.vocab_size - 1})"
                )
        return ids

    def _start(self, prompt: Prompt, settings: Settings, row: int, shared: "_Shared") -> TextStream:
        """Checks the prompt against the settings; nothing is computed before the first piece is asked for."""
        called = time.perf_counter()
        check_whole("row", row, low=0)
        ids, rest, skip = self._read_prompt(prompt, settings.heal)
        count, cut = self._room(len(ids), settings.max_tokens, settings.past_context)
        rules = Rules(
            sampling=settings.sampling,
            seed=settings.seed,
            row=row,
            max_tokens=count,
            stop_ids=self.stop_ids if settings.stop_ids is None else settings.stop_ids,
            banned=self._banned,
            roll=settings.past_context == "roll",
            logprobs=settings.logprobs,
        )
        plan = Plan(
            seen=ids,
            skip=skip,
            stop_strings=settings.stop,
            stop_ids=rules.stop_ids,
            with_logprobs=settings.logprobs is not None,
            ran_out="context" if cut else "length",
            seed=settings.seed,
            row=row,
            called=called,
        )
        seconds: list[float] = []
        return TextStream(
            pieces(self.tokenizer, self._write(ids, rest, rules, shared, seconds), plan, seconds)
        )

    def _write(
        self, ids: list[int], rest: bytes, rules: Rules, shared: "_Shared", seconds: list[float]
    ) -> Iterator[Written]:
        """Reads the prompt, or takes over what the row before read, and writes."""
        context = self.config.context
        started = time.perf_counter()
        if shared.ids == ids and not rules.roll:
            shared.cache.truncate(len(ids))
        else:
            seen = ids if len(ids) < context else ids[-rolled_length(context) :]
            capacity = context if rules.roll else min(context, len(ids) + rules.max_tokens)
            shared.cache = KVCache(self.config, 1, capacity, device=self.device, dtype=self.dtype)
            shared.logits = read(self.model, seen, shared.cache)
            shared.ids = ids
            seconds.append(time.perf_counter() - started)
        healer = self._healer
        allowed = (lambda written: healer.allowed(written, rest)) if healer and rest else None
        yield from write(self.model, shared.logits, ids, shared.cache, rules, allowed)

    def _read_prompt(self, prompt: Prompt, heal: bool) -> tuple[list[int], bytes, int]:
        """The ids to read, the bytes that healing writes anew, and the characters which that repeats."""
        ids = self.encode(prompt)
        head = [] if ids or self.start_id is None else [self.start_id]
        if not ids + head:
            raise PromptError(
                "the prompt is empty and the model has no token that begins a text; give it a character"
            )
        if not (heal and isinstance(prompt, str) and ids):
            return head + ids, b"", 0
        self._healer = self._healer or Healer(self.tokenizer)
        kept, rest = self._healer.split(ids)
        if not kept and self.start_id is None:
            return ids, b"", 0  # nothing would be left to read
        decoder = self.tokenizer.stream()
        shown = sum(len(decoder.push(id)) for id in kept)
        return kept or [self.start_id or 0], rest, len(prompt) - shown

    def _room(self, prompt: int, max_tokens: int | None, past_context: PastContext) -> tuple[int, bool]:
        """How many tokens to write, and whether the context is what limits them."""
        context = self.config.context
        wanted = DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens
        if past_context == "roll" or prompt + wanted <= context:
            return wanted, False
        if prompt >= context:
            raise ContextLengthError(
                f"the prompt has {prompt} tokens and the model's context is {context}, so there is no room to write: "
                'shorten it, or roll (past_context="roll", --roll)'
            )
        if max_tokens is not None:
            raise ContextLengthError(
                f"{prompt} prompt tokens and max_tokens {max_tokens} make {prompt + max_tokens}, the model's context is "
                f'{context}: ask for at most {context - prompt}, or roll (past_context="roll", --roll)'
            )
        return context - prompt, True


class _Shared:
    """What one row has read and the next may take over: a prompt's ids, its cache, its logits."""

    ids: list[int] | None = None
    cache: KVCache
    logits: FloatArray
