"""The errors that kalman_em raises on purpose.

Bad input raises `InputError`, a `ValueError` whose message names the argument, what was expected and what
came. A computation that cannot go on raises `NumericalError`, an `ArithmeticError`.
"""

from __future__ import annotations

from difflib import get_close_matches


class InputError(ValueError):
    """An argument that cannot be used; the message names it, what was expected and what came.

    Examples
    --------
    >>> import kalman_em as kem
    >>> kem.Observations([[1.0], [float("inf")]])
    Traceback (most recent call last):
    ...
    kalman_em.errors.InputError: values: holds inf at position (1, 0); NaN is the marker for missing
    >>> issubclass(kem.InputError, ValueError)
    True
    """


class UnknownNameError(InputError, KeyError):
    """A key that is not there: an `InputError` that mappings may raise, as it is a `KeyError` too."""

    def __str__(self) -> str:
        # A KeyError shows its argument with quotes around it.
        return str(self.args[0])


class NumericalError(ArithmeticError):
    """A computation without a finite answer; the message says which, where and what to try.

    Examples
    --------
    A system without any noise says that y is 0; then 1 comes:

    >>> import kalman_em as kem
    >>> rigid = kem.LinearGaussianSystem(
    ...     transition_matrix=[[1.0]], transition_cov=[[0.0]], observation_matrix=[[1.0]],
    ...     observation_cov=[[0.0]], initial_mean=[0.0], initial_cov=[[0.0]])
    >>> kem.kalman_filter(rigid, kem.Observations([[1.0]]))
    Traceback (most recent call last):
    ...
    kalman_em.errors.NumericalError: the observation at row 0 is impossible: ...
    """


class ImpossibleRowError(NumericalError):
    """An observation that no hidden value allows, at a row of several series laid one after another.

    Examples
    --------
    >>> print(ImpossibleRowError(7))
    the observation at row 7 is impossible in every regime that can be reached there
    """

    def __init__(self, row: int) -> None:
        super().__init__(f"the observation at row {row} is impossible in every regime that can be reached there")
        self.row = row


class UnknownParameterError(InputError, TypeError):
    """A keyword that a model does not have: an `InputError`, and the `TypeError` that Python raises for one."""


def unknown_name(kind: str, name: object, known: list[str]) -> str:
    """Return the message for a name that is not one of those known; a near one is suggested.

    Examples
    --------
    >>> unknown_name("model", "local-leve", ["local-level", "local-linear-trend"])
    "model 'local-leve' is not known; expected one of: local-level, local-linear-trend (did you mean 'local-level'?)"
    """
    return f"{kind} {name!r} is not known; expected one of: {', '.join(known)}{near_hint(name, known)}"


def near_hint(name: object, known: list[str]) -> str:
    """Return the end of a message that suggests the known name nearest to `name`, or nothing.

    Examples
    --------
    >>> near_hint("flwo", ["flow", "level"])
    " (did you mean 'flow'?)"
    """
    near = get_close_matches(str(name).lower(), known, n=1) if len(known) > 1 else []
    return f" (did you mean {near[0]!r}?)" if near else ""


def is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is behind an error: compiled code turns it into a SystemError.

    Examples
    --------
    >>> is_interrupt(KeyboardInterrupt()), is_interrupt(ValueError())
    (True, False)
    """
    while isinstance(error, SystemError):
        error = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt)
