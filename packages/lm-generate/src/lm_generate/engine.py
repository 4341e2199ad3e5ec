"""`Engine`: a model and its tokenizer, ready to write and to score. Text in, text out.

engine = load("runs/x")
engine.generate("def ", max_tokens=50).text
for piece in engine.stream("def "): ...
engine.batch(["def ", "class "], seed=1)         # row i: the same text as generate(prompt, seed=1, row=i)
engine.score("text").bits_per_byte
"""

import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Union, Unpack

import numpy as np
import numpy.typing as npt
import torch
from lm_core import Transformer
from lm_tokenizer import Tokenizer

from lm_generate.beam import Hypothesis, beam_search
from lm_generate.constrain import Constraint, Follower, Grammars
from lm_generate.decoder import Decoder
from lm_generate.errors import ContextLengthError, PromptError, SettingError
from lm_generate.explain import Explanation, Seen, explain
from lm_generate.generate import Batch, Row
from lm_generate.heal import Healer
from lm_generate.kernel.stored import storage_of
from lm_generate.prefix import PrefixStore
from lm_generate.results import BeamText, Generation, Score, Timings
from lm_generate.rules import Rules
from lm_generate.sampling import Sampling
from lm_generate.score import make_score, token_logprobs
from lm_generate.settings import (
    DEFAULT_MAX_TOKENS,
    Options,
    PastContext,
    Settings,
    check_whole,
    make_settings,
)
from lm_generate.speculate import DraftModel, PromptLookup, Speculation
from lm_generate.stream import Plan, Text, TextStream, pieces

Prompt = str | Sequence[int]
Draft = Union["Engine", Literal["prompt"], None]
SHARED_BYTES = 256 * 2**20
"""What a batch may keep of prompts that were read, for rows whose prompts begin alike."""
REUSED_BYTES = 128 * 2**20
"""What an engine may keep of texts that were written, for later calls whose prompts begin alike."""


class Engine:
    """Generates and scores. Make one with `lm_generate.load`; see docs/engine.md for every setting.

    `stop_ids` end a text (the model's end-of-text ids); `start_id` begins one where nothing else does: an empty
    prompt, the first token of a scored text. `folder` is where it came from. Between calls an engine keeps keys and
    values of texts that it wrote (at most 128 MB; `forget` drops them), so that a prompt which goes on from one, as in a
    dialogue, is read from there. No text depends on that.
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
        self.device, self.dtype = model.norm.weight.device, storage_of(model)
        self.decode = Decoder(model)
        known = np.fromiter(tokenizer.vocab.keys(), dtype=np.int64)
        # Rows that only pad the embedding, and holes in the vocabulary: ids without bytes are never drawn.
        self._banned = np.setdiff1d(np.arange(self.config.vocab_size), known)
        self._healer: Healer | None = None
        self._grammars: Grammars | None = None
        self._read, self._read_with = PrefixStore(REUSED_BYTES), object()
        self._lock = threading.Lock()

    def generate(
        self,
        prompt: Prompt,
        *,
        row: int = 0,
        draft: Draft = None,
        beams: int | None = None,
        **options: Unpack[Options],
    ) -> Generation:
        """The continuation of one prompt, a text or ids.

        max_tokens    None: 200, or as many as the context still holds; min_tokens: no end id before so many
        temperature, top_k, top_p, min_p, typical_p      see `lm_generate.sampling`; temperature 0 is greedy
        repetition_penalty, presence_penalty, frequency_penalty, penalty_window,
        logit_bias, allowed_ids, banned_ids              see `lm_generate.adjust`
        seed, row     the text is a function of both; seed None draws one and tells it in the result
        stop          a string, or several, that end the text and are not part of it
        stop_ids      ids that end it, instead of the model's own end-of-text ids; () ignores those
        heal          write an unfinished last token of a text prompt anew (`lm_generate.heal`)
        regex, json_schema    what the whole text must match (`lm_generate.constrain`; the extra `constrain`)
        past_context  "error", or "roll": when the context is full, its newer half is read afresh
        logprobs      None, or how many most likely tokens to report beside each written one
        draft         "prompt", or a smaller engine of the same tokenizer: guesses that may make it faster and change
                      nothing in the text (`lm_generate.speculate`)
        beams         the likeliest text that a search of this width finds, nothing drawn: `beam_search`'s first

        Defaults and types: `lm_generate.settings.make_settings`, which the keywords go to unchanged; so the three ways
        of writing cannot differ. Raises SettingError, PromptError, ContextLengthError, NonFiniteLogitsError, and the
        tokenizer's errors.
        """
        if beams is not None:
            if draft is not None:
                raise SettingError("beams and draft do not go together: leave one out")
            return self.beam_search(prompt, beams=beams, row=row, **options)[0].result
        return self.stream(prompt, row=row, draft=draft, **options).finish()

    def stream(
        self, prompt: Prompt, *, row: int = 0, draft: Draft = None, **options: Unpack[Options]
    ) -> TextStream:
        """As `generate`, but an iterator over pieces of the text as it is written; `.result` at the end.

        Settings and prompt are checked here, not at the first piece.
        """
        text = self.text(prompt, make_settings(**options), row)
        return TextStream(pieces(self._batch(draft), text))

    def batch(
        self, prompts: Sequence[Prompt], *, slots: int = 32, **options: Unpack[Options]
    ) -> list[Generation]:
        """One continuation for each prompt, of any lengths; row i is exactly `generate(prompts[i], seed=seed, row=i)`.

        Up to `slots` rows are written together, in one pass over the weights for each token; a row that ends makes
        room for the next. A prompt that equals another's, or begins like it, is read once. Every prompt is checked
        before the first is read.
        """
        if isinstance(prompts, str):
            raise PromptError("batch takes a list of prompts, got one string; use generate, or a list")
        check_whole("slots", slots, low=1)
        settings = make_settings(**options)
        texts = [self.text(prompt, settings, row) for row, prompt in enumerate(prompts)]
        batch = Batch(self.decode, slots=slots, prefixes=PrefixStore(SHARED_BYTES))
        for text in texts:
            batch.add(text.row)
        text_of = {text.row: text for text in texts}
        while batch.busy:
            for row, token in batch.step():
                if token is not None:
                    text_of[row].push(token)
        return [text.finish()[1] for text in texts]

    def beam_search(
        self,
        prompt: Prompt,
        *,
        beams: int = 4,
        length_penalty: float = 1.0,
        row: int = 0,
        **options: Unpack[Options],
    ) -> list[BeamText]:
        """The likeliest continuations, best first: at most `beams`, found by following so many beginnings at once.

        They are ranked by log-probability / tokens ** length_penalty (`lm_generate.beam`). Nothing is drawn, so sampling
        settings (temperature, top_k ...) are refused; bias, penalties, bans, stops, `heal` and constraints hold.
        Raises as `generate` does.
        """
        check_whole("beams", beams, low=1)
        if not math.isfinite(length_penalty):
            raise SettingError(
                f"length_penalty must be a finite number (1: mean, 0: sum), got {length_penalty}"
            )
        settings = make_settings(**options)
        if settings.sampling != Sampling():
            raise SettingError(
                "a beam search draws nothing: leave out temperature, top_k, top_p, min_p and typical_p"
            )
        if settings.past_context == "roll":
            raise SettingError("a beam search cannot roll past the context: ask for fewer tokens")
        text = self.text(prompt, settings, row)
        found = beam_search(
            self.decode,
            text.row,
            lambda ids: bool(settings.stop) and text.stops_within(ids),
            width=beams,
            length_penalty=length_penalty,
            prefixes=self._prefixes(),
        )
        return [self._beam_text(text, each) for each in found]

    def _beam_text(self, text: Text, found: Hypothesis) -> BeamText:
        written = text.again()
        for token in found.tokens:
            written.push(token)
        written.row.matched = found.matched
        result = written.finish()[1]
        timings = Timings(text.row.prefill, text.row.prefill, result.timings.total)
        return BeamText(replace(result, timings=timings), found.total, found.score)

    def explain(
        self, prompt: Prompt, *, top: int = 5, row: int = 0, **options: Unpack[Options]
    ) -> Explanation:
        """As `generate`, with an account of every token: the `top` likeliest at its place, each with its probability
        before and after all sampling settings, and the setting that took it out.
        """
        check_whole("top", top, low=0)
        settings = make_settings(**options)
        seen: list[Seen] = []
        text = self.text(prompt, settings, row, watch=seen.append)
        result = TextStream(pieces(self._batch(None), text)).finish()
        texts = {id: data.decode("utf-8", "replace") for id, data in self.tokenizer.vocab.items()}
        read = prompt if isinstance(prompt, str) else self.tokenizer.decode(self.encode(prompt))
        return Explanation(
            result=result,
            read=read[: len(read) - text.plan.skip],
            tokens=tuple(explain(choice, settings.sampling, texts, top) for choice in seen),
        )

    def embed(self, text: Prompt, *, pooling: Literal["mean", "last"] = "mean") -> npt.NDArray[np.float32]:
        """A text as one vector (d_model,): the stream after the last norm, its mean over the tokens or its last one.

        Raises SettingError for another pooling, PromptError for an empty text, ContextLengthError for one too long.
        """
        if pooling not in ("mean", "last"):
            raise SettingError(f'pooling must be "mean" or "last", got {pooling!r}')
        ids = self.encode(text)
        if not ids:
            raise PromptError(
                "there is nothing to embed: the text holds no token; give it at least one character"
            )
        if len(ids) > self.config.context:
            raise ContextLengthError(
                f"the text has {len(ids)} tokens and the model's context is {self.config.context}: embed parts of it"
            )
        with torch.inference_mode():
            hidden = self.model.hidden(torch.tensor([ids], device=self.device))[
                0
            ].float()  # (length, d_model)
            pooled = hidden.mean(0) if pooling == "mean" else hidden[-1]
        result: npt.NDArray[np.float32] = pooled.cpu().numpy()
        return result

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

    def _batch(self, draft: Draft) -> Batch:
        """What writes one text, with guesses where they are asked for. Raises `SettingError`."""
        prefixes = self._prefixes()
        if draft is None:
            return Batch(self.decode, slots=1, prefixes=prefixes)
        if draft == "prompt":
            return Speculation(self.decode, PromptLookup(), prefixes=prefixes)
        if not isinstance(draft, Engine):
            raise SettingError(f'draft must be None, "prompt" or an Engine, got {draft!r}')
        ours, theirs = self.tokenizer, draft.tokenizer
        if ours.fingerprint != theirs.fingerprint or self.config.vocab_size != draft.config.vocab_size:
            raise SettingError(
                f"the draft model has another tokenizer (fingerprint {theirs.fingerprint[:12]}, this model's {ours.fingerprint[:12]}) "
                f"or vocabulary ({draft.config.vocab_size}, this model's {self.config.vocab_size}); give one trained with this tokenizer"
            )
        return Speculation(self.decode, DraftModel(draft.decode), prefixes=prefixes)

    def _prefixes(self) -> PrefixStore:
        """What earlier calls have read with the weights as they are now."""
        state = self.decode.state()
        with self._lock:
            if state is None or state != self._read_with:
                self._read, self._read_with = PrefixStore(0 if state is None else REUSED_BYTES), state
            return self._read

    def forget(self) -> None:
        """Gives back the memory of texts that were kept for later calls."""
        with self._lock:
            self._read = PrefixStore(REUSED_BYTES)

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

    def text(
        self, prompt: Prompt, settings: Settings, row: int, watch: Callable[[Seen], None] | None = None
    ) -> Text:
        """A row for a `Batch` and what turns its tokens into text. Checks the prompt; computes nothing yet."""
        called = time.perf_counter()
        check_whole("row", row, low=0)
        settings.adjustment.check_ids(self.config.vocab_size)
        ids, rest, skip = self._read_prompt(prompt, settings.heal)
        count, cut = self._room(len(ids), settings.max_tokens, settings.past_context)
        healer = self._healer
        rules = Rules(
            sampling=settings.sampling,
            adjustment=settings.adjustment,
            seed=settings.seed,
            row=row,
            max_tokens=count,
            stop_ids=self.stop_ids if settings.stop_ids is None else settings.stop_ids,
            banned=self._banned,
            roll=settings.past_context == "roll",
            logprobs=settings.logprobs,
            allowed=(lambda written: healer.allowed(written, rest)) if healer and rest else None,
            follower=self._follow(settings.constraint),
            watch=watch,
        )
        plan = Plan(
            skip=skip, stop_strings=settings.stop, ran_out="context" if cut else "length", called=called
        )
        return Text(self.tokenizer, Row(ids, rules), plan)

    def _follow(self, constraint: Constraint | None) -> Follower | None:
        if constraint is None:
            return None
        with self._lock:
            self._grammars = self._grammars or Grammars(self.tokenizer, self.config.vocab_size)
        return self._grammars.follow(constraint)

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
