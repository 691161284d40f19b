"""The EM problem of the linear-Gaussian model: filter and smoother as E-step, regressions as M-step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.constraints import JointConstraint
from kalman_em.em.extrapolation import extrapolated, stretched
from kalman_em.em.forms import Fixed, is_of_independent_noise
from kalman_em.em.problem import Note
from kalman_em.em.regression import Moments, best_change, best_change_and_noise
from kalman_em.em.stopping import StopReason
from kalman_em.errors import NumericalError
from kalman_em.inference.expectations import Expectations
from kalman_em.inference.kalman import log_likelihood_by
from kalman_em.inference.numerics import AUTO, SQUARE_ROOT
from kalman_em.inference.regression_sums import RegressionMoments
from kalman_em.inference.rows import Rows, lay
from kalman_em.inference.shares import expect_shared, shares_of
from kalman_em.linalg import smallest_scaled_eigenvalue, symmetrised
from kalman_em.models.bound import expected_gain
from kalman_em.models.boundary import boundary_guesses, new_zeros, without_near_zeros
from kalman_em.models.change import coefficient_units, largest_change, largest_invariant_change
from kalman_em.models.climbing import climbed
from kalman_em.models.completion import completed
from kalman_em.models.degeneracy import Start, is_degenerate, is_unseen
from kalman_em.models.draws import noise_scatters
from kalman_em.models.first_state import initial_update, most_likely_start, zeros_kept
from kalman_em.models.generalised import TransitionStep
from kalman_em.models.loadings import common_noises, rescaled
from kalman_em.models.means import NOTHING, MeanNumbers
from kalman_em.models.memory_of_start import named_end
from kalman_em.models.packing import packed, unpacked
from kalman_em.models.rates import best_rates
from kalman_em.models.specification import Specification
from kalman_em.models.stationary import largest_modulus
from kalman_em.systems import LinearGaussianSystem

# States whose largest eigenvalue is beyond this are as good as non-stationary: their covariance is lost in rounding.
NEARLY_ONE = 1.0 - 1e-7
# No guess may bring a covariance below this eigenvalue by itself.
NEARLY_SINGULAR = 1e-8
# A slow climb of EM is helped by quasi-Newton steps after this many iterations; sooner where each costs several times
# as much: on factors of covariances (what asks for these, a long series with little noise in its states, is slow too),
# and where a stationary start moves with what is learnt, so that the M-step has no closed form.
CLIMB_AFTER, DEAR_CLIMB_AFTER = 520, 30
# Longest steps of the two squared extrapolations that are tried: a bold and a careful one.
STRETCHES = (100.0, 10.0)
# What must be gained in log-likelihood for what moves means to be set anew beside EM.
WORTH_MOVING = 1e-9


@dataclass(frozen=True, eq=False)
class LinearGaussianProblem:
    """EM for a specification and the rows of one or many series; its parameters are systems.

    `scale` (p,) is the standard deviation of each column of the data (the size of the values where they do not
    vary): the unit in which changes and vanishing variances are judged. `numerics` is the arithmetic of the E-step,
    which may share out the series of a long panel among `n_threads`.
    """

    specification: Specification
    rows: Rows
    scale: Array
    numerics: str = AUTO
    n_threads: int = 1

    @cached_property
    def _shares(self) -> list[Rows]:
        return shares_of(self.rows)

    @cached_property
    def _joint(self) -> dict[str, JointConstraint]:
        return {kind: self.specification.joint(kind) for kind in ("transition", "observation")}

    @cached_property
    def _has_common_noise(self) -> bool:
        return bool(common_noises(self.specification))

    @cached_property
    def _has_independent_noise(self) -> bool:
        return is_of_independent_noise(self.specification.forms["observation_cov"])

    def e_step(self, params: LinearGaussianSystem) -> tuple[Expectations, float]:
        """Return the expected second moments given the data, and the log-likelihood."""
        return expect_shared(
            params,
            self.rows,
            self._shares,
            self.numerics,
            diagonal=self._has_independent_noise,
            n_threads=self.n_threads,
        )

    def switched(self, expectations: Expectations) -> tuple[LinearGaussianProblem, str] | None:
        """Return this problem with factors of covariances for good, once an E-step has needed them."""
        return self.doubted() if expectations.numerics == SQUARE_ROOT else None

    def doubted(self) -> tuple[LinearGaussianProblem, str] | None:
        """Return this problem with factors of covariances for good: where the objective falls, it may be rounding."""
        return (replace(self, numerics=SQUARE_ROOT), "square-root numerics") if self.numerics == AUTO else None

    def m_step(self, params: LinearGaussianSystem, expectations: Expectations) -> LinearGaussianSystem:
        """Return the parameters that maximise the expected complete log-likelihood.

        Where a stationary start moves with F, b and Q, parameters that raise it: see `TransitionStep`. Offsets and
        input coefficients of an equation without noise, which it leaves alone, are set to the maximum of the
        likelihood.
        """
        initial = initial_update(self.specification, params, expectations, holds_mean=self.sets_initial_mean)
        system = self._transition(params.replaced(**initial), expectations)
        system = system.replaced(**self._observation(params, expectations))
        if self._has_common_noise:
            system = rescaled(self.specification, params, system, self.rows, expectations.transition)
        if self.means.n and self.means.are_silent(system):
            return self.means.best(system)
        if self.sets_initial_mean:
            arithmetic = SQUARE_ROOT if expectations.numerics == SQUARE_ROOT else self.numerics
            mean = most_likely_start(self.specification, self.rows, system, arithmetic)
            system = system.replaced(initial_mean=mean)
        return system

    def parameter_change(self, old: LinearGaussianSystem, new: LinearGaussianSystem) -> float:
        """Return the largest change, in units of the parameter's own scale: free of the units of data and states."""
        if self.specification.basis_is_free:
            return largest_invariant_change(old, new, self.scale)
        change = largest_change(self.specification, old, new, self.scale)
        if old.dynamics is None or new.dynamics is None:
            return change
        before, after = old.dynamics.drift, new.dynamics.drift
        moved = [np.log(rate.value(after) / rate.value(before)) for rate in self.specification.rates]
        return max([change, *(abs(float(one)) for one in moved)])

    def examine(self, params: LinearGaussianSystem) -> StopReason | None:
        """Return why there is no use in going on, if so.

        `degenerate_covariance` where the likelihood runs away to infinity (see `is_degenerate`), `unit_root` where
        states with a stationary start are as good as non-stationary.
        """
        learnt = {
            name: self.specification.noise(name).losable(getattr(params, name))
            for name in ("transition_cov", "observation_cov")
            if self.specification.is_free(name)
        }
        start_learnt = any(self.specification.is_free(name) for name in ("initial_mean", "initial_cov"))
        first = Start(
            is_learnt=start_learnt,
            is_before=self.specification.initial_step == "before",
            # As many series as states, or fewer, or a start for each: it can fit the first row of each.
            is_alone=self.rows.n_series <= self.specification.state_dim
            or "initial_cov" in self.specification.by_series,
            has_known_cov=isinstance(self.specification.forms["initial_cov"], Fixed),
        )
        if is_degenerate(params, learnt, start=first, scale=self.scale):
            return StopReason.degenerate_covariance
        if largest_modulus(params, self.specification.initial) > NEARLY_ONE:
            return StopReason.unit_root
        return None

    def examine_expectations(self, params: LinearGaussianSystem, expectations: Expectations) -> StopReason | None:
        """Return `unobservable_start` where a diffuse start is seen ever less: see `is_unseen`."""
        unseen = is_unseen(self.specification, params, expectations.initial_covs)
        return StopReason.unobservable_start if unseen else None

    def examine_end(self, params: LinearGaussianSystem) -> tuple[StopReason, str] | None:
        """Return `degenerate_covariance` where a learnt first state, known exactly, is never forgotten."""
        return named_end(self.specification, params, int(np.diff(self.rows.starts).max()))

    def expected_gain(self, old: LinearGaussianSystem, new: LinearGaussianSystem, expectations: Expectations) -> float:
        """Return Q(new, old) - Q(old, old): what the lower bound on the log-likelihood is made of."""
        return expected_gain(old, new, expectations)

    def _transition(self, params: LinearGaussianSystem, expectations: Expectations) -> LinearGaussianSystem:
        moments = _moments(expectations.transition)
        free = self.specification.is_free("transition_cov")
        joint = self._joint["transition"]
        if not free and joint.n_free + joint.n_own == 0 and not self.specification.rates:
            return params
        if not np.any(moments.count > 0):
            raise NumericalError("transition_cov: every series has one row only, so no transition is observed")
        G = params.noise_selection
        if self.specification.rates:
            found = best_rates(self.specification, params, moments, expectations)
            found["transition_cov"] = zeros_kept(params.transition_cov, found["transition_cov"])
            return self.specification.settled(params.replaced(**found))
        if G is not None and G.ndim == 3:
            scatters, counts = noise_scatters(params, self.rows, moments.residual, moments.count)
            step = self.specification.noise("transition_cov")
            means = scatters / np.where(counts > 0.0, counts, 1.0)[:, None, None]
            density = step.most_likely(means, counts, params.transition_cov)
            return params.replaced(transition_cov=zeros_kept(params.transition_cov, density))
        noise = _state_noise(params.transition_cov, G)
        noises = {}
        if free:
            change, cov = self._state_noise_step(params, moments, noise)
            noises = {"transition_cov": zeros_kept(params.transition_cov, cov)}
        else:
            change = best_change(moments, joint, np.broadcast_to(noise, moments.residual.shape))
        if not self.specification.start_moves:
            return params.replaced(**noises, **self._moved(params, change, "transition"))
        moved = partial(self._moved, params, kind="transition")
        return TransitionStep(self.specification, joint, params, expectations, moments, moved).best(change, noises)

    def _state_noise_step(self, params: LinearGaussianSystem, moments: Moments, noise: Array) -> tuple[Array, Array]:
        """Return the change of [F b B] and Q; the scatter of the states is brought to the noise by G's inverse."""
        joint, step, G = self._joint["transition"], self.specification.noise("transition_cov"), params.noise_selection
        if G is None:
            return best_change_and_noise(moments, joint, noise, step.most_likely)
        inverse = np.linalg.pinv(G)

        def pulled(cov: Array) -> Array:
            return symmetrised(inverse @ cov @ inverse.T)

        def most_likely(scatter: Array, counts: Array, near: Array) -> Array:
            return _state_noise(step.most_likely(pulled(scatter), counts, pulled(near)), G)

        change, noise = best_change_and_noise(moments, joint, noise, most_likely)
        return change, step.fitted(pulled(noise))

    def _observation(self, params: LinearGaussianSystem, expectations: Expectations) -> dict[str, Array]:
        free = self.specification.is_free("observation_cov")
        joint = self._joint["observation"]
        if not free and joint.n_free + joint.n_own == 0:
            return {}
        moments, covs = completed(expectations, params.observation_cov)
        if free:
            step = self.specification.noise("observation_cov")
            change, cov = best_change_and_noise(moments, joint, params.observation_cov, step.most_likely)
            return {
                "observation_cov": zeros_kept(params.observation_cov, cov),
                **self._moved(params, change, "observation"),
            }
        return self._moved(params, best_change(moments, joint, covs), "observation")

    def _moved(self, params: LinearGaussianSystem, change: Array, kind: str) -> dict[str, Array]:
        """Return the blocks of [F b B] or [H d D] after `change`; blocks with nothing free stay bit-identical."""
        d = params.state_dim
        parts = {"matrix": change[..., :d], "offset": change[..., d], "input": change[..., d + 1 :]}
        moved = {}
        for part, block in parts.items():
            name = f"{kind}_{part}"
            if self.specification.is_free(name):
                # Of changes by series, those of what is shared are equal.
                is_table = change.ndim == 3 and name not in self.specification.by_series
                moved[name] = getattr(params, name) + (block[0] if is_table else block)
        return moved

    @cached_property
    def means(self) -> MeanNumbers:
        """The numbers that move means alone."""
        return MeanNumbers(self.specification, self.rows)

    @cached_property
    def sets_initial_mean(self) -> bool:
        """Whether m is learnt under a known P that is singular: EM alone could then never move m."""
        constraint = self.specification.mean_constraint
        moves = np.any(constraint.design if constraint.own is None else constraint.own, axis=1)
        return self.specification.initial.has_singular_known(moves)


def _moments(sums: RegressionMoments) -> Moments:
    return Moments(sums.residual, sums.cross, sums.regressor, sums.count)


def _noises(system: LinearGaussianSystem) -> list[int]:
    """Return how many variances of each noise are not 0."""
    covs = (system.transition_cov, system.observation_cov)
    return [int(np.count_nonzero(np.diagonal(cov, axis1=-2, axis2=-1))) for cov in covs]


def _state_noise(cov: Array, G: Array | None) -> Array:
    return cov if G is None else symmetrised(G @ cov @ np.swapaxes(G, -1, -2))


@dataclass(frozen=True, eq=False)
class LeapingProblem(LinearGaussianProblem):
    """The same problem, helped along where EM is slow: extrapolation, and variances tried at 0."""

    def leaps(self, trail: Sequence[LinearGaussianSystem]) -> Iterator[tuple[LinearGaussianSystem, str]]:
        """Yield the end of the trail with variances at 0 that belong there, or else where the trail heads for."""
        if len(trail) < 3:
            return
        last = self._at_best_means(trail[-1], WORTH_MOVING)
        if last is not trail[-1]:
            yield last, ""
        edges = list(
            boundary_guesses(self.specification, trail[-2], last, self._step, self._height, self._at_best_means)
        )
        yield from edges
        if edges:
            return
        zeros = _noises(last)
        same = [system for system in trail if _noises(system) == zeros]
        units = coefficient_units(self.specification, last, self.scale)
        points = [packed(self.specification, system, units) for system in same]
        if len(points) >= 3 and len({len(point) for point in points}) == 1:
            guesses = [extrapolated(points), *(stretched(points, longest) for longest in STRETCHES)]
            for guess in guesses:
                # A variance exp(30) times larger is no guess but an overflow on its way.
                if np.all(np.abs(guess - points[-1]) < 30.0):
                    try:
                        system = unpacked(self.specification, guess, last, units)
                    except NumericalError:
                        continue
                    if not self._is_nearly_singular(system, last):
                        yield system, ""

    @property
    def climb_after(self) -> int:
        """The iterations after which quasi-Newton steps are tried."""
        is_dear = self.numerics == SQUARE_ROOT or self.specification.start_moves
        return DEAR_CLIMB_AFTER if is_dear else CLIMB_AFTER

    def climb(self, params: LinearGaussianSystem) -> LinearGaussianSystem | None:
        """Return where quasi-Newton steps lead, if they know all that is learnt: see `climbed`.

        None where the likelihood runs away: EM may have a maximum beside it, and steps of this length leap over to it.
        """
        found = climbed(self, self.specification, params, self.means.best)
        if found is None or self.examine(found) is not None:
            return None
        # What is left of a variance that went down is rounding, and EM would spread it.
        return without_near_zeros(self.specification, found, self._height, goes_on=True)

    def told_of_climb(self, before: LinearGaussianSystem, after: LinearGaussianSystem) -> list[Note]:
        """Return which variances went to 0."""
        return new_zeros(self.specification, before, after)

    def _at_best_means(self, system: LinearGaussianSystem, worth: float = NOTHING) -> LinearGaussianSystem:
        # A start learnt whole from few series has no maximum: nothing must run ahead there.
        return system if self.specification.is_free("initial_cov") else self.means.best(system, worth)

    def _height(self, params: LinearGaussianSystem) -> float:
        return log_likelihood_by(lay(params, self.rows), self.rows, self.numerics)

    def _is_nearly_singular(self, guess: LinearGaussianSystem, last: LinearGaussianSystem) -> bool:
        """Whether a guess jumps towards a singular covariance, where later steps would be lost in rounding."""
        return any(
            self._thinnest(name, guess) < min(NEARLY_SINGULAR, self._thinnest(name, last))
            for name in ("transition_cov", "observation_cov", "initial_cov")
            if self.specification.is_free(name)
        )

    def _thinnest(self, name: str, system: LinearGaussianSystem) -> float:
        """Return the smallest eigenvalue, variances scaled to 1, of what a learnt covariance may lose."""
        blocks = self.specification.noise(name).losable(getattr(system, name))
        return min((float(smallest_scaled_eigenvalue(block)) for block in blocks), default=1.0)

    def _step(self, params: LinearGaussianSystem) -> LinearGaussianSystem:
        return self.m_step(params, self.e_step(params)[0])
