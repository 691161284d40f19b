"""Bayesian linear-Gaussian state-space model by variational EM: states that the data do not need are switched off."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from kalman_em.arrays import as_count, as_floats, check_shape
from kalman_em.errors import InputError
from kalman_em.latent.checks import check_varying
from kalman_em.latent.rows import patterned
from kalman_em.latent.variational_system_params import SystemPrior
from kalman_em.latent.variational_system_problem import VariationalSystemProblem
from kalman_em.latent.variational_system_rows import ended
from kalman_em.observations import Panel


@dataclass(frozen=True, kw_only=True)
class VariationalLinearGaussian:
    """A linear-Gaussian state-space model with priors on all of its parameters, learnt by variational EM.

    .. math::

        x_{t+1} = F x_t + w_t, \\; w_t \\sim N(0, I), \\qquad
        y_t = H x_t + d + v_t, \\; v_t \\sim N(0, \\mathrm{diag}(\\rho)^{-1})

    with :math:`x_0 \\sim N(0, I / \\lambda)`, and

    .. math::

        F_{ij} \\sim N(0, 1 / \\alpha_j), \\quad H_{ij} \\sim N(0, 1 / (\\rho_i \\gamma_j)), \\quad
        d_i \\sim N(\\mu_i, 1 / (\\rho_i \\gamma_0)),

    all of α, γ, ρ and λ gamma. Where the data do not need state j, α_j and γ_j grow and hold its columns at 0
    (automatic relevance determination): the number of states is learnt, `state_dim` is the most there may be.

    Parameters
    ----------
    state_dim : int
        The most states, d.
    relevance : (float, float)
        Shape and rate of α and γ, which have no unit, as the noise of the states is the unit of the states.
    noise : (float, float)
        Shape and rate of ρ_i, in units of 1 over the variance of column i.
    initial : (float, float)
        Shape and rate of λ. At 1/2 and 1/2 the first state has a Cauchy distribution, which lets it be far from 0.
    offset : array_like, shape (p,), optional
        μ, where offsets are measured from; the means of the columns when left out.

    Raises
    ------
    InputError
        If an argument is of the wrong kind or shape; in a fit, if no series has two rows, or a column does not vary.

    Notes
    -----
    q(x) q(F) q(H, d, ρ) q(α) q(γ) q(λ) stands for the posterior. The objective is the evidence lower bound, exact with
    every constant, and never falls; it is below the log evidence by the divergence of q from the posterior, so that it
    compares models. It is too sure of itself: q leaves out how states and parameters depend on one another.

    q(x) is the posterior of the states in a system with more observations: E[F'F] = E[F]'E[F] + d Cov[f] and
    E[ρ h h'] = E[ρ] E[h] E[h]' + V say what F and H being uncertain adds to the precision of every state. Missing
    entries add nothing. Rows after the last observed one of a series are left out; the states of a gap inside a series
    are part of q, whose divergence grows with its length.

    Each M-step sets every factor to its best given the others, and moves all of them with the basis of the states
    (Luttinen and Ilin 2010), without which irrelevant states linger for thousands of iterations. What creeps after 30
    iterations is left to quasi-Newton steps along the slope of the bound. There are poor optima: compare the bounds
    of several `n_starts`. Idle states still shrink F a little, through their rows of it, and lower the bound by what
    their precisions cost: fit again with as many states as are relevant. Fits are the same in all units of the columns,
    and wherever these are measured from.

    References
    ----------
    Ghahramani and Beal, Propagation algorithms for variational Bayesian learning, NIPS 13 (2001). Beal, Variational
    algorithms for approximate Bayesian inference, thesis, 2003, chapter 5. Barber and Chiappa, Unified inference for
    variational Bayesian linear Gaussian state-space models, NIPS 19 (2006). Luttinen and Ilin, Transformations in
    variational Bayesian factor analysis to speed up learning, Neurocomputing 73 (2010). Luttinen, Fast variational
    Bayesian linear state-space model, ECML PKDD 2013.

    Examples
    --------
    Five columns that one state moves, and room for three:

    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> state = np.zeros(120)
    >>> for t in range(1, 120):
    ...     state[t] = 0.9 * state[t - 1] + rng.normal()
    >>> rows = 10.0 + np.outer(state, [1.0, -0.5, 0.8, 0.3, 1.2]) + 0.5 * rng.normal(size=(120, 5))
    >>> fitted = kem.fit(kem.VariationalLinearGaussian(3), rows)
    >>> fitted.n_relevant, fitted.relevance.round(1).tolist()
    (1, [1.0, 0.0, 0.0])
    """

    state_dim: int = field(kw_only=False)
    relevance: Any = (1e-5, 1e-5)
    noise: Any = (1e-3, 1e-3)
    initial: Any = (0.5, 0.5)
    offset: Any = None

    is_ordered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "state_dim", as_count(self.state_dim, "state_dim"))
        for name in ("relevance", "noise", "initial"):
            value = as_floats(getattr(self, name), name)
            if value.shape != (2,) or value.min() <= 0.0:
                raise InputError(f"{name}: expected two numbers above 0, shape and rate, got {getattr(self, name)!r}")
            object.__setattr__(self, name, tuple(value.tolist()))
        if self.offset is not None:
            object.__setattr__(self, "offset", as_floats(self.offset, "offset"))

    def problem(self, panel: Panel) -> VariationalSystemProblem:
        """Return the EM problem for the series of `panel`."""
        if panel.input_dim:
            raise InputError("inputs: expected none, as VariationalLinearGaussian has no inputs")
        panel = ended(panel)
        if max(one.n_steps for one in panel) < 2:
            raise InputError("data: expected at least two rows in a series, got one: no step in time is observed")
        rows = patterned(panel)
        check_varying(panel, rows)
        offset = rows.centre if self.offset is None else self.offset
        check_shape(offset, (panel.obs_dim,), "offset")
        prior = SystemPrior(
            relevance=self.relevance,
            noise_shape=self.noise[0],
            noise_rates=self.noise[1] * rows.scale**2,
            initial=self.initial,
            offset=offset,
        )
        return VariationalSystemProblem(panel, prior, self.state_dim, rows.scale)
