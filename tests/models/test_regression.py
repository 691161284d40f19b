"""Regressions and interventions in sums: least squares where it is that, statsmodels' likelihood, forecasts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from oracles.dense import DenseGaussian
from support.learning import one_step, problem_of

import kalman_em as kem

LONG = kem.Stopping(max_iterations=3000)


def data(seed=0, n_steps=80):
    """Return a level with a petrol price in it, a step and a gap."""
    rng = np.random.default_rng(seed)
    index = pd.date_range("1976-01-31", periods=n_steps, freq="ME")
    petrol = pd.Series(rng.normal(size=n_steps).cumsum(), index=index, name="petrol")
    level = 50.0 + 0.3 * rng.normal(size=n_steps).cumsum()
    values = level - 2.0 * petrol - 4.0 * (np.arange(n_steps) >= 40) + 0.5 * rng.normal(size=n_steps)
    values.iloc[[9, 10]] = np.nan
    return values.rename("killed"), petrol


def test_with_no_other_movement_it_is_least_squares():
    values, petrol = data()
    still = kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.Regression() + kem.Intervention("1979-05-31")
    fitted = kem.fit(still, values, inputs=petrol, stopping=LONG)
    seen = values.notna().to_numpy()
    design = np.column_stack([np.ones(80), petrol, np.arange(80) >= 40])[seen]
    expected, *_ = np.linalg.lstsq(design, values[seen], rcond=None)
    assert fitted.params.regression[0] == pytest.approx(expected[1], rel=1e-6)
    assert fitted.params.step[0] == pytest.approx(expected[2], rel=1e-6)


@pytest.mark.parametrize("sizes", [(0.5, 0.1, -2.0, -4.0), (2.0, 0.01, 1.0, 3.0)])
def test_the_likelihood_is_that_of_statsmodels(sizes):
    values, petrol = data(1)
    model = kem.LocalLevel() + kem.Regression() + kem.Intervention("1979-05-31")
    step = np.where(np.arange(80) >= 40, 1.0, 0.0)
    theirs = sm.tsa.UnobservedComponents(
        values.to_numpy(), "llevel", exog=np.column_stack([petrol, step]), use_exact_diffuse=True
    )
    theirs.ssm.tolerance = 0.0
    names = ("observation_cov", "level_cov", "regression", "step")
    start = {n: [[v]] if n.endswith("cov") else [v] for n, v in zip(names, sizes, strict=True)}
    fitted = kem.fit(model, values, inputs=petrol, start=start, stopping=kem.Stopping(max_iterations=1))
    assert fitted.em.log_likelihoods[0] == pytest.approx(theirs.loglike(sizes), rel=1e-8)


def test_em_climbs_to_where_the_score_vanishes():
    values, petrol = data(2)
    model = kem.LocalLevel() + kem.Regression() + kem.Intervention("1979-05-31")
    fitted = kem.fit(model, values, inputs=petrol, stopping=LONG)
    assert fitted.em.stop_reason.is_converged
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9 * abs(fitted.log_likelihood)

    def height(**params):
        start = {**fitted.params, **params}
        return kem.fit(
            model, values, inputs=petrol, start=start, stopping=kem.Stopping(max_iterations=1)
        ).em.log_likelihoods[0]

    for name, value in fitted.params.items():
        step = 1e-4 * np.abs(value)
        assert abs(height(**{name: value + step}) - height(**{name: value - step})) / 2e-4 < 2e-2


def test_forecasts_need_the_inputs_ahead_and_know_the_steps():
    values, petrol = data(3)
    model = kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.Regression() + kem.Intervention("1979-05-31", "ramp")
    fitted = kem.fit(model, values, inputs=petrol, stopping=kem.Stopping(max_iterations=50))
    with pytest.raises(kem.InputError, match=r"inputs: expected shape \(2, 1\), one row a predicted step, got none"):
        fitted.forecast(2)
    ahead = fitted.forecast(2, inputs=[0.0, 1.0])
    grown = fitted.params.ramp[0] * np.array([40.0, 41.0]) + fitted.params.regression[0] * np.array([0.0, 1.0])
    level = fitted.smooth().smoothed_means[-1, 0]
    np.testing.assert_allclose(ahead.means[:, 0], level + grown, rtol=1e-10)
    more = pd.Series([40.0, 41.0], index=ahead.index, name="killed")
    longer = fitted.extend(more, inputs=[0.0, 1.0])
    np.testing.assert_allclose(longer.panel.series[0].inputs[-2:], [[0.0, 40.0], [1.0, 41.0]])


def test_interventions_alone_take_no_inputs():
    values, _ = data(4)
    fitted = kem.fit(kem.LocalLevel() + kem.Intervention("1979-05-31"), values, stopping=kem.Stopping(max_iterations=5))
    assert fitted.forecast(3).means.shape == (3, 1)
    assert fitted.extend([1.0, 2.0]).panel.series[0].inputs[-2:].tolist() == [[1.0], [1.0]]
    with pytest.raises(kem.InputError, match="inputs: expected none"):
        fitted.forecast(3, inputs=[1.0, 2.0, 3.0])
    again = fitted.refit(values, stopping=kem.Stopping(max_iterations=5))
    assert again.log_likelihood >= fitted.log_likelihood - 1e-9


def test_components_and_persistence(tmp_path):
    values, petrol = data(5)
    model = kem.LocalLevel() + kem.Regression() + kem.Intervention("1979-05-31") + kem.Intervention(20, "pulse")
    fitted = kem.fit(model, values, inputs=petrol, stopping=kem.Stopping(max_iterations=5))
    parts = fitted.components(levels=())
    names = ["level", "regression", "step", "pulse", "residual"]
    assert parts.columns.tolist()[::2] == names
    whole = parts[names].sum(axis=1)[values.notna()]
    np.testing.assert_allclose(whole, values[values.notna()], rtol=1e-12)
    np.testing.assert_allclose(parts["regression"], fitted.params.regression[0] * petrol, rtol=1e-12)
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.model == model
    pd.testing.assert_frame_equal(loaded.components(levels=()), parts, check_freq=False)
    np.testing.assert_array_equal(loaded.forecast(1, inputs=[0.0]).means, fitted.forecast(1, inputs=[0.0]).means)


def test_several_columns_have_coefficients_of_their_own():
    values, petrol = data(6)
    both = pd.DataFrame({"a": values, "b": 3.0 * values + petrol})
    model = kem.LocalLevel(level_cov=kem.Fixed(0), observation_cov=kem.Diagonal()) + kem.Regression()
    fitted = kem.fit(model, both, inputs=petrol, stopping=LONG)
    a, b = fitted.params.regression[:, 0]
    assert b == pytest.approx(3.0 * a + 1.0, rel=1e-6)


def test_units_of_inputs_and_data_change_nothing_but_units():
    values, petrol = data(7)
    model = kem.LocalLevel() + kem.Regression()
    stopping = kem.Stopping(max_iterations=20)
    one = kem.fit(model, values, inputs=petrol, stopping=stopping)
    other = kem.fit(model, 100.0 * values + 7.0, inputs=1e3 * petrol, stopping=stopping)
    np.testing.assert_allclose(other.params.regression, 0.1 * one.params.regression, rtol=1e-6)
    np.testing.assert_allclose(other.params.level_cov, 1e4 * one.params.level_cov, rtol=1e-5)


def test_coefficients_that_do_not_move_are_those_of_least_squares():
    values, petrol = data(8)
    model = kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.TimeVaryingRegression(coefficient_cov=kem.Fixed(0))
    fitted = kem.fit(model, values, inputs=petrol)
    seen = values.notna().to_numpy()
    design = np.column_stack([np.ones(80), petrol])[seen]
    expected, *_ = np.linalg.lstsq(design, values[seen], rcond=None)
    np.testing.assert_allclose(fitted.smooth().smoothed_means[[0, 40]], np.tile(expected, (2, 1)), rtol=1e-8)


def test_walking_coefficients_have_statsmodels_likelihood_and_forecasts():
    values, petrol = data(9)
    options = {"exog": petrol.to_numpy(), "mle_regression": False, "use_exact_diffuse": True}
    theirs = sm.tsa.UnobservedComponents(values.to_numpy(), "llevel", **options)
    theirs.ssm.tolerance = 0.0
    model = kem.LocalLevel() + kem.TimeVaryingRegression(coefficient_cov=kem.Fixed(0))
    fitted = kem.fit(model, values, inputs=petrol, stopping=kem.Stopping(max_iterations=3))
    sizes = [fitted.params.observation_cov.item(), fitted.params.level_cov.item()]
    assert fitted.log_likelihood == pytest.approx(theirs.loglike(sizes), rel=1e-8)
    ahead = theirs.filter(sizes).get_forecast(2, exog=[[0.5], [-1.0]])
    ours = fitted.forecast(2, inputs=[0.5, -1.0])
    np.testing.assert_allclose(ours.means[:, 0], ahead.predicted_mean, rtol=1e-8)
    np.testing.assert_allclose(ours.sds[:, 0], np.asarray(ahead.se_mean), rtol=1e-7)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda v, u: kem.fit(kem.LocalLevel(), v, inputs=u),
            "inputs: expected none, because this model has no regress",
        ),
        (lambda v, u: kem.fit(kem.LocalLevel() + kem.Regression(), v), "inputs: expected at least one column"),
        (
            lambda v, u: kem.fit(kem.Regression() + kem.TimeVaryingRegression(), v, inputs=u),
            "components: regression_1 and regression_2 regress on the same inputs",
        ),
        (lambda v, u: kem.fit(kem.LocalLevel() + kem.Intervention("2050"), v), "at: expected a row with others before"),
        (lambda v, u: kem.fit(kem.LocalLevel() + kem.Intervention("1960"), v), "at: expected a row with others before"),
        (
            lambda v, u: kem.fit(kem.LocalLevel() + kem.Intervention("soon"), v),
            "at: expected a label like",
        ),
        (lambda v, u: kem.Intervention("1979", "stepp"), "kind 'stepp' is not known"),
        (lambda v, u: kem.Regression(observation_cov=1), "observation_cov: expected a form"),
    ],
)
def test_bad_input_is_refused(make, said):
    with pytest.raises(kem.InputError, match=said):
        make(*data(10))


def test_coefficients_that_walk_beside_an_intervention_are_of_the_given_inputs_alone():
    rng = np.random.default_rng(0)
    heat = rng.normal(size=40)
    values = 10.0 + np.linspace(1.0, 3.0, 40) * heat + 0.1 * rng.normal(size=40)
    values[20:] += 5.0
    model = kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.TimeVaryingRegression() + kem.Intervention(20)
    fitted = kem.fit(model, values, inputs=heat, stopping=kem.Stopping(max_iterations=20))
    assert fitted.params.step == pytest.approx(5.0, abs=0.2)
    assert fitted.smooth().smoothed_means.shape == (40, 2)


def moving_panel():
    rng = np.random.default_rng(11)
    series = []
    for n in (25, 18):
        u = rng.normal(size=(n, 2))
        paths = rng.normal(size=(n, 2)).cumsum(axis=0) * [0.3, 0.1]
        values = 4.0 + (paths * u).sum(axis=1, keepdims=True) + 0.2 * rng.normal(size=(n, 1))
        values[5] = np.nan
        series.append(kem.Observations(values, inputs=u))
    return kem.Panel(tuple(series), keys=("a", "b"))


def test_coefficients_move_in_every_series_of_a_panel():
    panel = moving_panel()
    model = kem.LocalLevel(level_cov=kem.Fixed(0.0)) + kem.TimeVaryingRegression()
    fitted = kem.fit(model, panel, stopping=kem.Stopping(max_iterations=8), method="plain")
    assert np.diff(fitted.em.log_likelihoods).min() > 0.0
    total, own = 0.0, {}
    for key in ("a", "b"):
        system = fitted.system_of(key)
        assert system.observation_matrix.shape == (panel[key].n_steps, 1, 3)
        dense = DenseGaussian(system, kem.Observations(panel[key].values))
        own[key] = dense.smoothed()
        total += own[key].log_likelihood
        frame = fitted.smooth(key).to_frame()
        np.testing.assert_allclose(frame["coefficient_1"], own[key].state_means[:, 1], rtol=1e-6, atol=1e-8)
    assert fitted.log_likelihood == pytest.approx(total, rel=1e-9)


def test_one_step_on_a_panel_is_the_brute_force_maximum():
    panel = moving_panel()
    model = kem.LocalLevel(level_cov=kem.Fixed(0.0)) + kem.TimeVaryingRegression()
    problem, _ = problem_of(model, *panel.series)
    params = model.start(problem.specification, panel)
    new = one_step(problem, params)
    # The noise of each coefficient: the mean of E[w w'] over the steps of both series.
    squares, count = np.zeros(2), 0
    for position, one in enumerate(panel):
        dense = DenseGaussian(params.of_series(position), kem.Observations(one.values)).smoothed()
        x, cov = dense.state_means, dense.state_cov
        for t in range(one.n_steps - 1):
            spread = cov[t + 1, :, t + 1] + cov[t, :, t] - cov[t + 1, :, t] - cov[t, :, t + 1]
            squares += ((x[t + 1] - x[t]) ** 2 + np.diagonal(spread))[1:]
            count += 1
    np.testing.assert_allclose(np.diagonal(new.transition_cov)[-2:], squares / count, rtol=1e-6)


def test_the_entries_of_a_panel_are_those_of_its_rows(tmp_path):
    panel = moving_panel()
    model = kem.LocalLevel(level_cov=kem.Fixed(0.0)) + kem.TimeVaryingRegression()
    fitted = kem.fit(model, panel, stopping=kem.Stopping(max_iterations=2))
    fitted.save(tmp_path / "fit.json")
    assert kem.load(tmp_path / "fit.json").log_likelihood == fitted.log_likelihood
    assert fitted.standard_errors.coefficient_1_cov.shape == (1, 1)
    assert fitted.components(series="a").shape[0] == 25
    with pytest.raises(kem.InputError, match=r"observations: expected 2 series, as the system has entries, got 1"):
        kem.kalman_filter(fitted.system, panel["a"])
    with pytest.raises(kem.InputError, match=r"row_starts: expected numbers that grow from 0 to the 43 entries"):
        replace(fitted.system, row_starts=(0, 25, 40))
    with pytest.raises(kem.InputError, match=r"observation_matrix: varies in time, and is known for the rows of"):
        fitted.simulate(5, series="a", inputs=np.ones((5, 2)))
