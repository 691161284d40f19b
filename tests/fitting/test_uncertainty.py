"""Standard errors: against the numerical curvature of the log-likelihood, and reasons where there are none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.learning import log_likelihood
from support.systems import random_observations

import kalman_em as kem
from kalman_em import Diagonal, Fixed, Full, Pattern, Scaled

TIGHT = kem.Stopping(max_iterations=3000, relative_tolerance=1e-13, parameter_tolerance=1e-9)


def curvature(height, at, steps):
    """Return minus the matrix of second differences of `height`."""
    n = len(at)
    result = np.zeros((n, n))
    moves = np.diag(steps)
    for i in range(n):
        for j in range(n):
            corners = [height(at + a * moves[i] + b * moves[j]) * a * b for a in (1, -1) for b in (1, -1)]
            result[i, j] = -sum(corners) / (4.0 * steps[i] * steps[j])
    return result


def test_the_level_model_of_the_nile():
    fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"], stopping=TIGHT)
    series = fitted.panel.series[0]

    def height(v):
        return log_likelihood(replace(fitted.system, transition_cov=v[:1, None], observation_cov=v[1:, None]), series)

    at = np.array([fitted.params.level_cov[0, 0], fitted.params.observation_cov[0, 0]])
    expected = np.sqrt(np.diagonal(np.linalg.inv(curvature(height, at, 3e-3 * at))))
    errors = fitted.standard_errors
    np.testing.assert_allclose([errors.level_cov[0, 0], errors["observation_cov"][0, 0]], expected, rtol=1e-3)
    assert errors.reasons == {}
    assert not np.isnan(errors.cov).any()


def test_shared_names_full_noise_and_gaps():
    """A name in F and b, a full R, a scaled Q, gaps and a learnt mean: every entry by the delta method."""
    rng = np.random.default_rng(2)
    system = kem.LinearGaussianSystem(
        transition_matrix=[[0.8, 0.2], [0.0, 0.7]],
        transition_offset=[0.3, 0.2],
        transition_cov=[[1.0, 0.4], [0.4, 0.8]],
        observation_matrix=[[1.0, 0.0], [0.5, 1.0]],
        observation_cov=[[1.0, 0.3], [0.3, 0.8]],
        initial_mean=np.zeros(2),
        initial_cov=np.eye(2),
    )
    one = random_observations(rng, system, 120, missing=0.2)
    model = kem.LinearGaussian(
        2,
        2,
        transition_matrix=Pattern([["a", 0.2], [0, "0.5*a+c"]]),
        transition_offset=Pattern(["c", "1-a"]),
        transition_cov=Scaled(system.transition_cov, name="q"),
        observation_matrix=Fixed(system.observation_matrix),
        observation_cov=Full(),
        initial_mean=Full(),
        initial_cov=Fixed(system.initial_cov),
    )
    fitted = kem.fit(model, one, stopping=TIGHT)
    at = fitted.system

    def built(v):
        a, c, q, r11, r21, r22, m1, m2 = v
        return replace(
            at,
            transition_matrix=np.array([[a, 0.2], [0.0, 0.5 * a + c]]),
            transition_offset=np.array([c, 1.0 - a]),
            transition_cov=q * system.transition_cov,
            observation_cov=np.array([[r11, r21], [r21, r22]]),
            initial_mean=np.array([m1, m2]),
        )

    p, R = fitted.params, at.observation_cov
    v = np.array([float(p.a), float(p.c), float(p.q), R[0, 0], R[1, 0], R[1, 1], *at.initial_mean])
    steps = np.array([1e-3, 1e-3, 1e-3 * v[2], *(3e-3 * np.abs(R).max() * np.ones(3)), 1e-2, 1e-2])
    cov = np.linalg.inv(curvature(lambda x: log_likelihood(built(x), one), v, steps))
    expected = np.sqrt(np.diagonal(cov))
    errors = fitted.standard_errors
    np.testing.assert_allclose([float(errors[name]) for name in "acq"], expected[:3], rtol=2e-3)
    np.testing.assert_allclose(errors.transition_matrix[0, 0], expected[0], rtol=2e-3)
    slope = np.array([0.5, 1.0])
    np.testing.assert_allclose(errors.transition_matrix[1, 1], np.sqrt(slope @ cov[:2, :2] @ slope), rtol=2e-3)
    np.testing.assert_allclose(errors.observation_cov[[0, 1, 1], [0, 0, 1]], expected[3:6], rtol=2e-3)
    np.testing.assert_allclose(errors.initial_mean, expected[6:], rtol=2e-3)
    assert errors.transition_matrix[0, 1] == errors.transition_matrix[1, 0] == 0.0
    assert set(errors.values) == set(p) - {"observation_matrix", "observation_offset", "initial_cov"}
    assert "observation_matrix" not in errors.values


def test_a_variance_at_zero_is_held_and_says_why():
    rng = np.random.default_rng(0)
    # Neighbours on opposite sides: there is no moving level in it.
    fitted = kem.fit(kem.LocalLevel(), 3.0 + np.tile([1.0, -1.0], 30) + 0.5 * rng.normal(size=60))
    errors = fitted.standard_errors
    assert fitted.params.level_cov[0, 0] == 0.0
    assert errors.level_cov[0, 0] == 0.0
    assert "edge" in errors.reasons["level_cov"]
    assert "observation_cov" not in errors.reasons
    # With the level held the rest is a sample: the standard error of a variance is R sqrt(2 / (n - 1)).
    R = fitted.params.observation_cov[0, 0]
    assert errors.observation_cov[0, 0] == pytest.approx(R * np.sqrt(2.0 / 59.0), rel=1e-3)
    assert "edge" in repr(errors)


def test_what_the_data_do_not_tell_has_none_and_says_why():
    """With F, H and Q free any basis of the states is as good; what no basis touches still has a standard error."""
    rng = np.random.default_rng(1)
    x = np.zeros(300)
    for t in range(299):
        x[t + 1] = 0.8 * x[t] + rng.normal()
    fitted = kem.fit(kem.LinearGaussian(1, 1), x + rng.normal(size=300), stopping=TIGHT)
    errors = fitted.standard_errors
    assert np.isinf(errors.observation_matrix).all()
    assert np.isinf(errors.transition_cov).all()
    assert "do not tell" in errors.reasons["observation_matrix"]
    assert 0.0 < errors.transition_matrix[0, 0] < 0.2
    assert set(errors.reasons) == {"observation_matrix", "transition_cov", "initial_mean"}


def test_the_summary_shows_them_when_asked():
    model = kem.LinearGaussian(
        1,
        1,
        transition_matrix=Fixed([[1.0]]),
        observation_matrix=Fixed([[1.0]]),
        transition_cov=Pattern([["q"]]),
        observation_cov=Diagonal(),
    )
    fitted = kem.fit(model, kem.datasets.load("nile")["flow"])
    plain, full = str(fitted.summary()), str(fitted.summary(standard_errors=True))
    shown = f"({float(fitted.standard_errors.q):.4g})"
    assert shown not in plain
    assert full.count(shown) == 2  # beside transition_cov and beside its name
    assert "standard errors" in full


def test_a_missing_name_is_told():
    errors = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"]).standard_errors
    with pytest.raises(kem.InputError, match="level_vov"):
        errors["level_vov"]
    with pytest.raises(AttributeError, match="level_vov"):
        _ = errors.level_vov


def test_a_variance_as_good_as_zero_is_held_and_leaves_the_others_sound():
    """Noise of 1e-14 beside that of a walk: the coefficient has the standard error of least squares on differences."""
    rng = np.random.default_rng(4)
    u = rng.normal(size=100)
    y = np.cumsum(rng.normal(size=100)) + 1.5 * u
    model, one = kem.LocalLevel() + kem.Regression(), kem.Stopping(max_iterations=1)
    fitted = kem.fit(model, y, inputs=u, start={"observation_cov": 1e-14, "level_cov": 1.0}, stopping=one)
    assert 0.0 < fitted.params.observation_cov.item() < 1e-13
    errors = fitted.standard_errors
    expected = np.sqrt(fitted.params.level_cov.item() / np.sum(np.diff(u) ** 2))
    np.testing.assert_allclose(errors.regression, [expected], rtol=1e-6)
    assert errors.observation_cov.item() == 0.0
    assert set(errors.reasons) == {"observation_cov"}


def test_loadings_without_noise_have_no_standard_error_and_say_so():
    rng = np.random.default_rng(5)
    x = np.cumsum(rng.normal(size=60))
    values = np.column_stack([2.0 * x, x + rng.normal(size=60)])
    model = kem.LinearGaussian(1, 2, observation_cov=Fixed(np.diag([0.0, 1.0])), transition_cov=Fixed(1.0))
    errors = kem.fit(model, values, stopping=kem.Stopping(max_iterations=5)).standard_errors
    assert np.isinf(errors.observation_matrix[0, 0])
    assert np.isfinite(errors.observation_matrix[1, 0])
    assert "without noise" in errors.reasons["observation_matrix"]
