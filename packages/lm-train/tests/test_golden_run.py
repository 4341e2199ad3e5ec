"""The run folder and checkpoint of format version 1, made by golden/make_run_v1.py: read, and gone on from, for ever."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from lm_train.config_file import read_config
from lm_train.run import resume
from lm_train.run_folder import RunFolder
from lm_train.verify import verify_path

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A copy of the frozen run, in a folder that holds the text it was trained on."""
    monkeypatch.chdir(tmp_path)
    text = "one two three four five six seven eight nine ten\n" * 40
    Path("counting.txt").write_text(text, encoding="utf-8")
    shutil.copytree(GOLDEN / "run-v1", tmp_path / "runs" / "run-v1")
    return RunFolder.open(tmp_path / "runs" / "run-v1")


def test_the_frozen_run_verifies(run):
    assert all(sound for _, sound in verify_path(run.path))


def test_the_frozen_run_says_how_it_ended(run):
    facts = run.facts()
    assert (facts["status"], facts["step"], facts["format_version"]) == ("done", 3, 1)


def test_the_frozen_run_goes_on_with_a_larger_budget(run):
    config = replace(read_config([str(run.config)]), steps=5)
    result = resume(run.path, config)
    assert (result.status, result.step, result.tokens) == ("done", 5, 5 * 2 * 8)
