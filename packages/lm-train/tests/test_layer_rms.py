"""Root mean squares by layer: what they are, that measuring them changes nothing, and how overfitting is told."""

import json

import pytest
import torch
from lm_core.inspection import residual_stream
from lm_train.config import EvaluateConfig
from lm_train.evaluate import Evaluation
from lm_train.layer_rms import KINDS, layer_rms
from lm_train.loop import Loop
from lm_train.overfitting import OverfitWarning
from lm_train.parallel.sharding import FULL
from lm_train.run import train
from lm_train.state import RunState
from lm_train.view.layer_charts import evenly, layer_charts
from tiny_runs import tiny_config, tiny_corpus

LAYERS = ["embedding", "blocks.0", "blocks.1", "norm", "head"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers")
    tiny_corpus(folder)
    return folder


@pytest.fixture
def session(home, monkeypatch):
    """The session of a run of six steps, as it stands at its last evaluation but for its gradients."""
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    kept = []
    sound = Loop.finish

    def noted(self):
        sound(self)
        kept.append(self)

    monkeypatch.setattr(Loop, "finish", noted)
    train(tiny_config(home, name=None, steps=6, evaluate=EvaluateConfig(every=3, windows=4)))
    return kept[0].s, kept[0].windows


def rms(tensors):
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    return flat.square().mean().sqrt().item()


def test_they_are_the_root_mean_squares_of_all_numbers_of_a_layer(session):
    s, windows = session
    found = layer_rms(s, windows)
    inputs, targets = (ids[:2] for ids in windows[0])
    s.model.eval()
    s.model.loss(inputs, targets).backward()
    for layer in LAYERS:
        parameters = [p for name, p in s.model.named_parameters() if name.startswith(f"{layer}.")]
        assert found[f"weight_rms/{layer}"] == pytest.approx(rms(parameters), rel=1e-4)
        assert found[f"gradient_rms/{layer}"] == pytest.approx(rms([p.grad for p in parameters]), rel=1e-4)
    for block, stream in enumerate(residual_stream(s.model, inputs)[1:]):
        assert found[f"activation_rms/blocks.{block}"] == pytest.approx(rms([stream]), rel=1e-4)
    assert len(found) == 2 * len(LAYERS) + 2


def test_they_stand_in_the_rows_of_evaluations_and_cost_nothing_elsewhere(session):
    s, _ = session
    rows = [json.loads(line) for line in s.run.metrics.read_text().splitlines()]
    for row in rows:
        told = {key.partition("/")[0] for key in row if "/" in key}
        assert told == (set(KINDS) if row.get("valid_tokens") == 4 * 16 else set())


def test_measuring_leaves_mode_random_numbers_and_gradients_as_training_needs_them(session):
    s, windows = session
    before = torch.get_rng_state()
    layer_rms(s, windows)
    assert s.model.training
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in s.model.parameters())


def test_of_packed_rows_they_are_those_of_documents_that_do_not_see_each_other(session):
    s, windows = session
    inputs, targets = windows[0]
    documents = torch.zeros_like(inputs)
    documents[:, 8:] = 1
    packed = layer_rms(s, [(inputs, targets, documents)])
    together = layer_rms(s, [(inputs, targets, torch.zeros_like(inputs))])
    apart = residual_stream(s.model.eval(), inputs[:2].reshape(-1, 8))
    assert together["activation_rms/blocks.1"] == pytest.approx(
        layer_rms(s, windows)["activation_rms/blocks.1"], rel=1e-4
    )
    assert packed["activation_rms/blocks.1"] == pytest.approx(rms([apart[-1]]), rel=1e-3)


def test_of_a_model_in_parts_there_are_none(session):
    s, windows = session
    s.sharding = FULL
    assert layer_rms(s, windows) == {}


def test_charts_show_the_outermost_layers_and_some_between():
    assert evenly([str(n) for n in range(24)]) == ["0", "5", "9", "14", "18", "23"]
    assert evenly(["a", "b"]) == ["a", "b"]
    rows = [{"tokens": 10 * n, "weight_rms/head": 1.0 + n, "gradient_rms/head": None} for n in range(3)]
    assert [caption for caption, _ in layer_charts(rows)] == ["Weights, by layer"]
    assert layer_charts([]) == []


def test_a_held_out_loss_that_rises_is_told_once_and_not_for_chance():
    warning = OverfitWarning()
    state = RunState(step=40, lowest_loss=2.0, lowest_step=10)
    assert warning.line(state, Evaluation(2.015, 1.0, 64)) is None
    said = warning.line(state, Evaluation(2.1, 1.0, 64))
    assert said.startswith("step 40: held-out loss 2.100 has risen from 2.000 at step 10")
    assert "--model.dropout 0.1" in said
    assert warning.line(state, Evaluation(2.2, 1.0, 64)) is None
