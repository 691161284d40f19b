"""Markov autoregressions with missing values against the enumeration of all paths, each one dense Gaussian."""

from __future__ import annotations

import numpy as np
import pytest
from oracles.paths import all_paths, log_prior, weigh

import kalman_em as kem
from kalman_em.inference.regimes import stationary_probabilities
from kalman_em.latent.regime_autoregression import MarkovAutoregressionParams

MOVES = np.array([[0.8, 0.2], [0.3, 0.7]])
VARIANTS = [(False, False), (True, True)]
NAN = np.nan


def some_params(switching_coefficients, switching_variance):
    return MarkovAutoregressionParams(
        means=[-1.0, 2.0],
        coefficients=[[0.5, -0.2], [0.1, 0.3]] if switching_coefficients else [0.5, -0.2],
        variances=[0.5, 1.5] if switching_variance else [0.7],
        initial_probabilities=stationary_probabilities(MOVES),
        transition_matrix=MOVES,
    )


def dense(y, path, params):
    """Return the joint mean and covariance of rows p, p + 1, ... given the first p and the path, by their errors."""
    p, n = params.order, len(y)
    phi = np.broadcast_to(params.coefficients, (2, p))
    mean, loads = np.array(y), np.zeros((n, n))
    for t in range(p, n):
        mean[t] = params.means[path[t]]
        loads[t, t] = np.sqrt(params.spreads[path[t]])
        for i in range(p):
            mean[t] += phi[path[t], i] * (mean[t - 1 - i] - params.means[path[t - 1 - i]])
            loads[t] += phi[path[t], i] * loads[t - 1 - i]
    return mean[p:], (loads @ loads.T)[p:, p:]


def gaussian(x, mean, cov):
    off = x - mean
    return -0.5 * (len(x) * np.log(2 * np.pi) + np.linalg.slogdet(cov)[1] + off @ np.linalg.solve(cov, off))


def enumerated(y, params):
    """Return the posterior of all paths, and by path the moments of all values given those observed."""
    p, paths = params.order, all_paths(len(y), 2)
    log_joints = log_prior(paths, params.initial_probabilities, params.transition_matrix)
    means, covs = np.zeros((len(paths), len(y))), np.zeros((len(paths), len(y), len(y)))
    seen = ~np.isnan(y[p:])
    for number, path in enumerate(paths):
        mean, cov = dense(y, path, params)
        if seen.any():
            log_joints[number] += gaussian(y[p:][seen], mean[seen], cov[np.ix_(seen, seen)])
            gain = np.linalg.solve(cov[np.ix_(seen, seen)], cov[seen]).T
            mean, cov = mean + gain @ (y[p:][seen] - mean[seen]), cov - gain @ cov[seen]
        means[number] = np.concatenate([y[:p], mean])
        covs[number, p:, p:] = cov
    return weigh(paths, log_joints), means, covs


def some_series():
    rng = np.random.default_rng(3)
    first, second, third = (rng.normal(size=n) * 2.0 for n in (8, 5, 6))
    first[[3, 6]] = NAN
    second[[2, 4]] = NAN
    return [first, second, third]


def problem_of(series, variant):
    model = kem.MarkovAutoregression(2, order=2, switching_coefficients=variant[0], switching_variance=variant[1])
    return model.problem(kem.Panel([kem.Observations(one[:, None]) for one in series]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_e_step_is_the_sum_over_all_paths(variant):
    series, params = some_series(), some_params(*variant)
    problem = problem_of(series, variant)
    expectations, log_likelihood = problem.e_step(params)
    exact = [enumerated(one, params) for one in series]
    assert log_likelihood == pytest.approx(sum(one.log_likelihood for one, *_ in exact), rel=1e-12)
    posterior = problem.posterior(params)
    np.testing.assert_allclose(posterior.smoothed, np.concatenate([e.probabilities for e, *_ in exact]), atol=1e-12)
    so_far = [enumerated(series[0][: t + 1], params)[0].probabilities[-1] for t in range(8)]
    np.testing.assert_allclose(posterior.filtered[:8], so_far, atol=1e-12)
    path, log_joints = problem.path(params)
    assert path[:8].tolist() == exact[0][0].best.tolist()
    assert log_joints[0] == pytest.approx(exact[0][0].log_joints.max(), rel=1e-12)
    # The last series has no gap; of the second the last row says nothing, and is left out of the sums.
    series[1] = series[1][:4]
    exact[1] = enumerated(series[1], params)
    counts = sum(e.transition_counts for e, *_ in exact)
    np.testing.assert_allclose(expectations.transition_counts, counts, atol=1e-12)
    np.testing.assert_allclose(expectations.initial_counts, sum(e.probabilities[0] for e, *_ in exact), atol=1e-12)
    first, second, n_in = np.zeros((8, 3)), np.zeros((2, 3, 3)), np.zeros(8)
    for posterior, means, covs in exact:
        weights = np.exp(posterior.log_joints - posterior.log_likelihood)
        for t in range(2, means.shape[1]):
            lags = [t, t - 1, t - 2]
            for path, weight, mean, cov in zip(posterior.paths, weights, means, covs, strict=True):
                value, history = mean[lags] - problem.rows.centre, path[lags] @ [4, 2, 1]
                n_in[history] += weight
                first[history] += weight * value
                second[path[t]] += weight * (np.outer(value, value) + cov[np.ix_(lags, lags)])
    np.testing.assert_allclose(expectations.sums.counts, n_in, atol=1e-12)
    np.testing.assert_allclose(expectations.sums.first, first, atol=1e-11)
    np.testing.assert_allclose(expectations.sums.second, second, atol=1e-11)
    filled = problem.expected_values(params)[:8, 0]
    weights = np.exp(exact[0][0].log_joints - exact[0][0].log_likelihood)
    np.testing.assert_allclose(filled[[3, 6]], (weights @ exact[0][1])[[3, 6]], rtol=1e-10)


def test_without_gaps_paths_are_what_histories_are():
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    gone = np.append(values, [NAN] * 3)
    params, plain = some_params(True, True), problem_of([values], (True, True))
    gapped = problem_of([gone], (True, True))
    for temperature in (1.0, 2.0, 0.0):
        one, other = (problem.tempered(temperature).e_step(params) for problem in (plain, gapped))
        assert other[1] == pytest.approx(one[1], rel=1e-12)
        np.testing.assert_allclose(other[0].transition_counts, one[0].transition_counts, atol=1e-11)
        np.testing.assert_allclose(other[0].sums.counts, one[0].sums.counts, atol=1e-11)
    np.testing.assert_allclose(gapped.posterior(params).smoothed[:40], plain.posterior(params).smoothed, atol=1e-12)
    np.testing.assert_allclose(gapped.posterior(params).smoothed[40], plain.posterior(params).smoothed[-1] @ MOVES)
    np.testing.assert_allclose(gapped.last_history(params, 0), plain.last_history(params, 0), atol=1e-12)
    np.testing.assert_array_equal(gapped.path(params)[0][:40], plain.path(params)[0])


def test_growth_with_missing_quarters_is_learnt_and_filled():
    growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    holes = growth.copy()
    holes.iloc[[20, 21, 60, 100]] = NAN
    fitted = kem.fit(kem.MarkovAutoregression(2, order=2), holes)
    assert fitted.em.stop_reason.is_converged
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9
    filled = fitted.impute().iloc[:, 0]
    assert filled.notna().all()
    np.testing.assert_array_equal(filled[holes.notna()], holes.dropna())
    assert np.abs(filled - growth)[holes.isna()].max() < 3.0 * growth.std()
    assert fitted.forecast(2).to_frame().notna().all(axis=None)
    assert fitted.score(growth) > fitted.log_likelihood - 20.0
    assert len(fitted.path()) == len(growth)


def test_what_cannot_be_taken_is_refused_by_name():
    values = np.arange(40.0) % 7.0
    for rows, said in (([0], "first 2 rows observed"), (range(5, 20), "felt for 17 rows")):
        gone = values.copy()
        gone[list(rows)] = NAN
        with pytest.raises(kem.InputError, match=said):
            kem.fit(kem.MarkovAutoregression(2, order=2), gone)
    gone = np.append(values + np.random.default_rng(0).normal(size=40), NAN)
    fitted = kem.fit(kem.MarkovAutoregression(2, order=2), gone, stopping=kem.Stopping(max_iterations=3))
    with pytest.raises(kem.InputError, match="last 2 rows of the series observed"):
        fitted.forecast(1)
    with pytest.raises(kem.InputError, match="observed last row"):
        fitted.impute()
    assert fitted.forecast_regimes(2).shape == (2, 2)
