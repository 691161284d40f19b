"""Where the states and noises of a sum stand: a set for every column, then those that columns have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kalman_em.arrays import Array, IntArray
from kalman_em.em.forms import LowRank
from kalman_em.errors import InputError
from kalman_em.models.component import Component, Noise


@dataclass(frozen=True, eq=False, kw_only=True)
class Common:
    """States that the columns have in common: what a noise w = Θ u of low rank adds to a component.

    By linearity the states are those of a motion without w, a set a column, plus Θ times those of r motions that u
    alone moves and that start at 0: Harvey (1989, equation 8.5.5) with all of the constants in the columns.

    Attributes
    ----------
    noise : Noise
        Where it comes from.
    position : int
        The position of its component.
    rank, first : int
        r, and the first of its n r states; state i of common motion j stands at first + i r + j.
    reached : tuple of int
        The n states of the component that the noise reaches.
    transition : ndarray, shape (n, n)
    observation : ndarray, shape (n,)
    """

    noise: Noise
    position: int
    rank: int
    first: int
    reached: tuple[int, ...]
    transition: Array
    observation: Array

    @property
    def rows(self) -> slice:
        """Its states."""
        return slice(self.first, self.first + len(self.reached) * self.rank)

    @property
    def seen(self) -> tuple[int, ...]:
        """The first state of each set of r that are seen."""
        return tuple(self.first + i * self.rank for i, weight in enumerate(self.observation) if weight != 0.0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Layout:
    """The places of the states and noises of a sum of components, for p columns.

    State i of a component for column j stands at i p + j after what comes before it; the common states of a component
    follow its own. A noise of a state is one block, (p, p) or (r, r).

    Attributes
    ----------
    firsts : tuple of int
        The first state of each component, and the number of all states.
    own : ndarray of int
        The states of the columns, in order.
    entered : ndarray of int
        The state that each noise enters.
    commons : tuple of Common
    """

    components: tuple[Component, ...]
    p: int
    firsts: tuple[int, ...]
    own: IntArray
    entered: IntArray
    commons: tuple[Common, ...]

    @property
    def state_dim(self) -> int:
        """Number of states."""
        return self.firsts[-1]

    @property
    def noises(self) -> list[tuple[Noise, int]]:
        """Every noise with its number of rows a state."""
        return [(noise, rank_of(noise, self.p)) for component in self.components for noise in component.noises]

    def stacked(self, own: Array) -> Array:
        """Return F of all states, with `own` for those of the columns."""
        F = np.zeros((self.state_dim, self.state_dim))
        F[np.ix_(self.own, self.own)] = own
        for common in self.commons:
            F[common.rows, common.rows] = np.kron(common.transition, np.eye(common.rank))
        return F


def rank_of(noise: Noise, p: int) -> int:
    """Return how many independent noises a state has: those of `LowRank`, or one a column."""
    return int(noise.form.rank) if isinstance(noise.form, LowRank) else p


def laid_out(components: Sequence[Component], p: int) -> Layout:
    """Return the layout of a sum.

    Raises
    ------
    InputError
        If a rank is above the number of columns, or a component with such a noise does not start diffuse.
    """
    firsts, own, entered, commons = [0], [], [], []
    for position, component in enumerate(components):
        first = firsts[-1]
        after = first + component.state_dim * p
        own += list(range(first, after))
        for noise in component.noises:
            rank = rank_of(noise, p)
            if not isinstance(noise.form, LowRank):
                entered += [first + state * p + column for state in noise.states for column in range(p)]
                continue
            if rank > p:
                raise InputError(f"{noise.name}: expected a rank of at most the {p} columns of the data, got {rank}")
            common = _common(component, noise, position, after)
            commons.append(common)
            entered += [after + common.reached.index(state) * rank + j for state in noise.states for j in range(rank)]
            after = common.rows.stop
        firsts.append(after)
    return Layout(
        components=tuple(components),
        p=p,
        firsts=tuple(firsts),
        own=np.array(own, dtype=np.int64),
        entered=np.array(entered, dtype=np.int64),
        commons=tuple(commons),
    )


def _common(component: Component, noise: Noise, position: int, first: int) -> Common:
    """Return what a noise of low rank adds: the states that it reaches, in one step or more."""
    moved = np.isin(np.arange(component.state_dim), noise.states)
    for _ in range(component.state_dim):
        moved = moved | (np.abs(component.transition) @ moved > 0.0)
    reached = np.flatnonzero(moved)
    return Common(
        noise=noise,
        position=position,
        rank=int(noise.form.rank),
        first=first,
        reached=tuple(reached.tolist()),
        transition=component.transition[np.ix_(reached, reached)],
        observation=component.observation[reached],
    )
