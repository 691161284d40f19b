"""Several threads and processes at once: the same results, also in a fresh process, a forked and a spawned one."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.fitting import together
from kalman_em.inference import shares

ROOT = Path(kem.__file__).parents[1]
STOPPING = kem.Stopping(max_iterations=15)


def data(seed, n_series=6):
    rng = np.random.default_rng(seed)
    return [np.cumsum(rng.normal(size=30)) + rng.normal(size=30) for _ in range(n_series)]


def fitted(seed):
    """Return the log-likelihoods of a few fits, as numbers that compare to the last bit."""
    one = kem.fit(kem.LocalLevel(), data(seed)[0], stopping=STOPPING)
    each = kem.fit_each(kem.LocalLevel(), data(seed), stopping=STOPPING, n_threads=2)
    return [*one.em.log_likelihoods.tolist(), *(fit.em.log_likelihood for fit in each.values())]


def test_threads_that_fit_at_once_do_not_disturb_each_other():
    expected = [fitted(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fitted, [0, 1, 2, 3] * 3)) == expected * 3


def test_a_panel_with_shared_parameters_is_learnt_alike_on_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(shares, "FEWEST_ROWS", 40)

    panel = kem.Panel([kem.Observations(one[:, None]) for one in data(7)])

    def learnt(n_threads):
        found = kem.fit(kem.LocalLevel(), panel, stopping=STOPPING, n_threads=n_threads)
        return [*found.em.log_likelihoods.tolist(), *found.system.transition_cov.ravel().tolist()]

    expected = learnt(1)
    assert learnt(2) == learnt(None) == expected
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(learnt, [2, 3, 1] * 2)) == [expected] * 6
    with pytest.raises(kem.InputError, match="n_threads: expected 1 for GaussianMixture, got 2"):
        kem.fit(kem.GaussianMixture(2), np.zeros((9, 1)), n_threads=2)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_made_after_the_kernels_ran_on_threads_fits_alike(monkeypatch, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    monkeypatch.setattr(together, "TOGETHER", 2)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    expected = kem.fit_each(kem.LocalLevel(), data(5), stopping=STOPPING, n_threads=2)
    with warnings.catch_warnings():
        # The threads of numpy's linear algebra, which this package does not start, make Python 3.12 warn of forks.
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
            one = pool.submit(kem.fit, kem.LocalLevel(), data(5)[0], stopping=STOPPING).result(120)
            each = pool.submit(kem.fit_each, kem.LocalLevel(), data(5), stopping=STOPPING, n_threads=2).result(120)
    assert np.allclose(one.em.log_likelihoods, expected[0].em.log_likelihoods, rtol=1e-12)
    assert list(each) == list(expected)
    for key in expected:
        assert np.allclose(each[key].em.log_likelihoods, expected[key].em.log_likelihoods, rtol=1e-12)


def test_no_thread_is_left_behind():
    """A process that forks later must find itself alone."""
    code = (
        "import threading, numpy as np, kalman_em as kem\n"
        "y = np.cumsum(np.random.default_rng(0).normal(size=(4, 20)), axis=1)\n"
        "from kalman_em.fitting import together\n"
        "together.TOGETHER = 1\n"
        "kem.fit_each(kem.LocalLevel(), list(y), stopping=kem.Stopping(max_iterations=3), n_threads=2)\n"
        "kem.fit(kem.LocalLevel(), y[0], stopping=kem.Stopping(max_iterations=3), n_starts=2, seed=0)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    done = _python(code, {})
    assert done.returncode == 0, done.stderr


def test_the_first_use_of_a_kernel_may_come_from_several_threads(tmp_path):
    """Nothing compiled, nothing cached: the threads compile, and wait for one another."""
    code = (
        "import numpy as np\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from kalman_em.inference.gains import factor_covs\n"
        "covs = np.tile(np.array([[2.0, 1.0], [1.0, 2.0]]), (3, 1, 1))\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    found = list(pool.map(lambda _: factor_covs(covs)[1].tolist(), range(8)))\n"
        "assert all(one == found[0] for one in found), found\n"
    )
    done = _python(code, {"NUMBA_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr


def _python(code, more):
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | more
    return subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True)


class Turns:
    """A lock that counts how often it was taken, and whether it is held."""

    def __init__(self):
        self.n_taken, self.is_held = 0, False

    def __enter__(self):
        assert not self.is_held
        self.n_taken, self.is_held = self.n_taken + 1, True

    def __exit__(self, *_):
        self.is_held = False


ALONE = kem.LinearGaussian(2, 1, transition_matrix=kem.Diagonal())


@pytest.mark.parametrize(("model", "n_short", "n_taken"), [(ALONE, 100, 6), (ALONE, 30, 0), (kem.LocalLevel(), 100, 0)])
def test_short_series_take_turns_at_what_is_done_one_by_one(monkeypatch, model, n_short, n_taken):
    """Starts and climbs that need a series for itself; of local levels there are none, but for leaps that gain."""
    monkeypatch.setattr(together, "SHORT", n_short)
    rng = np.random.default_rng(3)
    series = [kem.Observations(np.cumsum(rng.normal(size=(40, 1)), axis=0), names=["y"]) for _ in range(3)]
    settings = together.Settings(model=model, start=None, stopping=STOPPING, method="em", n_starts=1, seed=0)
    turns, told = Turns(), []
    alone = together.learn_together(settings, list("abc"), series, told.append)
    taken = together.learn_together(settings, list("abc"), series, told.append, turns)
    assert turns.n_taken == n_taken
    assert not turns.is_held
    for left, right in zip(alone, taken, strict=True):
        np.testing.assert_array_equal(left.em.log_likelihoods, right.em.log_likelihoods)
