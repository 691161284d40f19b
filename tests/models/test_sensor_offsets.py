"""Offsets of sensors in continuous time: learnt where the start of the states does not hide them."""

from __future__ import annotations

import numpy as np
import pytest
from support.learning import one_step, problem_of
from support.motion import tracks

import kalman_em as kem
from kalman_em import Fixed, Full, Partly, Pattern
from kalman_em.em.regression import Moments
from kalman_em.models.completion import completed

SECOND = Partly([0.0, 0.0], free=[False, True])


def two_sensors(n=60, seed=0, bias=7.0):
    """Return readings of one walk by two sensors at irregular times, the second `bias` too high, some silent."""
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(size=n))
    place = np.cumsum(rng.normal(size=n) * np.sqrt(np.diff(times, prepend=0.0)))
    values = place[:, None] + np.array([100.0, 100.0 + bias]) + 0.3 * rng.normal(size=(n, 2))
    values[rng.random((n, 2)) < 0.3] = np.nan
    return kem.Observations(values, times=times)


def walk(**options):
    return kem.RandomWalk(measured={"a": "position", "b": "position"}, **options)


def test_the_bias_of_a_second_sensor_is_learnt_and_forecast():
    data = two_sensors()
    fitted = kem.fit(walk(observation_offset=SECOND), data)
    bias = fitted.params.observation_offset
    assert bias[0] == 0.0
    assert bias[1] == pytest.approx(7.0, abs=0.4)
    assert 0.0 < fitted.standard_errors.observation_offset[1] < 0.2
    # The same as a known shift of the data.
    shifted = kem.Observations(data.values - bias, times=data.times)
    known = kem.fit(walk(), shifted)
    assert fitted.log_likelihood == pytest.approx(known.log_likelihood, abs=1e-6)
    ahead = fitted.forecast(2).means
    np.testing.assert_allclose(ahead[:, 1] - ahead[:, 0], bias[1], rtol=1e-9)


def test_an_offset_that_is_stated_is_taken_off():
    data = two_sensors()
    stated = kem.fit(walk(observation_offset=Fixed([0.0, 7.0])), data)
    taken = kem.fit(walk(), kem.Observations(data.values - [0.0, 7.0], times=data.times))
    assert stated.log_likelihood == pytest.approx(taken.log_likelihood, abs=1e-8)
    np.testing.assert_array_equal(stated.params.observation_offset, [0.0, 7.0])


def test_beside_a_known_start_every_offset_is_told():
    (_, track), *_ = tracks(3, kem.ConstantVelocity(dim=2), 0.5, 0.3 * np.eye(2), (40,))
    moved = kem.Observations(track.values + np.array([3.0, -2.0]) - track.values[0], times=track.times)
    model = kem.ConstantVelocity(
        dim=2, observation_offset=Full(), initial_mean=Fixed(np.zeros(4)), initial_cov=Fixed(np.diag([0, 0, 9.0, 9.0]))
    )
    fitted = kem.fit(model, moved)
    assert fitted.em.stop_reason.is_converged
    assert np.all(np.isfinite(fitted.standard_errors.observation_offset))
    # A step from the end leads nowhere, and one from elsewhere is the regression that it should be.
    problem, _ = problem_of(model, moved)
    start = fitted.system.replaced(observation_offset=np.array([1.0, 1.0]))
    moments, _ = completed(problem.e_step(start)[0], start.observation_cov)
    assert isinstance(moments, Moments)
    by_hand = start.observation_offset + moments.cross.sum(axis=0)[:, 4] / moments.regressor.sum(axis=0)[4, 4]
    np.testing.assert_allclose(one_step(problem, start).observation_offset, by_hand, rtol=1e-9)


def test_it_is_learnt_beside_a_time_constant_and_by_any_equation():
    (_, track), *_ = tracks(4, kem.CorrelatedRandomWalk(time_constant=3.0), 0.5, 0.3 * np.eye(1), (50,))
    both = kem.Observations(np.hstack([track.values, track.values[::-1][::-1] + 5.0]), times=track.times)
    model = kem.CorrelatedRandomWalk(
        time_constant=Full(), measured={"a": "position", "b": "position"}, observation_offset=Pattern([0.0, "bias"])
    )
    fitted = kem.fit(model, both, stopping=kem.Stopping(max_iterations=10))
    assert fitted.params.bias == pytest.approx(5.0, abs=1e-6)
    pulled = kem.ContinuousTime([[-0.5]], [[1.0]], [[1.0]], observation_offset=Full())
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.exponential(size=80))
    drawn = kem.Observations(rng.normal(size=(80, 1)) + 12.0, times=times)
    assert kem.fit(pulled, drawn, stopping=kem.Stopping(max_iterations=50)).params.observation_offset[0] == (
        pytest.approx(12.0, abs=0.5)
    )


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (kem.RandomWalk(observation_offset=Full()), 1),
        (walk(observation_offset=Full()), 2),
        (kem.ConstantVelocity(observation_offset=Full(), initial_cov=Full()), 1),
        (kem.ContinuousTime([[0.0, 1.0], [0.0, -1.0]], [[0.0], [1.0]], [[1.0, 0.0]], observation_offset=Full()), 1),
    ],
    ids=["walk", "two sensors", "learnt start", "equation"],
)
def test_an_offset_that_the_start_hides_is_refused(model, columns):
    data = kem.Observations(two_sensors().values[:, :columns], times=two_sensors().times)
    with pytest.raises(kem.InputError, match=r"observation_offset: what is learnt of it cannot be told from where"):
        kem.fit(model, data)


def test_what_is_no_form_is_refused():
    with pytest.raises(kem.InputError, match=r"observation_offset"):
        kem.RandomWalk(observation_offset="free")
    with pytest.raises(kem.InputError, match=r"observation_offset: .*shape \(2,\)"):
        kem.fit(walk(observation_offset=Fixed([1.0, 2.0, 3.0])), two_sensors())
