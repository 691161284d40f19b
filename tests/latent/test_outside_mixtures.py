"""Mixtures against scikit-learn, from the same start step by step, and against mclust's maxima."""

import warnings

import numpy as np
import pytest
from support.oracles import shared_case, shared_table

import kalman_em as kem

FORMS = {
    "EII": kem.Shared(kem.Isotropic()),
    "VII": kem.Isotropic(),
    "EEI": kem.Shared(kem.Diagonal()),
    "VVI": kem.Diagonal(),
    "EEE": kem.Shared(kem.Full()),
    "VVV": kem.Full(),
}
SKLEARN = {"full": kem.Full(), "diag": kem.Diagonal(), "spherical": kem.Isotropic(), "tied": kem.Shared(kem.Full())}
MCLUST = [(model, n) for model in FORMS for n in (1, 2, 3, 4)]


def points(n=400, p=3, seed=0):
    rng = np.random.default_rng(seed)
    middles = 3.0 * rng.normal(size=(3, p))
    return np.concatenate([rng.normal(size=(n, p)) @ np.diag(rng.uniform(0.5, 2.0, p)) + m for m in middles])


def faithful():
    table = shared_table("data/faithful.csv")
    return np.column_stack([table["eruptions"], table["waiting"]])


def theirs_after(kind, data, start, n_iterations):
    """Return scikit-learn's mixture after so many iterations, with no floor under the variances."""
    mixture = pytest.importorskip("sklearn.mixture")
    precisions = np.linalg.inv(start.covs)
    given = {
        "full": precisions,
        "tied": precisions[0],
        "diag": np.diagonal(precisions, axis1=1, axis2=2),
        "spherical": precisions[:, 0, 0],
    }[kind]
    model = mixture.GaussianMixture(
        len(start.weights),
        covariance_type=kind,
        reg_covar=0.0,
        tol=0.0,
        max_iter=n_iterations,
        weights_init=start.weights / start.weights.sum(),
        means_init=start.means,
        precisions_init=given,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(data)
    return model


@pytest.mark.parametrize("kind", SKLEARN)
def test_every_iteration_is_that_of_scikit_learn(kind):
    data = points()
    model = kem.GaussianMixture(3, covariance=SKLEARN[kind])
    some = kem.Stopping(max_iterations=2, relative_tolerance=0.0, parameter_tolerance=0.0)
    start = kem.fit(model, data, stopping=some).params
    theirs = theirs_after(kind, data, start, 15)
    steps = kem.Stopping(max_iterations=15, relative_tolerance=0.0, parameter_tolerance=0.0)
    ours = kem.fit(model, data, start=start, stopping=steps)
    np.testing.assert_allclose(ours.params.weights, theirs.weights_, rtol=1e-9)
    np.testing.assert_allclose(ours.params.means, theirs.means_, rtol=1e-8, atol=1e-9)
    expected = theirs.covariances_
    got = {
        "full": ours.params.covs,
        "tied": ours.params.covs[0],
        "diag": np.diagonal(ours.params.covs, axis1=1, axis2=2),
        "spherical": ours.params.covs[:, 0, 0],
    }[kind]
    np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-10)
    assert ours.log_likelihood == pytest.approx(theirs.score(data) * len(data), rel=1e-11)
    assert ours.bic == pytest.approx(theirs.bic(data), rel=1e-11)
    assert ours.aic == pytest.approx(theirs.aic(data), rel=1e-11)
    np.testing.assert_allclose(ours.probabilities(), theirs.predict_proba(data), atol=1e-9)
    np.testing.assert_array_equal(ours.assign(), theirs.predict(data))


@pytest.mark.parametrize(("name", "n_components"), MCLUST)
def test_the_maxima_of_mclust_are_maxima_here(name, n_components):
    case = shared_case("gmm_faithful")
    data = faithful()
    (result,) = [one for one in case["results"] if (one["model"], one["G"]) == (name, n_components)]
    weights = np.atleast_1d(result["weights"])
    start = {"weights": weights / weights.sum(), "means": result["means"], "covs": result["covariances"]}
    model = kem.GaussianMixture(n_components, covariance=FORMS[name])
    here = model.problem(kem.Panel([kem.Observations(data)]))
    assert here.n_parameters == result["df"]
    fitted = kem.fit(model, data, start=start)
    assert fitted.em.log_likelihoods[0] == pytest.approx(result["logLik"], abs=1e-8)
    assert fitted.log_likelihood == pytest.approx(result["logLik"], abs=1e-4)
    assert fitted.bic == pytest.approx(result["BIC_usual"], abs=1e-3)
    np.testing.assert_array_equal(fitted.assign() + 1, result["classification_1based"])


@pytest.mark.parametrize("name", FORMS)
def test_starts_of_our_own_reach_what_mclust_reaches(name):
    case = shared_case("gmm_faithful")
    data = faithful()
    for n_components in (1, 2, 3):
        (result,) = [one for one in case["results"] if (one["model"], one["G"]) == (name, n_components)]
        model = kem.GaussianMixture(n_components, covariance=FORMS[name])
        fitted = kem.fit(model, data, n_starts=8, seed=0)
        assert fitted.log_likelihood > result["logLik"] - 1e-4
