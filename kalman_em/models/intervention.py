"""Interventions: something happens at a known date, and stays for one row, for good, or grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.em.forms import Full, checked_covariance_form
from kalman_em.errors import InputError, unknown_name
from kalman_em.models.component import MADE, Component
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.structural import Additive
from kalman_em.observations import Panel

KINDS = ["pulse", "step", "ramp"]


@checks_keywords
@dataclass(frozen=True)
class Intervention(Additive):
    """The effect of something that happened at a known row: one coefficient a column of data, learnt by regression.

    Parameters
    ----------
    at : label, date as text or int
        The row label from which on it acts, such as ``"1983-02"``; labels that are no numbers may be counted instead,
        from 0. Between two labels it acts from the later one.
    kind : {"step", "pulse", "ramp"}
        1 from there on (a level shift), 1 in that row alone (an outlier), or the number of rows since (a slope).
    observation_cov : form, default Full()
        R, shape (p, p).

    Raises
    ------
    InputError
        If the kind is not known, or what stands for a form is none; at the fit, if no series has rows before and
        after, or `at` is no label of the kind of the data's.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, section 3.2.5.

    Examples
    --------
    >>> import kalman_em as kem
    >>> nile = kem.datasets.load("nile")["flow"]
    >>> fitted = kem.fit(kem.LocalLevel(level_cov=kem.Fixed(0)) + kem.Intervention("1899"), nile)
    >>> fitted.params.step.round(0).tolist()
    [-248.0]
    """

    at: Any
    kind: str = "step"
    observation_cov: Any = field(default_factory=Full, kw_only=True)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(unknown_name("kind", self.kind, KINDS))
        checked_covariance_form(self.observation_cov, "observation_cov")

    @property
    def base(self) -> str:
        """What it is called in a sum."""
        return self.kind

    @property
    def distinction(self) -> str:
        """Nothing: several of a kind are numbered."""
        return ""

    def component(self, name: str, panel: Panel) -> Component:
        """Return the intervention as a part of a sum."""
        made = np.concatenate([self.values(one.index) for one in panel])
        if np.ptp(made) == 0.0:
            raise InputError(f"at: expected a row with others before and after it, got {self.at!r} for a {self.kind}")
        return Component(
            name=name,
            states=(),
            transition=np.zeros((0, 0)),
            observation=np.zeros(0),
            noises=(),
            regressors=MADE,
        )

    def values(self, index: pd.Index[Any]) -> Array:
        """Return the regressor at the rows labelled `index`."""
        first, is_label = self._position(index)
        since = np.arange(len(index)) - float(first)
        if self.kind == "ramp":
            return np.asarray(np.maximum(since, 0.0))
        if self.kind == "pulse":
            return np.where((since == 0.0) & is_label, 1.0, 0.0)
        return np.where(since >= 0.0, 1.0, 0.0)

    def _position(self, index: pd.Index[Any]) -> tuple[int, bool]:
        """Return the row from which on it acts, and whether its label is that of `at`."""
        counts = isinstance(self.at, int | np.integer) and not isinstance(self.at, bool)
        if counts and not pd.api.types.is_numeric_dtype(index.dtype):
            return int(self.at), True
        try:
            label = _as_label(self.at, index)
            position = int(index.searchsorted(label))
        except (TypeError, ValueError, pd.errors.ParserError) as error:
            raise InputError(
                f"at: expected a label like those of the data, such as {index[0]!r}, got {self.at!r}"
            ) from error
        return position, position < len(index) and bool(index[position] == label)


def _as_label(at: Any, index: pd.Index[Any]) -> Any:
    if isinstance(index, pd.DatetimeIndex):
        stamp = pd.Timestamp(at)
        return stamp.tz_localize(index.tz) if index.tz is not None and stamp.tzinfo is None else stamp
    if isinstance(index, pd.PeriodIndex):
        return at if isinstance(at, pd.Period) else pd.Period(at, freq=index.freqstr)
    if isinstance(index, pd.TimedeltaIndex):
        return pd.Timedelta(at)
    if isinstance(at, str):
        raise TypeError("a text is no number")
    return at
