"""Best fit on counts is best fit piece by piece."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lm_train.packing import best_fit, cut


def naive_best_fit(lengths, room):
    """Rows, as lists of (length, number among the pieces of that length): one piece after another, the longest first."""
    rows, room_left, since = [], [], []
    numbers = dict.fromkeys(range(room + 1), 0)
    for clock, length in enumerate(sorted(lengths, reverse=True)):
        fitting = [row for row in range(len(rows)) if room_left[row] >= length]
        if fitting:
            row = min(fitting, key=lambda row: (room_left[row], since[row]))
        else:
            row = len(rows)
            rows.append([]), room_left.append(room), since.append(clock)
        rows[row].append((length, numbers[length]))
        numbers[length] += 1
        room_left[row] -= length
        since[row] = clock
    return [rows[row] for row in sorted(range(len(rows)), key=lambda row: (room_left[row], since[row]))]


def rows_of(groups):
    return [
        [(s.length, s.first + j * s.times + t) for s in group.slots for t in range(s.times)]
        for group in groups
        for j in range(group.rows)
    ]


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 24).flatmap(lambda room: st.tuples(st.just(room), st.lists(st.integers(1, room)))))
def test_the_rows_are_those_of_best_fit_one_piece_after_another(example):
    room, lengths = example
    counts = np.bincount(np.array(lengths, np.int64), minlength=room + 1)
    groups = best_fit(counts)
    assert rows_of(groups) == naive_best_fit(lengths, room)
    assert all(0 < group.filled <= room for group in groups)


def test_a_row_takes_what_fits_it_best():
    counts = [0] * 11
    counts[7], counts[6], counts[4], counts[3] = 1, 1, 1, 1
    assert rows_of(best_fit(counts)) == [[(6, 0), (4, 0)], [(7, 0), (3, 0)]]


def test_many_documents_cost_no_more_than_their_lengths():
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.geometric(1 / 200, 10_000), 1024)
    few = np.bincount(lengths, minlength=1025)
    groups = best_fit(few * 10_000)  # 100 million
    assert len(groups) < 3 * 1024
    pieces = sum(group.rows * slot.times for group in groups for slot in group.slots)
    assert pieces == 100_000_000
    full = sum(group.rows * group.filled for group in groups) / (1024 * sum(group.rows for group in groups))
    assert full > 0.999


@pytest.mark.parametrize(
    ("lengths", "room", "pieces"),
    [
        ([3, 2], 4, [(0, 3), (3, 2)]),
        ([4, 9], 4, [(0, 4), (4, 4), (8, 4), (12, 1)]),
        ([8, 1], 4, [(0, 4), (4, 4), (8, 1)]),
    ],
)
def test_a_long_document_is_cut_from_its_beginning(lengths, room, pieces):
    starts, sizes = cut(np.cumsum(lengths), 0, room)
    assert list(zip(starts.tolist(), sizes.tolist(), strict=True)) == pieces
    starts, _ = cut(np.cumsum(lengths) + 100, 100, room)
    assert starts.tolist() == [100 + start for start, _ in pieces]
