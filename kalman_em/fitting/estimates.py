"""What was learnt: the model, its parameters, and how well they fit the data."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from kalman_em.arrays import frozen
from kalman_em.em.result import EMResult
from kalman_em.errors import InputError
from kalman_em.fitting import criteria
from kalman_em.fitting.starting import named_value
from kalman_em.fitting.uncertainty import StandardErrors, standard_errors
from kalman_em.inference.kalman import kalman_filter, log_likelihood_by
from kalman_em.inference.numerics import AUTO, SQUARE_ROOT, STANDARD, check_numerics
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.models.by_series import tables_of
from kalman_em.models.leading import rows_of, with_leading_rows
from kalman_em.models.model import Model
from kalman_em.models.parameters import Parameters
from kalman_em.models.specification import Specification
from kalman_em.observations import Observations, Panel
from kalman_em.posteriors import FilteredStates
from kalman_em.systems import LinearGaussianSystem


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimates:
    """A fitted model with its data: the part of a `Fit` that is looked at, not computed with.

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` and `kalman_em.load` make them.
    """

    model: Model
    specification: Specification
    panel: Panel = field(repr=False)
    em: EMResult[LinearGaussianSystem] = field(repr=False)
    numerics: str = STANDARD

    def __post_init__(self) -> None:
        kinds = {"model": Model, "specification": Specification, "panel": Panel, "em": EMResult}
        for name, kind in kinds.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise InputError(f"{name}: expected {kind.__name__}, got {type(value).__name__}")
        check_numerics(self.numerics)

    @property
    def system(self) -> LinearGaussianSystem:
        """The state-space form at the estimates; with an entry for each series where parameters are `PerSeries`."""
        return self.em.params

    def system_of(self, series: Hashable | None = None) -> LinearGaussianSystem:
        """Return the state-space form of one series of a panel: with its own values of what is `PerSeries`.

        Raises
        ------
        InputError
            If there is no such series, or several and none is named.

        Examples
        --------
        >>> import kalman_em as kem
        >>> tables = [[[1.0], [2.0], [4.0], [3.0]], [[5.0], [9.0], [2.0]]]
        >>> pair = kem.Panel(tuple(map(kem.Observations, tables)), keys=("a", "b"))
        >>> fitted = kem.fit(kem.LocalLevel(level_cov=kem.Fixed(1), observation_cov=kem.PerSeries(kem.Full())), pair)
        >>> bool(fitted.system_of("b").observation_cov == fitted.params.observation_cov["b"])
        True
        """
        return self.system.of_series(self.panel.position(self._key(series)))

    @cached_property
    def params(self) -> Parameters:
        """The parameters by name, read-only; after them the numbers that a form gave a name."""
        slots = self.specification.slots
        values = {name: named_value(self.specification, slot, self.system) for name, slot in slots.items()}
        numbers = self.specification.numbers(self.system)
        named = {name: frozen(np.asarray(number)) for name, number in numbers.items()}
        return Parameters(values | named, self._tables)

    @property
    def _tables(self) -> dict[str, dict[Hashable, str]]:
        """The names of values by series, by parameter and key."""
        keys: dict[str, Hashable] = {str(key): key for key in self.panel.keys or ()}
        found = tables_of(self.specification)
        return {name: {keys[label]: own for label, own in table.items()} for name, table in found.items()}

    @cached_property
    def log_likelihood(self) -> float:
        """log p(data) at the estimates, every 2π included (a diffuse start in the sense of Durbin and Koopman 7.4)."""
        rows = stack_rows(self._led.series)
        return log_likelihood_by(lay(self.system, rows), rows, self._arithmetic)

    @cached_property
    def standard_errors(self) -> StandardErrors:
        """The standard errors of what was learnt, by the same names as `params`, from the observed information.

        Worked out when first asked for, by two E-steps for every free number. A variance at its edge of 0 is held, and
        what the data cannot tell has none: `standard_errors.reasons` says which.

        References
        ----------
        Jamshidian and Jennrich, Standard errors for EM estimation, JRSS B 62 (2000).
        """
        rows = rows_of(self.panel, self.specification)
        return standard_errors(self.specification, self.system, rows, self._tables)

    @property
    def n_parameters(self) -> int:
        """Number of free numbers that were learnt; diffuse initial elements are not counted."""
        return self.specification.n_parameters

    @property
    def n_observed(self) -> int:
        """Number of observed entries: the n of AICc and BIC."""
        return self.panel.n_observed

    @property
    def aic(self) -> float:
        """Akaike's information criterion, -2 log L + 2 k with k = `n_parameters` (Akaike 1974).

        Lower is better; compare only fits of the same data with the same diffuse elements.
        """
        return criteria.aic(self.log_likelihood, self.n_parameters)

    @property
    def aicc(self) -> float:
        """AIC corrected for the sample size, AIC + 2 k (k + 1) / (n - k - 1) (Hurvich and Tsai 1989).

        n is `n_observed`; inf where there are too few data for the parameters, n <= k + 1.
        """
        return criteria.aicc(self.log_likelihood, self.n_parameters, self.n_observed)

    @property
    def bic(self) -> float:
        """The Bayesian information criterion, -2 log L + k log n with n = `n_observed` (Schwarz 1978)."""
        return criteria.bic(self.log_likelihood, self.n_parameters, self.n_observed)

    @property
    def _arithmetic(self) -> str:
        """How to filter: what needed factors once needs them again."""
        return SQUARE_ROOT if self.numerics == SQUARE_ROOT else AUTO

    @cached_property
    def _led(self) -> Panel:
        return with_leading_rows(self.panel, self.specification)

    def _key(self, series: Hashable | None) -> Hashable:
        keys = self.panel.keys or ()
        if series is None:
            if len(keys) > 1:
                shown = ", ".join(repr(key) for key in keys[:5]) + (", ..." if len(keys) > 5 else "")
                raise InputError(f"series: expected the key of one of {len(keys)} series ({shown}), got None")
            return keys[0]
        self.panel.position(series)
        return series

    def _series(self, series: Hashable | None) -> Observations:
        return self.panel[self._key(series)]

    def _filtered(self, series: Hashable | None) -> FilteredStates:
        return kalman_filter(self.system_of(series), self._led[self._key(series)], numerics=self._arithmetic)
