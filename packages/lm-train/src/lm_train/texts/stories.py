"""The `stories` text: short stories of a small grammar whose true entropy is known, so that a loss can be read against its floor.

    story(7, seed=0)          # one story, a pure function of its number and the seed
    story_bits(text)          # -log2 of its probability: exact, by reading its choices back
    story_entropy()           # the same on average over all stories: bits per story, bytes per story, bits per byte

No model that knows nothing of a story but the stories before it can predict it with fewer bits on average. Because the options of
a choice never begin alike (story_grammar.py), the text tells the choices, so the bits of the text are those of its choices.
The stories of a text are independent of each other; where one ends is told by its last words, so end-of-text costs nothing.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from lm_train.errors import DataError
from lm_train.texts.story_grammar import Words, tell


class NotAStoryError(DataError):
    """A text that the grammar cannot tell; names where it leaves it."""


@dataclass(frozen=True)
class StoryEntropy:
    """Averages over all stories of the grammar. Its text is ASCII: bytes are characters."""

    bits_per_story: float
    bytes_per_story: float

    @property
    def bits_per_byte(self) -> float:
        """The least bits per byte that any model can reach on a long text of stories."""
        return self.bits_per_story / self.bytes_per_story


def story(number: int, seed: int = 0) -> str:
    """Story `number` of the endless series of a seed."""
    writer = _Writer(random.Random(f"stories/{seed}/{number}"))
    tell(writer)
    return "".join(writer.texts)


def stories(seed: int = 0) -> Iterator[str]:
    """All stories of a seed, in order, without end."""
    return (story(number, seed) for number in itertools.count())


def story_bits(text: str) -> float:
    """-log2 of the probability that the grammar tells exactly `text`; `NotAStoryError` for a text that it never tells."""
    reader = _Reader(text)
    tell(reader)
    if reader.at != len(text):
        raise NotAStoryError(
            f"the story ends at character {reader.at}, the text goes on: {text[reader.at :][:40]!r}"
        )
    return reader.bits


@functools.cache
def story_entropy() -> StoryEntropy:
    """Exact expectations, by walking every path of branches; a drawn word counts with its mean length."""
    bits, size = [], []
    path: list[int] = []
    while True:
        summer = _Summer(path)
        tell(summer)
        bits.append(summer.probability * summer.bits)
        size.append(summer.probability * summer.bytes)
        path = [taken for taken, _ in summer.branches]
        while path and path[-1] + 1 == summer.branches[len(path) - 1][1]:
            path.pop()
        if not path:
            return StoryEntropy(math.fsum(bits), math.fsum(size))
        path[-1] += 1


class _Writer:
    """Tells a story by chance."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.texts: list[str] = []

    def say(self, *texts: str) -> None:
        self.texts += texts

    def draw(self, options: Words, *, but: str | None = None) -> str:
        return self._choose([option for option in options if option != but])

    def branch(self, options: Words) -> int:
        return options.index(self._choose(list(options)))

    def _choose(self, options: list[str]) -> str:
        # random() is the one method whose numbers are the same in every Python version
        chosen = options[int(self.chance.random() * len(options))]
        self.texts.append(chosen)
        return chosen


class _Reader:
    """Follows a text and adds up the bits of its choices."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.bits = text, 0, 0.0

    def say(self, *texts: str) -> None:
        for text in texts:
            self._expect([text])

    def draw(self, options: Words, *, but: str | None = None) -> str:
        return self._expect([option for option in options if option != but])

    def branch(self, options: Words) -> int:
        return options.index(self._expect(list(options)))

    def _expect(self, options: list[str]) -> str:
        for option in options:
            if self.text.startswith(option, self.at):
                self.at += len(option)
                self.bits += math.log2(len(options))
                return option
        wanted = " or ".join(repr(option) for option in options[:3]) + (" ..." if len(options) > 3 else "")
        raise NotAStoryError(f"character {self.at}: wanted {wanted}, got {self.text[self.at :][:40]!r}")


class _Summer:
    """Takes one path of branches (0 where `path` says nothing) and sums over all draws on it at once.

    A word drawn uniformly, or uniformly from what an earlier uniform draw left, is uniform over the whole list: so its length counts with the
    list's mean, here and wherever it is said again. It is handed out as a name for that mean which no text contains.
    """

    def __init__(self, path: list[int]) -> None:
        self.path = path
        self.branches: list[tuple[int, int]] = []  # (taken, of how many)
        self.probability, self.bits, self.bytes = 1.0, 0.0, 0.0
        self.means: dict[str, float] = {}

    def say(self, *texts: str) -> None:
        self.bytes += sum(self.means.get(text, len(text)) for text in texts)

    def draw(self, options: Words, *, but: str | None = None) -> str:
        word = f"\0{len(self.means)}"
        self.means[word] = sum(map(len, options)) / len(options)
        self.bits += math.log2(len(options) - (but is not None))
        self.say(word)
        return word

    def branch(self, options: Words) -> int:
        number = len(self.branches)
        taken = self.path[number] if number < len(self.path) else 0
        self.branches.append((taken, len(options)))
        self.probability /= len(options)
        self.bits += math.log2(len(options))
        self.say(options[taken])
        return taken
