"""The brute-force oracle of the M-step: maximise the expected complete-data log-likelihood numerically.

The complete data are every state and every observation, missing entries included (in wholly missing rows
too). Their moments given what was observed come from the dense oracle at the old parameters; the objective
is then an explicit function of new constant parameters F, b, B, Q, H, d, D, R, m, P, and is climbed by BFGS
and Newton steps with derivatives by complex steps (exact to rounding). No M-step formula is used.

A parameter is a `Block`: a map from unconstrained numbers to the array. A name left out stays as it was.

    new, value = maximise([(system, observations)], {"F": free(F0), "Q": full_cov(Q0)})
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from oracles.dense import LOG_2PI, DenseGaussian

NAMES = {
    "F": "transition_matrix",
    "b": "transition_offset",
    "B": "transition_input",
    "Q": "transition_cov",
    "H": "observation_matrix",
    "d": "observation_offset",
    "D": "observation_input",
    "R": "observation_cov",
    "m": "initial_mean",
    "P": "initial_cov",
}
STATE, OBSERVATION, INITIAL = frozenset("FbBQ"), frozenset("HdDR"), frozenset("mP")


@dataclass(frozen=True)
class Block:
    """An array as a function of unconstrained numbers: `build(theta)` for `theta` near `start`."""

    start: np.ndarray
    build: Callable[[np.ndarray], np.ndarray]


def fixed(value):
    """Hold the array."""
    value = np.array(value, dtype=float)
    return Block(np.empty(0), lambda theta: value)


def free(value):
    """Vary every entry of a matrix or vector."""
    value = np.array(value, dtype=float)
    return Block(value.ravel(), lambda theta: theta.reshape(value.shape))


def partly(value, mask):
    """Vary the entries where `mask` is True."""
    value, mask = np.array(value, dtype=float), np.array(mask, dtype=bool)
    basis = np.eye(value.size)[mask.ravel()].reshape(-1, *value.shape)
    return linear(np.where(mask, 0.0, value), basis, value[mask])


def linear(base, basis, start):
    """Vary theta in base + sum_i theta_i basis[i]: shared entries, patterns, any linear constraint."""
    base, basis = np.array(base, dtype=float), np.array(basis, dtype=float)
    return Block(np.array(start, dtype=float), lambda theta: base + np.tensordot(theta, basis, axes=1))


def full_cov(value):
    """Vary a positive definite covariance through its Cholesky factor with a log diagonal."""
    factor = np.linalg.cholesky(np.array(value, dtype=float))
    dim = len(factor)
    rows, columns = np.tril_indices(dim, -1)

    def build(theta):
        lower = np.diag(np.exp(theta[:dim]))
        lower[rows, columns] = theta[dim:]
        return lower @ lower.T

    return Block(np.concatenate([np.log(np.diagonal(factor)), factor[rows, columns]]), build)


def diagonal_cov(value):
    """Vary the variances of a diagonal covariance."""
    return Block(np.log(np.diagonal(value)), lambda theta: np.diag(np.exp(theta)))


def isotropic_cov(value):
    """Vary the one variance of a multiple of the identity."""
    return scaled_cov(np.eye(len(value)), np.mean(np.diagonal(value)))


def scaled_cov(basis, scale):
    """Vary the factor of `scale` times a given positive definite `basis`."""
    basis = np.array(basis, dtype=float)
    return Block(np.log([float(scale)]), lambda theta: np.exp(theta[0]) * basis)


def block_diagonal_cov(value, blocks):
    """Vary the diagonal blocks, each a list of positions; 0 between them."""
    value = np.array(value, dtype=float)
    parts = [full_cov(value[np.ix_(block, block)]) for block in blocks]
    ends = np.cumsum([len(part.start) for part in parts])

    def build(theta):
        result = np.zeros(value.shape, dtype=theta.dtype)
        for block, part, numbers in zip(blocks, parts, np.split(theta, ends[:-1]), strict=True):
            result[np.ix_(block, block)] = part.build(numbers)
        return result

    return Block(np.concatenate([part.start for part in parts]), build)


def equal_cov(value):
    """Vary one common variance and one common covariance."""
    dim = len(value)
    mean = np.mean(np.diagonal(value))
    common = (np.sum(value) - np.trace(value)) / (dim * (dim - 1))
    ones = np.full((dim, dim), 1.0 / dim)
    # Its two distinct eigenvalues are positive and free.
    start = np.log([mean + (dim - 1) * common, mean - common])
    return Block(start, lambda theta: np.exp(theta[0]) * ones + np.exp(theta[1]) * (np.eye(dim) - ones))


@dataclass(frozen=True)
class Moments:
    """Sums over the steps of all series of expected products of v = (left, right), and what they weigh.

    The residual of each of the three parts is left - M right with M of the new parameters: x[t+1] on
    (x[t], 1, u[t]); y[t] on (x[t], 1, u[t]); x[0] on 1.
    """

    count: float
    left: np.ndarray
    cross: np.ndarray
    right: np.ndarray

    def residual(self, matrix):
        """Return the sum of E[(left - M right)(left - M right)'] for M = `matrix`."""
        mixed = matrix @ self.cross.T
        return self.left - mixed - mixed.T + matrix @ self.right @ matrix.T

    def __add__(self, other):
        parts = ("count", "left", "cross", "right")
        return Moments(*(getattr(self, name) + getattr(other, name) for name in parts))


def expected_moments(system, observations):
    """Return the `Moments` of the initial state, the transitions and the observations."""
    posterior = DenseGaussian(system, observations).smoothed()
    T, d = posterior.state_means.shape
    inputs = observations.inputs if system.input_dim else np.zeros((T, 0))
    x, y = posterior.state_means, posterior.obs_means
    cov, known = posterior.state_cov, np.column_stack([np.ones(T), inputs])

    def regression(left, left_cov, cross_cov, right, right_cov, one_and_inputs):
        whole = np.concatenate([right, one_and_inputs])
        cross = np.outer(left, whole)
        cross[:, :d] += cross_cov
        square = np.outer(whole, whole)
        square[:d, :d] += right_cov
        return Moments(1.0, np.outer(left, left) + left_cov, cross, square)

    initial = Moments(1.0, np.outer(x[0], x[0]) + cov[0, :, 0], x[0][:, None], np.ones((1, 1)))
    empty = Moments(0.0, np.zeros((d, d)), np.zeros((d, d + known.shape[1])), np.zeros((d + known.shape[1],) * 2))
    transition = sum(
        (
            regression(x[t + 1], cov[t + 1, :, t + 1], cov[t + 1, :, t], x[t], cov[t, :, t], known[t])
            for t in range(T - 1)
        ),
        empty,
    )
    first, *others = (
        regression(y[t], posterior.obs_cov[t, :, t], posterior.obs_state_cov[t, :, t], x[t], cov[t, :, t], known[t])
        for t in range(T)
    )
    return initial, transition, sum(others, first)


def expected_log_likelihood(moments, parameters, parts=("initial", "transition", "observation"), selection=None):
    """Return E[log p(x, y)] over the given parts, at `parameters` (keys F, b, B, Q, H, d, D, R, m, P).

    With a `selection` G the noise of the transition is G's least-squares coefficient of the residual.
    """
    initial, transition, observation = moments
    value = 0.0
    if "initial" in parts:
        value += _normal(initial.count, initial.residual(parameters["m"][:, None]), parameters["P"])
    if "transition" in parts:
        matrix = np.column_stack([parameters["F"], parameters["b"], parameters["B"]])
        residual = transition.residual(matrix)
        if selection is not None:
            inverse = np.linalg.pinv(selection)
            residual = inverse @ residual @ inverse.T
        value += _normal(transition.count, residual, parameters["Q"])
    if "observation" in parts:
        matrix = np.column_stack([parameters["H"], parameters["d"], parameters["D"]])
        value += _normal(observation.count, observation.residual(matrix), parameters["R"])
    return value


def maximise(data, blocks):
    """Return the maximiser, a dict of arrays, and the expected log-likelihood there (of the parts that vary).

    Parameters
    ----------
    data : list of (LinearGaussianSystem, Observations)
        The series, each with the system of the old parameters (they may differ: a panel of lengths).
    blocks : dict from F, b, B, Q, H, d, D, R, m, P to Block
        What varies and how; a name left out is fixed at the first system's value.
    """
    old = constants(data[0][0])
    blocks = {name: blocks.get(name, fixed(value)) for name, value in old.items()} | blocks
    moving = {name for name, block in blocks.items() if block.start.size}
    pairs = (("initial", INITIAL), ("transition", STATE), ("observation", OBSERVATION))
    parts = tuple(part for part, names in pairs if names & moving)
    each = [expected_moments(system, observations) for system, observations in data]
    moments = [sum(rest, first) for first, *rest in zip(*each, strict=True)]
    ends = np.cumsum([len(block.start) for block in blocks.values()])[:-1]

    def build(theta):
        pieces = np.split(theta, ends)
        return {name: block.build(piece) for (name, block), piece in zip(blocks.items(), pieces, strict=True)}

    def loss(theta):
        return -expected_log_likelihood(moments, build(theta), parts, data[0][0].noise_selection)

    theta = climb(loss, np.concatenate([block.start for block in blocks.values()]))
    return build(theta), -float(loss(theta))


def constants(system):
    """Return the arrays of a constant system under their letters; absent inputs have no column."""
    values = {letter: getattr(system, name) for letter, name in NAMES.items()}
    for letter, rows in (("B", system.state_dim), ("D", system.obs_dim)):
        if values[letter] is None:
            values[letter] = np.zeros((rows, system.input_dim))
    if not system.is_constant:
        raise ValueError("system: expected constant matrices")
    return values


def climb(loss, start):
    """Return the minimiser of an analytic `loss`: BFGS, then Newton to the last digits."""
    found = minimize(lambda theta: np.real(loss(theta)), start, jac=lambda theta: gradient(loss, theta), method="BFGS")
    theta = found.x
    for _ in range(8):
        slope = gradient(loss, theta)
        step = np.linalg.lstsq(_hessian(loss, theta), slope, rcond=1e-12)[0]
        theta = theta - step * min(1.0, 1.0 / max(np.abs(step).max(), 1e-300))
        if np.abs(step).max() < 1e-11:
            break
    return theta


def gradient(loss, theta, width=1e-30):
    """Return the gradient of an analytic function by complex steps."""
    steps = theta + 1j * width * np.eye(len(theta))
    return np.array([np.imag(loss(row)) / width for row in steps])


def _hessian(loss, theta):
    widths = 1e-5 * np.maximum(1.0, np.abs(theta))
    rows = [
        (gradient(loss, theta + step) - gradient(loss, theta - step)) / (2.0 * width)
        for width, step in zip(widths, np.diag(widths), strict=True)
    ]
    return 0.5 * (np.array(rows) + np.array(rows).T)


def _normal(count, residual, cov):
    """Return the sum of `count` expected log densities of N(0, cov) given the summed squares."""
    sign, log_det = np.linalg.slogdet(cov)
    log_det = log_det + np.log(sign) if np.iscomplexobj(cov) else log_det
    return -0.5 * (count * (len(cov) * LOG_2PI + log_det) + np.trace(np.linalg.solve(cov, residual)))


def maximise_by_series(data, shared, own):
    """Return the maximiser as a dict of arrays for each series: some parameters the same in all, others its own.

    Parameters
    ----------
    data : list of (LinearGaussianSystem, Observations)
        The series, each with its system of the old parameters.
    shared : dict from letters to Block
        What varies alike in all series.
    own : list of dicts from letters to Block
        What varies in each series by itself.
    """
    old = [constants(system) for system, _ in data]
    moments = [expected_moments(system, observations) for system, observations in data]
    moving = set(shared) | {name for blocks in own for name in blocks}
    pairs = (("initial", INITIAL), ("transition", STATE), ("observation", OBSERVATION))
    parts = tuple(part for part, names in pairs if names & moving)
    blocks = [*shared.values(), *(block for one in own for block in one.values())]
    ends = np.cumsum([len(block.start) for block in blocks])[:-1]

    def build(theta):
        pieces = iter([block.build(piece) for block, piece in zip(blocks, np.split(theta, ends), strict=True)])
        common = {name: next(pieces) for name in shared}
        return [old[s] | common | {name: next(pieces) for name in one} for s, one in enumerate(own)]

    def loss(theta):
        selection = data[0][0].noise_selection
        return -sum(
            expected_log_likelihood(moments[s], values, parts, selection) for s, values in enumerate(build(theta))
        )

    return build(climb(loss, np.concatenate([block.start for block in blocks])))
