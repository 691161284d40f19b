"""Variational Bayes of state-space models: the bound is exact and never falls, each factor is its best, states go."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, special, stats

import kalman_em as kem
from kalman_em.frames import to_panel
from kalman_em.latent import variational_system_climb as climb
from kalman_em.latent.variational_system_ahead import moved_on
from kalman_em.latent.variational_system_bound import divergence, evidence_bound, expected_log_joint
from kalman_em.latent.variational_system_climb import RATES, climbed, slope_of
from kalman_em.latent.variational_system_m_step import _Search, best_coefficients, best_precisions, raised
from kalman_em.latent.variational_system_params import SystemPrior, VariationalSystem, gamma_divergence
from kalman_em.latent.variational_system_rows import best_chain, series_rows, sums_of

NAN = np.nan
SHORT = kem.Stopping(max_iterations=8)


def simulated(n, d, p, seed=0, noise=0.5, missing=0.0):
    """Return rows of a system with d states of unit noise, measured from 3."""
    rng = np.random.default_rng(seed)
    F = np.linalg.qr(rng.normal(size=(d, d)))[0] * rng.uniform(0.7, 0.95, d)
    H, x = rng.normal(size=(p, d)), rng.normal(size=d)
    rows = np.empty((n, p))
    for t in range(n):
        rows[t] = 3.0 + H @ x + noise * rng.normal(size=p)
        x = F @ x + rng.normal(size=d)
    rows[rng.random(rows.shape) < missing] = NAN
    return rows


def posterior(d, p, seed=0):
    """Return any posterior: nothing in it is the best of anything."""
    rng = np.random.default_rng(seed)

    def covs(n, size):
        roots = 0.3 * rng.normal(size=(n, size, size))
        return roots @ np.swapaxes(roots, 1, 2) + 0.05 * np.eye(size)

    return VariationalSystem(
        transition_means=0.4 * rng.normal(size=(d, d)),
        transition_cov=covs(1, d)[0],
        observation_means=rng.normal(size=(p, d + 1)),
        observation_covs=covs(p, d + 1),
        noise_shapes=rng.uniform(2.0, 5.0, p),
        noise_rates=rng.uniform(1.0, 3.0, p),
        transition_relevance_shapes=rng.uniform(1.0, 3.0, d),
        transition_relevance_rates=rng.uniform(1.0, 3.0, d),
        observation_relevance_shapes=rng.uniform(1.0, 3.0, d + 1),
        observation_relevance_rates=rng.uniform(1.0, 3.0, d + 1),
        initial_shape=1.7,
        initial_rate=0.9,
    )


def prior_of(p):
    return SystemPrior((1.5, 0.7), 2.0, np.linspace(0.5, 1.0, p), (1.2, 0.8), np.linspace(-0.5, 0.5, p))


def dense_precision(params, rows, offset):
    """Return precision and pull of all states of all series at once, term by term."""
    d, n = params.state_dim, rows.n_rows
    D, r = np.zeros((n, d, n, d)), np.zeros((n, d))
    F, V, rho = params.transition_means, params.observation_covs, params.noise_precisions
    M = params.observation_means - np.column_stack([np.zeros((len(offset), d)), offset])
    for t in range(n):
        if t in rows.starts:
            D[t, :, t] += params.initial_precision * np.eye(d)
        else:
            D[t, :, t] += np.eye(d)
            D[t - 1, :, t - 1] += F.T @ F + d * params.transition_cov
            D[t, :, t - 1] -= F
            D[t - 1, :, t] -= F.T
        for i in np.flatnonzero(rows.seen[t]):
            second = rho[i] * np.outer(M[i], M[i]) + V[i]
            D[t, :, t] += second[:d, :d]
            r[t] += rho[i] * M[i, :d] * rows.values[t, i] - second[:d, d]
    return D.reshape(n * d, n * d), r.ravel()


@pytest.fixture(scope="module")
def two_series():
    values = simulated(7, 2, 3, seed=5, missing=0.25)
    values[3] = NAN
    panel = kem.Panel([kem.Observations(values), kem.Observations(simulated(4, 2, 3, seed=6))])
    prior = prior_of(3)
    return series_rows(panel, prior.offset), prior


def test_the_states_are_those_of_the_dense_gaussian(two_series):
    rows, prior = two_series
    params = posterior(2, 3)
    chain = best_chain(params, rows, prior.offset)
    D, r = dense_precision(params, rows, prior.offset)
    cov = np.linalg.inv(D)
    blocks = cov.reshape(rows.n_rows, 2, rows.n_rows, 2)
    np.testing.assert_allclose(chain.means.ravel(), cov @ r, rtol=1e-10, atol=1e-12)
    for t in range(rows.n_rows):
        np.testing.assert_allclose(chain.covs[t], blocks[t, :, t], rtol=1e-10, atol=1e-13)
        if t + 1 not in rows.starts:
            np.testing.assert_allclose(chain.lag_one_covs[t], blocks[t + 1, :, t], rtol=1e-10, atol=1e-13)
    assert chain.entropy == pytest.approx(0.5 * np.linalg.slogdet(2.0 * np.pi * np.e * cov)[1], rel=1e-12)


def augmented(params, n, p, offset):
    """Return the system of Barber and Chiappa: what parameters being uncertain adds is seen as rows of value 0."""
    d, V, rho = params.state_dim, params.observation_covs, params.noise_precisions
    M = params.observation_means - np.column_stack([np.zeros((p, d)), offset])
    moving = np.linalg.cholesky(d * params.transition_cov).T
    spread = np.linalg.cholesky(V.sum(axis=0)).T
    H = np.concatenate([M[:, :d], spread[:, :d], moving])
    offsets = np.concatenate([M[:, d], spread[:, d], np.zeros(d)])
    R = np.diag(np.concatenate([1.0 / rho, np.ones(2 * d + 1)]))
    return kem.LinearGaussianSystem(
        transition_matrix=params.transition_means, transition_cov=np.eye(d), observation_matrix=H,
        observation_offset=offsets, observation_cov=R, initial_mean=np.zeros(d),
        initial_cov=np.eye(d) / params.initial_precision)  # fmt: skip


def test_the_ordinary_filter_and_smoother_of_a_system_with_more_rows_find_the_same():
    data, prior, d, p = simulated(30, 2, 3), prior_of(3), 2, 3
    params = posterior(d, p, seed=4)
    rows = series_rows(to_panel(data), prior.offset)
    chain = best_chain(params, rows, prior.offset)
    # The last state moves no further: what F says of it is missing.
    more = np.zeros((30, 2 * d + 1))
    more[-1, d + 1 :] = NAN
    seen = kem.Observations(np.concatenate([data - prior.offset, more], axis=1))
    system = augmented(params, 30, p, prior.offset)
    filtered = kem.kalman_filter(system, seen)
    smoothed = kem.rts_smoother(system, filtered)
    np.testing.assert_allclose(chain.means, smoothed.smoothed_means, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(chain.covs, smoothed.smoothed_covs, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(chain.lag_one_covs[:-1], smoothed.lag_one_covs, rtol=1e-9, atol=1e-12)
    # log ∫ exp(E log p(y, x)) dx is the log-likelihood of that system, but for constants of its rows of value 0 and of
    # gammas, E[log ρ] in the place of log E[ρ].
    sums = sums_of(chain, rows)
    height = expected_log_joint(params, sums, prior) + sums.entropy
    lost = 0.5 * sums.counts @ (special.digamma(params.noise_shapes) - np.log(params.noise_shapes))
    lost += 0.5 * d * (special.digamma(params.initial_shape) - np.log(params.initial_shape))
    n_more = 30 * (2 * d + 1) - d
    assert height == pytest.approx(filtered.log_likelihood + 0.5 * n_more * np.log(2.0 * np.pi) + lost, rel=1e-11)


def drawn(params, rng):
    """Return parameters drawn from q, with log q - log p of them under `prior_of(p)`."""
    d, p = params.state_dim, params.obs_dim
    prior = prior_of(p)

    def gammas(shapes, rates, shape0, rates0):
        value = rng.gamma(shapes, 1.0 / rates)
        logs = special.xlogy(shapes - shape0, value) - (rates - rates0) * value
        norms = shapes * np.log(rates) - shape0 * np.log(rates0) - special.gammaln(shapes) + special.gammaln(shape0)
        return value, np.sum(logs + norms)

    def rows(means, covs, about, precisions):
        roots, noise = np.linalg.cholesky(covs), rng.standard_normal(means.shape)
        value = means + np.einsum("nij,nj->ni", roots, noise)
        here = -0.5 * (noise**2).sum() - np.log(np.diagonal(roots, axis1=1, axis2=2)).sum()
        there = 0.5 * np.log(precisions).sum() - 0.5 * (precisions * (value - about) ** 2).sum()
        return value, here - there

    alpha, one = gammas(params.transition_relevance_shapes, params.transition_relevance_rates, 1.5, 0.7)
    gamma, two = gammas(params.observation_relevance_shapes, params.observation_relevance_rates, 1.5, 0.7)
    rho, three = gammas(params.noise_shapes, params.noise_rates, 2.0, prior.noise_rates)
    first, four = gammas(params.initial_shape, params.initial_rate, 1.2, 0.8)
    F, five = rows(params.transition_means, np.tile(params.transition_cov, (d, 1, 1)), 0.0, np.tile(alpha, (d, 1)))
    about = np.column_stack([np.zeros((p, d)), prior.offset])
    covs = params.observation_covs / rho[:, None, None]
    M, six = rows(params.observation_means, covs, about, np.outer(rho, gamma))
    return F, M, rho, first, one + two + three + four + five + six


def test_the_bound_is_the_mean_over_draws_of_all_that_is_hidden(two_series):
    rows, prior = two_series
    params, rng = posterior(2, 3, seed=1), np.random.default_rng(0)
    params = replace(params, noise_rates=10.0 * params.noise_rates)
    chain = best_chain(params, rows, prior.offset)
    D, r = dense_precision(params, rows, prior.offset)
    cov = np.linalg.inv(D)
    root, middle = np.linalg.cholesky(cov), cov @ r
    follows = rows.follows

    def log_normal(errors, precisions):
        return 0.5 * np.log(precisions / (2.0 * np.pi)) - 0.5 * precisions * errors**2

    joints, ratios = np.empty(6000), np.empty(6000)
    for draw in range(len(joints)):
        F, M, rho, first, ratios[draw] = drawn(params, rng)
        x = (middle + root @ rng.standard_normal(len(middle))).reshape(-1, 2)
        steps = x[follows] - x[np.flatnonzero(follows) - 1] @ F.T
        errors = rows.values - (x @ M[:, :2].T + M[:, 2] - prior.offset)
        joints[draw] = (log_normal(errors, rho) * rows.seen).sum()
        joints[draw] += log_normal(steps, 1.0).sum() + log_normal(x[~follows], first).sum()
    sums = sums_of(chain, rows)
    for draws, exact, most in (
        (joints, expected_log_joint(params, sums, prior), 0.3),
        (ratios, divergence(params, prior), 0.06),
    ):
        error = np.std(draws) / np.sqrt(len(draws))
        assert error < most
        assert abs(np.mean(draws) - exact) < 4.0 * error
    entropy = 0.5 * np.linalg.slogdet(2.0 * np.pi * np.e * cov)[1]
    bound = evidence_bound(params, sums, prior)
    assert bound == pytest.approx(np.mean(joints - ratios) + entropy, abs=1.2)


def test_the_bound_stays_below_the_evidence():
    y = np.array([0.3, -0.8, 1.1, 0.4])
    model = kem.VariationalLinearGaussian(1, relevance=(3.0, 2.0), noise=(2.0, 1.0), initial=(2.0, 1.0), offset=[0.1])
    fitted = kem.fit(model, y)
    # h, d and v all have the precision ρ as a factor. Given the rest y is then Student's t with twice its shape, and
    # the evidence is the mean of its density over draws of F, γ, λ and of h in units of the noise.
    rng, n, scale = np.random.default_rng(0), len(y), y.std()
    heights = np.empty(3000)
    for draw in range(len(heights)):
        alpha, gamma, first = rng.gamma(3.0, 0.5), rng.gamma(3.0, 0.5, 2), rng.gamma(2.0, 1.0)
        f, h = rng.normal() / np.sqrt(alpha), rng.normal() / np.sqrt(gamma[0])
        states, variance = np.empty((n, n)), 1.0 / first
        for t in range(n):
            states[t, t:] = states[t:, t] = variance * f ** np.arange(n - t)
            variance = f * f * variance + 1.0
        shape = (h * h * states + np.eye(n) + 1.0 / gamma[1]) * scale**2 / 2.0
        heights[draw] = stats.multivariate_t.logpdf(y, np.full(n, 0.1), shape, df=4.0)
    evidence = special.logsumexp(heights) - np.log(len(heights))
    error = np.std(np.exp(heights - evidence)) / np.sqrt(len(heights))
    assert error < 0.02
    assert evidence - 1.5 < fitted.bound < evidence + 3.0 * error


def test_where_the_parameters_are_known_the_bound_is_the_log_likelihood():
    data, sure = simulated(25, 2, 3, missing=0.2), 1e13
    F, H, offset = np.array([[0.8, 0.1], [-0.2, 0.6]]), np.arange(6.0).reshape(3, 2) / 3.0, np.array([3.0, 2.0, 1.0])
    noise, first = np.array([0.3, 0.5, 0.2]), 2.5
    known = VariationalSystem(
        transition_means=F, transition_cov=np.eye(2) / sure, observation_means=np.column_stack([H, offset]),
        observation_covs=np.tile(np.eye(3) / sure, (3, 1, 1)), noise_shapes=np.full(3, sure), noise_rates=sure * noise,
        transition_relevance_shapes=np.ones(2), transition_relevance_rates=np.ones(2),
        observation_relevance_shapes=np.ones(3), observation_relevance_rates=np.ones(3),
        initial_shape=sure, initial_rate=sure * first)  # fmt: skip
    prior = prior_of(3)
    rows = series_rows(to_panel(data), prior.offset)
    sums = sums_of(best_chain(known, rows, prior.offset), rows)
    system = kem.LinearGaussianSystem(
        transition_matrix=F, transition_cov=np.eye(2), observation_matrix=H, observation_offset=offset,
        observation_cov=np.diag(noise), initial_mean=np.zeros(2), initial_cov=first * np.eye(2))  # fmt: skip
    expected = kem.kalman_filter(system, kem.Observations(data)).log_likelihood
    assert expected_log_joint(known, sums, prior) + sums.entropy == pytest.approx(expected, rel=1e-9)
    assert evidence_bound(known, sums, prior) == pytest.approx(expected - divergence(known, prior), rel=1e-9)


def nudged(params, name, rng, size=1e-3):
    value = getattr(params, name)
    if name.endswith(("cov", "covs")):
        noise = rng.normal(size=value.shape)
        change = size * (noise + np.swapaxes(noise, -1, -2)) * np.abs(value).max()
    else:
        change = size * rng.normal(size=value.shape) * np.maximum(np.abs(value), 0.1)
    return replace(params, **{name: value + change})


FACTORS = {
    best_coefficients: (
        *("transition_means", "transition_cov", "observation_means", "observation_covs", "noise_shapes", "noise_rates"),
    ),
    best_precisions: (
        *("transition_relevance_shapes", "transition_relevance_rates", "observation_relevance_shapes"),
        *("observation_relevance_rates", "initial_shape", "initial_rate"),
    ),
}


@pytest.mark.parametrize("update", FACTORS)
def test_each_factor_is_the_best_given_the_others(two_series, update):
    rows, prior = two_series
    start, rng = posterior(2, 3, seed=2), np.random.default_rng(0)
    sums = sums_of(best_chain(start, rows, prior.offset), rows)
    best = update(start, sums, prior)
    height = evidence_bound(best, sums, prior)
    assert height > evidence_bound(start, sums, prior) + 1e-3
    for name in FACTORS[update]:
        for _ in range(10):
            assert evidence_bound(nudged(best, name, rng), sums, prior) < height
        assert evidence_bound(replace(best, **{name: getattr(start, name)}), sums, prior) < height


def test_the_slope_along_basis_and_rates_is_that_of_the_bound(two_series):
    rows, prior = two_series
    start, rng = posterior(2, 3, seed=3), np.random.default_rng(0)
    sums = sums_of(best_chain(start, rows, prior.offset), rows)
    search = _Search(best_precisions(start, sums, prior), sums, prior)
    point = 0.1 * rng.normal(size=len(search.origin))
    _, slope = search.cost(point)
    for axis in range(len(point)):
        step = np.zeros(len(point))
        step[axis] = 1e-5
        difference = (search.cost(point + step)[0] - search.cost(point - step)[0]) / 2e-5
        assert slope[axis] == pytest.approx(difference, rel=1e-6, abs=1e-6)


def test_turned_sums_are_those_of_turned_states(two_series):
    rows, prior = two_series
    params, basis = posterior(2, 3), np.array([[1.5, 0.4], [-0.3, 0.8]])
    chain = best_chain(params, rows, prior.offset)
    log_det = np.linalg.slogdet(basis)[1]
    other = replace(
        chain, means=chain.means @ basis.T, covs=basis @ chain.covs @ basis.T,
        lag_one_covs=basis @ chain.lag_one_covs @ basis.T, entropy=chain.entropy + rows.n_rows * log_det)  # fmt: skip
    one, two = sums_of(chain, rows).turned(basis), sums_of(other, rows)
    for name in ("first", "before", "cross", "after", "regressors", "targets", "squares", "entropy"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-11, atol=1e-12)


def test_the_m_step_never_lowers_the_bound_and_more_than_one_round_of_factors(two_series):
    rows, prior = two_series
    start = posterior(2, 3, seed=4)
    sums = sums_of(best_chain(start, rows, prior.offset), rows)
    rounds = best_precisions(best_coefficients(start, sums, prior), sums, prior)
    new = raised(start, sums, prior)
    assert evidence_bound(new, sums.turned(new.turned), prior) > evidence_bound(rounds, sums, prior) + 0.1


def test_the_slope_is_that_of_the_bound_with_the_states_at_their_best(two_series):
    rows, prior = two_series
    start = posterior(2, 3, seed=6)
    # Shapes are at their best throughout a climb.
    start = best_precisions(best_coefficients(start, sums_of(best_chain(start, rows, prior.offset), rows), prior),
                            sums_of(best_chain(start, rows, prior.offset), rows), prior)  # fmt: skip
    rng = np.random.default_rng(0)
    params = nudged(nudged(start, "transition_means", rng, 0.1), "observation_means", rng, 0.1)

    def height(moved):
        return evidence_bound(moved, sums_of(best_chain(moved, rows, prior.offset), rows), prior)

    slope = iter(slope_of(params, sums_of(best_chain(params, rows, prior.offset), rows), prior))
    for name in ("transition_means", "observation_means", *RATES):
        value = np.atleast_1d(getattr(params, name))
        for index in np.ndindex(value.shape):
            ends = []
            for step in (1e-5, -1e-5):
                changed = value.copy()
                changed[index] = value[index] + step if "means" in name else value[index] * np.exp(step)
                ends.append(height(replace(params, **{name: changed.reshape(np.shape(getattr(params, name)))})))
            assert next(slope) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-5), name


def test_the_climb_has_the_slope_of_the_bound_in_all_that_it_moves(two_series):
    rows, prior = two_series
    start = posterior(2, 3, seed=7)
    start = best_precisions(start, sums_of(best_chain(start, rows, prior.offset), rows), prior)
    search = climb._Search(
        best_coefficients(start, sums_of(best_chain(start, rows, prior.offset), rows), prior), rows, prior
    )
    point = 0.2 * np.random.default_rng(0).normal(size=len(search.units))
    assert len(point) == sum(search.sizes)
    _, slope = search.cost(point)
    for axis, move in enumerate(1e-5 * np.eye(len(point))):
        difference = (search.cost(point + move)[0] - search.cost(point - move)[0]) / 2e-5
        assert slope[axis] == pytest.approx(difference, rel=1e-5, abs=1e-5), axis
    # What is at no distance is where it was.
    for name, value in vars(search.placed(0.0 * point)).items():
        np.testing.assert_allclose(value, getattr(search.base, name), rtol=1e-12, atol=1e-14)


def test_the_climb_leaves_nothing_to_steps_that_creep():
    data = simulated(400, 1, 3, seed=1)
    some = kem.Stopping(max_iterations=20)
    fitted = kem.fit(kem.VariationalLinearGaussian(3), data, stopping=some)
    problem, before = fitted.problem, fitted.em.params
    after = climbed(before, problem.rows, problem.prior)
    heights = [problem.e_step(params)[1] for params in (before, after)]
    for _ in range(150):
        after = problem.m_step(after, problem.e_step(after)[0])
    heights.append(problem.e_step(after)[1])
    assert heights[1] > heights[0] + 1e-4
    assert heights[2] < heights[1] + 1e-7
    whole = kem.fit(fitted.model, data)
    assert whole.em.stop_reason.is_converged
    assert whole.em.n_iterations < 120
    assert whole.bound == pytest.approx(heights[2], abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_never_falls(seed):
    rng = np.random.default_rng(seed)
    d, p = rng.integers(1, 4, 2)
    series = [simulated(int(rng.integers(2, 25)), 2, p, seed=10 * seed + k, missing=0.3 * (seed % 2)) for k in range(3)]
    panel = kem.Panel([kem.Observations(one) for one in series])
    em = kem.fit(kem.VariationalLinearGaussian(int(d)), panel, n_starts=1 + seed % 2, seed=seed, stopping=SHORT).em
    rounding = 1e-10 * np.abs(em.log_likelihoods).max()
    assert np.diff(em.log_likelihoods).min() > -rounding
    assert (em.bound_history - em.log_likelihoods[:-1]).min() > -rounding
    assert em.kl_gaps.min() > -rounding


@pytest.mark.parametrize(("d", "p", "n"), [(2, 6, 120), (3, 8, 200)])
def test_the_number_of_states_is_found(d, p, n):
    fitted = kem.fit(kem.VariationalLinearGaussian(6), simulated(n, d, p, seed=d, missing=0.05), stopping=SHORT)
    for _ in range(4):
        if fitted.n_relevant == d:
            break
        fitted = kem.fit(fitted.model, fitted.panel, start=fitted.params, stopping=SHORT)
    relevance = np.sort(fitted.relevance)[::-1]
    assert fitted.n_relevant == d
    assert relevance[d - 1] > 0.9
    assert relevance[d] < 0.2


def test_units_and_origin_do_not_matter():
    data, c, shift = simulated(40, 2, 3, missing=0.1), np.array([1e6, 1.0, 1e-5]), np.array([-1e4, 0.0, 3.0])
    stopping = kem.Stopping(max_iterations=3)
    one, other = (kem.fit(kem.VariationalLinearGaussian(2), y, stopping=stopping) for y in (data, c * (data + shift)))
    constant = np.log(c) @ (~np.isnan(data)).sum(axis=0)
    assert other.bound == pytest.approx(one.bound - constant, rel=1e-6)
    np.testing.assert_allclose(other.noise_variances, c**2 * one.noise_variances, rtol=1e-3)
    np.testing.assert_allclose(np.abs(other.transition_matrix), np.abs(one.transition_matrix), atol=1e-3)


def test_rows_without_values_at_the_end_say_nothing_and_are_forecast():
    data = simulated(40, 1, 2)
    padded = np.concatenate([data, np.full((3, 2), NAN)])
    model = kem.VariationalLinearGaussian(2)
    one, other = (kem.fit(model, y, stopping=SHORT) for y in (data, padded))
    assert one.bound == other.bound
    ahead = one.forecast(3)
    smooth, filled = other.smooth(), other.impute()
    np.testing.assert_allclose(smooth.smoothed_means[40:], ahead.state_means, rtol=1e-12)
    np.testing.assert_allclose(smooth.smoothed_covs[40:], ahead.state_covs, rtol=1e-12)
    np.testing.assert_allclose(filled[["y1", "y2"]].to_numpy()[40:], ahead.means, rtol=1e-12)
    np.testing.assert_allclose(filled[["y1_sd", "y2_sd"]].to_numpy()[40:], ahead.sds, rtol=1e-12)
    np.testing.assert_array_equal(filled[["y1", "y2"]].to_numpy()[:40], data)
    assert (filled[["y1_sd", "y2_sd"]].to_numpy()[:40] == 0.0).all()


def test_one_step_ahead_has_the_moments_of_draws():
    fitted = kem.fit(kem.VariationalLinearGaussian(2), simulated(30, 1, 3, missing=0.2), stopping=SHORT)
    own, rng, n = fitted.em.params, np.random.default_rng(0), 200_000
    last = fitted.smooth()
    x = rng.multivariate_normal(last.smoothed_means[-1], last.smoothed_covs[-1], n)
    draws = rng.multivariate_normal(np.zeros(2), own.transition_cov, (n, 2)) + own.transition_means
    x = np.einsum("nij,nj->ni", draws, x) + rng.standard_normal((n, 2))
    rho = rng.gamma(own.noise_shapes, 1.0 / own.noise_rates, (n, 3))
    rows = np.empty((n, 3))
    for i in range(3):
        M = rng.multivariate_normal(np.zeros(3), own.observation_covs[i], n) / np.sqrt(rho[:, i])[:, None]
        M += own.observation_means[i]
        rows[:, i] = (M[:, :2] * x).sum(axis=1) + M[:, 2] + rng.standard_normal(n) / np.sqrt(rho[:, i])
    ahead = fitted.forecast(1)
    sds = ahead.sds[0]
    np.testing.assert_allclose(rows.mean(axis=0), ahead.means[0], atol=0.02 * sds.max())
    np.testing.assert_allclose(np.cov(rows.T) / np.outer(sds, sds), ahead.covs[0] / np.outer(sds, sds), atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), ahead.state_covs[0], atol=0.03 * ahead.state_covs[0].max())


def test_the_next_state_has_the_moments_of_draws_where_little_is_known():
    params, rng, n = posterior(2, 3), np.random.default_rng(0), 200_000
    mean, cov = np.array([2.0, -1.0]), np.array([[0.5, 0.2], [0.2, 0.4]])
    x = rng.multivariate_normal(mean, cov, n)
    F = params.transition_means + rng.multivariate_normal(np.zeros(2), params.transition_cov, (n, 2))
    after = np.einsum("nij,nj->ni", F, x) + rng.standard_normal((n, 2))
    expected, spread, cross = moved_on(params, mean, cov)
    np.testing.assert_allclose(after.mean(axis=0), expected, atol=0.02)
    np.testing.assert_allclose(np.cov(after.T), spread, atol=0.04)
    np.testing.assert_allclose((after - expected).T @ (x - mean) / n, cross, atol=0.02)
    assert spread[0, 0] > 1.5 + (params.transition_means @ cov @ params.transition_means.T)[0, 0]


def test_a_panel_of_labelled_series(tmp_path):
    weeks = pd.date_range("2024-01-01", periods=30, freq="W")
    tables = [pd.DataFrame(simulated(30, 1, 2, seed=k), columns=["a", "b"]).assign(week=weeks, key=k) for k in range(2)]
    long = pd.concat(tables)
    fitted = kem.fit(kem.VariationalLinearGaussian(2), long, time="week", series="key", stopping=SHORT)
    ahead = fitted.forecast(2, series=1)
    assert ahead.index.tolist() == pd.date_range(weeks[-1], periods=3, freq="W")[1:].tolist()
    assert fitted.smooth(series=0).to_frame().columns.tolist() == ["x1", "x1_sd", "x2", "x2_sd"]
    assert fitted.observation_matrix.index.tolist() == fitted.observation_matrix_sds.index.tolist() == ["a", "b"]
    with pytest.raises(kem.InputError, match="series"):
        fitted.forecast(2)
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.params == fitted.params
    assert loaded.bound == fitted.bound
    for name in ("aic", "aicc", "bic"):
        with pytest.raises(kem.InputError, match="bounds"):
            getattr(fitted, name)
    with pytest.raises(kem.InputError, match="sds"):
        _ = fitted.standard_errors
    text = str(fitted.summary())
    assert "log-likelihood" not in text
    assert "relevant states" in text
    assert "2 series" in text


def test_the_posterior_is_about_the_truth():
    data = simulated(150, 1, 3, seed=3, noise=0.7)
    rng = np.random.default_rng(3)
    F = np.linalg.qr(rng.normal(size=(1, 1)))[0] * rng.uniform(0.7, 0.95, 1)
    H = rng.normal(size=(3, 1))
    fitted = kem.fit(kem.VariationalLinearGaussian(1), data)
    assert fitted.em.stop_reason.is_converged
    off = np.abs(fitted.observation_matrix.to_numpy()) - np.abs(H)
    assert np.all(np.abs(off) < 3.0 * fitted.observation_matrix_sds.to_numpy())
    assert np.all(np.abs(fitted.transition_matrix.to_numpy() - F) < 3.0 * fitted.transition_matrix_sds.to_numpy())
    np.testing.assert_allclose(fitted.noise_variances, 0.49, rtol=0.35)
    assert np.all(fitted.observation_matrix_sds.to_numpy() < 0.2)


def test_gamma_divergence_is_the_integral():
    for one, other in (((2.0, 3.0), (1.5, 0.7)), ((0.7, 0.2), (2.0, 2.0))):
        p, q = (stats.gamma(shape, scale=1.0 / rate) for shape, rate in (one, other))
        value, _ = integrate.quad(lambda x, p=p, q=q: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), 0.0, np.inf)
        assert gamma_divergence(np.array(one[0]), np.array(one[1]), *other) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"state_dim": 0}, "state_dim"),
        ({"state_dim": 2, "relevance": (0.0, 1.0)}, "relevance"),
        ({"state_dim": 2, "noise": 1.0}, "noise"),
        ({"state_dim": 2, "initial": (1.0, np.inf)}, "initial"),
    ],
)
def test_what_makes_no_model_is_refused(options, said):
    with pytest.raises(kem.InputError, match=said):
        kem.VariationalLinearGaussian(**options)


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (kem.VariationalLinearGaussian(1), [[1.0, 2.0]], "two rows"),
        (kem.VariationalLinearGaussian(1), [[1.0, 2.0], [NAN, NAN]], "two rows"),
        (kem.VariationalLinearGaussian(1), [[1.0, 2.0], [1.0, 3.0]], "one value throughout"),
        (kem.VariationalLinearGaussian(1, offset=[1.0]), [[1.0, 2.0], [4.0, 3.0]], "offset"),
    ],
)
def test_data_that_cannot_be_learnt_from_are_refused(model, data, said):
    with pytest.raises(kem.InputError, match=said):
        kem.fit(model, data)
