"""`lm-train sweep`: the sweep file's format, and which settings are tried."""

import math
import random

import pytest
import yaml
from lm_train import cli
from lm_train.config import EvaluateConfig, TrainConfig
from lm_train.config_file import to_toml
from lm_train.errors import ConfigError
from lm_train.studies.sweep import Search, drawn
from lm_train.studies.sweep_file import Parameter, read_sweep, ready_sweeps
from tiny_runs import tiny_config, tiny_corpus

RANGES = {
    "optim.lr": {"distribution": "log_uniform_values", "min": 0.001, "max": 0.1},
    "batch": {"min": 2, "max": 5},
    "model": {"parameters": {"dropout": {"min": 0.0, "max": 0.5}, "n_layers": {"values": [1, 2]}}},
    "optim.name": {"value": "adamw"},
}


def plan_of(tmp_path, **table):
    path = tmp_path / "a-sweep.yaml"
    path.write_text(yaml.safe_dump({"method": "random", "run_cap": 5, "parameters": RANGES, **table}))
    return read_sweep(str(path))


def choices(plan, scores=None, config=TrainConfig()):  # noqa: B008
    search, found = Search(plan, config), []
    while (trial := search.next()) is not None:
        found.append(dict(trial.choice))
        search.tell(scores(found[-1]) if scores else 1.0)
    return found


def test_a_file_is_read_with_nested_parameters_and_defaults(tmp_path):
    plan = plan_of(tmp_path)
    assert (plan.name, plan.metric, plan.maximize, plan.runs) == ("a-sweep", "valid_bits_per_byte", False, 5)
    assert plan.parameters == {
        "optim.lr": Parameter("log_uniform_values", low=0.001, high=0.1),
        "batch": Parameter("int_uniform", low=2.0, high=5.0),
        "model.dropout": Parameter("uniform", low=0.0, high=0.5),
        "model.n_layers": Parameter("categorical", (1, 2)),
        "optim.name": Parameter("constant", ("adamw",)),
    }


def test_a_grid_is_every_combination_once_in_order(tmp_path):
    grid = {"batch": {"values": [2, 4]}, "optim.lr": {"values": [0.1, 0.2, 0.3]}}
    found = choices(plan_of(tmp_path, method="grid", parameters=grid, run_cap=None))
    assert found == [{"batch": batch, "optim.lr": lr} for batch in (2, 4) for lr in (0.1, 0.2, 0.3)]
    assert len(choices(plan_of(tmp_path, method="grid", parameters=grid, run_cap=4))) == 4


def test_random_choices_lie_in_their_ranges_and_are_the_same_again(tmp_path):
    plan = plan_of(tmp_path, run_cap=40)
    found = choices(plan)
    assert found == choices(plan)
    assert found != choices(plan, config=TrainConfig(seed=1))
    for choice in found:
        assert 0.001 <= choice["optim.lr"] <= 0.1
        assert choice["batch"] in (2, 3, 4, 5)
        assert 0 <= choice["model.dropout"] <= 0.5
    assert {choice["batch"] for choice in found} == {2, 3, 4, 5}
    assert {choice["model.n_layers"] for choice in found} == {1, 2}


def test_logarithms_are_uniform_where_asked_for():
    rng = random.Random(0)
    draws = [math.log10(drawn(Parameter("log_uniform_values", low=1e-4, high=1.0), rng)) for _ in range(4000)]
    assert [sum(low <= d < low + 1 for d in draws) / 4000 for low in (-4, -3, -2, -1)] == pytest.approx(
        [0.25] * 4, abs=0.03
    )


def test_a_bayesian_search_finds_the_valley_better_than_chance_and_repeats_itself(tmp_path):
    def far(choice):
        return abs(math.log10(choice["optim.lr"]) + 2)

    only = {"optim.lr": RANGES["optim.lr"]}
    plans = [plan_of(tmp_path, method=method, run_cap=30, parameters=only) for method in ("bayes", "random")]
    searched, chance = (choices(plan, far) for plan in plans)
    late = [sum(map(far, found[-15:])) / 15 for found in (searched, chance)]
    assert late[0] < 0.8 * late[1]
    assert searched == choices(plans[0], far)


def test_the_goal_turns_the_search_around(tmp_path):
    only = {"batch": {"values": [1, 2, 3, 4, 5, 6, 7, 8]}}
    plan = plan_of(
        tmp_path, method="bayes", run_cap=30, parameters=only, metric={"name": "x", "goal": "maximize"}
    )
    found = choices(plan, lambda choice: float(choice["batch"]))
    assert sum(c["batch"] for c in found[-10:]) / 10 > 5.5


def test_a_run_without_a_score_does_not_end_a_search(tmp_path):
    assert len(choices(plan_of(tmp_path, method="bayes"), lambda choice: None)) == 5


def test_without_optuna_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'lm-train\[sweep\]', or take method random"):
        Search(plan_of(tmp_path, method="bayes"), TrainConfig())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"method": "annealing"}, "method must be one of grid, random, bayes, got annealing"),
        ({"early_terminate": {"type": "hyperband"}}, "early_terminate is not carried out here"),
        ({"run_cap": None}, "a random sweep has no end of its own"),
        ({"run_cap": 0}, "run_cap must be a whole number above 0"),
        ({"metric": {"goal": "up"}}, "metric must be"),
        ({"method": "grid"}, "a grid needs values; batch has a range"),
        ({"parameters": {}}, "needs a table of parameters"),
        ({"parameters": {"batch": 3}}, "batch needs value, values, or min and max"),
        ({"parameters": {"batch": {"min": 5, "max": 2}}}, "min below max"),
        ({"parameters": {"batch": {"values": []}}}, "values is a list"),
        (
            {"parameters": {"optim.lr": {"min": 0.1, "max": 1.0, "distribution": "beta"}}},
            "the distribution beta is not",
        ),
        (
            {"parameters": {"optim.lr": {"min": 0.0, "max": 1.0, "distribution": "log_uniform_values"}}},
            "min above 0",
        ),
    ],
)
def test_a_file_that_cannot_be_carried_out_is_refused_by_name(tmp_path, table, message):
    with pytest.raises(ConfigError, match=message):
        plan_of(tmp_path, **table)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"optim.rate": {"value": 1}}, "unknown key optim.rate"),
        ({"batch": {"values": [4, 0]}}, "batch must be above 0"),
        ({"optim.name": {"values": ["adamw", "sgd"]}}, "optim.name must be one of"),
    ],
)
def test_a_wrong_setting_is_told_before_the_first_run(tmp_path, parameters, message):
    with pytest.raises(ConfigError, match=message):
        Search(plan_of(tmp_path, parameters=parameters), TrainConfig())


@pytest.mark.parametrize("name", ready_sweeps())
def test_the_ready_sweeps_can_be_carried_out(name):
    assert Search(read_sweep(name), TrainConfig()).planned >= 12


def test_the_command_runs_a_sweep_and_ranks_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    monkeypatch.chdir(tmp_path)
    tiny_corpus(tmp_path)
    config = tiny_config(tmp_path, steps=3, name=None, evaluate=EvaluateConfig(windows=4, final_windows=8))
    (tmp_path / "tiny.toml").write_text(to_toml(config))
    grid = {"optim.lr": {"values": [1e-9, 0.01]}, "optim.name": {"value": "adamw"}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"method": "grid", "parameters": grid}))
    assert cli.run(["sweep", "s.yaml", "--config", "tiny.toml"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "optim.lr=" in line]
    assert [line[1] for line in lines] == ["run-002", "run-001"]  # the one that learns comes first
    page = (tmp_path / "runs/sweep-s/report.html").read_text()
    assert page.count("<svg") == 1
    assert cli.run(["sweep", "none.yaml"]) == 2
    assert "ready ones: learning-rate, shape" in capsys.readouterr().err
