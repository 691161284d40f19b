"""Forms of parameters, drawn at random: for covariances every kind there is, and for the coefficients of a system."""

from __future__ import annotations

from typing import Any

import numpy as np

import kalman_em as kem

# How a covariance may vary, and how often each is drawn; those in NEEDS_TWO make sense for two entries and more.
COV_KINDS = {
    "full": 0.3,
    "diagonal": 0.18,
    "isotropic": 0.12,
    "known": 0.1,
    "zero": 0.05,
    "equal": 0.06,
    "blocks": 0.06,
    "scaled": 0.06,
    "partly": 0.04,
    "pattern": 0.03,
}
NEEDS_TWO = ("equal", "blocks", "partly", "pattern")


def random_cov(rng: np.random.Generator, dim: int, unit: Any = 1.0) -> np.ndarray:
    """Return a covariance in the given unit, now and then a singular one."""
    rank = dim if rng.random() < 0.8 else int(rng.integers(0, dim + 1))
    factor = rng.standard_normal((dim, rank)) * _units(unit, dim)[:, None]
    return factor @ factor.T


def random_transition(rng: np.random.Generator, d: int) -> np.ndarray:
    """Return a transition matrix with a spectral radius from 0.2 to 1."""
    F = rng.standard_normal((d, d))
    return F * rng.uniform(0.2, 1.0) / np.abs(np.linalg.eigvals(F)).max()


def cov_form(rng: np.random.Generator, dim: int, unit: Any = 1.0, n_rows: int = 0) -> Any:
    """Return the form of a covariance (dim, dim); with `n_rows` it may be given over so many rows."""
    unit = _units(unit, dim)
    kinds = [kind for kind in COV_KINDS if dim > 1 or kind not in NEEDS_TWO]
    shares = np.array([COV_KINDS[kind] for kind in kinds])
    kind = str(rng.choice(kinds, p=shares / shares.sum()))
    if kind == "known":
        return kem.Known(_over_time(rng, unit, n_rows)) if n_rows else kem.Fixed(random_cov(rng, dim, unit))
    if kind == "scaled":
        if n_rows:
            return kem.Scaled(_over_time(rng, unit, n_rows)[:, :, None] * np.eye(dim))
        return kem.Scaled(random_cov(rng, dim, unit) + np.diag(unit**2))
    if kind == "blocks":
        first = int(rng.integers(1, dim))
        return kem.BlockDiagonal([(kem.Full(), first), (kem.Isotropic(), dim - first)])
    if kind == "partly":
        free = np.eye(dim, dtype=bool)
        free[0, 0] = False
        return kem.Partly(np.diag(unit**2), free)
    if kind == "pattern":
        mark = rng.integers(10**6)
        names = [f"v{mark}_{rng.integers(2)}" for _ in range(dim)]
        return kem.Pattern([[names[i] if i == j else 0.0 for j in range(dim)] for i in range(dim)])
    return {
        "full": kem.Full(),
        "diagonal": kem.Diagonal(),
        "isotropic": kem.Isotropic(),
        "equal": kem.EqualVarCov(),
        "zero": kem.Fixed(0),
    }[kind]


def transition_form(rng: np.random.Generator, d: int) -> Any:
    """Return the form of a transition matrix."""
    known = random_transition(rng, d)
    choices = [kem.Full(), kem.Diagonal(), kem.Isotropic(), kem.Fixed(known), _partly(rng, known), _pattern(rng, known)]
    return choices[rng.choice(len(choices), p=[0.3, 0.15, 0.1, 0.25, 0.1, 0.1])]


def observation_form(rng: np.random.Generator, scale: np.ndarray, d: int) -> Any:
    """Return the form of an observation matrix, known entries in units of the data."""
    known = scale[:, None] * rng.standard_normal((len(scale), d))
    choices = [kem.Full(), kem.Fixed(known), _partly(rng, known), _pattern(rng, known)]
    return choices[rng.choice(len(choices), p=[0.4, 0.4, 0.1, 0.1])]


def _partly(rng: np.random.Generator, known: np.ndarray) -> Any:
    return kem.Partly(known, rng.random(known.shape) < 0.5)


def _pattern(rng: np.random.Generator, known: np.ndarray) -> Any:
    """Return a pattern in which some entries are known and others share two names."""
    mark = rng.integers(10**6)
    return kem.Pattern(
        [[float(v) if rng.random() < 0.5 else f"c{mark}_{rng.integers(2)}" for v in row] for row in known]
    )


def _over_time(rng: np.random.Generator, unit: np.ndarray, n_rows: int) -> np.ndarray:
    """Return variances (n_rows, dim) that differ by orders of magnitude, now and then 0."""
    variances = (unit * 10.0 ** rng.uniform(-2.0, 1.0, size=(n_rows, len(unit)))) ** 2
    return variances * (rng.random(variances.shape) >= (0.1 if rng.random() < 0.2 else 0.0))


def _units(unit: Any, dim: int) -> np.ndarray:
    return np.broadcast_to(np.asarray(unit, dtype=float), (dim,))
