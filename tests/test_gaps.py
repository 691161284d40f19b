"""The distinct gaps of time stamps: as many as there are, whatever rounding says."""

from __future__ import annotations

import numpy as np

from kalman_em.gaps import gaps_of, nearest


def test_a_regular_clock_has_one_gap_however_its_labels_round():
    for times in (0.1 * np.arange(1000), 1.7e9 + 0.1 * np.arange(1000), np.arange(1000) / 3.0):
        found = gaps_of(times, np.array([0, 1000]))
        # Of a gap on the edge of two groups both are kept; they are the same to the rounding of the labels.
        assert len(found.values) <= 3
        assert np.ptp(found.values) <= 4 * np.spacing(np.abs(times).max())


def test_distinct_gaps_of_fine_clocks_stay_apart():
    rng = np.random.default_rng(0)
    sizes = rng.uniform(0.5, 2.0, size=5000)
    found = gaps_of(np.concatenate([[0.0], np.cumsum(sizes)]), np.array([0, 5001]))
    np.testing.assert_allclose(found.values[found.index[:-1]], sizes, rtol=0, atol=4e-11)
    assert len(found.values) > 4900


def test_the_step_from_one_series_to_the_next_is_no_gap():
    found = gaps_of(np.array([0.0, 1.0, 3.0, -50.0, -49.0]), np.array([0, 3, 5]))
    assert found.values.tolist() == [1.0, 2.0]
    assert found.index[[0, 1, 3]].tolist() == [0, 1, 0]


def test_within_a_table_gaps_are_found_by_their_size_and_missed_where_they_are_not():
    found = gaps_of(np.array([0.0, 1.0, 3.0]), np.array([0, 3]))
    assert found.within(np.array([0.5, 1.0, 1.5, 2.0]))[:2].tolist() == [1, 3]
    assert found.within(np.array([0.5, 1.0, 1.5])) is None
    assert found.within(np.zeros(0)) is None


def test_a_series_of_one_row_has_no_gap():
    found = gaps_of(np.array([3.0]), np.array([0, 1]))
    assert len(found.values) == 0
    assert found.within(np.array([1.0])).tolist() == [0]


def test_nearest_holds_at_the_ends():
    assert nearest(np.array([1.0, 2.0]), np.array([-5.0, 1.4, 1.6, 9.0])).tolist() == [0, 0, 1, 1]
    assert nearest(np.array([1.0]), np.array([0.0, 3.0])).tolist() == [0, 0]
