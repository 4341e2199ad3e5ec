"""Every message that a user's mistake can bring: its type is documented, and it says what to do or what would have been right."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts/docs"))
import messages

TOLD = messages.messages()
TYPES = messages.error_types()
# The text comes from elsewhere whole: a function that writes it, or an error that is passed on under another type.
PASSED_ON = [
    each
    for each in TOLD
    if each.text.startswith("{") and each.text.endswith("}") and each.text.count("{") == 1
]
# Whoever reads them is a program; docs/serving.md has them by their status.
ANSWERS_OF_THE_SERVER = "Problem"
# A fault of ours that a check found, or an outcome: nothing that a user can change.
NOT_A_MISTAKE = {"OrderError", "ConstraintError"}
# The reason is another's (the system's, a parser's, each file's), and so is the cure; or there is none.
SYSTEM = (
    "{error.strerror}",
    "{error}",
    "{reason}",
    "{advice}",
    "{str(error)",
    "{word.removeprefix(FAILED)}",
    "the story ends at",
    "join(damaged)",
    "_reason(",
    "so nothing predicts",
)


def test_the_messages_are_found():
    assert {each.package for each in TOLD} == set(messages.PACKAGES)
    assert len(TOLD) > 350
    assert len(messages.rust_messages()) > 25


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_error_type_says_what_it_stands_for(name):
    doc = TYPES[name].doc
    assert doc
    assert doc.split("\n")[0].rstrip().endswith((".", ":", ",", ";")) or "\n" in doc


def test_every_message_says_what_to_do_or_what_would_be_right():
    silent = [
        f"{each.path}:{each.line}: {each.text}"
        for each in TOLD
        if each not in PASSED_ON
        and each.type not in {ANSWERS_OF_THE_SERVER, *NOT_A_MISTAKE}
        and not any(part in each.text for part in SYSTEM)
        and not messages.SAYS_WHAT_TO_DO.search(each.text)
    ]
    assert silent == [], "say in each what to do: " + "\n".join(silent)


def test_no_message_shouts_or_ends_with_a_full_stop_alone():
    for each in TOLD:
        if each.type != ANSWERS_OF_THE_SERVER:
            assert "!" not in each.text.replace("!r", ""), each.text
            assert not each.text.rstrip().endswith("."), each.text


def test_the_page_holds_every_message():
    page = messages.page()
    for each in TOLD:
        happened, cure = messages.halves(each.text)
        assert f"| {messages.cell(happened)} | {messages.cell(cure)} | " in page
        assert each.text in (happened, f"{happened}; {cure}", f"{happened}: {cure}")
    assert "### SourceError" in page
    assert (
        "token id {id} is outside the vocabulary" in page.replace("\\", "")
        or "outside the vocabulary" in page
    )
