"""R1: a run that was stopped anywhere and resumed is, bit for bit, the run that was not."""

import itertools
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from lm_train.checkpoint import checkpoints
from lm_train.config import CheckpointConfig, EvaluateConfig, OptimConfig, SampleConfig, TrainConfig
from lm_train.config_file import read_config, to_toml
from lm_train.run import resume, train
from lm_train.run_errors import RunError
from lm_train.state import read_record
from resumed_runs import StopAt, assert_same
from tiny_runs import rows, tiny_config, tiny_corpus, tiny_text

STEPS = 12


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a corpus, and its unbroken run `tiny`."""
    folder = tmp_path_factory.mktemp("resume")
    tiny_corpus(folder)
    assert train(tiny_config(folder)).status == "done"
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr(
        "lm_train.run.write_report", lambda run: run.report
    )  # drawing takes longer than training here


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_run_stopped_after_any_step_and_resumed_is_the_unbroken_one(home, step):
    config = tiny_config(home, name=f"stopped-{step}")
    watch = StopAt(step)
    first = train(config, display=watch, stop=watch.stop)
    assert (first.status, first.step) == ("stopped", step)
    second = resume(first.folder, read_config([str(first.folder / "config.toml")]))
    assert (second.status, second.step) == ("done", STEPS)
    assert_same(home / "runs" / "tiny", first.folder)


def test_a_run_stopped_after_every_step_is_the_unbroken_one(home):
    watch = StopAt(1)
    result = train(tiny_config(home, name="patient"), display=watch, stop=watch.stop)
    for step in range(2, STEPS + 1):
        watch = StopAt(step)
        result = resume(
            result.folder, read_config([str(result.folder / "config.toml")]), display=watch, stop=watch.stop
        )
    assert resume(result.folder, read_config([str(result.folder / "config.toml")])).status == "done"
    assert_same(home / "runs" / "tiny", result.folder)


@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor"])
def test_every_optimizer_resumes_exactly(home, name):
    config = tiny_config(home, name=f"{name}-whole", optim=OptimConfig(name=name, lr=0.001))
    whole = train(config)
    watch = StopAt(5)
    first = train(replace(config, name=f"{name}-stopped"), display=watch, stop=watch.stop)
    resume(first.folder, read_config([str(first.folder / "config.toml")]))
    assert_same(whole.folder, first.folder)


def test_dropout_and_gradients_in_parts_resume_exactly(home):
    model = replace(
        tiny_config(home).model, dropout=0.2, sliding_window=8, logit_softcap=20.0, vocab_multiple=64
    )
    config = tiny_config(home, name="dropped-whole", model=model, batch=3, micro_batch=2)
    whole = train(config)
    watch = StopAt(7)
    first = train(replace(config, name="dropped-stopped"), display=watch, stop=watch.stop)
    resume(first.folder, read_config([str(first.folder / "config.toml")]))
    assert_same(whole.folder, first.folder)


def test_a_mixture_resumes_exactly_and_scores_each_of_its_texts(home):
    (home / "other.txt").write_text(tiny_text(6_000, seed=1))
    mix = (f"{home / 'other.txt'}=0.3",)
    whole = train(tiny_config(home, name="mixed-whole", mix=mix))
    watch = StopAt(5)
    first = train(tiny_config(home, name="mixed-stopped", mix=mix), display=watch, stop=watch.stop)
    resume(first.folder, read_config([str(first.folder / "config.toml")]))
    assert_same(whole.folder, first.folder)
    scores = [row for row in rows(whole.folder / "metrics.jsonl") if "mix" in row]
    assert [row["mix"] for row in scores] == [str(home / "other.txt")]
    assert scores[0]["mix_valid_bits_per_byte"] > 0
    (home / "other.txt").write_text(tiny_text(6_000, seed=2))
    changed = read_config([str(first.folder / "config.toml")])
    assert (
        resume(first.folder, replace(changed, steps=STEPS + 1)).step == STEPS + 1
    )  # its old dataset is kept
    with pytest.raises(RunError, match="mix"):
        resume(first.folder, replace(changed, mix=(), steps=STEPS + 2))


def test_the_same_seed_gives_the_same_bits_and_another_does_not(home):
    train(tiny_config(home, name="again"))
    assert_same(home / "runs" / "tiny", home / "runs" / "again")
    train(tiny_config(home, name="other", seed=1))
    assert rows(home / "runs" / "other" / "metrics.jsonl") != rows(home / "runs" / "tiny" / "metrics.jsonl")


def test_a_resumed_run_has_the_plan_of_its_time_budget(home, monkeypatch):
    monkeypatch.setattr("lm_train.budget.MEASURED_STEPS", 2)
    ticks = itertools.count()
    clock = SimpleNamespace(perf_counter=lambda: 0.05 * next(ticks))  # a step takes 0.05 s, on any machine
    monkeypatch.setattr("lm_train.loop.time", clock)
    config = tiny_config(home, name="timed", minutes=0.01, checkpoint=CheckpointConfig())
    whole = train(config)
    planned = checkpoints(whole.folder / "checkpoints")[0]  # committed when the plan was made
    total = read_record(planned)["total_steps"]
    assert total == whole.step
    assert read_record(planned)["step"] < total
    before = rows(whole.folder / "metrics.jsonl")
    newest = checkpoints(whole.folder / "checkpoints")[-1]
    newest.rename(newest.with_name("elsewhere"))  # as if the run had been killed during its decay
    again = resume(whole.folder, read_config([str(whole.folder / "config.toml")]))
    assert again.step == total
    losses = [
        [(row["step"], row["loss"]) for row in found if "loss" in row]
        for found in (before, rows(whole.folder / "metrics.jsonl"))
    ]
    assert losses[0] == losses[1]


def test_a_run_that_is_done_says_how_to_train_it_further(home):
    with pytest.raises(
        RunError, match=r"tiny is done; give it a larger budget to train it further, for example --steps 24"
    ):
        resume(home / "runs" / "tiny", tiny_config(home))


def test_a_finished_run_can_be_trained_further(home):
    config = tiny_config(home, name="longer")
    first = train(config)
    second = resume(first.folder, replace(config, steps=2 * STEPS))
    assert (second.status, second.step) == ("done", 2 * STEPS)
    assert [row["step"] for row in rows(first.folder / "metrics.jsonl") if "loss" in row] == list(
        range(1, 2 * STEPS + 1)
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": 1}, r"seed +0 -> 1"),
        ({"batch": 4}, r"batch +2 -> 4"),
        ({"optim": OptimConfig(momentum_warmup=6, lr=0.1)}, r"optim\.lr +0\.012 -> 0\.1"),
    ],
)
def test_other_settings_are_refused_with_a_table(home, changes, line):
    run = home / "runs" / "tiny"
    with pytest.raises(RunError, match=r"cannot continue .*tiny with other settings:\n  " + line):
        resume(run, tiny_config(home, **changes))


def test_no_pickle_is_written_or_read(home, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    for name in ("Unpickler", "Pickler", "load", "loads", "dump", "dumps"):
        monkeypatch.setattr(pickle, name, refuse)
    watch = StopAt(3)
    first = train(tiny_config(home, name="unpickled"), display=watch, stop=watch.stop)
    resume(first.folder, read_config([str(first.folder / "config.toml")]))
    names = {path.suffix for path in first.folder.rglob("*") if path.is_file()}
    assert names <= {".json", ".safetensors", ".toml", ".jsonl", ".txt", ".html"}
    for path in first.folder.rglob("*.safetensors"):
        assert path.read_bytes()[8:9] == b"{"


def start(config: TrainConfig, folder: Path) -> subprocess.Popen[str]:
    (folder / "run.toml").write_text(to_toml(config))
    command = [
        sys.executable,
        "-m",
        "lm_train",
        "--config",
        str(folder / "run.toml"),
        "--name",
        str(config.name),
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_step(run: Path, step: int, child: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300  # bounds a hang, and says nothing of speed
    while time.monotonic() < deadline and child.poll() is None:
        found = rows_so_far(run / "metrics.jsonl")
        if found >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"the run did not reach step {step}: {child.communicate()}")


def rows_so_far(path: Path) -> int:
    return path.read_text().count("\n") if path.is_file() else 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_process_that_is_killed_or_interrupted_goes_on_exactly(home, number):
    often = {"evaluate": EvaluateConfig(every=70, windows=2), "samples": SampleConfig(every=70)}
    config = tiny_config(
        home, name=f"signal-{number}", steps=150, checkpoint=CheckpointConfig(every=50), **often
    )
    child = start(config, home)
    run = home / "runs" / str(config.name)
    wait_for_step(run, 60, child)
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    assert "Traceback" not in err
    if number == signal.SIGKILL:
        assert child.returncode == -signal.SIGKILL
    else:
        assert child.returncode == 75, err
        assert "stopped by SIGINT at step " in out
        assert f"python -m lm_train --resume {run}" in out
    assert read_record(checkpoints(run / "checkpoints")[-1])["step"] < 150
    assert resume(run, read_config([str(run / "config.toml")])).step == 150
    whole = home / "runs" / "whole"
    if not whole.is_dir():
        train(replace(config, name=whole.name))
    assert_same(whole, run)
