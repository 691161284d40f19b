"""Motion in continuous time: what is learnt is the maximum, one step and at the end, whatever the gaps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy
from oracles.bruteforce import gradient
from oracles.dense import DenseGaussian
from support.motion import tracks

import kalman_em as kem
from kalman_em.fitting.learning import stated
from kalman_em.inference.filtering import filter_all
from kalman_em.inference.rows import lay
from kalman_em.models.leading import rows_of
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.scale import data_scale

MODELS = {
    "walk": kem.RandomWalk(dim=2, velocity_density=kem.Full(), observation_cov=kem.Full()),
    "velocity": kem.ConstantVelocity(dim=2),
    "velocity, an axis": kem.ConstantVelocity(dim=2, acceleration_density=kem.Diagonal()),
    "velocity, full": kem.ConstantVelocity(dim=2, acceleration_density=kem.Full(), observation_cov=kem.Full()),
    "acceleration": kem.ConstantAcceleration(dim=1),
    "correlated walk": kem.CorrelatedRandomWalk(time_constant=3.0, dim=2, acceleration_density=kem.Full()),
    "singer": kem.Singer(time_constant=4.0),
    "turn": kem.CoordinatedTurn(turn_rate=0.3),
    "turn, full": kem.CoordinatedTurn(turn_rate=0.3, acceleration_density=kem.Full()),
}


def series_of(model, *, lengths=(7, 5), seed=0):
    R = np.eye(model.dim) * 0.5 + 0.1
    found = tracks(seed, model, 0.4 * np.eye(model.dim) + 0.1, R, lengths, missing=0.15)
    return kem.Panel([one for _, one in found])


def problem_of(model, panel):
    specification, panel = stated(model, panel)
    problem = LinearGaussianProblem(specification, rows_of(panel, specification), data_scale(panel))
    return problem, model.start(specification, panel)


def expected(problem, old):
    """The expected complete log-likelihood of the moves by brute force: every pair of states from the dense oracle.

    As a function of the covariance of the noises, without any formula of an M-step or of a sum over gaps.
    """
    moments = []
    starts = problem.rows.starts
    for first, last in pairwise(starts):
        times = problem.rows.times[first:last]
        observations = kem.Observations(problem.rows.values[first:last], times=times)
        system = old.along(times)
        exact = DenseGaussian(system, observations).smoothed()
        for t in range(len(times) - 1):
            F, G = system.transition_matrix[t], system.noise_selection[t]
            step = np.hstack([-F, np.eye(len(F))])
            cov = exact.state_cov[t : t + 2, :, t : t + 2, :].reshape(2 * len(F), 2 * len(F))
            mean = step @ exact.state_means[t : t + 2].ravel()
            moments.append((G, step @ cov @ step.T + np.outer(mean, mean)))
    return moments


def height(moments, cov):
    """The sum over moves of E[log N(e; 0, G C G')], up to a constant."""
    total = 0.0
    for G, square in moments:
        Q = G @ cov @ G.T
        sign, log_det = np.linalg.slogdet(Q)
        total = total - 0.5 * (log_det + np.log(sign) + np.trace(np.linalg.solve(Q, square)))
    return total


def blocks_at(form, size, copies, theta):
    """The covariance of the noises at unbounded numbers `theta`."""
    if isinstance(form, kem.Isotropic):
        density = np.exp(theta[0]) * np.eye(size)
    elif isinstance(form, kem.Diagonal):
        density = np.diag(np.exp(theta))
    else:
        lower = np.zeros((size, size), dtype=theta.dtype)
        lower[np.tril_indices(size)] = theta
        density = lower @ lower.T
    return np.kron(np.eye(copies), density)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "turn, full"])
def test_the_density_of_a_step_is_the_maximum_over_irregular_gaps(name):
    model = MODELS[name]
    problem, start = problem_of(model, series_of(model))
    expectations, _ = problem.e_step(start)
    found = problem.m_step(start, expectations)
    moments = expected(problem, start)
    form = getattr(model, model.density_name)
    size = model.dim
    copies = len(found.transition_cov) // size
    n = {kem.Isotropic: 1, kem.Diagonal: size}.get(type(form), size * (size + 1) // 2)
    begin = np.zeros(n) if n <= size and not isinstance(form, kem.Full) else np.eye(size)[np.tril_indices(size)] * 0.5
    climbed = scipy.optimize.minimize(
        lambda theta: -np.real(height(moments, blocks_at(form, size, copies, theta))),
        begin,
        jac=lambda theta: -gradient(lambda x: height(moments, blocks_at(form, size, copies, x)), theta),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    best = blocks_at(form, size, copies, climbed.x)
    np.testing.assert_allclose(found.transition_cov, best, rtol=2e-7, atol=1e-9)


def test_noises_that_no_move_tells_apart_climb_to_the_same_top():
    # Six draws drive four states: the noises are part of the complete data.
    model = MODELS["turn, full"]
    problem, system = problem_of(model, series_of(model))
    assert problem.specification.dynamics.is_wide
    moments = expected(problem, system)
    expectations, before = problem.e_step(system)
    after = problem.m_step(system, expectations)
    # One step gains, in the expectation over the states alone too, and in the likelihood.
    assert height(moments, after.transition_cov) > height(moments, system.transition_cov)
    assert problem.e_step(after)[1] > before
    narrow = problem.specification.dynamics.copies
    assert narrow == (3,)


@pytest.mark.parametrize("name", list(MODELS))
def test_at_the_end_the_likelihood_is_level_in_every_free_number(name):
    model = MODELS[name]
    panel = series_of(model, lengths=(120, 90), seed=3)
    fitted = kem.fit(model, panel, stopping=kem.Stopping(max_iterations=4000, relative_tolerance=1e-13))
    rows = rows_of(fitted.panel, fitted.specification)

    def log_likelihood(**values):
        system = fitted.system.replaced(**values)
        return float(filter_all(lay(system, rows), rows).log_likelihoods.sum())

    top = log_likelihood()
    for parameter, slot in (
        ("transition_cov", fitted.specification.slots[model.density_name]),
        ("observation_cov", None),
    ):
        cov = getattr(fitted.system, parameter)
        form = getattr(model, model.density_name) if slot else model.observation_cov
        for direction in directions(form, model.dim):
            copies = len(cov) // model.dim
            step = np.kron(np.eye(copies), direction)
            scale = np.sqrt(np.outer(np.diagonal(cov), np.diagonal(cov)))
            h = 1e-4
            up, down = (log_likelihood(**{parameter: cov + s * h * step * scale}) for s in (1, -1))
            slope, curvature = (up - down) / (2 * h), (up + down - 2 * top) / h**2
            # The Newton step that is left, in units of the parameter.
            assert curvature < 0.0
            assert abs(slope / curvature) < 2e-3, (parameter, direction)


def directions(form, size):
    """Yield what a unit step of each free number does to the covariance."""
    if isinstance(form, kem.Isotropic):
        yield np.eye(size)
        return
    for i in range(size):
        for j in range(i + 1) if isinstance(form, kem.Full) else [i]:
            direction = np.zeros((size, size))
            direction[i, j] = direction[j, i] = 1.0
            yield direction


def test_a_general_equation_learns_what_the_kinematic_model_does():
    panel = series_of(MODELS["velocity, full"], lengths=(60,))
    general = kem.ContinuousTime(
        np.kron([[0.0, 1.0], [0.0, 0.0]], np.eye(2)),
        np.kron([[0.0], [1.0]], np.eye(2)),
        np.eye(2, 4),
    )
    one, other = kem.fit(general, panel), kem.fit(MODELS["velocity, full"], panel)
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(one.params.spectral_density, other.params.acceleration_density, rtol=1e-3)


def test_learning_on_a_fine_clock_with_gaps_of_nan_is_the_same():
    model = kem.ConstantVelocity()
    rng = np.random.default_rng(2)
    places = np.sort(rng.choice(400, size=60, replace=False))
    (_, one), *_ = tracks(1, model, 0.5, 0.3, [60])
    values = np.full((400, 1), np.nan)
    values[places] = one.values
    sparse = kem.Observations(one.values, times=0.25 * places)
    dense = kem.Observations(values, times=0.25 * np.arange(400))
    stopping = kem.Stopping(max_iterations=20000, relative_tolerance=1e-15, parameter_tolerance=1e-9)
    first, second = (kem.fit(model, data, stopping=stopping) for data in (sparse, dense))
    assert first.log_likelihood == pytest.approx(second.log_likelihood, abs=1e-7)
    np.testing.assert_allclose(first.params.acceleration_density, second.params.acceleration_density, rtol=1e-4)
    np.testing.assert_allclose(
        first.smooth().smoothed_means, second.smooth().smoothed_means[places], rtol=1e-3, atol=1e-3
    )
    # And at the same parameters exactly.
    system = first.system
    assert kem.kalman_filter(system, dense).log_likelihood == pytest.approx(first.log_likelihood, rel=1e-11)


def test_the_units_of_time_and_of_the_data_scale_the_density_and_nothing_else():
    panel = series_of(MODELS["velocity"], lengths=(50, 40))
    fitted = kem.fit(MODELS["velocity"], panel)
    scaled = kem.Panel([kem.Observations(1000.0 * one.values, times=one.times / 60.0) for one in panel])
    other = kem.fit(MODELS["velocity"], scaled)
    np.testing.assert_allclose(
        other.params.acceleration_density, fitted.params.acceleration_density * 1e6 * 60.0**3, rtol=1e-6
    )
    np.testing.assert_allclose(other.params.observation_cov, fitted.params.observation_cov * 1e6, rtol=1e-6)
    stretched = fitted.smooth(0).smoothed_means * np.repeat([1000.0, 60000.0], 2)
    np.testing.assert_allclose(other.smooth(0).smoothed_means, stretched, rtol=1e-6, atol=1e-3)


def test_learnt_densities_are_near_the_truth_and_consistent_with_it():
    model = kem.ConstantVelocity(dim=2)
    found = tracks(11, model, 0.3, np.diag([1.0, 2.0]), [80] * 25)
    fitted = kem.fit(model, kem.Panel([one for _, one in found]))
    assert fitted.params.acceleration_density[0, 0] == pytest.approx(0.3, rel=0.1)
    np.testing.assert_allclose(np.diagonal(fitted.params.observation_cov), [1.0, 2.0], rtol=0.1)
    # One row of each track, so that the errors are independent: NEES has 25 * 4 degrees of freedom.
    total = 0.0
    for key, (states, _) in enumerate(found):
        filtered = fitted.filter(key)
        total += kem.nees(filtered.filtered_means, filtered.filtered_covs, states)[60]
    low, high = scipy.stats.chi2(100).ppf([0.005, 0.995])
    assert low < total < high
    means = [fitted.consistency(series=key).mean_nis for key in range(25)]
    assert abs(np.mean(means) - 1.0) < 0.06


def test_the_start_is_near_the_end():
    model = MODELS["velocity"]
    specification, panel = stated(model, series_of(model, lengths=(200, 150)))
    start = model.start(specification, panel)
    end = kem.fit(model, panel)
    ratio = start.transition_cov[0, 0] / end.system.transition_cov[0, 0]
    assert 0.05 < ratio < 20.0
