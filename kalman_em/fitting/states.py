"""Filtered and smoothed states with their labels: the index of the input and the names of the model's states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.frames import moments_frame, standard_deviations
from kalman_em.posteriors import FilteredStates, SmoothedStates


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledFilteredStates(FilteredStates):
    """`FilteredStates` with the row labels of the data and the names of the states."""

    index: pd.Index[Any]
    state_names: tuple[str, ...]

    def to_frame(self, levels: Any = ()) -> pd.DataFrame:
        """Return means and standard deviations of the states given the data so far, one row a label.

        Columns ``<state>``, ``<state>_sd``, and ``<state>_lower_95``, ``<state>_upper_95`` for each of `levels`. While
        a state is diffuse nothing is known of it: its standard deviation is inf.

        Parameters
        ----------
        levels : sequence of float, or one
            Levels of the central intervals, per cent.

        Returns
        -------
        DataFrame, T rows
            In the units of the states.

        Raises
        ------
        InputError
            If a level is not above 0 and below 100, or repeats.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> fitted.filter().to_frame(levels=95).columns.tolist()
        ['level', 'level_sd', 'level_lower_95', 'level_upper_95']
        """
        sds = standard_deviations(self.filtered_covs)
        sds[: self.n_diffuse_steps][np.any(self.diffuse_factors != 0.0, axis=2)] = np.inf
        return moments_frame(self.filtered_means, sds, self.state_names, self.index, levels=levels)


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledSmoothedStates(SmoothedStates):
    """`SmoothedStates` with the row labels of the data and the names of the states."""

    index: pd.Index[Any]
    state_names: tuple[str, ...]

    def to_frame(self, levels: Any = ()) -> pd.DataFrame:
        """Return means and standard deviations of the states given all data, one row a label.

        Columns ``<state>``, ``<state>_sd``, and ``<state>_lower_95``, ``<state>_upper_95`` for each of `levels`.

        Parameters
        ----------
        levels : sequence of float, or one
            Levels of the central intervals, per cent.

        Returns
        -------
        DataFrame, T rows
            In the units of the states.

        Raises
        ------
        InputError
            If a level is not above 0 and below 100, or repeats.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
        >>> fitted.smooth().to_frame(levels=95).columns.tolist()
        ['level', 'level_sd', 'level_lower_95', 'level_upper_95']
        """
        return moments_frame(self.smoothed_means, self.smoothed_covs, self.state_names, self.index, levels=levels)
