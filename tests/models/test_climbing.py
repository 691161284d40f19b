"""The second way up: quasi-Newton steps in the noise covariances, where the maximum is a singular covariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.learning import problem_of

import kalman_em as kem
from kalman_em import Diagonal, Full, Isotropic
from kalman_em.models.climbing import _blocks, _packed, _score, _units, _unpacked, climbed
from kalman_em.models.free_coefficients import FreeCoefficients

MACRO = kem.datasets.load("us_macro")
FORMS = {"full": Full(), "diagonal": Diagonal(), "isotropic": Isotropic()}


def problem(model, columns):
    values = MACRO[columns].to_numpy(dtype=float)
    values[5:9, 0] = np.nan
    made, _ = problem_of(model, kem.Observations(values), leaps=True)
    start = kem.fit(model, values, method="plain", stopping=kem.Stopping(max_iterations=20)).system
    return made, start


@pytest.mark.parametrize("form", FORMS)
def test_the_score_is_the_gradient_of_the_likelihood(form):
    model = kem.LocalLinearTrend(level_cov=FORMS[form], slope_cov=Diagonal(), observation_cov=FORMS[form])
    made, system = problem(model, ["infl", "unemp"])
    blocks = [b for name in ("transition_cov", "observation_cov") for b in _blocks(made.specification, name)]
    units = [_units(system, block) for block in blocks]
    at = np.concatenate([_packed(system, block, unit) for block, unit in zip(blocks, units, strict=True)])

    def height(vector):
        return made.e_step(_unpacked(system, blocks, units, vector, thinnest=0.0))[1]

    score = _score(system, made.rows, made.e_step(system)[0], blocks, units, at)
    steps = 1e-5 * np.eye(len(at))
    numerical = [(height(at + step) - height(at - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(score, numerical, rtol=1e-6, atol=1e-5)


def test_it_is_tried_sooner_where_iterations_are_dear():
    made, _ = problem(kem.LocalLevel(), ["infl", "unemp"])
    assert replace(made, numerics="square_root").climb_after < 0.1 * made.climb_after
    moving, _ = problem(kem.LocalLevel() + kem.Autoregression(1), ["infl", "unemp"])
    assert moving.climb_after < 0.1 * made.climb_after


COEFFICIENTS = {
    "a regression on lags": (kem.VectorAutoregression(1), ["infl", "unemp"]),
    "loadings and lags": (kem.DynamicFactor(1, idiosyncratic=True), ["infl", "unemp", "tbilrate"]),
    "a start that moves": (kem.LocalLevel() + kem.Autoregression(1), ["infl", "unemp"]),
    "a drift and a first mean": (
        kem.LinearGaussian(
            2,
            2,
            transition_matrix=kem.Fixed(np.eye(2)),
            transition_offset=Full(),
            observation_matrix=kem.Fixed(np.eye(2)),
            observation_offset=kem.Pattern([0, "d"]),
        ),
        ["infl", "unemp"],
    ),
}


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_the_score_of_coefficients_is_the_gradient_of_the_likelihood(name):
    made, system = problem(*COEFFICIENTS[name])
    free = FreeCoefficients(made.specification, system, made.rows, made.e_step(system)[0])
    at = 1.5 * np.random.default_rng(0).standard_normal(free.size)

    def moved(numbers):
        return made.specification.settled(free.at(numbers))

    score = free.score(moved(at), made.e_step(moved(at))[0])
    steps = 1e-5 * np.eye(len(at))
    numerical = [(made.e_step(moved(at + step))[1] - made.e_step(moved(at - step))[1]) / 2e-5 for step in steps]
    assert np.abs(score).max() > 0.1
    np.testing.assert_allclose(score, numerical, rtol=1e-5, atol=1e-4)


def test_coefficients_climb_with_the_noise():
    made, system = problem(*COEFFICIENTS["a regression on lags"])
    found = climbed(made, made.specification, system, made.means.best)
    slow = kem.run_em(made, system, stopping=kem.Stopping(max_iterations=300))
    assert made.e_step(found)[1] > slow.log_likelihood + 0.5


def test_a_pattern_that_writes_out_a_plain_form_climbs_like_it():
    names = kem.Pattern([["a", "b"], ["b", "c"]])
    known, _ = problem(kem.LocalLevel(level_cov=names, observation_cov=Diagonal()), ["infl", "unemp"])
    plain, system = problem(kem.LocalLevel(level_cov=Full(), observation_cov=Diagonal()), ["infl", "unemp"])
    heights = [made.e_step(climbed(made, made.specification, system, made.means.best))[1] for made in (known, plain)]
    assert heights[0] == pytest.approx(heights[1], abs=1e-6)
    assert heights[0] > known.e_step(system)[1] + 0.1
    tied, _ = problem(kem.LocalLevel(level_cov=kem.Pattern([["a", "b"], ["b", "a"]])), ["infl", "unemp"])
    assert climbed(tied, tied.specification, system, tied.means.best) is None


def test_where_the_basis_is_free_it_climbs_as_well():
    made, system = problem(kem.LinearGaussian(2, 2), ["infl", "unemp"])
    assert made.specification.basis_is_free
    found = climbed(made, made.specification, system, made.means.best)
    slow = kem.run_em(made, system, stopping=kem.Stopping(max_iterations=300))
    assert made.e_step(found)[1] > slow.log_likelihood + 0.2
    turned = system.replaced(**turned_values(system, np.array([[2.0, 1.0], [-0.5, 3.0]])))
    assert made.e_step(turned)[1] == pytest.approx(made.e_step(system)[1], abs=1e-8)
    again = climbed(made, made.specification, turned, made.means.best)
    assert made.e_step(again)[1] == pytest.approx(made.e_step(found)[1], abs=0.01)


def turned_values(system, basis):
    """Return the parameters that learnt states have in another basis, in which x is `basis` @ x."""
    back = np.linalg.inv(basis)
    return {
        "transition_matrix": basis @ system.transition_matrix @ back,
        "transition_cov": basis @ system.transition_cov @ basis.T,
        "observation_matrix": system.observation_matrix @ back,
        "initial_mean": basis @ system.initial_mean,
        "initial_cov": basis @ system.initial_cov @ basis.T,
    }


def test_a_variance_at_zero_stays_there():
    made, system = problem(kem.LocalLinearTrend(slope_cov=Diagonal()), ["infl", "unemp"])
    Q = np.array(system.transition_cov)
    Q[3, :] = Q[:, 3] = 0.0
    silent = system.replaced(transition_cov=Q)
    found = climbed(made, made.specification, silent, made.means.best)
    assert found.transition_cov[3, 3] == 0.0
    assert made.e_step(found)[1] > made.e_step(silent)[1] + 1.0


# The log-likelihood that statsmodels' own optimiser reaches from several starts; a slanted singular R each time.
@pytest.mark.parametrize(("columns", "highest"), [(["infl", "unemp"], -521.3212), (["infl", "tbilrate"], -698.5086)])
def test_a_singular_maximum_is_reached_and_not_called_zero(columns, highest):
    fitted = kem.fit(kem.LocalLevel(), MACRO[columns])
    assert fitted.em.stop_reason == "converged"
    assert fitted.log_likelihood > highest
    assert "went to 0" not in fitted.em.message
    steps = np.diff(fitted.em.log_likelihoods)
    assert steps.min() >= -1e-9 * (1.0 + abs(fitted.log_likelihood))
    # No other covariance nearby is better, singular or not.
    R = fitted.params.observation_cov
    rng = np.random.default_rng(0)
    made, _ = problem_of(kem.LocalLevel(), kem.Observations(MACRO[columns].to_numpy(dtype=float)))
    for size in (1e-4, 1e-3, 1e-2, 1e-1):
        for _ in range(10):
            turn = np.eye(2) + size * rng.standard_normal((2, 2))
            moved = turn @ R @ turn.T
            beside = fitted.system.replaced(observation_cov=0.5 * (moved + moved.T))
            assert made.e_step(beside)[1] <= fitted.log_likelihood + 1e-5


def test_a_climb_that_runs_away_is_refused():
    """With a first state that is learnt and sure, R = 0 fits the first row without error: nothing holds the density."""
    nile = kem.datasets.load("nile")
    one = kem.Fixed([[1.0]])
    model = kem.LinearGaussian(
        1, 1, transition_matrix=one, observation_matrix=one, initial_mean=Full(), initial_cov=kem.Fixed(0)
    )
    made, _ = problem_of(model, kem.Observations(nile.to_numpy(dtype=float)), leaps=True)
    system = kem.fit(model, nile, method="plain", stopping=kem.Stopping(max_iterations=20)).system
    near = system.replaced(
        initial_mean=nile.iloc[0].to_numpy(), transition_cov=np.array([[2e4]]), observation_cov=np.array([[0.01]])
    )
    led = climbed(made, made.specification, near, made.means.best)
    assert led.observation_cov[0, 0] < 1e-4 * near.observation_cov[0, 0]
    assert made.e_step(led)[1] > made.e_step(near)[1]
    assert made.climb(near) is None
    assert made.climb(system) is not None
