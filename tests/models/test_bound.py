"""The bound of the linear-Gaussian model: against the dense posterior, brute force, and the M-step it explains."""

from dataclasses import replace

import numpy as np
import pytest
from oracles.bruteforce import constants, expected_log_likelihood, expected_moments
from oracles.dense import DenseGaussian
from support.systems import random_cov, random_observations, random_system

import kalman_em as kem
from kalman_em.em.bound import lower_bound
from kalman_em.inference.expectations import expect_all
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.models.bound import expected_gain
from kalman_em.models.leading import with_leading_rows
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.scale import data_scale

CASES = {
    "plain": {},
    "inputs": {"input_dim": 2},
    "no offsets": {"offsets": False},
    "diffuse": {"diffuse": 1},
    "all diffuse": {"diffuse": 2},
    "selected noise": {"noise_dim": 1},
    "singular Q": {"cov_rank": 1},
    "exact row": {"exact_rows": 1},
    "known start": {"initial_rank": 0},
    "varying": {"varying": "all", "input_dim": 1},
}
N_STEPS = 6


def case(name, *, missing=0.25):
    """Return a system and observations with gaps; an exact row has none, for its noise says nothing of others."""
    rng = np.random.default_rng(list(CASES).index(name))
    system = random_system(rng, 2, 3, N_STEPS, **CASES[name])
    observations = random_observations(rng, system, N_STEPS, missing=missing, missing_rows=(3,) if missing else ())
    return system, observations


def moved(system, rng, size):
    """Return the system with everything that may move moved a little: noise-free directions stay as they are."""
    d, p = system.state_dim, system.obs_dim
    G = np.eye(d) if system.noise_selection is None else system.noise_selection
    Q = system.transition_cov
    entered = G @ Q @ np.swapaxes(G, -1, -2)
    noisy = entered if entered.ndim == 2 else entered[0]
    into = noisy @ np.linalg.pinv(noisy, rcond=1e-9, hermitian=True) if entered.ndim == 2 else np.eye(d)
    R = system.observation_cov
    exact = np.diagonal(R) == 0.0 if R.ndim == 2 else np.zeros(p, dtype=bool)
    changes = {
        "transition_matrix": into @ rng.normal(size=(d, d)),
        "transition_offset": into @ rng.normal(size=d),
        "observation_matrix": np.where(exact[:, None], 0.0, rng.normal(size=(p, d))),
        "observation_offset": np.where(exact, 0.0, rng.normal(size=p)),
    }
    if system.input_dim:
        changes["transition_input"] = into @ rng.normal(size=(d, system.input_dim))
        changes["observation_input"] = rng.normal(size=(p, system.input_dim))
    if np.any(system.initial_cov):
        changes["initial_mean"] = rng.normal(size=d)
    values = {name: getattr(system, name) + size * change for name, change in changes.items()}
    stretch = np.eye(len(Q[0]) if Q.ndim == 3 else len(Q))
    values["transition_cov"] = np.exp(size * rng.normal()) * stretch @ Q @ stretch.T
    twist = np.eye(p) + size * np.where(np.outer(~exact, ~exact), rng.normal(size=(p, p)), 0.0)
    values["observation_cov"] = twist @ R @ twist.T
    values["initial_cov"] = np.exp(size * rng.normal()) * system.initial_cov
    return replace(system, **values)


def evaluated(system, *series):
    """Return the expectations and the log-likelihood."""
    rows = stack_rows(series)
    return expect_all(lay(system, rows), rows)


def bound_at(old, new, *series):
    """Return the lower bound at `new`."""
    expectations, log_likelihood = evaluated(old, *series)
    return log_likelihood + expected_gain(old, new, expectations)


def divergence(old, new, observations):
    """Return KL(posterior at `old`, posterior at `new`) of states and missing entries, from the dense oracle."""
    hidden = np.isnan(observations.values).ravel()
    moments = []
    for system in (old, new):
        dense = DenseGaussian(system, observations).smoothed()
        n, m = dense.state_means.size, dense.obs_means.size
        cross = dense.obs_state_cov.reshape(m, n)
        cov = np.block([[dense.state_cov.reshape(n, n), cross.T], [cross, dense.obs_cov.reshape(m, m)]])
        keep = np.concatenate([np.ones(n, dtype=bool), hidden])
        mean = np.concatenate([dense.state_means.ravel(), dense.obs_means.ravel()])
        moments.append((mean[keep], cov[np.ix_(keep, keep)]))
    (mean, cov), (other_mean, other_cov) = moments
    shift = other_mean - mean
    log_ratio = np.linalg.slogdet(other_cov)[1] - np.linalg.slogdet(cov)[1]
    solved = np.linalg.solve(other_cov, np.column_stack([cov, shift]))
    return 0.5 * (np.trace(solved[:, :-1]) - len(mean) + shift @ solved[:, -1] + log_ratio)


@pytest.mark.parametrize("name", ["plain", "inputs", "diffuse", "all diffuse", "varying"])
def test_the_gap_is_the_divergence_between_the_posteriors(name) -> None:
    system, observations = case(name)
    new = moved(system, np.random.default_rng(5), 0.2)
    gap = evaluated(new, observations)[1] - bound_at(system, new, observations)
    assert gap > 0.01
    assert gap == pytest.approx(divergence(system, new, observations), rel=1e-8)


@pytest.mark.parametrize("name", ["plain", "inputs", "no offsets", "selected noise"])
def test_the_gain_is_that_of_brute_force(name) -> None:
    system, observations = case(name)
    new = moved(system, np.random.default_rng(7), 0.3)
    moments = expected_moments(system, observations)
    before, after = (expected_log_likelihood(moments, constants(s), selection=s.noise_selection) for s in (system, new))
    expectations, _ = evaluated(system, observations)
    assert expected_gain(system, new, expectations) == pytest.approx(after - before, rel=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_the_bound_touches_at_the_old_parameters(name) -> None:
    system, observations = case(name, missing=0.0 if name == "exact row" else 0.25)
    assert bound_at(system, system, observations) == pytest.approx(evaluated(system, observations)[1], rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_the_bound_is_below_the_log_likelihood(name) -> None:
    system, observations = case(name, missing=0.0 if name == "exact row" else 0.25)
    rng = np.random.default_rng(11)
    for size in (0.01, 0.1, 0.5):
        new = moved(system, rng, size)
        gap = evaluated(new, observations)[1] - bound_at(system, new, observations)
        assert np.isfinite(gap)
        assert gap > 0.0


@pytest.mark.parametrize("name", CASES)
def test_both_have_the_same_slope_at_the_old_parameters(name) -> None:
    system, observations = case(name, missing=0.0 if name == "exact row" else 0.25)
    step = 1e-5
    # The same seed: one direction, both ways.
    ahead, behind = (moved(system, np.random.default_rng(13), size) for size in (step, -step))
    slope = (evaluated(ahead, observations)[1] - evaluated(behind, observations)[1]) / (2 * step)
    of_bound = (bound_at(system, ahead, observations) - bound_at(system, behind, observations)) / (2 * step)
    assert abs(slope) > 0.1
    assert of_bound == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_series_of_a_panel_add_up() -> None:
    system, first = case("plain")
    second = random_observations(np.random.default_rng(3), system, 4)
    new = moved(system, np.random.default_rng(17), 0.2)
    together = bound_at(system, new, first, second)
    assert together == pytest.approx(bound_at(system, new, first) + bound_at(system, new, second), rel=1e-12)


class Bounded(LinearGaussianProblem):
    """The EM problem with its expected gain."""

    def expected_gain(self, old, new, expectations):
        return expected_gain(old, new, expectations)


def problem_of(model, panel):
    """Return the EM problem of a model, and its start."""
    specification = model.specify(panel)
    rows = stack_rows(with_leading_rows(panel, specification).series)
    return Bounded(specification, rows, data_scale(panel)), model.start(specification, panel)


def general_model(**forms):
    return kem.LinearGaussian(
        2, 3, observation_offset=kem.Full(), transition_offset=kem.Full(), **{"initial_cov": kem.Full(), **forms}
    )


def gappy_panel():
    rng = np.random.default_rng(19)
    system = random_system(rng, 2, 3, 30)
    return kem.Panel([random_observations(rng, system, n, missing=0.2) for n in (25, 30)])


@pytest.mark.parametrize(
    "model",
    [
        general_model(),
        general_model(transition_cov=kem.Diagonal(), observation_cov=kem.Isotropic()),
        general_model(transition_matrix=kem.Diagonal(), transition_cov=kem.Fixed(np.eye(2))),
        kem.LocalLinearTrend(observation_cov=kem.Diagonal()),
        kem.LocalLevel(initial_cov=kem.Full()),
    ],
    ids=["full", "diagonal", "fixed Q", "trend", "level"],
)
def test_the_m_step_is_the_maximum_of_the_bound(model) -> None:
    problem, start = problem_of(model, gappy_panel())
    expectations, _ = problem.e_step(start)
    best = problem.m_step(start, expectations)
    highest = expected_gain(start, best, expectations)
    assert highest > 1e-4
    rng = np.random.default_rng(23)
    for _ in range(10):
        values = {
            name: np.array(getattr(best, name))
            for name in problem.specification.forms
            if problem.specification.has(name)
        }
        for name, value in values.items():
            if name.endswith("cov"):
                values[name] = value + 1e-3 * np.sqrt(np.outer(np.diagonal(value), np.diagonal(value))) * random_cov(
                    rng, len(value)
                )
            else:
                values[name] = value + 1e-3 * rng.normal(size=value.shape)
        near = problem.specification.projected(values)
        loss = highest - expected_gain(start, near, expectations)
        assert 0.0 < loss < 1.0


def test_each_iteration_climbs_bound_and_likelihood() -> None:
    panel = kem.Panel([kem.Observations(kem.datasets.load("nile")["flow"].to_numpy()[:, None])])
    problem, params = problem_of(kem.LocalLevel(), panel)
    params = replace(params, transition_cov=[[100.0]], observation_cov=[[30000.0]])
    for _ in range(10):
        expectations, before = problem.e_step(params)
        new = problem.m_step(params, expectations)
        bound, after = lower_bound(problem, params, new), problem.e_step(new)[1]
        assert before < bound < after
        params = new


def level(q, r, m=0.0, p=1.0):
    return kem.LinearGaussianSystem(
        transition_matrix=[[1.0]],
        transition_cov=[[q]],
        observation_matrix=[[1.0]],
        observation_cov=[[r]],
        initial_mean=[m],
        initial_cov=[[p]],
    )


SHORT = kem.Observations([[0.5], [1.0], [0.2]])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (level(0.0, 1.0), level(0.1, 1.0)),
        (level(0.1, 1.0), level(0.0, 1.0)),
        (level(0.1, 1.0), level(0.1, 0.0)),
        (level(0.1, 1.0, p=0.0), level(0.1, 1.0, m=0.1, p=0.0)),
        (level(0.1, 1.0, p=0.0), level(0.1, 1.0, p=0.1)),
        (level(0.0, 1.0), replace(level(0.0, 1.0), transition_matrix=[[0.9]])),
    ],
    ids=["Q appears", "Q vanishes", "R vanishes", "known start moves", "P appears", "F moves without noise"],
)
def test_states_that_one_excludes_leave_no_bound(old, new) -> None:
    assert bound_at(old, new, SHORT) == -np.inf


def test_units_do_not_matter() -> None:
    system, observations = case("plain")
    new = moved(system, np.random.default_rng(29), 0.2)
    scale = 1e-9

    def scaled(s):
        return replace(
            s,
            observation_matrix=scale * s.observation_matrix,
            observation_offset=scale * s.observation_offset,
            observation_cov=scale**2 * s.observation_cov,
        )

    expectations, _ = evaluated(system, observations)
    small, _ = evaluated(scaled(system), kem.Observations(scale * observations.values))
    gain = expected_gain(system, new, expectations)
    assert expected_gain(scaled(system), scaled(new), small) == pytest.approx(gain, rel=1e-9)


def test_what_cannot_be_compared_is_refused() -> None:
    varying, observations = case("varying")
    expectations, _ = evaluated(varying, observations)
    F = varying.transition_matrix.copy()
    F[2, 0, 0] += 0.1
    with pytest.raises(kem.InputError, match="transition_matrix: expected a change that is the same at every step"):
        expected_gain(varying, replace(varying, transition_matrix=F), expectations)
    plain, _ = case("plain")
    with pytest.raises(kem.InputError, match=r"expected the same shape in both systems"):
        expected_gain(varying, plain, expectations)
    diffuse, observations = case("diffuse")
    expectations, _ = evaluated(diffuse, observations)
    with pytest.raises(kem.InputError, match="initial_diffuse"):
        expected_gain(diffuse, replace(diffuse, initial_diffuse=[False, False]), expectations)
