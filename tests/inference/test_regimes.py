"""Regimes of a Markov chain against the enumeration of all paths."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from oracles.paths import enumerate_chain

from kalman_em.errors import NumericalError
from kalman_em.inference.regime_logs import filter_logs, follow_best, smooth_logs
from kalman_em.inference.regime_loops import filter_scaled, smooth_scaled
from kalman_em.inference.regimes import (
    best_path,
    filter_regimes,
    log_of,
    smooth_regimes,
    stationary_probabilities,
)

LENGTHS = [5, 1, 4]
STARTS = np.concatenate([[0], np.cumsum(LENGTHS)])


def random_chain(rng, n_regimes, n_rows, *, left_to_right=False):
    initial = rng.dirichlet(np.ones(n_regimes))
    transition = rng.dirichlet(np.ones(n_regimes), size=n_regimes)
    if left_to_right:
        initial = np.eye(n_regimes)[0]
        transition = np.triu(transition)
        transition /= transition.sum(axis=1, keepdims=True)
    return rng.normal(scale=2.0, size=(n_rows, n_regimes)), initial, transition


def slices():
    return [slice(a, b) for a, b in pairwise(STARTS)]


@pytest.mark.parametrize("left_to_right", [False, True])
@pytest.mark.parametrize("n_regimes", [1, 2, 3])
def test_every_number_is_that_of_the_enumeration(n_regimes, left_to_right):
    rng = np.random.default_rng(n_regimes)
    log_densities, initial, transition = random_chain(rng, n_regimes, STARTS[-1], left_to_right=left_to_right)
    log_densities[2] = 0.0  # nothing was observed
    filtered = filter_regimes(STARTS, log_densities, initial, transition)
    smoothed = smooth_regimes(STARTS, transition, filtered)
    path, log_joints = best_path(STARTS, log_densities, initial, transition)
    counts, firsts = np.zeros((n_regimes, n_regimes)), np.zeros(n_regimes)
    for s, rows in enumerate(slices()):
        exact = enumerate_chain(log_densities[rows], initial, transition)
        assert filtered.log_likelihoods[rows].sum() == pytest.approx(exact.log_likelihood, rel=1e-12)
        np.testing.assert_allclose(smoothed.probabilities[rows], exact.probabilities, atol=1e-13)
        np.testing.assert_array_equal(path[rows], exact.best)
        assert log_joints[s] == pytest.approx(exact.log_joints.max(), rel=1e-12)
        counts += exact.transition_counts
        firsts += exact.probabilities[0]
        for end in range(rows.start + 1, rows.stop + 1):
            so_far = enumerate_chain(log_densities[rows.start : end], initial, transition)
            np.testing.assert_allclose(filtered.filtered_probabilities[end - 1], so_far.probabilities[-1], atol=1e-13)
    np.testing.assert_allclose(smoothed.transition_counts, counts, atol=1e-13)
    np.testing.assert_allclose(smoothed.initial_counts, firsts, atol=1e-13)


@pytest.mark.parametrize("in_logs", [False, True])
@pytest.mark.parametrize(("n_regimes", "order"), [(2, 2), (2, 3), (3, 2)])
def test_densities_may_depend_on_the_latest_regimes(n_regimes, order, in_logs):
    rng = np.random.default_rng(10 * n_regimes + order)
    n = n_regimes**order
    log_densities, _, _ = random_chain(rng, n, 4)
    if in_logs:  # one history after the other grows faint
        log_densities[1] -= 1e4 * rng.random(n)
    initial, transition = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n_regimes), size=n_regimes)
    transition[0] = np.eye(n_regimes)[1] if in_logs else transition[0]
    # The same as a chain of n regimes most of whose moves are impossible.
    whole = np.zeros((n, n))
    for old in range(n):
        digits = np.unravel_index(old, (n_regimes,) * order)
        for latest in range(n_regimes):
            new = np.ravel_multi_index((latest, *digits[:-1]), (n_regimes,) * order)
            whole[old, new] = transition[digits[0], latest]
    starts = np.array([0, 4])
    exact = enumerate_chain(log_densities, initial, whole)
    filtered = filter_regimes(starts, log_densities, initial, transition)
    smoothed = smooth_regimes(starts, transition, filtered)
    path, log_joints = best_path(starts, log_densities, initial, transition)
    assert filtered.in_logs == in_logs
    assert filtered.log_likelihoods.sum() == pytest.approx(exact.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(smoothed.probabilities, exact.probabilities, atol=1e-12)
    counts = np.zeros((n_regimes, n_regimes))
    for (old, new), count in np.ndenumerate(exact.transition_counts):
        counts[old // n_regimes ** (order - 1), new // n_regimes ** (order - 1)] += count
    np.testing.assert_allclose(smoothed.transition_counts, counts, atol=1e-12)
    np.testing.assert_array_equal(path, exact.best)
    assert log_joints[0] == pytest.approx(exact.log_joints.max(), rel=1e-12)


def test_predicted_probabilities_are_one_move_on():
    log_densities, initial, transition = random_chain(np.random.default_rng(5), 3, STARTS[-1])
    filtered = filter_regimes(STARTS, log_densities, initial, transition)
    predicted, before = filtered.predicted_probabilities, filtered.filtered_probabilities
    np.testing.assert_allclose(predicted[STARTS[:-1]], np.tile(initial, (3, 1)))
    np.testing.assert_allclose(predicted[1:5], before[:4] @ transition)


def test_logarithms_give_the_same_numbers():
    rng = np.random.default_rng(2)
    log_densities, initial, transition = random_chain(rng, 3, STARTS[-1], left_to_right=True)
    scaled = filter_regimes(STARTS, log_densities, initial, transition)
    assert not scaled.in_logs
    empty = (np.empty_like(log_densities), np.empty_like(log_densities), np.empty(STARTS[-1]))
    assert filter_logs(STARTS, log_densities, log_of(initial), log_of(transition), *empty) == -1
    np.testing.assert_allclose(np.exp(empty[0]), scaled.predicted, atol=1e-14)
    np.testing.assert_allclose(np.exp(empty[1]), scaled.filtered, atol=1e-14)
    np.testing.assert_allclose(empty[2], scaled.log_likelihoods, rtol=1e-12)
    smoothed, counts = np.empty_like(log_densities), np.zeros((3, 3))
    smooth_logs(STARTS, log_of(transition), empty[0], empty[1], smoothed, counts)
    expected = smooth_regimes(STARTS, transition, scaled)
    np.testing.assert_allclose(np.exp(smoothed), expected.probabilities, atol=1e-13)
    np.testing.assert_allclose(counts, expected.transition_counts, atol=1e-13)


def test_a_regime_that_seemed_left_for_good_comes_back():
    # At row 1 regime 0 is e^-2000 as likely as regime 1, from which no way leads back; row 2 then forbids regime 1.
    log_densities = np.array([[0.0, 0.0], [-2000.0, 0.0], [0.0, -9000.0], [0.0, 0.0]])
    initial, transition = np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.0, 1.0]])
    starts = np.array([0, 4])
    exact = enumerate_chain(log_densities, initial, transition)
    filtered = filter_regimes(starts, log_densities, initial, transition)
    smoothed = smooth_regimes(starts, transition, filtered)
    assert filtered.in_logs
    assert filtered.log_likelihoods.sum() == pytest.approx(exact.log_likelihood, rel=1e-13)
    np.testing.assert_allclose(smoothed.probabilities, exact.probabilities, atol=1e-12)
    np.testing.assert_allclose(smoothed.transition_counts, exact.transition_counts, atol=1e-12)


def test_where_every_move_is_likely_what_grew_faint_is_no_loss():
    log_densities = np.array([[0.0, 0.0], [-2000.0, 0.0], [0.0, -9000.0], [0.0, 0.0]])
    initial, transition = np.array([0.5, 0.5]), np.array([[0.9, 0.1], [0.2, 0.8]])
    starts = np.array([0, 4])
    exact = enumerate_chain(log_densities, initial, transition)
    filtered = filter_regimes(starts, log_densities, initial, transition)
    assert not filtered.in_logs
    assert filtered.log_likelihoods.sum() == pytest.approx(exact.log_likelihood, rel=1e-13)
    np.testing.assert_allclose(
        smooth_regimes(starts, transition, filtered).probabilities, exact.probabilities, atol=1e-12
    )


@pytest.mark.parametrize("bad", [-np.inf, np.nan, np.inf])
@pytest.mark.parametrize("smallest", [0.0, 0.1])
def test_an_impossible_observation_is_named(bad, smallest):
    log_densities = np.zeros((4, 2))
    log_densities[2] = bad
    initial, transition = np.array([0.5, 0.5]), np.array([[1.0 - smallest, smallest], [0.5, 0.5]])
    for function in (filter_regimes, best_path):
        with pytest.raises(NumericalError, match="row 2 is impossible"):
            function(np.array([0, 4]), log_densities, initial, transition)


def test_a_regime_that_cannot_be_reached_does_not_count():
    log_densities = np.array([[0.0, 0.0], [-1.0, 800.0]])
    initial, transition = np.array([1.0, 0.0]), np.array([[1.0, 0.0], [0.5, 0.5]])
    filtered = filter_regimes(np.array([0, 2]), log_densities, initial, transition)
    assert filtered.log_likelihoods.sum() == -1.0
    np.testing.assert_array_equal(filtered.filtered_probabilities, [[1.0, 0.0], [1.0, 0.0]])


def test_the_likeliest_path_of_equals_is_the_first():
    path, _ = best_path(np.array([0, 3]), np.zeros((3, 2)), np.array([0.5, 0.5]), np.full((2, 2), 0.5))
    assert path.tolist() == [0, 0, 0]


@pytest.mark.parametrize("n_regimes", [1, 2, 5])
def test_stationary_probabilities_stay(n_regimes):
    transition = np.random.default_rng(n_regimes).dirichlet(np.ones(n_regimes), size=n_regimes)
    stationary = stationary_probabilities(transition)
    np.testing.assert_allclose(stationary @ transition, stationary, rtol=1e-13)
    assert stationary.sum() == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize(
    ("transition", "expected"),
    [
        ([[0.0, 1.0], [1.0, 0.0]], [0.5, 0.5]),  # a cycle
        ([[0.9, 0.1], [0.0, 1.0]], [0.0, 1.0]),  # left to right
        ([[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5]),  # falls apart
        ([[1.0 - 1e-12, 1e-12], [3e-12, 1.0 - 3e-12]], [0.75, 0.25]),  # hardly ever moves
    ],
)
def test_stationary_probabilities_of_chains_at_the_edge(transition, expected):
    np.testing.assert_allclose(stationary_probabilities(np.array(transition)), expected, atol=1e-4)


def test_compiled_equals_interpreted():
    log_densities, initial, transition = random_chain(np.random.default_rng(9), 3, STARTS[-1])
    found = []
    for is_interpreted in (False, True):
        run, back, best = (
            getattr(kernel, "py_func", kernel) if is_interpreted else kernel
            for kernel in (filter_scaled, smooth_scaled, follow_best)
        )
        predicted, filtered, smoothed, heights = (np.zeros((STARTS[-1], 3)) for _ in range(4))
        log_likelihoods, counts, path = np.zeros(STARTS[-1]), np.zeros((3, 3)), np.zeros(STARTS[-1], dtype=np.int64)
        run(STARTS, log_densities, initial, transition, predicted, filtered, log_likelihoods)
        back(STARTS, transition, predicted, filtered, smoothed, counts, np.empty(3))
        origins, log_joints = np.zeros((STARTS[-1], 3), dtype=np.int16), np.zeros(3)
        best(STARTS, log_densities, log_of(initial), log_of(transition), origins, heights[:2], path, log_joints)
        found.append((predicted, filtered, log_likelihoods, smoothed, counts, path, log_joints))
    for compiled, interpreted in zip(*found, strict=True):
        np.testing.assert_allclose(compiled, interpreted, rtol=1e-12)
