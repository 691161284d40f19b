"""The M-step of many series at once: the regressions of `kalman_em.models.problem` over a leading axis.

Only where each is one solve (`can_be_stacked`); what it computes is the same, series by series.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kalman_em.arrays import Array, BoolArray, frozen
from kalman_em.em.constraints import JointConstraint, join
from kalman_em.em.forms import CovarianceForm
from kalman_em.inference.regress_each import regress_each
from kalman_em.inference.regression_sums import RegressionMoments
from kalman_em.inference.scores import initial_scores
from kalman_em.inference.stacks import StackedRows, StackExpectations, SystemStack, lay_stack
from kalman_em.linalg import solve_each, square_roots, symmetrised
from kalman_em.models.specification import Specification
from kalman_em.models.stacked_forms import most_likely_each


@dataclass(frozen=True, eq=False)
class StackedMStep:
    """The M-step of one specification for many series; `moves_mean` says whether m is set by the likelihood itself."""

    specification: Specification
    transition: JointConstraint
    observation: JointConstraint
    initial: JointConstraint
    moves_mean: bool

    @classmethod
    def of(cls, specification: Specification, *, moves_mean: bool) -> StackedMStep:
        """Return the M-step of `specification`."""
        joints = (specification.joint("transition"), specification.joint("observation"))
        return cls(specification, *joints, join([specification.constraint("initial_mean")]), moves_mean)

    @cached_property
    def _forms(self) -> dict[str, CovarianceForm]:
        """The forms of the covariances that are learnt."""
        names = ("transition_cov", "observation_cov", "initial_cov")
        return {name: self.specification.covariance(name) for name in names if self.specification.is_free(name)}

    def __call__(self, params: SystemStack, expectations: StackExpectations, over: StackedRows) -> SystemStack:
        """Return the parameters that maximise the expected complete log-likelihood of every series."""
        updated = (
            self._transition(params, expectations)
            | self._observation(params, expectations)
            | self._initial(params, expectations)
        )
        new = params.replaced(**updated)
        return new.replaced(initial_mean=self._most_likely_start(new, over)) if self.moves_mean else new

    def _transition(self, params: SystemStack, expectations: StackExpectations) -> dict[str, Array]:
        specification, moments = self.specification, expectations.transition
        free = specification.is_free("transition_cov")
        if not free and self.transition.n_free == 0:
            return {}
        change, scatter = _regressed(moments, self.transition, params.noise_cov)
        moved = self._moved(params, "transition", change)
        if not free:
            return moved
        G, form = params.like.noise_selection, self._forms["transition_cov"]
        scatter /= moments.count[:, None, None]
        if G is None:
            cov = most_likely_each(form, scatter)
        else:
            inverse = np.linalg.pinv(G)
            cov = most_likely_each(form, symmetrised(inverse @ scatter @ inverse.T))
            # Once more through the selection, as one series does it: the same digits.
            noise = symmetrised(G @ cov @ G.T)
            cov = most_likely_each(form, symmetrised(inverse @ noise @ inverse.T))
        return {"transition_cov": _zeros_kept(params.transition_cov, cov), **moved}

    def _observation(self, params: SystemStack, expectations: StackExpectations) -> dict[str, Array]:
        specification = self.specification
        free = specification.is_free("observation_cov")
        if not free and self.observation.n_free == 0:
            return {}
        moments = _completed(expectations, params.observation_cov)
        change, scatter = _regressed(moments, self.observation, params.observation_cov)
        moved = self._moved(params, "observation", change)
        if not free:
            return moved
        scatter /= moments.count[:, None, None]
        cov = most_likely_each(self._forms["observation_cov"], scatter)
        return {"observation_cov": _zeros_kept(params.observation_cov, cov), **moved}

    def _initial(self, params: SystemStack, expectations: StackExpectations) -> dict[str, Array]:
        specification = self.specification
        mean_is_free = specification.is_free("initial_mean") and not self.moves_mean
        cov_is_free = specification.is_free("initial_cov")
        if not mean_is_free and not cov_is_free:
            return {}
        deviation = expectations.initial_means - params.initial_mean
        n, d = deviation.shape
        moments = RegressionMoments(
            expectations.initial_covs + deviation[:, :, None] * deviation[:, None, :],
            deviation[:, :, None],
            np.ones((n, 1, 1)),
            np.ones(n),
        )
        joint = self.initial if mean_is_free else JointConstraint(d, 1, np.zeros((d, 0)))
        change, scatter = _regressed(moments, joint, params.initial_cov)
        result = {}
        if cov_is_free:
            cov = most_likely_each(self._forms["initial_cov"], scatter)
            result["initial_cov"] = _zeros_kept(params.initial_cov, cov)
        return result | ({"initial_mean": params.initial_mean + change[:, :, 0]} if mean_is_free else {})

    def _moved(self, params: SystemStack, kind: str, change: Array) -> dict[str, Array]:
        d = params.transition_matrix.shape[1]
        parts = {f"{kind}_matrix": change[:, :, :d], f"{kind}_offset": change[:, :, d]}
        return {
            name: getattr(params, name) + block for name, block in parts.items() if self.specification.is_free(name)
        }

    def _most_likely_start(self, params: SystemStack, over: StackedRows) -> Array:
        """Return m of every series that maximises its likelihood, all else given (see `LinearGaussianProblem`)."""
        scores, information = initial_scores(lay_stack(params, over), over.rows, is_checked=False)
        design = self.specification.constraint("initial_mean").design
        right = (scores @ design)[:, :, None]
        change = solve_each(symmetrised(design.T @ information @ design), right)[:, :, 0]
        return np.asarray(params.initial_mean + change @ design.T)


def _regressed(moments: RegressionMoments, joint: JointConstraint, noise_cov: Array) -> tuple[Array, Array]:
    """Return the best change (N, q, r) of the coefficients of every series, and E[e e'] (N, q, q) after it."""
    n, q, r = moments.cross.shape
    columns = np.zeros(r, dtype=bool) if joint.n_free == 0 or joint.free_columns is None else joint.free_columns
    silent = np.diagonal(noise_cov, axis1=1, axis2=2) == 0.0
    change, scatter, sound = np.zeros((n, q, r)), np.empty((n, q, q)), np.empty(n, dtype=bool)
    regress_each(
        frozen(moments.residual.view()),
        frozen(moments.cross.view()),
        frozen(moments.regressor.view()),
        frozen(np.argsort(~columns, kind="stable")),
        int(np.count_nonzero(columns)),
        frozen(silent),
        np.empty((q + r, q + r)),
        np.empty(q + r),
        change,
        scatter,
        sound,
    )
    if not sound.all():
        others = ~sound
        parts = (moments.residual, moments.cross, moments.regressor, moments.count)
        some = RegressionMoments(*(part[others] for part in parts))
        change[others] = _changes(some, joint, noise_cov[others])
        scatter[others] = _scatters(some, change[others])
    return change, scatter


def _changes(moments: RegressionMoments, joint: JointConstraint, noise_cov: Array) -> Array:
    """Return the change (N, q, r) of the coefficients of every series: see `best_change`."""
    change = np.zeros(moments.cross.shape)
    columns = joint.free_columns
    if joint.n_free == 0 or columns is None:
        return change
    gram = moments.regressor[:, columns][:, :, columns]
    solved = solve_each(gram, np.swapaxes(moments.cross[:, :, columns], 1, 2))
    change[:, :, columns] = np.swapaxes(solved, 1, 2)
    silent = np.diagonal(noise_cov, axis1=1, axis2=2) == 0.0
    change[silent] = 0.0
    return change


def _scatters(moments: RegressionMoments, change: Array) -> Array:
    """Return E[e e'] (N, q, q) after the change: see `scatter_after`."""
    still = ~np.any(change, axis=(1, 2))
    if still.all():
        return moments.residual
    q = change.shape[1]
    top = np.concatenate([moments.residual, moments.cross], axis=2)
    low = np.concatenate([np.swapaxes(moments.cross, 1, 2), moments.regressor], axis=2)
    root = square_roots(np.concatenate([top, low], axis=1))
    moved = root[:, :q] - change @ root[:, q:]
    result: Array = np.where(still[:, None, None], moments.residual, moved @ np.swapaxes(moved, 1, 2))
    return result


def _completed(expectations: StackExpectations, R: Array) -> RegressionMoments:
    """Return the moments of complete rows by series: `kalman_em.models.completion` pattern by pattern."""
    sums, n = expectations.observation, len(R)
    if len(sums.count) == n and len(expectations.patterns) == 1 and expectations.patterns.all():
        # One group a series, in their order.
        return sums
    p, r = sums.cross.shape[1:]
    residual, cross = np.zeros((n, p, p)), np.zeros((n, p, r))
    regressor, count = np.zeros((n, r, r)), np.zeros(n)
    # No series has a pattern twice, so that the series of a pattern's groups are distinct.
    for k in np.unique(expectations.group_pattern):
        groups = np.flatnonzero(expectations.group_pattern == k)
        series = expectations.group_series[groups]
        own, crossed = sums.residual[groups], sums.cross[groups]
        observed = expectations.patterns[k]
        if not observed.all():
            own, crossed = _expected(own, crossed, sums.count[groups], observed, R[series])
        residual[series] += own
        cross[series] += crossed
        regressor[series] += sums.regressor[groups]
        count[series] += sums.count[groups]
    return RegressionMoments(residual, cross, regressor, count)


def _expected(residual: Array, cross: Array, count: Array, observed: BoolArray, R: Array) -> tuple[Array, Array]:
    o, m = np.flatnonzero(observed), np.flatnonzero(~observed)
    between = R[:, o[:, None], m]
    A = np.swapaxes(solve_each(R[:, o[:, None], o], between), 1, 2)
    lift = np.zeros(R.shape)
    lift[:, o, o] = 1.0
    lift[:, m[:, None], o] = A
    filled = lift @ residual @ np.swapaxes(lift, 1, 2)
    spread = R[:, m[:, None], m] - A @ between
    filled[:, m[:, None], m] += count[:, None, None] * symmetrised(spread)
    return symmetrised(filled), lift @ cross


def _zeros_kept(old: Array, new: Array) -> Array:
    kept = np.diagonal(old, axis1=1, axis2=2) > 0.0
    return symmetrised(np.where(kept[:, :, None] & kept[:, None, :], new, 0.0))
