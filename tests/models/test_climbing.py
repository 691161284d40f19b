"""The second way up: quasi-Newton steps in the noise covariances, where the maximum is a singular covariance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.learning import problem_of

import kalman_em as kem
from kalman_em import Diagonal, Full, Isotropic
from kalman_em.models.climbing import _blocks, _packed, _score, _units, _unpacked, climbed

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


def test_where_matrices_are_learnt_it_does_not_apply():
    made, system = problem(kem.LinearGaussian(1, 2), ["infl", "unemp"])
    assert climbed(made, made.specification, system, made.means.best) is None


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
