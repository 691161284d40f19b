"""What every fit of a model with hidden values has: parameters by name, likelihood, criteria, history, summary."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from kalman_em.em.result import EMResult
from kalman_em.errors import InputError
from kalman_em.fitting import criteria
from kalman_em.fitting.latent.latent_errors import latent_errors
from kalman_em.fitting.latent.tables import named_lines
from kalman_em.fitting.summary import WIDTH, Summary, few_data, matrix_lines, wrapped
from kalman_em.fitting.uncertainty import StandardErrors
from kalman_em.frames import points_like
from kalman_em.latent.model import HasPrior, LatentModel, LatentProblem
from kalman_em.leaves import leaf
from kalman_em.models.parameters import Parameters
from kalman_em.observations import Panel


@dataclass(frozen=True, eq=False, kw_only=True)
class LatentFit:
    """A fitted model with hidden values, with its data.

    Attributes
    ----------
    model : LatentModel
    panel : Panel
        The data, with their labels.
    em : EMResult
        How EM went; its `bound_history` is the lower bound that each M-step raised.

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` makes them.

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.GaussianMixture(2), kem.datasets.load("nile")["flow"])
    >>> isinstance(fitted, kem.LatentFit), fitted.n_parameters, round(fitted.bic, 2)
    (True, 5, 1323.35)
    """

    model: LatentModel
    panel: Panel = field(repr=False)
    em: EMResult[Any] = field(repr=False)

    # What `panel` must be: a model that reads its data itself has a kind of its own.
    data_kind: ClassVar[type[Any]] = Panel

    def __post_init__(self) -> None:
        for name, kind in (("model", LatentModel), ("panel", self.data_kind), ("em", EMResult)):
            if not isinstance(getattr(self, name), kind):
                raise InputError(f"{name}: expected {kind.__name__}, got {type(getattr(self, name)).__name__}")

    @cached_property
    def problem(self) -> LatentProblem[Any, Any]:
        """The EM problem of the model for the data."""
        return self.model.problem(self.panel)

    @cached_property
    def params(self) -> Parameters:
        """The parameters by name, read-only."""
        return Parameters(dict(self.problem.named(self.em.params)))

    @cached_property
    def log_likelihood(self) -> float:
        """log p(data) at the estimates, every 2π included; for a model with no closed likelihood, its lower bound."""
        problem, params = self.problem, self.em.params
        prior = problem.log_prior(params) if isinstance(problem, HasPrior) else 0.0
        return float(problem.e_step(params)[1]) - prior

    @cached_property
    def standard_errors(self) -> StandardErrors:
        """The standard errors of what was learnt, by the same names as `params`, from the observed information.

        Worked out when first asked for, by about eight E-steps for every free number. Shares with sum 1 move with one
        another; one at its edge of 0 is held, and what the data cannot tell has none: `standard_errors.reasons` says
        which. With a prior they are those of the mode of the posterior. They say nothing of other maxima, nor of
        components that might change places.

        Raises
        ------
        InputError
            If the model has none: of a Bayesian mixture, of topics, or where the objective is a variational bound.

        References
        ----------
        Jamshidian and Jennrich, Standard errors for EM estimation, JRSS B 62 (2000), section 3.

        Examples
        --------
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.GaussianMixture(1), kem.datasets.load("nile")["flow"])
        >>> expected = (fitted.params.covs[0, 0, 0] / 100) ** 0.5
        >>> bool(abs(fitted.standard_errors.means[0, 0] / expected - 1.0) < 1e-6)
        True
        """
        return latent_errors(self.problem, self.em.params)

    @property
    def n_parameters(self) -> int:
        """Number of free numbers that were learnt."""
        return self.problem.n_parameters

    @property
    def n_rows(self) -> int:
        """Number of rows with something observed, over all series: the n of BIC."""
        return sum(int(np.count_nonzero(~one.is_missing.all(axis=1))) for one in self.panel)

    @property
    def n_observed(self) -> int:
        """Number of observed entries."""
        return self.panel.n_observed

    @property
    def aic(self) -> float:
        """Akaike's information criterion, -2 log L + 2 k with k = `n_parameters` (Akaike 1974)."""
        return criteria.aic(self.log_likelihood, self.n_parameters)

    @property
    def aicc(self) -> float:
        """AIC corrected for the sample size, AIC + 2 k (k + 1) / (n - k - 1), n = `n_rows` (Hurvich and Tsai 1989)."""
        return criteria.aicc(self.log_likelihood, self.n_parameters, self.n_rows)

    @property
    def bic(self) -> float:
        """The Bayesian information criterion, -2 log L + k log n with n = `n_rows` (Schwarz 1978)."""
        return criteria.bic(self.log_likelihood, self.n_parameters, self.n_rows)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fit with its data as JSON; `kalman_em.load` reads it back, equal to the last bit.

        Parameters
        ----------
        path : path
            The file; one that is there is replaced.

        Raises
        ------
        InputError
            If `path` is no path, or the model or the row labels are of a kind that cannot be read back.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile, pathlib
        >>> import kalman_em as kem
        >>> fitted = kem.fit(kem.GaussianMixture(2), kem.datasets.load("nile")["flow"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fitted.save(pathlib.Path(folder) / "nile.json")
        ...     loaded = kem.load(pathlib.Path(folder) / "nile.json")
        >>> loaded.params == fitted.params, type(loaded).__name__
        (True, 'MixtureFit')
        """
        leaf("persistence").save(self, path)

    def position(self, series: Hashable | None) -> int:
        """Return the position of the series called `series`, or of the only one."""
        keys = self.panel.keys or ()
        if series is None:
            if len(keys) > 1:
                shown = ", ".join(repr(key) for key in keys[:5]) + (", ..." if len(keys) > 5 else "")
                raise InputError(f"series: expected the key of one of {len(keys)} series ({shown}), got None")
            return 0
        return self.panel.position(series)

    def summary(self, *, standard_errors: bool = False) -> Summary:
        """Return a text on the data, the fit, the parameters and how EM ended.

        Parameters
        ----------
        standard_errors : bool
            Whether to add every parameter with the standard errors of its entries in parentheses.

        Raises
        ------
        InputError
            If they are asked for and the model has none.
        """
        lines = [
            *wrapped(f"{type(self.model).__name__} of {self._columns()}"),
            "=" * WIDTH,
            *self._facts(),
            *few_data(self.n_parameters, self.n_observed),
            "-" * WIDTH,
            *self._parameter_lines(),
            *(self._error_lines() if standard_errors else []),
            "-" * WIDTH,
            *wrapped(f"EM: {self.em.told(self._em_objective)}"),
        ]
        return Summary("\n".join(lines))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({type(self.model).__name__} of {self._columns()}: {self._n_all_rows()} rows, "
            f"{self._objective} {self.log_likelihood:.6g}, {self.em.stop_reason})"
        )

    def _rows_like(self, data: Any) -> Panel:
        """Return the rows that were learnt from, or those of `data`, which must have their columns."""
        if data is None:
            return self.panel
        return points_like(data, self.panel.names)

    def _columns(self) -> str:
        return ", ".join(self.panel.names[:4]) + (", ..." if len(self.panel.names) > 4 else "")

    def _n_all_rows(self) -> int:
        return sum(one.n_steps for one in self.panel)

    def _facts(self) -> list[str]:
        n = self._n_all_rows()
        series = f" in {self.panel.n_series} series" if self.panel.n_series > 1 else ""
        left = [
            ("rows", f"{n}{series}"),
            ("observed values", f"{self.n_observed} of {n * self.panel.obs_dim}"),
            *self._own_facts(),
        ]
        right = [
            (self._objective, f"{self.log_likelihood:.6g}"),
            ("free parameters", f"{self.n_parameters}"),
            ("AIC, AICc", f"{self.aic:.6g}, {self.aicc:.6g}"),
            ("BIC", f"{self.bic:.6g}"),
        ]
        left += [("", "")] * (len(right) - len(left))
        right += [("", "")] * (len(left) - len(right))
        lines = [f"{a:<16} {b:<26}{c:<16}{d:>19}" for (a, b), (c, d) in zip(left, right, strict=True)]
        return [line.rstrip() for line in lines]

    @property
    def _objective(self) -> str:
        """What `log_likelihood` is, in words."""
        return "log-likelihood"

    @property
    def _em_objective(self) -> str:
        """What EM climbed, in words."""
        problem = self.problem
        has_prior = isinstance(problem, HasPrior) and problem.log_prior(self.em.params) != 0.0
        return f"{self._objective} plus log prior" if has_prior else self._objective

    def _own_facts(self) -> list[tuple[str, str]]:
        """Return facts of this kind of model for the summary, each a name and a value."""
        return []

    def _error_lines(self) -> list[str]:
        """Return all parameters with their standard errors as lines of the summary, and why some have none."""
        errors, lines = self.standard_errors, ["-" * WIDTH, "estimates (standard errors)"]
        for name, value in self.params.items():
            pairs = zip(value, errors[name], strict=True) if value.ndim == 3 else [(value, errors[name])]
            for k, (part, error) in enumerate(pairs):
                rows, columns = ([str(i) for i in range(n)] for n in np.atleast_2d(part.T).T.shape)
                lines.append(f"{name}[{k}]" if value.ndim == 3 else name)
                lines += ["    " + line for line in matrix_lines(part, error, rows, columns)]
        return lines + [line for name, reason in errors.reasons.items() for line in wrapped(f"{name}: {reason}")]

    def _parameter_lines(self) -> list[str]:
        """Return the parameters as lines of the summary: small tables, larger ones by their shape."""
        return [line for name, value in self.params.items() for line in named_lines(name, value)]


def labels_of(panel: Panel) -> pd.Index[Any]:
    """Return the labels of all rows, one series after another; of several series their keys come first.

    Examples
    --------
    >>> from kalman_em import Observations
    >>> labels_of(Panel([Observations([[1.0]], index=["a"]), Observations([[2.0]], index=["b"])])).tolist()
    [(0, 'a'), (1, 'b')]
    """
    indexes = [pd.Index(range(one.n_steps)) if one.index is None else pd.Index(one.index) for one in panel]
    if len(indexes) == 1:
        return indexes[0]
    keys = [key for key, index in zip(panel.keys or (), indexes, strict=True) for _ in index]
    return pd.MultiIndex.from_arrays([keys, np.concatenate([index.to_numpy() for index in indexes])])
