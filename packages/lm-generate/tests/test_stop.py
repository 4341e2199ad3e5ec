"""Stop strings against reading character by character."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_generate.errors import SettingError
from lm_generate.stop import StopStrings


def cut(text: str, stops: list[str]) -> tuple[str, str | None]:
    """One character after another, until the text so far ends with a stop string; the longest of several."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.text("abc", max_size=4), max_size=8),
    st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_any_cut_into_pieces_gives_what_character_by_character_gives(texts, stops):
    matcher = StopStrings(stops)
    shown = [matcher.push(piece) for piece in texts] + [matcher.finish()]
    assert ("".join(shown), matcher.found) == cut("".join(texts), stops)


@settings(max_examples=200, deadline=None)
@given(st.text("ab", max_size=10), st.text("ab", min_size=1, max_size=4))
def test_what_is_shown_is_never_taken_back_and_is_as_much_as_can_be(text, stop):
    matcher = StopStrings([stop])
    shown = ""
    for end, character in enumerate(text, 1):
        shown += matcher.push(character)
        if matcher.found is None:
            held = text[len(shown) : end]
            assert stop.startswith(held)


def test_a_stop_string_that_never_completes_is_given_back_at_the_end():
    matcher = StopStrings(["\n\n"])
    assert [matcher.push("one\n"), matcher.push("two\n"), matcher.finish()] == ["one", "\ntwo", "\n"]


def test_an_empty_stop_string_is_refused():
    with pytest.raises(SettingError, match="at least one character"):
        StopStrings(["ok", ""])
