"""The oracles themselves: against statsmodels, limits, closed forms and each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles import bruteforce as bf
from oracles.dense import LOG_2PI, DenseGaussian, forecast
from support.reference import statsmodels_smoother
from support.systems import random_cov, random_observations, random_system, random_transition

from kalman_em.observations import Observations
from kalman_em.systems import LinearGaussianSystem


def time_first(array):
    return np.moveaxis(array, -1, 0)


def case(seed, d, p, n_steps, *, missing=0.25, missing_rows=(), **options):
    rng = np.random.default_rng(seed)
    system = random_system(rng, d, p, n_steps, **options)
    system = replace(system, initial_mean=np.where(system.initial_diffuse, 0.0, system.initial_mean))
    return system, random_observations(rng, system, n_steps, missing=missing, missing_rows=missing_rows)


def test_random_systems_are_what_was_asked_for():
    rng = np.random.default_rng(0)
    system = random_system(
        rng,
        4,
        3,
        6,
        varying="all",
        input_dim=2,
        noise_dim=3,
        cov_rank=2,
        exact_rows=1,
        initial_rank=2,
        diffuse=1,
    )
    assert np.abs(np.linalg.eigvals(system.transition_matrix)).max() <= 0.95
    assert np.linalg.matrix_rank(system.transition_cov, tol=1e-10).tolist() == [2] * 5
    assert (np.einsum("tii->ti", system.observation_cov) == 0.0).sum(axis=1).tolist() == [1] * 6
    assert np.linalg.matrix_rank(system.initial_cov, tol=1e-10) <= 2
    assert system.initial_diffuse.tolist() == [True, False, False, False]
    observations = random_observations(rng, system, 6, missing=0.5, missing_rows=[0])
    assert observations.is_missing[0].all()
    assert 0 < observations.is_missing[1:].sum() < 15
    assert np.abs(np.linalg.eigvals(random_transition(rng, 3, radius=0.4))).max() <= 0.4


# --- the dense oracle ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_dense_equals_statsmodels(seed):
    options = {"varying": "all", "input_dim": 2, "noise_dim": 2} if seed % 2 else {"cov_rank": 1, "exact_rows": 1}
    system, observations = case(seed, 3, 2, 8, missing_rows=[3], **options)
    dense = DenseGaussian(system, observations)
    smoothed, filtered, outside = (
        dense.smoothed(),
        dense.filtered(),
        statsmodels_smoother(system, observations),
    )
    assert smoothed.log_likelihood == pytest.approx(outside.llf, rel=1e-11)
    np.testing.assert_allclose(filtered.log_likelihoods, outside.llf_obs, rtol=1e-9, atol=1e-10)
    pairs = [
        (smoothed.state_means, outside.smoothed_state),
        (smoothed.state_covs, outside.smoothed_state_cov),
        (smoothed.lag_one_covs, outside.smoothed_state_autocov[..., :-1]),
        (filtered.filtered_means, outside.filtered_state),
        (filtered.filtered_covs, outside.filtered_state_cov),
        (filtered.predicted_means, outside.predicted_state[..., :-1]),
        (filtered.predicted_covs, outside.predicted_state_cov[..., :-1]),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, time_first(theirs), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("options", [{"cov_rank": 0}, {"cov_rank": 1, "exact_rows": 1}], ids=str)
def test_dense_keeps_its_digits_over_long_series_without_noise(options):
    system, observations = case(30, 4, 2, 30, **options)
    smoothed, outside = DenseGaussian(system, observations).smoothed(), statsmodels_smoother(system, observations)
    np.testing.assert_allclose(smoothed.state_means, outside.smoothed_state.T, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(smoothed.state_covs, time_first(outside.smoothed_state_cov), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("seed", "diffuse", "missing_rows"), [(0, 3, [3]), (1, 2, [0]), (2, 1, [0, 1]), (3, 3, [1])])
def test_diffuse_dense_equals_statsmodels(seed, diffuse, missing_rows):
    system, observations = case(seed, 3, 2, 8, missing_rows=missing_rows, diffuse=diffuse, input_dim=1, varying="HQbR")
    smoothed, outside = (
        DenseGaussian(system, observations).smoothed(),
        statsmodels_smoother(system, observations),
    )
    # statsmodels' exact diffuse likelihood has the same constant: every 2π.
    assert smoothed.log_likelihood == pytest.approx(outside.llf, rel=1e-10)
    np.testing.assert_allclose(smoothed.state_means, outside.smoothed_state.T, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(smoothed.state_covs, time_first(outside.smoothed_state_cov), rtol=1e-9, atol=1e-10)
    proper = slice(outside.nobs_diffuse, -1)
    theirs = time_first(outside.smoothed_state_autocov)[proper]
    assert len(theirs) >= 3
    np.testing.assert_allclose(smoothed.lag_one_covs[outside.nobs_diffuse :], theirs, rtol=1e-9, atol=1e-10)


def limit_of_wide_priors(system, observations, read):
    """Return `read(dense, κ)` at κ to infinity: two finite priors, the term in 1/κ taken out."""

    def at_width(kappa):
        cov = system.initial_cov + kappa * np.diag(system.initial_diffuse.astype(float))
        return read(DenseGaussian(replace(system, initial_cov=cov, initial_diffuse=None), observations), kappa)

    return (10.0 * at_width(1e7) - at_width(1e6)) / 9.0


@pytest.mark.parametrize(("diffuse", "varying"), [(1, ""), (2, "all"), ([1], "all"), (3, ""), (3, "all")])
def test_diffuse_dense_is_the_limit_of_wide_priors(diffuse, varying):
    system, observations = case(12, 3, 2, 6, diffuse=diffuse, missing_rows=[0], varying=varying)
    system = replace(system, initial_mean=[1.0, -2.0, 0.5])
    count = int(system.initial_diffuse.sum())
    smoothed = DenseGaussian(system, observations).smoothed()
    assert smoothed.state_factor.shape[-1] == 0
    pairs = [
        (
            lambda one, kappa: one.smoothed().log_likelihood + 0.5 * count * np.log(kappa),
            smoothed.log_likelihood,
        ),
        (lambda one, _: one.smoothed().state_means, smoothed.state_means),
        (lambda one, _: one.smoothed().state_cov, smoothed.state_cov),
        (lambda one, _: one.smoothed().obs_means, smoothed.obs_means),
        (lambda one, _: one.smoothed().obs_cov, smoothed.obs_cov),
    ]
    for read, ours in pairs:
        np.testing.assert_allclose(ours, limit_of_wide_priors(system, observations, read), rtol=1e-6, atol=1e-6)


def test_diffuse_dense_moments_while_diffuse_are_the_limit_of_wide_priors():
    """Two of three directions are still unknown at first: Cov = filtered_covs + κ A A' and nothing else."""
    system, observations = case(12, 3, 1, 5, diffuse=3, missing=0.0, missing_rows=[1])
    system = replace(system, initial_mean=[1.0, -2.0, 0.5])
    ours = DenseGaussian(system, observations).filtered()
    is_diffuse = [np.abs(factor).max() > 1e-9 for factor in ours.filtered_diffuse]
    assert is_diffuse == [True, True, True, False, False]

    def finite_part(one, kappa):
        return one.filtered().filtered_covs - kappa * ours.filtered_diffuse

    def means(one, _):
        return one.filtered().filtered_means

    limit = limit_of_wide_priors(system, observations, finite_part)
    np.testing.assert_allclose(ours.filtered_covs, limit, rtol=1e-4, atol=1e-4)
    limit = limit_of_wide_priors(system, observations, means)
    np.testing.assert_allclose(ours.filtered_means, limit, rtol=1e-6, atol=1e-6)


def test_statsmodels_leaves_the_diffuse_limit_when_transitions_vary():
    """The known fault of the outside oracle: should this go red, a new version may have mended it."""
    system, observations = case(0, 3, 2, 8, missing_rows=[3], diffuse=3, varying="F")
    limit = limit_of_wide_priors(system, observations, lambda one, _: one.smoothed().state_means)
    ours = DenseGaussian(system, observations).smoothed().state_means
    theirs = statsmodels_smoother(system, observations).smoothed_state.T
    np.testing.assert_allclose(ours, limit, atol=1e-4)
    assert np.abs(theirs - limit).max() > 0.1


def test_diffuse_dense_takes_an_exactly_observed_level():
    """y = level without noise: the first value is the level, the rest a random walk."""
    walk = LinearGaussianSystem(
        transition_matrix=[[1.0]],
        transition_cov=[[2.0]],
        observation_matrix=[[1.0]],
        observation_cov=[[0.0]],
        initial_mean=[0.0],
        initial_cov=[[0.0]],
        initial_diffuse=[True],
    )
    smoothed = DenseGaussian(walk, Observations([[5.0], [6.0], [np.nan], [8.0]])).smoothed()
    expected = -1.5 * LOG_2PI - 0.5 * (np.log(2.0) + 1.0 / 2.0) - 0.5 * (np.log(4.0) + 4.0 / 4.0)
    assert smoothed.log_likelihood == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(smoothed.state_means[:, 0], [5.0, 6.0, 7.0, 8.0], rtol=1e-12)
    np.testing.assert_allclose(smoothed.state_covs[:, 0, 0], [0.0, 0.0, 1.0, 0.0], atol=1e-12)


def test_dense_log_likelihood_is_the_normal_density_of_what_was_observed():
    system, observations = case(4, 2, 2, 5)
    prior = DenseGaussian(system, observations).prior()
    seen = ~observations.is_missing.ravel()
    cov = prior.obs_cov.reshape(10, 10)[np.ix_(seen, seen)]
    error = (observations.values - prior.obs_means).ravel()[seen]
    expected = -0.5 * (seen.sum() * LOG_2PI + np.linalg.slogdet(cov)[1] + error @ np.linalg.inv(cov) @ error)
    assert DenseGaussian(system, observations).smoothed().log_likelihood == pytest.approx(expected, rel=1e-12)


def test_dense_prior_is_the_moments_of_simulated_series():
    rng = np.random.default_rng(5)
    system = random_system(rng, 2, 2, 3, input_dim=1, varying="all", noise_dim=1)
    priors = [
        (one, DenseGaussian(system, one).prior()) for one in (random_observations(rng, system, 3) for _ in range(2000))
    ]
    errors = np.array([(one.values - prior.obs_means).ravel() for one, prior in priors])
    cov = priors[0][1].obs_cov.reshape(6, 6)
    deviations = np.sqrt(np.diag(cov))
    np.testing.assert_allclose(errors.mean(axis=0) / deviations, 0.0, atol=0.1)
    np.testing.assert_allclose(np.cov((errors / deviations).T), cov / np.outer(deviations, deviations), atol=0.15)


def test_dense_missing_observations_follow_the_states():
    """A missing value is H x + d + v: its moments are those of the smoothed state through H, plus R."""
    system, observations = case(6, 2, 1, 6, missing=0.4)
    smoothed = DenseGaussian(system, observations).smoothed()
    hidden = observations.is_missing[:, 0]
    assert 0 < hidden.sum() < 6
    H, R = system.observation_matrix, system.observation_cov
    means = smoothed.state_means @ H.T + system.observation_offset
    covs = H @ smoothed.state_covs @ H.T + R
    np.testing.assert_allclose(smoothed.obs_means[hidden], means[hidden], rtol=1e-11)
    np.testing.assert_allclose(smoothed.obs_covs[hidden], covs[hidden], rtol=1e-11)
    np.testing.assert_array_equal(smoothed.obs_means[~hidden], observations.values[~hidden])
    assert not smoothed.obs_covs[~hidden].any()


def test_dense_forecast_is_the_prediction_from_the_last_filtered_state():
    system, observations = case(7, 3, 2, 6)
    last = DenseGaussian(system, observations).filtered()
    mean, cov = last.filtered_means[-1], last.filtered_covs[-1]
    ahead = forecast(system, observations, 3)
    F, Q, b = system.transition_matrix, system.transition_cov, system.transition_offset
    for k in range(3):
        mean, cov = F @ mean + b, F @ cov @ F.T + Q
        np.testing.assert_allclose(ahead.state_means[k], mean, rtol=1e-11)
        np.testing.assert_allclose(ahead.state_covs[k], cov, rtol=1e-11)


# --- the brute-force oracle ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def panel():
    rng = np.random.default_rng(20)
    system = random_system(rng, 2, 2, 5, input_dim=1)
    lengths = [5, 3, 1, 6]
    return [(system, random_observations(rng, system, n, missing=0.25, missing_rows=[2][: n - 2])) for n in lengths]


def test_brute_force_recovers_least_squares_when_states_are_seen():
    """With H = I and R = 0 the M-step is the regression of y[t+1] on y[t], 1 and u[t]."""
    rng = np.random.default_rng(21)
    d, n = 2, 30
    system = random_system(rng, d, d, n, input_dim=1)
    system = replace(
        system,
        observation_matrix=np.eye(d),
        observation_cov=np.zeros((d, d)),
        observation_offset=np.zeros(d),
        observation_input=np.zeros((d, 1)),
    )
    observations = random_observations(rng, system, n)
    start = bf.constants(system)
    blocks = {name: bf.free(start[name]) for name in "FbB"} | {"Q": bf.full_cov(random_cov(rng, d))}
    found, value = bf.maximise([(system, observations)], blocks)
    y, regressors = (
        observations.values,
        np.column_stack([observations.values, np.ones(n), observations.inputs])[:-1],
    )
    solution, *_ = np.linalg.lstsq(regressors, y[1:], rcond=None)
    error = y[1:] - regressors @ solution
    Q = error.T @ error / (n - 1)
    whole = np.column_stack([found["F"], found["b"], found["B"]])
    np.testing.assert_allclose(whole, solution.T, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found["Q"], Q, rtol=1e-8, atol=1e-9)
    expected = -0.5 * (n - 1) * (d * LOG_2PI + np.linalg.slogdet(Q)[1] + d)
    assert value == pytest.approx(expected, rel=1e-10)


def test_brute_force_recovers_the_initial_moments_of_a_panel(panel):
    start = bf.constants(panel[0][0])
    found, _ = bf.maximise(panel, {"m": bf.free(start["m"]), "P": bf.full_cov(start["P"])})
    first = [DenseGaussian(*pair).smoothed() for pair in panel]
    means = np.array([one.state_means[0] for one in first])
    error = means - means.mean(axis=0)
    P = np.mean([one.state_covs[0] for one in first], axis=0) + error.T @ error / len(panel)
    np.testing.assert_allclose(found["m"], means.mean(axis=0), rtol=1e-8)
    np.testing.assert_allclose(found["P"], P, rtol=1e-8)


@pytest.mark.parametrize("name", ["Q", "R"])
def test_brute_force_covariance_forms_have_their_closed_forms(panel, name):
    """With the means fixed, S = E[residual residual'] / n: full S, diagonal diag S, isotropic tr S / d."""
    old = bf.constants(panel[0][0])
    dim = 2
    _, transition, observation = [sum(rest, first) for first, *rest in zip(*map(moments, panel), strict=True)]
    if name == "Q":
        part, matrix = transition, np.column_stack([old["F"], old["b"], old["B"]])
    else:
        part, matrix = observation, np.column_stack([old["H"], old["d"], old["D"]])
    S = part.residual(matrix) / part.count
    rotation = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2.0)
    basis = np.array([[2.0, 0.5], [0.5, 1.0]])
    cases = {
        "full": (bf.full_cov(old[name]), S),
        "diagonal": (bf.diagonal_cov(old[name]), np.diag(np.diag(S))),
        "blocks": (bf.block_diagonal_cov(old[name], [[0], [1]]), np.diag(np.diag(S))),
        "isotropic": (bf.isotropic_cov(old[name]), np.eye(dim) * np.trace(S) / dim),
        "scaled": (bf.scaled_cov(basis, 1.0), basis * np.trace(np.linalg.solve(basis, S)) / dim),
        "equal": (bf.equal_cov(old[name]), rotation @ np.diag(np.diag(rotation @ S @ rotation)) @ rotation),
    }
    for form, (block, expected) in cases.items():
        found, _ = bf.maximise(panel, {name: block})
        np.testing.assert_allclose(found[name], expected, rtol=1e-8, atol=1e-10, err_msg=form)
        others = {key: value for key, value in found.items() if key != name}
        assert all(np.array_equal(value, old[key]) for key, value in others.items())


def moments(pair):
    return bf.expected_moments(*pair)


def test_brute_force_climbs_from_the_old_parameters(panel):
    """Each constrained maximum lies between the old value and the free one, and its constraints hold."""
    old = bf.constants(panel[0][0])
    mask = np.array([[True, False], [True, True]])
    shared = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 0.0]]])

    def value(F, Q):
        return bf.maximise(panel, {"F": F, "Q": Q})[1]

    free_value = value(bf.free(old["F"]), bf.full_cov(old["Q"]))
    found, partly_value = bf.maximise(panel, {"F": bf.partly(old["F"], mask), "Q": bf.full_cov(old["Q"])})
    assert found["F"][0, 1] == old["F"][0, 1]
    assert not np.isclose(found["F"][0, 0], old["F"][0, 0])
    linear_found, linear_value = bf.maximise(panel, {"F": bf.linear(0.0 * old["F"], shared, [0.5, 0.1])})
    assert linear_found["F"][0, 0] == linear_found["F"][1, 1]
    assert linear_found["F"][1, 0] == 0.0
    total = [sum(rest, first) for first, *rest in zip(*map(moments, panel), strict=True)]
    old_value = bf.expected_log_likelihood(total, old, ("transition",))
    assert old_value < partly_value < free_value
    assert linear_value < free_value


def test_expected_log_likelihood_is_the_mean_over_posterior_draws(panel):
    """E[log p(x, y)] by Monte Carlo over states and missing values, at other parameters than the old ones."""
    rng = np.random.default_rng(23)
    system, observations = panel[0]
    new = {
        **bf.constants(system),
        "Q": random_cov(rng, 2),
        "R": random_cov(rng, 2),
        "H": rng.normal(size=(2, 2)),
    }
    posterior = DenseGaussian(system, observations).smoothed()
    T, n = 5, 10
    cross = posterior.obs_state_cov.reshape(n, n)
    cov = np.block([[posterior.state_cov.reshape(n, n), cross.T], [cross, posterior.obs_cov.reshape(n, n)]])
    mean = np.concatenate([posterior.state_means.ravel(), posterior.obs_means.ravel()])
    eigenvalues, vectors = np.linalg.eigh(cov)
    noise = rng.normal(size=(10000, 2 * n)) * np.sqrt(np.maximum(eigenvalues, 0.0))
    draws = mean + np.vstack([noise, -noise]) @ vectors.T
    x, y = draws[:, :n].reshape(-1, T, 2), draws[:, n:].reshape(-1, T, 2)

    def log_normal(error, cov):
        square = np.einsum("...i,ij,...j->...", error, np.linalg.inv(cov), error)
        return -0.5 * (2 * LOG_2PI + np.linalg.slogdet(cov)[1] + square)

    u = observations.inputs
    step = x[:, 1:] - x[:, :-1] @ new["F"].T - new["b"] - u[:-1] @ new["B"].T
    seen = y - x @ new["H"].T - new["d"] - u @ new["D"].T
    each = log_normal(x[:, 0] - new["m"], new["P"])
    each = each + log_normal(step, new["Q"]).sum(axis=1) + log_normal(seen, new["R"]).sum(axis=1)
    exact = bf.expected_log_likelihood(bf.expected_moments(system, observations), new)
    assert abs(each.mean() - exact) < 4.0 * each.std() / np.sqrt(len(each))
    assert each.std() / np.sqrt(len(each)) < 0.01 * abs(exact)
