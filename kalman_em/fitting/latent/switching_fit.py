"""A fitted switching linear-Gaussian system."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from kalman_em.arrays import Array, as_count
from kalman_em.fitting.latent.latent_fit import labels_of
from kalman_em.fitting.latent.regime_fit import RegimeFit
from kalman_em.fitting.latent.regime_forecast import RegimeForecast
from kalman_em.fitting.latent.tables import named_lines
from kalman_em.fitting.summary import wrapped
from kalman_em.frames import continued_index
from kalman_em.inference.arguments import as_generator
from kalman_em.inference.regimes import draw_path
from kalman_em.inference.switching_loops import SwitchingMoments
from kalman_em.latent.switching_params import OFFSETS
from kalman_em.latent.switching_problem import KimProblem
from kalman_em.linalg import square_roots

SAID = {
    "kim": "Approximate: at every row the state of each regime is collapsed to one Gaussian (Kim; Barber going back); "
    "the log-likelihood is that of the filter, no bound; where steps of EM gain little, quasi-Newton steps climb it.",
    "variational": "Approximate: states and regimes are independent given the data (variational); the lower bound "
    "is one of the true log-likelihood.",
}


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class SwitchingFit(RegimeFit):
    """A fitted `SwitchingLinearGaussian`; all that it tells is approximate, as the model's notes and `summary` say.

    Raises
    ------
    InputError
        If a field is of another type; `kalman_em.fit` makes them.

    Examples
    --------
    >>> import numpy as np
    >>> import kalman_em as kem
    >>> rng = np.random.default_rng(0)
    >>> level = np.cumsum(rng.normal(size=90) * np.repeat([0.05, 2.0, 0.05], 30))
    >>> model = kem.SwitchingLinearGaussian(
    ...     2, 1, 1, transition_matrix=kem.Fixed([[1.0]]), observation_matrix=kem.Fixed([[1.0]]))
    >>> fitted = kem.fit(model, level + 0.5 * rng.normal(size=90), stopping=kem.Stopping(parameter_tolerance=1e-2))
    >>> fitted.states().columns.tolist()
    ['x1', 'x1_sd']
    >>> int(fitted.path().iloc[45])
    1
    """

    def path(self, data: Any = None) -> pd.Series[int]:
        """Return the regime that is most probable at each row by itself, given all data.

        The likeliest path as a whole would need the sum over all paths of states. The argument, and what is raised,
        are those of `probabilities`.
        """
        panel, posterior = self._posterior_of(data)
        path = np.asarray(posterior.smoothed.argmax(axis=1), dtype=np.int64)
        return pd.Series(path, index=labels_of(panel), name="regime")

    def impute(self, data: Any = None) -> pd.DataFrame:
        """Return rows with each missing entry as expected given all that was observed; the rest stays as it is.

        The argument, and what is raised, are those of `probabilities`.
        """
        panel, problem = self._seen(data)
        return self._filled(problem.expected_rows(self.em.params), panel)

    def forecast(self, steps: int, *, series: Hashable | None = None) -> RegimeForecast:
        """Return the probabilities of the regimes, and the distribution of the observations, `steps` rows ahead.

        A row ahead is a mixture over its regime; in each the state is the Gaussian with the mean and covariance of the
        mixture over the regimes before it, from those that Kim's filter ends with. Mean and covariance of a row are
        so those of all paths from there; its quantiles are approximate.

        Parameters
        ----------
        steps : int
            How far, at least 1.
        series : hashable, optional
            The series of a panel.

        Raises
        ------
        InputError
            If `steps` is no whole number of at least 1, there is no such series, or its index cannot be continued.

        References
        ----------
        Kim, Dynamic linear models with Markov-switching, Journal of Econometrics 60 (1994), section 2.
        """
        steps = as_count(steps, "steps")
        position = self.position(series)
        one, problem, params = self.panel.series[position], self._kim, self.em.params
        ahead = problem.ahead(params, position, steps)
        matrices = params.of_regimes("observation_matrix")
        covs = matrices @ ahead.covs @ np.swapaxes(matrices, 1, 2) + params.of_regimes("observation_cov")
        return RegimeForecast(
            probabilities=ahead.probabilities,
            weights=ahead.probabilities,
            component_means=np.einsum("kpd,hkd->hkp", matrices, ahead.means) + params.of_regimes("observation_offset"),
            component_covs=covs,
            names=one.names or (),
            index=continued_index(one.index, steps),
        )

    def states(self) -> pd.DataFrame:
        """Return means and standard deviations of the states given all data, over the regimes together."""
        found = self._moments
        weights, means = found.probabilities, found.means
        mean = np.einsum("tk,tkd->td", weights, means)
        variances = np.diagonal(found.covs, axis1=2, axis2=3) + (means - mean[:, None]) ** 2
        sds = np.sqrt(np.einsum("tk,tkd->td", weights, variances))
        names = [f"x{i + 1}" for i in range(mean.shape[1])]
        columns = {
            f"{name}{end}": part[:, i] for i, name in enumerate(names) for end, part in (("", mean), ("_sd", sds))
        }
        return pd.DataFrame(columns, index=labels_of(self.panel))

    def sample(self, n_steps: int, *, rng: np.random.Generator | None = None) -> pd.DataFrame:
        """Return a series drawn from the fitted model: its columns, and the ``regime`` of each row.

        Raises
        ------
        InputError
            If `n_steps` is no whole number of at least 1, or `rng` is no generator.
        """
        n_steps = as_count(n_steps, "n_steps")
        rng = as_generator(rng)
        params, d = self.em.params, self.em.params.state_dim
        path = draw_path(n_steps, params.regime_initial_probabilities, params.regime_transition_matrix, rng)
        moves, matrices = params.of_regimes("transition_matrix"), params.of_regimes("observation_matrix")
        drifts, offsets = params.of_regimes("transition_offset"), params.of_regimes("observation_offset")
        drives = square_roots(params.of_regimes("transition_cov"))
        noises = square_roots(params.of_regimes("observation_cov"))
        x = params.initial_mean + square_roots(params.initial_cov[None])[0] @ rng.standard_normal(d)
        rows = np.empty((n_steps, params.obs_dim))
        for t, k in enumerate(path):
            if t > 0:
                x = moves[k] @ x + drifts[k] + drives[k] @ rng.standard_normal(d)
            rows[t] = matrices[k] @ x + offsets[k] + noises[k] @ rng.standard_normal(params.obs_dim)
        return pd.DataFrame(rows, columns=pd.Index(self.panel.names)).assign(regime=path)

    @property
    def _kim(self) -> KimProblem:
        problem: Any = self.problem
        kim: KimProblem = problem
        return kim

    @property
    def _moves(self) -> Array:
        return np.asarray(self.params.regime_transition_matrix)

    @cached_property
    def _moments(self) -> SwitchingMoments:
        problem: Any = self.problem
        found: SwitchingMoments = problem.states(self.em.params)
        return found

    @property
    def _objective(self) -> str:
        model: Any = self.model
        return "lower bound" if model.approximation == "variational" else super()._objective

    def _own_facts(self) -> list[tuple[str, str]]:
        model: Any = self.model
        return [*super()._own_facts(), ("states", str(model.state_dim)), ("approximation", model.approximation)]

    def _parameter_lines(self) -> list[str]:
        model: Any = self.model
        lines: list[str] = []
        for name, value in self.params.items():
            if name.startswith("regime_") or (name in OFFSETS and not value.any()):
                continue
            switches = value.ndim == (2 if name in OFFSETS else 3)
            for k, part in enumerate(value if switches else [value]):
                lines += named_lines(f"{name}, regime {k}" if switches else name, part)
        return [*lines, *self._chain_lines(), *wrapped(SAID[model.approximation])]
