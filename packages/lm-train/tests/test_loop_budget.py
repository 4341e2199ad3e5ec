"""How long a run is, and the learning rate that ends with it."""

import json
from dataclasses import replace

import pytest
from lm_train import cli
from lm_train.budget import MEASURED_STEPS, Budget, Pace
from lm_train.config import ModelOptions, ScheduleConfig, TrainConfig
from lm_train.due import Due
from lm_train.run import resume, train
from tiny_runs import tiny_config, tiny_corpus


def timed(schedule, seconds=60.0):
    return Budget(schedule=schedule, steps=None, seconds=seconds)


def simulate(budget, step_seconds):
    """(the step at which the plan was made, the plan) of a run whose step `i` takes `step_seconds(i)`."""
    step, seconds = 0, 0.0
    while True:
        plan = budget.plan(step, seconds, step_seconds(step))
        if plan is not None:
            return step, plan
        seconds += step_seconds(step)
        step += 1


def test_a_budget_in_steps_or_tokens_is_its_own_plan():
    assert Budget.of(TrainConfig(steps=7)).plan(0, 0.0, 0.0) == 7
    config = TrainConfig(tokens=100, batch=2, model=ModelOptions(context=16))
    assert Budget.of(config).plan(0, 0.0, 0.0) == 4


def test_the_plan_is_made_where_the_decay_begins_and_fills_the_time():
    budget = timed(ScheduleConfig(warmup=20, decay=0.5))
    made, total = simulate(budget, lambda step: 0.1)
    assert total == 600
    assert 298 <= made <= 300
    assert budget.factor(made - 1, None) == budget.factor(made - 1, total) == 1.0


def test_before_the_plan_the_learning_rate_is_what_it_would_be_with_it():
    budget = timed(ScheduleConfig(warmup=20, decay=0.5))
    made, total = simulate(budget, lambda step: 0.1 if step % 3 else 0.2)
    assert [budget.factor(step, None) for step in range(made)] == [
        budget.factor(step, total) for step in range(made)
    ]


def test_steps_that_become_slower_shorten_the_plan():
    fast = simulate(timed(ScheduleConfig()), lambda step: 0.1)[1]
    slow = simulate(timed(ScheduleConfig()), lambda step: 0.1 if step < 100 else 0.3)[1]
    assert 100 < slow < fast


def run_through(budget, step_seconds):
    """(seconds, the rates' factors, the plans) of a whole run whose step `i` takes `step_seconds(i)`."""
    step, seconds, factors, plans, pace = 0, 0.0, [], [], Pace(budget.seconds)
    while True:
        if not plans:
            plan = budget.plan(step, seconds, pace.mean)
        else:
            plan = budget.planned_again(step, seconds, pace, plans[-1])
        if plan is not None:
            plans.append(plan)
            pace.begin_again()
        if plans and step >= plans[-1]:
            return seconds, factors, plans
        factors.append(budget.factor(step, plans[-1] if plans else None))
        taken = step_seconds(step)
        pace.add(taken)
        seconds += taken
        step += 1


def paced(step_seconds, count, budget_seconds):
    pace = Pace(budget_seconds)
    for _ in range(count):
        pace.add(step_seconds)
    return pace


def test_the_pace_is_that_of_the_last_twentieth_of_the_budget():
    pace = paced(0.1, 49, 100.0)  # 5 s are waited for
    assert not pace.known
    for _ in range(3):
        pace.add(0.1)
    assert pace.known
    assert pace.mean == pytest.approx(0.1)
    for _ in range(25):
        pace.add(0.2)
    assert (pace.mean, pace.median) == pytest.approx((0.2, 0.2))
    pace.begin_again()
    assert (pace.known, pace.mean) == (False, 0.0)
    slow = paced(60.0, MEASURED_STEPS, 100.0)  # however slow: not of fewer steps
    assert not slow.known
    slow.add(60.0)
    assert slow.known


@pytest.mark.parametrize("name", ["wsd", "cosine", "linear"])
@pytest.mark.parametrize("later", [0.03, 0.05, 0.2, 0.5, 2.0])
@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_machine_that_changes_its_speed_still_ends_in_time_and_at_the_floor(name, later, share):
    budget = timed(ScheduleConfig(name=name, warmup=20, decay=0.7), seconds=150.0)
    seconds, factors, plans = run_through(budget, lambda step: 0.1 if step < share * 1_500 else later)
    assert 0.88 * 150 <= seconds <= 1.12 * 150
    assert 2 <= len(plans) <= 4
    assert factors[-1] <= (0.05 if later < 1 else 0.3)  # 20 times slower: no steps are left to decay in
    assert max(factors) == 1.0


def test_a_plan_that_nearly_keeps_its_time_is_kept():
    budget = timed(ScheduleConfig(warmup=20, decay=0.7), seconds=150.0)
    for seconds in (0.09, 0.11):
        _, _, plans = run_through(budget, lambda step, late=seconds: 0.1 if step < 600 else late)
        assert len(plans) == 1
    short = timed(ScheduleConfig(warmup=2, decay=0.7), seconds=12.0)
    assert len(run_through(short, lambda step: 0.1 if step < 60 else 0.2)[2]) == 1  # by less than 10 s
    for one_in_many in (
        lambda step: 8.0 if step == 700 else 0.1,
        lambda step: 0.5 if step % 10 == 0 else 0.1,
    ):
        assert len(run_through(budget, one_in_many)[2]) == 1
    seconds, _, plans = run_through(budget, lambda step: 60.0 if step == 700 else 0.1)
    assert len(plans) == 2
    assert abs(seconds - 150) <= 15
    slow = paced(9.0, 12, 150.0)
    assert slow.known
    assert Budget.of(TrainConfig(steps=70)).planned_again(30, 500.0, slow, 70) is None
    assert budget.planned_again(1_000, 100.0, paced(9.0, 10, 150.0), 3_000) is None
    assert budget.planned_again(1_000, 100.0, slow, 3_000) == 1_006
    assert budget.planned_again(1_000, 160.0, slow, 3_000) == 1_000  # the time is over


def test_cosine_is_planned_at_the_end_of_its_warm_up():
    made, total = simulate(timed(ScheduleConfig(name="cosine", warmup=30)), lambda step: 0.1)
    assert made == 30
    assert total == 600


def test_no_plan_is_made_from_steps_that_were_not_timed():
    made, total = simulate(timed(ScheduleConfig(name="cosine", warmup=0)), lambda step: 0.1)
    assert made == MEASURED_STEPS
    assert total == 600


def test_a_budget_shorter_than_a_few_steps_still_ends():
    made, total = simulate(timed(ScheduleConfig(), seconds=0.5), lambda step: 0.1)
    assert made == total == MEASURED_STEPS


@pytest.mark.parametrize("name", ["wsd", "cosine", "linear"])
def test_the_learning_rate_ends_at_its_floor(name):
    budget = Budget(schedule=ScheduleConfig(name=name, floor=0.1, warmup=5), steps=100, seconds=None)
    factors = [budget.factor(step, 100) for step in range(101)]
    assert max(factors) == pytest.approx(1.0)
    assert factors[100] == pytest.approx(0.1)
    assert factors[99] < 0.2


def test_a_run_shorter_than_its_warm_up_has_a_schedule():
    for name in ("wsd", "cosine", "linear", "constant"):
        budget = Budget(schedule=ScheduleConfig(name=name, warmup=20), steps=3, seconds=None)
        assert all(0 <= budget.factor(step, 3) <= 1 for step in range(3))


def test_progress_is_of_time_until_there_is_a_plan():
    budget = timed(ScheduleConfig())
    assert budget.progress(10, 15.0, None) == 0.25
    assert budget.progress(150, 15.0, 300) == 0.5


def test_due_by_steps_is_at_their_multiples():
    due = Due(3)
    assert [step for step in range(1, 10) if due(step, 0.0)] == [3, 6, 9]


def test_due_by_times_is_spread_over_the_run():
    due = Due(None, times=4)
    assert [step for step in range(1, 13) if due(step, step / 12)] == [3, 6, 9, 12]


def test_due_on_a_resumed_run_does_not_repeat_what_was_done():
    due = Due(None, times=4, progress=0.5)
    assert [step for step in range(7, 13) if due(step, step / 12)] == [9, 12]


def test_due_by_minutes_counts_from_the_last_time():
    now = [0.0]
    due = Due(None, minutes=1.0, clock=lambda: now[0])
    now[0] = 59.0
    assert not due(1, 0.0)
    now[0] = 60.0
    assert due(2, 0.0)
    due.done()
    assert not due(3, 0.0)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    tiny_corpus(tmp_path)
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    return tmp_path


def test_a_budget_in_epochs_becomes_steps_once_the_data_is_known(corpus):
    whole = train(tiny_config(corpus, steps=1, name="one")).folder
    tokens = json.loads((whole / "run.json").read_text())["dataset"]["splits"]["train"]["tokens"]
    config = replace(tiny_config(corpus, name="half"), steps=None, epochs=0.1)
    result = train(config)
    windows = (tokens - 1) // 16
    assert abs(result.step - 0.1 * windows / 2) <= 1
    assert f"steps = {result.step}" in (result.folder / "config.toml").read_text()
    assert resume(result.folder, replace(config, epochs=0.2)).step == pytest.approx(2 * result.step, abs=1)


def test_a_limit_on_the_clock_saves_and_exits_with_75(corpus, capsys, monkeypatch):
    monkeypatch.chdir(corpus)
    small = ["--model.context", "16", "--model.d-model", "16", "--model.n-heads", "2", "--model.d-ff", "32"]
    options = ["--data", "corpus.txt", "--vocab-size", "300", "--steps", "100000", "--name", "lent", *small]
    assert cli.run([*options, "--max-minutes", "0.01"]) == 75
    out = capsys.readouterr().out
    assert "stopped by --max-minutes 0.01 at step" in out
    assert "--resume runs/lent" in out


def test_console_json_puts_the_rows_and_nothing_else_on_standard_output(corpus, capsys, monkeypatch):
    monkeypatch.chdir(corpus)
    small = ["--model.context", "16", "--model.d-model", "16", "--model.n-heads", "2", "--model.d-ff", "32"]
    assert (
        cli.run(
            [
                "--data",
                "corpus.txt",
                "--vocab-size",
                "300",
                "--steps",
                "3",
                "--name",
                "j",
                "--log",
                "console-json",
                *small,
            ]
        )
        == 0
    )
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        json.loads(line) for line in (corpus / "runs/j/metrics.jsonl").read_text().splitlines()
    ]
    assert "done       3 steps" in err
