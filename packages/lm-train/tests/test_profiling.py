"""`--profile`: a trace and a table, and no trace of it in what is computed."""

import json
import subprocess
import sys

import pytest
from lm_train.profiling import PARTS, no_ranges
from lm_train.run import train
from lm_train.view.display import Silent
from resumed_runs import assert_same
from tiny_runs import tiny_config, tiny_corpus


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile")
    tiny_corpus(folder)
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)


class Heard(Silent):
    """Remembers what a person is told."""

    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


@pytest.mark.parametrize(("steps", "profiled"), [(16, 5), (12, 2)])
def test_a_profiled_run_is_the_run_that_is_not_and_has_a_trace_and_a_table(home, steps, profiled):
    config = {"steps": steps, "batch": 3, "micro_batch": 2}
    plain = train(tiny_config(home, name=f"plain-{steps}", **config))
    heard = Heard()
    result = train(tiny_config(home, name=f"profiled-{steps}", profile=True, **config), display=heard)
    assert_same(plain.folder, result.folder)
    events = json.loads((result.folder / "profile/trace.json").read_text())["traceEvents"]
    counted = {
        part: sum(event.get("name") == part and event.get("ph") == "X" for event in events) for part in PARTS
    }
    assert counted == {part: profiled * (2 if part in ("forward", "backward") else 1) for part in PARTS}
    table = (result.folder / "profile/table.txt").read_text()
    assert f"mean of {profiled} steps" in table
    rows = {line.split()[0]: line.split() for line in table.splitlines()[1:6]}
    assert tuple(rows) == PARTS
    assert sum(float(row[3].rstrip("%")) for row in rows.values()) == pytest.approx(100, abs=0.5)
    assert "aten::" in table
    assert "mean of" in (result.folder / "log.txt").read_text()
    assert sum("ms in its parts" in line for line in heard.lines) == 1
    assert not (plain.folder / "profile").exists()


def test_a_run_that_ends_before_there_is_anything_to_profile_has_no_table(home):
    result = train(tiny_config(home, name="short", steps=3, profile=True))
    assert not (result.folder / "profile").exists()


def test_without_it_nothing_is_made_for_a_part():
    assert no_ranges("forward") is no_ranges("update")


def test_the_profiler_writes_nothing_past_python_to_the_terminal_that_shows_the_run():
    program = """
from lm_train import cli
cli.run(["--version"])
import torch
profile = torch.profiler.profile(acc_events=True)  # as StepProfiler does
profile.start()
profile.stop()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
