"""What the engine gives back: plain frozen values that say everything about one piece of writing or scoring."""

from dataclasses import dataclass
from typing import Literal

from lm_generate.logprob import TokenLogprob

FinishReason = Literal["stop", "match", "length", "context"]
"""stop: an end-of-text id or a stop string came; match: the text matches its regex or schema and nothing can follow;
length: max_tokens; context: the model's context is full."""


@dataclass(frozen=True)
class Timings:
    """Seconds on a monotonic clock."""

    prefill: float
    """Reading the prompt; 0 where the row before had the same prompt."""
    first_token: float
    """From the call to the first token chosen, the prefill included."""
    total: float

    def tokens_per_second(self, tokens: int) -> float:
        """Decode speed: the tokens after the first over the time after the first; 0 when there is none."""
        seconds = self.total - self.first_token
        return (tokens - 1) / seconds if tokens > 1 and seconds > 0 else 0.0


@dataclass(frozen=True)
class Generation:
    """One continuation. `text` goes right behind the prompt and holds neither the stop string nor the end id."""

    text: str
    ids: tuple[int, ...]
    """The tokens written, without the end id; those of a stop string are among them."""
    finish_reason: FinishReason
    stopped_by: str | int | None
    """The stop string or the id that ended it."""
    prompt_tokens: int
    """Tokens read before the first was written."""
    seed: int
    row: int
    logprobs: tuple[TokenLogprob, ...] | None
    """One for each of `ids`, where they were asked for."""
    timings: Timings


@dataclass(frozen=True)
class BeamText:
    """One of the likeliest texts that `Engine.beam_search` found."""

    result: Generation
    logprob: float
    """Of all its tokens together and its end id, if one ended it, in nats: after bias, penalties and bans."""
    score: float
    """`logprob` / (those tokens) ** length_penalty: what the texts are ranked by."""


@dataclass(frozen=True)
class Score:
    """How well the model predicts a text."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Natural logarithms, one for each scored token: all of `ids`, or all but the first (`Engine.score`)."""
    nats: float
    """-sum(logprobs)."""
    bytes: int
    """UTF-8 bytes of the scored tokens."""
    bits_per_byte: float
    """nats / ln 2 / bytes: comparable between tokenizers."""
    perplexity: float
    """exp(nats per scored token): not comparable between tokenizers."""
