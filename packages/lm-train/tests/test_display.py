"""What a person sees: plain lines where there is no terminal, a live view where there is one."""

import io

import pytest
from lm_train.view.display import Live, Plain, Status, clock, numbers, printable, sparkline


def status(**changes):
    values = {
        "step": 10,
        "total_steps": 100,
        "progress": 0.1,
        "seconds_left": 75.0,
        "loss": 3.5,
        "bits_per_byte": 2.125,
        "valid_bits_per_byte": 2.25,
        "lr": 0.004,
        "tokens_per_second": 9012.3,
    }
    return Status(**{**values, **changes})


def test_a_line_has_the_figures_with_their_units():
    assert numbers(status()) == "loss 3.500  2.125 bits/byte  held out 2.250  lr 0.004  9,012 tokens/s"
    assert "held out" not in numbers(status(valid_bits_per_byte=None))


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75.4, "1:15"), (3675, "1:01:15"), (-3, "0:00")])
def test_seconds_are_told_as_a_clock(seconds, text):
    assert clock(seconds) == text


def test_plain_lines_come_every_twentieth_of_the_run_and_at_its_end():
    stream = io.StringIO()
    display = Plain(stream)
    for step in range(1, 1001):
        display.training(status(step=step, progress=step / 1000))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 21  # the first step, then every 5 %
    assert lines[0].startswith("  0%  step 1 ")
    assert lines[-1].startswith("100%  step 1000 ")
    assert "\x1b" not in stream.getvalue()


def test_each_of_several_runs_has_its_own_lines_and_its_own_curve():
    from rich.console import Console

    plain, live = io.StringIO(), io.StringIO()
    displays = [Plain(plain), Live(Console(file=live, force_terminal=True, width=80, highlight=False))]
    for display in displays:
        for run in range(3):
            display.say(f"run {run}")
            for step in range(1, 41):
                display.training(status(step=step, progress=step / 40, loss=9.0 - run))
            display.sample(40, "def", f" of_run_{run}")
        display.training(status(step=1, progress=1 / 40))
        display.close()
    first, *_, last = plain.getvalue().split("run ")[1:]
    assert len(first.splitlines()) == 22  # its name, its first step, then every 5 %
    assert len(last.splitlines()) == 23  # and one of the run after it
    assert "█" not in live.getvalue()  # each curve by itself is flat


def test_a_reader_that_went_away_does_not_end_the_run():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    display = Plain(Closed())
    display.say("hello")
    display.training(status())


def test_each_phase_of_the_preparation_is_told_once():
    stream = io.StringIO()
    display = Plain(stream)
    for done in range(5):
        display.preparing("read", done, 5)
    display.preparing("encode", 1, 2)
    assert stream.getvalue().splitlines() == ["read", "encode 50%"]


def test_the_live_view_shows_the_figures_and_the_newest_sample():
    from rich.console import Console

    stream = io.StringIO()
    display = Live(Console(file=stream, force_terminal=True, width=80, highlight=False))
    display.preparing("read", 5, 5)
    display.training(status())
    display.sample(10, "def", " f(x):\n    return [bold]x[/bold]")
    display.close()
    shown = stream.getvalue()
    assert "step 10 of 100" in shown
    assert "9,012 tokens/s" in shown
    assert "what it writes at step 10" in shown
    assert "[bold]x[/bold]" in shown  # a sample is never markup


def test_a_sample_cannot_command_the_terminal():
    assert printable("a\x1b[2Jb\r\x07\u202ec\n\td") == "a\ufffd[2Jb\ufffd\ufffd\ufffdc\n\td"


def test_a_sparkline_averages_into_its_width():
    assert sparkline([], 10) == ""
    assert sparkline([1.0], 10) == "▁"
    assert sparkline([0.0, 7.0], 10) == "▁█"
    assert len(sparkline([float(i) for i in range(1000)], 40)) == 40
