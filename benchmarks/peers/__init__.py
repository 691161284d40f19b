"""The peers: one module each, imported only in the process that times it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """A library a user could pick; `kinds` maps the kinds of work it can do to what its figure includes."""

    package: str
    module: str
    kinds: dict[str, str]
    compiles: bool = False

    @property
    def is_installed(self) -> bool:
        """Whether the library can be found."""
        return importlib.util.find_spec(self.package) is not None


PEERS = {
    peer.package: peer
    for peer in (
        Peer(
            "statsmodels",
            "benchmarks.peers.with_statsmodels",
            {
                "log_likelihood": "`KalmanSmoother.loglike()`, which stops the covariances when they have converged",
                "filter": "`KalmanSmoother.filter()`, all arrays",
                "smooth": "`KalmanSmoother.smooth()` with states, covariances and lag-one covariances",
                "em": "its smoother alone, as for `smooth`: it has no EM for these parameters",
            },
        ),
        Peer(
            "dynamax",
            "benchmarks.peers.with_dynamax",
            {
                "log_likelihood": "`lgssm_filter`, jitted, the log-likelihood alone kept; 64 bits",
                "filter": "`lgssm_filter`, jitted; 64 bits",
                "smooth": "`lgssm_smoother`, jitted; 64 bits",
                "em": "`e_step` and `m_step` in one jitted function, for a panel under `vmap`; 64 bits",
            },
            compiles=True,
        ),
        Peer(
            "pykalman",
            "benchmarks.peers.with_pykalman",
            {
                "log_likelihood": "`loglikelihood`",
                "filter": "`filter`; its log-likelihood is taken by another call, not timed",
                "smooth": "`smooth`; its log-likelihood is taken by another call, not timed",
                "em": "`em(n_iter=1)`, all parameters, for a panel in a loop; a row with a missing entry is dropped",
            },
        ),
        Peer(
            "simdkalman",
            "benchmarks.peers.with_simdkalman",
            {
                "log_likelihood": "`compute` without smoothing; 2π put into its log-likelihood",
                "filter": "`compute` without smoothing; 2π put into its log-likelihood",
                "smooth": "`compute` with smoothing; 2π put into its log-likelihood; no lag-one covariances",
                "em": "`em(n_iter=1)`, which learns Q, R, m and P only; its log-likelihood by another call, not timed",
            },
        ),
        Peer(
            "filterpy",
            "benchmarks.peers.with_filterpy",
            {
                "log_likelihood": "`update` and `predict` in a loop",
                "smooth": "`batch_filter` and `rts_smoother`; its log-likelihood by a loop, not timed",
            },
        ),
    )
}
