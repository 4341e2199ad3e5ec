import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_core.errors import ConfigError
from lm_core.schedule import constant, cosine, inverse_sqrt, linear, wsd


def test_cosine_by_hand():
    rates = [cosine(step, peak=1.0, floor=0.2, warmup=2, total=6) for step in range(8)]
    half = 0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2
    assert rates == pytest.approx([0.0, 0.5, 1.0, half, 0.6, 1.2 - half, 0.2, 0.2])


def test_warmup_stable_decay_by_hand():
    rates = [wsd(step, peak=1.0, floor=0.2, warmup=2, decay=4, total=8) for step in range(10)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    roots = [wsd(step, peak=1.0, floor=0.0, warmup=0, decay=4, total=6, shape="sqrt") for step in range(7)]
    assert roots == pytest.approx([1.0, 1.0, 1.0, 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75), 0.0])


def test_a_run_may_have_no_decay_no_warmup_or_nothing_but_warmup():
    assert [wsd(step, peak=1.0, floor=0.0, warmup=0, decay=0, total=2) for step in range(3)] == [
        1.0,
        1.0,
        0.0,
    ]
    assert [cosine(step, peak=1.0, floor=0.0, warmup=0, total=1) for step in range(2)] == [1.0, 0.0]
    assert [cosine(step, peak=1.0, floor=0.0, warmup=2, total=2) for step in range(3)] == [0.0, 0.5, 0.0]


def test_linear_by_hand():
    rates = [linear(step, peak=1.0, floor=0.5, warmup=1, total=5) for step in range(7)]
    assert rates == pytest.approx([0.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.5])


def test_whole_numbers_are_rates_too():
    assert [linear(s, peak=1, floor=0, warmup=0, total=2) for s in range(3)] == [1.0, 0.5, 0.0]
    assert constant(3, peak=1) == 1
    assert isinstance(cosine(9, peak=1, floor=0, warmup=1, total=5), float)


def test_constant_by_hand():
    assert [constant(step, peak=2.0, warmup=4) for step in (0, 1, 4, 10**9)] == [0.0, 0.5, 2.0, 2.0]
    assert constant(0, peak=2.0) == 2.0


def test_inverse_square_root_is_the_formula_of_the_transformer_paper():
    d_model, warmup = 512, 4000
    peak = (d_model * warmup) ** -0.5
    for step in (1, 17, 3999, 4000, 4001, 100_000):
        paper = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert inverse_sqrt(step, peak=peak, warmup=warmup) == pytest.approx(paper, rel=1e-12)


def torch_rates(make_scheduler, steps, lr):
    optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=lr)
    scheduler = make_scheduler(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_without_warmup_they_are_torchs_schedulers():
    lr = torch.optim.lr_scheduler
    theirs = torch_rates(lambda o: lr.CosineAnnealingLR(o, T_max=50, eta_min=0.003), 51, 0.03)
    assert [cosine(s, peak=0.03, floor=0.003, warmup=0, total=50) for s in range(51)] == pytest.approx(theirs)
    theirs = torch_rates(lambda o: lr.LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=50), 60, 0.03)
    assert [linear(s, peak=0.03, floor=0.003, warmup=0, total=50) for s in range(60)] == pytest.approx(theirs)


def test_warmup_is_torchs_linear_scheduler():
    def make(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 10))

    assert [constant(s, peak=0.03, warmup=10) for s in range(30)] == pytest.approx(
        torch_rates(make, 30, 0.03)
    )


@settings(deadline=None)
@given(data=st.data())
def test_every_schedule_rises_to_the_peak_then_falls_to_the_floor_and_never_leaves_them(data):
    total = data.draw(st.integers(1, 60))
    warmup = data.draw(st.integers(1, total))
    decay = data.draw(st.integers(0, total - warmup))
    floor, peak = sorted(data.draw(st.tuples(*[st.floats(0, 1)] * 2)))
    ends = {"peak": peak, "floor": floor, "warmup": warmup, "total": total}
    for schedule in [
        lambda s: cosine(s, **ends),
        lambda s: linear(s, **ends),
        lambda s: wsd(s, decay=decay, **ends),
        lambda s: wsd(s, decay=decay, shape="sqrt", **ends),
    ]:
        rates = [schedule(step) for step in range(total + 3)]
        assert rates[: warmup + 1] == sorted(rates[: warmup + 1]) or warmup == total
        assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
        assert all(0 <= rate <= peak * (1 + 1e-12) for rate in rates)
        assert rates[total:] == [floor] * 3
        assert warmup == total or rates[warmup] == pytest.approx(peak)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": -1}, "^step must be a whole number of steps >= 0, got -1$"),
        ({"warmup": -1}, "^warmup must be a whole number"),
        ({"total": -1}, "^total must be a whole number"),
        ({"peak": -1.0}, r"^peak must be a finite learning rate >= 0, got -1\.0$"),
        ({"peak": math.nan}, "^peak must be"),
        ({"floor": math.inf}, "^floor must be"),
        ({"floor": 2.0}, "^floor must not lie above peak, got floor=2.0 and peak=1.0$"),
        ({"warmup": 11}, "^warmup must fit into total: 11 > 10; make the warm-up shorter or the run longer$"),
    ],
)
@pytest.mark.parametrize("schedule", [cosine, linear])
def test_what_makes_no_sense_is_refused_by_name(schedule, change, message):
    settings = {"step": 0, "peak": 1.0, "floor": 0.0, "warmup": 2, "total": 10} | change
    step = settings.pop("step")
    with pytest.raises(ConfigError, match=message):
        schedule(step, **settings)


def test_the_others_refuse_too():
    with pytest.raises(
        ConfigError, match=r"^warmup \+ decay must fit into total: 5 \+ 6 > 10; make one of them shorter$"
    ):
        wsd(0, peak=1.0, floor=0.0, warmup=5, decay=6, total=10)
    with pytest.raises(ConfigError, match=r"warmup must be >= 1, got 0$"):
        inverse_sqrt(0, peak=1.0, warmup=0)
    with pytest.raises(ConfigError, match=r"^peak must be"):
        constant(0, peak=math.nan)
