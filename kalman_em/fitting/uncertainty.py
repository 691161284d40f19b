"""Standard errors of what a fit learnt: the curvature of the log-likelihood at the estimates."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from kalman_em.arrays import Array, BoolArray, frozen
from kalman_em.em.information import inverse_information
from kalman_em.errors import InputError
from kalman_em.fitting.starting import named_value
from kalman_em.inference.kalman import log_likelihood_by
from kalman_em.inference.numerics import AUTO
from kalman_em.inference.rows import Rows, lay
from kalman_em.models.boundary import without_near_zeros
from kalman_em.models.parameters import Parameters
from kalman_em.models.score import Numbers
from kalman_em.models.specification import COVARIANCES, Specification
from kalman_em.systems import LinearGaussianSystem

# Steps of the differences, in standard errors that complete data would give.
STEP = 1e-3
# The data hold less than this part of what complete data would: nothing but rounding.
NOTHING = 1e-7
AT_ZERO = "a variance is at 0, the edge of what it may be: it is held there, and has no standard error"
SILENT = "stands in an equation without noise, where its score is not known here: it has no standard error"
NO_END = "the data do not tell it from other values, or the fit is not at a maximum: it has no standard error"


@dataclass(frozen=True, eq=False)
class StandardErrors:
    """The standard errors of a fit, by the names of its parameters.

    Attributes
    ----------
    values : Parameters
        An array for each learnt parameter, of its shape: 0 for entries that are held, inf for those that the data say
        nothing of.
    reasons : dict of str
        For a parameter some of whose entries have no standard error, why.
    cov : ndarray, shape (k, k)
        The covariance matrix of the k free numbers, coefficients first; 0 where a number is held.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> round(float(fitted.standard_errors["observation_cov"][0, 0]), -1), fitted.standard_errors.reasons
    (3150.0, {})
    """

    values: Parameters
    reasons: Mapping[str, str] = field(default_factory=dict)
    cov: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def __getattr__(self, name: str) -> Any:
        values: Parameters = object.__getattribute__(self, "values")
        return values.__getattr__(name)

    def __repr__(self) -> str:
        notes = "".join(f"\n{name}: {reason}" for name, reason in self.reasons.items())
        return repr(self.values).replace("Parameters(", "StandardErrors(", 1) + notes


def standard_errors(
    specification: Specification,
    system: LinearGaussianSystem,
    rows: Rows,
    tables: Mapping[str, Mapping[Hashable, str]] | None = None,
) -> StandardErrors:
    """Return the standard errors from the observed information: minus the derivative of the score.

    The score is exact (Fisher's identity, from an E-step); its derivative is taken by central differences. Numbers of
    named parameters and of entries follow by the delta method. `tables` are those of `Parameters`.

    Raises
    ------
    InputError
        If a covariance is learnt under a form that does not say how it depends on its numbers, a damping is learnt
        beside a stationary start in continuous time, or the start is learnt in part.

    References
    ----------
    Meng and Rubin, Using EM to obtain asymptotic variance-covariance matrices, JASA 86 (1991); Jamshidian and Jennrich,
    Standard errors for EM estimation, Journal of the Royal Statistical Society B 62 (2000), section 3.
    """
    if specification.rates and specification.initial.stationary:
        raise InputError(
            f"{specification.rates[0].name}: is learnt beside a stationary start in continuous time, whose score is "
            "not known here; standard errors come from a fit with initial_cov=Diffuse()"
        )
    initial = specification.initial
    learns_start = specification.is_free("initial_mean") or specification.is_free("initial_cov")
    if learns_start and not initial.others.all():
        raise InputError(
            f"initial_cov: the start is {initial.described()}, and the score of a start that is learnt in part is not "
            "known here; standard errors come from a fit with another start"
        )
    for name in COVARIANCES:
        if specification.is_free(name) and specification.noise(name).family is None:
            form = type(specification.forms[name]).__name__
            raise InputError(f"{name}: the form {form} has no linear family, so its standard errors are not known")
    system = without_near_zeros(specification, system, partial(_height, rows))
    numbers = Numbers(specification, system, rows)
    held = numbers.at_zero()
    steps = stuck = np.zeros(len(held))
    if len(held):
        _, complete = numbers.score(numbers.start)
        stuck = np.where((complete <= 0.0) & ~held, 1.0, 0.0)
        steps = np.where((complete > 0.0) & ~held, STEP / np.sqrt(np.where(complete > 0.0, complete, 1.0)), 0.0)
    cov, lost = _covariance(numbers, steps)
    lost = np.hstack([lost, np.diag(stuck)[:, stuck > 0.0]])
    silent = np.diag(stuck)[:, (stuck > 0.0) & ~numbers.is_mean]
    values, reasons = {}, {}
    for name, slopes, is_zero in _slopes(specification, numbers, steps, held):
        errors = np.sqrt(np.maximum(np.einsum("...i,ij,...j->...", slopes, cov, slopes), 0.0))
        unknown, is_silent = _stand_in(slopes, lost), _stand_in(slopes, silent)
        values[name] = frozen(np.asarray(np.where(unknown, np.inf, errors)))
        if is_silent.any():
            reasons[name] = SILENT
        elif unknown.any():
            reasons[name] = NO_END
        elif is_zero:
            reasons[name] = AT_ZERO
    return StandardErrors(Parameters(values, tables), reasons, frozen(cov))


def _stand_in(slopes: Array, directions: Array) -> BoolArray:
    """Return which entries, by their `slopes` (..., k) in the numbers, move along any of the directions (k, n)."""
    found = np.abs(slopes @ directions) > 1e-4 * np.linalg.norm(slopes, axis=-1, keepdims=True)
    return np.asarray(found.any(axis=-1) & np.any(slopes != 0.0, axis=-1))


def _height(rows: Rows, system: LinearGaussianSystem) -> float:
    return log_likelihood_by(lay(system, rows), rows, AUTO)


def _covariance(numbers: Numbers, steps: Array) -> tuple[Array, Array]:
    """Return the inverse of the observed information, and the directions that have none, in units of `steps`."""
    information = np.zeros((len(steps), len(steps)))
    for k in np.flatnonzero(steps > 0.0):
        step = np.zeros(len(steps))
        step[k] = steps[k]
        up, down = (numbers.score(numbers.start + sign * step)[0] for sign in (1.0, -1.0))
        information[:, k] = (down - up) / (2.0 * steps[k])
    return inverse_information(information, steps / STEP, NOTHING)


def _slopes(
    specification: Specification, numbers: Numbers, steps: Array, held: BoolArray
) -> list[tuple[str, Array, bool]]:
    """Return for every learnt parameter its derivative in the numbers, and whether a held number stands in it."""
    places = {name: slot for name, slot in specification.slots.items() if specification.is_learnt(name)}

    def values(vector: Array) -> dict[str, Array]:
        system = numbers.system(vector)
        found = {name: named_value(specification, slot, system) for name, slot in places.items()}
        return found | {name: np.asarray(x) for name, x in specification.numbers(system).items()}

    slopes: dict[str, list[Array]] = {name: [] for name in values(numbers.start)}
    touched = dict.fromkeys(slopes, False)
    # A held number is moved too, up from 0, to see where it stands; one without information by a part of itself.
    size = np.abs(numbers.start).max(initial=0.0)
    for k in range(len(steps)):
        step = np.zeros(len(steps))
        step[k] = steps[k] if steps[k] > 0.0 else STEP * (max(size, 1.0) if held[k] else abs(numbers.start[k]) or 1.0)
        up, down = values(numbers.start + step), values(numbers.start - step)
        for name, own in slopes.items():
            slope = (up[name] - down[name]) / (2.0 * step[k])
            touched[name] |= bool(held[k] and np.any(slope))
            own.append(np.where(held[k], 0.0, slope))
    return [(name, np.stack(own, axis=-1), touched[name]) for name, own in slopes.items() if own]
