"""The ends of many climbs at once: over is what the ordinary loop finds over, series by series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.em.ascent import TRAIL, WORTH_A_LEAP
from kalman_em.em.extrapolation import extrapolated, extrapolated_each, stretched, stretched_each
from kalman_em.em.steps import evaluate
from kalman_em.errors import NumericalError
from kalman_em.inference.rows import stack_rows
from kalman_em.inference.stacks import StackedRows, likelihoods_each, stacked
from kalman_em.models import leaps_each
from kalman_em.models.leading import rows_of
from kalman_em.models.leaps_each import are_over, can_leap_together
from kalman_em.models.packing import packed, unpacked
from kalman_em.models.problem import LeapingProblem
from kalman_em.models.scale import data_scale


def walks(n, columns=1, seed=0):
    rng = np.random.default_rng(seed)
    shape = (40, columns)
    return [
        kem.Observations(np.cumsum(rng.normal(size=shape), axis=0) * rng.uniform(0.2, 2.0) + rng.normal(size=shape))
        for _ in range(n)
    ]


def climb(model, series, n_iterations):
    """Return for every series its problem and the trail of its latest systems."""
    found = []
    for one in series:
        panel = kem.Panel((one,))
        specification = model.specify(panel)
        problem = LeapingProblem(specification, rows_of(panel, specification), data_scale(panel))
        system, trail = model.start(specification, panel), []
        for _ in range(n_iterations):
            trail = [*trail, system][-TRAIL:]
            system = problem.m_step(system, problem.e_step(system)[0])
        found.append((problem, trail))
    return found


def gains(problem, trail):
    """Return what the best leap gains that the ordinary loop tries."""
    reached = best = evaluate(problem, trail[-1]).log_likelihood
    for params, _ in problem.leaps(trail):
        try:
            best = max(best, evaluate(problem, params).log_likelihood)
        except NumericalError:
            continue
    return best - reached


def asked(climbs, series):
    trail = [stacked([own[step] for _, own in climbs]) for step in range(TRAIL)]
    return are_over(climbs[0][0].specification, trail, StackedRows.of(stack_rows(series)))


MODELS = {
    "level": (kem.LocalLevel(), 1),
    "trend": (kem.LocalLinearTrend(), 1),
    "full covariances": (kem.LocalLevel(), 2),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_over_gains_nothing_by_a_leap(name):
    model, columns = MODELS[name]
    series = walks(8, columns)
    found = []
    for n_iterations in (TRAIL, 40, 160):
        climbs = climb(model, series, n_iterations)
        over = asked(climbs, series)
        for is_over, (problem, trail) in zip(over, climbs, strict=True):
            assert not is_over or gains(problem, trail) <= WORTH_A_LEAP
        found.append(over.sum())
    assert found[0] == 0
    if name == "level":
        assert found[-1] >= 4


def test_a_variance_that_creeps_to_zero_is_not_over():
    """White noise has no level that moves: the ordinary loop finds that, and says so."""
    rng = np.random.default_rng(3)
    series = [kem.Observations(rng.normal(size=(60, 1))) for _ in range(6)]
    fits = kem.fit_each(kem.LocalLevel(), list(series))
    at_zero = [key for key in fits if fits[key].params.level_cov.item() == 0.0]
    assert len(at_zero) >= 2
    assert all("went to 0" in fits[key].em.detail for key in at_zero)


def test_a_variance_at_zero_is_for_the_ordinary_loop_to_revive():
    series = walks(6)
    climbs = climb(kem.LocalLevel(), series, 160)
    is_over = asked(climbs, series)
    still = [(problem, [one.replaced(transition_cov=np.zeros((1, 1))) for one in trail]) for problem, trail in climbs]
    assert is_over.any()
    assert not asked(still, series).any()


def test_no_extrapolation_is_passed_over(monkeypatch):
    """With a leap that gains, a series is not over; which leap it is does not matter."""
    series = walks(6)
    climbs = climb(kem.LocalLevel(), series, 160)
    plain = asked(climbs, series)
    assert plain.any()
    monkeypatch.setattr(leaps_each, "WORTH_A_LEAP", -1.0)
    assert not asked(climbs, series).any()


def test_which_models_leap_together():
    panel = kem.Panel(walks(1))
    for model in (kem.LocalLevel(), kem.LocalLinearTrend(), kem.LocalLevel() + kem.Seasonal(4)):
        assert can_leap_together(model.specify(panel))
    for model in (kem.LinearGaussian(1, 1), kem.LocalLevel(initial_cov=kem.Full()), kem.LocalLevel() + kem.Cycle()):
        assert not can_leap_together(model.specify(panel))


def test_extrapolations_are_those_of_each_sequence():
    rng = np.random.default_rng(0)
    points = np.cumsum(rng.normal(size=(5, TRAIL, 3)) * 0.6 ** np.arange(TRAIL)[:, None], axis=1)
    points[1] = points[1, :1]
    each = extrapolated_each(points)
    for own, found in zip(points, each, strict=True):
        np.testing.assert_allclose(found, extrapolated(list(own)), rtol=1e-7)
    for longest in (10.0, 1.5):
        for own, found in zip(points, stretched_each(points, longest), strict=True):
            np.testing.assert_allclose(found, stretched(list(own), longest), rtol=1e-12)


def test_covariances_are_packed_as_those_of_one_series():
    series = walks(3, columns=2)
    climbs = climb(kem.LocalLevel(), series, 12)
    specification = climbs[0][0].specification
    systems = [trail[-1] for _, trail in climbs]
    covs = np.stack([one.transition_cov for one in systems])
    vectors = leaps_each._packed(covs)
    for system, vector in zip(systems, vectors, strict=True):
        np.testing.assert_allclose(vector, packed(specification, system, {})[:3], rtol=1e-13)
    moved = leaps_each._unpacked(vectors + 0.1, covs)
    for system, cov in zip(systems, moved, strict=True):
        whole = packed(specification, system, {}) + 0.1
        np.testing.assert_allclose(cov, unpacked(specification, whole, system, {}).transition_cov, rtol=1e-12)


def test_likelihoods_of_each_say_which_have_lost_digits_and_which_cannot_be():
    series = walks(5)
    panel = kem.Panel(series)
    model = kem.LocalLevel()
    good = model.start(model.specify(panel), panel)
    lost = replace(good, observation_cov=1e-12 * good.transition_cov)
    void = replace(good, observation_cov=[[0.0]], transition_cov=[[0.0]])
    systems = [good, lost, good, void, good]
    found = likelihoods_each(stacked(systems), StackedRows.of(stack_rows(series)))
    assert np.isnan(found[1])
    for k in (0, 2, 4):
        assert found[k] == pytest.approx(kem.kalman_filter(good, series[k]).log_likelihood, rel=1e-12)
    assert not np.isfinite(found[3])
