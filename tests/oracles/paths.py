"""Every path of regimes one by one: the posterior of a short chain with no recursion in it."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np


class PathPosterior(NamedTuple):
    """What the paths of one series say together; `log_joints` are in the order of `paths`."""

    paths: np.ndarray
    log_joints: np.ndarray
    log_likelihood: float
    probabilities: np.ndarray
    transition_counts: np.ndarray

    @property
    def best(self):
        return self.paths[np.argmax(self.log_joints)]


def all_paths(n_steps, n_regimes):
    return np.array(list(itertools.product(range(n_regimes), repeat=n_steps)))


def log_prior(paths, initial, transition):
    with np.errstate(divide="ignore"):
        start, moves = np.log(initial), np.log(transition)
    return start[paths[:, 0]] + moves[paths[:, :-1], paths[:, 1:]].sum(axis=1)


def enumerate_chain(log_densities, initial, transition):
    """Return the posterior of the chain whose regime k at row t makes the data `log_densities[t, k]` likely."""
    n_steps, n_regimes = log_densities.shape
    paths = all_paths(n_steps, n_regimes)
    return weigh(paths, log_prior(paths, initial, transition) + log_densities[np.arange(n_steps), paths].sum(axis=1))


def weigh(paths, log_joints):
    """Return the posterior of paths with these log p(data, path)."""
    n_steps, n_regimes = paths.shape[1], paths.max() + 1
    log_likelihood = np.logaddexp.reduce(log_joints)
    weights = np.exp(log_joints - log_likelihood)
    probabilities = np.array([np.bincount(paths[:, t], weights, n_regimes) for t in range(n_steps)])
    counts = np.zeros((n_regimes, n_regimes))
    for t in range(n_steps - 1):
        np.add.at(counts, (paths[:, t], paths[:, t + 1]), weights)
    return PathPosterior(paths, log_joints, float(log_likelihood), probabilities, counts)
