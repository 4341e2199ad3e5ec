"""`lm-train lr`: the rates it tries, where it ends, and what it suggests."""

import math

import pytest
from lm_train import cli
from lm_train.config import OptimConfig
from lm_train.errors import ConfigError
from lm_train.studies.lr_test import LrTest, bell_mean, diverged, lr_test
from lm_train.studies.lr_test_page import test_lines as lines_of
from lm_train.studies.lr_test_page import test_rows as rows_of
from lm_train.view.display import Silent
from tiny_runs import tiny_config, tiny_corpus


def made_up(losses, *, diverged=False, peaks=None):
    """A test of rates 0.001 times 2, 4, 8 ..."""
    return LrTest(
        peaks or {"adamw": 0.001}, [2.0 ** (i + 1) for i in range(len(losses))], losses, diverged=diverged
    )


def valley(places, bottom):
    return [5.0 + 0.01 * (place - bottom) ** 2 for place in range(places)]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lr")
    tiny_corpus(folder)
    return folder


def test_the_rates_rise_by_the_same_factor_from_low_to_high(home):
    test = lr_test(tiny_config(home, steps=20), low=0.01, high=1.0, display=Silent())
    ratios = [b / a for a, b in zip(test.factors, test.factors[1:], strict=False)]
    assert len(test.losses) == 20
    assert not test.diverged
    assert test.factors[0] == pytest.approx(0.01)
    assert test.factors[-1] == pytest.approx(1.0)
    assert ratios == pytest.approx([100 ** (1 / 19)] * 19)
    assert test.losses[-1] < test.losses[0]


def test_it_ends_soon_after_the_loss_has_climbed_above_its_start(home):
    config = tiny_config(home, steps=60, optim=OptimConfig(name="lion", lr=0.1))
    test = lr_test(config, low=0.01, high=1e5, display=Silent())
    assert test.diverged
    assert len(test.losses) < 60
    assert diverged([*test.losses]) or not math.isfinite(test.losses[-1])
    assert not diverged(test.losses[:-1])


def test_smoothing_is_the_mean_weighted_by_a_bell_and_does_not_lag():
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    weights = [math.exp(-((i - 2) ** 2) / (2 * 1.5**2)) for i in range(5)]
    expected = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
    assert bell_mean(values, 2, 1.5) == pytest.approx(expected)
    assert made_up(valley(41, 20)).lowest == 20


def test_the_suggestion_is_half_the_rate_of_the_lowest_loss():
    test = made_up(valley(21, 9))
    assert test.suggestion == 2.0**10 / 2
    assert test.flags == "--optim.lr 0.51"


def test_with_muon_both_rates_are_suggested():
    test = made_up(valley(21, 9), peaks={"adamw": 0.004, "muon": 0.012})
    assert test.flags == "--optim.lr 2 --optim.muon-lr 6.1"


def test_a_loss_that_falls_to_the_end_suggests_nothing_and_says_what_to_do():
    test = made_up([9.0 - 0.1 * i for i in range(30)])
    assert test.suggestion is None
    assert "larger --high" in lines_of(test)[-1]


def test_the_table_has_some_rates_and_the_lowest():
    rows = rows_of(made_up(valley(100, 41)))
    assert 11 <= len(rows) <= 13
    assert [lowest for _, _, lowest in rows].count(True) == 1


@pytest.mark.parametrize(
    ("changes", "numbers", "message"),
    [
        ({"steps": 5}, (0.01, 30), "--steps must be at least 20"),
        ({"tokens": 5000}, (0.01, 30), "lr counts in steps"),
        ({"steps": 20}, (3, 3), "--low must be above 0 and below --high"),
        ({"steps": 20}, (0, 3), "--low must be above 0"),
        ({"steps": 20}, (1, math.inf), "below --high"),
    ],
)
def test_wrong_numbers_are_refused(home, changes, numbers, message):
    with pytest.raises(ConfigError, match=message):
        lr_test(tiny_config(home, **changes), low=numbers[0], high=numbers[1], display=Silent())


def test_the_command_prints_a_table_and_draws_a_page(home, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    sizes = "--model.d-model 16 --model.n-layers 1 --model.n-heads 2 --model.d-ff 32 --model.context 16 --batch 2 --vocab-size 300"
    place = f"--data {home / 'corpus.txt'} --datasets {home / 'datasets'}"
    assert cli.run(["lr", "--steps", "20", "--threads", "1", *sizes.split(), *place.split()]) == 0
    out = capsys.readouterr().out
    assert "suggestion" in out
    page = (tmp_path / "runs" / "corpus-lr.html").read_text()
    assert page.count("<svg") == 1
    assert "<script" not in page
    assert not list((tmp_path / "runs").glob("*/config.toml"))
