"""Checkpoints written in the background: the same bytes, one at a time, and no failure without a sound."""

import errno
import threading

import lm_train.checkpoint as checkpoint_module
import pytest
import torch
from lm_core import ModelConfig, Transformer
from lm_core.manifest import DiskFullError
from lm_train.background import Background
from lm_train.checkpoint import checkpoints, damage
from lm_train.config import CheckpointConfig, OptimConfig
from lm_train.run import train
from lm_train.state import KeptState
from resumed_runs import assert_same
from tiny_runs import tiny_config, tiny_corpus

BACKGROUND = CheckpointConfig(every=4, keep=9, background=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("background")
    tiny_corpus(folder)
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)


def tiny_model():
    return Transformer(ModelConfig(vocab_size=8, d_model=16, n_heads=2, n_layers=1), seed=1)


def test_a_run_that_saves_in_the_background_is_the_run_that_does_not(home):
    optim = OptimConfig(momentum_warmup=6, ema=0.9)
    plain = train(tiny_config(home, name="plain", optim=optim, checkpoint=CheckpointConfig(every=4, keep=9)))
    background = train(tiny_config(home, name="background", optim=optim, checkpoint=BACKGROUND))
    assert_same(plain.folder, background.folder)
    ours, theirs = (checkpoints(run.folder / "checkpoints") for run in (background, plain))
    assert [path.name for path in ours] == [path.name for path in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert damage(a) is None
        assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()


def test_what_is_written_is_the_moment_of_the_save():
    model, seen, go = tiny_model(), [], threading.Event()
    state = KeptState({"a": torch.ones(3)}, {"n": 1})

    def write(weights, kept):
        assert go.wait(60)
        seen.append((weights.head.weight.detach().clone(), kept.tensors["a"].clone(), kept.numbers))

    background = Background(model)
    before = model.head.weight.detach().clone()
    background.save(model, state, write)
    with torch.no_grad():
        model.head.weight.zero_()
    state.tensors["a"].zero_()
    state.numbers["n"] = 2
    background.check()  # still being written: nothing to say, and no waiting
    assert seen == []
    go.set()
    background.wait()
    assert torch.equal(seen[0][0], before)
    assert seen[0][1].tolist() == [1, 1, 1]
    assert seen[0][2] == {"n": 1}


def test_one_is_written_after_the_other_and_the_copies_are_used_again():
    model, order, places = tiny_model(), [], []
    background = Background(model)
    for number in range(3):

        def write(weights, kept, number=number):
            order.append(number)
            places.append(kept.tensors["a"].data_ptr())
            assert kept.tensors["a"].tolist() == [number] * 4

        background.save(model, KeptState({"a": torch.full((4,), float(number))}, {}), write)
    background.wait()
    assert order == [0, 1, 2]
    assert len(set(places)) == 1


def test_the_memory_taken_beforehand_is_used_and_what_it_does_not_hold_has_its_own():
    model, seen = tiny_model(), []
    background = Background(model, state_bytes=200)
    held = {"a": torch.arange(3, dtype=torch.uint8), "b": torch.arange(30.0), "c": torch.ones(40, 2)}
    for _ in range(2):
        background.save(model, KeptState(held, {}), lambda _, kept: seen.append(kept.tensors))
        background.wait()
        assert all(torch.equal(seen[-1][name], tensor) for name, tensor in held.items())
        held = {name: tensor + 1 for name, tensor in held.items()}
    places = {name: tensor.data_ptr() for name, tensor in seen[-1].items()}
    assert places["b"] - places["a"] == 64  # one after the other, each at its place
    assert not 0 <= places["c"] - places["a"] < 200
    assert places == {name: tensor.data_ptr() for name, tensor in seen[0].items()}


def test_making_one_draws_no_random_number():
    model = tiny_model()
    before = torch.get_rng_state()
    Background(model)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("failing", [2, 3])
def test_a_failed_write_ends_the_run_with_its_own_error_and_leaves_the_older_ones(home, monkeypatch, failing):
    sound, calls = checkpoint_module.write_state, []

    def full(*args, **kwargs):
        calls.append(1)
        if len(calls) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return sound(*args, **kwargs)

    monkeypatch.setattr(checkpoint_module, "write_state", full)
    name = f"failing-{failing}"
    with pytest.raises(DiskFullError, match=r"the disk is full: could not write .*step-0000"):
        train(tiny_config(home, name=name, checkpoint=BACKGROUND))
    left = checkpoints(home / "runs" / name / "checkpoints")
    assert [path.name for path in left] == ["step-00000004", "step-00000008"][: failing - 1]
    assert [damage(path) for path in left] == [None] * len(left)


def test_an_error_is_raised_once_by_whoever_asks_first():
    def fail(weights, kept):
        raise ZeroDivisionError("in the thread")

    background = Background(tiny_model())
    background.save(tiny_model(), KeptState({}, {}), fail)
    background.join()
    with pytest.raises(ZeroDivisionError, match="in the thread"):
        background.wait()
    background.wait()
    background.check()
