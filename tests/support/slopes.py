"""Slopes of the log-likelihood in every free direction: what must be 0 where EM ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from oracles import bruteforce as bf

from kalman_em import BlockDiagonal, Diagonal, Full, Isotropic
from kalman_em.em.repeated import Repeated
from kalman_em.inference.rows import noise_covs
from support.learning import log_likelihood

COEFFICIENTS = {"F": "F", "b": "F", "B": "F", "H": "H", "d": "H", "D": "H", "m": "m"}


def free_directions(specification, system):
    """Yield (label, function of a step) along every free number, in units that do not depend on the data's.

    Coefficients move by steps in units of the noise they are followed by; a covariance C = L L' by
    L exp(step * E) with E symmetric within the form, so that the step is relative.
    """
    noise = np.sqrt(np.diagonal(np.atleast_3d(noise_covs(system).T).T[0]))
    unit = {"F": noise, "H": np.sqrt(np.diagonal(np.atleast_3d(system.observation_cov.T).T[0])), "m": noise}
    for letter, name in bf.NAMES.items():
        if not specification.is_free(name):
            continue
        value = getattr(system, name)
        if letter in COEFFICIENTS:
            constraint = specification.constraint(name)
            for i, column in enumerate(constraint.design.T):
                direction = column.reshape(value.shape)
                size = (np.abs(direction).T * unit[COEFFICIENTS[letter]]).max()
                yield f"{letter}[{i}]", lambda step, n=name, v=value, D=direction * size: {n: v + step * D}
        else:
            for i, basis in enumerate(_symmetric_basis(specification.covariance(name), len(value))):
                yield f"{letter}[{i}]", lambda step, n=name, v=value, E=basis: {n: _moved(v, E, step)}


def _symmetric_basis(form, dim):
    if isinstance(form, BlockDiagonal):
        first = 0
        for inner, size in form.blocks:
            for small in _symmetric_basis(inner, size):
                whole = np.zeros((dim, dim))
                whole[first : first + size, first : first + size] = small
                yield whole
            first += size
    elif isinstance(form, Repeated):
        for small in _symmetric_basis(form.form, dim // form.copies):
            yield np.kron(np.eye(form.copies), small)
    elif isinstance(form, Isotropic):
        yield np.eye(dim)
    elif isinstance(form, Diagonal | Full):
        for i in range(dim):
            for j in range(i + 1 if isinstance(form, Full) else 0):
                yield np.outer(np.eye(dim)[i], np.eye(dim)[j]) / 2 + np.outer(np.eye(dim)[j], np.eye(dim)[i]) / 2
            if isinstance(form, Diagonal):
                yield np.diag(np.eye(dim)[i])


def _moved(cov, basis, step):
    silent = np.diag(np.where(np.diagonal(cov) > 0.0, 0.0, 1.0))
    root = np.linalg.cholesky(cov + silent) - silent
    # I + sE + s²E²/2 keeps the curve positive definite; its slope at 0 is E.
    middle = np.eye(len(cov)) + step * basis + 0.5 * step**2 * basis @ basis
    moved = root @ middle @ root.T
    return 0.5 * (moved + moved.T)


def slopes(problem, system, led, width=1e-4):
    """Return the central differences of the log-likelihood along every free direction; a stationary start moves too."""

    def height(values):
        return log_likelihood(problem.specification.settled(replace(system, **values)), *led)

    return {
        label: (height(move(width)) - height(move(-width))) / (2.0 * width)
        for label, move in free_directions(problem.specification, system)
    }
