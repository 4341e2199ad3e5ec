from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_train.permutation import MAX_SIZE, Permutation, keyed_below, keyed_words


def test_every_size_up_to_2000_is_a_bijection_and_its_inverse_undoes_it():
    for n in range(1, 2001):  # every size: a bijection that holds for most sizes loses windows at the others
        permutation = Permutation(n, "test", n)
        images = permutation(np.arange(n))
        assert np.array_equal(np.sort(images), np.arange(n)), n
        assert np.array_equal(permutation.inverse(images), np.arange(n)), n


@given(n=st.integers(1, MAX_SIZE), key=st.integers(0, 2**63), data=st.data())
@settings(deadline=None)
def test_at_any_size_up_to_the_largest_images_are_in_range_and_lead_back(n, key, data):
    indices = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=50))
    permutation = Permutation(n, key)
    images = permutation(indices)
    assert images.min() >= 0
    assert images.max() < n
    assert permutation.inverse(images).tolist() == indices
    assert len(set(images.tolist())) == len(set(indices))


def test_near_2_to_the_40_neighbours_are_scattered_and_stay_distinct():
    images = Permutation(2**40 + 17, 1)(np.arange(100_000))
    assert len(np.unique(images)) == 100_000
    assert abs(images.mean() / 2**40 - 0.5) < 0.01
    assert abs(np.corrcoef(images[:-1], images[1:])[0, 1]) < 0.02


def test_an_index_goes_where_it_goes_alone_or_in_company_and_in_any_shape():
    permutation = Permutation(1_000, "shape")
    together = permutation(np.arange(1_000).reshape(10, 10, 10))
    assert together.shape == (10, 10, 10)
    assert [int(permutation(i)) for i in range(0, 1_000, 37)] == together.reshape(-1)[::37].tolist()


def test_the_numbers_are_those_of_version_1_of_the_data_order():
    # docs/data-order.md: these never change, or every run that is resumed sees other batches
    assert keyed_words("lm-train order", 1, 0, 0, count=2) == [17009206103466142570, 209815854096879795]
    assert Permutation(10, "lm-train order", 1, 0, 0)(np.arange(10)).tolist() == [
        2,
        0,
        6,
        8,
        5,
        1,
        9,
        4,
        7,
        3,
    ]
    assert Permutation(2**40, "lm-train order", 1, 7, 3)(np.arange(4)).tolist() == [
        872485166269,
        406396447703,
        888009462041,
        813542522988,
    ]
    assert keyed_below(128, "lm-train order", 1, 0, 0, "offset") == 33


def test_all_orders_of_few_elements_come_up_about_equally_often():
    for n, factorial in ((3, 6), (5, 120)):
        orders = Counter(tuple(Permutation(n, key)(np.arange(n)).tolist()) for key in range(factorial * 30))
        assert len(orders) == factorial
        assert min(orders.values()) > 8
        assert max(orders.values()) < 60


def test_another_key_gives_another_order():
    orders = {
        tuple(Permutation(100, *key)(np.arange(100)).tolist())
        for key in [(0, 1), (1, 0), (0, 2), ("0", 3), (10,)]
    }
    assert len(orders) == 5


@pytest.mark.parametrize("index", [-1, 10, 2**40])
def test_an_index_outside_is_refused(index):
    with pytest.raises(ValueError, match=r"indices must be in 0\.\.9"):
        Permutation(10, 0)([index])


@pytest.mark.parametrize("n", [0, -1, MAX_SIZE + 1])
def test_a_size_that_cannot_be_permuted_is_refused(n):
    with pytest.raises(ValueError, match="needs between 1 and"):
        Permutation(n, 0)


def test_numbers_below_a_limit_are_even_and_in_range():
    numbers = Counter(keyed_below(10, "even", i) for i in range(5_000))
    assert set(numbers) == set(range(10))
    assert max(numbers.values()) < 1.25 * min(numbers.values())
