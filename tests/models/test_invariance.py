"""Fits under changes of units, origin, order and bookkeeping: what must follow follows, the rest stays."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from support.learning import log_likelihood
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em import BlockDiagonal, Diagonal, Diffuse, Fixed, Full, Pattern, Stationary

TIGHT = kem.Stopping(max_iterations=3000, relative_tolerance=1e-13, parameter_tolerance=1e-9)
SCALES = [1e-9, 1e-3, 1e6, 1e12]


@cache
def two_columns():
    """Return two noisy random walks with gaps, of standard deviation about 1, (120, 2)."""
    rng = np.random.default_rng(12)
    walk = np.cumsum(0.3 * rng.normal(size=(120, 2)) @ np.array([[1.0, 0.4], [0.0, 0.8]]), axis=0)
    values = walk + 0.5 * rng.normal(size=(120, 2))
    values[[10, 11, 40]] = np.nan
    values[[3, 60], [0, 1]] = np.nan
    values.setflags(write=False)
    return values


@cache
def three_columns():
    """Return a stationary series of two states seen by three sensors, with gaps, (150, 3)."""
    rng = np.random.default_rng(4)
    F = np.array([[0.8, 0.3], [-0.3, 0.6]])
    x, rows = np.zeros(2), []
    for _ in range(150):
        rows.append(x)
        x = F @ x + rng.normal(size=2)
    values = np.array(rows) @ np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]]) + 0.7 * rng.normal(size=(150, 3))
    values[[20, 21]] = np.nan
    values[[7, 90], [2, 0]] = np.nan
    values.setflags(write=False)
    return values


MODELS = {
    "LocalLevel": (kem.LocalLevel(), two_columns),
    "LocalLevel, one column": (kem.LocalLevel(), lambda: two_columns()[:, :1]),
    "LocalLevel, diagonal": (kem.LocalLevel(level_cov=Diagonal(), observation_cov=Diagonal()), two_columns),
    "LocalLinearTrend": (kem.LocalLinearTrend(), lambda: np.cumsum(two_columns()[12:40, :1], axis=0)),
    "LinearGaussian": (kem.LinearGaussian(2, 3), three_columns),
    "LinearGaussian, offset": (kem.LinearGaussian(2, 3, observation_offset=Full()), three_columns),
    "LinearGaussian, known H": (
        kem.LinearGaussian(2, 2, observation_matrix=Fixed(np.eye(2)), initial_cov=Diffuse()),
        two_columns,
    ),
    "LinearGaussian, before": (
        kem.LinearGaussian(2, 2, observation_matrix=Fixed(np.eye(2)), initial_cov=Fixed(0), initial_step="before"),
        two_columns,
    ),
    "LinearGaussian, stationary": (kem.LinearGaussian(2, 3, initial_cov=Stationary()), three_columns),
    "LinearGaussian, mixed start": (
        kem.LinearGaussian(
            3,
            3,
            transition_matrix=Pattern([["a", "b", 0.0], ["c", "d", 0.0], [0.0, 0.0, 1.0]]),
            transition_cov=Diagonal(),
            observation_matrix=Fixed([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]),
            observation_cov=Diagonal(),
            initial_cov=BlockDiagonal([(Stationary(), 2), (Diffuse(), 1)]),
        ),
        three_columns,
    ),
    "SmoothTrend + Seasonal": (kem.SmoothTrend() + kem.Seasonal(6), lambda: two_columns()[12:72, :1]),
}
# How a parameter grows when the data and, with a known H, the states do.
POWERS = {
    "level_cov": 2,
    "slope_cov": 2,
    "seasonal_cov": 2,
    "transition_cov": 2,
    "observation_cov": 2,
    "initial_cov": 2,
    "initial_mean": 1,
    "transition_offset": 1,
    "observation_offset": 1,
    "transition_matrix": 0,
    "observation_matrix": 0,
    **dict.fromkeys("abcd", 0),
}


def power(fitted, name):
    """Return the exponent; with a free H the states keep their size and H carries the units."""
    if fitted.specification.is_free("observation_matrix"):
        is_of_state = name.startswith(("transition", "initial"))
        return 1 if name == "observation_matrix" else 0 if is_of_state else POWERS[name]
    return POWERS[name]


# Some of these converge by it, the others run into the limit.
LOOSE = kem.Stopping(max_iterations=99, relative_tolerance=1e-2, parameter_tolerance=0.1)


@cache
def fit_of(name, scale=1.0):
    model, data = MODELS[name]
    return kem.fit(model, scale * data(), stopping=LOOSE, method="plain")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", MODELS)
def test_units_of_the_data(name, scale):
    """No absolute floor, tolerance or start anywhere: fit(c y) = c fit(y), iteration for iteration."""
    plain, scaled = fit_of(name), fit_of(name, scale)
    assert scaled.em.n_iterations == plain.em.n_iterations
    assert scaled.em.stop_reason == plain.em.stop_reason
    for parameter, value in plain.params.items():
        expected = scale ** power(plain, parameter) * value
        np.testing.assert_allclose(
            scaled.params[parameter], expected, rtol=0.0, atol=1e-6 * np.abs(expected).max(), err_msg=parameter
        )
    # An observation that a diffuse element takes up has no density in the units of the data.
    n_diffuse = plain.system.initial_diffuse.sum()
    expected = plain.log_likelihood - (plain.n_observed - n_diffuse) * np.log(scale)
    assert scaled.log_likelihood == pytest.approx(expected, abs=1e-6, rel=1e-12)


def test_some_of_the_fits_above_stop_because_they_converged():
    stopped = [fit_of(name).em.stop_reason.is_converged for name in MODELS]
    assert 0 < sum(stopped) < len(stopped)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["LocalLevel, one column", "LocalLevel, diagonal"])
def test_units_of_the_data_by_default(name, scale):
    """With leaps: on the plateau at the end rounding decides over an iteration or two, and nothing else."""
    model, data = MODELS[name]
    plain, scaled = kem.fit(model, data()), kem.fit(model, scale * data())
    assert plain.em.stop_reason.is_converged
    assert scaled.em.stop_reason.is_converged
    assert abs(scaled.em.n_iterations - plain.em.n_iterations) <= 10
    for parameter in ("level_cov", "observation_cov"):
        np.testing.assert_allclose(scaled.params[parameter] / scale**2, plain.params[parameter], rtol=1e-4)


@pytest.mark.parametrize("unit", [1e-9, 1e6, 1e9])
@pytest.mark.parametrize(
    "name",
    [
        "LocalLevel",
        "LocalLevel, diagonal",
        "LinearGaussian",
        "LinearGaussian, offset",
        "LinearGaussian, stationary",
    ],
)
def test_units_of_one_column(name, unit):
    model, data = MODELS[name]
    units = np.ones(data().shape[1])
    units[1] = unit
    plain = fit_of(name)
    scaled = kem.fit(model, data() * units, stopping=LOOSE, method="plain")
    assert scaled.em.n_iterations == plain.em.n_iterations
    back = scaled.params.observation_cov / np.outer(units, units)
    np.testing.assert_allclose(back, plain.params.observation_cov, rtol=0.0, atol=1e-6 * np.abs(back).max())
    smooth = [one.smooth().smoothed_means @ one.system.observation_matrix.T for one in (plain, scaled)]
    np.testing.assert_allclose(smooth[1] / units, smooth[0], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("name", ["LocalLevel", "LocalLinearTrend", "LinearGaussian, offset"])
def test_origin_of_the_data(name):
    model, data = MODELS[name]
    plain = fit_of(name)
    moved = kem.fit(model, data() + 1e6, stopping=LOOSE, method="plain")
    assert moved.em.n_iterations == plain.em.n_iterations
    for parameter, value in plain.params.items():
        expected = value + 1e6 if parameter == "observation_offset" else value
        size = np.abs(value).max(initial=0.1)
        np.testing.assert_allclose(moved.params[parameter], expected, rtol=0.0, atol=1e-5 * size, err_msg=parameter)
    assert moved.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-5)


@pytest.mark.parametrize("name", ["LocalLevel", "LinearGaussian", "LinearGaussian, offset"])
def test_order_of_the_sensors(name):
    model, data = MODELS[name]
    order = np.roll(np.arange(data().shape[1]), 1)
    plain = fit_of(name)
    permuted = kem.fit(model, data()[:, order], stopping=LOOSE, method="plain")
    assert permuted.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(
        permuted.params.observation_cov, plain.params.observation_cov[np.ix_(order, order)], rtol=0.0, atol=1e-5
    )
    smooth = [one.smooth().smoothed_means @ one.system.observation_matrix.T for one in (plain, permuted)]
    np.testing.assert_allclose(smooth[1], smooth[0][:, order], rtol=0.0, atol=1e-4)


def halves():
    values = two_columns()
    return kem.Observations(values[:50]), kem.Observations(values[50:])


def test_a_panel_is_the_sum_of_its_series():
    fitted = kem.fit(kem.LocalLevel(), kem.Panel(halves()))
    assert fitted.log_likelihood == pytest.approx(log_likelihood(fitted.system, *halves()), rel=1e-12)
    # At its optimum neither half is at its own.
    alone = [kem.fit(kem.LocalLevel(), one).log_likelihood for one in halves()]
    shared = [log_likelihood(fitted.system, one) for one in halves()]
    assert all(own > common for own, common in zip(alone, shared, strict=True))


def test_the_order_of_the_series_does_not_matter():
    first, second = halves()
    one = kem.fit(kem.LocalLevel(), kem.Panel([first, second]), stopping=TIGHT)
    other = kem.fit(kem.LocalLevel(), kem.Panel([second, first]), stopping=TIGHT)
    assert other.log_likelihood == pytest.approx(one.log_likelihood, abs=1e-7)
    np.testing.assert_allclose(other.params.level_cov, one.params.level_cov, rtol=1e-3)


@pytest.mark.parametrize(
    "model",
    [
        kem.LocalLevel(),
        kem.LinearGaussian(
            2, 2, observation_matrix=Fixed(np.eye(2)), initial_mean=Fixed(0), initial_cov=Fixed(np.eye(2))
        ),
    ],
    ids=["LocalLevel", "LinearGaussian"],
)
def test_copies_of_a_series_have_the_same_maximum(model):
    """Twice the data, the same estimates, twice the log-likelihood: no 1/N is lost between the series."""
    one = kem.Observations(two_columns())
    single = kem.fit(model, one, stopping=TIGHT)
    copies = kem.fit(model, kem.Panel([one, one]), stopping=TIGHT)
    assert copies.log_likelihood == pytest.approx(2.0 * single.log_likelihood, abs=1e-6)
    for name in single.params:
        np.testing.assert_allclose(copies.params[name], single.params[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_missing_rows_at_the_end_say_nothing():
    values = two_columns()
    padded = np.vstack([values, np.full((40, 2), np.nan)])
    fitted = kem.fit(kem.LocalLevel(), values, stopping=TIGHT)
    assert log_likelihood(fitted.system, kem.Observations(padded)) == pytest.approx(fitted.log_likelihood, rel=1e-13)
    again = kem.fit(kem.LocalLevel(), padded, stopping=TIGHT)
    assert again.log_likelihood == pytest.approx(fitted.log_likelihood, abs=1e-7)
    np.testing.assert_allclose(again.params.level_cov, fitted.params.level_cov, rtol=1e-4)
    np.testing.assert_allclose(again.params.observation_cov, fitted.params.observation_cov, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_trailing_rows_of_nan_are_rows_that_are_not_there(seed):
    rng = np.random.default_rng(seed)
    system = random_system(rng, 3, 2, 12)
    one = random_observations(rng, system, 12, missing=0.3)
    padded = kem.Observations(np.vstack([one.values, np.full((3, 2), np.nan)]))
    filtered, longer = kem.kalman_filter(system, one), kem.kalman_filter(system, padded)
    assert longer.log_likelihood == pytest.approx(filtered.log_likelihood, rel=1e-14)
    assert np.array_equal(longer.filtered_means[:12], filtered.filtered_means)
    smoothed, further = kem.rts_smoother(system, filtered), kem.rts_smoother(system, longer)
    np.testing.assert_allclose(further.smoothed_means[:12], smoothed.smoothed_means, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(further.smoothed_covs[:12], smoothed.smoothed_covs, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(further.lag_one_covs[:11], smoothed.lag_one_covs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["LocalLevel", "LocalLevel, one column", "LinearGaussian, known H"])
def test_a_fit_from_its_own_answer_converges_at_once(name):
    model, data = MODELS[name]
    # The answer itself, not the point at which the default calls it near enough.
    first = kem.fit(model, data(), stopping=kem.Stopping(relative_tolerance=1e-13, parameter_tolerance=1e-7))
    assert first.em.stop_reason.is_converged
    learnt = {
        x: value
        for x, value in first.params.items()
        if first.specification.is_free(first.specification.slots[x].parameter)
    }
    again = kem.fit(model, data(), start=learnt)
    assert again.em.stop_reason.is_converged
    assert again.em.n_iterations < 10
    assert again.log_likelihood == pytest.approx(first.log_likelihood, abs=1e-6)
    for parameter in first.params:
        np.testing.assert_allclose(again.params[parameter], first.params[parameter], rtol=1e-5, atol=1e-6)
    refit = first.refit(data())
    assert refit.log_likelihood == pytest.approx(first.log_likelihood, abs=1e-5)


def test_a_change_of_basis_of_the_states_changes_nothing_that_is_seen():
    """Start EM in two bases of the states: the likelihoods are equal, step by step."""
    rng = np.random.default_rng(8)
    system = random_system(rng, 2, 3, 30)
    one = random_observations(rng, system, 60, missing=0.1)
    T = np.array([[2.0, 1.0], [-0.5, 3.0]])
    back = np.linalg.inv(T)
    start = {
        "transition_matrix": system.transition_matrix,
        "transition_cov": system.transition_cov,
        "observation_matrix": system.observation_matrix,
        "observation_cov": system.observation_cov,
        "initial_mean": system.initial_mean,
    }
    turned = start | {
        "transition_matrix": T @ system.transition_matrix @ back,
        "transition_cov": T @ system.transition_cov @ T.T,
        "observation_matrix": system.observation_matrix @ back,
        "initial_mean": T @ system.initial_mean,
    }
    stopping = kem.Stopping(max_iterations=60, relative_tolerance=0.0, parameter_tolerance=0.0)
    P = system.initial_cov
    one_way = kem.fit(kem.LinearGaussian(2, 3, initial_cov=Fixed(P)), one, start=start, stopping=stopping)
    other_way = kem.fit(kem.LinearGaussian(2, 3, initial_cov=Fixed(T @ P @ T.T)), one, start=turned, stopping=stopping)
    np.testing.assert_allclose(other_way.em.log_likelihoods, one_way.em.log_likelihoods, rtol=1e-9)
