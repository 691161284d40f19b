"""Gaussian hidden Markov model: each row comes from the Gaussian of a regime, and the regimes follow a Markov chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kalman_em.arrays import as_count
from kalman_em.em.forms import Full
from kalman_em.latent.chain import Chain, check_chain_forms
from kalman_em.latent.checks import check_rows
from kalman_em.latent.covariances import ComponentStep, checked_component_form
from kalman_em.latent.hmm_problem import HMMProblem
from kalman_em.latent.rows import patterned
from kalman_em.models.keywords import checks_keywords
from kalman_em.observations import Panel


@checks_keywords
@dataclass(frozen=True, kw_only=True)
class GaussianHMM:
    """Regimes that follow a Markov chain, each with a Gaussian of its own for the rows.

    .. math::
        P(z_0 = k) = \\pi_k, \\qquad P(z_{t+1} = j \\mid z_t = i) = a_{ij}, \\qquad
        y_t \\mid z_t = k \\sim N(\\mu_k, \\Sigma_k)

    `kalman_em.fit` returns a `HMMFit`.

    Parameters
    ----------
    n_states : int
        Number of regimes, K.
    covariance : form, default Full()
        Of the covariance of each regime; ``Shared(form)`` is one for all, ``Shared(form, only=...)`` shares some of it.
    transition_matrix : form, default Full()
        Of the moves, shape (K, K): `LeftToRight()`, `Partly` or `Pattern` with zeros that stay zeros, `Fixed`.
    initial_probabilities : form or Stationary(), default Full()
        Of the regime at the first row of each series, shape (K,). With `Stationary()` it is drawn from the stationary
        distribution of the moves, and moves with them.

    Raises
    ------
    InputError
        If an argument is of another kind; at the fit, if a form does not fit, or the data cannot tell the regimes.

    Notes
    -----
    Missing entries, and rows, are integrated out exactly. The series of a panel are independent and share parameters.
    Every M-step is a closed form, but for a stationary start, where a climb follows the gradient of the expected
    log-likelihood to its maximum. Nothing holds variances up: a regime that shrinks to a point ends its start as
    ``degenerate_covariance``, and `fit` begins anew elsewhere.

    References
    ----------
    Baum, Petrie, Soules and Weiss, A maximization technique occurring in the statistical analysis of probabilistic
    functions of Markov chains, Ann. Math. Statist. 41 (1970). Rabiner, A tutorial on hidden Markov models and selected
    applications in speech recognition, Proc. IEEE 77 (1989).

    Examples
    --------
    >>> import kalman_em as kem
    >>> growth = kem.datasets.load("us_gnp_growth")["gnp_growth_pct"]
    >>> fitted = kem.fit(kem.GaussianHMM(2), growth)
    >>> fitted.params.means.round(2).ravel().tolist()
    [-0.17, 1.2]
    """

    n_states: int = field(kw_only=False)
    covariance: Any = field(default_factory=Full)
    transition_matrix: Any = field(default_factory=Full)
    initial_probabilities: Any = field(default_factory=Full)

    is_ordered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_states", as_count(self.n_states, "n_states"))
        checked_component_form(self.covariance, "covariance")
        check_chain_forms(self.initial_probabilities, self.transition_matrix)
        Chain(self.n_states, self.initial_probabilities, self.transition_matrix)

    def problem(self, panel: Panel) -> HMMProblem:
        """Return the EM problem for the series of `panel`."""
        rows = patterned(panel)
        step = ComponentStep(self.covariance, self.n_states, rows.dim, "covariance", noun="regime")
        check_rows(panel, rows, step)
        starts = np.concatenate([[0], np.cumsum([one.n_steps for one in panel])])
        chain = Chain(self.n_states, self.initial_probabilities, self.transition_matrix)
        return HMMProblem(rows, starts, panel.keys or (), step, chain)
