"""R1 over what a run can be made of: stopped after each of its steps, through four epochs, it is the unbroken run."""

import contextlib
from dataclasses import replace

import pytest
import torch
from lm_core import load_model
from lm_core.optim import EMA, AdamW, ScheduleFreeAdamW
from lm_train.checkpoint import checkpoints
from lm_train.config import CheckpointConfig, EvaluateConfig, OptimConfig, ScheduleConfig, TrainConfig
from lm_train.errors import ConfigError
from lm_train.opening import model_config
from lm_train.optimizers import Optimizers
from lm_train.run import train
from resumed_runs import assert_same, stopped_after_every_step
from safetensors.torch import load_file
from tiny_runs import tiny_config, tiny_text

STEPS = 8
CONSTANT = ScheduleConfig(name="constant", warmup=2)
SCHEDULE_FREE = OptimConfig(name="schedule-free", lr=0.01)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    (folder / "corpus.txt").write_text(tiny_text(3_000))
    (folder / "other.txt").write_text(tiny_text(1_500, seed=1))
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)


def everything_at_once(home, **changes):
    """A mixture, dropout, accumulation in unequal parts, blocks that are run again; two steps an epoch."""
    model = replace(tiny_config(home).model, dropout=0.2)
    settings = {
        "model": model,
        "batch": 31,
        "micro_batch": 8,
        "steps": STEPS,
        "recompute": True,
        "mix": (f"{home / 'other.txt'}=0.3",),
    }
    return tiny_config(home, **{**settings, **changes})


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("muon", {"optim": OptimConfig(momentum_warmup=6, ema=0.9)}),
        ("adamw", {"optim": OptimConfig(name="adamw", weight_decay=0.1, ema=0.5), "order": "packed"}),
        ("schedule-free", {"optim": SCHEDULE_FREE, "schedule": CONSTANT}),
    ],
)
def test_stopped_after_every_step_it_is_the_unbroken_run(home, name, changes):
    config = everything_at_once(home, name=f"{name}-whole", **changes)
    whole = train(config)
    broken = stopped_after_every_step(config, f"{name}-broken", STEPS)
    assert whole.step == STEPS
    assert_same(whole.folder, broken)


def own_weights(checkpoint):
    state = load_file(next((checkpoint / "state").glob("*.safetensors")))
    return {
        name.split("/")[1]: value.double() for name, value in state.items() if name.startswith("weights/")
    }


def test_an_average_is_saved_and_scored_and_changes_no_training(home):
    kept = {
        "checkpoint": CheckpointConfig(every=1, keep=STEPS),
        "evaluate": EvaluateConfig(every=1, windows=4),
    }
    averaged = train(tiny_config(home, name="averaged", steps=STEPS, optim=OptimConfig(ema=0.5), **kept))
    plain = train(tiny_config(home, name="plain", steps=STEPS, optim=OptimConfig(), **kept))
    trail = [own_weights(path) for path in checkpoints(averaged.folder / "checkpoints")]
    last = load_model(averaged.checkpoint).state_dict()
    weights = [0.5 ** (STEPS - 1 - i) for i in range(STEPS)]
    for name in last:
        naive = sum(w * step[name] for w, step in zip(weights, trail, strict=True)) / sum(weights)
        torch.testing.assert_close(last[name].double(), naive, rtol=1e-5, atol=1e-6)
    for path, own in zip(checkpoints(plain.folder / "checkpoints"), trail, strict=True):
        for name, value in load_model(path).state_dict().items():
            assert torch.equal(value.double(), own[name])
    assert averaged.valid_loss != plain.valid_loss


def test_a_checkpoint_needs_as_much_room_as_was_foretold(home):
    for name, optim, schedule in (
        ("room-ema", OptimConfig(ema=0.9), ScheduleConfig(warmup=2)),
        ("room-free", SCHEDULE_FREE, CONSTANT),
    ):
        result = train(tiny_config(home, name=name, steps=2, optim=optim, schedule=schedule))
        foretold = Optimizers(load_model(result.checkpoint), optim).state_bytes
        state = load_file(next((result.checkpoint / "state").glob("*.safetensors")))
        there = sum(value.nbytes for key, value in state.items() if key != "rng/cpu")
        assert foretold <= there <= foretold + 8 * len(state)  # each parameter's step


def test_the_weights_at_rest_are_the_average_and_come_back_to_the_bit(home):
    torch.manual_seed(0)
    for optim in (OptimConfig(ema=0.9), SCHEDULE_FREE):
        model = tiny_model(home)
        optimizers = Optimizers(model, optim)
        with optimizers.resting():
            assert (optimizers.own == {}) == (optim is not SCHEDULE_FREE)  # no step yet, so no average
        for _ in range(2):
            step(model, optimizers)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        with optimizers.resting(), optimizers.resting():
            changed = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
        assert changed
        assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
        step(model, optimizers)


def test_a_failure_inside_the_rest_brings_the_weights_back(home):
    torch.manual_seed(0)
    model = tiny_model(home)
    optimizers = Optimizers(model, OptimConfig(ema=0.9))
    for _ in range(2):
        step(model, optimizers)
    before = model.head.weight.detach().clone()
    with contextlib.suppress(ZeroDivisionError), optimizers.resting():
        assert not torch.equal(model.head.weight, before)
        raise ZeroDivisionError
    assert torch.equal(model.head.weight, before)


def test_with_mup_what_widens_has_its_share_of_the_rate(home):
    for name in ("adamw", "muon"):
        optimizers = Optimizers(tiny_model(home), OptimConfig(name=name, lr=0.01, mup_base=4))
        optimizers.set_step(0, 0.5)
        names = {id(p): n for n, p in optimizers.model.named_parameters()}
        rates = {
            names[id(p)]: group["lr"]
            for part in optimizers.parts
            if part.name == "adamw"
            for group in part.optimizer.param_groups
            for p in group["params"]
        }
        assert rates["head.weight"] == pytest.approx(0.005 * 4 / 16)
        assert rates["embedding.weight"] == rates["norm.weight"] == pytest.approx(0.005)
        if name == "adamw":
            assert rates["blocks.0.attention.q.weight"] == pytest.approx(0.005 * 4 / 16)
            assert len(rates) == len(names)


def test_the_options_reach_lm_core(home):
    model = tiny_model(home)
    assert isinstance(Optimizers(model, SCHEDULE_FREE).parts[0].optimizer, ScheduleFreeAdamW)
    assert isinstance(Optimizers(model, OptimConfig(ema=0.9)).ema, EMA)
    for name in ("muon", "adamw"):
        last = Optimizers(model, OptimConfig(name=name, compile=True)).parts[-1].optimizer
        assert isinstance(last, AdamW)
        assert last.param_groups[0]["compile"] is True


@pytest.mark.parametrize(
    ("optim", "message"),
    [
        ({"name": "lion", "compile": True}, "optim.compile must be left out with lion"),
        ({"name": "adafactor", "mup_base": 64}, "optim.mup_base must be left out with adafactor"),
        ({"name": "schedule-free", "ema": 0.9}, "optim.ema must be left out with schedule-free"),
        ({"ema": 1.0}, "optim.ema must be at least 0 and below 1"),
    ],
)
def test_what_does_not_go_together_is_refused(optim, message):
    with pytest.raises(ConfigError, match=message):
        OptimConfig(**optim)


def test_schedule_free_is_refused_with_a_schedule():
    with pytest.raises(ConfigError, match=r"schedule\.name must be constant with schedule-free"):
        TrainConfig(optim=SCHEDULE_FREE)


def tiny_model(home):
    from lm_core import Transformer

    return Transformer(model_config(tiny_config(home).model, 300), seed=0)


def step(model, optimizers):
    optimizers.zero_grad()
    model.loss(torch.arange(16)[None], torch.arange(1, 17)[None]).backward()
    optimizers.set_step(5, 1.0)
    optimizers.step()
