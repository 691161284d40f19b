"""The M-step of the transition where a stationary start moves with it: a generalised M-step.

With P and m of a stationary block functions of F, b and Q there is no closed form. The expected complete
log-likelihood is that of the transitions, T(F, b, Q), plus that of the first states, I(m(F, b), P(F, Q)). Where the
gradient of I is g in M = [F b B] and Γ in G Q G' = W, the maximum solves the equations of the closed form with

    S_ez + W g   in the place of   S_ez,        S / n + (2 / n) Q G'ΓG Q   in the place of   S / n,

for every linear constraint and every form of Q: the terms added make the gradient in the free directions that of the
sum. They are small beside n transitions, so the equations are solved by iteration, each step in an ascent direction
and shortened until the expected log-likelihood is not lower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.constraints import JointConstraint
from kalman_em.em.regression import Moments, best_change
from kalman_em.errors import NumericalError
from kalman_em.inference.expectations import Expectations
from kalman_em.inference.rows import noise_covs
from kalman_em.inference.stationary import stationary_gradients
from kalman_em.linalg import solve_symmetric, square_root, symmetrised
from kalman_em.models.bound import SINGULAR
from kalman_em.models.first_state import zeros_kept
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem

# Rounds over coefficients and noise, at most; fewer when a round gains less than this part of what all gained.
MOST_ROUNDS = 20
WORTH_A_ROUND = 0.05
# Halvings of a step before it is given up.
MOST_HALVINGS = 40
# The expected log-likelihood of one transition and state is known to this, a few units in the last place.
ROUNDING = 1e-15

Moved = Callable[[Array], Mapping[str, Array]]


@dataclass(frozen=True, eq=False)
class NormalLikelihood:
    """E[log N(e; 0, C)] summed over `count` of e, up to a constant, in the directions in which a given C has noise.

    `live` (q, k) and `silent` (q, q - k) span the directions with and without.
    """

    live: Array
    silent: Array
    count: float

    @classmethod
    def around(cls, cov: Array, count: float) -> NormalLikelihood:
        """Return it for the directions of `cov`."""
        deviations = np.sqrt(np.diagonal(cov))
        unit = 1.0 / np.where(deviations > 0.0, deviations, 1.0)
        values, vectors = np.linalg.eigh(cov * np.outer(unit, unit))
        has_noise = values > SINGULAR * max(float(values.max(initial=0.0)), 0.0)
        scaled = unit[:, None] * vectors
        return cls(scaled[:, has_noise], scaled[:, ~has_noise], count)

    def at(self, cov: Array, scatter: Array) -> float:
        """Return -1/2 [n log|C| + tr C^-1 S]; -inf where noise appears, or vanishes, in some direction."""
        if self.silent.size:
            appeared = np.abs(self.silent.T @ cov @ self.silent).max()
            if appeared > SINGULAR * np.abs(self.live.T @ cov @ self.live).max(initial=0.0):
                return -np.inf
        try:
            root = np.linalg.cholesky(self.live.T @ cov @ self.live)
        except np.linalg.LinAlgError:
            return -np.inf
        white = np.linalg.solve(root, np.linalg.solve(root, self.live.T @ scatter @ self.live).T)
        return float(-self.count * np.log(np.diagonal(root)).sum() - 0.5 * np.trace(white))


@dataclass(frozen=True, eq=False)
class TransitionStep:
    """The generalised M-step from `params`, with the expectations there.

    `moved` returns the blocks of [F b B] that are free after a change of M from its value at `params`.
    """

    specification: Specification
    joint: JointConstraint
    params: LinearGaussianSystem
    expectations: Expectations
    moments: Moments
    moved: Moved

    def best(self, change: Array, noises: Mapping[str, Array]) -> LinearGaussianSystem:
        """Return parameters with an expected log-likelihood that is not lower than that of `params`.

        `change` of M and `noises` (Q, if it is learnt) are the closed form without the first states: the first guess,
        if it serves.
        """
        system, moved = self.params, np.zeros_like(change)
        first = value = self._value(self.params, moved)
        guess = self._at(self.params, change, noises.get("transition_cov"))
        guessed = self._value(guess, change)
        if guess is not None and guessed >= value:
            system, moved, value = guess, change, guessed
        for _ in range(MOST_ROUNDS):
            before = value
            if self.joint.n_free:
                system, moved, value = self._coefficients(system, moved, value)
            if self.specification.is_free("transition_cov"):
                system, value = self._noise(system, moved, value)
            if value - before <= WORTH_A_ROUND * (value - first) + self._rounding:
                break
        return system

    @property
    def _rounding(self) -> float:
        return ROUNDING * float(self.moments.count.sum()) * self.specification.state_dim

    @cached_property
    def _root(self) -> Array:
        """A square root of the second moments of (e, z)."""
        sums = self.moments
        return square_root(np.block([[sums.residual[0], sums.cross[0]], [sums.cross[0].T, sums.regressor[0]]]))

    @cached_property
    def _to_noise(self) -> Array:
        """The map from a residual to the noise that made it, G^+."""
        G = self.params.noise_selection
        return np.asarray(np.eye(self.specification.state_dim) if G is None else np.linalg.pinv(G))

    @cached_property
    def _transitions(self) -> NormalLikelihood:
        return NormalLikelihood.around(self.params.transition_cov, float(self.moments.count[0]))

    @cached_property
    def _first(self) -> list[NormalLikelihood]:
        blocks, n = self.specification.initial.stationary, float(len(self.expectations.initial_means))
        return [NormalLikelihood.around(self.params.initial_cov[rows, rows], n) for rows in blocks]

    def _scatter(self, change: Array) -> Array:
        """Return the sum of the expected squares of the noise (r, r) after a change of M, PSD by its form."""
        d = self.specification.state_dim
        moved = self._to_noise @ (self._root[:d] - change @ self._root[d:])
        return np.asarray(moved @ moved.T)

    def _value(self, system: LinearGaussianSystem | None, change: Array) -> float:
        """Return the expected log-likelihood of transitions and first states up to a constant; -inf where none is."""
        if system is None:
            return -np.inf
        total = self._transitions.at(system.transition_cov, self._scatter(change))
        means, covs = self.expectations.initial_means, self.expectations.initial_covs
        for rows, likelihood in zip(self.specification.initial.stationary, self._first, strict=True):
            deviations = means[:, rows] - system.initial_mean[rows]
            scatter = covs[:, rows, rows].sum(axis=0) + deviations.T @ deviations
            total += likelihood.at(system.initial_cov[rows, rows], scatter)
        return total

    def _at(
        self, system: LinearGaussianSystem, change: Array | None = None, cov: Array | None = None
    ) -> LinearGaussianSystem | None:
        """Return `system` with another M or Q and the start that goes with it, None where there is none."""
        values = {} if change is None else dict(self.moved(change))
        if cov is not None:
            values["transition_cov"] = cov
        try:
            return self.specification.settled(system.replaced(**values))
        except (NumericalError, np.linalg.LinAlgError):
            return None

    def _coefficients(
        self, system: LinearGaussianSystem, moved: Array, value: float
    ) -> tuple[LinearGaussianSystem, Array, float]:
        noise = noise_covs(system)
        in_matrix, _ = self._gradients(system)
        cross = self.moments.cross.copy()
        cross[0] += noise @ in_matrix
        target = best_change(replace(self.moments, cross=cross), self.joint, noise[None])
        share = 1.0
        for _ in range(MOST_HALVINGS):
            change = moved + share * (target - moved)
            tried = self._at(system, change=change)
            reached = self._value(tried, change)
            if tried is not None and reached >= value - self._rounding:
                return tried, change, reached
            share *= 0.5
        return system, moved, value

    def _noise(self, system: LinearGaussianSystem, moved: Array, value: float) -> tuple[LinearGaussianSystem, float]:
        step = self.specification.noise("transition_cov")
        G, Q = system.noise_selection, system.transition_cov
        _, in_noise = self._gradients(system)
        scatter, inner = self._scatter(moved), in_noise if G is None else G.T @ in_noise @ G
        count = float(self.moments.count[0])
        mean = symmetrised(scatter + 2.0 * Q @ inner @ Q) / count
        try:
            target = step.most_likely(mean[None], np.array([count]), Q)
        except (NumericalError, np.linalg.LinAlgError):  # what is added may leave no covariance
            return system, value
        share = 1.0
        for _ in range(MOST_HALVINGS):
            tried = self._at(system, cov=zeros_kept(Q, Q + share * (target - Q)))
            reached = self._value(tried, moved)
            if tried is not None and reached >= value - self._rounding:
                return tried, reached
            share *= 0.5
        return system, value

    def _gradients(self, system: LinearGaussianSystem) -> tuple[Array, Array]:
        return first_state_gradients(self.specification, system, self.expectations)


def first_state_gradients(
    specification: Specification, system: LinearGaussianSystem, expectations: Expectations
) -> tuple[Array, Array]:
    """Return the gradients of the expected log-likelihood of the stationary first states in [F b B] and in G Q G'."""
    d = specification.state_dim
    in_matrix, in_noise = np.zeros((d, d + 1 + specification.input_dim)), np.zeros((d, d))
    means, covs = expectations.initial_means, expectations.initial_covs
    for rows in specification.initial.stationary:
        m, P = system.initial_mean[rows], system.initial_cov[rows, rows]
        deviations = means[:, rows] - m
        scatter = covs[:, rows, rows].sum(axis=0) + deviations.T @ deviations
        inverse = solve_symmetric(P, np.eye(len(P)))
        in_cov = 0.5 * symmetrised(inverse @ scatter @ inverse - len(means) * inverse)
        in_mean = inverse @ deviations.sum(axis=0) if specification.mean_follows else np.zeros(len(m))
        in_F, in_b, inner = stationary_gradients(system.transition_matrix[rows, rows], P, m, in_mean, in_cov)
        in_matrix[rows, rows] = in_F
        in_matrix[rows, d] = in_b
        in_noise[rows, rows] = inner
    return in_matrix, in_noise
