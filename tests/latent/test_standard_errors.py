"""Standard errors of latent models against Hessians of the log-likelihood by differences in numbers of our own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kalman_em as kem

TIGHT = kem.Stopping(relative_tolerance=1e-13, parameter_tolerance=1e-9, max_iterations=20_000)


def inverse_hessian(height, at):
    """Return the inverse of minus the Hessian, by differences of second order in steps of the numbers' own size."""
    n, steps = len(at), np.full(len(at), 2e-3)
    hessian = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for a in (-1.0, 1.0):
                for b in (-1.0, 1.0):
                    moved = at.copy()
                    moved[i] += a * steps[i]
                    moved[j] += b * steps[j]
                    total += a * b * height(moved)
            hessian[i, j] = hessian[j, i] = total / (4.0 * steps[i] * steps[j])
    return np.linalg.inv(-hessian)


def points(seed=0, n=120):
    rng = np.random.default_rng(seed)
    found = np.concatenate([rng.normal(0.0, 1.0, (n, 2)), rng.normal(3.0, 0.7, (n // 2, 2))])
    found[rng.random(found.shape) < 0.1] = np.nan
    return found


def regimes(seed=1, n=200):
    rng = np.random.default_rng(seed)
    path = np.repeat(rng.integers(2, size=n // 8), 8)
    return rng.normal(2.0 * path, 1.0)


def test_those_of_a_mixture_in_variances_and_shares():
    fitted = kem.fit(kem.GaussianMixture(2, covariance=kem.Diagonal()), points(), stopping=TIGHT)
    problem, end = fitted.problem, fitted.em.params

    def placed(v):
        covs = np.array([np.diag(v[4:6]), np.diag(v[6:8])])
        return replace(end, means=v[:4].reshape(2, 2), covs=covs, weights=np.array([v[8], 1.0 - v[8]]))

    variances = np.diagonal(end.covs, axis1=1, axis2=2)
    at = np.concatenate([end.means.ravel(), variances.ravel(), end.weights[:1]])
    cov = inverse_hessian(lambda v: problem.e_step(placed(v))[1], at)
    expected = np.sqrt(np.diagonal(cov))
    found = fitted.standard_errors
    np.testing.assert_allclose(found.means.ravel(), expected[:4], rtol=1e-3)
    np.testing.assert_allclose(np.diagonal(found.covs, axis1=1, axis2=2).ravel(), expected[4:8], rtol=1e-3)
    np.testing.assert_allclose(found.weights, expected[[8, 8]], rtol=1e-3)
    np.testing.assert_array_equal(found.covs[:, 0, 1], 0.0)
    assert found.reasons == {}
    assert "(" in str(fitted.summary(standard_errors=True))


def test_those_of_a_hidden_markov_model_whose_start_follows_its_moves():
    model = kem.GaussianHMM(2, covariance=kem.Shared(kem.Full()), initial_probabilities=kem.Stationary())
    fitted = kem.fit(model, regimes(), stopping=TIGHT)
    problem, end = fitted.problem, fitted.em.params

    def placed(v):
        first = v[4] / (v[3] + v[4])
        return replace(
            end,
            means=v[:2, None],
            covs=np.full((2, 1, 1), v[2]),
            transition_matrix=np.array([[1.0 - v[3], v[3]], [v[4], 1.0 - v[4]]]),
            initial_probabilities=np.array([first, 1.0 - first]),
        )

    moves = end.transition_matrix
    at = np.array([*end.means.ravel(), end.covs[0, 0, 0], moves[0, 1], moves[1, 0]])
    cov = inverse_hessian(lambda v: problem.e_step(placed(v))[1], at)
    expected, found = np.sqrt(np.diagonal(cov)), fitted.standard_errors
    np.testing.assert_allclose(found.means.ravel(), expected[:2], rtol=1e-3)
    np.testing.assert_allclose(found.covs.ravel(), expected[[2, 2]], rtol=1e-3)
    np.testing.assert_allclose(found.transition_matrix, [[expected[3]] * 2, [expected[4]] * 2], rtol=1e-3)
    total = (at[3] + at[4]) ** 2
    slope = np.array([0.0, 0.0, 0.0, -at[4] / total, at[3] / total])
    np.testing.assert_allclose(found.initial_probabilities, np.sqrt(slope @ cov @ slope), rtol=1e-3)


def test_those_of_hamiltons_model():
    growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    found = kem.fit(kem.MarkovAutoregression(2, order=4), growth, stopping=TIGHT).standard_errors
    # Hamilton (1989), table I, from numerical second derivatives: means 0.2651 and 0.0745, lags 0.120, 0.138, 0.107,
    # 0.111, sigma 0.0670 (variance 2 sigma 0.0670 = 0.1031), moves 0.0966 and 0.0374.
    np.testing.assert_allclose(found.means, [0.2651, 0.0745], rtol=0.03)
    np.testing.assert_allclose(found.coefficients, [0.120, 0.138, 0.107, 0.111], rtol=0.03)
    np.testing.assert_allclose(found.variances, [2.0 * 0.7690 * 0.0670], rtol=0.03)
    np.testing.assert_allclose(np.diagonal(found.transition_matrix), [0.0966, 0.0374], rtol=0.03)


def test_those_of_a_factor_are_the_same_for_two_of_its_turns():
    rng = np.random.default_rng(2)
    loadings = np.array([[1.0, 1.0, 0.9, 0.0, 0.2, 0.3], [0.0, 0.3, 0.0, 0.9, 0.8, 0.7]])
    rows = rng.normal(size=(300, 2)) @ loadings + rng.normal(size=(300, 6)) * 0.6
    fitted = kem.fit(kem.FactorAnalysis(2), rows, stopping=TIGHT)
    problem, end = fitted.problem, fitted.em.params
    found = fitted.standard_errors

    # Signs and order of the factors are those of the parameters that the numbers are of.
    for signs in ([1.0, -1.0], [-1.0, 1.0]):
        turned = replace(end, loadings=end.loadings * signs)
        back = problem.with_numbers(turned, problem.free_numbers(turned))
        np.testing.assert_allclose(back.loadings, turned.loadings, rtol=1e-9, atol=1e-9)

    def placed(v):
        # Other numbers than the package's: the loadings turned so that the last column has one factor alone.
        loadings = np.zeros((6, 2))
        loadings[:, 0], loadings[:5, 1] = v[:6], v[6:11]
        return replace(end, loadings=loadings, noise_variances=v[11:17], mean=v[17:])

    last = end.loadings[5] / np.linalg.norm(end.loadings[5])
    turned = end.loadings @ np.array([last, [-last[1], last[0]]]).T
    at = np.concatenate([turned[:, 0], turned[:5, 1], end.noise_variances, end.mean])
    cov = inverse_hessian(lambda v: problem.e_step(placed(v))[1], at)
    np.testing.assert_allclose(found.noise_variances, np.sqrt(np.diagonal(cov))[11:17], rtol=1e-3)
    np.testing.assert_allclose(found.mean, np.sqrt(np.diagonal(cov))[17:], rtol=1e-3)

    def canonical(v):
        moved = placed(v)
        _, axes = np.linalg.eigh(moved.loadings.T @ (moved.loadings / moved.noise_variances[:, None]))
        loadings = moved.loadings @ axes[:, ::-1]
        return (loadings * np.sign((loadings * end.loadings).sum(axis=0))).ravel()

    slopes = np.array([(canonical(at + 1e-5 * e) - canonical(at - 1e-5 * e)) / 2e-5 for e in np.eye(len(at))]).T
    expected = np.sqrt(np.einsum("ij,jk,ik->i", slopes, cov, slopes)).reshape(6, 2)
    np.testing.assert_allclose(found.loadings, expected, rtol=2e-3)


def test_a_share_at_its_edge_is_held_and_says_so():
    rng = np.random.default_rng(0)
    # The series never goes from regime 1 to 0: that move ends at 0.
    rows = rng.normal(np.repeat([0.0, 6.0], [60, 60]), 1.0)
    fitted = kem.fit(kem.GaussianHMM(2), rows)
    found = fitted.standard_errors
    assert found.reasons["transition_matrix"].startswith("a share is at 0")
    np.testing.assert_array_equal(found.transition_matrix[1], 0.0)
    assert found.transition_matrix[0, 1] == pytest.approx(np.sqrt(1 / 60 * 59 / 60 / 60), rel=0.05)
    np.testing.assert_allclose(found.means.ravel(), 1.0 / np.sqrt(60.0), rtol=0.2)


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (kem.VariationalMixture(2), points(), "posterior of a Bayesian mixture"),
        (kem.TopicModel(2), [[3, 1, 0], [0, 1, 4]], "Dirichlet"),
        (kem.TopicModel(2, document_prior=None, word_prior=None), [[3, 1, 0], [0, 1, 4]], "edge"),
        (kem.SwitchingLinearGaussian(2, 1, 1, approximation="variational"), regimes(n=40), "too sure"),
    ],
)
def test_a_model_without_says_why(model, data, said):
    fitted = kem.fit(model, data, stopping=kem.Stopping(max_iterations=3))
    with pytest.raises(kem.InputError, match=said):
        _ = fitted.standard_errors
