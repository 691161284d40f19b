"""A learnt time constant: its M-step is the maximum over it and the density; EM ends at that of the likelihood."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy
from oracles.dense import DenseGaussian
from support.motion import tracks

import kalman_em as kem
from kalman_em.fitting.learning import stated
from kalman_em.models.decay import time_constant_of, with_decay
from kalman_em.models.leading import rows_of
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.scale import data_scale

MODEL = kem.CorrelatedRandomWalk(time_constant=kem.Full(), dim=2)


def panel_of(lengths, seed=5):
    truth = kem.CorrelatedRandomWalk(time_constant=3.0, dim=2)
    return kem.Panel([one for _, one in tracks(seed, truth, 0.5, 0.3 * np.eye(2), lengths, missing=0.1)])


def test_a_step_is_the_maximum_over_time_constant_and_density():
    specification, panel = stated(MODEL, panel_of((9, 7)))
    problem = LinearGaussianProblem(specification, rows_of(panel, specification), data_scale(panel))
    start = MODEL.start(specification, panel)
    # Within the reach of one step.
    entry = problem.specification.decay
    dynamics = with_decay(start.dynamics, entry, 2.5)
    gaps = start.transition_gaps
    start = start.replaced(
        dynamics=dynamics,
        transition_matrix=dynamics.transition_matrices(gaps),
        noise_selection=dynamics.noise_selections(gaps),
    )
    found = problem.m_step(start, problem.e_step(start)[0])
    # By brute force: the moments of pairs of states, and the density of their moves under any time constant.
    pairs = [gap for one in panel for gap in np.diff(one.times)]
    moves = expected_pairs(problem, start)

    def loss(theta):
        dynamics = with_decay(start.dynamics, entry, float(np.exp(theta[0])))
        total = 0.0
        for gap, (mean, cov) in zip(pairs, moves, strict=True):
            F = dynamics.transition_matrices(np.array([gap]))[0]
            G = dynamics.noise_selections(np.array([gap]))[0]
            step = np.hstack([-F, np.eye(len(F))])
            square = step @ (cov + np.outer(mean, mean)) @ step.T
            Q = np.exp(theta[1]) * G @ G.T
            total -= 0.5 * (np.linalg.slogdet(Q)[1] + np.trace(np.linalg.solve(Q, square)))
        return -total

    best = scipy.optimize.minimize(
        loss, [np.log(2.5), 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 2000}
    ).x
    reached = np.log(time_constant_of(found.dynamics, entry))
    assert abs(best[0] - np.log(2.5)) < np.log(2.0)
    assert reached == pytest.approx(best[0], abs=1e-4)
    assert np.log(found.transition_cov[0, 0]) == pytest.approx(best[1], abs=1e-4)


def expected_pairs(problem, system):
    """The mean and covariance of (x[t], x[t+1]) for every move, from the dense oracle."""
    from_oracle = []
    for first, last in pairwise(problem.rows.starts):
        times = problem.rows.times[first:last]
        exact = DenseGaussian(system.along(times), kem.Observations(problem.rows.values[first:last])).smoothed()
        d = system.state_dim
        for t in range(len(times) - 1):
            block = exact.state_cov[t : t + 2, :, t : t + 2, :].reshape(2 * d, 2 * d)
            from_oracle.append((exact.state_means[t : t + 2].ravel(), block))
    return from_oracle


@pytest.fixture(scope="module")
def fitted():
    return kem.fit(MODEL, panel_of((90, 80)))


def test_the_end_is_the_top_of_the_profile(fitted):
    assert fitted.em.stop_reason.is_converged
    tau = float(fitted.params.time_constant)
    assert 1.5 < tau < 6.0
    known = [
        kem.fit(kem.CorrelatedRandomWalk(time_constant=factor * tau, dim=2), fitted.panel).log_likelihood
        for factor in (0.97, 1.0, 1.03)
    ]
    assert known[1] == pytest.approx(fitted.log_likelihood, abs=2e-3)
    assert max(known[0], known[2]) < fitted.log_likelihood
    # The top of the parabola through them is where the fit ended.
    slope = (known[2] - known[0]) / 2.0 / (known[0] + known[2] - 2.0 * known[1])
    assert abs(0.03 * slope) < 0.01
    assert np.all(np.diff(fitted.em.log_likelihoods) > -1e-8)


def test_it_is_counted_said_saved_and_carried_on(fitted, tmp_path):
    assert fitted.n_parameters == 4
    assert "Generalised M-step: time_constant" in str(fitted.summary()).replace("\n", " ")
    fitted.save(tmp_path / "fit.json")
    again = kem.load(tmp_path / "fit.json")
    assert again.log_likelihood == fitted.log_likelihood
    assert float(again.params.time_constant) == float(fitted.params.time_constant)
    tau = float(fitted.params.time_constant)
    moved = fitted.discretize(1.0).transition_matrix
    assert moved[2, 2] == pytest.approx(np.exp(-1.0 / tau), rel=1e-12)
    once = fitted.refit(fitted.panel, stopping=kem.Stopping(max_iterations=1))
    assert once.em.log_likelihoods[0] == pytest.approx(fitted.log_likelihood, rel=1e-9)
    checked = fitted.crosscheck(max_iterations=2)
    assert checked.relative_difference < 1e-9
    assert "time constant" in checked.unavailable


def test_what_does_not_fit_is_named(fitted):
    cases = [
        (lambda: fitted.standard_errors, "time_constant: is learnt by a search"),
        (lambda: MODEL.discretize(1.0), "time_constant: is learnt; ask the fit"),
        (lambda: kem.Singer(time_constant="long"), "time_constant: expected a positive number, or Full"),
        (lambda: kem.fit(MODEL, fitted.panel, start={"time_constant": -1.0}), "time_constant: expected a positive"),
    ]
    for act, said in cases:
        with pytest.raises(kem.InputError, match=said):
            act()
