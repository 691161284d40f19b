"""The linear-Gaussian state-space model with every parameter free or held, as the forms say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from kalman_em.arrays import Array, array_key, as_floats
from kalman_em.em.forms import Diffuse, Fixed, Full, check_initial_forms, coefficient_form, covariance_form
from kalman_em.em.loop import run_em
from kalman_em.em.stopping import Stopping, StopReason
from kalman_em.errors import InputError, NumericalError
from kalman_em.models.initial_state import initial_state
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.leading import rows_of
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.scale import data_scale
from kalman_em.models.slots import Slot
from kalman_em.models.specification import Specification
from kalman_em.models.subspace import correlations, subspace_values
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# Ratios of state noise to observation noise tried for a start where the user fixed the matrices.
NOISE_RATIOS = (1e-4, 1e-2, 1e-1, 1.0, 10.0, 1e2)
# Each candidate start is given some iterations to show where it leads: as many as this many rows allow, within bounds.
TRIAL_ROWS = 200_000
FEWEST_TRIALS, MOST_TRIALS = 3, 50
# Fewer where the M-step has no closed form.
MOST_DEAR_TRIALS = 12


@checks_keywords
@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """The general linear-Gaussian state-space model; every parameter takes a form.

    .. math::

        x_0 \\sim N(m, P), \\quad
        x_{t+1} = F x_t + B u_t + b + G w_t, \\; w_t \\sim N(0, Q), \\quad
        y_t = H x_t + D u_t + d + v_t, \\; v_t \\sim N(0, R)

    Parameters
    ----------
    state_dim, obs_dim : int
        d and p.
    transition_matrix, transition_offset, transition_cov : form
        F (d, d), b (d,) and Q (r, r); by default free, 0, and free.
    observation_matrix, observation_offset, observation_cov : form
        H (p, d), d (p,) and R (p, p); by default free, 0, and free.
    transition_input, observation_input : form, optional
        B (d, k) and D (p, k), for a fit with `inputs`; absent by default.
    noise_selection : array_like, shape (d, r), optional
        G: which rows of the state the noise enters; their coefficients must be fixed elsewhere.
    initial_mean : form, optional
        m (d,); by default learnt, but for the elements that `initial_cov` says are diffuse (nothing at all) or
        stationary (it follows from F and b).
    initial_cov : form, Diffuse() or Stationary(), optional
        P (d, d). By default learnt for a panel of series. For one series, where m and P cannot both be learnt, P is 0
        one step before the first observation: the first state is then as uncertain as one step of state noise, in
        whatever units. `Diffuse()` is for known matrices, where the states have a scale of their own: a flat prior
        on states that may be rescaled at will has no maximum. `Stationary()` is for states that have been going on for
        long: P follows from F and Q, and moves with them. ``BlockDiagonal([(Diffuse(), 2), (Stationary(), 3)])`` mixes.
    initial_step : {"first", "before"}, optional
        Whether m and P are of the state at the first observation, or one step before it (Shumway and Stoffer 1982).
        "first" by default, unless `initial_cov` is left out for one series. The step before takes the values of the
        first for parameters that vary in time, and inputs of 0, which a learnt m makes up for.

    Raises
    ------
    InputError
        If what stands for a form is none, or a form does not fit its parameter; at the fit, if it does not fit the
        inputs or the rows of the data.

    Notes
    -----
    With F, H and Q all free the states are defined up to a change of basis: the likelihood, the predictions and
    H x are not touched by it, and `n_parameters` counts the free numbers, not the identified ones.

    Shifting the data by a constant shifts the predictions and leaves all else as it is only if something can take the
    constant up: ``observation_offset=Full()``, or known matrices with a level among the states. The default has
    neither, and explains the mean of the data by the states.

    With more states than columns and everything free, one series tells Q and R together only, and the known first
    state of the default may draw a long climb to noises of low rank that are told by what comes later: the digits of
    m then hold the data, and the likelihood has no maximum. Such a run ends as ``degenerate_covariance`` and says so;
    ``initial_cov=Stationary()`` with ``observation_offset=Full()``, or a noise held fixed, prevents it.

    References
    ----------
    Shumway and Stoffer, An approach to time series smoothing and forecasting using the EM algorithm, Journal of
    Time Series Analysis 3 (1982); Ghahramani and Hinton, Parameter estimation for linear dynamical systems, 1996.

    Examples
    --------
    >>> import kalman_em as kem
    >>> nile = kem.datasets.load("nile")
    >>> walk = kem.LinearGaussian(
    ...     1, 1, transition_matrix=kem.Fixed([[1.0]]), observation_matrix=kem.Fixed([[1.0]]),
    ...     initial_mean=kem.Fixed([1120.0]), initial_cov=kem.Fixed([[1e6]]))
    >>> fitted = kem.fit(walk, nile["flow"])
    >>> round(fitted.log_likelihood, 3)
    -640.374
    """

    state_dim: int
    obs_dim: int
    transition_matrix: Any = field(default_factory=Full, kw_only=True)
    transition_offset: Any = field(default_factory=lambda: Fixed(0), kw_only=True)
    transition_input: Any = field(default=None, kw_only=True)
    transition_cov: Any = field(default_factory=Full, kw_only=True)
    noise_selection: Any = field(default=None, kw_only=True)
    observation_matrix: Any = field(default_factory=Full, kw_only=True)
    observation_offset: Any = field(default_factory=lambda: Fixed(0), kw_only=True)
    observation_input: Any = field(default=None, kw_only=True)
    observation_cov: Any = field(default_factory=Full, kw_only=True)
    initial_mean: Any = field(default=None, kw_only=True)
    initial_cov: Any = field(default=None, kw_only=True)
    initial_step: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("state_dim", "obs_dim"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name}: expected a whole number of at least 1, got {value!r}")
        if self.noise_selection is not None:
            object.__setattr__(self, "noise_selection", as_floats(self.noise_selection, "noise_selection"))
            if self.noise_selection.ndim != 2 or len(self.noise_selection) != self.state_dim:
                raise InputError(
                    f"noise_selection: expected shape ({self.state_dim}, r), got {self.noise_selection.shape}"
                )
        if self.initial_step not in (None, "first", "before"):
            raise InputError(f"initial_step: expected 'first' or 'before', got {self.initial_step!r}")
        self._check_forms()

    def _check_forms(self) -> None:
        """Refuse what is no form, and a form that does not fit, where it was stated rather than in the fit."""
        d, p = int(self.state_dim), int(self.obs_dim)
        r = d if self.noise_selection is None else self.noise_selection.shape[1]
        check_initial_forms(self.initial_mean, Diffuse() if self.initial_cov is None else self.initial_cov)
        shapes: dict[str, tuple[int, ...]] = {
            "transition_matrix": (d, d),
            "transition_offset": (d,),
            "observation_matrix": (p, d),
            "observation_offset": (p,),
            "initial_mean": (d,),
        }
        for name in (*shapes, "transition_input", "observation_input"):
            form = getattr(self, name)
            if form is None and name in ("initial_mean", "transition_input", "observation_input"):
                continue
            coefficient_form(form, name)
            # How many inputs there are the fit knows; Full fits everything, and its constraint is large.
            if name in shapes and not isinstance(form, Full):
                form.constraint(shapes[name], name)
        covariance_form(self.transition_cov, "transition_cov", r)
        covariance_form(self.observation_cov, "observation_cov", p)
        if self.initial_cov is not None:
            initial_state(self.initial_cov, d)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        values = [getattr(self, entry.name) for entry in fields(self)]
        return tuple(array_key(value) if isinstance(value, np.ndarray) else value for value in values)

    def specify(self, panel: Panel) -> Specification:
        """Return the specification for the inputs of `panel`; its columns must be `obs_dim`."""
        _check_inputs(self, panel)
        if self.initial_cov is not None:
            return self._specification(panel, self.initial_cov, self.initial_step or "first")
        if panel.n_series > 1:
            return self._specification(panel, Full(), self.initial_step or "first")
        return self._specification(panel, Fixed(0), self.initial_step or "before")

    def start(self, specification: Specification, panel: Panel) -> LinearGaussianSystem:
        """Return the start that leads highest in a few iterations of EM.

        The candidates are a subspace start, a plain one, and for known H a grid of noise ratios.
        """
        problem = LinearGaussianProblem(specification, rows_of(panel, specification), data_scale(panel))
        failures: list[NumericalError] = []
        reached = list(_tried(problem, self._candidates(specification, panel), failures))
        if not reached:
            raise NumericalError(
                f"start: no starting values with a finite likelihood were found (the first failed with: "
                f"{failures[0]}); pass start="
            )
        return max(reached, key=lambda found: found[0])[1]

    def random_start(
        self, specification: Specification, panel: Panel, rng: np.random.Generator
    ) -> LinearGaussianSystem:
        """Return the start with F and H shaken and the covariances rescaled."""
        values = self._values(specification, panel)
        d, p = self.state_dim, self.obs_dim
        F = values["transition_matrix"] + 0.3 * rng.standard_normal((d, d))
        radius = np.abs(np.linalg.eigvals(F)).max()
        values["transition_matrix"] = F / max(radius, 1.0)
        size = np.sqrt(np.mean(values["observation_matrix"] ** 2, axis=1, keepdims=True))
        values["observation_matrix"] = values["observation_matrix"] + size * rng.standard_normal((p, d))
        for name in ("transition_cov", "observation_cov"):
            values[name] = values[name] * float(np.exp(rng.standard_normal()))
        return specification.start_from(values)

    def _specification(self, panel: Panel, initial_cov: Any, initial_step: str) -> Specification:
        forms = {
            name: getattr(self, name)
            for name in (
                "transition_matrix",
                "transition_offset",
                "transition_input",
                "transition_cov",
                "observation_matrix",
                "observation_offset",
                "observation_input",
                "observation_cov",
            )
        }
        mean = initial_state(initial_cov, int(self.state_dim)).mean_form(self.initial_mean)
        forms |= {"initial_mean": mean, "initial_cov": initial_cov}
        return Specification(
            state_dim=int(self.state_dim),
            obs_dim=int(self.obs_dim),
            input_dim=panel.input_dim,
            forms=forms,
            slots={name: Slot(name) for name, form in forms.items() if form is not None},
            state_names=tuple(f"x{i + 1}" for i in range(self.state_dim)),
            noise_selection=self.noise_selection,
            initial_step=initial_step,
        )

    def _values(self, specification: Specification, panel: Panel) -> dict[str, Array]:
        values = subspace_values(
            panel,
            specification.state_dim,
            has_offset=specification.is_free("observation_offset"),
            has_drift=specification.is_free("transition_offset"),
            scale=data_scale(panel),
        )
        if specification.noise_selection is not None:
            inverse = np.linalg.pinv(specification.noise_selection)
            values["transition_cov"] = inverse @ values["transition_cov"] @ inverse.T
        k = specification.input_dim
        values["transition_input"] = np.zeros((specification.state_dim, k))
        values["observation_input"] = np.zeros((specification.obs_dim, k))
        return values

    def _candidates(self, specification: Specification, panel: Panel) -> Iterator[LinearGaussianSystem]:
        values = self._values(specification, panel)
        yield specification.start_from(values)
        if specification.is_free("observation_matrix"):
            yield specification.start_from(values | _plain_values(specification, panel))
            return
        # Known H: the states have a scale of their own, found from the size of what the data do.
        scale = data_scale(panel)
        H = specification.constraint("observation_matrix").fixed
        H = H if H.ndim == 2 else H[0]
        size = np.sqrt(np.mean((H / scale[:, None]) ** 2))
        unit = 1.0 / size if size > 0.0 else 1.0
        state = np.linalg.pinv(H) @ _first_row(panel)
        d, r = specification.state_dim, specification.shape("transition_cov")[0]
        for ratio in NOISE_RATIOS:
            for share in (0.01, 0.3):
                yield specification.start_from(
                    values
                    | {
                        "transition_matrix": 0.9 * np.eye(d),
                        "transition_cov": share * ratio * unit**2 * np.eye(r),
                        "observation_cov": share * np.diag(scale**2),
                        "initial_mean": state,
                        "initial_cov": unit**2 * np.eye(d),
                    }
                )


def _tried(
    problem: LinearGaussianProblem, candidates: Iterator[LinearGaussianSystem], failures: list[NumericalError]
) -> Iterator[tuple[float, LinearGaussianSystem]]:
    """Yield each candidate with the log-likelihood after a few iterations; those that fail add to `failures`."""
    most = MOST_DEAR_TRIALS if problem.specification.start_moves else MOST_TRIALS
    n_trials = min(max(TRIAL_ROWS // problem.rows.n_rows, FEWEST_TRIALS), most)
    for candidate in candidates:
        try:
            run = run_em(problem, candidate, stopping=Stopping(max_iterations=n_trials))
        except NumericalError as error:
            failures.append(error)
            continue
        if run.stop_reason is StopReason.interrupted:
            # Nothing has been learnt yet that could be returned.
            raise KeyboardInterrupt
        yield run.log_likelihood, candidate


def _plain_values(specification: Specification, panel: Panel) -> dict[str, Array]:
    """Return independent states of unit variance, the principal components, and noise of half the variance.

    Principal components follow the sensors in whatever order they come.
    """
    d, p = specification.state_dim, specification.obs_dim
    scale = data_scale(panel)
    eigenvalues, vectors = np.linalg.eigh(correlations(panel, scale))
    leading = np.arange(p)[::-1][np.arange(d) % p]
    loadings = vectors[:, leading] * np.sqrt(0.5 * np.maximum(eigenvalues[leading], 0.0))
    persistence = np.linspace(0.9, 0.3, d)
    noise = np.diag(1.0 - persistence**2)
    if specification.noise_selection is not None:
        inverse = np.linalg.pinv(specification.noise_selection)
        noise = inverse @ noise @ inverse.T
    return {
        "transition_matrix": np.diag(persistence),
        "transition_cov": noise,
        "observation_matrix": scale[:, None] * loadings,
        "observation_cov": np.diag(0.5 * scale**2),
        "initial_mean": np.zeros(d),
    }


def _first_row(panel: Panel) -> Array:
    """Return the first observed value of each column of the first series that has one, 0 where none has."""
    result = np.zeros(panel.obs_dim)
    for column in range(panel.obs_dim):
        for one in panel:
            seen = one.values[~np.isnan(one.values[:, column]), column]
            if len(seen):
                result[column] = seen[0]
                break
    return result


def _is_wholly_free(form: Any, dim: int) -> bool:
    """Whether a vector of this form can be any."""
    return bool(np.linalg.matrix_rank(form.constraint((dim,), "initial_mean").design) == dim)


def _check_inputs(model: LinearGaussian, panel: Panel) -> None:
    if panel.obs_dim != model.obs_dim:
        raise InputError(f"data: expected {model.obs_dim} columns, as obs_dim says, got {panel.obs_dim}")
    has_input = model.transition_input is not None or model.observation_input is not None
    if panel.input_dim and not has_input:
        raise InputError(
            "inputs: given, but the model has no input matrix; state transition_input or observation_input"
        )
    if has_input and not panel.input_dim:
        raise InputError("inputs: the model has an input matrix, but none were given")
    mean_is_held = model.initial_mean is not None and not _is_wholly_free(model.initial_mean, model.state_dim)
    if model.initial_step == "before" and model.transition_input is not None and mean_is_held:
        raise InputError(
            "initial_step: 'before' needs the inputs of a step before the first row, which the data do not have; "
            "use 'first', or leave initial_mean to be learnt, which makes up for them"
        )
