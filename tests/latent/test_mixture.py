"""Gaussian mixtures: enumeration of all assignments, missing entries, units, and what cannot be learnt."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

import kalman_em as kem
from kalman_em.latent.mixture_params import MixtureParams

NAN = np.nan


def two_clusters(n=60, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.multivariate_normal([0.0, 0.0], [[1.0, 0.6], [0.6, 1.0]], n)
    second = rng.multivariate_normal([4.0, 3.0], [[0.5, -0.2], [-0.2, 0.8]], n // 2)
    return np.concatenate([first, second])


def with_holes(points, share=0.2, seed=1):
    holed = points.copy()
    holed[np.random.default_rng(seed).random(points.shape) < share] = NAN
    return holed


def params_of(seed=0, n_components=2, dim=2):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(n_components, dim, dim))
    covs = roots @ np.swapaxes(roots, 1, 2) + 0.5 * np.eye(dim)
    weights = rng.dirichlet(np.full(n_components, 4.0))
    return MixtureParams(means=rng.normal(size=(n_components, dim)) * 2.0, covs=covs, weights=weights)


def completed_row(x, mean, cov):
    """Return the density of what was observed, and the mean and covariance of the whole row given it."""
    o, m = np.flatnonzero(~np.isnan(x)), np.flatnonzero(np.isnan(x))
    full, left = mean.copy(), np.zeros((len(x), len(x)))
    if len(o) == 0:
        return 1.0, full, cov
    gain = cov[np.ix_(m, o)] @ np.linalg.inv(cov[np.ix_(o, o)])
    full[o] = x[o]
    full[m] = mean[m] + gain @ (x[o] - mean[o])
    left[np.ix_(m, m)] = cov[np.ix_(m, m)] - gain @ cov[np.ix_(o, m)]
    return multivariate_normal.pdf(x[o], mean[o], cov[np.ix_(o, o)]), full, left


def by_assignment(values, params):
    """Return log p(data) and the expected counts, sums and raw second moments, from every assignment of rows."""
    K, p = params.means.shape
    total, counts, first, second = 0.0, np.zeros(K), np.zeros((K, p)), np.zeros((K, p, p))
    for labels in itertools.product(range(K), repeat=len(values)):
        rows = [completed_row(x, params.means[k], params.covs[k]) for x, k in zip(values, labels, strict=True)]
        joint = np.prod([params.weights[k] * row[0] for k, row in zip(labels, rows, strict=True)])
        total += joint
        for k, (_, full, left) in zip(labels, rows, strict=True):
            counts[k] += joint
            first[k] += joint * full
            second[k] += joint * (np.outer(full, full) + left)
    return np.log(total), counts / total, first / total, second / total


@pytest.mark.parametrize("share", [0.0, 0.35])
def test_the_e_step_equals_the_sum_over_all_assignments(share):
    values = with_holes(two_clusters(6, seed=3), share, seed=2)
    values[0] = NAN if share else values[0]
    params = params_of(5)
    problem = kem.GaussianMixture(2).problem(kem.Panel([kem.Observations(values)]))
    moments, log_likelihood = problem.e_step(params)
    expected, counts, first, second = by_assignment(values, params)
    assert log_likelihood == pytest.approx(expected, abs=1e-10)
    np.testing.assert_allclose(moments.counts, counts, rtol=1e-9)
    np.testing.assert_allclose(moments.means * moments.counts[:, None], first, rtol=1e-8, atol=1e-9)
    raw = moments.scatters + moments.means[:, :, None] * moments.means[:, None, :]
    np.testing.assert_allclose(raw * moments.counts[:, None, None], second, rtol=1e-8, atol=1e-9)


def test_a_row_without_observed_entries_changes_nothing():
    points = with_holes(two_clusters(40))
    points = points[~np.isnan(points).all(axis=1)]
    padded = np.concatenate([points, np.full((5, 2), NAN)])
    start = kem.fit(kem.GaussianMixture(2), points, stopping=kem.Stopping(max_iterations=2)).params
    plain = kem.fit(kem.GaussianMixture(2), points, start=start)
    longer = kem.fit(kem.GaussianMixture(2), padded, start=start)
    assert longer.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-6)
    assert longer.n_rows == plain.n_rows == len(points)
    np.testing.assert_allclose(longer.probabilities().iloc[-1], longer.params.weights, rtol=1e-12)


@pytest.mark.parametrize("form", [kem.Full(), kem.Diagonal(), kem.Shared(kem.Full())])
def test_units_and_origin_do_not_matter(form):
    points = with_holes(two_clusters(), 0.1)
    unit, origin = np.array([1e-6, 1e5]), np.array([3e-4, -7e6])
    one = kem.fit(kem.GaussianMixture(2, covariance=form), points)
    other = kem.fit(kem.GaussianMixture(2, covariance=form), points * unit + origin)
    assert other.em.n_iterations == one.em.n_iterations
    np.testing.assert_allclose(other.params.means, one.params.means * unit + origin, rtol=1e-6)
    np.testing.assert_allclose(other.params.covs, one.params.covs * unit[:, None] * unit, rtol=1e-5)
    n = np.count_nonzero(~np.isnan(points), axis=0)
    assert other.log_likelihood == pytest.approx(one.log_likelihood - n @ np.log(unit), abs=1e-6)


def test_labels_of_rows_are_kept_in_whatever_order():
    frame = pd.DataFrame(two_clusters(30), columns=["a", "b"]).sample(frac=1.0, random_state=1)
    fitted = kem.fit(kem.GaussianMixture(2), frame)
    assert fitted.probabilities().index.equals(frame.index)
    assert fitted.panel.names == ("a", "b")


def test_the_bound_is_kept_and_its_gap_is_never_negative():
    fitted = kem.fit(kem.GaussianMixture(2), with_holes(two_clusters()))
    assert fitted.em.bound_history.shape == (fitted.em.n_iterations,)
    assert fitted.em.kl_gaps.min() > -1e-9
    assert fitted.em.kl_gaps.max() > 1e-3
    # The M-step never lowers the bound below the likelihood that it touched.
    assert (fitted.em.bound_history - fitted.em.log_likelihoods[:-1]).min() > -1e-9


def test_a_component_that_collapses_is_named_and_the_fit_begins_anew():
    points = np.concatenate([two_clusters(), [[50.0, 50.0]]])
    start = kem.fit(kem.GaussianMixture(2), two_clusters()).params
    means = np.concatenate([start.means, [[50.0, 50.0]]])
    covs = np.concatenate([start.covs, [np.eye(2)]])
    given = {"means": means, "covs": covs, "weights": [0.6, 0.3, 0.1]}
    ended = kem.fit(kem.GaussianMixture(3), points, start=given)
    assert ended.em.stop_reason is kem.StopReason.degenerate_covariance
    assert "component 2 has collapsed" in ended.em.detail
    assert np.isfinite(ended.log_likelihood)
    # Nowhere but on the outlier can a third component go, so that other starts end there too, and it is said.
    lost = kem.fit(kem.GaussianMixture(3), points, seed=0)
    assert lost.em.stop_reason is kem.StopReason.degenerate_covariance
    few = np.random.default_rng(6).normal(size=(24, 2))
    anew = kem.fit(kem.GaussianMixture(3), few, seed=0)
    assert anew.em.stop_reason.is_converged
    assert "began anew 1 time, at first because iteration 26: component 0 has collapsed" in anew.em.detail
    assert len(anew.em.start_log_likelihoods) == 2


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (kem.GaussianMixture(4), [[1.0, 2.0], [2.0, 3.0], [0.0, 1.0]], "at least 4 rows"),
        (kem.GaussianMixture(2), np.ones((9, 1)), "'y1' has one value throughout"),
        (kem.GaussianMixture(3), [[0.0], [1.0]] * 5, "at least 3 distinct rows"),
        (kem.GaussianMixture(2), np.outer(np.arange(9.0), [1.0, 2.0]), "linearly dependent"),
        (kem.GaussianMixture(2), pd.DataFrame({"x": ["a", "b", "c"]}), "x"),
        (kem.GaussianMixture, [[0.0], [1.0]], "call it"),
    ],
)
def test_data_that_no_mixture_can_be_learnt_from(model, data, said):
    with pytest.raises(kem.InputError, match=said):
        kem.fit(model, data)


def test_options_that_make_no_sense_are_refused():
    points = two_clusters(20)
    for name, value in {"inputs": points, "series": "a", "time": "a", "numerics": "square_root"}.items():
        with pytest.raises(kem.InputError, match=f"{name}: expected"):
            kem.fit(kem.GaussianMixture(2), points, **{name: value})
    with pytest.raises(kem.InputError, match="method"):
        kem.fit(kem.GaussianMixture(2), points, method="gibbs")
    with pytest.raises(kem.InputError, match="covariance: expected a form"):
        kem.GaussianMixture(2, covariance="full")
    with pytest.raises(kem.InputError, match="weights"):
        kem.GaussianMixture(2, weights=kem.Fixed([0.5, 0.6]))


def test_a_fit_answers_for_other_rows_and_fills_in_what_is_missing():
    points = two_clusters(80)
    frame = pd.DataFrame(points, columns=["a", "b"], index=[f"r{i}" for i in range(len(points))])
    fitted = kem.fit(kem.GaussianMixture(2), frame)
    some = frame.iloc[:6].copy()
    some.iloc[0, 1] = NAN
    some.iloc[1, :] = NAN
    probabilities = fitted.probabilities(some)
    pd.testing.assert_frame_equal(probabilities.iloc[2:], fitted.probabilities().iloc[2:6])
    assert fitted.assign(some).index.equals(some.index)
    filled = fitted.impute(some)
    pd.testing.assert_frame_equal(filled.iloc[2:], some.iloc[2:])
    assert filled.iloc[0, 0] == some.iloc[0, 0]
    rows = [completed_row(some.to_numpy()[0], m, c)[1] for m, c in zip(*mixture_moments(fitted), strict=True)]
    np.testing.assert_allclose(filled.iloc[0], probabilities.iloc[0].to_numpy() @ np.array(rows), rtol=1e-12)
    np.testing.assert_allclose(filled.iloc[1], fitted.params.weights @ fitted.params.means, rtol=1e-12)
    with pytest.raises(kem.InputError, match="expected the columns of the fit"):
        fitted.assign(some.rename(columns={"a": "z"}))


def mixture_moments(fitted):
    return fitted.params.means, fitted.params.covs


def test_draws_are_of_the_mixture():
    fitted = kem.fit(kem.GaussianMixture(2), two_clusters(80))
    drawn = fitted.sample(40_000, rng=np.random.default_rng(3))
    again = fitted.sample(40_000, rng=np.random.default_rng(3))
    pd.testing.assert_frame_equal(drawn, again)
    for k, part in drawn.groupby("component"):
        values = part[["y1", "y2"]].to_numpy()
        assert len(part) / len(drawn) == pytest.approx(fitted.params.weights[k], abs=0.01)
        np.testing.assert_allclose(values.mean(axis=0), fitted.params.means[k], atol=0.05)
        np.testing.assert_allclose(np.cov(values.T), fitted.params.covs[k], atol=0.05)


def test_icl_is_bic_where_rows_are_apart_and_dearer_where_they_are_not():
    near, far = two_clusters(40), two_clusters(40)
    far[40:] += 50.0
    model = kem.GaussianMixture(2)
    assert kem.fit(model, far).icl == pytest.approx(kem.fit(model, far).bic, abs=1e-9)
    fitted = kem.fit(model, near)
    price = -2.0 * np.log(fitted.probabilities().max(axis=1)).sum()
    assert fitted.icl - fitted.bic == pytest.approx(price, rel=1e-12)
    assert price > 0.01


def test_a_row_too_far_away_is_named():
    points = two_clusters(20)[:, :1]
    points[7] = 1e149
    start = {"means": [[0.0], [4.0]], "covs": [[[1e-20]], [[1e-20]]], "weights": [0.5, 0.5]}
    with pytest.raises(kem.NumericalError, match="row 7 is too far"):
        kem.fit(kem.GaussianMixture(2), points, start=start)
