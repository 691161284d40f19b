"""EM of a state space over parts of a panel: sums that add up over series, whatever parameters they were found at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.regression import Moments
from kalman_em.errors import InputError
from kalman_em.inference.expectations import Expectations
from kalman_em.inference.regression_sums import RegressionMoments
from kalman_em.latent.series_parts import shared_out
from kalman_em.linalg import symmetrised
from kalman_em.models.completion import completed
from kalman_em.models.first_state import initial_update
from kalman_em.models.leading import rows_of
from kalman_em.models.loadings import common_noises
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem


class Centred(NamedTuple):
    """Sums of complete data of a regression, e = target - M z, and the M (q, r) that they are about."""

    residual: Array
    cross: Array
    regressor: Array
    n_rows: float
    about: Array

    def moved(self, about: Array) -> Centred:
        """Return the same sums about other coefficients."""
        change = about - self.about
        crossed = change @ self.cross.T
        residual = self.residual - crossed - crossed.T + change @ self.regressor @ change.T
        return Centred(symmetrised(residual), self.cross - change @ self.regressor, self.regressor, self.n_rows, about)

    def moments(self) -> RegressionMoments:
        """Return them as one group of rows."""
        return RegressionMoments(self.residual[None], self.cross[None], self.regressor[None], np.array([self.n_rows]))


@dataclass(frozen=True, eq=False)
class PartSums:
    """What the M-step needs of some series: both regressions, and of the first states count, Σ x and Σ x x'."""

    transition: Centred
    observation: Centred
    n_series: float
    firsts: Array
    first_squares: Array
    numerics: str


@dataclass(frozen=True, eq=False)
class PartedProblem(LinearGaussianProblem):
    """EM for a panel whose series are parts: `kalman_em.em.problem.Divides`.

    The M-step is that of `LinearGaussianProblem`. What is missing of a row is expected in the E-step, so that sums
    found at other parameters stay those of one distribution of all that is hidden.
    """

    panel: Panel | None = None

    @property
    def n_units(self) -> int:
        """Number of series."""
        return self.rows.n_series

    def divided(self, n_parts: int, rng: np.random.Generator) -> tuple[PartedProblem, ...]:
        """Return the problems of random parts of the series."""
        assert self.panel is not None  # as `parted` makes it
        series = self.panel.series
        parts = shared_out(len(series), n_parts, rng)
        return tuple(self.seeing(Panel(tuple(series[s] for s in part))) for part in parts)

    def seeing(self, panel: Panel) -> PartedProblem:
        """Return the problem for other series."""
        return replace(self, rows=rows_of(panel, self.specification), panel=panel)

    def pooled(self, parts: Sequence[tuple[float, PartSums]]) -> PartSums:
        """Return the sums of all parts together, each counted so many times."""
        last = parts[-1][1]
        return PartSums(
            _pooled([(times, part.transition) for times, part in parts]),
            _pooled([(times, part.observation) for times, part in parts]),
            float(sum(times * part.n_series for times, part in parts)),
            np.sum([times * part.firsts for times, part in parts], axis=0),
            np.sum([times * part.first_squares for times, part in parts], axis=0),
            last.numerics,
        )

    def beside_parts(self, params: LinearGaussianSystem) -> float:
        """Return 0: the log-likelihood is the sum of those of the series."""
        del params
        return 0.0

    def e_step(self, params: LinearGaussianSystem) -> tuple[PartSums, float]:  # type: ignore[override]
        """Return the sums of the series, and their log-likelihood."""
        found, height = super().e_step(params)
        observation, _ = completed(found, params.observation_cov)
        means, covs = found.initial_means, found.initial_covs
        sums = PartSums(
            _centred(found.transition, _coefficients(params, "transition")),
            _centred(observation, _coefficients(params, "observation")),
            float(len(means)),
            means.sum(axis=0),
            (covs + means[:, :, None] * means[:, None, :]).sum(axis=0),
            found.numerics,
        )
        return sums, height

    def m_step(self, params: LinearGaussianSystem, sums: PartSums) -> LinearGaussianSystem:  # type: ignore[override]
        """Return the parameters that maximise the expected complete log-likelihood of these sums."""
        mean = sums.firsts / sums.n_series
        # As one series, whose first state has the mean and spread of all: their update knows no more.
        expectations = Expectations(
            transition=sums.transition.moved(_coefficients(params, "transition")).moments(),
            observation=sums.observation.moved(_coefficients(params, "observation")).moments(),
            observation_cov_entry=np.zeros(1, dtype=np.int64),
            observed=np.ones((1, params.obs_dim), dtype=bool),
            initial_means=mean[None],
            initial_covs=symmetrised(sums.first_squares / sums.n_series - np.outer(mean, mean))[None],
            numerics=sums.numerics,
        )
        initial = initial_update(self.specification, params, expectations, holds_mean=False)
        system = self._transition(params.replaced(**initial), expectations)
        return system.replaced(**self._observation(params, expectations))


def parted(specification: Specification, panel: Panel, scale: Array, numerics: str, n_threads: int) -> PartedProblem:
    """Return the problem of a panel whose series are parts.

    Raises
    ------
    InputError
        If the sums of the series do not add up: parameters that vary in time, differ by series, or lie in continuous
        time, a stationary start, low-rank noise, or a learnt mean under a known singular P.
    """
    problem = PartedProblem(specification, rows_of(panel, specification), scale, numerics, n_threads, panel)
    reasons = {
        "its parameters vary in time": bool(specification.varying()) or specification.transition_gaps is not None,
        "some are own to each series (PerSeries)": bool(specification.by_series),
        "rates are learnt in continuous time": bool(specification.rates),
        "the start is stationary": specification.start_moves or bool(specification.initial.stationary),
        "its noise is of low rank": bool(common_noises(specification)),
        "the mean of a start without spread is learnt": problem.sets_initial_mean,
    }
    found = [reason for reason, holds in reasons.items() if holds]
    if found:
        raise InputError(
            f"method: incremental and stochastic EM need series whose sums add up, which these do not, as {found[0]}; "
            "expected 'em'"
        )
    return problem


def _coefficients(params: LinearGaussianSystem, kind: str) -> Array:
    """Return [F b B] or [H d D]."""
    parts = (getattr(params, f"{kind}_{part}") for part in ("matrix", "offset", "input"))
    return np.column_stack([part for part in parts if part is not None])


def _centred(sums: RegressionMoments | Moments, about: Array) -> Centred:
    residual = sums.residual[0] if sums.residual.ndim == 3 else np.diag(sums.residual[0])
    return Centred(residual, sums.cross[0], sums.regressor[0], float(sums.count[0]), about)


def _pooled(parts: Sequence[tuple[float, Centred]]) -> Centred:
    about = parts[-1][1].about
    moved = [(times, part.moved(about)) for times, part in parts]
    sums = (sum(times * np.asarray(part[k]) for times, part in moved) for k in range(4))
    residual, cross, regressor, n_rows = (np.asarray(one) for one in sums)
    return Centred(residual, cross, regressor, float(n_rows), about)
