"""Samples beside each other on a terminal."""

import sys
from dataclasses import replace

import pytest
from lm_generate.terminal.show import show_rows
from tiny_engines import tiny_engine

ROWS = tiny_engine().batch(["def "] * 2, max_tokens=1, seed=1)


@pytest.mark.parametrize("wide", [True, False])
def test_samples_are_side_by_side_where_the_terminal_is_wide_enough_and_no_letter_is_lost(
    wide, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80" if wide else "30")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    texts = ["a long word " + "z" * 100, "another\n    text"]
    rows = [replace(row, text=text) for row, text in zip(ROWS, texts, strict=True)]
    show_rows(rows, prompt="def ", echo=False)
    shown = capsys.readouterr().out
    assert shown.count("z") == 100
    assert any("long" in line and "another" in line for line in shown.splitlines()) == wide
