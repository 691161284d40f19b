"""What EM needs of a problem: an E-step and an M-step; and what it may offer besides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from kalman_em.em.stopping import StopReason

Params = TypeVar("Params")
Expectations = TypeVar("Expectations")
_Params_contra = TypeVar("_Params_contra", contravariant=True)
_Expectations_contra = TypeVar("_Expectations_contra", contravariant=True)


@runtime_checkable
class EMProblem(Protocol[Params, Expectations]):
    """Two methods that climb a log-likelihood (or a bound on one) in turns.

    With data y, hidden values z and parameters θ, the E-step finds what of p(z given y, θ) the function

        Q(θ', θ) = E[log p(y, z; θ') given y, θ]

    needs, and the M-step maximises Q over θ' (Dempster, Laird & Rubin 1977, equation 2.17). Any θ' with
    Q(θ', θ) >= Q(θ, θ) will do: generalised EM (their section 3). Both return new values and change none.

    A problem may also have `parameter_change` (see `MeasuresChange`), `examine` (see `ExaminesParams`), `leaps`
    (see `Leaps`), `climb` (see `Climbs`) and `switched` (see `Switches`). Either step may end the run, with a
    reason and a detail, by raising `EMStop`.

    References
    ----------
    Dempster, Laird and Rubin, Maximum likelihood from incomplete data via the EM algorithm, JRSS B 39 (1977).

    Examples
    --------
    Two coins, one drawn at random for every ten throws; the parameters are their chances of heads:

    >>> import numpy as np
    >>> import kalman_em as kem
    >>> heads, throws = np.array([5, 9, 8, 4, 7]), 10
    >>> class Coins:
    ...     def e_step(self, chances):
    ...         joint = 0.5 * chances ** heads[:, None] * (1.0 - chances) ** (throws - heads[:, None])
    ...         total = joint.sum(axis=1)
    ...         return joint / total[:, None], float(np.log(total).sum())
    ...     def m_step(self, chances, shares):
    ...         return (heads @ shares) / (throws * shares.sum(axis=0))
    >>> isinstance(Coins(), kem.EMProblem)
    True
    >>> kem.run_em(Coins(), np.array([0.6, 0.5])).params.round(2).tolist()
    [0.8, 0.52]
    """

    def e_step(self, params: Params) -> tuple[Expectations, float]:
        """Return the expectations, and the log-likelihood (or bound), at `params`."""
        ...

    def m_step(self, params: Params, expectations: Expectations) -> Params:
        """Return new parameters from the expectations at `params`."""
        ...


@runtime_checkable
class MeasuresChange(Protocol[_Params_contra]):
    """A problem that measures the change of its parameters itself, say along the directions that matter."""

    def parameter_change(self, old: _Params_contra, new: _Params_contra) -> float:
        """Return the largest relative change: 0 for none, the same in all units."""
        ...


@runtime_checkable
class ExaminesParams(Protocol[_Params_contra]):
    """A problem that can tell when its parameters have become useless, as when a variance vanishes."""

    def examine(self, params: _Params_contra) -> StopReason | None:
        """Return why EM should stop at `params`, or None to go on; asked after each iteration."""
        ...


@runtime_checkable
class ExaminesExpectations(Protocol[_Params_contra, _Expectations_contra]):
    """A problem that can tell so from what is expected of the hidden values."""

    def examine_expectations(self, params: _Params_contra, expectations: _Expectations_contra) -> StopReason | None:
        """Return why EM should stop at `params`, or None to go on; asked after each iteration, before `examine`."""
        ...


class Note(str):
    """What happened to a `subject`, told of it; a later note on the same subject takes its place.

    Examples
    --------
    >>> note = Note("level_cov", "went to 0")
    >>> note, note.subject
    ('level_cov went to 0', 'level_cov')
    """

    subject: str

    def __new__(cls, subject: str, what: str) -> Note:
        """Return the note that says `what` of `subject`."""
        note = super().__new__(cls, f"{subject} {what}")
        note.subject = subject
        return note


def told(notes: Iterable[str]) -> str:
    """Return the notes in a line, each once, of every subject the latest.

    Examples
    --------
    >>> told([Note("a", "fell"), "all is well", Note("a", "rose"), "all is well"])
    'a rose; all is well'
    """
    latest: dict[str, str] = {}
    for note in notes:
        subject = note.subject if isinstance(note, Note) else note
        latest.pop(subject, None)
        latest[subject] = note
    return "; ".join(latest.values())


@runtime_checkable
class ExaminesEnd(Protocol[_Params_contra]):
    """A problem whose maximum may lie where something about it should be said by name, as at the edge of a model."""

    def examine_end(self, params: _Params_contra) -> tuple[StopReason, str] | None:
        """Return a reason and a detail in place of `converged` for a run that ends at `params`, or None."""
        ...


@runtime_checkable
class Leaps(Protocol[Params]):
    """A problem that can guess better parameters than the next step of a slow climb would give."""

    def leaps(self, trail: Sequence[Params]) -> Iterable[tuple[Params, str]]:
        """Yield guesses, each with a note on what it did ("" for nothing worth telling).

        `trail` holds the parameters of the latest M-steps, the latest last. The loop takes a guess only if the
        objective there is not lower; a later guess may build on the last one that was yielded.
        """
        ...


@runtime_checkable
class Climbs(Protocol[Params]):
    """A problem with a second way up, dearer than a step of EM and better where EM creeps.

    `climb_after` says after how many iterations the loop should first try it; later after twice as many, and so on.
    """

    climb_after: int

    def climb(self, params: Params) -> Params | None:
        """Return where it leads from `params`, or None if it does not apply.

        The loop takes it only if the objective there is not lower.
        """
        ...


@runtime_checkable
class TellsOfClimbs(Protocol[_Params_contra]):
    """A problem that has something to say of where its second way up led, such as parameters at an edge."""

    def told_of_climb(self, before: _Params_contra, after: _Params_contra) -> Sequence[str]:
        """Return what happened to the parameters on the way from `before` to `after`."""
        ...


@runtime_checkable
class Doubts(Protocol):
    """A problem that knows a way to be computed with less rounding, for where the objective seems to fall."""

    def doubted(self) -> tuple[Any, str] | None:
        """Return the problem to take the step anew with, and to go on with, and what to call it; None for no other way.

        It must have the same parameters and the same objective up to rounding.
        """
        ...


@runtime_checkable
class Switches(Protocol[_Expectations_contra]):
    """A problem that finds in an E-step that it must be computed in another way from there on."""

    def switched(self, expectations: _Expectations_contra) -> tuple[Any, str] | None:
        """Return the problem to go on with and what to call the change, or None to go on as before.

        It must have the same parameters and the same objective up to rounding; the loop then computes the latest
        objective anew, so that what is compared was computed alike.
        """
        ...


@runtime_checkable
class Tempers(EMProblem[Params, Expectations], Protocol[Params, Expectations]):
    """A problem whose E-step can be made softer or harder than the posterior."""

    def tempered(self, temperature: float) -> EMProblem[Params, Expectations]:
        """Return the problem whose hidden values z have weights of p(y, z)^(1/T), T the temperature.

        Its objective is T log Σ p(y, z)^(1/T): the log-likelihood at 1, smoother above, and at 0 that of the most
        probable hidden values alone.
        """
        ...


@runtime_checkable
class Divides(EMProblem[Params, Expectations], Protocol[Params, Expectations]):
    """A problem whose data fall into independent parts, and whose expectations add up over them."""

    @property
    def n_units(self) -> int:
        """Number of independent rows or series."""
        ...

    def divided(self, n_parts: int, rng: np.random.Generator) -> Sequence[EMProblem[Params, Expectations]]:
        """Return problems with the same parameters, each for a random part of the data of about equal size."""
        ...

    def pooled(self, parts: Sequence[tuple[float, Expectations]]) -> Expectations:
        """Return the expectations of all parts together, each counted so many times."""
        ...

    def beside_parts(self, params: Params) -> float:
        """Return what the objective has beside the sum of those of its parts: of a prior, say."""
        ...
