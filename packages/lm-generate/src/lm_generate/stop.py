"""Stop strings across token edges: text that might be the beginning of one waits, and none is ever shown.

The result does not depend on how the text is cut into pieces: the stop string that is complete first, reading
character by character, ends the text; of two complete at the same character the longer one.
"""

from collections.abc import Sequence

from lm_generate.errors import SettingError


class StopStrings:
    """`push` pieces, show what it returns; once `found` is set, nothing more comes out."""

    def __init__(self, stops: Sequence[str]) -> None:
        check_stop_strings(stops)
        self._stops = tuple(stops)
        self._held = ""
        self.found: str | None = None

    def push(self, piece: str) -> str:
        """The characters that can now be shown: never part of a stop string, nor what may become one."""
        if self.found is not None:
            return ""
        text = self._held + piece
        matches = [
            (start + len(stop), -len(stop), stop) for stop in self._stops if (start := text.find(stop)) >= 0
        ]
        if matches:
            end, negative_length, self.found = min(matches)
            self._held = ""
            return text[: end + negative_length]
        cut = len(text) - self._possible_beginning(text)
        self._held = text[cut:]
        return text[:cut]

    def finish(self) -> str:
        """What was held back, when the text ended before it became a stop string."""
        rest, self._held = self._held, ""
        return rest

    def _possible_beginning(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = max((len(stop) for stop in self._stops), default=0)
        for length in range(min(longest - 1, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                return length
        return 0


def check_stop_strings(stops: Sequence[str]) -> None:
    """Raises `SettingError` unless each is a string of at least one character."""
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise SettingError(f"every stop string needs at least one character, got {list(stops)!r}")
