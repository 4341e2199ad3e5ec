"""events.jsonl: what a program that watches a run reads, and that its writing breaks nothing."""

import errno
import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lm_train.config_file import read_config
from lm_train.events import Events
from lm_train.run import resume, train
from lm_train.run_errors import NotFiniteError
from lm_train.step import StepResult, run_step
from lm_train.verify import verify_path
from lm_train.view.metrics import read_lines
from lm_train.view.report import write_report
from resumed_runs import StopAt
from run_comparison import figures as figures_of
from run_comparison import same_bits, weights
from tiny_runs import tiny_config, tiny_corpus


def told(run: Path):
    """(event, facts without times) of each line."""
    rows = read_lines(run / "events.jsonl")
    return [
        (row["event"], {k: v for k, v in row.items() if k not in ("event", "time", "seconds")})
        for row in rows
    ]


def broken_at(steps):
    """A `run_step` whose loss is not finite at these steps, counted from 0."""
    return lambda s, step, factor: (
        StepResult(math.nan, math.nan, False) if step in steps else run_step(s, step, factor)
    )


def test_a_run_tells_what_happened_to_it_from_its_start_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    tiny_corpus(tmp_path)
    config = tiny_config(tmp_path)
    watch = StopAt(6)
    run = train(config, display=watch, stop=watch.stop).folder
    newest = sorted((run / "checkpoints").iterdir())[-1] / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"!")
    with monkeypatch.context() as patch:
        patch.setattr("lm_train.loop.run_step", broken_at({6}))
        resume(run, read_config([str(run / "config.toml")]))
    events = told(run)
    words = [event for event, _ in events]
    assert words == [
        *("started", "saved", "stop-asked", "saved", "ended"),
        *("set-aside", "resumed", "skipped", "saved", "saved", "ended"),
    ]
    assert events[0][1] == {"world": 1, "sharding": "replicate", "device": "cpu", "seed": 0}
    assert events[1][1] == {"step": 4, "checkpoint": "step-00000004"}
    assert events[2][1] == {"by": "a test", "step": 6}
    assert events[4][1] == {"status": "stopped", "code": 75, "step": 6, "error": None}
    assert "model.safetensors is damaged" in events[5][1]["damage"]
    assert events[6][1]["checkpoint"] == "step-00000004"
    assert events[6][1] | {"saved_on": 1, "world": 1} == events[6][1]
    assert events[7][1] == {"step": 7, "loss": "nan", "grad_norm": "nan"}
    assert events[-1][1] == {"status": "done", "code": 0, "step": 12, "error": None}
    monkeypatch.undo()
    page = write_report(*_runs(run)).read_text(encoding="utf-8")
    assert "set-aside" in page
    assert "step-00000004" in page


def _runs(path):
    from lm_train.run_folder import RunFolder

    return [RunFolder.open(path)]


def test_a_run_that_fails_tells_its_code_and_one_that_was_killed_is_named_by_verify(tmp_path, monkeypatch):
    tiny_corpus(tmp_path)
    config = tiny_config(tmp_path)
    monkeypatch.setattr("lm_train.loop.run_step", broken_at(range(2, 12)))
    with pytest.raises(NotFiniteError):
        train(config)
    run = tmp_path / "runs/tiny"
    event, facts = told(run)[-1]
    assert (event, facts["status"], facts["code"]) == ("ended", "failed", 1)
    assert facts["error"].startswith("10 steps in a row had a loss")
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(lines[:-1]))
    verdicts = [line for line, sound in verify_path(run) if sound]
    assert any("ended without a word" in line and "skipped" in line for line in verdicts)


def test_a_disk_that_takes_no_event_changes_nothing_and_the_next_line_counts_what_is_missing(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    tiny_corpus(tmp_path)
    config = tiny_config(tmp_path)
    train(config)
    sound = Path.open

    def full(self, *args, **kwargs):
        if self.name == "events.jsonl":
            raise OSError(errno.ENOSPC, "No space left on device")
        return sound(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        train(replace(config, name="full"))
    assert not (tmp_path / "runs/full/events.jsonl").exists()
    same_bits(weights(tmp_path / "runs/full"), weights(tmp_path / "runs/tiny"))
    assert figures_of(tmp_path / "runs/full", "loss") == figures_of(tmp_path / "runs/tiny", "loss")
    events = Events(tmp_path / "few.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        blocked = Events(tmp_path / "events.jsonl")
        blocked.tell("saved")
        blocked.tell("saved")
    blocked.tell("ended")
    blocked.tell("started")
    rows = read_lines(tmp_path / "events.jsonl")
    assert [row.get("missing") for row in rows] == [2, None]
    assert not events.path.exists()


def test_times_are_the_clocks_even_where_it_jumps_back_and_lines_stay_in_order(tmp_path):
    times = iter([datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC) - timedelta(days=9)])
    events = Events(tmp_path / "events.jsonl", clock=lambda: next(times))
    events.tell("started", loss=math.inf)
    events.tell("ended", folder=tmp_path)
    first, second = (json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines())
    assert first == {"time": "2030-01-01T00:00:00.000+00:00", "event": "started", "loss": "inf"}
    assert second["time"].startswith("2029-12-23")
    assert second["folder"] == str(tmp_path)
