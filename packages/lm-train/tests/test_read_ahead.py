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

    found = one_ahead(items())
    assert next(found) == 0
    deadline = time.monotonic() + 60
    while len(made) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert made == [0, 1]  # the next one is there, and no other
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)
    assert list(one_ahead(iter("abc"))) == ["a", "b", "c"]


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

    found = worked_ahead(work, items(), 2)
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

    found = worked_ahead(work, iter(range(9)), 1)
    assert next(found) == 0
    go_on.set()
    found.close()
    assert begun in ([0], [0, 1])
