"""Motion in continuous time: the linear stochastic differential equation behind a transition of any length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kalman_em.arrays import Array, as_count, as_floats, frozen
from kalman_em.discretisation import moves, noise_covs, reachable_rank, roots, transition_matrices
from kalman_em.errors import InputError, NumericalError


@dataclass(frozen=True, eq=False)
class Noise:
    """White noise that enters the motion through L, by itself independent of others.

    Parameters
    ----------
    diffusion : array_like, shape (c, r)
        L; its r columns are the noises.
    is_pooled : bool
        Whether the noises are independent with one spectral density: then one number tells it all, and G(t) has no more
        columns than the noise has directions.
    """

    diffusion: Any
    is_pooled: bool = False

    def __post_init__(self) -> None:
        diffusion = as_floats(self.diffusion, "diffusion")
        if diffusion.ndim != 2 or diffusion.size == 0:
            raise InputError(f"diffusion: expected shape (c, r), got {diffusion.shape}")
        if not np.all(np.any(diffusion != 0.0, axis=0)):
            raise InputError("diffusion: expected columns that move some state, got one of zeros")
        object.__setattr__(self, "diffusion", diffusion)

    @property
    def n_noises(self) -> int:
        """Number of noises r whose spectral density is a matrix (r, r): 1 if they are pooled."""
        return 1 if self.is_pooled else int(self.diffusion.shape[1])


@dataclass(frozen=True, eq=False)
class Dynamics:
    """dx = A x dt + L dW for each of `axes` axes that move alike, and are coupled by their noise alone.

    The state stacks one component of all axes after another: kron(A, I). Over a gap t it moves by

    .. math::

        F(t) = e^{A t}, \\qquad Q(t) = \\int_0^t e^{A s} L \\Sigma L' e^{A' s} ds = G(t) (I_m \\otimes \\Sigma) G(t)'

    where Σ is the spectral density of dW. As a function of s, the entries of exp(A s) L span m dimensions; the
    integrals of dW against an orthonormal basis of them are m independent draws from N(0, Σ), and G(t) says what
    they do to the state. So a constant Σ stands in the system as the covariance of noise that the table G(t) selects.

    Parameters
    ----------
    drift : array_like, shape (c, c)
        A, in 1 / time.
    noises : sequence of Noise
        One or several, independent of each other, each with a spectral density of its own.
    axes : int
        Number of axes.

    Raises
    ------
    InputError
        If a shape is wrong, or there is no noise.
    """

    drift: Any
    noises: Sequence[Noise]
    axes: int = 1

    def __post_init__(self) -> None:
        drift = as_floats(self.drift, "drift")
        if drift.ndim != 2 or drift.shape[0] != drift.shape[1] or drift.size == 0:
            raise InputError(f"drift: expected shape (c, c), got {drift.shape}")
        noises = tuple(self.noises)
        if not noises:
            raise InputError("noises: expected at least one noise, got none")
        for noise in noises:
            if len(noise.diffusion) != len(drift):
                raise InputError(f"diffusion: expected {len(drift)} rows, as drift has, got {len(noise.diffusion)}")
        object.__setattr__(self, "drift", drift)
        object.__setattr__(self, "noises", noises)
        object.__setattr__(self, "axes", as_count(self.axes, "axes"))

    @property
    def state_dim(self) -> int:
        """Dimension of the state over all axes."""
        return len(self.drift) * self.axes

    @cached_property
    def copies(self) -> tuple[int, ...]:
        """How many independent draws of each noise a gap brings: m."""
        return tuple(
            reachable_rank(self.drift, noise.diffusion)
            if noise.is_pooled
            else reachable_rank(*self._stacked(noise.diffusion))
            for noise in self.noises
        )

    @cached_property
    def is_wide(self) -> bool:
        """Whether a move of the state does not tell the draws behind it: more draws than the state can show."""
        shown = reachable_rank(self.drift, np.hstack([noise.diffusion for noise in self.noises]))
        return sum(m * noise.n_noises for m, noise in zip(self.copies, self.noises, strict=True)) > shown

    @property
    def is_of_one_axis(self) -> bool:
        """Whether Q(t) is that of one axis under noise of density 1, of full rank, times Σ."""
        return len(self.noises) == 1 and self.noises[0].n_noises == 1 and self.copies == (len(self.drift),)

    def with_drift(self, drift: Array) -> Dynamics:
        """Return the motion with other numbers in the places of the drift; what moves what stays as it is."""
        moved = Dynamics(drift, self.noises, self.axes)
        # Which directions noise reaches is a matter of those places.
        moved.__dict__["copies"] = self.copies
        return moved

    def transition_matrices(self, gaps: Array) -> Array:
        """Return F(t) for the times t in `gaps`, shape (K, d, d)."""
        with np.errstate(over="ignore", invalid="ignore"):
            F = transition_matrices(self.drift, gaps)
        if not np.all(np.isfinite(F)):
            raise NumericalError(
                f"the motion grows beyond all floats within a gap of {gaps.max():g}; is the drift in units of 1 / time?"
            )
        return frozen(np.kron(F, np.eye(self.axes)))

    def moves_of_one_axis(self, gaps: Array) -> tuple[Array, Array]:
        """Return F(t) and Q(t) of one axis under noise of density 1, (K, c, c) each, where `is_of_one_axis`."""
        with np.errstate(over="ignore", invalid="ignore"):
            return moves(self.drift, self.noises[0].diffusion, gaps)

    def noise_selections(self, gaps: Array) -> Array:
        """Return G(t) for the times t in `gaps`, shape (K, d, the sum over noises of m r, times the axes)."""
        parts = []
        for noise, m in zip(self.noises, self.copies, strict=True):
            c, r = noise.diffusion.shape
            if noise.is_pooled:
                parts.append(roots(noise_covs(self.drift, noise.diffusion, gaps), m))
                continue
            found = roots(noise_covs(*self._stacked(noise.diffusion), gaps), m)
            parts.append(np.swapaxes(found.reshape(len(gaps), c, r, m), 2, 3).reshape(len(gaps), c, m * r))
        return frozen(np.kron(np.concatenate(parts, axis=2), np.eye(self.axes)))

    def _stacked(self, diffusion: Array) -> tuple[Array, Array]:
        """Return the motion of all entries of exp(A s) L, row by row, as one state that starts at L."""
        r = diffusion.shape[1]
        return np.kron(self.drift, np.eye(r)), diffusion.reshape(-1, 1)
