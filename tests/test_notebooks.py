"""The notebooks: each runs from its first cell to its last at its small size, and its claims about what came out hold."""

import runpy
from pathlib import Path

import pytest
from matplotlib import pyplot

NOTEBOOKS = sorted(Path(__file__).parent.parent.glob("packages/*/notebooks/*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_finds_what_it_says(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTEBOOK_SIZE", "small")
    pyplot.switch_backend("agg")
    runpy.run_path(str(path))
    pyplot.close("all")
    drawn = tmp_path / f"{path.stem}.svg"
    assert drawn.stat().st_size > 10_000
    assert (path.parent / drawn.name).exists(), "the picture that the notebook's page shows"


def test_every_notebook_asserts_what_it_found():
    assert len(NOTEBOOKS) == 5
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        assert "# ## What was found" in text
        assert text.count("\nassert ") >= 3, path.name
