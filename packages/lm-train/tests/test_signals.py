"""Ctrl-C, SIGTERM and SIGUSR1 at any moment: a checkpoint, a word, exit code 75."""

import os
import signal
import subprocess
import sys

import lm_train.loop as loop_module
import pytest
from lm_train import cli
from lm_train.checkpoint import checkpoints
from lm_train.config_file import to_toml
from lm_train.signals import Stop, Stopped
from lm_train.state import read_record
from tiny_runs import tiny_config, tiny_corpus


@pytest.fixture
def home(tmp_path):
    tiny_corpus(tmp_path)
    (tmp_path / "run.toml").write_text(to_toml(tiny_config(tmp_path)))
    return tmp_path


def send_in(monkeypatch, module, name, number, call=2):
    """Send a signal to this process when `module.name` is called for the `call`-th time."""
    original, calls = getattr(module, name), []

    def wrapped(*args, **kwargs):
        calls.append(name)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, wrapped)


@pytest.mark.parametrize(
    ("phase", "number", "call", "step"),
    [
        ("run_step", signal.SIGINT, 1, 1),
        ("run_step", signal.SIGTERM, 5, 5),
        ("evaluate", signal.SIGUSR1, 1, 4),
        ("evaluate", signal.SIGTERM, 3, 12),  # the closing one
        ("sample", signal.SIGINT, 1, 6),
        ("save_checkpoint", signal.SIGTERM, 1, 4),
    ],
)
def test_a_signal_in_any_phase_commits_and_exits_with_75(
    home, monkeypatch, capsys, phase, number, call, step
):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    with monkeypatch.context() as patch:
        send_in(patch, loop_module, phase, number, call)
        assert cli.run(["--config", str(home / "run.toml"), "--name", "x"]) == 75
    run = home / "runs" / "x"
    out, err = capsys.readouterr()
    assert f"stopped by {signal.Signals(number).name} at step {step}, saved in " in out
    assert f"--resume {run}" in out
    assert err == ""
    assert read_record(checkpoints(run / "checkpoints")[-1])["step"] == step
    assert cli.run(["--resume", str(run)]) == 0
    assert "done       12 steps" in capsys.readouterr().out


def test_a_signal_while_preparing_exits_with_75_and_the_same_command_goes_on(home, monkeypatch, capsys):
    import lm_train.corpus as corpus_module

    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    with monkeypatch.context() as patch:
        send_in(patch, corpus_module, "prepare", signal.SIGINT, 1)
        assert cli.run(["--config", str(home / "run.toml"), "--name", "x"]) == 75
    assert "stopped by SIGINT; the same command starts it again" in capsys.readouterr().err
    assert cli.run(["--config", str(home / "run.toml"), "--name", "x"]) == 0


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    with Stop().installed() as stop, stop.deferred():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.requested == "SIGUSR1"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_outside_of_training_a_signal_stops_at_once():
    with Stop().installed(), pytest.raises(Stopped, match="SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_while_the_program_is_loaded_has_no_traceback():
    code = (
        "import sys\nclass Interrupting:\n    def find_spec(self, name, *_):\n"
        "        if name == 'lm_train.cli':\n            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupting())\nfrom lm_train.__main__ import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == "\nstopped by SIGINT; nothing was begun\n"


def test_a_second_signal_ends_the_process_at_once():
    code = (
        "import os, signal\nfrom lm_train.signals import Stop\n"
        "with Stop().installed() as stop, stop.deferred():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    print('saving', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n    print('never')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "saving\n")
    assert "second signal: ended at once, without saving" in done.stderr
