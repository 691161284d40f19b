"""A case: the matrices of a model and the data, in one binary file that every side reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MATRICES = ("F", "H", "Q", "R", "m", "P")


@dataclass(frozen=True, eq=False)
class Matrices:
    """x[0] ~ N(m, P), x[t+1] = F x[t] + N(0, Q), y[t] = H x[t] + N(0, R)."""

    F: Array
    H: Array
    Q: Array
    R: Array
    m: Array
    P: Array

    @property
    def state_dim(self) -> int:
        """Dimension of the state, d."""
        return len(self.F)

    @property
    def obs_dim(self) -> int:
        """Number of values a row, p."""
        return len(self.H)


@dataclass(frozen=True, eq=False)
class Case:
    """Start parameters and values (n_series, n_steps, p); `is_diagonal` says that R is learnt as a diagonal."""

    start: Matrices
    values: Array
    is_diagonal: bool = False

    def write(self, path: Path) -> None:
        """Write five integers (d, p, T, series, diagonal), the matrices and the values, all of eight bytes."""
        n_series, n_steps, p = self.values.shape
        head = np.array([self.start.state_dim, p, n_steps, n_series, self.is_diagonal], dtype=np.int64)
        with path.open("wb") as file:
            head.tofile(file)
            for name in MATRICES:
                np.ascontiguousarray(getattr(self.start, name), dtype=np.float64).tofile(file)
            np.ascontiguousarray(self.values, dtype=np.float64).tofile(file)


def read_case(path: Path) -> Case:
    """Read what `Case.write` wrote."""
    with path.open("rb") as file:
        d, p, n_steps, n_series, is_diagonal = (int(number) for number in np.fromfile(file, np.int64, 5))
        shapes = {"F": (d, d), "H": (p, d), "Q": (d, d), "R": (p, p), "m": (d,), "P": (d, d)}
        matrices = {
            name: np.fromfile(file, np.float64, int(np.prod(shape))).reshape(shape) for name, shape in shapes.items()
        }
        values = np.fromfile(file, np.float64, n_series * n_steps * p).reshape(n_series, n_steps, p)
    return Case(Matrices(**matrices), values, bool(is_diagonal))
