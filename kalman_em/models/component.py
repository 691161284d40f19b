"""One part of a sum: its states, how they move, what moves them, and what of them is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.forms import Diffuse, Fixed, Stationary, has_series
from kalman_em.errors import InputError
from kalman_em.observations import Panel

# Where the inputs of a component come from: those of the fit, or one that the model makes out of the row labels.
GIVEN, MADE = "given", "made"


@dataclass(frozen=True, kw_only=True)
class Noise:
    """A noise that enters states of a component: the form of its covariance over the columns of the data, (p, p).

    With several `states` there are as many independent noises, of equal covariance. `ratios` are the variances
    that a start tries, as multiples of that of the observations.
    """

    name: str
    form: Any
    states: tuple[int, ...]
    ratios: tuple[float, ...]

    @property
    def tried(self) -> tuple[float, ...]:
        """The ratios that a start tries: 0 alone where the model says so."""
        is_zero = isinstance(self.form, Fixed) and not np.any(self.form.value)
        return (0.0,) if is_zero else self.ratios


@dataclass(frozen=True, kw_only=True)
class Coefficient:
    """A named set of learnt numbers of the transition of one column: entries (row, column, number, weight).

    Each of the `size` numbers stands in the entries that name its position, times the weight. `shown` says how they
    are reported: (name, kind, entries) as a `Slot` has them.
    """

    free: tuple[tuple[int, int, int, float], ...]
    size: int
    shown: tuple[tuple[str, str, tuple[tuple[int, int], ...]], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Turning:
    """How what is learnt of a component's transition stands in its drift, for the form in continuous time.

    Attributes
    ----------
    drift : ndarray, shape (c, c)
        The known part of the drift, in 1 / steps.
    rates : tuple of (name, kind, entries)
        The learnt numbers: what the parameter is called, the kind of `Slot` that tells of it, and where the number
        stands: (row, column, weight).
    tried : tuple of tuple of float
        The values of all rates, in 1 / steps, that a start tries.
    """

    drift: Array
    rates: tuple[tuple[str, str, tuple[tuple[int, int, float], ...]], ...]
    tried: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Component:
    """The part of a state-space model that one summand brings, for one column of the data.

    Every column of the data has a set of these c states of its own; the noises join them.

    Attributes
    ----------
    name : str
        What the contribution is called.
    states : tuple of str
        Names of the c states.
    transition : ndarray, shape (c, c)
        The block of F; where `coefficient` is given, its known part.
    observation : ndarray, shape (c,)
        The row of H.
    noises : tuple of Noise
        What moves the states.
    coefficient : Coefficient, optional
        What is learnt of the transition.
    transitions : tuple of ndarray (c, c)
        The transitions that a start tries; the known one where nothing is learnt.
    initial_cov, initial_mean : form
        Of the states at the first observation, over states and columns; diffuse unless they die away.
    frequencies : tuple of float
        Angles a step of oscillations that never die away: no two summands may share one.
    regressors : {"", "given", "made"}
        Which inputs it has: none, those of the fit, or one that the model makes.
    is_moving : bool
        Whether its states are the coefficients of those inputs; otherwise the coefficients are parameters.
    turning : Turning, optional
        What is learnt of the transition as a motion in continuous time, if it has such a form.
    columns : tuple of int
        The columns of those inputs: `with_columns` fills them in.
    """

    name: str
    states: tuple[str, ...]
    transition: Array
    observation: Array
    noises: tuple[Noise, ...]
    coefficient: Coefficient | None = None
    transitions: tuple[Array, ...] = ()
    initial_cov: Any = field(default_factory=Diffuse)
    initial_mean: Any = None
    frequencies: tuple[float, ...] = ()
    regressors: str = ""
    is_moving: bool = False
    turning: Turning | None = None
    columns: tuple[int, ...] = ()

    @property
    def state_dim(self) -> int:
        """Number of states a column, c."""
        return len(self.states)

    @property
    def tried_transitions(self) -> tuple[Array, ...]:
        """The transitions that a start tries, at least one."""
        return self.transitions or (self.transition,)


def first_cov(stated: Any, noise_form: Any) -> Any:
    """Return the form of the first states of a component that dies away: the stated one, or else what fits its noise.

    Stationary, as of something that has been going on for long. Without noise in every column, or with one that varies
    in time, there is no such distribution (or nothing in it), and with one per series there are many: the start is
    diffuse.

    Raises
    ------
    InputError
        If what is stated is neither `Diffuse()` nor `Stationary()`.
    """
    if stated is not None:
        if not isinstance(stated, Diffuse | Stationary):
            raise InputError(f"initial_cov: expected Diffuse() or Stationary(), got {stated!r}")
        return stated
    value = np.atleast_2d(getattr(noise_form, "value", 1.0))
    is_still = isinstance(noise_form, Fixed) and not np.all(np.diagonal(value, axis1=-2, axis2=-1) > 0.0)
    return Diffuse() if is_still or value.ndim == 3 or has_series(noise_form) else Stationary()


@runtime_checkable
class Summand(Protocol):
    """What `Structural` asks of its parts.

    `base` is what the part is called where it is the only one of its kind, `distinction` what tells it from others.
    """

    observation_cov: Any

    @property
    def base(self) -> str: ...

    @property
    def distinction(self) -> str: ...

    def component(self, name: str, panel: Panel) -> Component:
        """Return the component for the columns of `panel`, under a name that is unique in the sum."""
        ...


def distinct_names(parts: Sequence[Summand]) -> list[str]:
    """Return a name for each part: its base, with its distinction or else a number where several have that base."""
    names = []
    for position, part in enumerate(parts):
        alike = [other for other in parts if other.base == part.base]
        if len(alike) == 1:
            names.append(part.base)
            continue
        told_apart = part.distinction and len({other.distinction for other in alike}) == len(alike)
        before = sum(other.base == part.base for other in parts[:position])
        names.append(f"{part.base}_{part.distinction if told_apart else before + 1}")
    return names


def with_columns(components: Sequence[Component], input_dim: int) -> list[Component]:
    """Return the components with the columns of their inputs: the given ones, then one for each that is made.

    Raises
    ------
    InputError
        If there are inputs that no component has, or none for one that needs them.
    """
    n_given = input_dim - sum(component.regressors == MADE for component in components)
    takers = [component.name for component in components if component.regressors == GIVEN]
    if n_given and not takers:
        raise InputError("inputs: expected none, because this model has no regression on them; add Regression()")
    if takers and not n_given:
        raise InputError("inputs: expected at least one column for the regression of the model, got none")
    if len(takers) > 1:
        raise InputError(f"components: {' and '.join(takers)} regress on the same inputs; keep one")
    result, made = [], n_given
    for component in components:
        if component.regressors == GIVEN:
            moving = _of_first(component, n_given) if component.is_moving else component
            result.append(replace(moving, columns=tuple(range(n_given))))
        elif component.regressors == MADE:
            result.append(replace(component, columns=(made,)))
            made += 1
        else:
            result.append(component)
    return result


def _of_first(component: Component, n: int) -> Component:
    """Return a component that has a state for each input with those of the first `n` alone: the others are made."""
    return replace(
        component,
        states=component.states[:n],
        transition=component.transition[:n, :n],
        observation=component.observation[:n],
        noises=component.noises[:n],
    )
