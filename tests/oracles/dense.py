"""The dense oracle: every state and observation as one Gaussian vector, conditioned by one solve.

All states and observations of a short series are linear in independent sources z (the initial deviation,
all transition noises, all observation noises) and in the diffuse elements β of the initial state:

    x = a + A z + Φ β,        y = c + C z + X β,        z ~ N(0, S),  β ~ N(0, κ I) with κ to infinity.

Nothing here is a filter. Observing the entries o of y splits them in two by the singular value
decomposition X_o = U s V': the directions orthogonal to U are free of β and are conditioned on in the
ordinary way; those along U say what V'β is for each z, and nothing more as κ grows (de Jong 1991, The
diffuse Kalman filter, Annals of Statistics 19). With a proper prior there is no β: plain conditioning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from support.systems import at

from kalman_em.observations import Observations

LOG_2PI = np.log(2.0 * np.pi)


@dataclass(frozen=True)
class Conditional:
    """Mean, finite covariance and diffuse factor of all states and observations, given some entries.

    Attributes
    ----------
    state_means, state_cov : shape (T, d) and (T, d, T, d)
    obs_means, obs_cov : shape (T, p) and (T, p, T, p)
        The same of y: an entry that is conditioned on has its value and no variance.
    obs_state_cov : shape (T, p, T, d)
    state_factor, obs_factor : shape (T, d, k) and (T, p, k)
        A in Cov = cov + κ A A' for the k directions of β that are still unknown.
    log_likelihood : float
        The limit of log L + (rank/2) log κ, every 2π included.
    """

    state_means: np.ndarray
    state_cov: np.ndarray
    obs_means: np.ndarray
    obs_cov: np.ndarray
    obs_state_cov: np.ndarray
    state_factor: np.ndarray
    obs_factor: np.ndarray
    log_likelihood: float

    @property
    def state_covs(self):
        """Covariances of each state, shape (T, d, d)."""
        return np.einsum("tatb->tab", self.state_cov)

    @property
    def obs_covs(self):
        """Covariances of each observation, shape (T, p, p)."""
        return np.einsum("tatb->tab", self.obs_cov)

    @property
    def lag_one_covs(self):
        """Cov[x(t+1), x(t)], shape (T-1, d, d)."""
        n_steps, d = self.state_means.shape
        return np.array([self.state_cov[t + 1, :, t, :] for t in range(n_steps - 1)]).reshape(-1, d, d)


@dataclass(frozen=True)
class Filtered:
    """What the oracle says of each step given the entries up to it; NaN where a variance is infinite."""

    predicted_means: np.ndarray
    predicted_covs: np.ndarray
    predicted_diffuse: np.ndarray
    filtered_means: np.ndarray
    filtered_covs: np.ndarray
    filtered_diffuse: np.ndarray
    log_likelihoods: np.ndarray
    innovations: np.ndarray
    innovation_covs: np.ndarray


class DenseGaussian:
    """The joint Gaussian of a system over the rows of `observations`.

    Rows of NaN at the end turn smoothing into forecasting. `state_dim * n_steps` should stay small.
    """

    def __init__(self, system, observations):
        self.values = np.array(observations.values)
        self.system = system
        self.n_steps, self.p = self.values.shape
        self.d = system.state_dim
        inputs = observations.inputs
        noise = np.shape(system.transition_cov)[-1]
        n_sources = self.d + (self.n_steps - 1) * noise + self.n_steps * self.p
        self.source_cov = np.zeros((n_sources, n_sources))
        diffuse = np.eye(self.d)[:, system.initial_diffuse]
        self.a, self.A, self.Phi = np.empty((self.n_steps, self.d)), [], []
        self.c, self.C, self.X = np.empty((self.n_steps, self.p)), [], []

        def sources(first, matrix, cov):
            block = np.zeros((matrix.shape[0], n_sources))
            block[:, first : first + len(cov)] = matrix
            self.source_cov[first : first + len(cov), first : first + len(cov)] = cov
            return block

        def known(matrix, t):
            return 0.0 if matrix is None or inputs is None else at(matrix, t, 2) @ inputs[t]

        mean, maps, factor = system.initial_mean, sources(0, np.eye(self.d), system.initial_cov), diffuse
        for t in range(self.n_steps):
            H = at(system.observation_matrix, t, 2)
            first = n_sources - (self.n_steps - t) * self.p
            self.a[t] = mean
            self.A.append(maps)
            self.Phi.append(factor)
            self.c[t] = H @ mean + at(system.observation_offset, t, 1) + known(system.observation_input, t)
            self.C.append(H @ maps + sources(first, np.eye(self.p), at(system.observation_cov, t, 2)))
            self.X.append(H @ factor)
            if t + 1 < self.n_steps:
                F = at(system.transition_matrix, t, 2)
                G = np.eye(self.d) if system.noise_selection is None else at(system.noise_selection, t, 2)
                step = sources(self.d + t * noise, G, at(system.transition_cov, t, 2))
                mean = F @ mean + at(system.transition_offset, t, 1) + known(system.transition_input, t)
                maps, factor = F @ maps + step, F @ factor
        self.A, self.Phi = np.vstack(self.A), np.vstack(self.Phi)
        self.C, self.X = np.vstack(self.C), np.vstack(self.X)

    def prior(self):
        """Return the moments before anything is observed."""
        return self.given(np.zeros(self.values.shape, dtype=bool))

    def smoothed(self):
        """Return the moments given every entry that was observed."""
        return self.given(~np.isnan(self.values))

    def given(self, observed):
        """Return the `Conditional` given the entries where `observed`, shape (T, p), is True."""
        o = np.flatnonzero(observed.ravel())
        deviation = self.values.ravel()[o] - self.c.ravel()[o]
        C, X = self.C[o], self.X[o]
        U, s, Vt = np.linalg.svd(X, full_matrices=True)
        rank = int(np.count_nonzero(s > 1e-10 * s.max(initial=0.0)))
        along, across = U[:, :rank], U[:, rank:]
        solve_beta = Vt[:rank].T / s[:rank] @ along.T
        # V'β is known for each z: put it into every state and observation.
        mean = np.concatenate([self.a.ravel(), self.c.ravel()])
        maps, factor = np.vstack([self.A, self.C]), np.vstack([self.Phi, self.X])
        mean = mean + factor @ (solve_beta @ deviation)
        maps = maps - factor @ (solve_beta @ C)
        # The rest of what was observed is free of β: ordinary conditioning of z.
        seen = across.T @ C
        joint = seen @ self.source_cov @ seen.T
        cross = maps @ self.source_cov @ seen.T
        solved, n_terms, log_det, square = _solve(joint, np.column_stack([cross.T, across.T @ deviation]))
        mean = mean + cross @ solved[:, -1]
        cov = maps @ self.source_cov @ maps.T - cross @ solved[:, :-1]
        cov = 0.5 * (cov + cov.T)
        unknown = factor @ Vt[rank:].T
        n_states = self.n_steps * self.d
        mean[n_states + o] = self.values.ravel()[o]
        cov[n_states + o] = 0.0
        cov[:, n_states + o] = 0.0
        unknown[n_states + o] = 0.0
        states, observations = (self.n_steps, self.d), (self.n_steps, self.p)
        return Conditional(
            state_means=mean[:n_states].reshape(states),
            state_cov=cov[:n_states, :n_states].reshape(states + states),
            obs_means=mean[n_states:].reshape(observations),
            obs_cov=cov[n_states:, n_states:].reshape(observations + observations),
            obs_state_cov=cov[n_states:, :n_states].reshape(observations + states),
            state_factor=unknown[:n_states].reshape(*states, -1),
            obs_factor=unknown[n_states:].reshape(*observations, -1),
            log_likelihood=float(-0.5 * ((n_terms + rank) * LOG_2PI + log_det + square) - np.log(s[:rank]).sum()),
        )

    def filtered(self):
        """Return `Filtered`: every step given the entries before it, and up to it, by one solve each."""
        observed = ~np.isnan(self.values)
        shown = np.zeros_like(observed)
        before, rows = self.given(shown), []
        for t in range(self.n_steps):
            shown[t] = observed[t]
            after = self.given(shown)
            rows.append((before, after))
            before = after
        pairs = list(enumerate(rows))
        innovations = np.array([self.values[t] - b.obs_means[t] for t, (b, _) in pairs])
        innovation_covs = np.array([b.obs_covs[t] for t, (b, _) in pairs])
        for t, (b, _) in pairs:
            infinite = np.abs(b.obs_factor[t]).max(axis=1, initial=0.0) > 1e-9
            innovations[t, infinite] = np.nan
            innovation_covs[t, infinite, :] = np.nan
            innovation_covs[t, :, infinite] = np.nan
        return Filtered(
            predicted_means=np.array([b.state_means[t] for t, (b, _) in pairs]),
            predicted_covs=np.array([b.state_covs[t] for t, (b, _) in pairs]),
            predicted_diffuse=np.array([b.state_factor[t] @ b.state_factor[t].T for t, (b, _) in pairs]),
            filtered_means=np.array([f.state_means[t] for t, (_, f) in pairs]),
            filtered_covs=np.array([f.state_covs[t] for t, (_, f) in pairs]),
            filtered_diffuse=np.array([f.state_factor[t] @ f.state_factor[t].T for t, (_, f) in pairs]),
            log_likelihoods=np.array([f.log_likelihood - b.log_likelihood for _, (b, f) in pairs]),
            innovations=innovations,
            innovation_covs=innovation_covs,
        )


def forecast(system, observations, n_ahead, future_inputs=None):
    """Return the `Conditional` of `n_ahead` rows beyond the end of the series."""
    values = np.vstack([observations.values, np.full((n_ahead, observations.obs_dim), np.nan)])
    inputs = observations.inputs
    if inputs is not None:
        inputs = np.vstack([inputs, future_inputs])
    whole = DenseGaussian(system, Observations(values, inputs=inputs)).smoothed()
    last = slice(observations.n_steps, None)
    return Conditional(
        state_means=whole.state_means[last],
        state_cov=whole.state_cov[last, :, last],
        obs_means=whole.obs_means[last],
        obs_cov=whole.obs_cov[last, :, last],
        obs_state_cov=whole.obs_state_cov[last, :, last],
        state_factor=whole.state_factor[last],
        obs_factor=whole.obs_factor[last],
        log_likelihood=whole.log_likelihood,
    )


def _solve(matrix, right):
    """Return the solution, rank, log determinant, and the quadratic form of the last column of `right`.

    Directions without variance (a value that was certain beforehand) carry no information: least norm,
    and no part in the determinant. A density on a subspace depends on its coordinates, so then the moments
    can be compared with those of a filter, and the likelihood cannot.
    """
    if not len(matrix):
        return np.zeros(right.shape), 0, 0.0, 0.0
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(matrix), np.finfo(float).tiny))
    scale[np.diagonal(matrix) <= 0.0] = 1.0
    eigenvalues, vectors = np.linalg.eigh(matrix * scale[:, None] * scale)
    keep = eigenvalues > 1e-13 * max(eigenvalues[-1], 0.0)
    if keep.all():
        factor = np.linalg.cholesky(matrix)
        half = np.linalg.solve(factor, right)
        log_det = 2.0 * np.log(np.diagonal(factor)).sum()
        return np.linalg.solve(factor.T, half), len(matrix), log_det, half[:, -1] @ half[:, -1]
    inverse = np.where(keep, 1.0 / np.where(keep, eigenvalues, 1.0), 0.0)
    solution = (scale[:, None] * vectors * inverse) @ (vectors.T @ (scale[:, None] * right))
    log_det = np.log(eigenvalues[keep]).sum() - 2.0 * np.log(scale).sum()
    return solution, int(keep.sum()), log_det, right[:, -1] @ solution[:, -1]
