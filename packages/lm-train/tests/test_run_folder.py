"""A run's folder: its name, who holds it, its status, and rows that survive a kill."""

import json
import os

import pytest
from lm_train.errors import BusyFolderError
from lm_train.lock import locked
from lm_train.run_errors import RunError
from lm_train.run_folder import RunFolder, newest_run
from lm_train.view.metrics import JsonLines, Loggers, drop_after, read_lines


def made(out, name, **facts):
    run = RunFolder.create(out, name, "x")
    run.config.write_text("steps = 1")
    run.update(**facts)
    return run


def test_unnamed_runs_are_numbered_after_their_text(tmp_path):
    names = [RunFolder.create(tmp_path / "runs", None, "stdlib").name for _ in range(2)]
    (tmp_path / "runs" / "stdlib-7").mkdir()
    names += [RunFolder.create(tmp_path / "runs", None, stem).name for stem in ("stdlib", "std")]
    assert names == ["stdlib-1", "stdlib-2", "stdlib-8", "std-1"]


def test_a_name_that_is_taken_says_by_what_and_what_to_do(tmp_path):
    made(tmp_path, "a", status="done")
    with pytest.raises(RunError, match=r"is done; choose another --name, or train it further"):
        RunFolder.create(tmp_path, "a", "x")
    made(tmp_path, "b", status="stopped")
    with pytest.raises(
        RunError, match=r"was stopped; continue it with --resume .*b, or choose another --name"
    ):
        RunFolder.create(tmp_path, "b", "x")
    (tmp_path / "c").mkdir()
    with pytest.raises(RunError, match=r"c exists already and is not a run"):
        RunFolder.create(tmp_path, "c", "x")


def test_a_place_where_nothing_can_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        RunError, match=r"cannot make a run folder in .*file.*choose another place with --out"
    ):
        RunFolder.create(tmp_path / "file" / "runs", None, "x")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no such run folder"):
        RunFolder.open(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"not a run folder: it has no config\.toml"):
        RunFolder.open(tmp_path)
    run = made(tmp_path, "a")
    checkpoint = run.checkpoints / "step-00000001"
    checkpoint.mkdir(parents=True)
    with pytest.raises(RunError, match=r"this is a checkpoint of the run .*a"):
        RunFolder.open(checkpoint)
    with pytest.raises(RunError, match=r"no such run folder; runs there: a"):
        RunFolder.open(tmp_path / "b")


def test_a_second_writer_is_refused_by_the_first_ones_process(tmp_path):
    run = made(tmp_path, "a", status="running")
    with locked(run.path):
        assert run.status() == "running"
        with pytest.raises(BusyFolderError, match=f"process {os.getpid()}"), locked(run.path):
            pass
    assert run.status() == "stopped"  # "running", but no living process holds it


def test_the_newest_stopped_run_is_one_with_a_checkpoint(tmp_path):
    assert newest_run(tmp_path / "none") is None
    for name, status, saved in (("a", "stopped", True), ("b", "stopped", False), ("c", "done", True)):
        run = made(tmp_path, name, status=status)
        if saved:
            (run.checkpoints / "step-00000001").mkdir(parents=True)
    for number, name in enumerate("abc"):
        for path in [tmp_path / name, *(tmp_path / name).iterdir()]:
            os.utime(path, (1000 + number, 1000 + number))
    assert newest_run(tmp_path).name == "c"
    assert newest_run(tmp_path, stopped=True).name == "a"


def test_a_damaged_run_json_is_as_good_as_none(tmp_path):
    run = made(tmp_path, "a", status="done")
    (run.path / "run.json").write_text("{")
    assert run.facts() == {}
    assert run.status() == "stopped"


def test_rows_after_a_step_are_dropped_and_a_torn_line_with_them(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = Loggers([JsonLines(path)])
    for step in (1, 2, 3):
        log.log({"step": step, "loss": 0.1 * step})
    log.close()
    with path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in read_lines(path)] == [1, 2, 3]
    assert drop_after(path, 2) == 1
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "loss": 0.1},
        {"step": 2, "loss": 0.2},
    ]
    assert drop_after(tmp_path / "none", 2) == 0


def test_the_log_has_a_time_on_every_line(tmp_path):
    run = made(tmp_path, "a")
    run.log("one\ntwo")
    lines = (run.path / "log.txt").read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == ["one", "two"]
