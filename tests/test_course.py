"""The course: every line typed in it gives what the page says, in the order of the page; its links and pictures are there."""

import doctest
import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted(ROOT.glob("packages/*/docs/course-*.md"), key=lambda path: path.name)
LINK = re.compile(r"!?\[[^]]*\]\(([^)#]+)[^)]*\)")


def test_eight_chapters_follow_each_other():
    assert [int(path.name.split("-")[1]) for path in CHAPTERS] == list(range(1, 9))
    for here, following in pairwise(CHAPTERS):
        last = here.read_text(encoding="utf-8").rstrip().splitlines()[-1]
        assert last.startswith("Next: ")
        assert (here.parent / LINK.findall(last)[0]).resolve() == following


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_a_chapter_shows_is_what_comes(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```pycon\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, path.stem, str(path), 0)
    told: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    assert not told, "".join(told)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_a_chapter_points_at_is_there(path):
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).resolve().exists(), target
