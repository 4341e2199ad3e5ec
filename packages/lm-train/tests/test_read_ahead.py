"""What is read ahead of its use."""

import threading
import time

import pytest
from lm_train.read_ahead import one_ahead, worked_ahead


def test_items_made_one_ahead_are_the_same_and_so_is_their_error():
    made = []

    def items():
        for number in range(3):
            made.append(number)
            yield number
        raise OSError("the disk is gone")

    with one_ahead(items()) as found:
        assert next(found) == 0
        deadline = time.monotonic() + 60
        while len(made) < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert made == [0, 1]  # the next one is there, and no other
        assert [next(found), next(found)] == [1, 2]
        with pytest.raises(OSError, match="the disk is gone"):
            next(found)
    with one_ahead(iter("abc")) as found:
        assert list(found) == ["a", "b", "c"]


def test_work_ahead_gives_results_in_the_order_of_the_items_and_takes_few_of_them():
    taken, second_is_done = [], threading.Event()

    def items():
        for number in range(6):
            taken.append(number)
            yield number

    def work(number):
        if number == 0:
            assert second_is_done.wait(60)  # two are at work at once
        if number == 1:
            second_is_done.set()
        if number == 5:
            raise OSError("the disk is gone")
        return number * number

    with worked_ahead(work, items(), 2) as found:
        assert next(found) == 0
        assert taken == [0, 1, 2]  # one is given out, two are at work
        assert [next(found) for _ in range(4)] == [1, 4, 9, 16]
        with pytest.raises(OSError, match="the disk is gone"):
            next(found)


def test_work_ahead_that_is_left_is_not_begun():
    begun, go_on = [], threading.Event()

    def work(number):
        begun.append(number)
        assert number == 0 or go_on.wait(60)
        return number

    with worked_ahead(work, iter(range(9)), 1) as found:
        assert next(found) == 0
        go_on.set()
    assert begun in ([0], [0, 1])


def test_no_thread_is_left_for_the_collector_to_end():
    """Where an error's traceback holds what was ahead: ending a thread inside the start of another one is a deadlock."""
    held = []
    for _ in range(3):
        try:
            with one_ahead(iter(range(9))) as ahead, worked_ahead(str, ahead, 2) as found:
                held.append((ahead, found))
                next(found)
                raise OSError("the disk is full")
        except OSError as error:
            held.append(error)
        ours = [each for each in threading.enumerate() if each.name.startswith(("one-ahead", "worked-ahead"))]
        assert ours == []
