"""Motion over short times: little noise in positions, and that tied to the noise of the rates. The digits stay."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from kalman_em import LinearGaussianSystem, Observations, kalman_filter, rts_smoother
from kalman_em.dynamics import Dynamics, Noise


def chain(n_states, gaps):
    """A position with its rates, the last of them a random walk, and the position seen."""
    dynamics = Dynamics(np.diag(np.ones(n_states - 1), 1), [Noise(np.eye(n_states)[:, -1:])])
    return LinearGaussianSystem(
        transition_matrix=dynamics.transition_matrices(gaps),
        noise_selection=dynamics.noise_selections(gaps),
        transition_cov=np.eye(n_states),
        transition_gaps=gaps,
        dynamics=dynamics,
        observation_matrix=np.eye(n_states)[:1],
        observation_cov=np.eye(1),
        initial_mean=np.zeros(n_states),
        initial_cov=np.eye(n_states),
    )


def exact(observations, d):
    """Smoothed means and covariances in 100 digits, by the textbook recursions."""
    with mp.workdps(100):
        x, P = mp.matrix(d, 1), mp.eye(d)
        kept, F = [], None
        for t, (time, value) in enumerate(zip(observations.times, observations.values[:, 0], strict=True)):
            if t:
                gap = mp.mpf(float(time)) - mp.mpf(float(observations.times[t - 1]))
                F, Q = mp.matrix(d, d), mp.matrix(d, d)
                for i in range(d):
                    for j in range(d):
                        F[i, j] = gap ** (j - i) / mp.factorial(j - i) if j >= i else 0
                        a, b = d - 1 - i, d - 1 - j
                        Q[i, j] = gap ** (a + b + 1) / ((a + b + 1) * mp.factorial(a) * mp.factorial(b))
                x, P = F * x, F * P * F.T + Q
            before = x.copy(), P.copy()
            if not np.isnan(value):
                gain = P[:, 0] / (P[0, 0] + 1)
                x, P = x + gain * (mp.mpf(float(value)) - x[0]), P - gain * gain.T * (P[0, 0] + 1)
            kept.append((F, *before, x.copy(), P.copy()))
        means, covs = [x], [P]
        for (_, _, _, x, P), (F, moved, spread, _, _) in zip(kept[-2::-1], kept[:0:-1], strict=True):
            J = P * F.T * spread**-1
            means.append(x + J * (means[-1] - moved))
            covs.append(P + J * (covs[-1] - spread) * J.T)
        numbers = [np.array([[float(v) for v in row] for row in matrix.tolist()]) for matrix in means + covs]
    n = len(means)
    return np.array(numbers[:n])[::-1, :, 0], np.array(numbers[n:])[::-1]


@pytest.mark.parametrize("n_states", [2, 3])
@pytest.mark.parametrize("kind", ["milliseconds", "seconds and microseconds", "now and then none at all"])
def test_the_smoother_keeps_its_digits(n_states, kind):
    rng = np.random.default_rng(1)
    n = 15
    gaps = {
        "milliseconds": np.full(n, 2.0**-10),
        "seconds and microseconds": 10.0 ** rng.uniform(-6.0, 1.0, size=n),
        "now and then none at all": np.where(rng.random(n) < 0.3, 1e-12, 0.05),
    }[kind]
    values = np.cumsum(rng.normal(size=n + 1))
    values[rng.random(n + 1) < 0.2] = np.nan
    observations = Observations(values[:, None], times=np.concatenate([[0.0], np.cumsum(gaps)]))
    system = chain(n_states, np.unique(np.diff(observations.times)))
    smoothed = rts_smoother(system, kalman_filter(system, observations))
    means, covs = exact(observations, n_states)
    sd = np.sqrt(np.einsum("tii->ti", covs))
    assert np.abs((smoothed.smoothed_means - means) / sd).max() < 1e-11
    assert np.abs((smoothed.smoothed_covs - covs) / (sd[:, :, None] * sd[:, None, :])).max() < 1e-11
