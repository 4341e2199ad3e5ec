"""A run that ends between its closing evaluation and its end tells no row twice: its files are those of an unbroken run."""

from dataclasses import replace

import pytest
from lm_train.config_file import read_config
from lm_train.loop import Loop
from lm_train.run import resume, train
from lm_train.session import Session
from lm_train.signals import Stop
from resumed_runs import assert_same
from tiny_runs import rows, tiny_config, tiny_corpus


class DeadError(Exception):
    """Where a process is killed."""


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("told")
    tiny_corpus(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_train.run.write_report", lambda run: run.report)
        train(tiny_config(folder))
    return folder


def again(folder, **changes):
    return resume(folder, replace(read_config([str(folder / "config.toml")]), **changes))


def dies(*_):
    raise DeadError


@pytest.mark.parametrize(
    ("owner", "method"), [(Loop, "write_samples"), (Session, "settle"), (Session, "hand_over")]
)
def test_killed_after_its_closing_evaluation(home, monkeypatch, owner, method):
    """Before the samples of the end, before its checkpoint is whole, and after it."""
    config = tiny_config(home, name=f"killed-{method}")
    run = home / "runs" / config.name
    unbroken = rows(home / "runs/tiny/metrics.jsonl")
    with monkeypatch.context() as patch:
        learn = Loop.learn

        def dies_later(loop):
            learn(loop)
            patch.setattr(owner, method, lambda *_, **__: dies())

        patch.setattr(Loop, "learn", dies_later)
        with pytest.raises(DeadError):
            train(config)
    assert rows(run / "metrics.jsonl") == unbroken  # it got as far as that
    assert again(run).status == "done"
    assert_same(home / "runs/tiny", run)


def test_stopped_within_its_closing_evaluation(home, monkeypatch):
    config = tiny_config(home, name="stopped")
    stop, evaluate = Stop(), Loop.evaluate

    def stops_after_the_first(loop, windows):
        found = evaluate(loop, windows)
        if loop.s.closing:
            stop.requested = "a test"
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "evaluate", stops_after_the_first)
        assert train(config, stop=stop).status == "stopped"
    assert again(home / "runs/stopped").status == "done"
    assert_same(home / "runs/tiny", home / "runs/stopped")


def test_a_run_that_is_trained_further_keeps_the_scores_of_its_old_end_also_after_a_kill(home, monkeypatch):
    run = train(tiny_config(home, name="further")).folder
    old = [rows(run / name) for name in ("metrics.jsonl", "samples.jsonl")]
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "learn", dies)
        with pytest.raises(DeadError):
            again(run, steps=15)
    again(run, steps=15)
    for before, name in zip(old, ("metrics.jsonl", "samples.jsonl"), strict=True):
        assert rows(run / name)[: len(before)] == before
        assert len(rows(run / name)) > len(before)
