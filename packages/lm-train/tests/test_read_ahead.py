"""What is read ahead of its use."""

import time

import pytest
from lm_train.read_ahead import one_ahead


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
