"""The random numbers: fixed for ever, equal to numpy's Philox, evenly spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_generate.rng import philox, uniform

word = st.integers(0, 2**64 - 1)


@settings(max_examples=100, deadline=None)
@given(st.tuples(word, word, word, word), st.tuples(word, word))
def test_philox_gives_the_words_of_numpys(counter, key):
    number = sum(part << (64 * i) for i, part in enumerate(counter))
    numpys = np.random.Philox(
        counter=(number - 1) % 2**256, key=key[0] + (key[1] << 64)
    )  # it counts up first
    assert philox(counter, key) == tuple(int(x) for x in numpys.random_raw(4))


@pytest.mark.parametrize(
    ("address", "number"),
    [
        ((0, 0, 0), 0.08723912359911234),
        ((1, 2, 3), 0.6378219684004002),
        ((2**64 - 1, 2**64 - 1, 2**64 - 1), 0.9371652037249528),
    ],
)
def test_the_numbers_never_change_between_versions(address, number):
    assert uniform(*address) == number


def test_numbers_are_in_0_to_1_and_evenly_spread():
    numbers = np.array([uniform(7, row, position) for row in range(20) for position in range(500)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert ((counts - 500) ** 2 / 500).sum() < 43.8  # chi-squared, 19 degrees of freedom, p = 0.001


def test_neighbouring_seeds_rows_and_positions_are_unrelated():
    by_address = np.array([[[uniform(s, r, p) for p in range(12)] for r in range(12)] for s in range(12)])
    for axis in range(3):
        first, second = np.delete(by_address, -1, axis), np.delete(by_address, 0, axis)
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.09  # 3.5 / sqrt(1584)
