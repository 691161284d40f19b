"""Hidden Markov models beside hmmlearn and dynamax: python -m benchmarks.regimes

One iteration of EM, everything learnt, in processor time on one thread, the sides taking turns; and the memory of an
iteration as the series grows. A time counts only if the log-likelihood at the start parameters agrees.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

import kalman_em as kem
from kalman_em.frames import to_panel
from kalman_em.inference.regimes import draw_path
from kalman_em.latent.hmm_params import HMMParams

AGREES = 1e-8
N_STATES, DIM = 4, 2


def case(n_rows: int, seed: int = 0) -> tuple[np.ndarray, HMMParams]:
    """Return rows drawn from a model, and its parameters, from which every side starts."""
    rng = np.random.default_rng(seed)
    transition = np.full((N_STATES, N_STATES), 0.02) + 0.92 * np.eye(N_STATES)
    transition /= transition.sum(axis=1, keepdims=True)
    initial = np.full(N_STATES, 1.0 / N_STATES)
    means = 2.0 * rng.normal(size=(N_STATES, DIM))
    path = draw_path(n_rows, initial, transition, rng)
    covs = np.stack([np.eye(DIM)] * N_STATES)
    return means[path] + rng.normal(size=(n_rows, DIM)), HMMParams(means, covs, initial, transition)


def own(values: np.ndarray, start: HMMParams) -> Callable[[int], float]:
    """Return a function of n that runs n iterations and returns the log-likelihood at the start."""
    problem = kem.GaussianHMM(N_STATES).problem(to_panel(values))

    def run(n: int) -> float:
        params, first = start, np.nan
        for i in range(n):
            expectations, height = problem.e_step(params)
            first = height if i == 0 else first
            params = problem.m_step(params, expectations)
        return float(first)

    return run


def with_hmmlearn(values: np.ndarray, start: HMMParams) -> Callable[[int], float]:
    """Return the same by hmmlearn."""
    from hmmlearn import hmm  # noqa: PLC0415 - a peer is loaded only where it is installed

    def run(n: int) -> float:
        peer = hmm.GaussianHMM(
            N_STATES, "full", n_iter=n, tol=-np.inf, init_params="", implementation="scaling", min_covar=0.0,
            covars_prior=0.0, covars_weight=0.0,
        )  # fmt: skip
        peer.startprob_, peer.transmat_ = np.array(start.initial_probabilities), np.array(start.transition_matrix)
        peer.means_, peer.covars_ = np.array(start.means), np.array(start.covs)
        peer.fit(values)
        return float(peer.monitor_.history[0])

    return run


def with_dynamax(values: np.ndarray, start: HMMParams) -> Callable[[int], float]:
    """Return the same by dynamax, compiled as a whole; its M-step has a weak prior."""
    import jax  # noqa: PLC0415
    from dynamax.hidden_markov_model import GaussianHMM  # noqa: PLC0415

    jax.config.update("jax_enable_x64", True)
    rows = jax.numpy.array(values)[None]
    peer = GaussianHMM(N_STATES, DIM)
    given = {
        "initial_probs": start.initial_probabilities, "transition_matrix": start.transition_matrix,
        "emission_means": start.means, "emission_covariances": start.covs,
    }  # fmt: skip
    arrays = {name: jax.numpy.array(value) for name, value in given.items()}
    params, properties = peer.initialize(jax.random.PRNGKey(0), method="prior", **arrays)
    state = peer.initialize_m_step_state(params, properties)

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        statistics_, heights = jax.vmap(lambda one: peer.e_step(params, one))(rows)
        return *peer.m_step(params, properties, statistics_, state), heights.sum()

    def run(n: int) -> float:
        now, memory, first = params, state, np.nan
        for i in range(n):
            now, memory, height = step(now, memory)
            first = float(height) if i == 0 else first
        jax.block_until_ready(now)
        return first

    return run


SIDES = {"kalman_em": own, "hmmlearn": with_hmmlearn, "dynamax": with_dynamax}


def seconds(run: Callable[[int], float], n: int) -> float:
    """Return the processor time of an iteration."""
    begin = time.process_time()
    run(n)
    return (time.process_time() - begin) / n


def peak_memory(n_rows: int) -> float:
    """Return the most bytes a row that an iteration holds at once, the data not counted."""
    run = own(*case(n_rows))
    run(1)
    tracemalloc.start()
    run(2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak / n_rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regimes", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--iterations", type=int, default=5)
    parser.add_argument("--calls", type=int, default=7)
    options = parser.parse_args()
    values, start = case(options.rows)
    names = [name for name in SIDES if name == "kalman_em" or importlib.util.find_spec(name) is not None]
    runs = {name: SIDES[name](values, start) for name in names}
    heights = {name: run(2) for name, run in runs.items()}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(options.calls):
        for name, run in runs.items():
            times[name].append(seconds(run, options.iterations))
    mine = statistics.median(times["kalman_em"])
    print(f"T={options.rows:,}, {N_STATES} states, d={DIM}, full covariances, one EM iteration\n")
    print("| | ms | times kalman_em |\n| --- | --: | --: |")
    for name in names:
        median = statistics.median(times[name])
        agrees = abs(heights[name] / heights["kalman_em"] - 1.0) <= AGREES
        print(f"| {name} | {1e3 * median:.1f} | {f'{median / mine:.1f}' if agrees else 'disagrees'} |")
    print("\n| T | bytes a row |\n| --: | --: |")
    for n_rows in (50_000, 100_000, 200_000, 400_000):
        print(f"| {n_rows:,} | {peak_memory(n_rows):.0f} |")


if __name__ == "__main__":
    main()
