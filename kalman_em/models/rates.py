"""What is learnt of a drift: how fast a motion dies away, and how fast it turns.

Such a rate enters the transition and the noise of every gap nonlinearly, so its M-step is a search along one line.
Where a move tells its noises, the density has its closed form at each point of it: together they are the maximum of the
expected log-likelihood there. Elsewhere the density is held while the rate moves, and takes its step after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.dynamics import Dynamics, Noise
from kalman_em.em.forms import BlockDiagonal
from kalman_em.em.noise import NoiseStep
from kalman_em.em.regression import Moments
from kalman_em.inference.expectations import Expectations
from kalman_em.inference.stationary import stationary_cov
from kalman_em.linalg import symmetrised
from kalman_em.models.draws import drawn_scatter
from kalman_em.models.rate import Rate
from kalman_em.models.specification import Specification
from kalman_em.systems import LinearGaussianSystem

# One M-step changes a rate by no more than this factor: the search is a local one.
FARTHEST = 2.0
# Newton's steps along a rate, at most, and the square of the step, as a share of the rate, after which there is
# no other.
MOST_STEPS = 8
CLOSE = 1e-4
# The width of the differences they are taken from, and so many halvings until one gains.
WIDTH = 1e-3
MOST_HALVINGS = 30


def with_rate(dynamics: Dynamics, rate: Rate, value: float) -> Dynamics:
    """Return `dynamics` with another value of a rate in its drift."""
    drift = np.array(dynamics.drift)
    for row, column, weight in rate.entries:
        drift[row, column] = weight * value
    return dynamics.with_drift(drift)


def moved_to(system: LinearGaussianSystem, dynamics: Dynamics) -> LinearGaussianSystem:
    """Return `system` with other dynamics, and their tables over its gaps."""
    gaps = system.transition_gaps
    assert gaps is not None
    return system.replaced(
        dynamics=dynamics,
        transition_matrix=dynamics.transition_matrices(gaps),
        noise_selection=dynamics.noise_selections(gaps),
    )


@dataclass(frozen=True, eq=False)
class Part:
    """The states of a sum that have learnt rates: their motion by itself, and what is expected of it.

    `rows` are its states and `draws` its rows of the density. `residual`, `cross` and `square` are E[e e'], E[e x'] and
    E[x x'] of the moves over each of the `gaps` from F = `before`. `first` is the sum of E[x x'] over the first states
    of `n_series` series if they start stationary, else None.
    """

    dynamics: Dynamics
    rates: tuple[Rate, ...]
    rows: slice
    draws: slice
    step: NoiseStep
    density: Array
    gaps: Array
    count: Array
    before: Array
    residual: Array
    cross: Array
    square: Array
    first: Array | None
    n_series: int

    def height(self, dynamics: Dynamics, density: Array | None = None) -> float:
        """Return the expected log-likelihood of the moves and first states, up to a constant.

        Without a `density` at its maximum there; where moves do not tell the noises, at the present one. -inf where
        some noise is 0.
        """
        if self.dynamics.is_wide:
            return self._wide_height(dynamics.noise_selections(self.gaps), self._residual(dynamics))
        found = self._of_one_axis(dynamics) if self.dynamics.is_of_one_axis else self._of_all_axes(dynamics)
        if found is None:
            return -np.inf
        scatter, log_moves = found
        n = float(self.count.sum())
        shape = self.start_shape(dynamics)
        scatter, n = scatter + self.start_scatter(shape), n + (0 if shape is None else self.n_series)
        if density is None:
            density = self.step.most_likely(scatter[None] / n, np.array([n]), self.density)
        sign, log_density = np.linalg.slogdet(density)
        if sign <= 0.0:
            return -np.inf
        log_start = 0.0 if shape is None else self.n_series * self.dynamics.axes * np.linalg.slogdet(shape)[1]
        squares = np.trace(np.linalg.solve(density, scatter))
        return float(-0.5 * (n * log_density + self.count @ log_moves + log_start + squares))

    def _of_all_axes(self, dynamics: Dynamics) -> tuple[Array, Array]:
        """Return the scatter of the draws, and log |Q| of each gap under noise of density 1."""
        G = dynamics.noise_selections(self.gaps)
        scatter, _ = drawn_scatter(G, self.density, self._residual(dynamics), self.count)
        unit = np.linalg.norm(G, axis=2)
        return scatter, 2.0 * (np.log(unit).sum(axis=1) + np.linalg.slogdet(G / unit[:, :, None])[1])

    def _of_one_axis(self, dynamics: Dynamics) -> tuple[Array, Array] | None:
        """Return what `_of_all_axes` does by way of F, Q of one axis: sums of E[e_a' Q^-1 e_b] over axes a, b.

        None where a move is all but without noise.
        """
        F, Q = dynamics.moves_of_one_axis(self.gaps)
        deviation = np.sqrt(np.diagonal(Q, axis1=1, axis2=2))
        if not (np.all(np.isfinite(F)) and np.all(np.isfinite(Q)) and np.all(deviation > 0.0)):
            return None
        scale = deviation[:, :, None] * deviation[:, None, :]
        signs, logs = np.linalg.slogdet(Q / scale)
        if not np.all(signs > 0.0):
            return None
        p, c = self.dynamics.axes, F.shape[1]
        weight = np.linalg.inv(Q / scale) / scale
        change = F - self.before[:, ::p, ::p]
        weighted = weight @ change
        residual, cross, square = self._by_axes
        mixed = weighted.ravel() @ cross
        each = weight.ravel() @ residual + (np.swapaxes(change, 1, 2) @ weighted).ravel() @ square
        scatter = each.reshape(p, p) - mixed.reshape(p, p) - mixed.reshape(p, p).T
        # What the forms see of the draws is their sum over the c of each axis.
        return np.kron(np.eye(c), symmetrised(scatter) / c), p * (logs + 2.0 * np.log(deviation).sum(axis=1))

    @cached_property
    def _by_axes(self) -> tuple[Array, Array, Array]:
        """Sums of E[e e'], E[e x'], E[x x'], a row for each gap and pair of states, a column for each pair of axes."""
        p = self.dynamics.axes
        c = self.before.shape[1] // p
        return tuple(  # type: ignore[return-value]
            table.reshape(-1, c, p, c, p).transpose(0, 1, 3, 2, 4).reshape(-1, p * p)
            for table in (self.residual, self.cross, self.square)
        )

    def start_shape(self, dynamics: Dynamics) -> Array | None:
        """Return the stationary covariance (c, c) of one axis under noise of density 1; None if it starts otherwise."""
        if self.first is None:
            return None
        alone, longest = replace(dynamics, axes=1), self.gaps[-1:]
        G = alone.noise_selections(longest)[0]
        return stationary_cov(alone.transition_matrices(longest)[0], G @ G.T)

    def start_scatter(self, shape: Array | None) -> Array:
        """Return what the stationary first states add to the scatter of the density's draws: as one more move each."""
        size = self.draws.stop - self.draws.start
        if shape is None or self.first is None:
            return np.zeros((size, size))
        c, p = len(shape), self.dynamics.axes
        blocks = self.first.reshape(c, p, c, p)
        each = np.einsum("ij,iajb->ab", np.linalg.inv(shape), blocks) / c
        return np.asarray(np.kron(np.eye(size // p), each))

    def _residual(self, dynamics: Dynamics) -> Array:
        change = dynamics.transition_matrices(self.gaps) - self.before
        mixed = self.cross @ np.swapaxes(change, 1, 2)
        moved = self.residual - mixed - np.swapaxes(mixed, 1, 2) + change @ self.square @ np.swapaxes(change, 1, 2)
        return np.asarray(0.5 * (moved + np.swapaxes(moved, 1, 2)))

    def _wide_height(self, G: Array, residual: Array) -> float:
        noise = G @ self.density @ np.swapaxes(G, 1, 2)
        unit = np.sqrt(np.diagonal(noise, axis1=1, axis2=2))
        if not np.all(unit > 0.0):
            return -np.inf
        scale = unit[:, :, None] * unit[:, None, :]
        signs, logs = np.linalg.slogdet(noise / scale)
        if np.any(signs <= 0.0):
            return -np.inf
        squares = np.trace(np.linalg.solve(noise / scale, residual / scale), axis1=1, axis2=2).sum()
        return float(-0.5 * (self.count @ (logs + 2.0 * np.log(unit).sum(axis=1)) + squares))


def parts_of(
    specification: Specification, system: LinearGaussianSystem, moments: Moments, expectations: Expectations
) -> Iterator[Part]:
    """Yield the parts whose rates are learnt, with what is expected of them at `system`."""
    dynamics, gaps = system.dynamics, system.transition_gaps
    assert dynamics is not None
    assert gaps is not None
    p, used = dynamics.axes, moments.count > 0
    ends = np.cumsum([m * noise.n_noises * p for m, noise in zip(dynamics.copies, dynamics.noises, strict=True)])
    for states, noises in dict.fromkeys((rate.states, rate.noises) for rate in specification.rates):
        first, stop = states
        rows = slice(first * p, stop * p)
        draws = slice(int(ends[noises[0] - 1]) if noises[0] else 0, int(ends[noises[1] - 1]))
        here = [Noise(n.diffusion[first:stop], is_pooled=n.is_pooled) for n in dynamics.noises[slice(*noises)]]
        firsts = expectations.initial_means[:, rows]
        starts = expectations.initial_covs[:, rows, rows].sum(axis=0) + firsts.T @ firsts
        yield Part(
            dynamics=Dynamics(dynamics.drift[first:stop, first:stop], here, axes=p),
            rates=tuple(rate.within(first) for rate in specification.rates if rate.states == states),
            rows=rows,
            draws=draws,
            step=NoiseStep(_form_of(specification, noises), draws.stop - draws.start, "transition_cov"),
            density=system.transition_cov[draws, draws],
            gaps=gaps[used],
            count=moments.count[used],
            before=system.transition_matrix[used][:, rows, rows],
            residual=moments.residual[used][:, rows, rows],
            cross=moments.cross[used][:, rows, rows],
            square=moments.regressor[used][:, rows, rows],
            first=starts if rows in specification.initial.stationary else None,
            n_series=len(firsts),
        )


def best_rates(
    specification: Specification, system: LinearGaussianSystem, moments: Moments, expectations: Expectations
) -> dict[str, Any]:
    """Return the dynamics, their table over the gaps and the density that raise the expected log-likelihood.

    They do so among rates around the present ones; where none of these is better, all but the density stays.

    References
    ----------
    Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39 (1977),
    section 3, for generalised M-steps.
    """
    assert system.dynamics is not None
    drift = np.array(system.dynamics.drift)
    p = system.dynamics.axes
    parts = list(parts_of(specification, system, moments, expectations))
    found = []
    for part in parts:
        moved = part.dynamics
        for rate in part.rates:
            moved = _better(part, moved, rate)
        drift[part.rows.start // p : part.rows.stop // p, part.rows.start // p : part.rows.stop // p] = moved.drift
        found.append(moved)
    now = moved_to(system, system.dynamics.with_drift(drift))
    step = specification.noise("transition_cov")
    change = now.transition_matrix - system.transition_matrix
    back = np.swapaxes(change, 1, 2)
    mixed = moments.cross[:, :, : system.state_dim] @ back
    square = moments.regressor[:, : system.state_dim, : system.state_dim]
    after = moments.residual - mixed - np.swapaxes(mixed, 1, 2) + change @ square @ back
    assert now.noise_selection is not None
    scatter, n = drawn_scatter(now.noise_selection, system.transition_cov, after, moments.count)
    mean = np.array(scatter / n)
    for part, moved in zip(parts, found, strict=True):
        shape = part.start_shape(moved)
        if shape is not None:
            own = scatter[part.draws, part.draws] + part.start_scatter(shape)
            mean[part.draws, part.draws] = own / (n + part.n_series)
    density = step.most_likely(symmetrised(mean)[None], np.array([n]), system.transition_cov)
    return {
        "dynamics": now.dynamics,
        "transition_matrix": now.transition_matrix,
        "noise_selection": now.noise_selection,
        "transition_cov": density,
    }


def slopes_of_rates(
    specification: Specification, system: LinearGaussianSystem, moments: Moments, expectations: Expectations
) -> tuple[Array, Array]:
    """Return slope and minus bend of the expected log-likelihood in the logarithm of every rate, all else held.

    By central differences: the first is the score of the likelihood itself (Fisher's identity).
    """
    found = {}
    for part in parts_of(specification, system, moments, expectations):
        level = part.height(part.dynamics, part.density)
        for rate in part.rates:
            value = rate.value(part.dynamics.drift)
            above, below = (
                part.height(with_rate(part.dynamics, rate, value * float(np.exp(step))), part.density)
                for step in (WIDTH, -WIDTH)
            )
            found[rate.name] = (above - below) / (2.0 * WIDTH), (2.0 * level - above - below) / WIDTH**2
    each = np.array([found[rate.name] for rate in specification.rates])
    return each[:, 0], each[:, 1]


def endless(specification: Specification, system: LinearGaussianSystem, span: float) -> str:
    """Return which motions outlast the longest series, of length `span`: the data hardly tell their rates from 0.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> place = np.cumsum(0.3 * np.cumsum(rng.normal(size=100))) + rng.normal(size=100)
    >>> track = kem.Observations(place[:, None], times=np.arange(100.0))
    >>> fitted = kem.fit(kem.CorrelatedRandomWalk(time_constant=kem.Full()), track)
    >>> "time_constant stands for a time of" in fitted.em.detail
    True
    """
    if system.dynamics is None:
        return ""
    notes = []
    for rate in specification.rates:
        turns = specification.slots[rate.name].kind == "period"
        time = (2.0 * np.pi if turns else 1.0) / rate.value(system.dynamics.drift)
        if time > span:
            notes.append(
                f"{rate.name} stands for a time of {time:.3g}, beyond the longest series ({span:.3g}): the data hardly "
                "tell it from one without end, and a model without it may do as well"
            )
    return "; ".join(notes)


def _better(part: Part, dynamics: Dynamics, rate: Rate) -> Dynamics:
    """Return the dynamics with a better value of a rate, the best around the present one: Newton's steps in its log."""
    first = now = float(np.log(rate.value(dynamics.drift)))

    def height(log_rate: float) -> float:
        return part.height(with_rate(dynamics, rate, float(np.exp(log_rate))))

    top = height(now)
    if not np.isfinite(top):
        return dynamics
    for _ in range(MOST_STEPS):
        above, below = height(now + WIDTH), height(now - WIDTH)
        slope, curvature = (above - below) / (2.0 * WIDTH), (above - 2.0 * top + below) / WIDTH**2
        step = -slope / curvature if curvature < 0.0 else np.sign(slope) * np.log(FARTHEST)
        wanted = float(np.clip(now + step, first - np.log(FARTHEST), first + np.log(FARTHEST)))
        for reached in _halved(now, wanted):
            found = height(reached)
            if found > top:
                break
        else:
            break
        moved, now, top = abs(reached - now), reached, found
        # What a step of Newton leaves is about its square.
        if moved**2 < CLOSE:
            break
    return dynamics if now == first else with_rate(dynamics, rate, float(np.exp(now)))


def _halved(start: float, end: float) -> Iterator[float]:
    return (start + (end - start) / 2.0**k for k in range(MOST_HALVINGS))


def _form_of(specification: Specification, noises: tuple[int, int]) -> Any:
    form = specification.forms["transition_cov"]
    assert specification.dynamics is not None
    if len(specification.dynamics.noises) == 1:
        return form
    blocks = list(form.blocks)[slice(*noises)]
    return blocks[0][0] if len(blocks) == 1 else BlockDiagonal(blocks)
