"""Switching linear-Gaussian system: a state-space model some of whose matrices follow a regime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np

from kalman_em.arrays import Array, as_count
from kalman_em.em.forms import Fixed, Full, Stationary, coefficient_form, covariance_form
from kalman_em.em.noise import NoiseStep
from kalman_em.errors import InputError, unknown_name
from kalman_em.latent.chain import Chain, check_chain_forms
from kalman_em.latent.covariances import SINGULAR
from kalman_em.latent.rows import patterned_values
from kalman_em.latent.switching_m_step import RegressionStep, stacked
from kalman_em.latent.switching_params import COEFFICIENTS, COVARIANCES, OFFSETS, SwitchingParams, check_switching
from kalman_em.latent.switching_problem import KimProblem
from kalman_em.latent.variational_switching import VariationalProblem
from kalman_em.linalg import smallest_scaled_eigenvalue
from kalman_em.models.keywords import checks_keywords
from kalman_em.models.linear_gaussian import LinearGaussian
from kalman_em.observations import Panel

APPROXIMATIONS = {"kim": KimProblem, "variational": VariationalProblem}
# What switches starts spread over this factor about the value for one regime, the last regime at the largest.
SPREAD = {"covariance": 10.0, "coefficient": 1.2}


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class SwitchingLinearGaussian:
    """A linear-Gaussian state-space model some of whose matrices are those of a regime, which follows a Markov chain.

    .. math::
        x_t = F(z_t) x_{t-1} + b(z_t) + w_t, \\; w_t \\sim N(0, Q(z_t)), \\qquad
        y_t = H(z_t) x_t + d(z_t) + v_t, \\; v_t \\sim N(0, R(z_t))

    with :math:`x_0 \\sim N(m, P)`. The regime of row t moves the state to row t.

    Parameters
    ----------
    n_regimes, state_dim, obs_dim : int
        Numbers of regimes K, states d and columns p.
    switching : sequence of names, default ("transition_cov",)
        Which of the four matrices and two offsets switch; a `Fixed` one then has a leading axis of regimes, or is the
        same in all.
    transition_matrix, transition_cov, observation_matrix, observation_cov : form, default Full()
        Of F, Q, H and R; of one that switches the form holds in every regime.
    transition_offset, observation_offset : form, default Fixed(0)
        Of b and d.
    initial_mean, initial_cov : Full() or Fixed, optional
        Of the state at the first row; when left out a wide distribution taken from the data, and held.
    regime_transition_matrix : form, default Full()
        Of the moves between regimes, as for `GaussianHMM`.
    regime_initial_probabilities : Stationary() or form, default Stationary()
        Of the regime at the first row of a series.
    approximation : {"kim", "variational"}
        How to do without the sum over all paths of regimes, whose number grows as K^T; see the notes.

    Raises
    ------
    InputError
        If an argument is of another kind; at the fit, if a form does not fit, or the data have other columns, or one
        that never varies.

    Notes
    -----
    No E-step is exact here. ``"kim"`` replaces the mixture of Gaussians that a state is, given its regime, by one at
    every row, and going back tells regimes apart at the mean of the state that follows (Barber's expectation
    correction): mostly the more accurate, but its likelihood is no bound, and steps of EM need not raise it. Where one
    gains less than 0.01, quasi-Newton steps climb it from there, along its exact gradient: it never falls, and ends
    where that vanishes, a maximum of the approximate likelihood as Kim maximised it.
    Where F, H and Q are all learnt the states may be rescaled at will, beside a first state that is held: the
    likelihood then has no maximum, and creeps up while their scale grows. Hold one of them (`observation_matrix`, say).
    ``"variational"`` takes states and regimes as independent given the data: it is too sure of regimes, and more often
    ends in a poor optimum, but its objective is a lower bound of the log-likelihood and never falls.

    References
    ----------
    Kim, Dynamic linear models with Markov-switching, Journal of Econometrics 60 (1994). Barber, Expectation correction
    for smoothed inference in switching linear dynamical systems, JMLR 7 (2006). Ghahramani and Hinton, Variational
    learning for switching state-space models, Neural Computation 12 (2000).

    Examples
    --------
    A level that is quiet for most of the time, and then wanders:

    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> wanders = np.repeat([0, 1, 0], [60, 30, 60])
    >>> level = np.cumsum(rng.normal(size=150) * np.where(wanders, 2.0, 0.05))
    >>> model = kem.SwitchingLinearGaussian(
    ...     2, 1, 1, transition_matrix=kem.Fixed([[1.0]]), observation_matrix=kem.Fixed([[1.0]]))
    >>> fitted = kem.fit(model, level + 0.5 * rng.normal(size=150))
    >>> shares = fitted.probabilities()[1]
    >>> bool(shares[65:85].mean() > 0.9), bool(shares[:50].mean() < 0.1)
    (True, True)
    """

    n_regimes: int = field(kw_only=False)
    state_dim: int = field(kw_only=False)
    obs_dim: int = field(kw_only=False)
    switching: Any = ("transition_cov",)
    transition_matrix: Any = field(default_factory=Full)
    transition_cov: Any = field(default_factory=Full)
    observation_matrix: Any = field(default_factory=Full)
    observation_cov: Any = field(default_factory=Full)
    transition_offset: Any = field(default_factory=partial(Fixed, 0))
    observation_offset: Any = field(default_factory=partial(Fixed, 0))
    initial_mean: Any = None
    initial_cov: Any = None
    regime_transition_matrix: Any = field(default_factory=Full)
    regime_initial_probabilities: Any = field(default_factory=Stationary)
    approximation: str = "kim"

    is_ordered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("n_regimes", "state_dim", "obs_dim"):
            object.__setattr__(self, name, as_count(getattr(self, name), name))
        object.__setattr__(self, "switching", check_switching(self.switching))
        check_chain_forms(self.regime_initial_probabilities, self.regime_transition_matrix)
        Chain(self.n_regimes, self.regime_initial_probabilities, self.regime_transition_matrix)
        if self.approximation not in APPROXIMATIONS:
            raise InputError(unknown_name("approximation", self.approximation, list(APPROXIMATIONS)))
        for name in ("initial_mean", "initial_cov"):
            if not isinstance(getattr(self, name), Full | Fixed | None):
                raise InputError(f"{name}: expected Full() or Fixed(value), got {getattr(self, name)!r}")
        for step in ("transition", "observation"):
            self._step(step)

    def problem(self, panel: Panel) -> KimProblem:
        """Return the EM problem for the series of `panel`."""
        if panel.input_dim:
            raise InputError("inputs: expected none, as SwitchingLinearGaussian has no inputs")
        if panel.obs_dim != self.obs_dim:
            raise InputError(f"data: expected {self.obs_dim} columns, as obs_dim says, got {panel.obs_dim}")
        if max(one.n_steps for one in panel) < 2:
            raise InputError("data: expected at least two rows in a series, got one: no step in time is observed")
        values = np.concatenate([one.values for one in panel])
        _check_moves(values, panel.names)
        chain = Chain(self.n_regimes, self.regime_initial_probabilities, self.regime_transition_matrix)
        return APPROXIMATIONS[self.approximation](
            rows=patterned_values(values, np.zeros(self.obs_dim)),
            starts=np.concatenate([[0], np.cumsum([one.n_steps for one in panel])]),
            chain=chain,
            transition=self._step("transition"),
            observation=self._step("observation"),
            learns_mean=isinstance(self.initial_mean, Full),
            learns_cov=isinstance(self.initial_cov, Full),
            state_dim=self.state_dim,
            first_guess=partial(self._base, panel, chain),
        )

    def _step(self, block: str) -> RegressionStep:
        """Return the M-step of F and Q ("transition"), or of H and R ("observation")."""
        matrix, offset, cov = (f"{block}_{part}" for part in ("matrix", "offset", "cov"))
        K, dim = self.n_regimes, self.state_dim if block == "transition" else self.obs_dim
        found = []
        for name, shape in ((matrix, (dim, self.state_dim)), (offset, (dim,))):
            forms = self._by_regime(name, shape)
            found.append([coefficient_form(form, name).constraint(shape, name) for form in forms])
            if any(one.fixed.shape != shape for one in found[-1]):
                raise InputError(f"{name}: expected a form that is constant, got one that varies in time")
        noises = self._by_regime(cov, (dim, dim))
        for noise in noises:
            covariance_form(noise, cov, dim)
        fixed = None
        if isinstance(noises[0], Fixed):
            values = [noise.fitted_to((dim, dim), cov) for noise in noises]
            fixed = np.array(values) if cov in self.switching else values[0]
        step = NoiseStep(noises[0], dim, cov)
        if step.varies:
            raise InputError(f"{cov}: expected a form that is constant, got one that varies in time")
        switches = (matrix in self.switching, offset in self.switching, cov in self.switching)
        result = RegressionStep(stacked(found[0], found[1], K), step, fixed, switches, K)
        is_singular = fixed is not None and np.min(smallest_scaled_eigenvalue(fixed)) < SINGULAR * dim
        if is_singular and result.coefficients.n_free > 0:
            raise InputError(f"{cov}: expected a regular known covariance where {matrix} or {offset} is learnt")
        return result

    def _by_regime(self, name: str, shape: tuple[int, ...]) -> list[Any]:
        """Return the form of each regime if the parameter switches, else the one form."""
        form = getattr(self, name)
        if name not in self.switching:
            return [form]
        if isinstance(form, Fixed) and form.value.shape == (self.n_regimes, *shape):
            return [Fixed(value) for value in form.value]
        return [form] * self.n_regimes

    def _base(self, panel: Panel, chain: Chain) -> SwitchingParams:
        """Return the start of a model of one regime, with what switches spread out, and a chain that likes to stay."""
        names = (*COEFFICIENTS, *OFFSETS, *COVARIANCES)
        forms: dict[str, Any] = {name: self._by_regime(name, ())[0] for name in names}
        for name in names:
            form, n_axes = getattr(self, name), 2 if name in OFFSETS else 3
            if name in self.switching and isinstance(form, Fixed) and form.value.ndim == n_axes:
                forms[name] = Fixed(form.value.mean(axis=0))
        forms |= {name: getattr(self, name) or Full() for name in ("initial_mean", "initial_cov")}
        one = LinearGaussian(self.state_dim, self.obs_dim, **forms)
        system = one.start(one.specify(panel), panel)
        values: dict[str, Array] = {}
        for name in names:
            value = np.array(getattr(system, name))
            if name in self.switching and name in OFFSETS:
                spread = np.sqrt(np.diagonal(getattr(system, name.replace("offset", "cov"))))
                value = value + spread * np.linspace(-1.0, 1.0, self.n_regimes)[:, None]
            elif name in self.switching:
                widest = SPREAD["covariance" if name in COVARIANCES else "coefficient"]
                powers = np.linspace(-0.5, 0.5, self.n_regimes) if self.n_regimes > 1 else np.zeros(1)
                value = value * (widest**powers)[:, None, None]
            values[name] = value
        initial, moves = chain.start()
        return SwitchingParams(
            **values,
            initial_mean=system.initial_mean,
            initial_cov=system.initial_cov,
            regime_initial_probabilities=initial,
            regime_transition_matrix=moves,
        )


def _check_moves(values: Array, names: Sequence[str]) -> None:
    """Refuse a column that never varies: noise of its own would go to 0, and the likelihood grow without end."""
    seen_often = np.count_nonzero(~np.isnan(values), axis=0) > 1
    still = seen_often & (np.fmax.reduce(values) == np.fmin.reduce(values))
    if np.any(still):
        column = names[int(np.argmax(still))]
        raise InputError(f"data: expected columns whose values vary, got one value throughout in column {column!r}")
