"""What every fit of a model with regimes answers: their probabilities, the likeliest path, how long they last."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array
from kalman_em.fitting.latent.latent_fit import LatentFit, labels_of
from kalman_em.fitting.latent.tables import share_text, table_lines
from kalman_em.frames import check_regular, columns_like, to_panel
from kalman_em.latent.regime_problem import RegimePosterior
from kalman_em.leaves import leaf
from kalman_em.observations import Panel


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class RegimeFit(LatentFit):
    """A fitted model whose regimes follow a Markov chain; the regimes are numbered from 0."""

    @property
    def n_regimes(self) -> int:
        """Number of regimes, K."""
        return len(self._moves)

    def probabilities(self, data: Any = None) -> pd.DataFrame:
        """Return the smoothed probabilities: of each regime at each row given all data, shape (n, K).

        Parameters
        ----------
        data : Series, DataFrame, array_like of shape (n,) or (n, p), Observations or Panel, optional
            Other series of the same columns; those that were learnt from when left out.

        Raises
        ------
        InputError
            If `data` cannot be read, has other columns, or skips steps.
        """
        panel, posterior = self._posterior_of(data)
        return self._frame(posterior.smoothed, panel)

    def filtered_probabilities(self, data: Any = None) -> pd.DataFrame:
        """Return the filtered probabilities: of each regime at each row given the rows up to it, shape (n, K).

        The argument, and what is raised, are those of `probabilities`.
        """
        panel, posterior = self._posterior_of(data)
        return self._frame(posterior.filtered, panel)

    def path(self, data: Any = None) -> pd.Series[int]:
        """Return the most probable path: the regimes of all rows of a series that are likeliest together.

        The argument, and what is raised, are those of `probabilities`.

        References
        ----------
        Viterbi, Error bounds for convolutional codes and an asymptotically optimum decoding algorithm, IEEE Trans.
        Information Theory 13 (1967).
        """
        panel, problem = self._seen(data)
        path, _ = problem.path(self.em.params)
        return pd.Series(path, index=labels_of(panel), name="regime")

    def score(self, data: Any) -> float:
        """Return log p(data) of other series at the estimates; the argument is that of `probabilities`.

        Raises
        ------
        InputError
            If `data` cannot be read, has other columns, or skips steps.

        Examples
        --------
        >>> import kalman_em as kem
        >>> growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
        >>> early, late = growth.iloc[:100], growth.iloc[100:]
        >>> two, one = (kem.fit(kem.GaussianHMM(k), early) for k in (2, 1))
        >>> two.score(late) > one.score(late), abs(two.score(early) - two.log_likelihood) < 1e-9
        (True, True)
        """
        return float(self._seen(data)[1].e_step(self.em.params)[1])

    @property
    def expected_durations(self) -> pd.Series[float]:
        """How many rows each regime lasts on average, 1 / (1 - a_kk); inf for one that is never left.

        References
        ----------
        Hamilton, Time Series Analysis, 1994, section 22.4.
        """
        leave = 1.0 - np.diagonal(self._moves)
        with np.errstate(divide="ignore"):
            durations = np.where(leave > 0.0, 1.0 / leave, np.inf)
        return pd.Series(durations, index=pd.RangeIndex(self.n_regimes), name="expected_duration")

    def plot(
        self,
        *,
        filtered: bool = False,
        series: Hashable | None = None,
        columns: Sequence[str] | None = None,
        last: int | None = None,
        units: Mapping[str, str] | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the data, and behind them the probabilities of the regimes.

        The arguments are those of `kalman_em.plotting.plot_regimes`; the axes are returned, or an array of them.

        Raises
        ------
        InputError
            If an argument cannot be used.
        """
        options = {"series": series, "columns": columns, "last": last, "units": units, "ax": ax}
        return leaf("plotting").plot_regimes(self, filtered=filtered, **options)

    @property
    def _moves(self) -> Array:
        """The probabilities of the moves between regimes, (K, K)."""
        return np.asarray(self.params.transition_matrix)

    @cached_property
    def _posterior(self) -> RegimePosterior:
        problem: Any = self.problem
        found: RegimePosterior = problem.posterior(self.em.params)
        return found

    def _frame(self, probabilities: Array, panel: Panel) -> pd.DataFrame:
        return pd.DataFrame(probabilities.copy(), index=labels_of(panel), columns=pd.RangeIndex(self.n_regimes))

    def _seen(self, data: Any) -> tuple[Panel, Any]:
        """Return the series that were learnt from, or those of `data`, and their EM problem."""
        if data is None:
            return self.panel, self.problem
        panel = self._read(data)
        return panel, self._problem_of(panel)

    def _read(self, data: Any) -> Panel:
        """Return other series of the same columns."""
        panel = to_panel(columns_like(data, self.panel.names), obs_dim=self.panel.obs_dim, allow_unobserved=True)
        for key, one in zip(panel.keys or (), panel, strict=True):
            check_regular(one.index, series=key if panel.n_series > 1 else None)
        return panel

    def _problem_of(self, panel: Panel) -> Any:
        """Return the EM problem for other series."""
        problem: Any = self.problem
        return problem.seeing(panel)

    def _posterior_of(self, data: Any) -> tuple[Panel, RegimePosterior]:
        if data is None:
            return self.panel, self._posterior
        panel, problem = self._seen(data)
        return panel, problem.posterior(self.em.params)

    def _filled(self, expected: Array, panel: Panel) -> pd.DataFrame:
        """Return rows with their missing entries as `expected`, what was observed bit for bit as it was."""
        given = np.concatenate([one.values for one in panel])
        filled = np.where(np.isnan(given), expected, given)
        return pd.DataFrame(filled, index=labels_of(panel), columns=list(self.panel.names))

    def last_row(self, position: int) -> int:
        """Return where the last row of a series stands among the rows of all."""
        return sum(one.n_steps for one in self.panel.series[: position + 1]) - 1

    def _own_facts(self) -> list[tuple[str, str]]:
        return [("regimes", str(self.n_regimes))]

    def _chain_lines(self) -> list[str]:
        """Return the moves and durations as lines of the summary."""
        numbers = [str(k) for k in range(self.n_regimes)]
        cells = pd.DataFrame(self._moves, index=numbers, columns=[f"to {k}" for k in numbers]).map(share_text)
        cells.insert(0, "rows it lasts", [f"{duration:.5g}" for duration in self.expected_durations])
        return ["moves between regimes", *("    " + line for line in table_lines(cells))]
