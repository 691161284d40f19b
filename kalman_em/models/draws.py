"""The noises behind the moves of the states, given the data: E[w w'] from E[e e'], e = G w."""

from __future__ import annotations

import numpy as np

from kalman_em.arrays import Array
from kalman_em.inference.rows import Rows, noises_of_series
from kalman_em.linalg import symmetrised
from kalman_em.systems import LinearGaussianSystem

# Directions of less than this part of the variances, each scaled to 1, have no noise.
SILENT = 1e-13


def noise_scatters(system: LinearGaussianSystem, rows: Rows, residual: Array, counts: Array) -> tuple[Array, Array]:
    """Return what `noise_scatter` does with a leading axis: one entry, or one for each series where Q has."""
    if "transition_cov" not in system.by_series:
        scatter, n = noise_scatter(system, residual, counts)
        return scatter[None], np.array([n])
    G = system.noise_selection
    if G is None or G.ndim == 2:
        found = [noise_scatter(system, residual[s : s + 1], counts[s : s + 1]) for s in range(len(counts))]
    else:
        series, entry, _ = noises_of_series(system, rows)
        found = []
        for s in range(rows.n_series):
            own = np.flatnonzero(series == s)
            one = system.of_series(s).replaced(noise_selection=G[entry[own]])
            found.append(noise_scatter(one, residual[own], counts[own]))
    return np.array([scatter for scatter, _ in found]), np.array([n for _, n in found])


def noise_scatter(system: LinearGaussianSystem, residual: Array, counts: Array) -> tuple[Array, float]:
    """Return the sum over all moves of E[w w'] (r, r) given the data, and how many moves there are.

    Parameters
    ----------
    system : LinearGaussianSystem
        With one G, or one an entry of the table of moves.
    residual : ndarray, shape (n, d, d)
        The sums of E[e e'] by entry of that table (or of Q).
    counts : ndarray, shape (n,)
        The moves of each entry.

    Notes
    -----
    Where G has independent columns a move tells its noises: w = G^+ e. Where it has more columns than a move can show
    (several noises drive one state), w ~ N(0, Q) given e has mean A e, A = Q G'(G Q G')^+, and covariance Q - A G Q:
    the noises are part of the complete data of EM then, as the variance components of Dempster, Rubin and Tsutakawa,
    JASA 76 (1981), are.
    """
    if system.noise_selection is None:
        return residual.sum(axis=0), float(counts.sum())
    return drawn_scatter(system.noise_selection, system.transition_cov, residual, counts)


def drawn_scatter(G: Array, Q: Array, residual: Array, counts: Array) -> tuple[Array, float]:
    """Return what `noise_scatter` does, of noises of covariance Q that one G, or one an entry, selects."""
    n = float(counts.sum())
    if G.ndim == 2:
        inverse = np.linalg.pinv(G)
        return symmetrised(inverse @ residual.sum(axis=0) @ inverse.T), n
    used = counts > 0
    G, residual, counts = G[used], residual[used], counts[used]
    # Rows in units of their own noise: over short times positions move by far less than their rates.
    deviation = np.linalg.norm(G, axis=2)
    unit = np.where(deviation > 0.0, deviation, 1.0)
    scaled = G / unit[:, :, None]
    back = np.swapaxes(scaled, 1, 2)
    values, vectors = np.linalg.eigh(back @ scaled)
    if not len(G) or np.all(values[:, 0] > SILENT * values[:, -1]):
        inner = (vectors / values[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        gains = inner @ back / unit[:, None, :]
        return symmetrised(np.einsum("krd,kde,kse->rs", gains, residual, gains, optimize=True)), n
    pushed = scaled @ Q
    moved = symmetrised(pushed @ back)
    # Once more in units of their variances: those of Q are units of the columns that they move.
    variances = np.diagonal(moved, axis1=1, axis2=2)
    own = np.sqrt(np.where(variances > 0.0, variances, 1.0))
    unit, scaled, pushed = unit * own, scaled / own[:, :, None], pushed / own[:, :, None]
    values, vectors = np.linalg.eigh(moved / (own[:, :, None] * own[:, None, :]))
    live = values > SILENT * np.maximum(values[:, -1:], 0.0)
    inverse_values = np.where(live, 1.0 / np.where(live, values, 1.0), 0.0)
    gains = np.swapaxes(pushed, 1, 2) @ ((vectors * inverse_values[:, None, :]) @ np.swapaxes(vectors, 1, 2))
    left = np.eye(len(Q)) - gains @ scaled
    # (I - A G) Q (I - A G)' is the same covariance as a square: no subtraction can lose its sign.
    rest = np.einsum("k,krs,st,kut->ru", counts, left, Q, left, optimize=True)
    gains = gains / unit[:, None, :]
    return symmetrised(np.einsum("krd,kde,kse->rs", gains, residual, gains, optimize=True) + rest), n
