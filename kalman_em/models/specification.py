"""What a linear-Gaussian model states: its dimensions and the form of each of its ten parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np

from kalman_em.arrays import Array
from kalman_em.em.constraints import JointConstraint, LinearConstraint, join
from kalman_em.em.forms import (
    BlockDiagonal,
    CovarianceForm,
    Diffuse,
    Fixed,
    Full,
    coefficient_form,
    covariance_form,
)
from kalman_em.errors import InputError
from kalman_em.models.slots import Slot
from kalman_em.observations import Panel
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
    or "before" (one step earlier). `components` names the states of each part of a sum.
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

    def __post_init__(self) -> None:
        if self.initial_step not in ("first", "before"):
            raise InputError(f"initial_step: expected 'first' or 'before', got {self.initial_step!r}")
        for name in COVARIANCES:
            if name == "initial_cov" and isinstance(self.forms[name], Diffuse):
                continue
            covariance_form(self.forms[name], name, self.shape(name)[0])
        for name in COEFFICIENTS:
            if self.has(name):
                self.constraint(name)
        if self.is_diffuse and self.constraint("initial_mean").n_free:
            raise InputError("initial_mean: a Diffuse() initial_cov leaves nothing to learn; use Fixed(0)")
        if self.is_diffuse and self._scale_is_free:
            raise InputError(
                "initial_cov: Diffuse() needs states with a scale of their own, but observation_matrix and "
                "transition_cov are both free: the states could be rescaled at will, and a flat prior on them has no "
                "maximum; hold one of the two fixed, or leave initial_cov out"
            )
        self._check_noise_rows()

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
        }[name]

    def has(self, name: str) -> bool:
        """Whether the model has this parameter (input matrices may be absent)."""
        return self.forms.get(name) is not None

    @property
    def is_diffuse(self) -> bool:
        """Whether the initial state is diffuse."""
        return isinstance(self.forms["initial_cov"], Diffuse)

    def constraint(self, name: str) -> LinearConstraint:
        """Return the linear constraint on a coefficient."""
        return coefficient_form(self.forms[name], name).constraint(self.shape(name), name)

    def covariance(self, name: str) -> CovarianceForm:
        """Return the form of a covariance (not of a diffuse initial one)."""
        return covariance_form(self.forms[name], name, self.shape(name)[0])

    def joint(self, kind: str) -> JointConstraint:
        """Return the joint constraint on [F b B] (`kind` "transition") or [H d D] ("observation")."""
        q = self.shape(f"{kind}_offset")[0]
        absent = LinearConstraint(np.zeros((q, self.input_dim)), np.zeros((q * self.input_dim, 0)))
        parts = [self.constraint(f"{kind}_matrix"), self.constraint(f"{kind}_offset")]
        parts.append(self.constraint(f"{kind}_input") if self.has(f"{kind}_input") else absent)
        return join([self._static(part) for part in parts])

    @staticmethod
    def _static(constraint: LinearConstraint) -> LinearConstraint:
        """Drop a time axis of the fixed part: only the design matters for a change of the free numbers."""
        fixed = constraint.fixed
        if fixed.ndim > 1 and fixed.size > constraint.design.shape[0]:
            fixed = fixed[0]
        return LinearConstraint(fixed, constraint.design)

    @property
    def n_parameters(self) -> int:
        """Number of free numbers over all parameters."""
        coefficients = sum(self.constraint(name).n_free for name in COEFFICIENTS if self.has(name))
        covariances = sum(
            self.covariance(name).n_free_in_covariance(self.shape(name)[0])
            for name in COVARIANCES
            if not (name == "initial_cov" and self.is_diffuse)
        )
        return coefficients + covariances

    def is_free(self, name: str) -> bool:
        """Whether any number of a parameter is learnt."""
        return name in self._free

    def is_learnt(self, name: str) -> bool:
        """Whether any number of the parameter that users know as `name` is learnt."""
        slot = self.slots[name]
        if not self.is_free(slot.parameter):
            return False
        if slot.parameter in COEFFICIENTS:
            free = np.any(self.constraint(slot.parameter).design != 0.0, axis=1).reshape(self.shape(slot.parameter))
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
        coefficients = {name for name in COEFFICIENTS if self.has(name) and self.constraint(name).n_free > 0}
        covariances = {
            name
            for name in COVARIANCES
            if not (name == "initial_cov" and self.is_diffuse)
            and self.covariance(name).n_free_in_covariance(self.shape(name)[0]) > 0
        }
        return frozenset(coefficients | covariances)

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
        """Return the system nearest to `values` that obeys every form."""
        chosen: dict[str, Any] = {}
        for name in COEFFICIENTS:
            if self.has(name):
                constraint = self.constraint(name)
                chosen[name] = constraint.fixed if constraint.n_free == 0 else constraint.project(values[name])
        for name in COVARIANCES:
            if name == "initial_cov" and self.is_diffuse:
                chosen[name] = np.zeros(self.shape(name))
            elif isinstance(self.forms[name], Fixed):
                chosen[name] = self.forms[name].fitted_to(self.shape(name), name)
            else:
                chosen[name] = self.covariance(name).most_likely(values[name])
        if self.initial_step == "before":
            chosen |= {name: _led(value, self.shape(name)) for name, value in chosen.items()}
        return LinearGaussianSystem(
            **chosen,
            noise_selection=self.noise_selection,
            initial_diffuse=np.full(self.state_dim, self.is_diffuse),
        )

    def check_known_elsewhere(self, what: str) -> None:
        """Raise `InputError` if a parameter varies in time: it is known for the rows of the fit, not for `what`."""
        for name in self._varying():
            raise InputError(
                f"{name}: varies in time, and is known for the rows of the fit only, not for {what}; fit a series that "
                "includes those rows, NaN where nothing was observed"
            )

    def check_n_steps(self, panel: Panel) -> None:
        """Raise `InputError` unless the parameters that vary in time serve every series of `panel`."""
        for name, n in self._varying().items():
            for key, one in zip(panel.keys or (), panel, strict=True):
                T = one.n_steps
                allowed = (T - 1, T) if name.startswith("transition") else (T,)
                if n not in allowed:
                    where = "" if panel.n_series == 1 else f" of series {key!r}"
                    raise InputError(
                        f"{name}: expected {' or '.join(map(str, allowed))} entries over time for the {T} rows{where}, "
                        f"got {n}"
                    )

    def _varying(self) -> dict[str, int]:
        """Return the number of entries of each parameter that varies in time (all of them are fixed)."""
        forms = {name: form for name, form in self.forms.items() if isinstance(form, Fixed)}
        values = {name: form.fitted_to(self.shape(name), name) for name, form in forms.items()}
        return {name: len(value) for name, value in values.items() if value.ndim > len(self.shape(name))}

    def _check_noise_rows(self) -> None:
        """Refuse free coefficients in rows that no noise enters: EM can never move them."""
        if self.noise_selection is None:
            return
        if self.noise_selection.ndim != 2 or self.noise_selection.shape[0] != self.state_dim:
            raise InputError(
                f"noise_selection: expected shape ({self.state_dim}, r), got {np.shape(self.noise_selection)}"
            )
        G = self.noise_selection
        silent = np.eye(self.state_dim) - G @ np.linalg.pinv(G)
        joint = self.joint("transition")
        design = joint.design.reshape(joint.n_rows, -1)
        if np.abs(silent @ design).max(initial=0.0) > 1e-9:
            rows = np.flatnonzero(np.abs(silent @ design).max(axis=1) > 1e-9)
            raise InputError(
                f"transition_matrix: rows {rows.tolist()} have free coefficients but no noise enters them "
                "(noise_selection); fix those rows"
            )


def _led(value: Any, shape: tuple[int, ...]) -> Any:
    """Put an entry for the leading missing row in front of a time-varying parameter: that of the first row."""
    return np.concatenate([value[:1], value]) if value.ndim > len(shape) else value
