"""The free numbers of a model as a vector, and the score of the log-likelihood in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from kalman_em.arrays import Array, BoolArray
from kalman_em.em.regression import Moments
from kalman_em.inference.expectations import Expectations, expect_all
from kalman_em.inference.rows import Rows, lay, noise_covs
from kalman_em.inference.scores import initial_scores
from kalman_em.linalg import pseudo_inverses
from kalman_em.models.completion import completed
from kalman_em.models.draws import noise_scatters
from kalman_em.models.generalised import first_state_gradients
from kalman_em.models.means import MeanNumbers
from kalman_em.models.numbers import free_numbers
from kalman_em.models.rates import moved_to, slopes_of_rates, with_rate
from kalman_em.models.silent_loadings import with_silent_loadings
from kalman_em.models.specification import COVARIANCES, Specification
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False)
class Numbers:
    """The free numbers of `specification` around `origin`: coefficients first, then covariances, each in its order."""

    specification: Specification
    origin: LinearGaussianSystem
    rows: Rows

    @cached_property
    def start(self) -> Array:
        """The numbers of `origin`."""
        found = [free for free, _ in self._coefficients]
        for name in self.covariances:
            found.append(self.specification.noise(name).free(getattr(self.origin, name)))
        if self.origin.dynamics is not None:
            # A rate is positive: its logarithm is the number.
            drift = self.origin.dynamics.drift
            found += [np.log([rate.value(drift)]) for rate in self.specification.rates]
        return np.concatenate(found) if found else np.zeros(0)

    @cached_property
    def covariances(self) -> tuple[str, ...]:
        """The covariances that are learnt."""
        return tuple(name for name in COVARIANCES if self.specification.is_free(name))

    @cached_property
    def _coefficients(self) -> list[tuple[Array, dict[str, tuple[int, ...]]]]:
        """Return the free numbers of each regression, and which of them are those of each coefficient."""
        found = []
        for constraints in self.specification.together():
            values = {name: getattr(self.origin, name) for name in constraints}
            found.append(free_numbers(constraints, values)[:2])
        return found

    @cached_property
    def means(self) -> MeanNumbers:
        """Those that move means alone, the first of the numbers."""
        return MeanNumbers(self.specification, self.rows)

    @cached_property
    def is_mean(self) -> BoolArray:
        """Which of the numbers move means alone."""
        found = np.zeros(len(self.start), dtype=bool)
        if self.means.n:
            found[: len(self.means.is_mean)] = self.means.is_mean
        return found

    def at_zero(self) -> BoolArray:
        """Return which numbers stand in a part of a covariance that has lost all variance in some row."""
        zero = [np.zeros(len(free), dtype=bool) for free, _ in self._coefficients]
        for name in self.covariances:
            zero.append(self.specification.noise(name).at_zero(getattr(self.origin, name)))
        return np.concatenate([*zero, np.zeros(len(self.specification.rates), dtype=bool)])

    def system(self, vector: Array) -> LinearGaussianSystem:
        """Return the system with these numbers, a stationary start where they put it."""
        values: dict[str, Array] = {}
        first = 0
        for constraints, (free, positions) in zip(self.specification.together(), self._coefficients, strict=True):
            own = vector[first : first + len(free)]
            first += len(free)
            values |= {name: one.at(own[list(positions[name])]) for name, one in constraints.items() if one.n_free}
        for name in self.covariances:
            step = self.specification.noise(name)
            values[name] = step.at(vector[first : first + step.n_free])
            first += step.n_free
        system, dynamics = self.origin.replaced(**values), self.origin.dynamics
        if dynamics is not None and self.specification.rates:
            for rate, log_rate in zip(self.specification.rates, vector[first:], strict=True):
                dynamics = with_rate(dynamics, rate, float(np.exp(log_rate)))
            system = moved_to(system, dynamics)
        return self.specification.settled(system)

    def score(self, vector: Array) -> tuple[Array, Array]:
        """Return the score at these numbers, and the diagonal of the information that complete data would hold.

        The score of the likelihood is the expected score of the complete data (Fisher's identity). Offsets and input
        coefficients of an equation without noise are not in that: their score and information are those of the data.

        References
        ----------
        McLachlan and Krishnan, The EM Algorithm and Extensions, 2nd ed. 2008, equation (3.42).
        """
        system = self.system(vector)
        laid = lay(system, self.rows)
        expectations, _ = expect_all(laid, self.rows)
        moments, covs = completed(expectations, system.observation_cov)
        sums = expectations.transition
        from_first, noise_from_first = self._from_first_states(system, expectations)
        score, information = self._regression("transition", sums.cross, sums.regressor, lambda: noise_covs(system))
        parts = [
            (score + from_first if len(from_first) else score, information),
            self._regression(
                "observation",
                moments.cross,
                moments.regressor,
                lambda: covs,
                partial(with_silent_loadings, self.specification, system, self.rows, expectations),
            ),
            self._mean(system),
        ]
        for name in self.covariances:
            if name == "transition_cov":
                score, information = self._covariance(name, system, *_state_scatter(system, self.rows, expectations))
                parts.append((score + noise_from_first, information))
            elif name == "observation_cov":
                parts.append(self._covariance(name, system, moments.residual, moments.count))
            else:
                deviation = (expectations.initial_means - system.initial_mean)[:, :, None]
                scatter = expectations.initial_covs + deviation @ np.swapaxes(deviation, 1, 2)
                parts.append(self._covariance(name, system, scatter, np.ones(len(deviation))))
        if self.specification.rates:
            transition = Moments(sums.residual, sums.cross, sums.regressor, sums.count)
            parts.append(slopes_of_rates(self.specification, system, transition, expectations))
        score = np.concatenate([score for score, _ in parts])
        information = np.concatenate([info for _, info in parts])
        if self.means.n and self.means.are_silent(self.origin):
            parabola = self.means.parabola(system)
            score[self.is_mean], information[self.is_mean] = parabola.score, np.diagonal(parabola.information)
        return score, information

    def _from_first_states(self, system: LinearGaussianSystem, expectations: Expectations) -> tuple[Array, Array]:
        """Return what a stationary start adds to the scores of the transition and of its noise: it moves with them."""
        joint, noise = self.specification.joint("transition"), self.specification.noise("transition_cov")
        if not self.specification.start_moves:
            return np.zeros(joint.n_free), np.zeros(noise.n_free)
        in_matrix, in_noise = first_state_gradients(self.specification, system, expectations)
        G = system.noise_selection
        inner = in_noise if G is None else G.T @ in_noise @ G
        design = joint.design.reshape(joint.n_rows, joint.n_columns, -1)
        in_numbers = np.zeros(0)
        if noise.n_free:
            assert noise.family is not None  # `standard_errors` refuses forms that have none
            in_numbers = np.einsum("ij,kij->k", inner, noise.family.basis().sum(axis=1))
        return np.einsum("ij,ijn->n", in_matrix, design), in_numbers

    def _regression(
        self,
        kind: str,
        cross: Array,
        regressor: Array,
        covs: Callable[[], Array],
        filled: Callable[[Array, Array], tuple[Array, Array]] = lambda slope, gram: (slope, gram),
    ) -> tuple[Array, Array]:
        """Return the score and the diagonal of the information; `filled` adds what complete data do not tell."""
        joint = self.specification.joint(kind)
        if joint.n_free + joint.n_own == 0:
            return np.zeros(0), np.zeros(0)
        cov = covs()
        weight = np.broadcast_to(pseudo_inverses(cov if cov.ndim == 3 else cov[None]), (len(cross), *cov.shape[-2:]))
        slope, gram = weight @ cross, np.einsum("gij,gkl->gikjl", weight, regressor, optimize=True)
        score, information = _along(joint.design, *filled(slope.sum(axis=0), gram.sum(axis=0)))
        if joint.own is None:
            return score, information
        positions, n_free = self._positions(kind)
        found = np.zeros((2, n_free))
        own = [_along(joint.own, *one) for one in zip(slope, gram, strict=True)]
        for names, values in ((joint.parts, [(score, information)]), (joint.own_parts, own)):
            for columns, places in zip(names, positions, strict=True):
                for s, value in enumerate(values if columns else ()):
                    found[:, list(places[s * len(columns) : (s + 1) * len(columns)])] = np.array(value)[
                        :, list(columns)
                    ]
        return found[0], found[1]

    def _positions(self, kind: str) -> tuple[list[tuple[int, ...]], int]:
        """Return where the numbers of matrix, offset and input stand among those of a regression, and how many."""
        for free, positions in self._coefficients:
            if f"{kind}_matrix" in positions:
                return [positions.get(f"{kind}_{part}", ()) for part in ("matrix", "offset", "input")], len(free)
        raise AssertionError(kind)  # both regressions are there

    def _mean(self, system: LinearGaussianSystem) -> tuple[Array, Array]:
        own = self.specification.mean_constraint.own
        if own is not None:
            scores, information = initial_scores(lay(system, self.rows), self.rows)
            return (scores @ own).ravel(), np.einsum("in,sij,jn->sn", own, information, own).ravel()
        design = self.specification.constraint("initial_mean").design
        if design.shape[1] == 0:
            return np.zeros(0), np.zeros(0)
        scores, information = initial_scores(lay(system, self.rows), self.rows)
        return design.T @ scores.sum(axis=0), np.einsum("in,ij,jn->n", design, information.sum(axis=0), design)

    def _covariance(self, name: str, system: LinearGaussianSystem, scatter: Array, count: Array) -> tuple[Array, Array]:
        """Return 1/2 tr C^-1 B C^-1 (S - n C) and n/2 tr C^-1 B C^-1 B for every number, from sums S over n rows."""
        cov = getattr(system, name)
        if cov.ndim == 2:
            scatter, count, cov = scatter.sum(axis=0)[None], count.sum(keepdims=True), cov[None]
        family = self.specification.noise(name).family
        assert family is not None  # `standard_errors` refuses forms that have none
        inverse = pseudo_inverses(cov)
        basis = family.basis()
        weighted = inverse @ basis @ inverse
        score = 0.5 * np.einsum("kgij,gij->k", weighted, scatter - count[:, None, None] * cov, optimize=True)
        return score, 0.5 * np.einsum("g,kgij,kgij->k", count, weighted, basis, optimize=True)


def _along(design: Array, slope: Array, gram: Array) -> tuple[Array, Array]:
    """Return the score and the diagonal of the information in the numbers of `design`, from those in vec(M)."""
    size = len(design)
    return design.T @ slope.ravel(), np.einsum("in,ij,jn->n", design, gram.reshape(size, size), design, optimize=True)


def _state_scatter(system: LinearGaussianSystem, rows: Rows, expectations: Expectations) -> tuple[Array, Array]:
    """Return the sums of w w' of the noises that enter the states, and the numbers of rows."""
    sums = expectations.transition
    if system.transition_cov.ndim == 2 or "transition_cov" in system.by_series:
        return noise_scatters(system, rows, sums.residual, sums.count)
    if system.noise_selection is None:
        return sums.residual, sums.count
    inverse = np.linalg.pinv(system.noise_selection)
    return inverse @ sums.residual @ np.swapaxes(inverse, -1, -2), sums.count
