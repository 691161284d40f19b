"""The EM problem of the linear-Gaussian model: filter and smoother as E-step, regressions as M-step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kalman_em.arrays import Array, frozen
from kalman_em.em.constraints import JointConstraint
from kalman_em.em.regression import Moments, best_change, best_change_and_noise
from kalman_em.em.stopping import StopReason
from kalman_em.errors import NumericalError
from kalman_em.inference.expectations import Expectations, RegressionMoments, expect_all
from kalman_em.inference.rows import Rows, lay
from kalman_em.linalg import smallest_scaled_eigenvalue, solve_symmetric, symmetrised
from kalman_em.models.completion import completed
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem

# A variance this far below that of the data, in every column, is a fit without noise, not a small noise.
VANISHED = 1e-20
# A covariance, scaled to a unit diagonal, counts as singular below this eigenvalue.
SINGULAR = 1e-12


@dataclass(frozen=True, eq=False)
class LinearGaussianProblem:
    """EM for a specification and the rows of one or many series; its parameters are systems.

    `scale` (p,) is the standard deviation of each column of the data (the size of the values where they do not
    vary): the unit in which changes and vanishing variances are judged.
    """

    specification: Specification
    rows: Rows
    scale: Array

    @cached_property
    def _joint(self) -> dict[str, JointConstraint]:
        return {kind: self.specification.joint(kind) for kind in ("transition", "observation")}

    def e_step(self, params: LinearGaussianSystem) -> tuple[Expectations, float]:
        """Return the expected second moments given the data, and the log-likelihood."""
        return expect_all(lay(params, self.rows), self.rows)

    def m_step(self, params: LinearGaussianSystem, expectations: Expectations) -> LinearGaussianSystem:
        """Return the parameters that maximise the expected complete log-likelihood."""
        updated = {
            **self._transition(params, expectations),
            **self._observation(params, expectations),
            **self._initial(params, expectations),
        }
        system = replace(params, **{name: frozen(value) for name, value in updated.items()})
        if self._initial_mean_is_constant:
            system = replace(system, initial_mean=frozen(self._most_likely_start(system)))
        return system

    def parameter_change(self, old: LinearGaussianSystem, new: LinearGaussianSystem) -> float:
        """Return the largest change, in units of the parameter's own scale: free of the units of data and states."""
        changes = [
            self._covariance_change(getattr(old, name), getattr(new, name))
            for name in ("transition_cov", "observation_cov", "initial_cov")
            if self.specification.is_free(name)
        ]
        state = _root_diagonal(new.transition_cov, new.noise_selection)
        H = new.observation_matrix if new.observation_matrix.ndim == 2 else new.observation_matrix[0]
        for name, left, right in (
            ("transition_matrix", state, state),
            ("observation_matrix", self.scale, state),
        ):
            if self.specification.is_free(name):
                unit = left[:, None] / right[None, :]
                changes.append(_relative(getattr(old, name) / unit, getattr(new, name) / unit))
        for name, size in (
            ("transition_offset", state),
            ("observation_offset", self.scale),
            ("transition_input", state),
            ("observation_input", self.scale),
        ):
            if self.specification.is_free(name):
                difference = (getattr(new, name) - getattr(old, name)).T / size
                length = np.abs(getattr(new, name).T / size).max(initial=0.0)
                changes.append(float(np.abs(difference).max(initial=0.0)) / max(length, 1.0))
        if self.specification.is_free("initial_mean"):
            # What the change of m does to the first prediction, in units of the data.
            moved = H @ (new.initial_mean - old.initial_mean)
            changes.append(float(np.abs(moved / self.scale).max()))
        return max(changes, default=0.0)

    def examine(self, params: LinearGaussianSystem) -> StopReason | None:
        """Return `degenerate_covariance` where no noise is left at all: the likelihood then has no maximum."""
        learnt = [n for n in ("transition_cov", "observation_cov") if self.specification.is_free(n)]
        if len(learnt) < 2:
            return None
        H = params.observation_matrix if params.observation_matrix.ndim == 2 else params.observation_matrix[0]
        Q = params.transition_cov if params.transition_cov.ndim == 2 else params.transition_cov[0]
        R = params.observation_cov if params.observation_cov.ndim == 2 else params.observation_cov[0]
        if params.noise_selection is not None:
            H = H @ params.noise_selection
        variances = np.diagonal(H @ Q @ H.T + R)
        return StopReason.degenerate_covariance if np.any(variances < VANISHED * self.scale**2) else None

    def _transition(self, params: LinearGaussianSystem, expectations: Expectations) -> dict[str, Array]:
        moments = _moments(expectations.transition)
        free = self.specification.is_free("transition_cov")
        joint = self._joint["transition"]
        if not free and joint.n_free == 0:
            return {}
        if not np.any(moments.count > 0):
            raise NumericalError("transition_cov: every series has one row only, so no transition is observed")
        G = params.noise_selection
        noise = _state_noise(params.transition_cov, G)
        if free:
            form = self.specification.covariance("transition_cov")
            inverse = np.eye(params.state_dim) if G is None else np.linalg.pinv(G)
            change, noise = best_change_and_noise(
                moments,
                joint,
                noise,
                lambda scatter: _state_noise(form.most_likely(symmetrised(inverse @ scatter @ inverse.T)), G),
            )
            cov = form.most_likely(symmetrised(inverse @ noise @ inverse.T))
            return {"transition_cov": symmetrised(cov), **self._moved(params, "transition", change)}
        change = best_change(moments, joint, np.broadcast_to(noise, moments.residual.shape))
        return self._moved(params, "transition", change)

    def _observation(self, params: LinearGaussianSystem, expectations: Expectations) -> dict[str, Array]:
        free = self.specification.is_free("observation_cov")
        joint = self._joint["observation"]
        if not free and joint.n_free == 0:
            return {}
        moments, covs = completed(expectations, params.observation_cov)
        if free:
            form = self.specification.covariance("observation_cov")
            change, cov = best_change_and_noise(moments, joint, params.observation_cov, form.most_likely)
            return {"observation_cov": symmetrised(cov), **self._moved(params, "observation", change)}
        return self._moved(params, "observation", best_change(moments, joint, covs))

    def _moved(self, params: LinearGaussianSystem, kind: str, change: Array) -> dict[str, Array]:
        """Return the blocks of [F b B] or [H d D] after `change`; blocks with nothing free stay bit-identical."""
        d = params.state_dim
        parts = {"matrix": change[:, :d], "offset": change[:, d], "input": change[:, d + 1 :]}
        return {
            f"{kind}_{part}": getattr(params, f"{kind}_{part}") + block
            for part, block in parts.items()
            if self.specification.is_free(f"{kind}_{part}")
        }

    def _initial(self, params: LinearGaussianSystem, expectations: Expectations) -> dict[str, Array]:
        result: dict[str, Array] = {}
        mean = params.initial_mean
        if self.specification.is_free("initial_mean") and not self._initial_mean_is_constant:
            constraint = self.specification.constraint("initial_mean")
            weight = solve_symmetric(params.initial_cov, np.eye(params.state_dim))
            target = expectations.initial_means.mean(axis=0) - constraint.fixed
            normal = constraint.design.T @ weight @ constraint.design
            free = solve_symmetric(symmetrised(normal), (constraint.design.T @ weight @ target)[:, None])[:, 0]
            mean = constraint.fixed + constraint.design @ free
            result["initial_mean"] = mean
        if self.specification.is_free("initial_cov"):
            deviation = expectations.initial_means - mean
            scatter = expectations.initial_covs.mean(axis=0) + deviation.T @ deviation / len(deviation)
            result["initial_cov"] = symmetrised(self.specification.covariance("initial_cov").most_likely(scatter))
        return result

    @cached_property
    def _initial_mean_is_constant(self) -> bool:
        """Whether m is learnt under a known P that is singular: EM alone could then never move m."""
        if not self.specification.is_free("initial_mean") or self.specification.is_free("initial_cov"):
            return False
        d = self.specification.state_dim
        P = self.specification.covariance("initial_cov").most_likely(np.zeros((d, d)))
        return bool(smallest_scaled_eigenvalue(P) <= SINGULAR or np.any(np.diagonal(P) <= 0.0))

    def _most_likely_start(self, system: LinearGaussianSystem) -> Array:
        """Return m that maximises the likelihood itself, all else given (an ECME step).

        With a flat prior on x[0] its posterior N(a, V) is the likelihood as a function of x[0]; under the prior
        N(m, P) the likelihood of m is then N(a; m, V + P) for each series, a weighted regression for m.

        References
        ----------
        Liu and Rubin, The ECME algorithm, Biometrika 81 (1994); Rosenberg, Random coefficients models, Annals of
        Economic and Social Measurement 2 (1973).
        """
        d = system.state_dim
        flat = replace(system, initial_cov=np.zeros((d, d)), initial_diffuse=np.ones(d, dtype=bool))
        expectations, _ = expect_all(lay(flat, self.rows), self.rows)
        constraint = self.specification.constraint("initial_mean")
        normal, right = np.zeros((constraint.n_free,) * 2), np.zeros(constraint.n_free)
        for mean, cov in zip(expectations.initial_means, expectations.initial_covs, strict=True):
            weighted = solve_symmetric(cov + system.initial_cov, constraint.design)
            normal += constraint.design.T @ weighted
            right += weighted.T @ (mean - constraint.fixed)
        free = solve_symmetric(symmetrised(normal), right[:, None])[:, 0]
        return np.asarray(constraint.fixed + constraint.design @ free)

    def _covariance_change(self, old: Array, new: Array) -> float:
        """Return the largest |ΔQ_ij| / sqrt(Q_ii Q_jj)."""
        deviation = np.sqrt(np.maximum(np.diagonal(new, axis1=-2, axis2=-1), np.diagonal(old, axis1=-2, axis2=-1)))
        unit = deviation[..., :, None] * deviation[..., None, :]
        return float(np.max(np.abs(new - old) / np.where(unit > 0.0, unit, 1.0), initial=0.0))


def _moments(sums: RegressionMoments) -> Moments:
    return Moments(sums.residual, sums.cross, sums.regressor, sums.count)


def _state_noise(cov: Array, G: Array | None) -> Array:
    return cov if G is None else symmetrised(G @ cov @ np.swapaxes(G, -1, -2))


def _root_diagonal(cov: Array, G: Array | None) -> Array:
    """Return the standard deviations of the state noise, 1 where there is none."""
    noise = _state_noise(cov if cov.ndim == 2 else cov[0], G if G is None or G.ndim == 2 else G[0])
    deviation = np.sqrt(np.diagonal(noise))
    return np.where(deviation > 0.0, deviation, 1.0)


def _relative(old: Array, new: Array) -> float:
    size = np.abs(new).max(initial=0.0)
    return float(np.abs(new - old).max(initial=0.0) / (size if size > 0.0 else 1.0))
