"""MAP EM of mixtures: the objective, what a prior holds back, and what it leaves."""

import numpy as np
import pytest
from scipy.stats import dirichlet, invwishart, multivariate_normal

import kalman_em as kem


def points(seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(40, 2)), rng.normal(size=(25, 2)) * 0.6 + 3.0])


def test_the_objective_is_the_log_likelihood_and_the_log_prior_but_for_a_constant():
    cov, mean = np.array([[1.0, 0.2], [0.2, 0.5]]), np.array([0.5, 1.0])
    prior = kem.MixturePrior(concentration=2.5, mean_precision=0.7, degrees=5.0, mean=mean, cov=cov)
    model = kem.GaussianMixture(2, prior=prior)
    problem = model.problem(kem.Panel([kem.Observations(points())]))
    rng = np.random.default_rng(1)
    gaps = []
    for _ in range(4):
        params = problem.random_start(rng)
        params = problem.m_step(params, problem.e_step(params)[0])
        log_prior = dirichlet.logpdf(params.weights / params.weights.sum(), [2.5, 2.5])
        for m, c in zip(params.means, params.covs, strict=True):
            log_prior += invwishart.logpdf(c, 5.0, cov) + multivariate_normal.logpdf(m, mean, c / 0.7)
        plain = kem.GaussianMixture(2).problem(kem.Panel([kem.Observations(points())])).e_step(params)[1]
        gaps.append(problem.e_step(params)[1] - plain - log_prior)
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-9)


def test_with_a_prior_nothing_collapses_and_the_criteria_are_of_the_likelihood_alone():
    data = np.concatenate([points(), [[60.0, -60.0]]])
    bare = kem.fit(kem.GaussianMixture(3), data, seed=0)
    assert bare.em.stop_reason is kem.StopReason.degenerate_covariance
    held = kem.fit(kem.GaussianMixture(3, prior=kem.MixturePrior()), data)
    assert held.em.stop_reason.is_converged
    again = kem.GaussianMixture(3).problem(held.panel).e_step(held.em.params)[1]
    assert held.log_likelihood == pytest.approx(again, rel=1e-12)
    assert held.em.log_likelihood != pytest.approx(again, abs=0.1)


def test_a_prior_worth_little_changes_little():
    data = points()
    bare = kem.fit(kem.GaussianMixture(2), data)
    weak = kem.MixturePrior(mean_precision=0.0, degrees=1.0 + 1e-9, cov=1e-9 * np.eye(2))
    # Of a prior with so few degrees |Σ|^-2 is left, four rows in weight.
    tiny = kem.fit(kem.GaussianMixture(2, prior=weak), data, start=bare.params)
    np.testing.assert_allclose(tiny.params.means, bare.params.means, atol=0.1)
    assert 0.0 <= bare.log_likelihood - tiny.log_likelihood < 1.0


def test_units_do_not_matter():
    unit, origin = np.array([1e-3, 1e6]), np.array([5.0, -1.0])
    model = kem.GaussianMixture(2, prior=kem.MixturePrior())
    one, other = kem.fit(model, points()), kem.fit(model, points() * unit + origin)
    np.testing.assert_allclose(other.params.means, one.params.means * unit + origin, rtol=1e-6)
    np.testing.assert_allclose(other.params.covs, one.params.covs * unit[:, None] * unit, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concentration": 0.5}, "concentration: expected a number of at least 1"),
        ({"mean_precision": -1.0}, "mean_precision"),
        ({"degrees": 0.5}, "degrees: expected a number above 1"),
        ({"mean": [1.0]}, "mean"),
        ({"cov": [[1.0, 3.0], [3.0, 1.0]]}, "cov"),
    ],
)
def test_priors_that_make_no_sense_are_refused(options, said):
    with pytest.raises(kem.InputError, match=said):
        kem.fit(kem.GaussianMixture(2, prior=kem.MixturePrior(**options)), points())
    with pytest.raises(kem.InputError, match="prior: expected MixturePrior"):
        kem.GaussianMixture(2, prior="flat")
