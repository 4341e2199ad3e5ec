"""`lm-train watch`: what another process's run is shown as, from its files alone."""

import io
import json
import os

import pytest
from lm_train import cli
from lm_train.config import TrainConfig
from lm_train.config_file import to_toml
from lm_train.lock import locked
from lm_train.run_folder import RunFolder
from lm_train.view.display import Silent
from lm_train.view.watch import Followed, Tail, table, watch
from rich.console import Console


def begun_run(out, name="run", **settings):
    """A run folder at step 0."""
    run = RunFolder.create(out, name, "x")
    run.config.write_text(to_toml(TrainConfig(**{"steps": 20, "batch": 8, **settings})))
    run.update(status="running", dataset={"splits": {"train": {"tokens": 1000, "bytes": 2000}}})
    return run


def append(path, *rows):
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def step(number, loss=2.0):
    row = {"step": number, "tokens": 1024 * number, "seconds": 0.5 * number, "loss": loss, "grad_norm": 1.0}
    return row | {"lr": 0.004, "tokens_per_second": 2048.0}


class Seen(Silent):
    def __init__(self):
        self.statuses, self.samples = [], []

    def training(self, status):
        self.statuses.append(status)

    def sample(self, *sample):
        self.samples.append(sample)


def test_a_tail_gives_each_whole_line_once_and_all_of_a_file_that_was_replaced(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.rows() == []
    path.write_text('{"step": 1}\n{"st')
    assert tail.rows() == [{"step": 1}]
    with path.open("a") as file:
        file.write('ep": 2}\n')
    assert tail.rows() == [{"step": 2}]
    assert tail.rows() == []
    aside = tmp_path / "aside"
    aside.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n')
    os.replace(aside, path)
    assert [row["step"] for row in tail.rows()] == [1, 2, 3]


def test_a_run_is_shown_as_the_process_that_trains_it_shows_it(tmp_path):
    run, seen = begun_run(tmp_path), Seen()
    followed = Followed(run)
    followed.look(seen)
    assert not followed.has_begun
    append(
        run.metrics, step(1, 4.0), step(2, 3.0), {"step": 2, "valid_loss": 3.1, "valid_bits_per_byte": 2.2}
    )
    append(run.metrics, {"step": 3, "tokens": 3072, "seconds": 1.5, "loss": None}, step(4, 2.0))
    append(run.samples, {"step": 4, "tokens": 4096, "prompt": "Once", "text": " upon"})
    followed.look(seen)
    last = seen.statuses[-1]
    smoothed = 0.9 * (0.9 * 4.0 + 0.1 * 3.0) + 0.1 * 2.0
    assert (last.step, last.total_steps, last.progress) == (4, 20, 0.2)
    assert last.loss == pytest.approx(smoothed)
    assert last.bits_per_byte == pytest.approx(smoothed / 0.6931471805599453 / 2)
    assert last.valid_bits_per_byte == 2.2
    assert last.seconds_left == pytest.approx(16 * 0.5)
    assert last.tokens_per_second == pytest.approx(2048.0)
    assert seen.samples == [(4, "Once", " upon")]


def test_a_budget_of_minutes_is_told_by_the_clock_of_the_run(tmp_path):
    run, seen = begun_run(tmp_path, steps=None, minutes=1.0), Seen()
    append(run.metrics, step(30))
    Followed(run).look(seen)
    assert (seen.statuses[0].progress, seen.statuses[0].seconds_left) == (0.25, 45.0)


def test_it_follows_until_the_run_ends_and_says_how(tmp_path, capsys):
    run = begun_run(tmp_path)
    ends = iter(
        [lambda: append(run.metrics, *[step(n) for n in range(1, 21)]), lambda: run.update(status="done")]
    )
    with locked(run.path):
        watch([run], stopped=lambda: False, pause=lambda: next(ends)())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("  5%  step 1 ")
    assert lines[-2].startswith("100%  step 20 ")
    assert lines[-1] == f"{run.path}: done at step 20; report {run.report}"


def test_several_runs_are_told_apart_and_a_stop_ends_the_watching_only(tmp_path, capsys):
    runs = [begun_run(tmp_path, name) for name in ("a", "b")]
    append(runs[0].metrics, step(1))
    append(runs[1].metrics, step(7))
    with locked(runs[0].path):
        watch(runs, stopped=lambda: True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["a", "b"]
    assert lines[2] == f"{runs[0].path}: running at step 1"
    assert lines[3] == f"{runs[1].path}: stopped at step 7"


def test_side_by_side_each_run_has_a_line(tmp_path):
    followed = [Followed(begun_run(tmp_path, name)) for name in ("a", "b")]
    append(followed[0].run.metrics, step(5))
    for each in followed:
        each.look(Silent())
    stream = io.StringIO()
    Console(file=stream, width=100).print(table(followed))
    assert [line.split()[:3] for line in stream.getvalue().splitlines()[1:]] == [
        ["a", "25%", "5"],
        ["b", "no", "step"],
    ]


def test_without_a_run_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["watch"]) == 2
    assert "no run to watch: none under runs/" in capsys.readouterr().err
