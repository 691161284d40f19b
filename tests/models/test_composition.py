"""Sums of components: their matrices, names and likelihoods, beside statsmodels; what cannot be summed is refused."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.linalg import block_diag

import kalman_em as kem
from kalman_em.inference.rows import stack_rows
from kalman_em.models.problem import LinearGaussianProblem


def panel_of(values):
    values = np.asarray(values, dtype=float)
    return kem.Panel([kem.Observations(values.reshape(len(values), -1))])


def pattern(seed, n_steps=80, period=4, noise=0.3):
    """Return a trend with a season and a gap."""
    rng = np.random.default_rng(seed)
    trend = 20.0 + np.cumsum(0.1 + 0.2 * rng.normal(size=n_steps))
    wave = 2.0 * np.cos(2.0 * np.pi * np.arange(n_steps) / period) + 0.7 * (np.arange(n_steps) % period == 1)
    values = trend + wave + noise * rng.normal(size=n_steps)
    values[[7, 8, 30]] = np.nan
    return values


def system_of(model, values, **params):
    """Return the system of `model` for the data at the named parameter values."""
    panel = panel_of(values)
    specification = model.specify(panel)
    begun = model.start(specification, panel)
    full = {name: getattr(begun, name) for name in specification.forms if getattr(begun, name) is not None}
    for name, value in params.items():
        slot = specification.slots[name]
        full[slot.parameter] = slot.put(full[slot.parameter], np.asarray(value, dtype=float))
    return specification.projected(full)


def log_likelihood(system, values):
    return kem.kalman_filter(system, panel_of(values).series[0]).log_likelihood


def test_a_sum_stacks_the_states_and_the_noises_of_its_parts():
    values = pattern(0)
    model = kem.LocalLinearTrend() + kem.Seasonal(4)
    assert model == kem.Structural((kem.LocalLinearTrend(), kem.Seasonal(4)))
    specification = model.specify(panel_of(values))
    assert specification.state_names == ("level", "slope", "seasonal_cos_1", "seasonal_sin_1", "seasonal_cos_2")
    system = system_of(
        model, values, level_cov=[[2.0]], slope_cov=[[3.0]], seasonal_cov=[[5.0]], observation_cov=[[7.0]]
    )
    expected = block_diag([[1.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [-1.0, 0.0]], [[-1.0]])
    np.testing.assert_allclose(system.transition_matrix, expected, atol=1e-15)
    assert system.observation_matrix.tolist() == [[1.0, 0.0, 1.0, 0.0, 1.0]]
    assert np.diagonal(system.transition_cov).tolist() == [2.0, 3.0, 5.0, 5.0, 5.0]
    assert np.count_nonzero(system.transition_cov) == 5
    assert system.noise_selection is None
    assert specification.n_parameters == 4
    assert dict(specification.components) == {"trend": slice(0, 2), "seasonal": slice(2, 5)}


def test_several_columns_have_states_of_their_own_that_noises_join():
    values = np.column_stack([pattern(1), pattern(2)])
    model = kem.LocalLevel() + kem.Seasonal(4, harmonics=1)
    specification = model.specify(panel_of(values))
    assert specification.state_names[:4] == ("level.y1", "level.y2", "seasonal_cos_1.y1", "seasonal_cos_1.y2")
    cov = np.array([[2.0, 1.0], [1.0, 3.0]])
    system = system_of(model, values, seasonal_cov=cov)
    np.testing.assert_array_equal(system.transition_cov[2:4, 2:4], cov)
    np.testing.assert_array_equal(system.transition_cov[4:6, 4:6], cov)
    assert not system.transition_cov[2:4, 4:6].any()
    state = np.array([10.0, 20.0, 1.0, 2.0, 5.0, 6.0])
    np.testing.assert_allclose(system.observation_matrix @ state, [11.0, 22.0])
    # A quarter of a turn: what the sine was, the cosine becomes, column by column.
    np.testing.assert_allclose((system.transition_matrix @ state)[2:], [5.0, 6.0, -1.0, -2.0], atol=1e-12)


def test_sums_are_flat_and_their_parts_told_apart():
    left, right = kem.LocalLevel() + kem.Seasonal(7), kem.Seasonal(12, harmonics=2)
    assert (
        left + right == kem.LocalLevel() + (kem.Seasonal(7) + right) == sum([kem.LocalLevel(), kem.Seasonal(7), right])
    )
    names = list((left + right).specify(panel_of(pattern(3))).slots)
    assert names == ["level_cov", "seasonal_7_cov", "seasonal_12_cov", "observation_cov"]
    alike = kem.LocalLevel() + kem.Seasonal(7.1, harmonics=1) + kem.Seasonal(7.2, harmonics=1)
    assert list(alike.specify(panel_of(pattern(3))).slots)[1:3] == ["seasonal_1_cov", "seasonal_2_cov"]


CASES = {
    "smooth trend": (kem.SmoothTrend(), "strend", {}, ["observation_cov", "slope_cov"]),
    "level and trigonometric": (
        kem.LocalLevel() + kem.Seasonal(4),
        "llevel",
        {"freq_seasonal": [{"period": 4}]},
        ["observation_cov", "level_cov", "seasonal_cov"],
    ),
    "trend and dummies": (
        kem.LocalLinearTrend() + kem.Seasonal(4, kind="dummy"),
        "lltrend",
        {"seasonal": 4},
        ["observation_cov", "level_cov", "slope_cov", "seasonal_cov"],
    ),
    "two seasons": (
        kem.SmoothTrend() + kem.Seasonal(4) + kem.Seasonal(365.25 / 30, harmonics=2),
        "strend",
        {"freq_seasonal": [{"period": 4}, {"period": 365.25 / 30, "harmonics": 2}]},
        ["observation_cov", "slope_cov", "seasonal_4_cov", "seasonal_12_cov"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_likelihood_is_that_of_statsmodels(name):
    model, level, options, names = CASES[name]
    values = pattern(4)
    theirs = sm.tsa.UnobservedComponents(values, level, use_exact_diffuse=True, **options)
    theirs.ssm.tolerance = 0.0
    rng = np.random.default_rng(5)
    for _ in range(3):
        variances = np.exp(rng.normal(-1.0, 1.0, size=len(names)))
        params = {n: [[v]] for n, v in zip(names, variances, strict=True)}
        ours = log_likelihood(system_of(model, values, **params), values)
        assert ours == pytest.approx(theirs.loglike(variances), rel=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_em_climbs_to_where_the_score_vanishes(name):
    model, values = CASES[name][0], pattern(6)
    fitted = kem.fit(model, values, stopping=kem.Stopping(max_iterations=3000))
    assert fitted.em.stop_reason.is_converged
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9 * abs(fitted.log_likelihood)
    for parameter, value in fitted.params.items():
        if not np.any(value):
            continue  # a variance at 0 lies on its edge
        ends = [
            log_likelihood(system_of(model, values, **{**fitted.params, parameter: value * factor}), values)
            for factor in (np.exp(-1e-4), np.exp(1e-4))
        ]
        # Half a logarithm of a variance has a standard error of about 1 / sqrt(T): the slope is small beside it.
        assert abs(ends[1] - ends[0]) / 2e-4 < 2e-2


def test_the_m_step_for_equal_noises_is_the_maximum():
    """The covariance that copies share raises the expected log-likelihood over any other by the M-step."""
    values = np.column_stack([pattern(7), pattern(8)])
    model, panel = kem.LocalLevel() + kem.Seasonal(4), panel_of(values)
    specification = model.specify(panel)
    problem = LinearGaussianProblem(specification, stack_rows(panel.series), np.ones(2))
    system = model.start(specification, panel)
    expectations, _ = problem.e_step(system)
    best = problem.m_step(system, expectations)
    height = problem.expected_gain(system, best, expectations)
    rng = np.random.default_rng(9)
    for _ in range(20):
        moved = best.transition_cov.copy()
        shift = 0.05 * rng.normal(size=(2, 2)) * np.sqrt(moved[2, 2] * moved[3, 3])
        moved[2:, 2:] += np.kron(np.eye(3), shift + shift.T)
        assert problem.expected_gain(system, best.replaced(transition_cov=moved), expectations) < height


def test_units_and_origin_change_nothing_but_units():
    values = pattern(10)
    model = kem.LocalLinearTrend() + kem.Seasonal(4)
    stopping = kem.Stopping(max_iterations=30)
    one = kem.fit(model, values, stopping=stopping)
    other = kem.fit(model, 50.0 + 1e3 * values, stopping=stopping)
    for name, value in one.params.items():
        np.testing.assert_allclose(other.params[name], 1e6 * value, rtol=1e-6)


def test_forecasts_go_on_with_the_season():
    values = pattern(11, noise=0.01)
    ahead = kem.fit(kem.LocalLevel() + kem.Seasonal(4, seasonal_cov=kem.Fixed(0)), values).forecast(8)
    np.testing.assert_allclose(ahead.means[:4], ahead.means[4:], atol=1e-9)
    assert np.ptp(ahead.means[:4]) > 2.0


def test_what_cannot_be_summed_is_refused():
    with pytest.raises(kem.InputError, match="LocalLevel and LocalLinearTrend each bring a level"):
        kem.LocalLevel() + kem.LocalLinearTrend()
    with pytest.raises(
        kem.InputError, match=r"observation_cov: the parts of a sum .* Diagonal.* and as Isotropic.*once"
    ):
        kem.LocalLevel(observation_cov=kem.Diagonal()) + kem.Seasonal(4, observation_cov=kem.Isotropic())
    with pytest.raises(TypeError):
        kem.LocalLevel() + 3
    with pytest.raises(kem.InputError, match=r"expected models that can be added, .* got the class Seasonal; call it"):
        kem.Structural((kem.LocalLevel(), kem.Seasonal))
    with pytest.raises(kem.InputError, match="components: expected models"):
        kem.Structural(())
    twice = kem.LocalLevel() + kem.Seasonal(7) + kem.Seasonal(14)
    with pytest.raises(kem.InputError, match="'seasonal_7' and 'seasonal_14' both have a wave of 7 steps"):
        kem.fit(twice, pattern(12))
    with pytest.raises(kem.InputError, match="initial_cov: in a sum every part starts diffuse"):
        kem.fit(kem.LocalLevel(initial_cov=kem.Full()) + kem.Seasonal(4), pattern(12))
    assert (kem.LocalLevel(observation_cov=kem.Diagonal()) + kem.Seasonal(4)).observation_cov == kem.Diagonal()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"period": 1}, "period: expected a number of steps of at least 2, got 1"),
        ({"period": "7"}, "period: expected a number of steps of at least 2, got '7'"),
        ({"period": np.nan}, "period: expected a number"),
        ({"period": 7, "harmonics": 4}, "harmonics: expected a whole number from 1 to 3, half the period of 7, got 4"),
        ({"period": 7, "harmonics": 0}, "harmonics: expected a whole number from 1 to 3"),
        ({"period": 7.5, "kind": "dummy"}, "period: expected a whole number of steps for kind 'dummy', got 7.5"),
        ({"period": 7, "harmonics": 2, "kind": "dummy"}, "harmonics: expected none for kind 'dummy', got 2"),
        ({"period": 7, "kind": "dumy"}, "kind 'dumy' is not known"),
        ({"period": 7, "seasonal_cov": "full"}, "seasonal_cov: expected a form"),
        ({"period": 7, "seasonal_cv": kem.Full()}, "parameter 'seasonal_cv' is not known"),
    ],
)
def test_bad_seasons_are_refused(options, said):
    with pytest.raises(kem.InputError, match=said):
        kem.Seasonal(**options)


@pytest.mark.parametrize(("period", "n_states"), [(2, 1), (4, 3), (7, 6), (365.25 / 7, 52)])
def test_a_whole_season_has_a_state_less_than_steps(period, n_states):
    assert kem.Seasonal(period).component("seasonal", None).state_dim == n_states
