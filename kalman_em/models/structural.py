"""Models that are sums: trend plus seasonal plus cycle, each with states of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.forms import Full, checked_covariance_form
from kalman_em.errors import InputError
from kalman_em.inference.stacks import SystemStack
from kalman_em.models.component import Component, Summand, distinct_names, with_columns
from kalman_em.models.composition import composed, rows_ahead
from kalman_em.models.layout import laid_out
from kalman_em.models.loading_starts import with_carriers
from kalman_em.models.loadings import with_scattered_loadings
from kalman_em.models.profile import profiled_start, scattered
from kalman_em.models.profile_each import can_start_together, profiled_starts
from kalman_em.models.specification import Specification
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# What brings a level: two of them could not be told apart.
LEVELS = ("level", "trend")


class Additive:
    """What can be added: ``LocalLevel() + Seasonal(12)`` is a `Structural` model, and sums of sums are flat.

    A part by itself is the sum of one.
    """

    def __add__(self, other: object) -> Structural:
        """Return the sum of this and another part or sum."""
        if not isinstance(other, Additive):
            return NotImplemented
        return Structural((*_parts(self), *_parts(other)))

    def __radd__(self, other: object) -> Any:
        """Let ``sum([a, b])`` begin, at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def specify(self, panel: Panel) -> Specification:
        """Return the specification for the columns of `panel`."""
        return composed(panel, self._components(panel), _stated_cov(_parts(self)))

    def start(self, specification: Specification, panel: Panel) -> LinearGaussianSystem:
        """Return the best of a grid of signal-to-noise ratios and transitions, and of what carries noises in common."""
        # One series alone goes the way of many: where points are equally high, rounding must not choose another.
        together = self.starts(specification, panel) if panel.n_series == 1 else None
        if together is not None:
            return together[0]
        return with_carriers(specification, panel, profiled_start(specification, panel, self._components(panel)))

    def lays_alike(self, panel: Panel) -> bool:
        """Return whether `specify` would give every series of `panel`, by itself, the specification of the first."""
        components = self._components(panel)
        reads_more = any(one.coefficient is not None or one.regressors for one in components)
        return not panel.input_dim and not reads_more

    def starts(self, specification: Specification, panel: Panel) -> SystemStack | None:
        """Return the `start` of every series of `panel` by itself, or None where they cannot be found together."""
        components = self._components(panel)
        if not can_start_together(specification, components):
            return None
        return profiled_starts(specification, panel.series, components)

    def random_start(
        self, specification: Specification, panel: Panel, rng: np.random.Generator
    ) -> LinearGaussianSystem:
        """Return that start with its variances scattered, and the loadings of noises in common."""
        start = scattered(specification, profiled_start(specification, panel, self._components(panel)), rng)
        return with_scattered_loadings(specification, start, rng)

    def observation_ahead(self, panel: Panel, H: Array, inputs: Array) -> Array:
        """Return H (n, p, d) of rows with these inputs (n, k); what of it is learnt or known is that of `H` (p, d)."""
        return rows_ahead(laid_out(self._components(panel), panel.obs_dim), H, inputs)

    def _components(self, panel: Panel) -> list[Component]:
        parts = _parts(self)
        found = [part.component(name, panel) for part, name in zip(parts, distinct_names(parts), strict=True)]
        return with_columns(found, panel.input_dim)


@dataclass(frozen=True)
class Structural(Additive):
    """A sum of components, each a model by itself, seen through one noise.

    .. math:: y_t = \\mu_t + \\gamma_t + \\psi_t + \\dots + v_t, \\; v_t \\sim N(0, R)

    It is what ``+`` makes: ``LocalLevel() + Seasonal(12)`` equals ``Structural((LocalLevel(), Seasonal(12)))``. For
    several columns of data every component has a set of states for each, and its noise may join them.

    Parameters
    ----------
    components : sequence of models
        The parts, in the order of the states. `observation_cov` may be stated in one of them (or alike in several).

    Raises
    ------
    InputError
        If a part cannot be added, two parts bring a level or oscillate alike, or state different forms of
        `observation_cov`; at the fit, if a form does not fit the columns of the data.

    References
    ----------
    Harvey, Forecasting, Structural Time Series Models and the Kalman Filter, 1989, section 2.3.

    Examples
    --------
    >>> import kalman_em as kem
    >>> co2 = kem.datasets.load("co2")["co2_ppm"][:260]
    >>> model = kem.LocalLinearTrend() + kem.Seasonal(365.25 / 7, harmonics=2)
    >>> fitted = kem.fit(model, co2)
    >>> list(fitted.params)
    ['level_cov', 'slope_cov', 'seasonal_cov', 'observation_cov']
    >>> list(fitted.components(levels=()).columns[::2])
    ['trend', 'seasonal', 'residual']
    """

    components: Sequence[Any]

    def __post_init__(self) -> None:
        if not isinstance(self.components, Sequence) or not self.components:
            raise InputError(f"components: expected models such as LocalLevel(), got {self.components!r}")
        for part in self.components:
            if isinstance(part, type) or not isinstance(part, Additive):
                shown = f"the class {part.__name__}; call it" if isinstance(part, type) else repr(part)
                raise InputError(f"components: expected models that can be added, such as Seasonal(12), got {shown}")
        object.__setattr__(self, "components", tuple(part for one in self.components for part in _parts(one)))
        _check_told_apart(self.components)
        _stated_cov(self.components)

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.components))

    @property
    def observation_cov(self) -> Any:
        """The form of R: the one that a part states, Full() if none does."""
        return _stated_cov(self.components)


def _parts(model: Any) -> tuple[Any, ...]:
    return tuple(model.components) if isinstance(model, Structural) else (model,)


def _stated_cov(parts: Sequence[Summand]) -> Any:
    """Return the one form of R that differs from the default, Full()."""
    stated = {repr(part.observation_cov): part.observation_cov for part in parts if part.observation_cov != Full()}
    if len(stated) > 1:
        raise InputError(
            f"observation_cov: the parts of a sum are seen through one noise, but it is stated as "
            f"{' and as '.join(stated)}; state it once"
        )
    return checked_covariance_form(next(iter(stated.values()), Full()), "observation_cov")


def _check_told_apart(parts: Sequence[Summand]) -> None:
    levels = [type(part).__name__ for part in parts if part.base in LEVELS]
    if len(levels) > 1:
        raise InputError(f"components: {' and '.join(levels)} each bring a level, which cannot be told apart; keep one")
