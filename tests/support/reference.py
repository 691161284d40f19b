"""The outside oracle: the same system and series as a statsmodels Kalman smoother (checked with 0.15.0).

What statsmodels means, where it matters here:

- `llf` with an exact diffuse start has every 2π: it is the limit of log L + (rank/2) log κ.
- `smoothed_state_autocov[..., t]` is Cov[x(t+1), x(t) | all y]. For a diffuse start its leading
  `nobs_diffuse` entries are wrong (they use the finite part of the covariances alone).
- With a transition matrix that varies in time, its smoothed moments in a diffuse phase of several steps are
  wrong (`tests/test_oracles.py` shows them off the limit κ to infinity, where the dense oracle is on it).
- A diffuse element starts at mean 0: another constant is ignored, with a warning.
- In the diffuse phase a squared loading below `tolerance_diffuse` (1e-10) counts as zero.
"""

from __future__ import annotations

import warnings

import numpy as np
from statsmodels.tools.sm_exceptions import OutputWarning
from statsmodels.tsa.statespace.initialization import Initialization
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

from support.systems import at


def statsmodels_smoother(system, observations):
    """Return the statsmodels results (`llf`, `smoothed_state` (d, T), ...) of a system and a series.

    Inputs and offsets go into time-varying intercepts; every matrix gets T entries. The initial state is
    known, exactly diffuse, or a mixture of the two if the two are uncorrelated (as they must be).
    """
    values, inputs = np.array(observations.values), observations.inputs
    T, d = len(values), system.state_dim
    r = system.transition_cov.shape[-1]
    model = KalmanSmoother(k_endog=system.obs_dim, k_states=d, k_posdef=r)
    model.bind(values)

    def stacked(array, ndim, count):
        entries = [at(array, min(t, len(array) - 1) if array.ndim > ndim else t, ndim) for t in range(count)]
        return np.stack(entries, axis=-1)

    def intercept(offset, matrix):
        whole = stacked(offset, 1, T)
        if inputs is not None and matrix is not None:
            whole = whole + np.einsum("ijt,tj->it", stacked(matrix, 2, T), inputs)
        return whole

    selection = np.eye(d) if system.noise_selection is None else system.noise_selection
    model["design"] = stacked(system.observation_matrix, 2, T)
    model["obs_cov"] = stacked(system.observation_cov, 2, T)
    model["obs_intercept"] = intercept(system.observation_offset, system.observation_input)
    model["transition"] = stacked(system.transition_matrix, 2, T)
    model["state_cov"] = stacked(system.transition_cov, 2, T)
    model["selection"] = stacked(selection, 2, T)
    model["state_intercept"] = intercept(system.transition_offset, system.transition_input)
    model.initialization = _initialization(system)
    # Univariate filtering copes with singular R and Q and with every diffuse phase; no steady-state shortcut.
    model.filter_univariate = bool(system.has_diffuse)
    model.tolerance = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutputWarning)  # about disturbances, which are not read
        return model.smooth()


def _initialization(system):
    d = system.state_dim
    if not system.has_diffuse:
        return Initialization(d, "known", constant=system.initial_mean, stationary_cov=system.initial_cov)
    init = Initialization(d)
    known = np.flatnonzero(~system.initial_diffuse)
    for i in np.flatnonzero(system.initial_diffuse):
        init.set((i, i + 1), "diffuse")
    if len(known):
        first, last = known[0], known[-1] + 1
        if last - first != len(known):
            raise ValueError("initial_diffuse: statsmodels needs the proper elements side by side")
        mean, cov = system.initial_mean[first:last], system.initial_cov[first:last, first:last]
        init.set((first, last), "known", constant=mean, stationary_cov=cov)
    return init
