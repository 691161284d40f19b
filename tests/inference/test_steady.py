"""Covariances that have converged are not computed again, and nothing else changes; nor does it with unrolled loops."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em.inference import filtering, sizes, smoothing
from kalman_em.inference.expectations import expect_filtered
from kalman_em.inference.filtering import filter_all, log_likelihood_of
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.inference.smoothing import smooth_all
from kalman_em.inference.steady import PACE, forget_pace, has_settled

T = 400
SHAPES = [(1, 1), (2, 3), (3, 2), (4, 2), (6, 1)]


def draw(seed, d, p, missing_rows=(), **options):
    rng = np.random.default_rng(seed)
    system = random_system(rng, d, p, T, **options)
    return system, random_observations(rng, system, T, missing=0.0, missing_rows=missing_rows)


def laid_over(system, *series):
    rows = stack_rows(list(series))
    return lay(system, rows), rows


def same(actual, expected, scale=0.0):
    scale = max(np.abs(expected).max(initial=0.0), scale)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-11 * scale)


def check(system, *series):
    laid, rows = laid_over(system, *series)
    quick, full = filter_all(laid, rows), filter_all(laid, rows, freezes=False)
    assert len(full.filtered_covs) == rows.n_rows
    for name in ("predicted_means", "filtered_means", "log_likelihoods"):
        same(getattr(quick, name), getattr(full, name))
    for name in ("predicted_covs", "filtered_covs"):
        same(quick.at_rows(getattr(quick, name)), getattr(full, name))
    left, right = smooth_all(laid, rows.starts, quick), smooth_all(laid, rows.starts, full)
    same(left.smoothed_means, right.smoothed_means)
    for name in ("smoothed_covs", "lag_one_covs"):
        same(getattr(left, name).at_rows(), getattr(right, name).at_rows())
    left, right = expect_filtered(laid, rows, quick), expect_filtered(laid, rows, full)
    for kind in ("transition", "observation"):
        for name in ("residual", "cross", "regressor", "count"):
            same(getattr(getattr(left, kind), name), getattr(getattr(right, kind), name), scale=rows.n_rows)
    same(left.initial_means, right.initial_means)
    same(left.initial_covs, right.initial_covs)
    return quick


@pytest.mark.parametrize(("d", "p"), SHAPES)
@pytest.mark.parametrize("options", [{}, {"input_dim": 1}, {"cov_rank": 1}, {"exact_rows": 1}])
def test_frozen_equals_full(d, p, options):
    quick = check(*draw([1, d, p], d, p, **options))
    assert len(quick.filtered_covs) < T / 2


@pytest.mark.parametrize("d", [2, 6])
def test_a_gap_begins_anew_and_converges_again(d):
    quick = check(*draw(2, d, 2, missing_rows=(150, 151, 152)))
    assert 20 < len(quick.filtered_covs) < T / 2
    # A row of its own inside the gap and after it, but not in the long runs beside it.
    index = quick.cov_index
    assert index[149] == index[148]
    assert index[150] != index[149]
    assert index[153] != index[152]
    assert index[-1] == index[-2]


def test_what_varies_in_time_is_never_frozen():
    quick = check(*draw(3, 2, 2, varying="FQ"))
    assert len(quick.filtered_covs) == T


def test_series_of_a_panel_each_converge_by_themselves():
    system, one = draw(4, 3, 2)
    other = kem.Observations(one.values[::-1][:37])
    quick = check(system, one, other, one)
    assert quick.cov_index[T] != quick.cov_index[T - 1]


def test_a_diffuse_start_freezes_once_it_is_over():
    system = kem.LinearGaussianSystem(
        transition_matrix=[[1.0, 1.0], [0.0, 1.0]],
        transition_cov=np.diag([0.5, 0.01]),
        observation_matrix=[[1.0, 0.0]],
        observation_cov=[[2.0]],
        initial_mean=np.zeros(2),
        initial_cov=np.zeros((2, 2)),
        initial_diffuse=np.array([True, True]),
    )
    values = np.random.default_rng(5).standard_normal((T, 1)).cumsum(axis=0)
    quick = check(system, kem.Observations(values))
    assert len(quick.filtered_covs) < T / 2


@pytest.mark.parametrize("d", [2, 4])
def test_unrolled_loops_compute_the_same(d, monkeypatch):
    system, one = draw([6, d], d, 2, missing_rows=(5, 6))
    laid, rows = laid_over(system, one)
    unrolled = filter_all(laid, rows)
    unrolled_sums = expect_filtered(laid, rows, unrolled)
    monkeypatch.setattr(sizes, "LARGEST_UNROLLED", 0)
    general = filter_all(laid, rows)
    sums = expect_filtered(laid, rows, general)
    same(unrolled.log_likelihoods, general.log_likelihoods)
    same(unrolled.filtered_means, general.filtered_means)
    same(unrolled_sums.transition.residual, sums.transition.residual)
    same(unrolled_sums.observation.cross, sums.observation.cross)


def gappy(seed, d, p, **options):
    """Return a system and observations in which nothing stays as it is for long."""
    rng = np.random.default_rng(seed)
    system = random_system(rng, d, p, T, **options)
    return system, random_observations(rng, system, T, missing=0.3)


def check_same_backwards(laid, rows, left, right):
    for name in ("smoothed_means", "smoothed_covs", "lag_one_covs"):
        one, other = (getattr(smooth_all(laid, rows.starts, filtered), name) for filtered in (left, right))
        same(*(table if isinstance(table, np.ndarray) else table.at_rows() for table in (one, other)))
    left, right = expect_filtered(laid, rows, left), expect_filtered(laid, rows, right)
    for kind in ("transition", "observation"):
        for name in ("residual", "cross", "regressor", "count"):
            same(getattr(getattr(left, kind), name), getattr(getattr(right, kind), name), scale=rows.n_rows)


@pytest.mark.parametrize(("d", "p"), [(1, 1), (2, 3), (4, 2)])
def test_gains_from_an_inverse_equal_those_by_updates(d, p, monkeypatch):
    laid, rows = laid_over(*gappy([7, d, p], d, p))
    filtered = filter_all(laid, rows)
    plain = expect_filtered(laid, rows, filtered), smooth_all(laid, rows.starts, filtered)
    # Without a part of the spread that is enough, no gain comes from an inverse.
    monkeypatch.setattr(filtering, "LOSSLESS", np.inf)
    updates = expect_filtered(laid, rows, filtered), smooth_all(laid, rows.starts, filtered)
    same(plain[1].smoothed_means, updates[1].smoothed_means)
    for name in ("smoothed_covs", "lag_one_covs"):
        same(getattr(plain[1], name).at_rows(), getattr(updates[1], name).at_rows())
    for name in ("residual", "cross", "regressor"):
        same(getattr(plain[0].transition, name), getattr(updates[0].transition, name), scale=rows.n_rows)


@pytest.mark.parametrize("options", [{}, {"cov_rank": 1}, {"input_dim": 1}])
def test_the_likelihood_alone_is_that_of_the_filter(options):
    for series in (draw(8, 2, 2, **options), gappy(9, 2, 2, **options), draw(10, 1, 1, **options)):
        laid, rows = laid_over(*series)
        expected = filter_all(laid, rows).log_likelihoods.sum()
        assert log_likelihood_of(laid, rows) == pytest.approx(expected, rel=1e-11)


def test_too_little_room_for_covariances_is_made_good(monkeypatch):
    laid, rows = laid_over(*draw(11, 2, 2))
    ample = filter_all(laid, rows)
    assert len(ample.filtered_covs) > 3
    monkeypatch.setattr(filtering, "ROOM", 3)
    monkeypatch.setattr(smoothing, "ROOM", -len(ample.filtered_covs))
    scant = filter_all(laid, rows)
    same(scant.at_rows(scant.filtered_covs), ample.at_rows(ample.filtered_covs))
    check_same_backwards(laid, rows, scant, ample)


def test_shared_covariances_are_laid_out_when_asked_for():
    system, observed = draw(12, 2, 2)
    filtered = kem.kalman_filter(system, observed)
    again = pickle.loads(pickle.dumps(filtered))
    for name in ("predicted_covs", "filtered_covs", "innovation_covs"):
        array = getattr(filtered, name)
        assert array is getattr(filtered, name)
        assert len(array) == T
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, getattr(again, name))
    smoothed, given = kem.rts_smoother(system, filtered), {}
    for name in kem.FilteredStates.__dataclass_fields__:
        given[name] = getattr(filtered, name)
    # Arrays from elsewhere are no tables: which rows share a covariance is seen by the numbers.
    other = kem.rts_smoother(system, kem.FilteredStates(**given))
    for name in ("smoothed_means", "smoothed_covs", "lag_one_covs"):
        same(getattr(smoothed, name), getattr(other, name))
    assert smoothed.lag_one_covs.shape == (T - 1, 2, 2)
    with pytest.raises(AttributeError, match="no attribute 'covs'"):
        _ = filtered.covs


def settled_after(rate, limit=5000):
    """Return after how many steps 1 + rate^n counts as converged, and how far it then still has to go."""
    size, pace = (0.0,), np.empty(PACE)
    forget_pace(pace)
    for n in range(1, limit):
        old, new = np.array([[1.0 + rate ** (n - 1)]]), np.array([[1.0 + rate**n]])
        if has_settled(size, old, new, pace):
            return n, rate**n
    return None, None


@pytest.mark.parametrize("rate", [0.01, 0.5, 0.9, 0.99])
def test_a_linear_recursion_settles_when_the_rest_is_rounding(rate):
    n, left = settled_after(rate)
    assert n is not None
    # Steps below the last digit of 1 leave the number as it is, in the full recursion too.
    assert left < max(4e-15, 2.3e-16 / (1.0 - rate))
    # And not absurdly late.
    assert n < np.log(1e-17) / np.log(rate) + 5


@pytest.mark.parametrize("rate", [0.5, 0.9])
@pytest.mark.parametrize("turn", [0.3, 0.8, 1.1, 2.0])
def test_a_recursion_that_turns_as_it_dies_away_settles_too(rate, turn):
    """Its changes rise now and then: no rate of two steps is one of all. Rounding never rests."""
    pace, steps = np.empty(PACE), np.arange(2000)
    for phase in np.arange(0.0, 3.0, 0.1):
        forget_pace(pace)
        values = 1.0 + rate**steps * np.cos(turn * steps + phase) + 4e-16 * (-1.0) ** steps
        pairs = zip(values[:-1, None, None], values[1:, None, None], strict=True)
        settled = (n for n, (old, new) in enumerate(pairs) if has_settled((0.0,), old, new, pace))
        assert rate ** next(settled) < 1e-12


def test_a_fixed_point_has_settled_at_once_and_a_crawl_never():
    pace = np.empty(PACE)
    forget_pace(pace)
    point = np.array([[2.0, 1.0], [1.0, 3.0]])
    assert has_settled((0.0, 0.0), point, point.copy(), pace)
    assert settled_after(0.99999, limit=20_000)[0] is None
