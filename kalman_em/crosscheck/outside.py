"""The same model for statsmodels: one `MLEModel` a series, which share the parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from statsmodels.tsa.statespace.initialization import Initialization
from statsmodels.tsa.statespace.mlemodel import MLEModel

from kalman_em.arrays import Array
from kalman_em.crosscheck.coordinates import Coordinates
from kalman_em.crosscheck.start import OutsideStart, initialization, outside_start
from kalman_em.errors import NumericalError
from kalman_em.linalg import smallest_scaled_eigenvalue
from kalman_em.observations import Observations, Panel
from kalman_em.systems import LinearGaussianSystem

# What a log-likelihood that cannot be computed counts as.
REFUSED = -1e15
# Below this an observation covariance, scaled to a unit diagonal, is singular: its rows are then taken one by one.
SINGULAR = 1e-10


class OutsideModel(MLEModel):  # type: ignore[misc]
    """A statsmodels model of one series, and of its siblings: the log-likelihood is the sum.

    With `coordinates` its parameters are those coordinates; without, it has none and stays at `system`. The columns
    are divided by `unit` (p,) on the way in, and `jacobian` is what that adds to the log-likelihood of the data. The
    `start` says which blocks of the first state are stationary: statsmodels finds their distribution by itself.
    """

    def __init__(
        self,
        system: LinearGaussianSystem,
        one: Observations,
        coordinates: Coordinates | None = None,
        siblings: Sequence[OutsideModel] = (),
        unit: Array | None = None,
        start: OutsideStart | None = None,
    ) -> None:
        if system.transition_gaps is not None and one.times is not None:
            system = system.along(one.times)
        d, r = system.state_dim, system.transition_cov.shape[-1]
        self.unit = np.ones(system.obs_dim) if unit is None else unit
        self.jacobian = -float(np.count_nonzero(~one.is_missing, axis=0) @ np.log(self.unit))
        super().__init__(one.values / self.unit, k_states=d, k_posdef=r)
        self.coordinates, self.siblings = coordinates, tuple(siblings)
        self.inputs = one.inputs
        self._parameters = {name: getattr(system, name) for name in _PLACES}
        self._diffuse = np.asarray(system.initial_diffuse, dtype=bool)
        self._start = OutsideStart() if start is None else start
        self["selection"] = _time_last(np.eye(d) if system.noise_selection is None else system.noise_selection, 2, self)
        self._place(self._parameters)
        # Rows one by one cope with singular covariances and with every diffuse start; no steady-state shortcut.
        is_singular = np.min(smallest_scaled_eigenvalue(system.observation_cov)) < SINGULAR
        self.ssm.filter_univariate = bool(self._diffuse.any() or is_singular)
        self.ssm.tolerance = 0.0

    @property
    def start_params(self) -> Array:
        """The origin of the coordinates."""
        return np.zeros(self.coordinates.size if self.coordinates else 0)

    @property
    def param_names(self) -> list[str]:
        """The coordinates have numbers for names."""
        return [f"coordinate {i}" for i in range(len(self.start_params))]

    def update(self, params: Any, **options: Any) -> None:
        """Set the matrices to those at the coordinates `params`."""
        params = super().update(params, **options)
        if self.coordinates is not None:
            self._place(self.coordinates.values(np.real(params)))

    def loglike(self, params: Any, *args: Any, **options: Any) -> float:
        """Return the log-likelihood of this series and its siblings; `REFUSED` where it cannot be computed."""
        try:
            value = float(super().loglike(params, *args, **options)) + self.jacobian
        except (np.linalg.LinAlgError, ValueError):
            return REFUSED
        value += sum(sibling.loglike(params, *args, **options) for sibling in self.siblings)
        return value if np.isfinite(value) else REFUSED

    def _place(self, values: dict[str, Array]) -> None:
        self._parameters |= values
        for name in values:
            place, ndim = _PLACES[name]
            if ndim == 2:
                self[place] = self._in_units(place, _time_last(self._parameters[name], 2, self))
            elif ndim == 1:
                self[place] = self._in_units(place, self._intercept(name.partition("_")[0]))
        if "initial_mean" in values or "initial_cov" in values or self._start.blocks:
            self.ssm.initialization = self._initialization()

    def _initialization(self) -> Initialization:
        mean, cov = self._parameters["initial_mean"], self._parameters["initial_cov"]
        # The intercept of the first row holds its inputs, before which they count as 0: then the mean is given.
        is_left = self._start.mean_follows and self._parameters["transition_input"] is None
        self._start.check(self._parameters["transition_matrix"])
        if self._start.blocks and not is_left:
            mean, cov = self._start.moments(self._parameters, self["selection"])
        return initialization(mean, cov, self._diffuse, self._start.blocks if is_left else ())

    def _in_units(self, place: str, value: Array) -> Array:
        """Return the rows of an observation parameter in units of the columns; `value` has its time axis last."""
        if place == "obs_cov":
            return np.asarray((value.T / np.outer(self.unit, self.unit)).T)
        if place in ("design", "obs_intercept"):
            return np.asarray((value.T / self.unit).T)
        return value

    def _intercept(self, kind: str) -> Array:
        """Return the offsets with what the inputs add, time axis last."""
        whole = _time_last(self._parameters[f"{kind}_offset"], 1, self)
        matrix = self._parameters[f"{kind}_input"]
        if matrix is None or self.inputs is None:
            return whole
        matrix = _time_last(matrix, 2, self)
        pushed = matrix @ self.inputs.T if matrix.ndim == 2 else np.einsum("ijt,tj->it", matrix, self.inputs)
        return np.asarray(whole.reshape(len(whole), -1) + pushed)


_PLACES: dict[str, tuple[str, int]] = {
    "transition_matrix": ("transition", 2),
    "transition_offset": ("state_intercept", 1),
    "transition_input": ("state_intercept", 1),
    "transition_cov": ("state_cov", 2),
    "observation_matrix": ("design", 2),
    "observation_offset": ("obs_intercept", 1),
    "observation_input": ("obs_intercept", 1),
    "observation_cov": ("obs_cov", 2),
    "initial_mean": ("initialization", 0),
    "initial_cov": ("initialization", 0),
}


@dataclass(frozen=True, eq=False)
class Climb:
    """Where statsmodels' optimiser went: log-likelihood and system, whether it converged, after how much."""

    log_likelihood: float
    system: LinearGaussianSystem
    is_converged: bool
    n_iterations: int


@contextmanager
def silence() -> Iterator[None]:
    """Keep statsmodels' warnings to ourselves: what they say is in the report."""
    with catch_warnings(), np.errstate(all="ignore"):
        simplefilter("ignore")
        yield


def climb(coordinates: Coordinates, panel: Panel, max_iterations: int, unit: Array) -> Climb | None:
    """Return where statsmodels' L-BFGS ends that starts at the origin of `coordinates`; None if it cannot start."""
    start = outside_start(coordinates.specification)
    siblings = [OutsideModel(coordinates.origin, one, coordinates, unit=unit, start=start) for one in panel.series[1:]]
    first = OutsideModel(coordinates.origin, panel.series[0], coordinates, siblings, unit, start)
    with silence():
        if first.loglike(first.start_params) <= REFUSED:
            return None
        try:
            result = first.fit(
                first.start_params,
                method="lbfgs",
                maxiter=max_iterations,
                maxfun=100 * max_iterations * (coordinates.size + 1),
                epsilon=1e-6,
                pgtol=1e-6,
                factr=1e4,
                disp=0,
                cov_type="none",
            )
        except (np.linalg.LinAlgError, ValueError):
            return None
        vector = np.asarray(result.params, dtype=np.float64)
        reached = first.loglike(vector)
    state = result.mle_retvals
    try:
        system = coordinates.system(vector)
    except NumericalError:  # it ended where the states are not stationary
        return None
    return Climb(reached, system, bool(state["converged"]), int(state["iterations"]))


def _time_last(array: Array, ndim: int, model: OutsideModel) -> Array:
    """Return `array` with its time axis, if it has one, at the end and as long as the series."""
    if array.ndim == ndim:
        return array
    steps = np.minimum(np.arange(model.nobs), len(array) - 1)  # a transition past the end is never taken
    return np.moveaxis(array[steps], 0, -1)
