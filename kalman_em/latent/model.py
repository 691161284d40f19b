"""What `fit` asks of a model that is no state space: an EM problem for the data, with starts of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.problem import EMProblem, Expectations
from kalman_em.latent.shares import Shares
from kalman_em.observations import Panel

LatentParams = TypeVar("LatentParams")


@runtime_checkable
class LatentProblem(EMProblem[LatentParams, Expectations], Protocol[LatentParams, Expectations]):
    """A model laid out for its data: the steps of EM, where to begin, and how many numbers are free.

    Parameters are frozen values. A problem may offer all that `EMProblem` names besides, and should offer
    ``expected_gain`` (`kalman_em.em.bound.ExpectsGain`): `fit` then keeps the lower bound of every iteration.
    """

    @property
    def n_parameters(self) -> int:
        """Number of free numbers that are learnt."""
        ...

    def start(self) -> LatentParams:
        """Return where to begin, from the data alone: the same at every call, in whatever units the data are."""
        ...

    def random_start(self, rng: np.random.Generator) -> LatentParams:
        """Return another place to begin."""
        ...

    def started(self, base: LatentParams, given: Mapping[str, Any]) -> LatentParams:
        """Return `base` with the named values that a user gave; `InputError` for one that does not fit the model."""
        ...

    def named(self, params: LatentParams) -> Mapping[str, Array]:
        """Return the parameters by the names that users know."""
        ...


@runtime_checkable
class HasPrior(Protocol):
    """A problem whose objective is the log-likelihood plus a log prior density."""

    def log_prior(self, params: Any) -> float:
        """Return the log prior density at `params`, up to a constant."""
        ...


@runtime_checkable
class HasShares(Protocol):
    """A problem some of whose parameters are shares with sum 1, any of which may end at 0."""

    @property
    def shares(self) -> Mapping[str, Shares]:
        """Return the forms of these parameters, by name."""
        ...


@runtime_checkable
class LacksErrors(Protocol):
    """A problem whose objective has no curvature that standard errors could come from."""

    @property
    def why_no_errors(self) -> str:
        """Return why, in a sentence; "" if it has."""
        ...


@runtime_checkable
class ReadsData(Protocol):
    """A model whose data are no rows of measurements, such as sparse counts: it reads them itself."""

    def read(self, data: Any) -> Any:
        """Return the data of a user in the form that `problem` takes; `InputError` if they cannot be used."""
        ...


@runtime_checkable
class LatentModel(Protocol):
    """A model with hidden values: it lays itself out for data, and knows of no results."""

    @property
    def is_ordered(self) -> bool:
        """Whether rows follow one another in time, so that their labels must be in order and regular."""
        ...

    def problem(self, panel: Panel) -> LatentProblem[Any, Any]:
        """Return the EM problem for `panel`; `InputError` if the model cannot be learnt from it."""
        ...
