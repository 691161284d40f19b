"""Extrapolation of linearly converging sequences: exact where theory says so, harmless where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from kalman_em.em.extrapolation import extrapolated, stretched


def sequence(rates, n_points):
    """Return points that converge to (1, 2, ...) with one rate in each direction of a random basis."""
    basis = np.random.default_rng(3).normal(size=(len(rates), len(rates)))
    limit = np.arange(1.0, len(rates) + 1.0)
    return limit, [limit + basis @ np.array(rates) ** k for k in range(n_points)]


@pytest.mark.parametrize("rates", [[0.99], [0.999, 0.5], [0.99, 0.9, 0.3]])
def test_reduced_rank_extrapolation_is_exact_for_as_many_directions_as_it_has_steps(rates):
    limit, points = sequence(rates, len(rates) + 2)
    assert np.allclose(extrapolated(points), limit, atol=1e-6)
    assert np.abs(points[-1] - limit).max() > 0.01


def test_one_squared_step_lands_on_the_limit_of_one_direction():
    limit, points = sequence([0.9], 3)
    assert np.allclose(stretched(points, longest=100.0), limit)


def test_a_squared_step_is_no_longer_than_asked_and_never_shorter_than_plain():
    points = [np.array([0.0]), np.array([1.0]), np.array([1.999])]
    assert np.isclose(stretched(points, longest=4.0)[0], 0.0 + 2 * 4.0 * 1.0 + 16.0 * -0.001)
    quick = [np.array([0.0]), np.array([1.0]), np.array([1.1])]
    assert np.isclose(stretched(quick, longest=4.0)[0], 0.0 + 2 * (1 / 0.9) * 1.0 + (1 / 0.9) ** 2 * -0.9)


def test_points_that_stand_still_stay():
    still = [np.array([1.0, -2.0])] * 4
    assert np.array_equal(extrapolated(still), still[-1])
    assert np.array_equal(stretched(still, longest=10.0), still[-1])
