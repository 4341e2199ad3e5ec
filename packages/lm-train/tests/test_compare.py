"""`lm-train compare`: paired differences with their error bars, over runs that a stopped study goes on from."""

import math
from dataclasses import replace

import numpy as np
import pytest
from lm_train import cli
from lm_train.config import EvaluateConfig, TrainConfig
from lm_train.config_file import to_toml, value_of, with_settings
from lm_train.errors import ConfigError
from lm_train.run_errors import RunError
from lm_train.signals import Stop
from lm_train.studies.compare import (
    _T,
    Difference,
    comparison,
    comparison_lines,
    label,
    paired,
    slug,
    variants,
)
from lm_train.studies.study import held_out, run_trial, score
from lm_train.view.display import Silent
from tiny_runs import tiny_config, tiny_corpus


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    tiny_corpus(folder)
    config = tiny_config(folder, steps=3, name=None, evaluate=EvaluateConfig(windows=4, final_windows=8))
    (folder / "tiny.toml").write_text(to_toml(config))
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)


@pytest.mark.parametrize("degrees", sorted(_T))
def test_the_quantiles_leave_a_fortieth_of_students_density_above_them(degrees):
    t = np.linspace(0, _T[degrees], 200_001)
    constant = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(
        degrees * math.pi
    )
    density = constant * (1 + t**2 / degrees) ** (-(degrees + 1) / 2)
    assert 0.5 + np.trapezoid(density, t) == pytest.approx(0.975, abs=4e-5)


def test_the_difference_is_taken_seed_by_seed():
    found = paired([1.9, 2.8, 3.7], [2.0, 3.0, 4.0])  # the seeds differ far more than the variants
    assert found.mean == pytest.approx(-0.2)
    assert found.bar == pytest.approx(4.303 * 0.1 / math.sqrt(3))
    assert found.verdict == "better" if found.bar < 0.2 else "no difference shown"
    assert paired([1.0], [2.0]) == Difference(-1.0, None)


@pytest.mark.parametrize(
    ("mean", "bar", "verdict"),
    [
        (-0.2, 0.1, "better"),
        (0.2, 0.1, "worse"),
        (-0.1, 0.1, "no difference shown"),
        (0.3, None, "one seed: no error bar"),
    ],
)
def test_a_verdict_needs_a_difference_beyond_its_error_bar(mean, bar, verdict):
    assert Difference(mean, bar).verdict == verdict


def test_several_settings_give_every_combination():
    assert variants(["optim.name=adamw,muon", "batch=4"]) == [
        {"optim.name": "adamw", "batch": 4},
        {"optim.name": "muon", "batch": 4},
    ]
    assert [value_of(text) for text in ("1e-3", "4", "true", "adamw", "a.b")] == [
        1e-3,
        4,
        True,
        "adamw",
        "a.b",
    ]
    assert label({"optim.name": "muon", "batch": 4}) == "optim.name=muon batch=4"
    assert slug({"optim.name": "muon", "optim.lr": 0.001}) == "name-muon-lr-0.001"


def test_each_seed_is_shared_by_all_variants_and_nothing_else_differs():
    config = TrainConfig(seed=5, steps=100)
    grid = comparison(config, ["optim.lr=0.001,0.002"], 2)
    assert [[trial.config.seed for trial in row] for row in grid] == [[5, 6], [5, 6]]
    for row, lr in zip(grid, (0.001, 0.002), strict=True):
        for trial in row:
            same = replace(trial.config, seed=5, optim=replace(trial.config.optim, lr=config.optim.lr))
            assert replace(same, evaluate=config.evaluate) == config
            assert (trial.config.optim.lr, trial.config.evaluate.every) == (lr, 10)


def test_a_budget_can_be_varied_whatever_its_unit():
    assert with_settings(TrainConfig(minutes=3), {"steps": 7}, "x") == TrainConfig(steps=7)


@pytest.mark.parametrize(
    ("vary", "seeds", "message"),
    [
        ([], 3, "nothing to compare"),
        (["batch"], 3, "batch: a setting and its values are wanted"),
        (["batch=4,"], 3, "a setting and its values are wanted"),
        (["batch=4"], 3, "batch=4: one variant"),
        (["batch=4,8"], 0, "--seeds must be at least 1"),
        (["optim.nmae=a,b"], 3, "unknown key optim.nmae; did you mean optim.name"),
        (["batch=4,many"], 3, 'batch must be a whole number, got "many"'),
        (["batch=4,0"], 3, "batch must be above 0"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_told_before_the_first_run(vary, seeds, message):
    with pytest.raises(ConfigError, match=message):
        comparison(TrainConfig(), vary, seeds)


def test_the_command_compares_goes_on_where_it_was_stopped_and_trains_nothing_twice(
    home, capsys, monkeypatch
):
    monkeypatch.chdir(home)
    command = ["compare", "optim.name=muon,adamw", "--seeds", "2", "--config", "tiny.toml", "--name", "both"]
    trained = []
    from lm_train.studies import study

    def counted(config, *, display, stop):
        trained.append(config.name)
        result = study_train(config, display=display, stop=stop)
        if len(trained) == 2:
            stop.requested = "a test"  # as a signal between two runs does
        return result

    study_train = study.train
    monkeypatch.setattr(study, "train", counted)
    assert cli.run(command) == 75
    assert "the same command goes on" in capsys.readouterr().out
    assert cli.run(command) == 0
    out = capsys.readouterr().out
    assert trained[:2] == ["name-muon-seed-0", "name-adamw-seed-0"]
    assert sorted(set(trained)) == [
        f"name-{name}-seed-{seed}" for name in ("adamw", "muon") for seed in (0, 1)
    ]
    assert "optim.name=adamw" in out
    assert "±" in out
    page = (home / "runs/both/report.html").read_text()
    assert page.count("<svg") == 2
    assert "name-adamw-seed-1/report.html" in page
    count = len(trained)
    assert cli.run(command) == 0
    assert len(trained) == count
    assert cli.run([*command, "--batch", "3"]) == 2
    assert "is a run with other settings; give this study another --name" in capsys.readouterr().err


def test_the_same_variant_twice_differs_by_nothing(home, monkeypatch):
    config = tiny_config(home, steps=2, name=None)
    runs = []
    for trial in (row[0] for row in comparison(config, ["seed=0,1"], 1)):
        runs.append(run_trial(replace(trial, name=f"same-{len(runs)}"), home / "runs/same", Silent(), Stop()))
    what, scores = held_out(runs)
    assert what == "valid_bits_per_byte"
    assert scores[0] == scores[1] == score(runs[0], what)  # comparison sets the seed, whatever is varied
    assert comparison_lines(["a", "b"], [[s] for s in scores], what)[-1].endswith(
        "+0.0000  one seed: no error bar"
    )


def test_a_study_on_several_ranks_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for command in (["compare", "batch=2,4"], ["sweep", "shape"]):
        assert cli.run(command) == 2
        assert "in one process each; start it without torchrun" in capsys.readouterr().err


def test_a_trial_without_a_checkpoint_is_named(home):
    trial = comparison(tiny_config(home, steps=2), ["batch=2,3"], 1)[0][0]
    run = home / "runs/broken" / trial.name
    run.mkdir(parents=True)
    old = replace(trial.config, name=None, out=str(home / "runs/broken"))
    (run / "config.toml").write_text(to_toml(old))
    with pytest.raises((ConfigError, RunError), match="has no checkpoint; remove that folder"):
        run_trial(trial, home / "runs/broken", Silent(), Stop())
