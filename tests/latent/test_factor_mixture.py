"""Mixtures of factor analysers: one component is factor analysis, the likelihood by hand, known clusters, collapse."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import kalman_em as kem

TIGHT = kem.Stopping(relative_tolerance=1e-12, parameter_tolerance=1e-7, max_iterations=5000)


def two_planes(n=160, p=6, seed=0, missing=0.0):
    """Return rows around two planes in p columns, and which plane each is from."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) >= n // 2).astype(int)
    loadings, means = rng.normal(size=(2, p, 2)), np.stack([np.zeros(p), np.full(p, 2.5)])
    rows = means[labels] + np.einsum("npq,nq->np", loadings[labels], rng.normal(size=(n, 2)))
    rows += 0.5 * rng.normal(size=(n, p))
    rows[rng.random(rows.shape) < missing] = np.nan
    return rows, labels


@pytest.mark.parametrize("noise", [kem.Diagonal(), kem.Isotropic()])
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_one_component_is_factor_analysis(noise, missing):
    rows, _ = two_planes(missing=missing)
    one = kem.fit(kem.MixtureOfFactorAnalysers(1, 2, noise=noise), rows, stopping=TIGHT)
    other = kem.fit(kem.FactorAnalysis(2, noise=noise), rows, stopping=TIGHT)
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)
    assert one.n_parameters == other.n_parameters
    np.testing.assert_allclose(one.params.loadings[0], other.params.loadings, atol=1e-3)


def test_the_likelihood_by_hand_and_the_clusters():
    rows, labels = two_planes(300, 10, missing=0.1)
    fitted = kem.fit(kem.MixtureOfFactorAnalysers(2, 2), rows)
    assert fitted.em.stop_reason.is_converged
    params, total = fitted.params, 0.0
    covs = [W @ W.T + np.diag(noise) for W, noise in zip(params.loadings, params.noise_variances, strict=True)]
    for row in rows:
        o = np.flatnonzero(~np.isnan(row))
        if len(o):
            heights = [
                np.log(params.weights[k])
                + multivariate_normal.logpdf(row[o], params.means[k][o], covs[k][np.ix_(o, o)])
                for k in range(2)
            ]
            total += logsumexp(heights)
    assert fitted.log_likelihood == pytest.approx(total, abs=1e-7)
    found = fitted.assign().to_numpy()
    assert max((found == labels).mean(), (found != labels).mean()) > 0.95
    # 1 share, 2 means of 10, 2 times 20 loadings less a rotation, 2 times 10 variances.
    assert fitted.n_parameters == 1 + 20 + 2 * (20 - 1) + 20
    full = kem.fit(kem.GaussianMixture(2), rows)
    assert fitted.log_likelihood < full.log_likelihood
    assert fitted.bic < full.bic


def test_more_columns_than_rows_in_a_cluster():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(60, 1)) * rng.normal(size=40) + 0.5 * rng.normal(size=(60, 40))
    rows[30:] += 3.0
    fitted = kem.fit(kem.MixtureOfFactorAnalysers(2, 1), rows)
    assert fitted.em.stop_reason.is_converged
    assert sorted(fitted.assign().value_counts()) == [30, 30]


@pytest.mark.parametrize("alone", [np.full((1, 5), 60.0), 60.0 + np.outer([0.0, 1.0], [1.0, 2.0, -1.0, 0.5, 3.0])])
def test_a_component_that_collapses_is_named(alone):
    # On one row, where no variance is left, and on two, which one factor explains in full.
    rows, _ = two_planes(p=5, seed=2)
    start = kem.fit(kem.MixtureOfFactorAnalysers(2, 1), rows).params
    rows = np.concatenate([rows, alone])
    given = {
        "means": np.concatenate([start.means, rows[-1:]]),
        "weights": [0.5, 0.4, 0.1],
        "loadings": np.concatenate([start.loadings, start.loadings[:1]]),
        "noise_variances": np.concatenate([start.noise_variances, start.noise_variances[:1]]),
    }
    ended = kem.fit(kem.MixtureOfFactorAnalysers(3, 1), rows, start=given)
    assert ended.em.stop_reason is kem.StopReason.degenerate_covariance
    assert "component 2 has collapsed" in ended.em.detail
    assert np.isfinite(ended.log_likelihood)


def test_arguments_are_checked():
    rows, _ = two_planes()
    with pytest.raises(kem.InputError, match="n_factors: expected at most 3"):
        kem.fit(kem.MixtureOfFactorAnalysers(2, 4), rows)
    with pytest.raises(kem.InputError, match="noise"):
        kem.MixtureOfFactorAnalysers(2, 1, noise=kem.Full())
    with pytest.raises(kem.InputError, match="starts"):
        kem.MixtureOfFactorAnalysers(2, 1, starts="kmeans")
    with pytest.raises(kem.InputError, match="above 0"):
        kem.fit(kem.MixtureOfFactorAnalysers(2, 1), rows, start={"noise_variances": np.zeros((2, 6))})
