"""Markov autoregressions against the enumeration of all paths, statsmodels and Hamilton's numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from oracles.paths import all_paths, log_prior, weigh
from scipy.optimize import minimize
from scipy.stats import norm

import kalman_em as kem
from kalman_em.frames import to_panel
from kalman_em.inference.regimes import stationary_probabilities
from kalman_em.latent.regime_autoregression import MarkovAutoregressionParams, expected_height

MOVES = np.array([[0.8, 0.2], [0.3, 0.7]])
VARIANTS = [(False, False), (True, False), (False, True), (True, True)]


def growth():
    return kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]


def some_params(switching_coefficients, switching_variance):
    return MarkovAutoregressionParams(
        means=[-1.0, 2.0],
        coefficients=[[0.5, -0.2], [0.1, 0.3]] if switching_coefficients else [0.5, -0.2],
        variances=[0.5, 1.5] if switching_variance else [0.7],
        initial_probabilities=stationary_probabilities(MOVES),
        transition_matrix=MOVES,
    )


def enumerated(y, params):
    """Return the posterior of all paths: the errors of each one by the equation of the model."""
    paths = all_paths(len(y), 2)
    log_joints = log_prior(paths, params.initial_probabilities, params.transition_matrix)
    deviations = y - params.means[paths]
    for t in range(params.order, len(y)):
        phi = np.broadcast_to(params.coefficients, (2, params.order))[paths[:, t]]
        errors = deviations[:, t] - sum(phi[:, i] * deviations[:, t - 1 - i] for i in range(params.order))
        log_joints = log_joints + norm.logpdf(errors, scale=np.sqrt(params.spreads[paths[:, t]]))
    return weigh(paths, log_joints)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_e_step_is_the_sum_over_all_paths(variant):
    rng = np.random.default_rng(3)
    series = [rng.normal(size=n) * 2.0 for n in (7, 3, 5)]
    panel = kem.Panel([kem.Observations(one[:, None]) for one in series])
    params = some_params(*variant)
    model = kem.MarkovAutoregression(2, order=2, switching_coefficients=variant[0], switching_variance=variant[1])
    problem = model.problem(panel)
    expectations, log_likelihood = problem.e_step(params)
    exact = [enumerated(one, params) for one in series]
    assert log_likelihood == pytest.approx(sum(one.log_likelihood for one in exact), rel=1e-12)
    shares = np.concatenate([one.probabilities for one in exact])
    np.testing.assert_allclose(problem.posterior(params).smoothed, shares, atol=1e-12)
    np.testing.assert_allclose(expectations.transition_counts, sum(one.transition_counts for one in exact), atol=1e-12)
    np.testing.assert_allclose(expectations.initial_counts, sum(one.probabilities[0] for one in exact), atol=1e-12)
    path, log_joints = problem.path(params)
    np.testing.assert_array_equal(path, np.concatenate([one.best for one in exact]))
    np.testing.assert_allclose(log_joints, [one.log_joints.max() for one in exact], rtol=1e-12)
    so_far = [enumerated(series[0][: t + 1], params).probabilities[-1] for t in range(7)]
    np.testing.assert_allclose(problem.posterior(params).filtered[:7], so_far, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_m_step_is_a_maximum(variant):
    model = kem.MarkovAutoregression(2, order=2, switching_coefficients=variant[0], switching_variance=variant[1])
    problem = model.problem(to_panel(growth()))
    old = replace(some_params(*variant), means=np.array([0.0, 1.0]))
    expectations, _ = problem.e_step(old)
    new = problem.m_step(old, expectations)

    def lost(theta):
        split = np.split(theta, [2, 2 + new.coefficients.size])
        tried = replace(
            new, means=split[0], coefficients=split[1].reshape(new.coefficients.shape), variances=np.exp(split[2])
        )
        return -expected_height(tried, expectations.sums, problem.rows)

    theta = np.concatenate([old.means, old.coefficients.ravel(), np.log(old.variances)])
    found = minimize(lost, theta, method="BFGS", tol=1e-12)
    assert -found.fun == pytest.approx(expected_height(new, expectations.sums, problem.rows), abs=1e-9)
    np.testing.assert_allclose(found.x[:2], new.means, atol=1e-4)
    assert problem.expected_gain(old, new, expectations) > 0.0


def peer_params(peer, params):
    """Return the parameters in the order of statsmodels."""
    named = {"p[0->0]": MOVES[0, 0], "p[1->0]": MOVES[1, 0], "sigma2": params.variances[0]}
    for k in range(2):
        named |= {f"const[{k}]": params.means[k], f"sigma2[{k}]": params.spreads[k]}
        for i, phi in enumerate(-params.filters[k, 1:]):
            named |= {f"ar.L{i + 1}[{k}]": phi, f"ar.L{i + 1}": phi}
    return [named[name] for name in peer.param_names]


# statsmodels 0.14 takes the variance of the regime order - 1 rows before, which is that of the row itself at order 1.
@pytest.mark.parametrize(("variant", "order"), [((False, False), 2), ((True, False), 2), ((False, True), 1)])
def test_likelihood_and_probabilities_are_those_of_statsmodels(variant, order):
    y, params = growth(), some_params(*variant)
    params = replace(params, coefficients=params.coefficients[..., :order])
    options = {"switching_ar": variant[0], "switching_variance": variant[1]}
    peer = sm.tsa.MarkovAutoregression(y.to_numpy(), k_regimes=2, order=order, **options)
    theirs = peer.smooth(peer_params(peer, params), return_raw=True)
    model = kem.MarkovAutoregression(2, order=order, switching_coefficients=variant[0], switching_variance=variant[1])
    problem = model.problem(to_panel(y))
    assert problem.e_step(params)[1] == pytest.approx(theirs.llf, rel=1e-10)
    posterior = problem.posterior(params)
    np.testing.assert_allclose(posterior.filtered[order:].T, theirs.filtered_marginal_probabilities, atol=1e-9)
    np.testing.assert_allclose(posterior.smoothed[order:].T, theirs.smoothed_marginal_probabilities, atol=1e-9)


def test_hamiltons_model_of_the_business_cycle():
    fitted = kem.fit(kem.MarkovAutoregression(2, order=4), growth(), stopping=kem.Stopping(relative_tolerance=1e-11))
    # Hamilton (1989), table I: log-likelihood and estimates, from lag to lag.
    assert fitted.log_likelihood == pytest.approx(-181.26339, abs=5e-6)
    np.testing.assert_allclose(fitted.params.means, [-0.3588, 1.1635], atol=1e-3)
    np.testing.assert_allclose(fitted.params.coefficients, [0.0135, -0.0575, -0.2470, -0.2129], atol=1e-3)
    np.testing.assert_allclose(np.sqrt(fitted.params.variances), [0.7690], atol=1e-3)
    np.testing.assert_allclose(np.diagonal(fitted.params.transition_matrix), [0.7547, 0.9041], atol=1e-3)
    assert fitted.n_parameters == 9
    assert np.all(np.diff(fitted.em.log_likelihoods) >= -1e-9)
    recession = kem.datasets.load("us_gnp_growth")["nber_recession"] == 1
    shares = fitted.probabilities()[0]
    assert shares[recession].mean() > 0.75
    assert shares[~recession].mean() < 0.15


@pytest.mark.parametrize("variant", VARIANTS[::2])
def test_the_gradient_vanishes_at_the_end(variant):
    model = kem.MarkovAutoregression(2, order=2, switching_coefficients=variant[0], switching_variance=variant[1])
    tight = kem.Stopping(relative_tolerance=1e-13, parameter_tolerance=1e-9)
    fitted = kem.fit(model, growth(), stopping=tight)
    problem, end = fitted.problem, fitted.em.params

    def height(theta):
        stay = 1.0 / (1.0 + np.exp(-theta[:2]))
        moves = np.array([[stay[0], 1.0 - stay[0]], [1.0 - stay[1], stay[1]]])
        parts = np.split(theta[2:], [2, 2 + end.coefficients.size])
        params = replace(
            end, means=parts[0], coefficients=parts[1].reshape(end.coefficients.shape), variances=np.exp(parts[2]),
            transition_matrix=moves, initial_probabilities=stationary_probabilities(moves),
        )  # fmt: skip
        return problem.e_step(params)[1]

    stay = np.diagonal(end.transition_matrix)
    theta = np.concatenate([np.log(stay / (1.0 - stay)), end.means, end.coefficients.ravel(), np.log(end.variances)])
    for axis in np.eye(len(theta)):
        assert abs(height(theta + 1e-5 * axis) - height(theta - 1e-5 * axis)) / 2e-5 < 1e-4


def test_a_panel_is_the_sum_of_its_series():
    y = growth()
    model, params = kem.MarkovAutoregression(2, order=2), some_params(False, False)
    parts = [to_panel(y.iloc[:60]), to_panel(y.iloc[60:])]
    panel = kem.Panel([part.series[0] for part in parts])
    together = model.problem(panel).e_step(params)[1]
    assert together == pytest.approx(sum(model.problem(part).e_step(params)[1] for part in parts), rel=1e-13)


def test_hard_em_climbs_the_best_path():
    problem = kem.MarkovAutoregression(2, order=2).problem(to_panel(growth())).tempered(0.0)
    start = problem.start()
    result = kem.run_em(problem, start)
    assert result.log_likelihoods[0] == pytest.approx(problem.path(start)[1].sum(), rel=1e-12)
    assert np.all(np.diff(result.log_likelihoods) >= -1e-9)


def test_a_forecast_has_the_moments_of_what_the_model_draws():
    rng = np.random.default_rng(2)
    fitted = kem.fit(kem.MarkovAutoregression(2, order=2), growth())
    params, n = fitted.em.params, 100_000
    y = growth().to_numpy()
    weights = fitted.problem.last_history(params, 0)
    histories = fitted.problem.rows.histories[rng.choice(8, n, p=weights)]
    latest, lags = histories[:, 0], y[[-1, -2]] - params.means[histories[:, :2]]
    forecast = fitted.forecast(3)
    for h in range(3):
        latest = (rng.random(n) > params.transition_matrix[latest, 0]).astype(int)
        now = lags @ params.coefficients + rng.normal(size=n) * np.sqrt(params.variances[0])
        lags = np.column_stack([now, lags[:, 0]])
        drawn = params.means[latest] + now
        assert forecast.means[h, 0] == pytest.approx(drawn.mean(), abs=0.015)
        assert np.sqrt(forecast.covs[h, 0, 0]) == pytest.approx(drawn.std(), rel=0.01)
        assert forecast.quantiles(0.1)[h, 0] == pytest.approx(np.quantile(drawn, 0.1), abs=0.03)
        assert forecast.probabilities[h, 1] == pytest.approx(latest.mean(), abs=0.01)
    np.testing.assert_allclose(fitted.forecast_regimes(3), forecast.probabilities, atol=1e-12)
    np.testing.assert_allclose(forecast.weights.sum(axis=1), 1.0, atol=1e-12)


def test_other_series_are_scored():
    fitted = kem.fit(kem.MarkovAutoregression(2, order=2), growth())
    part = growth().iloc[30:38].reset_index(drop=True)
    exact = enumerated(part.to_numpy(), fitted.em.params)
    assert fitted.score(part) == pytest.approx(exact.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(fitted.probabilities(part), exact.probabilities, atol=1e-12)


def test_what_is_sampled_comes_back():
    rng = np.random.default_rng(0)
    fitted = kem.fit(kem.MarkovAutoregression(2, order=1), growth())
    drawn = fitted.sample(3000, rng=rng)
    again = kem.fit(kem.MarkovAutoregression(2, order=1), drawn["gnp_growth_pct"])
    np.testing.assert_allclose(np.sort(again.params.means), np.sort(fitted.params.means), atol=0.15)
    np.testing.assert_allclose(again.params.coefficients, fitted.params.coefficients, atol=0.08)


def test_a_summary_says_how_the_m_step_goes():
    text = str(kem.fit(kem.MarkovAutoregression(2, order=1), growth()).summary())
    assert "ECM" in text
    assert "lag 1" in text


def test_forecasts_of_what_switches_are_refused_but_for_the_regimes():
    fitted = kem.fit(kem.MarkovAutoregression(2, order=1, switching_variance=True), growth())
    with pytest.raises(kem.InputError, match="forecast: expected coefficients and variance that do not switch"):
        fitted.forecast(2)
    assert fitted.forecast_regimes(2).shape == (2, 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"order": 0}, "order: expected a whole number"),
        ({"order": 12}, "order: expected at most 4096 histories"),
        ({"order": 1, "switching_variance": "yes"}, "switching_variance: expected True or False"),
        ({"order": 1, "n_states": 2}, "'n_states' is not known"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(options, said):
    with pytest.raises(kem.InputError, match=said):
        kem.MarkovAutoregression(2, **options)


def test_data_that_it_cannot_read_are_refused():
    model = kem.MarkovAutoregression(2, order=2)
    y = growth()
    gappy = y.copy()
    gappy.iloc[1] = np.nan
    for data, said in [
        (gappy, "got NaN at row 1"),
        (y.iloc[:2], "more than 2 rows"),
        (np.random.default_rng(0).normal(size=(20, 2)), "expected one column, got 2"),
        (np.ones(20), "has one value throughout"),
    ]:
        with pytest.raises(kem.InputError, match=said):
            kem.fit(model, data)


def test_a_regime_that_shrinks_to_a_point_is_named():
    y = np.concatenate([np.random.default_rng(0).normal(size=40), [30.0]])
    model = kem.MarkovAutoregression(2, order=1, switching_variance=True)
    fitted = kem.fit(model, y, start={"means": [0.0, 30.0], "variances": [1.0, 1e-4]})
    assert fitted.em.stop_reason in ("degenerate_covariance", "empty_component")
    assert fitted.probabilities().notna().all(axis=None)


def test_the_rows_that_are_given_do_not_count_for_bic():
    fitted = kem.fit(kem.MarkovAutoregression(2, order=4), growth())
    assert fitted.n_rows == len(growth()) - 4
    assert fitted.bic == pytest.approx(-2.0 * fitted.log_likelihood + 9 * np.log(131), abs=1e-9)
