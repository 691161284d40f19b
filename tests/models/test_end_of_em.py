"""At the end of EM the gradient of the log-likelihood vanishes in every free direction; on the way nothing falls."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles import bruteforce as bf
from support.learning import log_likelihood, problem_of
from support.slopes import slopes
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em import BlockDiagonal, Diagonal, Diffuse, Fixed, Full, Isotropic

TIGHT = kem.Stopping(max_iterations=600, relative_tolerance=1e-12, parameter_tolerance=1e-8)


def data(seed, d=2, p=2, lengths=(100,), *, missing=0.1, missing_rows=(5, 6), **options):
    """Return a system whose states are seen well, and series of it."""
    rng = np.random.default_rng(seed)
    system = random_system(rng, d, p, max(lengths), **options)
    H = np.eye(p, d) + 0.2 * rng.normal(size=(p, d))
    F = np.diag([0.9, 0.5, -0.4][:d]) + 0.1 * rng.normal(size=(d, d))
    system = replace(
        system,
        transition_matrix=F,
        transition_cov=2.0 * system.transition_cov,
        observation_matrix=H,
        observation_cov=0.2 * system.observation_cov,
    )
    return system, [random_observations(rng, system, n, missing=missing, missing_rows=missing_rows) for n in lengths]


def fixed_at(system, *letters):
    return {bf.NAMES[x]: Fixed(getattr(system, bf.NAMES[x])) for x in letters}


def everything_but_the_units(seed=1):
    """H is held, which fixes the units and the rotation of the states; the rest is free."""
    system, series = data(seed, p=3)
    return kem.LinearGaussian(
        2, 3, transition_offset=Full(), observation_cov=Diagonal(), **fixed_at(system, "H", "d", "P")
    ), series


def loadings_of_one_factor(seed=5):
    _, series = data(seed, d=1, p=4, missing=0.3)
    return kem.LinearGaussian(
        1,
        4,
        transition_cov=Fixed([[1.0]]),
        observation_cov=Diagonal(),
        initial_mean=Fixed(0),
        initial_cov=Fixed([[1.0]]),
    ), series


def matrices_known(seed=5):
    system, series = data(seed)
    forms = fixed_at(system, "F", "H", "b", "d", "P")
    return kem.LinearGaussian(2, 2, transition_cov=Full(), observation_cov=Full(), **forms), series


def blocks_and_gaps(seed=8):
    system, series = data(seed, d=3, p=4, missing=0.3)
    forms = fixed_at(system, "F", "H", "P")
    return kem.LinearGaussian(
        3,
        4,
        transition_cov=BlockDiagonal([(Full(), 2), (Isotropic(), 1)]),
        observation_cov=Isotropic(),
        observation_offset=Full(),
        **forms,
    ), series


def inputs_in_both_equations(seed=1):
    system, series = data(seed, p=3, input_dim=2)
    return kem.LinearGaussian(
        2,
        3,
        transition_matrix=Diagonal(),
        transition_input=Full(),
        transition_cov=Full(),
        observation_input=Full(),
        observation_cov=Isotropic(),
        **fixed_at(system, "H", "b", "d", "P"),
    ), series


def panel_of_ragged_series(seed=2):
    system, series = data(seed, lengths=(30, 12, 25, 18, 9), d=1, p=2)
    return kem.LinearGaussian(
        1,
        2,
        initial_mean=Full(),
        initial_cov=Full(),
        transition_cov=Full(),
        observation_cov=Full(),
        **fixed_at(system, "H", "b", "d"),
    ), series


def mean_learnt_under_no_variance(seed=1):
    """The mean of a state that is known without error: EM alone would never move it."""
    system, series = data(seed, p=3)
    return kem.LinearGaussian(
        2,
        3,
        transition_matrix=Full(),
        observation_cov=Isotropic(),
        initial_mean=Full(),
        initial_cov=Fixed(0),
        **fixed_at(system, "H", "b", "d"),
    ), series


def mean_learnt_one_step_before(seed=4):
    system, series = data(seed)
    return kem.LinearGaussian(
        2,
        2,
        transition_offset=Full(),
        transition_cov=Diagonal(),
        observation_cov=Diagonal(),
        initial_cov=Fixed(0),
        initial_step="before",
        **fixed_at(system, "F", "H", "d"),
    ), series


def diffuse_start(seed=1):
    system, series = data(seed, p=3)
    return kem.LinearGaussian(
        2, 3, observation_cov=Full(), initial_cov=Diffuse(), **fixed_at(system, "H", "b", "d")
    ), series


def noise_in_one_row():
    """An AR(2) in companion form, seen through noise."""
    rng = np.random.default_rng(9)
    x = np.zeros(302)
    for t in range(2, 302):
        x[t] = 1.2 * x[t - 1] - 0.6 * x[t - 2] + rng.normal()
    values = x[2:, None] + 0.5 * rng.normal(size=(300, 1))
    values[[20, 21, 100]] = np.nan
    model = kem.LinearGaussian(
        2,
        1,
        transition_matrix=Fixed([[1.2, -0.6], [1.0, 0.0]]),
        noise_selection=[[1.0], [0.0]],
        observation_matrix=Fixed([[1.0, 0.0]]),
        initial_mean=Fixed(0),
        initial_cov=Fixed(np.eye(2)),
    )
    return model, [kem.Observations(values)]


def weights_that_vary(seed=4):
    system, series = data(seed, lengths=(40,), p=3)
    # A better instrument from row 20 on.
    R = np.array([np.diag([0.5, 1.0, 2.0]) / (1.0 if t < 20 else 4.0) for t in range(40)])
    return kem.LinearGaussian(
        2,
        3,
        transition_matrix=Diagonal(),
        transition_cov=Fixed(np.eye(2)),
        observation_cov=Fixed(R),
        observation_offset=Full(),
        **fixed_at(system, "P"),
    ), series


MODELS = [
    everything_but_the_units,
    loadings_of_one_factor,
    matrices_known,
    blocks_and_gaps,
    inputs_in_both_equations,
    panel_of_ragged_series,
    mean_learnt_under_no_variance,
    mean_learnt_one_step_before,
    diffuse_start,
    noise_in_one_row,
    weights_that_vary,
]


QUICK = [inputs_in_both_equations, mean_learnt_under_no_variance, noise_in_one_row]
BY_LEAPS = [pytest.param(make, True, id=f"{make.__name__}-leaps") for make in MODELS]
PLAINLY = [pytest.param(make, False, id=f"{make.__name__}-plain") for make in QUICK]


@pytest.mark.parametrize(("make", "leaps"), BY_LEAPS + PLAINLY)
def test_the_gradient_vanishes_and_the_objective_never_fell(make, leaps):
    model, series = make()
    problem, led = problem_of(model, *series, leaps=leaps)
    start = model.start(problem.specification, kem.Panel(series))
    result = kem.run_em(problem, start, stopping=TIGHT)
    assert np.all(np.diff(result.log_likelihoods) > -1e-11 * (1.0 + np.abs(result.log_likelihoods[1:])))
    assert result.log_likelihood == pytest.approx(log_likelihood(result.params, *led), rel=1e-12)
    before, after = slopes(problem, start, led), slopes(problem, result.params, led)
    assert len(after) == problem.specification.n_parameters
    assert max(map(abs, before.values())) > 1.0
    flat = {label: slope for label, slope in after.items() if abs(slope) < 5e-4}
    assert flat == after


@pytest.mark.parametrize("name", ["transition_cov", "observation_cov", "transition_matrix", "initial_mean"])
def test_a_point_beside_the_end_is_not_flat(name):
    """The criterion above bites: a hundredth of a parameter away the gradient is not 0."""
    model, series = mean_learnt_under_no_variance()
    problem, led = problem_of(model, *series, leaps=True)
    result = kem.run_em(problem, model.start(problem.specification, kem.Panel(series)), stopping=TIGHT)
    beside = replace(result.params, **{name: getattr(result.params, name) * 1.01})
    assert max(map(abs, slopes(problem, beside, led).values())) > 1e-2


def test_a_variance_at_zero_keeps_the_m_step_quiet():
    model, series = everything_but_the_units(3)
    problem, _ = problem_of(model, *series, leaps=True)
    result = kem.run_em(problem, model.start(problem.specification, kem.Panel(series)), stopping=TIGHT)
    assert result.params.observation_cov[1, 1] == 0.0
