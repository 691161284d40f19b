"""The linear-Gaussian state-space system: every matrix given, shapes checked, nothing estimated."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

import numpy as np

from kalman_em.arrays import Array, BoolArray, as_floats, check_shape, frozen, shape_text
from kalman_em.dynamics import Dynamics
from kalman_em.errors import InputError
from kalman_em.gaps import gaps_of, nearest
from kalman_em.linalg import checked_covariance

# Fields that hold no array, and the number of axes of the parameters that may have an entry a series.
NO_ARRAYS = ("transition_gaps", "dynamics", "by_series", "row_starts")
AXES_BY_SERIES = {
    "transition_offset": 2,
    "transition_input": 3,
    "transition_cov": 3,
    "observation_offset": 2,
    "observation_input": 3,
    "observation_cov": 3,
    "initial_mean": 2,
    "initial_cov": 3,
}


@dataclass(frozen=True, eq=False, kw_only=True)
class LinearGaussianSystem:
    """A linear-Gaussian state-space system with known matrices.

    .. math::

        x_0 \\sim N(m, P), \\quad
        x_{t+1} = F_t x_t + B_t u_t + b_t + G_t w_t, \\; w_t \\sim N(0, Q_t), \\quad
        y_t = H_t x_t + D_t u_t + d_t + v_t, \\; v_t \\sim N(0, R_t)

    Every matrix is constant, or varies in time with a leading axis. Entry t of F, B, b, G and Q moves the state
    from step t to step t+1, so T-1 entries move through T steps (T entries reach one step beyond).

    With `transition_gaps` the time stamps of the observations say how the state moves: entry k of F, B, b, G and Q
    is for a gap of `transition_gaps[k]` between two rows, so one system serves series with any time stamps of theirs.

    Parameters named in `by_series` have an entry for each of N series in the place of time: such a system is laid over
    a panel, and `of_series` gives that of one series.

    Parameters
    ----------
    transition_matrix : array_like, shape (d, d) or (T, d, d)
        F.
    transition_cov : array_like, shape (r, r) or (T, r, r)
        Q; r = d without `noise_selection`. May be singular.
    observation_matrix : array_like, shape (p, d) or (T, p, d)
        H.
    observation_cov : array_like, shape (p, p) or (T, p, p)
        R. May be singular.
    initial_mean : array_like, shape (d,)
        m, the mean of the state at the first observation.
    initial_cov : array_like, shape (d, d)
        P. Rows and columns of diffuse elements must be 0.
    transition_offset, observation_offset : array_like, shape (d,) or (T, d); (p,) or (T, p), optional
        b and d; 0 when left out.
    transition_input, observation_input : array_like, shape (d, k) or (T, d, k); (p, k) or (T, p, k), optional
        B and D, for the inputs that the observations carry.
    noise_selection : array_like, shape (d, r) or (T, d, r), optional
        G: which rows of the state the noise enters; the identity when left out.
    initial_diffuse : array_like of bool, shape (d,), optional
        Elements of the initial state about which nothing is known (a flat prior).
    transition_gaps : array_like, shape (K,), optional
        The gaps in time that the K entries of varying transition parameters are for: positive, increasing. The
        observations then need `times`.
    dynamics : Dynamics, optional
        The motion in continuous time that F and G come from; it makes entries for gaps that are not in the table.
    by_series : tuple of str, optional
        The parameters whose leading axis counts the series of a panel: offsets, input matrices, covariances and the
        initial moments may.
    row_starts : tuple of int, optional
        For a panel whose series differ in what varies in time of the observations: the entry of the first row of each
        of N series, and the number of all entries. Left out, every series takes the entries from the first on.

    Raises
    ------
    InputError
        If a shape does not fit, a value is not finite, a covariance is not symmetric and PSD, or the gaps are not
        positive and increasing.

    References
    ----------
    Durbin and Koopman, Time Series Analysis by State Space Methods, 2nd ed. 2012, equation (3.1).

    Examples
    --------
    >>> from kalman_em import LinearGaussianSystem
    >>> level = LinearGaussianSystem(
    ...     transition_matrix=[[1.0]], transition_cov=[[1469.1]], observation_matrix=[[1.0]],
    ...     observation_cov=[[15099.0]], initial_mean=[0.0], initial_cov=[[0.0]], initial_diffuse=[True])
    >>> level.state_dim, level.obs_dim, level.is_constant
    (1, 1, True)

    A random walk whose variance grows with time, for gaps of 1 and of 2:

    >>> from kalman_em import Observations, kalman_filter
    >>> walk = LinearGaussianSystem(
    ...     transition_matrix=[[1.0]], transition_cov=[[[3.0]], [[6.0]]], transition_gaps=[1.0, 2.0],
    ...     observation_matrix=[[1.0]], observation_cov=[[1.0]], initial_mean=[0.0], initial_cov=[[1.0]])
    >>> seen = kalman_filter(walk, Observations([[0.0], [0.0], [0.0]], times=[10.0, 12.0, 13.0]))
    >>> seen.predicted_covs.ravel().round(3).tolist()
    [1.0, 6.5, 3.867]
    """

    transition_matrix: Array
    transition_cov: Array
    observation_matrix: Array
    observation_cov: Array
    initial_mean: Array
    initial_cov: Array
    transition_offset: Array | None = None
    observation_offset: Array | None = None
    transition_input: Array | None = None
    observation_input: Array | None = None
    noise_selection: Array | None = None
    initial_diffuse: BoolArray | None = None
    transition_gaps: Array | None = None
    dynamics: Dynamics | None = None
    by_series: tuple[str, ...] = ()
    row_starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in NO_ARRAYS}
        needed = {f.name for f in fields(self) if f.default is MISSING}
        given_arrays = {k: v for k, v in given.items() if k != "initial_diffuse" and (v is not None or k in needed)}
        checked = {k: as_floats(v, k) for k, v in given_arrays.items()}
        F, H = checked["transition_matrix"], checked["observation_matrix"]
        if F.ndim not in (2, 3) or F.shape[-1] == 0 or F.shape[-1] != F.shape[-2]:
            raise InputError(f"transition_matrix: expected shape (d, d) or (T, d, d), got {F.shape}")
        d = F.shape[-1]
        if H.ndim not in (2, 3) or H.shape[-1] != d or H.shape[-2] == 0:
            raise InputError(f"observation_matrix: expected shape (p, {d}) or (T, p, {d}), got {H.shape}")
        p = H.shape[-2]
        checked.setdefault("transition_offset", np.zeros(d))
        checked.setdefault("observation_offset", np.zeros(p))
        _check_static_or_varying(checked["transition_offset"], (d,), "transition_offset")
        _check_static_or_varying(checked["observation_offset"], (p,), "observation_offset")
        r = d
        if "noise_selection" in checked:
            G = checked["noise_selection"]
            if G.ndim not in (2, 3) or G.shape[-2] != d:
                raise InputError(f"noise_selection: expected shape ({d}, r) or (T, {d}, r), got {G.shape}")
            r = G.shape[-1]
        k = _input_dim(checked)
        for name, rows in (("transition_input", d), ("observation_input", p)):
            if name in checked:
                _check_static_or_varying(checked[name], (rows, k), name)
        for name, dim in (("transition_cov", r), ("observation_cov", p), ("initial_cov", d)):
            may_vary = name != "initial_cov" or name in self.by_series
            if checked[name].ndim not in ((2, 3) if may_vary else (2,)):
                varying = f" or (T, {dim}, {dim})" if may_vary else ""
                raise InputError(f"{name}: expected shape ({dim}, {dim}){varying}, got {checked[name].shape}")
            checked[name] = checked_covariance(checked[name], dim, name)
        if "initial_mean" not in self.by_series:
            check_shape(checked["initial_mean"], (d,), "initial_mean")
        object.__setattr__(self, "by_series", _checked_by_series(self.by_series, checked, d))
        for name, value in checked.items():
            object.__setattr__(self, name, frozen(value))
        object.__setattr__(self, "initial_diffuse", self._checked_diffuse(given["initial_diffuse"], d))
        object.__setattr__(self, "transition_gaps", _checked_gaps(self.transition_gaps, self.dynamics))
        self._check_lengths()
        if self.dynamics is not None:
            self._check_dynamics(self.dynamics)

    def _check_dynamics(self, dynamics: Dynamics) -> None:
        if self.noise_selection is None or self.noise_selection.ndim != 3:
            raise InputError("noise_selection: expected an entry a gap beside dynamics, as Dynamics makes them")
        if self.transition_cov.ndim != 2 and "transition_cov" not in self.by_series:
            raise InputError("transition_cov: expected a constant covariance of the noises beside dynamics")
        if np.any(self.transition_offset) or self.transition_input is not None:
            raise InputError("transition_offset, transition_input: expected none beside dynamics")

    def _checked_diffuse(self, value: Any, d: int) -> BoolArray:
        diffuse = np.zeros(d, dtype=bool) if value is None else np.asarray(value)
        if diffuse.dtype != bool or diffuse.shape != (d,):
            raise InputError(
                f"initial_diffuse: expected {d} booleans, one an element of the state, got "
                f"{diffuse.dtype} of shape {diffuse.shape}"
            )
        if np.any(self.initial_cov[..., diffuse, :]):
            raise InputError("initial_cov: expected 0 in the rows and columns of diffuse elements, got other values")
        return frozen(diffuse.copy())

    def _check_lengths(self) -> None:
        observation = {n: len(v) for n, v in self._varying("observation")}
        transition = {n: len(v) for n, v in self._varying("transition")}
        if self.transition_gaps is not None:
            n_gaps = len(self.transition_gaps)
            for name, length in transition.items():
                if length != n_gaps:
                    raise InputError(f"{name}: expected {n_gaps} entries, one a gap of transition_gaps, got {length}")
            transition = {}
        if len(set(observation.values())) > 1 or len(set(transition.values())) > 1:
            raise InputError(f"time-varying matrices: expected one common length, got {observation | transition}")
        if self.row_starts:
            self._check_row_starts(observation)
        elif observation and transition:
            n_obs, n_trans = next(iter(observation.values())), next(iter(transition.values()))
            if n_trans not in (n_obs, n_obs - 1):
                raise InputError(
                    f"time-varying matrices: expected {n_obs} or {n_obs - 1} transition entries beside {n_obs} "
                    f"observation entries, got {n_trans}"
                )

    def _check_row_starts(self, observation: dict[str, int]) -> None:
        starts = tuple(int(one) for one in self.row_starts)
        object.__setattr__(self, "row_starts", starts)
        length = next(iter(observation.values()), 0)
        if len(starts) < 2 or starts[0] != 0 or starts[-1] != length or np.any(np.diff(starts) < 1):
            raise InputError(
                f"row_starts: expected numbers that grow from 0 to the {length} entries of the observation parameters "
                f"that vary in time, got {starts}"
            )

    def _varying(self, kind: str) -> list[tuple[str, Array]]:
        ndims = {"matrix": 3, "offset": 2, "input": 3, "cov": 3}
        names = [f"{kind}_{part}" for part in ndims]
        found = [(n, getattr(self, n)) for n in names if getattr(self, n) is not None]
        if kind == "transition" and self.noise_selection is not None:
            found.append(("noise_selection", self.noise_selection))
        found = [(n, v) for n, v in found if n not in self.by_series]
        return [(n, v) for n, v in found if v.ndim == ndims.get(n.rpartition("_")[2], 3)]

    @property
    def state_dim(self) -> int:
        """Dimension of the state, d."""
        return int(self.transition_matrix.shape[-1])

    @property
    def obs_dim(self) -> int:
        """Number of values a row, p."""
        return int(self.observation_matrix.shape[-2])

    @property
    def input_dim(self) -> int:
        """Number of inputs, k."""
        parts = {"transition_input": self.transition_input, "observation_input": self.observation_input}
        return _input_dim({k: v for k, v in parts.items() if v is not None})

    @property
    def is_constant(self) -> bool:
        """Whether no matrix varies in time."""
        return not self._varying("observation") and not self._varying("transition")

    @property
    def observes_variably(self) -> bool:
        """Whether a parameter of the observations varies in time."""
        return bool(self._varying("observation"))

    @property
    def has_diffuse(self) -> bool:
        """Whether any element of the initial state is diffuse."""
        return bool(np.any(self.initial_diffuse))

    @property
    def n_series(self) -> int | None:
        """Number of series that parameters have entries for; None for a system that serves any."""
        if self.row_starts:
            return len(self.row_starts) - 1
        return len(getattr(self, self.by_series[0])) if self.by_series else None

    def of_series(self, position: int) -> LinearGaussianSystem:
        """Return the system of the series at `position`; of a system without entries by series, itself.

        Examples
        --------
        >>> from kalman_em import LinearGaussianSystem
        >>> two = LinearGaussianSystem(
        ...     transition_matrix=[[1.0]], transition_cov=[[3.0]], observation_matrix=[[1.0]],
        ...     observation_cov=[[[1.0]], [[9.0]]], initial_mean=[0.0], initial_cov=[[1.0]],
        ...     by_series=("observation_cov",))
        >>> two.of_series(1).observation_cov.tolist()
        [[9.0]]
        """
        own = {name: getattr(self, name)[position] for name in self.by_series}
        if self.row_starts:
            rows = slice(self.row_starts[position], self.row_starts[position + 1])
            own |= {name: value[rows] for name, value in self._varying("observation")}
        return self.replaced(**own, by_series=(), row_starts=()) if own else self

    def replaced(self, **values: Any) -> LinearGaussianSystem:
        """Return a copy with other values of the same shapes, which the caller vouches for: nothing is checked."""
        copy = object.__new__(LinearGaussianSystem)
        copy.__dict__.update(self.__dict__)
        for name, value in values.items():
            copy.__dict__[name] = frozen(value) if isinstance(value, np.ndarray) else value
        return copy

    def at_gaps(self, gaps: Array) -> LinearGaussianSystem:
        """Return this system with entries for other `gaps` (K,), positive and increasing, by its `dynamics`.

        Raises
        ------
        InputError
            If it has none.
        """
        if self.dynamics is None:
            raise InputError(
                f"transition_gaps: have no entry for {_missing_gap(gaps, self.transition_gaps):g}, and there are no "
                "dynamics to make one"
            )
        gaps = frozen(np.array(gaps))
        moved = {
            "transition_matrix": self.dynamics.transition_matrices(gaps),
            "noise_selection": self.dynamics.noise_selections(gaps),
            "transition_gaps": gaps,
        }
        return self.replaced(**moved)

    def along(self, times: Array) -> LinearGaussianSystem:
        """Return the same system with one entry a step between the rows at `times` (T,), and no gaps.

        Raises
        ------
        InputError
            If a gap is not in the table, and there are no dynamics.
        """
        if self.transition_gaps is None:
            return self
        found = gaps_of(times, np.array([0, len(times)]))
        index = found.within(self.transition_gaps)
        system = self if index is not None else self.at_gaps(found.values)
        steps = (found.index if index is None else index)[: len(times) - 1]
        varying: dict[str, Any] = {name: value[steps] for name, value in system._varying("transition")}
        return replace(system, **varying, transition_gaps=None, dynamics=None)

    def check_n_steps(self, n_steps: int) -> None:
        """Raise `InputError` unless time-varying matrices serve a series of `n_steps` rows."""
        for name, value in self._varying("observation"):
            if len(value) != n_steps and not self.row_starts:
                raise InputError(f"{name}: expected {n_steps} entries, one a row of values, got {len(value)}")
        for name, value in self._varying("transition") if self.transition_gaps is None else ():
            if len(value) not in (n_steps, n_steps - 1):
                raise InputError(f"{name}: expected {n_steps - 1} or {n_steps} entries, got {len(value)}")


def _checked_by_series(given: Any, arrays: dict[str, Array], d: int) -> tuple[str, ...]:
    names = tuple(given)
    for name in names:
        if name not in AXES_BY_SERIES or name not in arrays:
            raise InputError(f"by_series: expected some of {', '.join(AXES_BY_SERIES)}, got {name!r}")
        if arrays[name].ndim != AXES_BY_SERIES[name]:
            raise InputError(f"{name}: expected an entry for every series, as by_series says, got {arrays[name].shape}")
    if "initial_mean" in names and arrays["initial_mean"].shape[1] != d:
        raise InputError(f"initial_mean: expected shape (N, {d}), got {arrays['initial_mean'].shape}")
    lengths = {name: len(arrays[name]) for name in names}
    if len(set(lengths.values())) > 1:
        raise InputError(f"by_series: expected as many entries of each, one a series, got {lengths}")
    return names


def _checked_gaps(given: Any, dynamics: Any) -> Array | None:
    if dynamics is not None and not isinstance(dynamics, Dynamics):
        raise InputError(f"dynamics: expected Dynamics, got {type(dynamics).__name__}")
    if given is None:
        if dynamics is not None:
            raise InputError("transition_gaps: expected the gaps that the entries are for, beside dynamics, got None")
        return None
    gaps = as_floats(given, "transition_gaps")
    if gaps.ndim != 1 or gaps.size == 0:
        raise InputError(f"transition_gaps: expected shape (K,), K at least 1, got {gaps.shape}")
    if np.any(gaps <= 0.0) or np.any(np.diff(gaps) <= 0.0):
        raise InputError("transition_gaps: expected positive, increasing gaps, got others")
    return gaps


def _missing_gap(gaps: Array, table: Array | None) -> float:
    if table is None or len(table) == 0:
        return float(gaps[0])
    return float(gaps[np.argmax(np.abs(table[nearest(table, gaps)] / gaps - 1.0))])


def _input_dim(arrays: dict[str, Array]) -> int:
    dims = {n: arrays[n].shape[-1] for n in ("transition_input", "observation_input") if n in arrays}
    if len(set(dims.values())) > 1:
        raise InputError(f"inputs: expected as many columns in both input matrices, got {dims}")
    return next(iter(dims.values()), 0)


def _check_static_or_varying(array: Array, shape: tuple[int, ...], name: str) -> None:
    if array.shape != shape and array.shape[1:] != shape:
        raise InputError(f"{name}: expected shape {shape} or {shape_text(('T', *shape))}, got {array.shape}")
