"""Ill-conditioned systems against fifty digits: every path where it claims to be good, factors and the default always.

Errors are in units of the exact standard deviations of the states: those of a covariance entry in sd_i sd_j, of a mean
in sd. Rounding of the data and matrices themselves is paid for by the means: a state of size |m| known to sd has
|m| / sd times the rounding of its observations.
"""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp, mpf
from oracles.mp import exact, floats, scaled_error
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em.inference.kalman import filter_by, log_likelihood_by
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.inference.square_root import FactoredRows

EPSILON = float(np.finfo(float).eps)
# Covariances by factors: so many roundings, times the square root of the condition that the case has.
ROUNDINGS = 200.0


def system(F, Q, H, R, P, **more):
    return kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=Q,
        observation_matrix=H,
        observation_cov=R,
        initial_mean=np.zeros(len(F)),
        initial_cov=P,
        **more,
    )


def trend(ratio):
    return system([[1.0, 1.0], [0.0, 1.0]], np.diag([ratio, 1e-3 * ratio]), [[1.0, 0.0]], [[1.0]], 1e7 * np.eye(2))


def turned(condition):
    """Return a covariance of two states turned against the axes, with this condition number."""
    basis = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    cov = basis @ np.diag([1.0, 1.0 / condition]) @ basis.T
    return 0.5 * (cov + cov.T)


def correlated(condition):
    cov = turned(condition)
    return system([[0.9, 0.1], [0.0, 0.8]], 1e-3 * cov, [[1.0, 0.5]], [[1e-6]], cov)


def nearly_collinear(condition):
    """Two exact sensors that hardly differ."""
    return system(
        [[0.9, 0.1], [0.0, 0.8]],
        np.eye(2),
        [[1.0, 1.0], [1.0, 1.0 + condition**-0.5]],
        np.eye(2) / condition,
        1e3 * np.eye(2),
    )


def unequal(condition):
    """A very good and an ordinary sensor, and next to nothing known before."""
    return system(
        [[0.9, 0.1], [0.0, 0.8]],
        1e-3 * np.eye(2),
        [[1.0, 1.0], [1.0, -1.0]],
        np.diag([1.0 / condition, 1.0]),
        condition * np.eye(2),
    )


def explosive(radius):
    return system([[radius, 0.3], [0.0, 1.2]], 1e-6 * np.eye(2), [[1.0, 1.0]], [[1.0]], np.eye(2))


def contracting():
    return system([[0.5, 0.3], [0.0, 0.1]], np.zeros((2, 2)), [[1.0, 1.0]], [[1e-4]], 1e4 * np.eye(2))


def nearly_unit(distance):
    return system(
        [[1.0 - distance, 1.0], [0.0, 1.0 - 2.0 * distance]],
        np.diag([0.0, 1e-8]),
        [[1.0, 0.0]],
        [[1.0]],
        np.diag([1e10, 1e4]),
    )


def unequal_rates():
    """Three states without noise that contract at different rates, all diffuse."""
    F = np.diag([0.5, 0.2, 0.1]) + np.triu(np.full((3, 3), 0.2), 1)
    zero = np.zeros((3, 3))
    return system(F, zero, [[1.0, 1.0, 0.3]], [[1.0]], zero, initial_diffuse=np.array([True, True, True]))


# The system, and the square root of the condition with which its factors are found: of R or Q as they stand in
# the system, or of the observations of neighbouring states.
CASES = {
    **{f"trend, Q/R {q:g}": (lambda q=q: trend(q), 10.0) for q in (1e-12, 1e-6, 1.0, 1e6, 1e12)},
    **{f"correlated, condition {c:g}": (lambda c=c: correlated(c), 30.0) for c in (1e7, 1e10, 1e14)},
    **{f"collinear, condition {c:g}": (lambda c=c: nearly_collinear(c), c**0.5) for c in (1e7, 1e10, 1e14)},
    **{f"unequal sensors, ratio {c:g}": (lambda c=c: unequal(c), 1.0) for c in (1e7, 1e10, 1e14)},
    **{f"explosive, {f:g}": (lambda f=f: explosive(f), 1.0) for f in (1.01, 1.5, 3.0)},
    **{f"near unit root, {e:g}": (lambda e=e: nearly_unit(e), 10.0) for e in (1e-3, 1e-8, 1e-13)},
    "contracting without noise": (contracting, 1.0),
    "diffuse, contracting at unequal rates": (unequal_rates, 100.0),
}


def deviations(covs):
    return np.sqrt(np.maximum(np.diagonal(floats(covs), axis1=1, axis2=2), 0.0))


def errors(numerics, case, one, truth):
    """Return the largest error of covariances, of means, and of the log-likelihood."""
    filtered = kem.kalman_filter(case, one, numerics=numerics)
    smoothed = kem.rts_smoother(case, filtered, numerics=numerics)
    first = filtered.n_diffuse_steps
    before, after = deviations(truth.filtered_covs)[first:], deviations(truth.smoothed_covs)
    covs = max(
        scaled_error(
            filtered.filtered_covs[first:], truth.filtered_covs[first:], before[:, :, None] * before[:, None, :]
        ),
        scaled_error(smoothed.smoothed_covs, truth.smoothed_covs, after[:, :, None] * after[:, None, :]),
        scaled_error(smoothed.lag_one_covs, truth.lag_one_covs, after[1:, :, None] * after[:-1, None, :]),
    )
    means = max(
        scaled_error(filtered.filtered_means[first:], truth.filtered_means[first:], before),
        scaled_error(smoothed.smoothed_means, truth.smoothed_means, after),
    )
    log_likelihood = abs(filtered.log_likelihood - truth.log_likelihood) / (1.0 + abs(truth.log_likelihood))
    return np.array([covs, means, log_likelihood]), smoothed.numerics


def data_of(case, seed=0):
    return random_observations(np.random.default_rng(seed), case, 25, missing=0.1)


def size_of_means(case, one, truth):
    """Return how many standard deviations the values and means are from 0: what rounding of the data is worth."""
    first = kem.kalman_filter(case, one).n_diffuse_steps
    H, R = np.atleast_2d(case.observation_matrix), np.diagonal(case.observation_cov)
    values = np.nanmax(np.abs(one.values) / np.sqrt(np.where(R > 0.0, R, np.inf)), initial=0.0)
    terms = np.abs(floats(truth.filtered_means)) @ np.abs(H.T) / np.sqrt(np.where(R > 0.0, R, np.inf))
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.nan_to_num(np.abs(floats(truth.filtered_means)) / deviations(truth.filtered_covs))[first:]
    return max(values, terms.max(), means.max())


@pytest.mark.parametrize("name", CASES)
def test_factors_and_the_default_keep_their_digits(name):
    make, root_condition = CASES[name]
    case = make()
    one = data_of(case)
    truth = exact(case, one)
    square_root, _ = errors("square_root", case, one, truth)
    auto, used = errors("auto", case, one, truth)
    standard, _ = errors("standard", case, one, truth)
    allowed = ROUNDINGS * EPSILON * root_condition
    of_data = EPSILON * size_of_means(case, one, truth) * root_condition
    assert square_root[0] <= allowed
    assert square_root[1] <= 100.0 * of_data + allowed
    assert square_root[2] <= 100.0 * EPSILON * (1.0 + of_data / EPSILON) + allowed
    # The default: four digits of smoothed variances wherever they can be had, never much worse than the better.
    assert auto[0] <= max(1e-4, 3.0 * min(standard[0], square_root[0]))
    assert auto[1] <= max(1e-4, 10.0 * min(standard[1], square_root[1]))
    assert auto[2] <= max(1e-8, 10.0 * min(standard[2], square_root[2]))
    if standard[0] > 1e-4:
        assert used == "square_root"


def test_the_standard_path_fails_where_the_default_switches():
    """The test of the tests: covariances lose all digits here, factors half of them."""
    case = nearly_collinear(1e14)
    one = data_of(case)
    truth = exact(case, one)
    standard, _ = errors("standard", case, one, truth)
    auto, used = errors("auto", case, one, truth)
    assert used == "square_root"
    assert standard[0] > 1e-3
    assert auto[0] < 1e-7


@pytest.mark.parametrize(
    "options",
    [
        {"cov_rank": 1, "initial_rank": 0},
        {"cov_rank": 0, "initial_rank": 2},
        {"exact_rows": 2},
        {"exact_rows": 1, "noise_dim": 1},
        {"diffuse": 2, "cov_rank": 1},
        {"diffuse": 3, "exact_rows": 1, "cov_rank": 0, "radius": 1.0},
        {"varying": "all", "input_dim": 2, "noise_dim": 2},
        {"exact_rows": 2, "diffuse": 1, "noise_dim": 2, "radius": 1.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1])
def test_all_that_the_standard_path_does_by_factors(options, seed):
    rng = np.random.default_rng(seed)
    case = random_system(rng, 3, 2, 20, **options)
    one = random_observations(rng, case, 20, missing=0.2, missing_rows=(7, 8))
    truth = exact(case, one)
    filtered = kem.kalman_filter(case, one, numerics="square_root")
    smoothed = kem.rts_smoother(case, filtered)
    assert filtered.numerics == smoothed.numerics == "square_root"
    first = filtered.n_diffuse_steps
    # Some states are known without error: an error is measured by the largest variance there is.
    for actual, expected in (
        (filtered.filtered_covs[first:], truth.filtered_covs[first:]),
        (filtered.filtered_means[first:], truth.filtered_means[first:]),
        (smoothed.smoothed_means, truth.smoothed_means),
        (smoothed.smoothed_covs, truth.smoothed_covs),
        (smoothed.lag_one_covs, truth.lag_one_covs),
    ):
        size = max(1.0, np.abs(floats(expected)).max())
        assert scaled_error(actual, expected, size) < 1e-11
    np.testing.assert_allclose(filtered.log_likelihood, truth.log_likelihood, rtol=1e-11, atol=1e-10)


@pytest.mark.parametrize("numerics", ["standard", "square_root"])
def test_known_states_and_sensors_that_say_the_same(numerics):
    """P = 0, Q = 0 in one state and two noise-free sensors of one quantity: variances of exactly 0, no jitter."""
    case = system(
        np.diag([1.0, 0.5]),
        np.diag([0.0, 1.0]),
        [[0.0, 1.0], [0.0, 2.0], [1.0, 0.0]],
        np.diag([0.0, 0.0, 1.0]),
        np.zeros((2, 2)),
    )
    walk = np.array([0.0, 0.7, -0.4, 1.1])
    one = kem.Observations(np.column_stack([walk, 2.0 * walk, [0.3, -0.2, 0.5, np.nan]]))
    filtered = kem.kalman_filter(case, one, numerics=numerics)
    smoothed = kem.rts_smoother(case, filtered, numerics=numerics)
    assert np.all(filtered.filtered_covs == 0.0)
    assert np.all(smoothed.smoothed_covs == 0.0)
    np.testing.assert_allclose(smoothed.smoothed_means[:, 1], walk, rtol=1e-15)
    assert np.all(smoothed.smoothed_means[:, 0] == 0.0)
    noise = np.diff(walk) + 0.5 * walk[:-1]
    expected = -0.5 * (6 * np.log(2.0 * np.pi) + np.sum(noise**2) + 0.3**2 + 0.2**2 + 0.5**2)
    np.testing.assert_allclose(filtered.log_likelihood, expected, rtol=1e-14)


@pytest.mark.parametrize("numerics", ["auto", "standard", "square_root"])
def test_what_cannot_be_is_refused_by_every_path(numerics):
    case = system([[1.0]], [[0.0]], [[1.0], [2.0]], np.zeros((2, 2)), [[1.0]])
    kem.kalman_filter(case, kem.Observations([[1.0, 2.0], [1.0, 2.0]]), numerics=numerics)
    with pytest.raises(kem.NumericalError, match="row 1 is impossible"):
        kem.kalman_filter(case, kem.Observations([[1.0, 2.0], [1.0, 2.5]]), numerics=numerics)


@pytest.mark.parametrize("numerics", ["auto", "square_root"])
def test_a_diffuse_state_that_nothing_resolves_is_refused(numerics):
    case = system(np.eye(2), np.eye(2), [[1.0, 1.0]], [[1.0]], np.zeros((2, 2)), initial_diffuse=np.array([True, True]))
    filtered = kem.kalman_filter(case, kem.Observations([[1.0], [2.0], [0.5]]), numerics=numerics)
    with pytest.raises(kem.NumericalError, match="never resolved"):
        kem.rts_smoother(case, filtered)


@pytest.mark.parametrize(
    "case", [unequal(1e12), nearly_collinear(1e12), trend(1e-2)], ids=["unequal", "collinear", "trend"]
)
def test_the_likelihood_alone_switches_as_the_filter_does(case):
    rows = stack_rows([data_of(case)])
    laid = lay(case, rows)
    for numerics in ("auto", "standard", "square_root"):
        expected = filter_by(laid, rows, numerics).log_likelihoods.sum()
        assert log_likelihood_by(laid, rows, numerics) == pytest.approx(expected, rel=1e-12)
    switched = isinstance(filter_by(laid, rows, "auto"), FactoredRows)
    by_factors = log_likelihood_by(laid, rows, "square_root")
    assert switched == (len(case.observation_matrix) == 2)
    assert not switched or log_likelihood_by(laid, rows, "auto") == by_factors


def steady_trend(ratio, start):
    """Return where the Riccati recursion of a smooth trend goes from `start`, in fifty digits."""
    with mp.workdps(50):
        a, b, c = mpf(start[0, 0]), mpf(start[0, 1]), mpf(start[1, 1])
        for _ in range(10_000):
            s = a + 1
            a, b, c = a / s, b / s, c - b * b / s
            a, b, c = a + 2 * b + c, b + c, c + mpf(ratio)
        return np.array([[a, b], [b, c]])


def test_a_million_rows_by_factors():
    """Factors neither drift nor lose definiteness over 1e6 rows: at the end they are those of the steady state."""
    ratio = 1e-10
    case = system([[1.0, 1.0], [0.0, 1.0]], np.diag([0.0, ratio]), [[1.0, 0.0]], [[1.0]], 1e7 * np.eye(2))
    one = random_observations(np.random.default_rng(0), case, 1_000_000)
    by_factors = kem.kalman_filter(case, one, numerics="square_root")
    by_covariances = kem.kalman_filter(case, one, numerics="standard")
    truth = steady_trend(ratio, by_factors.predicted_covs[-1])
    sd = np.sqrt(np.diagonal(floats(truth)))
    assert scaled_error(by_factors.predicted_covs[-1], truth, np.outer(sd, sd)) < 1e-11
    assert np.isclose(by_factors.log_likelihood, by_covariances.log_likelihood, rtol=1e-9)
    smoothed = kem.rts_smoother(case, by_factors)
    assert np.all(np.isfinite(smoothed.smoothed_means))
    assert np.linalg.eigvalsh(smoothed.smoothed_covs[::10_000]).min() > 0.0


def test_a_word_that_is_no_numerics():
    case, one = explosive(1.01), kem.Observations([[1.0], [2.0]])
    message = r"numerics 'square-root' is not known; expected one of: auto, standard, square_root \(did you mean"
    with pytest.raises(kem.InputError, match=message):
        kem.kalman_filter(case, one, numerics="square-root")
    with pytest.raises(kem.InputError, match=message):
        kem.rts_smoother(case, kem.kalman_filter(case, one), numerics="square-root")
    with pytest.raises(kem.InputError, match=message):
        kem.fit(kem.LocalLevel(), [1.0, 2.0, 3.0, 2.0], numerics="square-root")
    with pytest.raises(kem.InputError, match="numerics None is not known"):
        kem.kalman_filter(case, one, numerics=None)
