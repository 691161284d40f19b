"""Filter and smoother against the dense joint Gaussian: every kind of system, every kind of gap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles.dense import DenseGaussian
from support.systems import random_observations, random_system

import kalman_em as kem

RELATIVE = 1e-9

# name -> (options of random_system, options of random_observations)
PROPER = {
    "constant": ({}, {}),
    "no offsets": ({"offsets": False}, {}),
    "everything varies": ({"varying": "all", "input_dim": 2, "noise_dim": 2}, {"missing": 0.2}),
    "varies, one entry beyond the end": ({"varying": "all", "n_transitions": "T"}, {"missing": 0.2}),
    "only transitions vary": ({"varying": "FbBQ", "input_dim": 1}, {"missing": 0.2}),
    "only observations vary": ({"varying": "HdDR", "input_dim": 1}, {"missing": 0.2}),
    "inputs": ({"input_dim": 3}, {"missing": 0.1}),
    "one noise": ({"noise_dim": 1}, {"missing": 0.2}),
    "more noises than states": ({"noise_dim": 6}, {"missing": 0.2}),
    "no noise": ({"cov_rank": 0}, {"missing": 0.2}),
    "singular noise": ({"cov_rank": 1}, {"missing": 0.2}),
    "one exact row": ({"exact_rows": 1}, {"missing": 0.2}),
    "one exact row, singular noise": ({"exact_rows": 1, "cov_rank": 1, "varying": "FH"}, {"missing": 0.2}),
    "known start": ({"initial_rank": 0}, {"missing": 0.2}),
    "known start, singular noise": ({"initial_rank": 0, "cov_rank": 1, "varying": "Q"}, {"missing": 0.2}),
    "half missing": ({}, {"missing": 0.5}),
    "half missing, everything varies": ({"varying": "all", "input_dim": 1}, {"missing": 0.5}),
    "missing rows": ({"varying": "FHR"}, {"missing": 0.2, "missing_rows": [2, 3]}),
    "missing at the start": ({"input_dim": 1}, {"missing": 0.2, "missing_rows": [0, 1]}),
    "missing at the end": ({}, {"missing": 0.2, "missing_rows": [-1, -2]}),
}
SHAPES = [(1, 1, 6), (2, 3, 5), (3, 2, 8), (4, 4, 4), (4, 1, 8)]

# name -> (state_dim, obs_dim, T, options of random_system, options of random_observations)
DIFFUSE = {
    "scalar": (1, 1, 6, {"diffuse": 1}, {}),
    "scalar, several readings": (1, 3, 5, {"diffuse": 1}, {"missing": 0.3}),
    "scalar, late first reading": (1, 1, 7, {"diffuse": 1}, {"missing_rows": [0, 1]}),
    "scalar, exact readings": (1, 1, 6, {"diffuse": 1, "exact_rows": 1}, {}),
    "all at once": (2, 3, 6, {"diffuse": 2}, {}),
    "one direction a step": (3, 1, 8, {"diffuse": 3}, {}),
    "two directions a step": (4, 2, 8, {"diffuse": 4}, {}),
    "gaps in the diffuse phase": (3, 2, 8, {"diffuse": 3}, {"missing": 0.4, "missing_rows": [1]}),
    "leading gap": (3, 2, 8, {"diffuse": 3}, {"missing": 0.2, "missing_rows": [0, 1]}),
    "partly diffuse": (3, 2, 7, {"diffuse": 1}, {"missing": 0.2}),
    "partly diffuse, the last": (4, 2, 7, {"diffuse": [1, 3]}, {"missing": 0.2}),
    "partly diffuse, rest known": (3, 2, 7, {"diffuse": 2, "initial_rank": 0}, {"missing": 0.2}),
    "everything varies": (3, 2, 8, {"diffuse": 3, "varying": "all", "input_dim": 1}, {"missing": 0.2}),
    "everything varies, gap": (
        4,
        2,
        8,
        {"diffuse": 3, "varying": "all"},
        {"missing": 0.2, "missing_rows": [0, 2]},
    ),
    "no noise": (3, 2, 7, {"diffuse": 3, "cov_rank": 0}, {"missing": 0.2}),
    "singular noise": (3, 2, 7, {"diffuse": 3, "noise_dim": 1}, {"missing": 0.2}),
    "an exact row": (3, 2, 7, {"diffuse": 3, "exact_rows": 1}, {"missing": 0.2}),
    "resolved in the last row": (2, 1, 2, {"diffuse": 2}, {}),
}


def draw(seed, d, p, n_steps, system_options, observation_options):
    rng = np.random.default_rng(seed)
    options = dict(system_options)
    if options.get("n_transitions") == "T":
        options["n_transitions"] = n_steps
    if options.get("cov_rank") is not None:
        options["cov_rank"] = min(options["cov_rank"], d)
    system = random_system(rng, d, p, n_steps, **options)
    return system, random_observations(rng, system, n_steps, **observation_options)


def assert_same(actual, expected, name):
    """Assert equality to 1e-9 of each value, or of the largest of the array where values cancel."""
    finite = np.abs(expected[np.isfinite(expected)])
    size = finite.max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE, atol=max(RELATIVE * size, 1e-12), err_msg=name)


def assert_symmetric(covs, name):
    np.testing.assert_array_equal(covs, np.swapaxes(covs, -1, -2), err_msg=name)
    eigenvalues = np.linalg.eigvalsh(covs)
    assert eigenvalues.min(initial=0.0) >= -1e-12 * np.abs(eigenvalues).max(initial=1.0), name


def assert_equals_dense(system, observations, *, likelihood=True):
    dense = DenseGaussian(system, observations)
    expected, smoothed = dense.filtered(), dense.smoothed()
    filtered = kem.kalman_filter(system, observations)
    actual = kem.rts_smoother(system, filtered)
    for name in ("predicted_means", "predicted_covs", "filtered_means", "filtered_covs"):
        assert_same(getattr(filtered, name), getattr(expected, name), name)
    assert_same(actual.smoothed_means, smoothed.state_means, "smoothed_means")
    assert_same(actual.smoothed_covs, smoothed.state_covs, "smoothed_covs")
    assert actual.lag_one_covs.shape == smoothed.lag_one_covs.shape
    assert_same(actual.lag_one_covs, smoothed.lag_one_covs, "lag_one_covs")
    if likelihood:
        assert_same(filtered.log_likelihoods, expected.log_likelihoods, "log_likelihoods")
        assert filtered.log_likelihood == pytest.approx(smoothed.log_likelihood, rel=RELATIVE)
    # A prediction from a diffuse state has no finite variance: the whole row is NaN.
    is_diffuse = np.abs(expected.predicted_diffuse).max(axis=(1, 2)) > 1e-9
    innovations, innovation_covs = expected.innovations.copy(), expected.innovation_covs.copy()
    innovations[is_diffuse], innovation_covs[is_diffuse] = np.nan, np.nan
    assert_same(filtered.innovations, innovations, "innovations")
    assert_same(filtered.innovation_covs, innovation_covs, "innovation_covs")
    n_diffuse = int((np.abs(expected.filtered_diffuse).max(axis=(1, 2)) > 1e-9).sum())
    assert filtered.n_diffuse_steps == n_diffuse
    factors = filtered.diffuse_factors
    assert_same(factors @ np.swapaxes(factors, 1, 2), expected.filtered_diffuse[:n_diffuse], "diffuse_factors")
    for name in ("predicted_covs", "filtered_covs"):
        assert_symmetric(getattr(filtered, name), name)
    assert_symmetric(actual.smoothed_covs, "smoothed_covs")
    return filtered, actual


@pytest.mark.parametrize("name", PROPER)
@pytest.mark.parametrize(("d", "p", "n_steps"), SHAPES)
def test_proper_start(name, d, p, n_steps):
    system_options, observation_options = PROPER[name]
    system_options = {key: min(value, p) if key == "exact_rows" else value for key, value in system_options.items()}
    for seed in range(3):
        case = draw([seed, d, p], d, p, n_steps, system_options, observation_options)
        assert_equals_dense(*case)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("d", range(1, 7))
def test_independent_readings(d, missing):
    p = min(d, 3)
    rows = {"missing": missing, "missing_rows": [2, 3]}
    system, observations = draw([d, 7], d, p, 7, {"offsets": False, "diffuse": d // 3}, rows)
    independent = system.replaced(observation_cov=np.diag(np.diagonal(system.observation_cov)))
    assert_equals_dense(independent, observations)


@pytest.mark.parametrize("name", DIFFUSE)
def test_diffuse_start(name):
    for seed in range(4):
        system, observations = draw([9, seed], *DIFFUSE[name])
        filtered, _ = assert_equals_dense(system, observations)
        assert np.isnan(filtered.innovation_covs[0]).all()


@pytest.mark.parametrize("n_steps", [1, 2])
@pytest.mark.parametrize("varying", ["", "all"])
@pytest.mark.parametrize("d", [1, 3])
def test_short_series(n_steps, varying, d):
    for seed in range(3):
        options = {"varying": varying, "input_dim": 1, "n_transitions": "T"}
        case = draw([seed, d], d, 2, n_steps, options, {"missing": 0.3})
        _, smoothed = assert_equals_dense(*case)
        assert smoothed.lag_one_covs.shape == (n_steps - 1, d, d)


def test_one_row_has_no_transitions():
    """T rows are moved through by T-1 transitions: none for one row."""
    assert_equals_dense(*draw(0, 2, 2, 1, {"varying": "all"}, {}))


@pytest.mark.parametrize(
    "options",
    [
        {"cov_rank": 0},
        {"cov_rank": 0, "diffuse": 2},
        {"cov_rank": 1, "exact_rows": 1},
        {"noise_dim": 1},
        {"noise_dim": 1, "initial_rank": 0},
        {"cov_rank": 2, "exact_rows": 1, "varying": "F"},
    ],
    ids=str,
)
def test_long_series_with_directions_free_of_noise(options):
    """A stable transition undone thirty times would blow rounding up: the smoother must not invert it."""
    for seed in range(3):
        system, observations = draw([5, seed], 4, 2, 30, options, {"missing": 0.2})
        filtered = kem.kalman_filter(system, observations)
        actual, expected = kem.rts_smoother(system, filtered), DenseGaussian(system, observations).smoothed()
        assert filtered.log_likelihood == pytest.approx(expected.log_likelihood, rel=RELATIVE)
        assert_same(actual.smoothed_means, expected.state_means, "smoothed_means")
        assert_same(actual.smoothed_covs, expected.state_covs, "smoothed_covs")
        assert_same(actual.lag_one_covs, expected.lag_one_covs, "lag_one_covs")
        assert_symmetric(actual.smoothed_covs, "smoothed_covs")


@pytest.mark.parametrize("n_steps", [20, 60])
def test_a_contraction_free_of_noise_is_not_undone(n_steps):
    """Without noise x[t] = F^t x[0], and x[0] is a least-squares estimate: exact moments without a step back.

    The inverse of this F grows threefold a step, so that going back by it alone loses every digit.
    """
    F, H = np.array([[0.3, 0.2], [0.0, 0.9]]), np.array([[1.0, 0.5]])
    system = kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=np.zeros((2, 2)),
        observation_matrix=H,
        observation_cov=[[0.5]],
        initial_mean=np.zeros(2),
        initial_cov=np.diag([2.0, 1.0]),
    )
    rng = np.random.default_rng(11)
    values = rng.normal(size=(n_steps, 1))
    powers = np.array([np.linalg.matrix_power(F, t) for t in range(n_steps)])
    design = (H @ powers)[:, 0]
    cov = np.linalg.inv(np.diag([0.5, 1.0]) + design.T @ design / 0.5)
    mean = cov @ (design.T @ values[:, 0]) / 0.5
    smoothed = kem.rts_smoother(system, kem.kalman_filter(system, kem.Observations(values)))
    np.testing.assert_allclose(smoothed.smoothed_means, powers @ mean, rtol=1e-9, atol=1e-12)
    covs = powers @ cov @ np.swapaxes(powers, 1, 2)
    np.testing.assert_allclose(smoothed.smoothed_covs, covs, rtol=1e-9)
    np.testing.assert_allclose(smoothed.lag_one_covs, F @ covs[:-1], rtol=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_any_system(seed):
    """Options drawn at random, proper and diffuse together."""
    rng = np.random.default_rng([77, seed])
    d, p, n_steps = int(rng.integers(1, 5)), int(rng.integers(1, 5)), int(rng.integers(4, 9))
    letters = "FbBQGHdDR"
    noise_dim = None if rng.random() < 0.5 else int(rng.integers(1, d + 1))
    rank = int(rng.integers(1, (d if noise_dim is None else noise_dim) + 1))
    diffuse = int(rng.integers(0, d + 1)) if rng.random() < 0.5 else 0
    system_options = {
        "varying": [letter for letter in letters if rng.random() < 0.3],
        "input_dim": int(rng.integers(0, 3)),
        "noise_dim": noise_dim,
        "cov_rank": rank,
        # An exact row of a state that starts known would be certain beforehand: see the test of its own.
        "exact_rows": int(rng.random() < 0.3 and diffuse == 0),
        "diffuse": diffuse,
    }
    observation_options = {"missing": rng.uniform(0.0, 0.4), "missing_rows": rng.integers(0, 2, size=1)}
    system, observations = draw([78, seed], d, p, n_steps, system_options, observation_options)
    dense = DenseGaussian(system, observations).smoothed()
    if dense.state_factor.size:
        filtered = kem.kalman_filter(system, observations)
        assert filtered.log_likelihood == pytest.approx(dense.log_likelihood, rel=RELATIVE)
        with pytest.raises(kem.NumericalError, match="never resolved"):
            kem.rts_smoother(system, filtered)
    else:
        assert_equals_dense(system, observations)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_observed_is_the_prior(seed):
    system, observations = draw(seed, 3, 2, 5, {"varying": "all", "input_dim": 1}, {})
    empty = kem.Observations(np.full((5, 2), np.nan), inputs=observations.inputs)
    filtered, smoothed = assert_equals_dense(system, empty)
    assert filtered.log_likelihood == 0.0
    np.testing.assert_allclose(smoothed.smoothed_covs, filtered.predicted_covs, rtol=1e-12, atol=1e-14)


def test_values_that_were_certain_beforehand_add_nothing():
    """One quantity read twice without error: the second reading changes nothing."""
    rng = np.random.default_rng(3)
    system, observations = draw(3, 2, 2, 6, {"exact_rows": 1, "offsets": False}, {})
    exact = int(np.flatnonzero(np.diag(system.observation_cov) == 0.0)[0])
    order = [0, 1, exact]
    factor = np.eye(2)[order]
    twice = replace(
        system,
        observation_matrix=factor @ system.observation_matrix,
        observation_cov=factor @ system.observation_cov @ factor.T,
        observation_offset=np.zeros(3),
    )
    values = observations.values[:, order].copy()
    values[rng.random(values.shape) < 0.2] = np.nan
    once = np.where(np.isnan(values[:, :2]), np.nan, values[:, :2])
    once[:, exact] = np.where(np.isnan(once[:, exact]), values[:, 2], once[:, exact])
    filtered, smoothed = assert_equals_dense(twice, kem.Observations(values), likelihood=False)
    single = kem.kalman_filter(system, kem.Observations(once))
    assert filtered.log_likelihood == pytest.approx(single.log_likelihood, rel=RELATIVE)
    expected = kem.rts_smoother(system, single)
    assert_same(smoothed.smoothed_means, expected.smoothed_means, "smoothed_means")


def test_state_known_for_ever():
    """P = 0 and Q = 0 in the first element: its value is what the transition says, whatever is observed."""
    rng = np.random.default_rng(4)
    system = random_system(rng, 2, 2, 6, offsets=True)
    cov = np.diag([0.0, 1.0])
    system = replace(system, transition_matrix=[[0.9, 0.0], [0.3, 0.5]], transition_cov=cov, initial_cov=cov)
    observations = random_observations(rng, system, 6, missing=0.2)
    _, smoothed = assert_equals_dense(system, observations)
    assert not smoothed.smoothed_covs[:, 0, :].any()


def test_correlated_noise_in_partly_missing_rows():
    """A strongly correlated R: dropping the observed half of a row would be far off."""
    system, _ = draw(5, 2, 3, 6, {}, {})
    R = 0.5 * np.ones((3, 3)) + 0.02 * np.eye(3)
    system = replace(system, observation_cov=R)
    observations = random_observations(np.random.default_rng(6), system, 6, missing=0.4)
    assert observations.is_missing.any(axis=1).any()
    assert_equals_dense(system, observations)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_do_not_matter(scale):
    """States and observations in units a millionfold apart keep nine digits in every entry."""
    system, observations = draw(7, 2, 2, 6, {"exact_rows": 1, "cov_rank": 1}, {"missing": 0.2})
    S, Si = np.diag([1.0, scale]), np.diag([1.0, 1.0 / scale])
    rescaled = replace(
        system,
        transition_matrix=S @ system.transition_matrix @ Si,
        transition_cov=S @ system.transition_cov @ S,
        transition_offset=S @ system.transition_offset,
        observation_matrix=system.observation_matrix @ Si,
        initial_mean=S @ system.initial_mean,
        initial_cov=S @ system.initial_cov @ S,
    )
    expected = kem.rts_smoother(system, kem.kalman_filter(system, observations))
    filtered = kem.kalman_filter(rescaled, observations)
    actual = kem.rts_smoother(rescaled, filtered)
    dense = DenseGaussian(system, observations).smoothed()
    assert filtered.log_likelihood == pytest.approx(dense.log_likelihood, rel=RELATIVE)
    assert_same(actual.smoothed_means @ Si, dense.state_means, "smoothed_means")
    assert_same(Si @ actual.smoothed_covs @ Si, dense.state_covs, "smoothed_covs")
    assert_same(Si @ actual.lag_one_covs @ Si, expected.lag_one_covs, "lag_one_covs")


@pytest.mark.parametrize("loading", [1e-3, 1e-5])
def test_weak_first_sight_of_a_diffuse_direction(loading):
    """The first value of the row hardly sees the diffuse level, the second sees it well."""
    system, observations = draw(8, 2, 2, 6, {"diffuse": 1, "offsets": False}, {})
    H = np.array(system.observation_matrix)
    H[0, 0], H[1, 0] = loading, 1.0
    system = replace(system, observation_matrix=H, observation_cov=np.diag([0.5, 0.3]))
    assert_equals_dense(system, observations)
