"""What a linear-Gaussian model states: its dimensions and the form of each of its ten parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.dynamics import Dynamics
from kalman_em.em.constraints import JointConstraint, LinearConstraint, join, of_each_series
from kalman_em.em.forms import (
    BlockDiagonal,
    CovarianceForm,
    Fixed,
    Full,
    MeanOfBlocks,
    coefficient_form,
    covariance_form,
    has_series,
)
from kalman_em.em.noise import NoiseStep
from kalman_em.em.series_noise import SeriesNoiseStep
from kalman_em.errors import InputError, NumericalError
from kalman_em.models.initial_state import InitialState, initial_state
from kalman_em.models.numbers import (
    GROUPS,
    check_names,
    check_per_series,
    cov_with_numbers,
    free_numbers,
    projected,
    with_numbers,
)
from kalman_em.models.rate import Rate
from kalman_em.models.slots import Slot, led_entries
from kalman_em.models.stationary import check_stationary, settled, stabilised
from kalman_em.systems import LinearGaussianSystem

COEFFICIENTS = (
    "transition_matrix",
    "transition_offset",
    "transition_input",
    "observation_matrix",
    "observation_offset",
    "observation_input",
    "initial_mean",
)
COVARIANCES = ("transition_cov", "observation_cov", "initial_cov")


@dataclass(frozen=True, eq=False, kw_only=True)
class Specification:
    """A linear-Gaussian model laid out for data with p columns and k inputs.

    `forms` maps every parameter name of `LinearGaussianSystem` to its form; `slots` maps the names that users
    see to places in the system; `initial_step` is "first" (the prior is on the state at the first observation)
    or "before" (one step earlier). `components` names the states of each part of a sum,
    `regressions` the columns of its inputs.

    In continuous time `dynamics` say how the state moves over each of the `transition_gaps` between rows: the form of
    `transition_matrix` is then the fixed table, and `noise_selection` has an entry a gap. `rates` are the numbers of
    the drift that are learnt; the tables then are those of the start.

    `series` are the labels of the series of a panel where forms are `PerSeries`; empty where such forms are not yet
    laid out, and where there are none. `row_starts` are those of the system: where what varies in time of the
    observations has an entry for every row of a panel.
    """

    state_dim: int
    obs_dim: int
    input_dim: int
    forms: Mapping[str, Any]
    slots: Mapping[str, Slot]
    state_names: tuple[str, ...]
    noise_selection: Array | None = None
    initial_step: str = "first"
    components: Mapping[str, slice] = field(default_factory=dict)
    regressions: Mapping[str, slice] = field(default_factory=dict)
    transition_gaps: Array | None = None
    dynamics: Dynamics | None = None
    rates: tuple[Rate, ...] = ()
    series: tuple[str, ...] = ()
    row_starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_per_series(self.forms)
        if self.initial_step not in ("first", "before"):
            raise InputError(f"initial_step: expected 'first' or 'before', got {self.initial_step!r}")
        labels: dict[str, tuple[str | None, ...]] = {name: self.constraint(name).labels for name in self.coefficients}
        labels |= {name: self.noise(name).labels for name in COVARIANCES}
        check_names(labels, self.slots)
        diffuse = self.initial.diffuse
        if np.any(self._moving("initial_mean")[diffuse]):
            raise InputError(
                "initial_mean: a Diffuse() initial_cov leaves nothing to learn; use Fixed(0)"
                if diffuse.all()
                else "initial_mean: the Diffuse() blocks of initial_cov leave nothing to learn; leave initial_mean out"
            )
        if diffuse.any() and self._scale_is_free:
            raise InputError(
                "initial_cov: Diffuse() needs states with a scale of their own, but observation_matrix and "
                "transition_cov are both free: the states could be rescaled at will, and a flat prior on them has no "
                "maximum; hold one of the two fixed, or leave initial_cov out"
            )
        self._check_noise_rows()
        if self.by_series and self.rates and "transition_cov" in self.by_series:
            raise InputError(
                f"{self.rates[0].name}: is shared by all series, and not learnt beside a density that is PerSeries"
            )
        if self.initial.stationary:
            self._check_stationary()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a parameter of the system."""
        d, p, k = self.state_dim, self.obs_dim, self.input_dim
        r = d if self.noise_selection is None else self.noise_selection.shape[-1]
        return {
            "transition_matrix": (d, d),
            "transition_offset": (d,),
            "transition_input": (d, k),
            "transition_cov": (r, r),
            "observation_matrix": (p, d),
            "observation_offset": (p,),
            "observation_input": (p, k),
            "observation_cov": (p, p),
            "initial_mean": (d,),
            "initial_cov": (d, d),
            "dynamics": (),
        }[name]

    def has(self, name: str) -> bool:
        """Whether the model has this parameter (input matrices may be absent)."""
        return self.forms.get(name) is not None

    @cached_property
    def initial(self) -> InitialState:
        """Which elements of the initial state are diffuse, which stationary, and the form of the rest."""
        return initial_state(self.forms["initial_cov"], self.state_dim)

    @cached_property
    def by_series(self) -> tuple[str, ...]:
        """The parameters of the system that have an entry for each series.

        A covariance has, too, where coefficients beside it do: the sums of EM are kept apart by its entries.
        """
        if not self.series:
            return ()
        own = {name for name, form in self.forms.items() if has_series(form)}
        for kind in ("transition", "observation", "initial"):
            if any(name.startswith(kind) for name in own):
                own.add(f"{kind}_cov")
        return tuple(name for name in (*COEFFICIENTS, *COVARIANCES) if name in own)

    @property
    def mean_follows(self) -> bool:
        """Whether the initial mean of stationary blocks follows from F and b."""
        return isinstance(self.forms["initial_mean"], MeanOfBlocks)

    @cached_property
    def start_moves(self) -> bool:
        """Whether a stationary start moves with what is learnt: the transition M-step is then a generalised one."""
        rows = self.initial.is_stationary
        if not rows.any():
            return False
        names = ["transition_matrix", *(["transition_offset"] if self.mean_follows else [])]
        designs = [self.constraint(name).design.reshape(self.state_dim, -1) for name in names]
        return self.is_free("transition_cov") or any(np.any(design[rows]) for design in designs)

    @property
    def coefficients(self) -> tuple[str, ...]:
        """The coefficients that the model has."""
        return tuple(name for name in COEFFICIENTS if self.has(name))

    def constraint(self, name: str) -> LinearConstraint:
        """Return the linear constraint on a coefficient, over all rows of the filter where it varies in time."""
        return self._constraints[name]

    @cached_property
    def _constraints(self) -> dict[str, LinearConstraint]:
        found = {
            name: coefficient_form(self.forms[name], name).constraint(self.shape(name), name)
            for name in self.coefficients
        }
        if self.initial_step == "before":
            found = {name: replace(one, fixed=led_entries(one.fixed, self.shape(name))) for name, one in found.items()}
        return {n: of_each_series(one, self.series) if n in self.by_series else one for n, one in found.items()}

    def _of_one(self, name: str) -> LinearConstraint:
        """Return the constraint on the coefficient of one series."""
        if name not in self.by_series:
            return self.constraint(name)
        return coefficient_form(self.forms[name], name).constraint(self.shape(name), name)

    def _moving(self, name: str) -> Array:
        """Return the design of a coefficient of one series: which entries are learnt, shared or not."""
        return self._of_one(name).design

    def noise(self, name: str) -> NoiseStep:
        """Return the M-step of a covariance; of the initial one with 0 for its diffuse and stationary blocks."""
        return self._noises[name]

    @cached_property
    def _noises(self) -> dict[str, NoiseStep]:
        leads = {name: self.initial_step == "before" and name != "initial_cov" for name in COVARIANCES}
        return {
            name: SeriesNoiseStep(self.covariance(name), self.shape(name)[0], name, series=self.series)
            if name in self.by_series
            else NoiseStep(self.covariance(name), self.shape(name)[0], name, leads[name])
            for name in leads
        }

    @cached_property
    def generalised_steps(self) -> tuple[str, ...]:
        """The parameters whose M-step has no closed form: it raises the expected log-likelihood step by step."""
        climbs = tuple(name for name in COVARIANCES if not self.noise(name).is_closed)
        return (*climbs, *(rate.name for rate in self.rates))

    @cached_property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The names of learnt numbers, and the parameters in which each stands."""
        labels = {name: self.constraint(name).labels for name in self.coefficients}
        labels |= {name: self.noise(name).labels for name in COVARIANCES}
        found: dict[str, tuple[str, ...]] = {}
        for parameter, own in labels.items():
            for label in dict.fromkeys(own):
                if label is not None:
                    found[label] = (*found.get(label, ()), parameter)
        return found

    def numbers(self, system: LinearGaussianSystem) -> dict[str, float]:
        """Return the value of every named number."""
        values: dict[str, float] = {}
        for names in self.together():
            free, _, labels = free_numbers(names, {name: getattr(system, name) for name in names})
            values |= {label: float(x) for label, x in zip(labels, free, strict=True) if label is not None}
        for name in COVARIANCES:
            step = self.noise(name)
            if any(label is not None for label in step.labels):
                free = step.free(getattr(system, name))
                values |= {label: float(x) for label, x in zip(step.labels, free, strict=True) if label is not None}
        return {name: values[name] for name in self.names}

    def with_numbers(self, system: LinearGaussianSystem, wanted: Mapping[str, float]) -> LinearGaussianSystem:
        """Return `system` with named numbers as `wanted`."""
        touched = {parameter for name in wanted for parameter in self.names[name]}
        values: dict[str, Array] = {}
        for names in self.together():
            if touched & set(names):
                values |= with_numbers(names, {name: getattr(system, name) for name in names}, wanted)
        for name in touched & set(COVARIANCES):
            values[name] = cov_with_numbers(self.noise(name), getattr(system, name), wanted)
        changed: dict[str, Any] = dict(values)
        return replace(system, **changed)

    def together(self) -> list[dict[str, LinearConstraint]]:
        """Return the constraints of the coefficients by regression: what is learnt jointly, and may share names."""
        return [
            {name: self.constraint(name) for name in group if name in self.coefficients}
            for group in GROUPS
            if group[0] in COEFFICIENTS
        ]

    def covariance(self, name: str) -> CovarianceForm:
        """Return the form of a covariance; of the initial one with 0 for its diffuse and stationary blocks."""
        if name == "initial_cov":
            return self.initial.form
        return covariance_form(self.forms[name], name, self.shape(name)[0])

    def joint(self, kind: str) -> JointConstraint:
        """Return the joint constraint on [F b B] (`kind` "transition") or [H d D] ("observation")."""
        q = self.shape(f"{kind}_offset")[0]
        shared, own = [], []
        for part, width in (("matrix", self.state_dim), ("offset", 1), ("input", self.input_dim)):
            name = f"{kind}_{part}"
            shape = (q,) if part == "offset" else (q, width)
            absent = LinearConstraint(np.zeros(shape), np.zeros((q * width, 0)))
            found = self._static(self._of_one(name)) if self.has(name) else absent
            own.append(found if name in self.by_series else absent)
            shared.append(absent if name in self.by_series else found)
        joint = join(shared)
        if not any(one.n_free for one in own):
            return joint
        together = join(own)
        return replace(joint, own=together.design, own_parts=together.parts)

    @cached_property
    def mean_constraint(self) -> JointConstraint:
        """The constraint on m as the regression of x[0] on 1."""
        one = self._of_one("initial_mean").design
        if "initial_mean" in self.by_series:
            return JointConstraint(self.state_dim, 1, one[:, :0], own=one)
        return JointConstraint(self.state_dim, 1, one)

    @staticmethod
    def _static(constraint: LinearConstraint) -> LinearConstraint:
        """Drop a time axis of the fixed part: only the design matters for a change of the free numbers."""
        fixed = constraint.fixed
        if fixed.ndim > 1 and fixed.size > constraint.design.shape[0]:
            fixed = fixed[0]
        return LinearConstraint(fixed, constraint.design, constraint.names)

    @property
    def n_parameters(self) -> int:
        """Number of free numbers over all parameters."""
        joints = [self.joint("transition"), self.joint("observation"), self.mean_constraint]
        regressions = sum(joint.n_free + len(self.series) * joint.n_own for joint in joints)
        covariances = sum(self.noise(name).n_free for name in COVARIANCES)
        return regressions + covariances + len(self.rates)

    def is_free(self, name: str) -> bool:
        """Whether any number of a parameter is learnt."""
        return name in self._free

    def is_learnt(self, name: str) -> bool:
        """Whether any number of the parameter that users know as `name` is learnt."""
        slot = self.slots[name]
        if not self.is_free(slot.parameter):
            return False
        if slot.parameter == "dynamics":
            return True
        if slot.parameter in COEFFICIENTS:
            free = np.any(self._moving(slot.parameter) != 0.0, axis=1).reshape(self.shape(slot.parameter))
            return bool(np.any(free if slot.entries is None else free[slot.places]))
        form = self.forms[slot.parameter]
        if slot.rows is None or not isinstance(form, BlockDiagonal):
            return True
        firsts = [0, *accumulate(size for _, size in form.blocks)]
        return any(
            block.n_free_in_covariance(size) > 0
            for (block, size), first in zip(form.blocks, firsts, strict=False)
            if slot.rows.start <= first < slot.rows.stop
        )

    @cached_property
    def _free(self) -> frozenset[str]:
        coefficients = {name for name in self.coefficients if self.constraint(name).n_free > 0}
        covariances = {name for name in COVARIANCES if self.noise(name).n_free > 0}
        return frozenset(coefficients | covariances | ({"dynamics"} if self.rates else set()))

    @property
    def _scale_is_free(self) -> bool:
        """Whether multiplying every state by the same number gives another model of this kind."""
        holds_no_scale = [
            not np.any(self.constraint(name).fixed)
            for name in ("observation_matrix", "transition_offset", "transition_input", "initial_mean")
            if self.has(name)
        ]
        cov = self.forms["transition_cov"]
        return all(holds_no_scale) and not isinstance(cov, Fixed | BlockDiagonal)

    @cached_property
    def basis_is_free(self) -> bool:
        """Whether any change of basis of the states gives an equal model: then only what it leaves alone counts."""
        size = {name: int(np.prod(self.shape(name))) for name in ("transition_matrix", "observation_matrix")}
        return (
            self.noise_selection is None
            and isinstance(self.forms["transition_cov"], Full)
            and all(self.constraint(name).n_free == n for name, n in size.items())
        )

    def projected(self, values: Mapping[str, Array]) -> LinearGaussianSystem:
        """Return the system nearest to `values` that obeys every form; `InputError` if it has no stationary start."""
        chosen: dict[str, Any] = self.projected_coefficients(values)
        for name in COVARIANCES:
            form = self.covariance(name)
            if isinstance(form, Fixed) and name not in self.by_series:
                value = form.fitted_to(self.shape(name), name)
                chosen[name] = led_entries(value, self.shape(name)) if self.initial_step == "before" else value
            else:
                chosen[name] = self.noise(name).fitted(values[name])
        G, dynamics = self.noise_selection, self.dynamics
        moved: Any = values.get("dynamics")
        if self.rates and isinstance(moved, Dynamics) and self.transition_gaps is not None:
            dynamics = moved
            chosen["transition_matrix"] = moved.transition_matrices(self.transition_gaps)
            G = moved.noise_selections(self.transition_gaps)
        system = LinearGaussianSystem(
            **chosen,
            noise_selection=G,
            transition_gaps=self.transition_gaps,
            dynamics=dynamics,
            initial_diffuse=self.initial.diffuse,
            by_series=self.by_series,
            row_starts=self.row_starts,
        )
        try:
            return self.settled(system)
        except NumericalError as error:
            raise InputError(f"transition_matrix: {error}") from error

    def start_from(self, values: Mapping[str, Array]) -> LinearGaussianSystem:
        """Return `projected` of `values` with F brought inside the unit circle where the start is stationary."""
        F = stabilised(values["transition_matrix"], self.constraint("transition_matrix"), self.initial)
        return self.projected({**values, "transition_matrix": F})

    def settled(self, system: LinearGaussianSystem) -> LinearGaussianSystem:
        """Return `system` with the stationary blocks of m and P at what F, b and Q make them.

        Raises
        ------
        NumericalError
            If an eigenvalue of such a block of F is not inside the unit circle; the message names it.
        """
        return settled(system, self.initial, self.mean_follows)

    def projected_coefficients(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Return the coefficients nearest to `values` that obey their forms, shared numbers being equal."""
        chosen: dict[str, Array] = {}
        for names in self.together():
            chosen |= projected(names, values)
        return chosen

    def check_known_elsewhere(self, what: str, but: tuple[str, ...] = ()) -> None:
        """Raise `InputError` if a parameter varies in time: it is known for the rows of the fit, not for `what`."""
        for name in (one for one in self.varying() if one not in but):
            raise InputError(
                f"{name}: varies in time, and is known for the rows of the fit only, not for {what}; fit a series that "
                "includes those rows, NaN where nothing was observed"
            )

    def varying(self) -> dict[str, int]:
        """Return the number of entries of each parameter that varies in time: known, or known but for some numbers."""
        lead = 1 if self.initial_step == "before" else 0
        fixed = {name: self.constraint(name).fixed for name in self.coefficients if name not in self.by_series}
        entries = {name: len(value) - lead for name, value in fixed.items() if value.ndim > len(self.shape(name))}
        for name in COVARIANCES:
            if name in self.by_series:
                continue
            form, n = self.forms[name], self.noise(name).n_entries
            if isinstance(form, Fixed) and form.value.ndim == 3:
                entries[name] = len(form.value)
            elif n > 1:
                entries[name] = n - lead
        if self.transition_gaps is None:
            return entries
        # Gaps in time are the same in any series: what is known for each of them is known elsewhere too.
        return {name: n for name, n in entries.items() if not name.startswith("transition")}

    def _check_stationary(self) -> None:
        """Refuse stationary blocks of the initial state that have no stationary distribution of their own."""
        needed = ["transition_matrix", "transition_cov", *(["transition_offset"] if self.mean_follows else [])]
        for name in needed:
            if name in self.varying() or (self.transition_gaps is not None and not self.rates):
                raise InputError(f"{name}: varies in time, so that the states have no Stationary() distribution")
            if name in self.by_series:
                raise InputError(f"{name}: is PerSeries, so that the states have no one Stationary() distribution")
        if not self.rates:
            check_stationary(self.initial, self.constraint("transition_matrix"), self.state_names)

    def _check_noise_rows(self) -> None:
        """Refuse free coefficients in rows that no noise enters: EM can never move them."""
        if self.noise_selection is None:
            return
        if self.transition_gaps is not None:
            self._check_moves(self.noise_selection)
            return
        if self.noise_selection.ndim != 2 or self.noise_selection.shape[0] != self.state_dim:
            raise InputError(
                f"noise_selection: expected shape ({self.state_dim}, r), got {np.shape(self.noise_selection)}"
            )
        G = self.noise_selection
        silent = np.eye(self.state_dim) - G @ np.linalg.pinv(G)
        joint = self.joint("transition")
        design = np.hstack([joint.design, np.zeros((len(joint.design), 0)) if joint.own is None else joint.own])
        design = design.reshape(joint.n_rows, -1)
        if np.abs(silent @ design).max(initial=0.0) > 1e-9:
            rows = np.flatnonzero(np.abs(silent @ design).max(axis=1) > 1e-9)
            raise InputError(
                f"transition_matrix: rows {rows.tolist()} have free coefficients but no noise enters them "
                "(noise_selection); fix those rows"
            )

    def _check_moves(self, G: Array) -> None:
        """Check what moves by gaps in time: a known transition, an entry a gap, and the prior on the first row."""
        if G.ndim != 3 or G.shape[1] != self.state_dim:
            raise InputError(
                f"noise_selection: expected shape (K, {self.state_dim}, r), one entry a gap, got {G.shape}"
            )
        if self.joint("transition").n_free or self.joint("transition").n_own:
            raise InputError("transition_matrix: expected a known one in continuous time, got one with free numbers")
        if self.initial_step != "first":
            raise InputError(
                "initial_step: expected 'first' in continuous time, where no gap lies before the first row"
            )
