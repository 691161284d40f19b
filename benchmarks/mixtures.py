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
POOR = (0, 1, 2)
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
    parser.add_argument("--large", action="store_true", help="also online EM on 10,000,000 rows: half an hour")
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
    n, ends = problem.n_units, {}
    print(f"\nfrom {said}")
    for name, climb in (
        ("online", lambda: kem.Stochastic(batch_size=10_000).run(problem, start, rng=np.random.default_rng(1))),
        ("batch", lambda: kem.run_em(problem, start)),
    ):
        begun = time.process_time()
        ends[name] = (climb(), time.process_time() - begun)
        print(f"  {name}: {ends[name][1]:.1f} s, {ends[name][0].n_iterations} passes or iterations", flush=True)
    (online, fast), (batch, slow) = ends["online"], ends["batch"]
    gap = (batch.log_likelihood - online.log_likelihood) / n
    print(f"  log-likelihood a row: {batch.log_likelihood / n:.5f}, online {gap:.1e} below; time {fast / slow:.3f}")
    near = int(np.argmax((batch.log_likelihood - batch.log_likelihoods) / n < 1e-3))
    print(f"  EM itself was within 1e-3 a row after {near} of its iterations", flush=True)


def _seconds(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


if __name__ == "__main__":
    main()
