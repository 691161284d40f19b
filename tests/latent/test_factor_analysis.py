"""Factor analysis: dense Gaussians, other packages' numbers, missing entries, units, and noise that vanishes."""

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.decomposition import FactorAnalysis as OutsideFactors

import kalman_em as kem
from kalman_em.latent.factor_params import FactorParams
from kalman_em.latent.factor_step import FactorStep, best_loadings, best_noise

NAN = np.nan
ORACLES = Path(__file__).resolve().parents[3] / "shared" / "oracles"
TIGHT = kem.Stopping(relative_tolerance=1e-13, parameter_tolerance=1e-8, max_iterations=10_000)


def rows_of_factors(n=80, p=6, q=2, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, q)) @ rng.normal(size=(q, p)) + rng.normal(size=(n, p)) * rng.uniform(0.4, 1.5, p)
    values += rng.normal(size=p) * 3.0
    values[rng.random(values.shape) < missing] = NAN
    return values


def problem_of(model, values):
    return model.problem(kem.Panel([kem.Observations(values)]))


def dense_log_likelihood(params, values):
    total = 0.0
    for row in values:
        o = np.flatnonzero(~np.isnan(row))
        if len(o):
            total += multivariate_normal.logpdf(row[o], params.mean[o], params.cov[np.ix_(o, o)])
    return total


def with_covariance(cov, n, seed=0):
    """Return n rows whose mean is 0 and whose scatter is `cov`, exactly but for rounding."""
    raw = np.random.default_rng(seed).normal(size=(n, len(cov)))
    raw -= raw.mean(axis=0)
    raw = raw @ np.linalg.inv(np.linalg.cholesky(raw.T @ raw / n)).T
    return raw @ np.linalg.cholesky(cov).T


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("noise", [kem.Diagonal(), kem.Isotropic()])
def test_the_likelihood_is_that_of_the_dense_gaussian(missing, noise):
    values = rows_of_factors(n=25, missing=missing, seed=4)
    values[3] = NAN if missing else values[3]
    problem = problem_of(kem.FactorAnalysis(2, noise=noise), values)
    params = problem.random_start(np.random.default_rng(1))
    assert problem.e_step(params)[1] == pytest.approx(dense_log_likelihood(params, values), abs=1e-9)


def as_state_space(p, q):
    return kem.LinearGaussian(
        state_dim=q,
        obs_dim=p,
        transition_matrix=kem.Fixed(np.zeros((q, q))),
        transition_cov=kem.Fixed(np.eye(q)),
        observation_offset=kem.Full(),
        observation_cov=kem.Diagonal(),
        initial_mean=kem.Fixed(np.zeros(q)),
        initial_cov=kem.Fixed(np.eye(q)),
        initial_step="first",
    )


def test_it_is_the_state_space_model_without_memory():
    values = rows_of_factors(missing=0.2, seed=2)
    fitted = kem.fit(kem.FactorAnalysis(2), values, stopping=TIGHT)
    start = {
        "observation_matrix": fitted.params.loadings,
        "observation_offset": fitted.params.mean,
        "observation_cov": np.diag(fitted.params.noise_variances),
    }
    one = kem.fit(as_state_space(6, 2), values, start=start, stopping=kem.Stopping(max_iterations=5))
    # Its likelihood at these parameters, its factors, and EM with hidden factors, which finds nothing higher.
    assert one.em.log_likelihoods[0] == pytest.approx(fitted.log_likelihood, abs=1e-8)
    assert one.log_likelihood == pytest.approx(fitted.log_likelihood, abs=1e-7)
    smoothed = one.smooth()
    np.testing.assert_allclose(smoothed.smoothed_means, fitted.scores(), atol=1e-4)
    np.testing.assert_allclose(smoothed.smoothed_covs, fitted.score_covs().to_numpy().reshape(-1, 2, 2), atol=1e-4)


@pytest.mark.parametrize(("p", "q", "n"), [(6, 2, 80), (10, 3, 200), (30, 2, 20)])
def test_the_top_is_not_below_scikit_learns(p, q, n):
    values = rows_of_factors(n, p, q, seed=p)
    fitted = kem.fit(kem.FactorAnalysis(q), values, stopping=TIGHT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outside = OutsideFactors(q, tol=1e-13, max_iter=4000, svd_method="lapack").fit(values)
    gap = fitted.log_likelihood - outside.score(values) * n
    assert gap > -1e-6
    # Theirs creeps: the same top, where no noise vanishes, as near as it has come.
    if fitted.em.stop_reason.is_converged:
        assert gap < 1e-3
        np.testing.assert_allclose(fitted.noise_variances, outside.noise_variance_, rtol=0.02)


@pytest.mark.skipif(not ORACLES.exists(), reason="no outside results beside the project")
@pytest.mark.parametrize("number", [0, 1])
def test_the_ability_tests_of_factanal(number):
    case = json.loads((ORACLES / "fa_ability.json").read_text())
    expected = case["results"][number]
    values = with_covariance(np.array(case["correlation"]), case["data"]["n"])
    fitted = kem.fit(kem.FactorAnalysis(expected["factors"]), values, stopping=TIGHT)
    assert fitted.log_likelihood == pytest.approx(expected["logLik_correlation_metric"], abs=1e-7)
    np.testing.assert_allclose(fitted.noise_variances, expected["uniquenesses"], atol=2e-6)
    np.testing.assert_allclose(fitted.communalities, expected["communality"], atol=2e-6)
    np.testing.assert_allclose(np.abs(fitted.loadings), np.abs(expected["loadings_unrotated"]), atol=1e-5)
    # Degrees of freedom: what the covariance has, less what was learnt of it.
    assert 21 - (fitted.n_parameters - 6) == expected["dof"]


@pytest.mark.skipif(not ORACLES.exists(), reason="no outside results beside the project")
@pytest.mark.parametrize("name", ["iris", "attitude"])
def test_principal_components_in_closed_form(name):
    case = json.loads((ORACLES / "ppca_closed_form.json").read_text())
    table = pd.read_csv(ORACLES / case["data"]["file" if name == "iris" else "file2"])
    values = table.select_dtypes("number").iloc[:, -len(case[name][0]["WWt"]) :]
    for expected in case[name]:
        fitted = kem.fit(kem.PrincipalComponents(expected["q"]), values)
        assert fitted.log_likelihood == pytest.approx(expected["logLik"], abs=1e-8)
        assert fitted.em.log_likelihoods[1] == pytest.approx(expected["logLik"], abs=1e-8)
        np.testing.assert_allclose(fitted.noise_variances, expected["sigma2"], rtol=1e-9)
        shared = fitted.loadings @ fitted.loadings.T
        np.testing.assert_allclose(shared, expected["WWt"], rtol=1e-8, atol=1e-8 * np.abs(expected["WWt"]).max())


def expected_height(scatter, loadings, noise):
    cov = loadings @ loadings.T + np.diag(noise)
    return -0.5 * (np.linalg.slogdet(cov)[1] + np.trace(np.linalg.solve(cov, scatter)))


def test_each_part_of_the_m_step_is_a_numerical_maximum():
    scatter = np.cov(rows_of_factors(seed=7).T)
    step = FactorStep(2, kem.Diagonal(), 6)
    _, noise = step.first(scatter)
    best = best_loadings(noise, scatter, 2)
    found = minimize(lambda w: -expected_height(scatter, w.reshape(6, 2), noise), 0.9 * best.ravel(), tol=1e-12)
    assert expected_height(scatter, best, noise) == pytest.approx(-found.fun, abs=1e-9)
    # One noise variance after the other: the last to move is at its top given all others.
    loadings = 0.8 * best
    moved = best_noise(loadings, noise, scatter)
    height = expected_height(scatter, loadings, moved)
    for factor in (0.9998, 1.0002):
        other = moved.copy()
        other[-1] *= factor
        assert expected_height(scatter, loadings, other) < height
    assert height > expected_height(scatter, loadings, noise)
    isotropic = FactorStep(2, kem.Isotropic(), 6).most_likely(scatter, best, noise)
    found = minimize(
        lambda w: -expected_height(scatter, w[:-1].reshape(6, 2), np.full(6, np.exp(w[-1]))),
        np.append(best.ravel(), 0.0),
        tol=1e-12,
    )
    assert expected_height(scatter, *isotropic) == pytest.approx(-found.fun, abs=1e-8)


@pytest.mark.parametrize("noise", [kem.Diagonal(), kem.Isotropic()])
def test_units_and_origin_do_not_matter(noise):
    values = rows_of_factors(missing=0.2, seed=5)
    # One variance for all columns is a matter of their units; of a common one it is not.
    unit = np.array([1e-6, 1e5, 1.0, 3.0, 1e-3, 40.0]) if noise == kem.Diagonal() else np.full(6, 1e-5)
    origin = unit * 1e3
    one = kem.fit(kem.FactorAnalysis(2, noise=noise), values)
    other = kem.fit(kem.FactorAnalysis(2, noise=noise), values * unit + origin)
    assert one.em.stop_reason.is_converged
    assert other.em.n_iterations == one.em.n_iterations
    np.testing.assert_allclose(other.loadings, one.loadings * unit[:, None], rtol=1e-5, atol=1e-7 * unit.max())
    np.testing.assert_allclose(other.noise_variances, one.noise_variances * unit**2, rtol=1e-5)
    n = np.count_nonzero(~np.isnan(values), axis=0)
    assert other.log_likelihood == pytest.approx(one.log_likelihood - n @ np.log(unit), abs=1e-5)


@pytest.mark.parametrize("noise", [kem.Diagonal(), kem.Isotropic()])
def test_the_number_of_parameters_is_that_of_directions_of_the_distribution(noise):
    problem = problem_of(kem.FactorAnalysis(3, noise=noise), rows_of_factors(p=7, q=3))
    at = problem.start()
    n_noise = 7 if noise == kem.Diagonal() else 1

    def moments(numbers):
        variances = np.broadcast_to(numbers[28:], 7)
        cov = numbers[7:28].reshape(7, 3) @ numbers[7:28].reshape(7, 3).T + np.diag(variances)
        return np.concatenate([numbers[:7], cov.ravel()])

    numbers = np.concatenate([at.mean, at.loadings.ravel(), at.noise_variances[:n_noise]])
    slopes = [moments(numbers + 0.5 * e) - moments(numbers - 0.5 * e) for e in np.eye(len(numbers))]
    assert np.linalg.matrix_rank(np.array(slopes), tol=1e-9) == problem.n_parameters


def test_the_loadings_are_along_principal_axes():
    fitted = kem.fit(kem.FactorAnalysis(2), rows_of_factors(missing=0.1))
    W, noise = fitted.params.loadings, fitted.params.noise_variances
    weighted = (W / noise[:, None]).T @ W
    assert abs(weighted[0, 1]) < 1e-8 * weighted[0, 0]
    assert weighted[0, 0] > weighted[1, 1]
    assert ((W / np.sqrt(noise)[:, None]).sum(axis=0) >= 0.0).all()


def test_noise_that_vanishes_is_named():
    # One factor would need to explain 0.8 * 0.8 / 0.5 > 1 of the variance of column a.
    cov = np.array([[1.0, 0.8, 0.8], [0.8, 1.0, 0.5], [0.8, 0.5, 1.0]])
    values = with_covariance(cov, 60)
    fitted = kem.fit(kem.FactorAnalysis(1), pd.DataFrame(values, columns=list("abc")))
    assert fitted.em.stop_reason is kem.StopReason.heywood_case
    assert "no noise is left in 'a'" in fitted.em.message
    assert np.isfinite(fitted.scores().to_numpy()).all()
    assert fitted.communalities["a"] == pytest.approx(1.0, abs=1e-6)
    # What is left is the regression of the others on column a; its likelihood has a limit.
    np.testing.assert_allclose(fitted.loadings["factor1"], [1.0, 0.8, 0.8], rtol=1e-4)
    limit = np.array([[1.0, 0.8, 0.8], [0.8, 1.0, 0.64], [0.8, 0.64, 1.0]])
    expected = -30.0 * (3.0 * np.log(2.0 * np.pi) + np.linalg.slogdet(limit)[1] + np.trace(np.linalg.inv(limit) @ cov))
    assert fitted.log_likelihood == pytest.approx(expected, abs=1e-4)
    exact = values.copy()
    exact[:, 1] = 3.0 * exact[:, 0]
    lost = kem.fit(kem.FactorAnalysis(1), exact)
    assert lost.em.stop_reason is kem.StopReason.degenerate_covariance
    assert np.isfinite(lost.log_likelihood)


def test_gaps_are_filled_by_the_conditional_gaussian():
    values = rows_of_factors(missing=0.25, seed=9)
    fitted = kem.fit(kem.FactorAnalysis(2), values)
    filled = fitted.impute(levels=(95,))
    mean, cov = fitted.params.mean, fitted.em.params.cov
    row = int(np.flatnonzero(np.isnan(values).sum(axis=1) == 2)[0])
    o, m = np.flatnonzero(~np.isnan(values[row])), np.flatnonzero(np.isnan(values[row]))
    gain = cov[np.ix_(m, o)] @ np.linalg.inv(cov[np.ix_(o, o)])
    names = list(fitted.panel.names)
    for j, expected, left in zip(
        m, mean[m] + gain @ (values[row, o] - mean[o]), cov[np.ix_(m, m)] - gain @ cov[np.ix_(o, m)], strict=True
    ):
        at = filled.iloc[row]
        sd = np.sqrt(left[list(m).index(j)])
        assert at[names[j]] == pytest.approx(expected, abs=1e-9)
        assert at[f"{names[j]}_sd"] == pytest.approx(sd, rel=1e-8)
        assert at[f"{names[j]}_upper_95"] == pytest.approx(expected + 1.959963985 * sd, rel=1e-8)
    assert at[f"{names[o[0]]}_sd"] == 0.0
    again = fitted.scores(values[:5])
    np.testing.assert_allclose(again, fitted.scores().iloc[:5], atol=1e-9)


def test_draws_have_the_fitted_moments_and_labels_are_kept():
    frame = pd.DataFrame(rows_of_factors(), columns=list("abcdef"), index=pd.Index(range(100, 180), name="person"))
    fitted = kem.fit(kem.FactorAnalysis(2), frame)
    drawn = fitted.sample(40_000, rng=np.random.default_rng(0))
    assert list(drawn.columns) == list("abcdef")
    np.testing.assert_allclose(drawn.mean(), fitted.params.mean, atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), fitted.em.params.cov, atol=0.15)
    assert fitted.scores().index.equals(frame.index)
    assert fitted.loadings.index.tolist() == list("abcdef")
    assert "communality" in str(fitted.summary())


@pytest.mark.parametrize(
    ("model", "values", "said"),
    [
        (kem.FactorAnalysis(6), rows_of_factors(), "less than the 6 columns"),
        (kem.FactorAnalysis(4), rows_of_factors(), "at most 3 for 6 columns"),
        (kem.FactorAnalysis(2), rows_of_factors(n=3), "at least 4 rows"),
        (kem.FactorAnalysis(1), np.column_stack([rows_of_factors(p=3, q=1), np.ones(80)]), "'y4' has one value"),
    ],
)
def test_data_that_cannot_be_learnt_from(model, values, said):
    with pytest.raises(kem.InputError, match=said):
        kem.fit(model, values)


def test_arguments_are_checked():
    with pytest.raises(kem.InputError, match=r"noise: expected Diagonal\(\) or Isotropic\(\)"):
        kem.FactorAnalysis(1, noise=kem.Full())
    with pytest.raises(kem.InputError, match="n_factors"):
        kem.FactorAnalysis(0)
    values = rows_of_factors()
    for noise, given, said in (
        (kem.Diagonal(), np.zeros(6), "above 0"),
        (kem.Isotropic(), np.arange(1.0, 7.0), "equal ones"),
    ):
        with pytest.raises(kem.InputError, match=said):
            kem.fit(kem.FactorAnalysis(2, noise=noise), values, start={"noise_variances": given})
    with pytest.raises(kem.InputError, match="below 0"):
        FactorParams(mean=[0.0], loadings=[[1.0]], noise_variances=[-1.0])


def test_the_score_of_other_rows_is_the_density_of_what_was_seen_of_them():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(80, 1)) * [1.0, 0.8, -0.5, 0.3] + rng.normal(size=(80, 4))
    fitted = kem.fit(kem.FactorAnalysis(1), data)
    others = rng.normal(size=(5, 4)) + 1.0
    others[1, 2:] = np.nan
    cov = fitted.em.params.loadings @ fitted.em.params.loadings.T + np.diag(fitted.em.params.noise_variances)
    expected = 0.0
    for row in others:
        seen = ~np.isnan(row)
        off, own = (row - fitted.em.params.mean)[seen], cov[np.ix_(seen, seen)]
        expected -= 0.5 * (off @ np.linalg.solve(own, off) + np.linalg.slogdet(2.0 * np.pi * own)[1])
    assert fitted.score(others) == pytest.approx(expected, rel=1e-10)
    assert fitted.score(data) == pytest.approx(fitted.log_likelihood, rel=1e-12)
