"""Rows beyond the data where the observations vary in time: coefficients that move, and noise that is reported."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem
from kalman_em import Diagonal, Fixed, Known, Scaled

FEW = kem.Stopping(max_iterations=6)
MODEL = kem.LocalLevel(level_cov=Diagonal()) + kem.TimeVaryingRegression(coefficient_cov=Diagonal())


def table(n, p=2, seed=0, start="2020-01-01"):
    rng = np.random.default_rng(seed)
    index = pd.date_range(start, periods=n, freq="D", name="day")
    names = ["a", "b", "c"][:p]
    values = pd.DataFrame(rng.normal(size=(n, p)).cumsum(axis=0), index=index, columns=names)
    inputs = pd.DataFrame({"heat": rng.normal(size=n), "rain": rng.normal(size=n)}, index=index)
    values += np.outer(inputs["heat"], [1.0, -2.0, 0.5][:p])
    return values, inputs


def as_missing(fitted, model, values, inputs, h):
    """Return the moments of the last h rows, by the smoother of a series in which they are missing."""
    padded = values.copy()
    padded.iloc[-h:] = np.nan
    start = dict(fitted.params)
    whole = kem.fit(model, padded, inputs=inputs, start=start, stopping=kem.Stopping(max_iterations=1))
    system = whole.system.replaced(
        transition_cov=fitted.system.transition_cov, observation_cov=fitted.system.observation_cov
    )
    seen = kem.kalman_filter(system, kem.Observations(padded.to_numpy(), inputs=inputs.to_numpy()))
    H = system.observation_matrix[-h:]
    means = np.einsum("hpd,hd->hp", H, seen.predicted_means[-h:])
    return means, H @ seen.predicted_covs[-h:] @ np.swapaxes(H, 1, 2) + system.observation_cov


@pytest.mark.parametrize("p", [1, 2])
def test_a_forecast_by_future_inputs_is_that_of_missing_rows(p):
    values, inputs = table(40, p)
    fitted = kem.fit(MODEL, values[:36], inputs=inputs[:36], stopping=FEW)
    ahead = fitted.forecast(4, inputs=inputs[36:])
    means, covs = as_missing(fitted, MODEL, values, inputs, 4)
    np.testing.assert_allclose(ahead.means, means, rtol=1e-9)
    np.testing.assert_allclose(ahead.covs, covs, rtol=1e-9)
    assert ahead.index[0] == values.index[36]
    # Longer labelled inputs are chosen from by label, and an array has no labels to check.
    np.testing.assert_array_equal(fitted.forecast(4, inputs=inputs).means, ahead.means)
    np.testing.assert_array_equal(fitted.forecast(4, inputs=inputs[36:].to_numpy()).means, ahead.means)


def test_inputs_ahead_are_checked():
    values, inputs = table(40)
    fitted = kem.fit(MODEL, values[:36], inputs=inputs[:36], stopping=FEW)
    with pytest.raises(kem.InputError, match=r"inputs: expected shape \(4, 2\), one row a predicted step, got none"):
        fitted.forecast(4)
    with pytest.raises(kem.InputError, match=r"inputs: .*2020-02-0"):
        fitted.forecast(4, inputs=inputs[35:39])
    with pytest.raises(kem.InputError, match=r"inputs: expected .*\(4, 2\)"):
        fitted.forecast(4, inputs=np.zeros((4, 3)))
    with pytest.raises(kem.InputError, match=r"inputs: .*expected shape \(2, 2\).*got none"):
        fitted.extend(values[36:38])


def test_common_noise_and_a_known_step_stand_beside_coefficients_that_move():
    values, inputs = table(40)
    model = (
        kem.LocalLevel(level_cov=kem.LowRank(1), observation_cov=Diagonal())
        + kem.TimeVaryingRegression(coefficient_cov=Diagonal())
        + kem.Intervention(values.index[20])
    )
    fitted = kem.fit(model, values[:36], inputs=inputs[:36], stopping=FEW)
    means, covs = fitted.forecast(4, inputs=inputs[36:]).means, fitted.forecast(4, inputs=inputs[36:]).covs
    longer = fitted.extend(values[36:].where(values[36:] > np.inf), inputs=inputs[36:])
    filtered = longer.filter()
    H, D = longer.system.observation_matrix[36:], longer.system.observation_input
    step = np.ones((4, 1))
    expected = np.einsum("hpd,hd->hp", H, filtered.predicted_means[36:]) + step @ D[:, 2:].T
    np.testing.assert_allclose(means, expected, rtol=1e-9)
    seen = H @ filtered.predicted_covs[36:] @ np.swapaxes(H, 1, 2) + longer.system.observation_cov
    np.testing.assert_allclose(covs, seen, rtol=1e-9)


def test_one_series_of_a_panel_is_forecast_and_goes_on():
    (first, u), (second, v) = table(30, seed=1), table(24, seed=2)
    series = [kem.Observations(one.to_numpy()[:20], inputs=x.to_numpy()[:20]) for one, x in ((first, u), (second, v))]
    fitted = kem.fit(MODEL, kem.Panel(series, keys=("x", "y")), stopping=FEW)
    ahead = fitted.forecast(4, inputs=v[20:].to_numpy(), series="y")
    longer = fitted.extend(second[20:].to_numpy(), inputs=v[20:].to_numpy(), series="y")
    assert longer.system.row_starts == longer.specification.row_starts == (0, 20, 44)
    np.testing.assert_array_equal(longer.system_of("x").observation_matrix, fitted.system_of("x").observation_matrix)
    one = kem.kalman_filter(longer.system_of("y"), longer.panel["y"])
    H = longer.system_of("y").observation_matrix[20]
    np.testing.assert_allclose(ahead.means[0], H @ one.predicted_means[20], rtol=1e-9)
    again = fitted.extend(first[20:].to_numpy(), inputs=u[20:].to_numpy(), series="x")
    total = kem.kalman_filter(again.system_of("x"), again.panel["x"]).log_likelihood
    total += kem.kalman_filter(again.system_of("y"), again.panel["y"]).log_likelihood
    assert again.log_likelihood == pytest.approx(total, rel=1e-12)


REPORTED = np.random.default_rng(5).uniform(0.5, 2.0, size=(14, 2))


@pytest.mark.parametrize("form", [Known(REPORTED[:10]), Scaled(Known(REPORTED[:10]))], ids=["known", "scaled"])
@pytest.mark.parametrize("key", ["x", "y"])
def test_one_series_of_a_panel_with_reported_noise_goes_on(form, key, tmp_path):
    values = [table(14, seed=seed)[0].to_numpy() for seed in (3, 4)]
    panel = kem.Panel([kem.Observations(one[:10]) for one in values], keys=("x", "y"))
    fitted = kem.fit(kem.LocalLevel(observation_cov=form), panel, stopping=FEW)
    own = values["xy".index(key)]
    longer = fitted.extend(own[10:], series=key, observation_cov=REPORTED[10:])
    factor = fitted.system.observation_cov[0, 0, 0] / REPORTED[0, 0]
    np.testing.assert_allclose(
        longer.system_of(key).observation_cov, factor * REPORTED[:, :, None] * np.eye(2), rtol=1e-12
    )
    other = "y" if key == "x" else "x"
    assert longer.system_of(other).observation_cov.shape == (10, 2, 2)
    ahead = fitted.forecast(2, series=key, observation_cov=REPORTED[10:12])
    filtered = kem.kalman_filter(longer.system_of(key), longer.panel[key])
    np.testing.assert_allclose(ahead.means[0], filtered.predicted_means[10], rtol=1e-9)
    twice = longer.extend(own[:1], series=other, observation_cov=REPORTED[:1])
    assert twice.log_likelihood != longer.log_likelihood
    assert twice.panel[other].n_steps == 11
    # It is a fit like any other: saved, and learnt from anew.
    longer.save(tmp_path / "fit.json")
    assert kem.load(tmp_path / "fit.json").log_likelihood == longer.log_likelihood
    anew = longer.refit(longer.panel, stopping=FEW)
    assert anew.em.log_likelihoods[0] == pytest.approx(longer.log_likelihood, rel=1e-12)


def test_a_ragged_panel_is_learnt_with_the_noise_of_all_of_its_rows():
    values = [table(n, seed=n)[0].to_numpy() for n in (12, 9)]
    reported = np.random.default_rng(6).uniform(0.5, 2.0, size=(21, 2))
    model = kem.LocalLevel(level_cov=Fixed(np.eye(2)), observation_cov=Known(reported))
    fitted = kem.fit(model, kem.Panel([kem.Observations(one) for one in values]), stopping=FEW)
    alone = 0.0
    for one, own in zip(values, (reported[:12], reported[12:]), strict=True):
        alone += kem.fit(kem.LocalLevel(level_cov=Fixed(np.eye(2)), observation_cov=Known(own)), one).log_likelihood
    assert fitted.log_likelihood == pytest.approx(alone, rel=1e-12)
    hidden = reported.copy()
    hidden[13, 1] = np.nan
    with pytest.raises(kem.InputError, match=r"observation_cov: Known is NaN beside a reading"):
        kem.fit(kem.LocalLevel(observation_cov=Known(hidden)), kem.Panel([kem.Observations(one) for one in values]))
