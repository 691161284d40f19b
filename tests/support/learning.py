"""EM taken apart for the tests: the problem of a model and series, its steps one by one, and brute-force maximisers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from oracles import bruteforce as bf
from oracles.dense import DenseGaussian

import kalman_em as kem
from kalman_em.models.by_series import laid_by_series
from kalman_em.models.leading import rows_of, with_leading_rows
from kalman_em.models.problem import LeapingProblem, LinearGaussianProblem
from kalman_em.models.scale import data_scale
from support.systems import at

COEFFICIENTS, COVARIANCES = "FbBHdDm", "QRP"


def problem_of(model, *series, leaps=False):
    """Return the EM problem of `model` for `series`, and the series as the filter sees them (leading rows added).

    Plain EM unless `leaps`: as `fit` climbs by default.
    """
    panel = kem.Panel(series)
    specification = laid_by_series(model.specify(panel), panel)
    led = with_leading_rows(panel, specification)
    kind = LeapingProblem if leaps else LinearGaussianProblem
    return kind(specification, rows_of(panel, specification), data_scale(panel)), led.series


def projected(problem, system):
    """Return `system` brought to the forms of the problem: somewhere to start."""
    values = {name: getattr(system, name) for name in bf.NAMES.values() if getattr(system, name) is not None}
    return problem.specification.projected(values)


def one_step(problem, params):
    """Return the parameters after one EM step from `params`."""
    return problem.m_step(params, problem.e_step(params)[0])


def plain_em(problem, params, n_steps):
    """Yield (parameters, log-likelihood) at `params` and after each of `n_steps` plain EM steps."""
    for _ in range(n_steps):
        expectations, log_likelihood = problem.e_step(params)
        yield params, log_likelihood
        params = problem.m_step(params, expectations)
    yield params, problem.e_step(params)[1]


def log_likelihood(system, *series):
    """Return the log-likelihood of a panel by the filter."""
    return sum(kem.kalman_filter(system, one).log_likelihood for one in series)


def block_of(form, value):
    """Return the `Block` of the brute-force oracle for a form of this package."""
    value = np.array(value)
    if isinstance(form, kem.Fixed):
        return bf.fixed(value)
    if isinstance(form, kem.Full):
        return bf.free(value)
    if isinstance(form, kem.Diagonal):
        return bf.free(value) if value.ndim == 1 else bf.partly(value, np.eye(len(value), dtype=bool))
    if isinstance(form, kem.Isotropic):
        pattern = np.ones(value.shape) if value.ndim == 1 else np.eye(len(value))
        return bf.linear(np.zeros(value.shape), pattern[None], [value.flat[0]])
    constraint = form.constraint(value.shape, "coefficient")
    return bf.linear(constraint.fixed, constraint.design.T.reshape(-1, *value.shape), constraint.free(value))


def covariance_block_of(form, value):
    """Return the `Block` of the brute-force oracle for a covariance of this form."""
    value = np.array(value)
    if isinstance(form, kem.BlockDiagonal) and form.is_direct:
        return _side_by_side(form.blocks, value)
    makers = {
        kem.Fixed: bf.fixed,
        kem.Full: bf.full_cov,
        kem.Diagonal: bf.diagonal_cov,
        kem.Isotropic: bf.isotropic_cov,
    }
    return makers[type(form)](value) if type(form) in makers else _member(form, value)


def _member(form, value):
    """Return the `Block` of a linear family of covariances; its one factor as a logarithm."""
    family = form.family(value.shape[-1], "covariance")
    fixed, basis, start = family.at(np.zeros(family.n_free)), family.basis(), family.free(value)
    basis = basis if value.ndim == 3 else basis[:, 0]
    if len(start) == 1 and not np.any(fixed):
        return bf.Block(np.log(start), lambda theta: np.exp(theta[0]) * basis[0])
    return bf.linear(fixed, basis, start)


def blocks_of(problem, params):
    """Return the brute-force `Block` of every free parameter, by letter, starting at `params`."""
    forms = problem.specification.forms
    free = {letter: name for letter, name in bf.NAMES.items() if problem.specification.is_free(name)}
    return {
        letter: (covariance_block_of if letter in COVARIANCES else block_of)(forms[name], getattr(params, name))
        for letter, name in free.items()
    }


def maximise_by_steps(system, series, blocks, *, n_leading=0):
    """Return the brute-force maximiser with the expected complete log-likelihood summed step by step.

    As `bruteforce.maximise`, but known arrays may vary in time, and the first `n_leading` rows of each of the
    series are steps of the state alone: nothing could be observed there. A name that is not in `blocks` stays.
    """
    old = {letter: getattr(system, name) for letter, name in bf.NAMES.items()}
    for letter, rows in (("B", system.state_dim), ("D", system.obs_dim)):
        old[letter] = np.zeros((rows, system.input_dim)) if old[letter] is None else old[letter]
    steps = [step for one in series for step in _steps(system, one, n_leading)]
    moving = [step for step in steps if set(step.names) & set(blocks)]
    ends = np.cumsum([len(block.start) for block in blocks.values()])[:-1]

    def build(theta):
        pieces = np.split(theta, ends)
        return {name: block.build(piece) for (name, block), piece in zip(blocks.items(), pieces, strict=True)}

    def loss(theta):
        values = old | build(theta)
        return sum(step.loss(values) for step in moving)

    return build(bf.climb(loss, np.concatenate([block.start for block in blocks.values()])))


@dataclass(frozen=True)
class _Step:
    """One residual left - M x - offset - N u of known moments, and the names of M, offset, N and its covariance."""

    names: str
    t: int
    left: np.ndarray
    left_cov: np.ndarray
    cross_cov: np.ndarray
    right: np.ndarray
    right_cov: np.ndarray
    inputs: np.ndarray

    def loss(self, values):
        """Return minus the expected log density, without 2π."""
        M, offset, N, noise = (
            at(values[name], self.t, ndim) for name, ndim in zip(self.names, (2, 1, 2, 2), strict=True)
        )
        mean = self.left - M @ self.right - offset - N @ self.inputs
        spread = M @ self.cross_cov.T
        residual = np.outer(mean, mean) + self.left_cov - spread - spread.T + M @ self.right_cov @ M.T
        sign, log_det = np.linalg.slogdet(noise)
        log_det = log_det + np.log(sign) if np.iscomplexobj(noise) else log_det
        return 0.5 * (log_det + np.trace(np.linalg.solve(noise, residual)))


def _steps(system, observations, n_leading):
    posterior = DenseGaussian(system, observations).smoothed()
    T = observations.n_steps
    inputs = observations.inputs if system.input_dim else np.zeros((T, 0))
    x, y, cov = posterior.state_means, posterior.obs_means, posterior.state_cov
    for t in range(n_leading, T):
        yield _Step(
            "HdDR", t, y[t], posterior.obs_cov[t, :, t], posterior.obs_state_cov[t, :, t], x[t], cov[t, :, t], inputs[t]
        )
    for t in range(T - 1):
        yield _Step("FbBQ", t, x[t + 1], cov[t + 1, :, t + 1], cov[t + 1, :, t], x[t], cov[t, :, t], inputs[t])


def _side_by_side(forms, value):
    parts, first = [], 0
    for form, size in forms:
        rows = slice(first, first + size)
        parts.append((rows, covariance_block_of(form, value[rows, rows])))
        first += size
    ends = np.cumsum([len(part.start) for _, part in parts])[:-1]

    def build(theta):
        result = np.zeros(value.shape, dtype=theta.dtype)
        for (rows, part), numbers in zip(parts, np.split(theta, ends), strict=True):
            result[rows, rows] = part.build(numbers)
        return result

    return bf.Block(np.concatenate([part.start for _, part in parts]), build)
