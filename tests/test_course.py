"""The course: every line typed in it gives what the page says, in the order of the page; its links and pictures are there."""

import doctest
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted(ROOT.glob("packages/*/docs/course-*.md"), key=lambda path: path.name)
ANSWERS = ROOT / "packages/lm-train/docs/answers.md"
LINK = re.compile(r"!?\[[^]]*\]\(([^)#]+)[^)]*\)")


def test_eight_chapters_follow_each_other():
    assert [int(path.name.split("-")[1]) for path in CHAPTERS] == list(range(1, 9))
    for here, following in pairwise(CHAPTERS):
        last = here.read_text(encoding="utf-8").rstrip().splitlines()[-1]
        assert last.startswith("Next: ")
        assert (here.parent / LINK.findall(last)[0]).resolve() == following


def what_differs(text, name):
    """What is typed in a page and gives something else than the page says."""
    blocks = re.findall(r"```pycon\n(.*?)```", text, flags=re.DOTALL)
    assert blocks
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, name, name, 0)
    told: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    return "".join(told)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_a_chapter_shows_is_what_comes(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert what_differs(path.read_text(encoding="utf-8"), path.stem) == ""


@pytest.mark.parametrize("number", range(1, 9))
def test_what_the_answers_to_a_chapter_show_is_what_comes(number, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    part = re.split(r"^## ", ANSWERS.read_text(encoding="utf-8"), flags=re.MULTILINE)[number]
    assert part.startswith(f"{number}. ")
    assert what_differs(part, f"answers {number}") == ""


def test_every_thing_to_try_has_its_answer():
    parts = re.split(r"^## ", ANSWERS.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for path, answers in zip(CHAPTERS, parts, strict=True):
        text = path.read_text(encoding="utf-8")
        asked = re.findall(r"^(\d)\. ", text[text.index("## Try it") :], flags=re.MULTILINE)
        assert re.findall(r"^(\d)\. ", answers.split("\n", 1)[1], flags=re.MULTILINE) == asked, path.name
        assert answers.split("\n")[0] == text.split("\n")[0].removeprefix("# ")


@pytest.mark.parametrize("path", [*CHAPTERS, ANSWERS], ids=lambda path: path.stem)
def test_what_a_chapter_points_at_is_there(path):
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).resolve().exists(), target
