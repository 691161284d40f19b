"""The noise of states in common: known, the identity, as their loadings hold its scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from kalman_em.arrays import Array, as_count
from kalman_em.em.families import Family, family_of
from kalman_em.errors import InputError


@dataclass(frozen=True)
class CommonNoise:
    """The identity, for `copies` sets of `rank` noises whose states are seen through learnt loadings.

    An M-step may let it go, as if it were learnt, and move what it found into the loadings: the complete data then have
    one more parameter that the observed data do not, and EM is faster for it.

    Parameters
    ----------
    rank, copies : int
        r, and the number of sets, equal in covariance.
    seen : tuple of int
        The first state of each set of r that stands in the loadings.

    References
    ----------
    Liu, Rubin and Wu, Parameter expansion to accelerate EM: the PX-EM algorithm, Biometrika 85 (1998).

    Examples
    --------
    >>> CommonNoise(2, 1, (3,)).most_likely(np.diag([4.0, 9.0])).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    rank: int
    copies: int
    seen: tuple[int, ...]

    is_direct: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("rank", "copies"):
            object.__setattr__(self, name, as_count(getattr(self, name), name))
        object.__setattr__(self, "seen", tuple(int(one) for one in self.seen))

    def most_likely(self, scatter: Array) -> Array:
        """The identity, whatever the scatter."""
        return np.eye(len(scatter))

    def n_free_in_covariance(self, dim: int) -> int:
        """None."""
        return 0

    def check_covariance(self, dim: int, name: str) -> None:
        """Check that the sets fill the rows."""
        if dim != self.rank * self.copies:
            raise InputError(f"{name}: {self.copies} sets of {self.rank} noises do not fill {dim} rows")

    def family(self, dim: int, name: str) -> Family:
        """The one member."""
        self.check_covariance(dim, name)
        return family_of(np.eye(dim)[None], np.zeros((0, 1, dim, dim)), ())

    def expanded(self, scatter: Array) -> Array:
        """Return the covariance (r, r) of one set that is most likely, as if it were learnt."""
        sets = scatter.reshape(self.copies, self.rank, self.copies, self.rank)
        return np.asarray(np.einsum("aiaj->ij", sets) / self.copies)
