"""Slow climbs: leaps reach the limit that EM alone creeps towards, and never lower the likelihood."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.models.change import coefficient_units
from kalman_em.models.packing import packed, unpacked

CO2_YEARS = kem.datasets.load("co2")["co2_ppm"].iloc[:300]


@pytest.fixture(scope="module")
def nile():
    return kem.datasets.load("nile")["flow"]


def test_leaps_end_where_plain_em_ends_in_fewer_iterations():
    tight = kem.Stopping(max_iterations=20_000, parameter_tolerance=1e-7, relative_tolerance=1e-12)
    plain = kem.fit(kem.LocalLinearTrend(), CO2_YEARS, method="plain", stopping=tight)
    leapt = kem.fit(kem.LocalLinearTrend(), CO2_YEARS, stopping=tight)
    assert plain.em.stop_reason == leapt.em.stop_reason == "converged"
    assert leapt.em.n_iterations < 0.6 * plain.em.n_iterations
    assert leapt.log_likelihood >= plain.log_likelihood - 1e-9
    for name, value in plain.params.items():
        assert np.allclose(leapt.params[name], value, rtol=1e-4, atol=0.0), name


def test_the_objective_never_falls_with_leaps():
    fitted = kem.fit(kem.LocalLinearTrend(), CO2_YEARS)
    steps = np.diff(fitted.em.log_likelihoods)
    assert steps.min() >= -1e-9 * (1.0 + abs(fitted.log_likelihood))
    assert fitted.em.n_iterations > 500


def test_the_first_five_hundred_iterations_are_em_alone():
    short = kem.Stopping(max_iterations=500, parameter_tolerance=0.0)
    plain = kem.fit(kem.LocalLinearTrend(), CO2_YEARS, method="plain", stopping=short)
    helped = kem.fit(kem.LocalLinearTrend(), CO2_YEARS, stopping=short)
    assert np.array_equal(plain.em.log_likelihoods, helped.em.log_likelihoods)


def test_a_variance_whose_best_value_is_zero_goes_there_and_says_so(nile):
    fitted = kem.fit(kem.LocalLinearTrend(), nile)
    assert fitted.em.stop_reason == "converged"
    assert np.array_equal(fitted.params.slope_cov, [[0.0]])
    assert "slope_cov went to 0" in fitted.em.message
    for tiny in (1e-6, 1e-3, 1.0):
        start = {name: value for name, value in fitted.params.items() if name != "slope_cov"}
        beside = kem.fit(
            kem.LocalLinearTrend(),
            nile,
            start={**start, "slope_cov": [[tiny]]},
            stopping=kem.Stopping(max_iterations=1),
        )
        assert beside.em.log_likelihoods[0] < fitted.log_likelihood


def test_an_observation_variance_at_zero_is_exact():
    walk = np.cumsum(np.random.default_rng(0).normal(size=150))
    fitted = kem.fit(kem.LocalLevel(), walk)
    assert fitted.params.observation_cov[0, 0] == 0.0
    assert np.array_equal(fitted.smooth().smoothed_means[:, 0], walk)
    assert fitted.em.stop_reason == "converged"
    assert np.isfinite(fitted.log_likelihood)


def test_a_variance_that_starts_at_zero_is_not_left_there_if_the_data_want_it(nile):
    fitted = kem.fit(kem.LocalLevel(), nile, start={"level_cov": [[0.0]]})
    assert fitted.params.level_cov[0, 0] == pytest.approx(1469.2, rel=1e-3)
    assert "level_cov was 0 and is not" in fitted.em.message


def test_packing_and_unpacking_is_the_identity_and_any_vector_nearby_is_a_system():
    rng = np.random.default_rng(5)
    values = np.cumsum(rng.normal(size=(80, 3)), axis=0) * [1.0, 1e6, 1e-6]
    model = kem.LinearGaussian(2, 3, observation_offset=kem.Full(), transition_cov=kem.Diagonal())
    fitted = kem.fit(model, values, stopping=kem.Stopping(max_iterations=20))
    units = coefficient_units(fitted.specification, fitted.system, values.std(axis=0))
    vector = packed(fitted.specification, fitted.system, units)
    assert len(vector) >= fitted.n_parameters
    again = unpacked(fitted.specification, vector, fitted.system, units)
    for name in ("transition_matrix", "transition_cov", "observation_matrix", "observation_offset", "observation_cov"):
        assert np.allclose(getattr(again, name), getattr(fitted.system, name), rtol=1e-10), name
    moved = unpacked(fitted.specification, vector + rng.normal(size=len(vector)), fitted.system, units)
    assert np.all(np.linalg.eigvalsh(moved.transition_cov) > 0.0)
    assert np.count_nonzero(moved.transition_cov - np.diag(np.diag(moved.transition_cov))) == 0
