"""Bayesian mixtures: the bound is the log evidence where it can be, scikit-learn's otherwise, and components go."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy
from scipy.special import betaln, gammaln, multigammaln

import kalman_em as kem

NAN = np.nan


def blobs(n=100, seed=0, apart=5.0):
    rng = np.random.default_rng(seed)
    middles = apart * np.array([[0.0, 0.0], [1.0, 0.0], [0.4, 1.0]])
    return np.concatenate([rng.normal(size=(n, 2)) * [0.8, 1.2] + m for m in middles])


FULL, DIAGONAL, ISOTROPIC = kem.Full(), kem.Diagonal(), kem.Isotropic()
FORMS = [FULL, DIAGONAL, ISOTROPIC, *(kem.Shared(form) for form in (FULL, DIAGONAL, ISOTROPIC))]


def log_evidence(data, mean, cov, beta0, nu0):
    """Return log p(data) of one Gaussian under its conjugate prior (Murphy 2007, equation 266)."""
    return log_evidence_of([data], mean, cov, beta0, nu0, FULL)


def log_evidence_of(clusters, mean, cov, beta0, nu0, form):
    """Return log p(clusters) where they have one covariance of `form`, and means of their own.

    The normal integral over each mean leaves a sum of squares; that over the precision a ratio of norms of Wishart or
    gamma densities, column by column where these are independent.
    """
    p, total, height, n_all = len(mean), cov.copy(), 0.0, 0
    for data in clusters:
        n, off, centred = len(data), data.mean(axis=0) - mean, data - data.mean(axis=0)
        total = total + centred.T @ centred + beta0 * n / (beta0 + n) * np.outer(off, off)
        height += 0.5 * p * np.log(beta0 / (beta0 + n)) - 0.5 * n * p * np.log(np.pi)
        n_all += n
    if form == FULL:
        nu, blocks = nu0 + n_all, [(cov, total)]
    elif form == DIAGONAL:
        nu, blocks = nu0 + n_all, [(cov[[j]][:, [j]], total[[j]][:, [j]]) for j in range(p)]
    else:
        # One number, to which all columns add, and its prior once.
        nu, blocks = nu0 + p * n_all, [(cov[:1, :1], cov[:1, :1] + np.trace(total - cov))]
    for before, after in blocks:
        q = len(before)
        height += multigammaln(nu / 2, q) - multigammaln(nu0 / 2, q)
        height += 0.5 * nu0 * np.linalg.slogdet(before)[1] - 0.5 * nu * np.linalg.slogdet(after)[1]
    return height


def log_labels(counts, concentration, weights):
    """Return log p(labels), the weights integrated out."""
    if weights == "dirichlet":
        total = concentration * len(counts)
        own = gammaln(counts + concentration) - gammaln(concentration)
        return own.sum() + gammaln(total) - gammaln(total + counts.sum())
    later = counts[::-1].cumsum()[::-1] - counts
    return (betaln(1.0 + counts, concentration + later) - betaln(1.0, concentration)).sum()


def prior_cov(form):
    inner = form.form if isinstance(form, kem.Shared) else form
    return inner.most_likely(np.array([[2.0, 0.3], [0.3, 1.0]]))


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_the_bound_of_one_component_is_the_log_evidence(form):
    data, mean, cov = blobs(20), np.array([1.0, 2.0]), prior_cov(form)
    model = kem.VariationalMixture(1, covariance=form, mean_precision=0.4, degrees=3.5, mean=mean, cov=cov)
    inner = form.form if isinstance(form, kem.Shared) else form
    assert kem.fit(model, data).bound == pytest.approx(log_evidence_of([data], mean, cov, 0.4, 3.5, inner), abs=1e-9)


@pytest.mark.parametrize("weights", ["dirichlet", "stick-breaking"])
@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_the_bound_is_the_log_evidence_where_the_labels_are_certain(form, weights):
    # q(z) is then one labelling, and the posterior factorises by itself as q does.
    rng = np.random.default_rng(2)
    clusters = [rng.normal(size=(30, 2)), rng.normal(size=(18, 2)) + 500.0]
    mean, cov = np.array([100.0, 200.0]), prior_cov(form)
    model = kem.VariationalMixture(
        2, covariance=form, weights=weights, concentration=0.7, mean_precision=0.01, degrees=3.5, mean=mean, cov=cov
    )
    fitted = kem.fit(model, np.concatenate(clusters))
    groups = [clusters] if isinstance(form, kem.Shared) else [[one] for one in clusters]
    inner = form.form if isinstance(form, kem.Shared) else form
    expected = sum(log_evidence_of(group, mean, cov, 0.01, 3.5, inner) for group in groups)
    expected += log_labels(np.array([30.0, 18.0]), 0.7, weights)
    assert fitted.bound == pytest.approx(expected, abs=1e-7)


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


SKLEARN = [
    ("full", FULL, "dirichlet"),
    ("full", FULL, "stick-breaking"),
    # Theirs have the constants of a Wishart distribution throughout: a bound where that has one column.
    ("diag", DIAGONAL, "stick-breaking"),
    ("spherical", ISOTROPIC, "dirichlet"),
]


@pytest.mark.parametrize(("kind", "form", "weights"), SKLEARN)
def test_every_iteration_and_the_bound_are_those_of_scikit_learn(kind, form, weights):
    mixture = pytest.importorskip("sklearn.mixture")
    data = blobs(apart=3.0) if kind == "full" else blobs(apart=3.0)[:, :1]
    theirs = mixture.BayesianGaussianMixture(
        n_components=4,
        covariance_type=kind,
        weight_concentration_prior_type="dirichlet_process"
        if weights == "stick-breaking"
        else "dirichlet_distribution",
        reg_covar=0.0,
        tol=0.0,
        max_iter=1,
        warm_start=True,
        random_state=3,
    )

    def covs_of(value):
        return value if kind == "full" else value.reshape(4, 1, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(data)
        start = {
            "means": theirs.means_,
            "covs": covs_of(theirs.covariances_),
            "concentrations": np.array(theirs.weight_concentration_).T,
            "mean_precisions": theirs.mean_precision_,
            "degrees": theirs.degrees_of_freedom_,
        }
        bounds = []
        for _ in range(12):
            theirs.fit(data)
            bounds.append(theirs.lower_bound_)
    steps = kem.Stopping(max_iterations=12, relative_tolerance=0.0, parameter_tolerance=0.0)
    model = kem.VariationalMixture(4, covariance=form, weights=weights)
    ours = kem.fit(model, data, start=start, stopping=steps)
    np.testing.assert_allclose(ours.params.means, theirs.means_, rtol=1e-9)
    np.testing.assert_allclose(ours.params.covs, covs_of(theirs.covariances_), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(ours.params.concentrations, np.array(theirs.weight_concentration_).T, rtol=1e-9)
    np.testing.assert_allclose(ours.params.degrees, theirs.degrees_of_freedom_, rtol=1e-9)
    np.testing.assert_allclose(ours.weights, theirs.weights_, rtol=1e-9)
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


@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_sticks_put_the_large_components_first(form):
    data = np.concatenate([blobs(40, apart=8.0), blobs(90, seed=1, apart=8.0)[90:180]])
    data[::11, 1] = NAN
    fitted = kem.fit(kem.VariationalMixture(6, covariance=form, weights="stick-breaking"), data)
    assert fitted.em.stop_reason.is_converged
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9
    assert fitted.n_kept == 3
    np.testing.assert_allclose(fitted.weights[:3], np.array([130, 40, 40]) / 210, atol=0.02)
    step = fitted.problem.m_step(fitted.em.params, fitted.problem.e_step(fitted.em.params)[0])
    assert step.covs.shape == (6, 2, 2)
    inner = form.form if isinstance(form, kem.Shared) else form
    np.testing.assert_allclose([inner.most_likely(cov) for cov in step.covs], step.covs, rtol=1e-12)
    assert (np.ptp(step.covs, axis=0).max() == 0.0) == isinstance(form, kem.Shared)


def test_draws_under_each_form_have_the_moments_of_the_predictive():
    for form in (DIAGONAL, ISOTROPIC):
        fitted = kem.fit(kem.VariationalMixture(1, covariance=form, degrees=5.0), blobs(2))
        drawn = fitted.sample(400_000, rng=np.random.default_rng(1))[["y1", "y2"]].to_numpy()
        params = fitted.em.params
        nu, beta = params.degrees[0], params.mean_precisions[0]
        off = drawn - params.means[0]
        variances = np.diag(params.covs[0]) * (1.0 + beta) / beta * nu / (nu - 2.0)
        np.testing.assert_allclose((off**2).mean(axis=0), variances, rtol=0.03)
        # What a precision is drawn to be makes columns large together, unless each has its own.
        together = np.corrcoef((off**2).T)[0, 1]
        assert (abs(together) < 0.02) == (form == DIAGONAL)


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
        ({"covariance": DIAGONAL, "cov": [[1.0, 0.5], [0.5, 1.0]]}, "cov: expected covariances of the form"),
        ({"covariance": kem.EqualVarCov()}, "conjugate"),
        ({"weights": "stick breaking"}, "weights.*did you mean 'stick-breaking'"),
    ],
)
def test_priors_that_make_no_sense_are_refused(options, said):
    with pytest.raises(kem.InputError, match=said):
        kem.fit(kem.VariationalMixture(2, **options), blobs(20))


def test_a_start_that_breaks_the_prior_is_refused():
    data = blobs(20)
    params = dict(kem.fit(kem.VariationalMixture(2), data).params)
    with pytest.raises(kem.InputError, match=r"degrees.*above 1"):
        kem.fit(kem.VariationalMixture(2), data, start={"degrees": [0.5, 3.0]})
    with pytest.raises(kem.InputError, match=r"covs.*Diagonal"):
        kem.fit(kem.VariationalMixture(2, covariance=DIAGONAL), data, start={"covs": params["covs"]})


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


def test_what_the_rows_add_to_the_bound_is_below_the_density_of_the_predictive():
    data = blobs(30)[:, :1]
    fitted = kem.fit(kem.VariationalMixture(2), data)
    own, problem, params = fitted.log_densities(), fitted.problem, fitted.params
    assert own.sum() - problem.divergence(fitted.em.params) == pytest.approx(fitted.bound, rel=1e-12)
    beta, nu = params["mean_precisions"], params["degrees"]
    scale = np.sqrt(params["covs"][:, 0, 0] * (1.0 + beta) / beta)
    weights = fitted.weights
    predictive = np.log(scipy.stats.t.pdf(data, nu, params["means"][:, 0], scale) @ weights)
    assert (own < predictive).all()
    assert own.to_numpy() == pytest.approx(predictive, abs=0.5)
