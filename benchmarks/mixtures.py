"""Gaussian mixtures against scikit-learn: an iteration of EM from the same start, and online EM on many rows.

    python -m benchmarks.mixtures [--rows 100000] [--large]

Times are of the processor, on one thread; the median of several runs that take turns.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from statistics import median

import numpy as np
from sklearn.mixture import GaussianMixture

import kalman_em as kem
from kalman_em.latent.mixture_params import MixtureParams
from kalman_em.latent.mixture_problem import MixtureProblem

DIM, COMPONENTS, CALLS, ITERATIONS = 8, 8, 5, 10
# Starts at rows drawn at random, which EM leaves slowly.
POOR = (0,)
WITHIN, BATCH = 1e-3, 3000
FORMS = {
    "full": kem.Full(),
    "diag": kem.Diagonal(),
    "spherical": kem.Isotropic(),
    "tied": kem.Shared(kem.Full()),
}


def main() -> None:
    """Print a table of times an iteration; with --large, what online EM reaches on 10,000,000 rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--large", action="store_true", help="also online EM on 10,000,000 rows: some minutes")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    middles = 3.0 * rng.normal(size=(COMPONENTS, DIM))
    data = np.concatenate([rng.normal(size=(given.rows // COMPONENTS, DIM)) @ _mix(rng) + m for m in middles])
    print(f"n={len(data)} d={DIM} K={COMPONENTS}, one iteration\n")
    print("| covariances | kalman_em, ms | scikit-learn, ms | ratio |\n|---|---|---|---|")
    for kind in FORMS:
        ours, theirs = _iteration(kind, data)
        print(f"| {kind} | {1e3 * ours:.1f} | {1e3 * theirs:.1f} | {theirs / ours:.1f} |")
    if given.large:
        _online(10_000_000)


def _mix(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(DIM, DIM))


def _iteration(kind: str, data: np.ndarray) -> tuple[float, float]:
    """Return the time of an iteration of ours and of theirs; `RuntimeError` if they end elsewhere."""
    model = kem.GaussianMixture(COMPONENTS, covariance=FORMS[kind])
    problem = model.problem(kem.Panel([kem.Observations(data)]))
    start = problem.start()
    start = problem.m_step(start, problem.e_step(start)[0])
    ours, theirs = [], []
    for _ in range(CALLS):
        ours.append(_seconds(lambda: _steps(problem, start, ITERATIONS)) / ITERATIONS)
        many, one = (_seconds(lambda n=n: _theirs(kind, data, start, n)) for n in (ITERATIONS + 1, 1))
        theirs.append((many - one) / ITERATIONS)
    ended, reference = _steps(problem, start, ITERATIONS), _theirs(kind, data, start, ITERATIONS)
    if not np.allclose(ended.means, reference.means_, rtol=1e-6, atol=1e-8):
        raise RuntimeError(f"{kind}: the parameters disagree")
    return median(ours), median(theirs)


def _steps(problem: MixtureProblem, params: MixtureParams, n: int) -> MixtureParams:
    for _ in range(n):
        params = problem.m_step(params, problem.e_step(params)[0])
    return params


def _theirs(kind: str, data: np.ndarray, start: MixtureParams, n: int) -> GaussianMixture:
    precisions = np.linalg.inv(start.covs)
    given = {
        "full": precisions,
        "tied": precisions[0],
        "diag": np.diagonal(precisions, axis1=1, axis2=2),
        "spherical": precisions[:, 0, 0],
    }[kind]
    model = GaussianMixture(
        COMPONENTS,
        covariance_type=kind,
        reg_covar=0.0,
        tol=0.0,
        max_iter=n,
        weights_init=start.weights / start.weights.sum(),
        means_init=start.means,
        precisions_init=given,
        init_params="random",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(data)


def _online(n: int) -> None:
    """Print the time of online EM and of EM on `n` rows of two columns, and how near they come, from two starts."""
    rng = np.random.default_rng(0)
    middles = 4.0 * rng.normal(size=(5, 2))
    labels = rng.integers(5, size=n)
    data = middles[labels] + rng.normal(size=(n, 2)) * np.linspace(0.6, 1.4, 5)[labels][:, None]
    problem = kem.GaussianMixture(5, starts="random").problem(kem.Panel([kem.Observations(data)]))
    _compared(problem, problem.start(), "the start that the data give")
    for seed in POOR:
        _compared(problem, problem.random_start(np.random.default_rng(seed)), f"rows drawn at random, seed {seed}")


def _compared(problem: MixtureProblem, start: MixtureParams, said: str) -> None:
    """Print how long online EM and EM took from `start`, and when each was near the end of EM."""
    n, runs = problem.n_units, {}
    print(f"\nfrom {said}")
    for name, climb in (
        (
            "online",
            lambda told: kem.Stochastic(batch_size=BATCH).run(
                problem, start, rng=np.random.default_rng(1), callback=told
            ),
        ),
        ("batch", lambda told: kem.run_em(problem, start, callback=told)),
    ):
        begun, seen = time.process_time(), []
        run = climb(lambda one, seen=seen, begun=begun: seen.append((one.log_likelihood, time.process_time() - begun)))
        runs[name] = seen
        print(f"  {name}: {seen[-1][1]:.1f} s, {run.n_iterations} passes or iterations", flush=True)
    top, slow = runs["batch"][-1]
    for name, seen in runs.items():
        near = [(at, passed) for at, (height, passed) in enumerate(seen, 1) if top - height < WITHIN * n]
        where = f"after {near[0][0]}, {near[0][1] / slow:.3f} of the time of EM" if near else "never"
        gap = (top - seen[-1][0]) / n
        print(
            f"  {name} was within {WITHIN:g} a row of the end of EM {where}; at its own end {gap:.1e} below", flush=True
        )


def _seconds(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
