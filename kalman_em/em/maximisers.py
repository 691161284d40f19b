"""The member of a linear family of covariances that maximises the expected log-likelihood.

    Σ_g n_g [ -log|C_g| - tr C_g^-1 S_g ],      C_g = K_g + Σ_k θ_k B_kg,

over groups g of n_g rows with mean scatter S_g. With K = 0 the maximiser is linear in S exactly where, seen from one of
its members, the family is closed under squaring (a Jordan algebra): full, diagonal, shared, scaled and equally
correlated covariances and whatever repeats them. Elsewhere scoring steps climb, each one made to gain.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.families import Family, Part
from kalman_em.errors import InputError
from kalman_em.linalg import checked_covariance, least_squares, solve_symmetric, symmetrised

# What is left of a square outside the family, relative, if it is closed under squaring.
CLOSED = 1e-9
# A direction that no member has noise in, relative, each variance in its own unit.
EMPTY = 1e-12
# A member is one with noise above this in all others.
DEFINITE = 1e-13
MOST_STEPS = 100
MOST_HALVINGS = 60
# A climb is over when a step gains less than this, relative to the number of rows.
GAINED = 1e-14
# Multiples of the identity whose neighbours are tried for a member.
SIZES = (1.0, 3.0, 10.0, 100.0, 1e3, 1e-1, 1e-2, 1e-3)


class Maximiser:
    """The maximiser for one part; what does not depend on the scatter is worked out once.

    Raises
    ------
    InputError
        If no free numbers are found with which the part is a covariance.
    """

    def __init__(self, part: Part, name: str) -> None:
        self.part = part
        # Every entry in units of its own: they may differ by many orders of magnitude over time.
        size = np.diagonal(np.abs(part.basis).sum(axis=0) + np.abs(part.fixed), axis1=1, axis2=2)
        deviation = np.sqrt(np.where(size > 0.0, size, 1.0))
        self._unit = deviation[:, :, None] * deviation[:, None, :]
        fixed, basis = part.fixed / self._unit, part.basis / self._unit
        self._inside = _support(fixed, basis)
        # The identity in the directions without noise, so that a matrix can be inverted in the others.
        empty = np.asarray(~self._inside.any(axis=1))
        self._padding = empty[:, :, None] * np.eye(len(part.rows))
        self._fixed, self._basis = self._seen(fixed), self._seen(basis)
        self._member = self._some_member(name) if part.n_free else np.zeros(0)
        if part.n_free == 0:
            checked_covariance(part.fixed, len(part.rows), name)
        self.is_closed = part.n_free == 0 or (not np.any(part.fixed) and self._is_closed_under_squares())

    def most_likely(self, scatter: Array, counts: Array, near: Array) -> Array:
        """Return the covariances (n, r, r) for mean scatters (n, r, r) of `counts` (n,) rows each.

        `near` (n, r, r) is where a climb begins; the result is not lower.
        """
        if self.part.n_free == 0:
            return self.part.fixed
        if self.part.n_entries == 1 and len(counts) > 1:
            scatter, near = np.einsum("g,gij->ij", counts / counts.sum(), scatter)[None], near[:1]
            counts = counts.sum(keepdims=True)
        scaled = self._seen(symmetrised(scatter / self._unit))
        if self.is_closed:
            free = self._scale(scaled, counts) if self.part.n_free == 1 else self._projected(scaled, counts)
        else:
            free = self._climbed(scaled, counts, self._seen(near / self._unit))
        return _without_rounding(self.part.at(free))

    def seen(self, cov: Array) -> Array:
        """Return the block of a constant covariance (dim, dim) in the directions that have noise."""
        rows = self.part.rows
        live = self._inside[0].any(axis=0)
        block = cov[rows[:, None], rows] / self._unit[0]
        return np.asarray((self._inside[0].T @ block @ self._inside[0])[np.ix_(live, live)])

    def _seen(self, table: Array) -> Array:
        """Return tables in coordinates of the directions that have noise."""
        return np.asarray(np.swapaxes(self._inside, 1, 2) @ table @ self._inside)

    def _at(self, free: Array) -> Array:
        """Return the member with these numbers, the identity where there is no noise."""
        return np.asarray(self._fixed + self._padding + np.tensordot(free, self._basis, axes=1))

    def _nearest(self, target: Array) -> Array:
        """Return the free numbers whose member is nearest to `target`."""
        design = self._basis.reshape(self.part.n_free, -1).T
        return least_squares(design, (target - self._fixed).ravel())

    def _some_member(self, name: str) -> Array:
        """Return free numbers with which the part is positive definite in the directions that have noise."""
        live = np.eye(len(self.part.rows)) - self._padding
        tried = [self._nearest(size * live) for size in SIZES]
        tried.append((np.diagonal(self._basis, axis1=2, axis2=3).sum(axis=(1, 2)) > 0.0).astype(np.float64))
        for free in tried:
            if np.all(np.linalg.eigvalsh(self._at(free))[:, 0] > DEFINITE):
                return free
        what = ", ".join(label for label in self.part.labels if label is not None) or "its free entries"
        raise InputError(
            f"{name}: expected a form that some positive semi-definite matrix has, found no values of {what} that make "
            "it one"
        )

    @cached_property
    def _root(self) -> Array:
        """The inverse square root of the member of the start, 0 where there is no noise."""
        values, vectors = np.linalg.eigh(self._at(self._member))
        root = (vectors / np.sqrt(values)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        return np.asarray(root - self._padding)

    @cached_property
    def _whitened(self) -> Array:
        """B of each number in coordinates in which that member is the identity."""
        return np.asarray(self._root @ self._basis @ self._root)

    def _is_closed_under_squares(self) -> bool:
        """Whether the square of a member, seen from another, is in the family: tried at one member of general kind."""
        if self.part.n_free == 1:
            return True
        general = np.tensordot(np.cos(np.arange(1.0, self.part.n_free + 1.0)), self._whitened, axes=1)
        square = (general @ general).ravel()
        design = self._whitened.reshape(self.part.n_free, -1).T
        outside = square - design @ least_squares(design, square)
        return bool(np.linalg.norm(outside) <= CLOSED * np.linalg.norm(square))

    def _scale(self, scatter: Array, counts: Array) -> Array:
        """Return the one number: the mean of tr(B^-1 S) / rank over the rows."""
        squares = np.einsum("gij,gji->g", self._root @ self._root, scatter)
        ranks = self._inside.any(axis=1).sum(axis=1)
        return self._member * max(float(counts @ squares) / float(counts @ ranks), 0.0)

    def _projected(self, scatter: Array, counts: Array) -> Array:
        """Return the numbers of the orthogonal projection of the whitened scatter on the whitened family.

        References
        ----------
        Szatrowski, Necessary and sufficient conditions for explicit solutions in the multivariate normal estimation
        problem for patterned means and covariances, Annals of Statistics 8 (1980); Seely, Quadratic subspaces and
        completeness, Annals of Mathematical Statistics 42 (1971).
        """
        weight = np.sqrt(counts)[:, None, None]
        design = (weight * self._whitened).reshape(self.part.n_free, -1).T
        return least_squares(design, (weight * (self._root @ scatter @ self._root)).ravel())

    def _climbed(self, scatter: Array, counts: Array, near: Array) -> Array:
        """Return the numbers after scoring steps from `near`, each halved until it gains.

        References
        ----------
        Anderson, Asymptotically efficient estimation of covariance matrices with linear structure, Annals of Statistics
        1 (1973).
        """
        free = self._nearest(near)
        reached = self._height(free, scatter, counts)
        if not np.isfinite(reached):
            free, reached = self._member, self._height(self._member, scatter, counts)
        for _ in range(MOST_STEPS):
            cov = self._at(free)
            inverse = np.linalg.inv(cov)
            weighted = inverse @ self._basis @ inverse
            score = np.einsum("g,kgij,gij->k", counts, weighted, scatter - cov, optimize=True)
            information = np.einsum("g,kgij,lgij->kl", counts, weighted, self._basis, optimize=True)
            step = solve_symmetric(information, score[:, None])[:, 0]
            before = reached
            for _ in range(MOST_HALVINGS):
                height = self._height(free + step, scatter, counts)
                if height > reached:
                    reached, free = height, free + step
                    break
                step = 0.5 * step
            if reached - before <= GAINED * counts.sum():
                break
        return free

    def _height(self, free: Array, scatter: Array, counts: Array) -> float:
        """Return the expected log-likelihood (twice, without constants), -inf where there is no covariance."""
        cov = self._at(free)
        try:
            lower = np.linalg.cholesky(cov)
        except np.linalg.LinAlgError:
            return -np.inf
        logs = 2.0 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        squares = np.einsum("gij,gji->g", np.linalg.inv(cov), scatter)
        return -float(counts @ (logs + squares))


class FamilyMaximiser:
    """The maximiser over a family: that of each of its parts, for they are independent.

    Parameters
    ----------
    family : Family
    name : str
        The parameter, for messages.

    Raises
    ------
    InputError
        If no free numbers are found with which a part is a covariance.
    """

    def __init__(self, family: Family, name: str) -> None:
        self.family = family
        self.name = name
        self._parts = [Maximiser(part, name) for part in family.parts]

    @property
    def is_closed(self) -> bool:
        """Whether every part has a closed form."""
        return all(part.is_closed for part in self._parts)

    def most_likely(self, scatter: Array, counts: Array, near: Array) -> Array:
        """Return the covariance that maximises the expected log-likelihood, or from `near` raises it.

        Parameters
        ----------
        scatter : ndarray, shape (n, q, q)
            Mean of e e' over the rows of each group.
        counts : ndarray, shape (n,)
            Number of rows of each group.
        near : ndarray, shape (q, q) or (n, q, q)
            Where a climb begins, for a part without a closed form.

        Returns
        -------
        ndarray, shape (q, q) or (n, q, q)
            As many entries as the family has over time.
        """
        table = np.zeros((self.family.n_entries, self.family.dim, self.family.dim))
        nearby = near if near.ndim == 3 else near[None]
        for part in self._parts:
            inside = (slice(None), part.part.rows[:, None], part.part.rows)
            table[inside] = part.most_likely(scatter[inside], counts, nearby[inside])
        return table if self.family.n_entries > 1 else table[0]

    def losable(self, cov: Array) -> list[Array]:
        """Return the blocks of a member, first entry, that may become singular though the family is not.

        A part with one number, or none, is as singular as it was stated.
        """
        first = cov if cov.ndim == 2 else cov[0]
        return [part.seen(first) for part in self._parts if part.part.n_free > 1]

    def fitted(self, cov: Array) -> Array:
        """Return the member most like `cov` (q, q) or (n, q, q): the most likely one if that were the scatter.

        A constant covariance is shared out over time as the means of the family are.
        """
        if cov.ndim == 3:
            return self.most_likely(cov, np.ones(len(cov)), cov)
        if self.family.n_entries == 1:
            return self.most_likely(cov[None], np.ones(1), cov)
        mean = self.family.mean()
        return self.family.at(mean.free(FamilyMaximiser(mean, self.name).fitted(cov)))


def _support(fixed: Array, basis: Array) -> Array:
    """Return (n, r, r) whose columns span the directions that some member has noise in; the others are 0."""
    n, r = fixed.shape[:2]
    beside = np.concatenate([np.moveaxis(basis, 0, 2).reshape(n, r, -1), fixed], axis=2)
    vectors, values, _ = np.linalg.svd(beside, full_matrices=False)
    kept = values > EMPTY * values[:, :1]
    if kept.all():
        return np.broadcast_to(np.eye(r), fixed.shape).copy()
    return np.asarray(vectors * kept[:, None, :])


def _without_rounding(table: Array) -> Array:
    """Return covariances with variances that rounding made negative at 0."""
    result = symmetrised(table)
    negative = np.asarray(np.diagonal(result, axis1=1, axis2=2) < 0.0)
    if not negative.any():
        return result
    return np.where(negative[:, :, None] | negative[:, None, :], 0.0, result)
