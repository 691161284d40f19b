"""Many columns by matrix products: the same as the loops over the rows, which few columns take."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em.inference import observation_sums, reduction
from kalman_em.inference.expectations import expect_all
from kalman_em.inference.filtering import filter_all
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.models.bound import expected_gain
from kalman_em.models.completion import completed
from kalman_em.models.leading import rows_of
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.scale import data_scale

P = 14
CASES = {
    "complete": {"missing": 0.0},
    "gaps": {"missing": 0.3},
    "mostly gaps": {"missing": 0.9},
    "inputs": {"missing": 0.2, "input_dim": 2},
    "exact sensors": {"missing": 0.3, "exact_rows": 3},
    "H varies": {"missing": 0.2, "varying": "H"},
    "offset varies": {"missing": 0.2, "varying": "d"},
    "R varies": {"missing": 0.2, "varying": "R"},
    "diffuse": {"missing": 0.3, "diffuse": 1},
}


def case(name, *, diagonal, n_steps=60):
    """Return a system of many columns, its rows stacked, and the system laid over them."""
    options = dict(CASES[name])
    missing = options.pop("missing")
    rng = np.random.default_rng(sorted(CASES).index(name))
    system = random_system(rng, 2, P, n_steps, **options)
    if diagonal:
        system = replace(system, observation_cov=system.observation_cov * np.eye(P))
    series = [random_observations(rng, system, n_steps, missing=missing, missing_rows=(4, 9)) for _ in range(2)]
    rows = stack_rows(series)
    return system, rows, lay(system, rows)


def by_loops(monkeypatch, function):
    """Return what `function` gives without matrix products."""
    with monkeypatch.context() as context:
        context.setattr(reduction, "WIDE", P + 1)
        context.setattr(observation_sums, "WIDE", P + 1)
        return function()


def close(left, right, scale=None):
    atol = 1e-10 * np.abs(right if scale is None else scale).max(initial=1e-300)
    np.testing.assert_allclose(left, right, rtol=0.0, atol=atol)


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_filter_is_that_of_the_loops(monkeypatch, name, diagonal):
    _, rows, laid = case(name, diagonal=diagonal)
    expected = by_loops(monkeypatch, lambda: filter_all(laid, rows))
    found = filter_all(laid, rows)
    for part in ("log_likelihoods", "filtered_means", "predicted_means"):
        close(getattr(found, part), getattr(expected, part))
    close(found.at_rows(found.filtered_covs), expected.at_rows(expected.filtered_covs))


@pytest.mark.parametrize("diagonal", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_sums_are_those_of_the_loops(monkeypatch, name, diagonal):
    system, rows, laid = case(name, diagonal=diagonal)
    expected, _ = completed(by_loops(monkeypatch, lambda: expect_all(laid, rows)[0]), system.observation_cov)
    found, _ = completed(expect_all(laid, rows)[0], system.observation_cov)
    for part in ("residual", "cross", "regressor", "count"):
        close(getattr(found, part), getattr(expected, part))
    if diagonal and name != "R varies":
        alone = expect_all(laid, rows, diagonal=True)[0].observation.residual
        assert alone.shape == (1, P)
        close(alone[0], np.diagonal(expected.residual[0]))


@pytest.mark.parametrize("form", [kem.Diagonal(), kem.Isotropic(), kem.Full()])
@pytest.mark.parametrize("step", ["first", "before"])
def test_an_em_step_is_that_of_the_loops(monkeypatch, form, step):
    rng = np.random.default_rng(8)
    system = random_system(rng, 2, P, 40)
    series = [random_observations(rng, system, n, missing=0.3, missing_rows=(3,)) for n in (40, 25)]
    panel = kem.Panel(series)
    model = kem.LinearGaussian(2, P, observation_offset=kem.Full(), observation_cov=form, initial_step=step)
    specification = model.specify(panel)
    problem = LinearGaussianProblem(specification, rows_of(panel, specification), data_scale(panel))
    start = model.start(specification, panel)
    expected = by_loops(monkeypatch, lambda: problem.m_step(start, problem.e_step(start)[0]))
    expectations, log_likelihood = problem.e_step(start)
    found = problem.m_step(start, expectations)
    for name in ("observation_matrix", "observation_offset", "observation_cov", "transition_matrix"):
        close(getattr(found, name), getattr(expected, name))
    gain = expected_gain(start, found, expectations)
    assert 0.0 < gain <= problem.e_step(found)[1] - log_likelihood
    assert gain == pytest.approx(by_loops(monkeypatch, lambda: expected_gain(start, found, problem.e_step(start)[0])))


def test_collinear_sensors_take_the_decomposition(monkeypatch):
    """The products of nearly collinear columns have lost the digits that tell them apart: they are not used."""
    rng = np.random.default_rng(9)
    system = random_system(rng, 2, P, 30)
    first = rng.normal(size=P)
    H = np.column_stack([first, first + 1e-7 * rng.normal(size=P)])
    system = replace(system, observation_matrix=H, observation_cov=np.diag(rng.uniform(0.5, 2.0, P)))
    rows = stack_rows([random_observations(rng, system, 30, missing=0.3)])
    laid = lay(system, rows)
    expected = by_loops(monkeypatch, lambda: filter_all(laid, rows))
    found = filter_all(laid, rows)
    close(found.log_likelihoods, expected.log_likelihoods)
    close(found.filtered_means, expected.filtered_means)


def test_values_far_from_zero_keep_their_likelihood():
    rng = np.random.default_rng(10)
    system = random_system(rng, 2, P, 30)
    system = replace(system, observation_cov=system.observation_cov * np.eye(P))
    for missing in (0.0, 0.3):
        observations = random_observations(rng, system, 30, missing=missing)
        moved = replace(system, observation_offset=system.observation_offset + 1e6)
        plain = kem.kalman_filter(system, observations).log_likelihood
        far = kem.kalman_filter(moved, kem.Observations(observations.values + 1e6)).log_likelihood
        assert far == pytest.approx(plain, rel=1e-8)


def test_learning_many_sensors_takes_them_back_to_their_units():
    """A fit of many sensors with gaps in other units is the same fit."""
    rng = np.random.default_rng(11)
    system = random_system(rng, 1, P, 80)
    system = replace(system, observation_cov=system.observation_cov * np.eye(P))
    values = random_observations(rng, system, 80, missing=0.2).values
    units = 10.0 ** rng.integers(-6, 7, P)
    model = kem.LinearGaussian(1, P, observation_offset=kem.Full(), observation_cov=kem.Diagonal())
    stopping = kem.Stopping(max_iterations=20)
    plain = kem.fit(model, values, stopping=stopping)
    scaled = kem.fit(model, values * units, stopping=stopping)
    found, expected = (np.diagonal(one.params.observation_cov) for one in (scaled, plain))
    np.testing.assert_allclose(found / units**2, expected, rtol=1e-6)
    shift = -np.sum(~np.isnan(values) @ np.log(units))
    assert scaled.log_likelihood == pytest.approx(plain.log_likelihood + shift, rel=1e-8)
