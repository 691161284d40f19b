"""Bayesian mixtures: the bound is the log evidence where it can be, scikit-learn's otherwise, and components go."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.special import multigammaln

import kalman_em as kem

NAN = np.nan


def blobs(n=100, seed=0, apart=5.0):
    rng = np.random.default_rng(seed)
    middles = apart * np.array([[0.0, 0.0], [1.0, 0.0], [0.4, 1.0]])
    return np.concatenate([rng.normal(size=(n, 2)) * [0.8, 1.2] + m for m in middles])


def log_evidence(data, mean, cov, beta0, nu0):
    """Return log p(data) of one Gaussian under its conjugate prior (Murphy 2007, equation 266)."""
    n, p = data.shape
    beta, nu, off = beta0 + n, nu0 + n, data.mean(axis=0) - mean
    centred = data - data.mean(axis=0)
    total = cov + centred.T @ centred + beta0 * n / beta * np.outer(off, off)
    return (
        -0.5 * n * p * np.log(np.pi)
        + multigammaln(nu / 2, p)
        - multigammaln(nu0 / 2, p)
        + 0.5 * nu0 * np.linalg.slogdet(cov)[1]
        - 0.5 * nu * np.linalg.slogdet(total)[1]
        + 0.5 * p * np.log(beta0 / beta)
    )


def test_the_bound_of_one_component_is_the_log_evidence():
    data = blobs(20)
    mean, cov = np.array([1.0, 2.0]), np.array([[2.0, 0.3], [0.3, 1.0]])
    model = kem.VariationalMixture(1, mean_precision=0.4, degrees=3.5, mean=mean, cov=cov)
    assert kem.fit(model, data).bound == pytest.approx(log_evidence(data, mean, cov, 0.4, 3.5), abs=1e-9)


def test_with_an_entry_missing_the_bound_stays_below_the_evidence():
    data = blobs(6)
    model = kem.VariationalMixture(1, mean=[1.0, 2.0], cov=np.eye(2), degrees=4.0)
    holed = data.copy()
    holed[3, 1] = NAN
    # p(observed) = ∫ p(observed, x) dx, by quadrature over the missing entry.
    grid = np.linspace(-60.0, 60.0, 6001)
    heights = []
    for value in grid:
        full = holed.copy()
        full[3, 1] = value
        heights.append(log_evidence(full, np.array([1.0, 2.0]), np.eye(2), 1.0, 4.0))
    heights = np.array(heights)
    exact = heights.max() + np.log(np.sum(np.exp(heights - heights.max())) * (grid[1] - grid[0]))
    bound = kem.fit(model, holed).bound
    assert exact - 0.1 < bound < exact


def test_every_iteration_and_the_bound_are_those_of_scikit_learn():
    mixture = pytest.importorskip("sklearn.mixture")
    data = blobs(apart=3.0)
    theirs = mixture.BayesianGaussianMixture(
        n_components=4,
        weight_concentration_prior_type="dirichlet_distribution",
        reg_covar=0.0,
        tol=0.0,
        max_iter=1,
        warm_start=True,
        random_state=3,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(data)
        start = {
            "means": theirs.means_,
            "covs": theirs.covariances_,
            "concentrations": theirs.weight_concentration_,
            "mean_precisions": theirs.mean_precision_,
            "degrees": theirs.degrees_of_freedom_,
        }
        bounds = []
        for _ in range(12):
            theirs.fit(data)
            bounds.append(theirs.lower_bound_)
    steps = kem.Stopping(max_iterations=12, relative_tolerance=0.0, parameter_tolerance=0.0)
    ours = kem.fit(kem.VariationalMixture(4), data, start=start, stopping=steps)
    np.testing.assert_allclose(ours.params.means, theirs.means_, rtol=1e-9)
    np.testing.assert_allclose(ours.params.covs, theirs.covariances_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ours.params.concentrations, theirs.weight_concentration_, rtol=1e-9)
    np.testing.assert_allclose(ours.params.degrees, theirs.degrees_of_freedom_, rtol=1e-9)
    np.testing.assert_allclose(ours.probabilities(), theirs.predict_proba(data), atol=1e-9)
    # Theirs is the bound after the M-step, less what never changes.
    np.testing.assert_allclose(np.diff(ours.em.bound_history), np.diff(bounds), rtol=1e-6, atol=1e-8)


def test_components_that_are_not_needed_lose_their_rows():
    data = blobs(120)
    fitted = kem.fit(kem.VariationalMixture(8, concentration=1e-3), data, n_starts=3, seed=0)
    assert fitted.n_kept == 3
    assert np.sort(fitted.weights)[-3:].sum() > 0.99
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9


def test_the_bound_chooses_the_number_of_components():
    data = blobs(120)
    bounds = [kem.fit(kem.VariationalMixture(n), data, n_starts=3, seed=0).bound for n in (1, 2, 3)]
    assert bounds[0] < bounds[1] < bounds[2]


def test_units_do_not_matter_and_rows_keep_their_labels():
    data = blobs()
    data[::9, 0] = NAN
    data[5] = NAN
    frame = pd.DataFrame(data, columns=["a", "b"], index=pd.RangeIndex(100, 100 + len(data)))
    unit, origin = np.array([1e4, 1e-5]), np.array([1e3, 0.2])
    one, other = (kem.fit(kem.VariationalMixture(3), table) for table in (frame, frame * unit + origin))
    np.testing.assert_allclose(other.params.means, one.params.means * unit + origin, rtol=1e-5)
    np.testing.assert_allclose(other.weights, one.weights, rtol=1e-6)
    assert one.probabilities().index.equals(frame.index)
    np.testing.assert_allclose(one.probabilities().iloc[5].sum(), 1.0)


def test_draws_have_the_moments_of_the_predictive():
    fitted = kem.fit(kem.VariationalMixture(1, degrees=8.0), blobs(4))
    drawn = fitted.sample(200_000, rng=np.random.default_rng(1))[["y1", "y2"]].to_numpy()
    params = fitted.em.params
    degrees = params.degrees[0] + 1.0 - 2.0
    beta = params.mean_precisions[0]
    cov = params.covs[0] * params.degrees[0] * (1.0 + beta) / (beta * degrees) * degrees / (degrees - 2.0)
    np.testing.assert_allclose(drawn.mean(axis=0), params.means[0], atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), cov, rtol=0.03, atol=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concentration": 0.0}, "concentration"),
        ({"mean_precision": [1.0, 2.0]}, "mean_precision"),
        ({"degrees": 1.0}, "degrees: expected a number above 1"),
        ({"mean": [1.0]}, "mean"),
        ({"cov": [[1.0, 2.0], [2.0, 1.0]]}, "cov"),
    ],
)
def test_priors_that_make_no_sense_are_refused(options, said):
    with pytest.raises(kem.InputError, match=said):
        kem.fit(kem.VariationalMixture(2, **options), blobs(20))


def test_there_are_no_criteria_beside_the_bound():
    fitted = kem.fit(kem.VariationalMixture(2), blobs(30))
    for name in ("aic", "aicc", "bic", "icl"):
        with pytest.raises(kem.InputError, match="compare bounds"):
            getattr(fitted, name)
    assert "lower bound" in str(fitted.summary())


def test_variants_of_em_work_on_it():
    data = blobs(apart=3.0)
    whole = kem.fit(kem.VariationalMixture(3), data, stopping=kem.Stopping(relative_tolerance=1e-12))
    parts = kem.fit(kem.VariationalMixture(3), data, method=kem.Incremental(8), seed=0)
    assert parts.bound == pytest.approx(whole.bound, abs=1e-5)
    assert parts.em.log_likelihood == pytest.approx(parts.bound, rel=1e-12)
    assert np.diff(parts.em.log_likelihoods).min() > -1e-9
