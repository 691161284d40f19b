"""What holds for every system and every missing pattern: covariances are covariances, EM climbs, all paths agree."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from support.learning import problem_of, projected
from support.systems import VARYING, random_observations, random_system

import kalman_em as kem
from kalman_em.inference.expectations import Expectations, expect_all, expect_filtered
from kalman_em.inference.filtering import filter_all
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.inference.smoothing import smooth_all

# Up to four states the kernels are compiled for each number of its own, beyond for any.
LARGEST = 6
MOMENTS = ("predicted_means", "predicted_covs", "filtered_means", "filtered_covs", "log_likelihoods")

# The same few examples every time; PROPERTY_EXAMPLES=5000 looks further, each time anew.
EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
quick = settings(derandomize=not EXAMPLES, deadline=None, max_examples=EXAMPLES or 60, database=None, print_blob=True)


@dataclass(frozen=True)
class Case:
    """The choices that make a random system and the series observed from it."""

    seed: int
    d: int
    p: int
    n_steps: int
    options: dict
    missing: float
    missing_rows: tuple[int, ...]

    def build(self):
        """Return the system and one series."""
        rng = np.random.default_rng(self.seed)
        system = random_system(rng, self.d, self.p, self.n_steps, **self.options)
        one = random_observations(rng, system, self.n_steps, missing=self.missing, missing_rows=self.missing_rows)
        return system, one


@st.composite
def cases(
    draw,
    *,
    shortest=2,
    longest=60,
    varying=True,
    diffuse=True,
    missing=(0.0, 0.2, 0.6, 0.95),
    radii=(0.5, 0.95, 1.0, 1.1),
):
    seed = draw(st.integers(0, 2**32 - 1))
    # Drawn as integers small sizes would come most, and some hardly ever.
    d, p = (int(n) for n in np.random.default_rng([seed, 2]).integers(1, LARGEST + 1, size=2))
    event(f"d={d}")
    n_steps = draw(st.integers(shortest, longest))
    first = draw(st.integers(0, n_steps - 1))
    # Both at once say things twice without error, where rounding decides: see EXACT_TWICE.
    exact = draw(st.sampled_from(["nothing", "states", "sensors", "diffuse"] if diffuse else ["nothing", "states"]))
    r = draw(st.none() | st.integers(1, d)) if exact == "states" else None
    options = {
        "varying": draw(st.sets(st.sampled_from(sorted(VARYING - ({"G"} if r is None else set()))))) if varying else (),
        "input_dim": draw(st.integers(0, 2)),
        "noise_dim": r,
        "cov_rank": draw(st.none() | st.integers(0, r or d)) if exact == "states" else None,
        "exact_rows": draw(st.integers(1, p)) if exact == "sensors" else 0,
        "initial_rank": draw(st.none() | st.integers(0, d)) if exact == "states" else None,
        "diffuse": draw(st.integers(1, d)) if exact == "diffuse" else 0,
        "radius": draw(st.sampled_from(radii)),
    }
    return Case(
        seed=seed,
        d=d,
        p=p,
        n_steps=n_steps,
        options={name: sorted(value) if isinstance(value, set) else value for name, value in options.items()},
        missing=draw(st.sampled_from(missing)),
        missing_rows=tuple(range(first, min(first + draw(st.sampled_from([0, 1, 5, 30])), n_steps))),
    )


# Singular states seen by noise-free sensors: what is known twice over is subtracted from itself, and the standard path
# fails.
EXACT_TWICE = {
    "an observation that is possible refused": Case(
        1557, 2, 5, 11, {"input_dim": 2, "noise_dim": 1, "exact_rows": 3, "initial_rank": 2, "radius": 1.0}, 0.0, ()
    ),
    "filtered covariance not PSD": Case(
        692,
        6,
        5,
        53,
        {"noise_dim": 4, "cov_rank": 4, "exact_rows": 5, "initial_rank": 1, "diffuse": 2, "radius": 1.1},
        0.2,
        (21,),
    ),
    "smoothed covariance not PSD over a contracting gap": Case(
        1942, 5, 2, 42, {"input_dim": 2, "cov_rank": 0, "diffuse": 2, "radius": 0.5}, 0.95, tuple(range(8, 38))
    ),
}


def smoothed_or_unresolved(system, filtered):
    """Return the smoothed states, or None where the data leave a diffuse element open: said in so many words."""
    try:
        return kem.rts_smoother(system, filtered)
    except kem.NumericalError as error:
        if "never resolved" not in str(error) or not np.any(system.initial_diffuse):
            raise
        return None


def check_covariances(covs, largest):
    """Symmetric to the last bit, and no eigenvalue below 0 by more than rounding of the `largest` variance."""
    assert np.all(np.isfinite(covs))
    np.testing.assert_array_equal(covs, np.swapaxes(covs, 1, 2))
    assert np.linalg.eigvalsh(covs).min() >= -1e-12 * largest


def check_moments(case):
    system, one = case.build()
    filtered = kem.kalman_filter(system, one)
    # What is left after a subtraction is as exact as what it was taken from; noise is of size 1.
    largest = max(1.0, np.abs(filtered.predicted_covs).max(), np.abs(filtered.filtered_covs).max())
    check_covariances(filtered.predicted_covs, largest)
    check_covariances(filtered.filtered_covs, largest)
    for name in ("predicted_means", "filtered_means", "log_likelihoods"):
        assert np.all(np.isfinite(getattr(filtered, name))), name
    smoothed = smoothed_or_unresolved(system, filtered)
    if smoothed is not None:
        check_covariances(smoothed.smoothed_covs, max(largest, np.abs(smoothed.smoothed_covs).max()))
        assert np.all(np.isfinite(smoothed.smoothed_means))
        assert np.all(np.isfinite(smoothed.lag_one_covs))


@quick
@given(cases())
def test_covariances_are_symmetric_definite_and_finite(case):
    check_moments(case)


@pytest.mark.parametrize("what", EXACT_TWICE)
def test_covariances_where_exact_knowledge_comes_twice(what):
    check_moments(EXACT_TWICE[what])


def same(actual, expected, *, relative, largest=None):
    """Compare with each entry's own size, and with rounding of the largest."""
    largest = np.abs(expected).max(initial=0.0) if largest is None else largest
    np.testing.assert_allclose(actual, expected, rtol=relative, atol=0.1 * relative * largest)


# What grows by 1.1 a row is 1e12 in the end, and its density is known to rounding of that.
@quick
@given(cases(shortest=80, longest=300, varying=False, missing=(0.0, 0.0, 0.2), radii=(0.5, 0.95, 1.0, 1.01)))
def test_frozen_equals_full(case):
    system, one = case.build()
    rows = stack_rows([one])
    laid = lay(system, rows)
    frozen, full = filter_all(laid, rows), filter_all(laid, rows, freezes=False)
    event("frozen" if len(frozen.filtered_covs) < rows.n_rows else "not frozen")
    for name in MOMENTS:
        left, right = getattr(frozen, name), getattr(full, name)
        same(frozen.at_rows(left) if name.endswith("covs") else left, right, relative=1e-10)
    try:
        left, right = smooth_all(laid, rows.starts, frozen), smooth_all(laid, rows.starts, full)
    except kem.NumericalError:
        assume(False)
    same(left.smoothed_means, right.smoothed_means, relative=1e-10)
    for name in ("smoothed_covs", "lag_one_covs"):
        same(getattr(left, name).at_rows(), getattr(right, name).at_rows(), relative=1e-10)
    left, right = sums(expect_filtered(laid, rows, frozen)), sums(expect_filtered(laid, rows, full))
    largest = max(np.abs(value).max() for value in right.values())
    for name, value in right.items():
        same(left[name], value, relative=1e-10, largest=largest)


def sums(expectations: Expectations) -> dict[str, np.ndarray]:
    """Return the expected moments of the whole, whatever groups they were taken in."""
    found = {}
    for kind in ("transition", "observation"):
        moments = getattr(expectations, kind)
        for name in ("residual", "cross", "regressor", "count"):
            found[f"{kind} {name}"] = getattr(moments, name).sum(axis=0)
    found["initial means"] = expectations.initial_means.sum(axis=0)
    found["initial covs"] = expectations.initial_covs.sum(axis=0)
    return found


@quick
@given(cases(longest=40, varying=False, diffuse=False), st.lists(st.integers(1, 40), min_size=1, max_size=3))
def test_a_panel_equals_the_sum_of_its_series(case, lengths):
    system, one = case.build()
    series = [one]
    for number, length in enumerate(lengths):
        rng = np.random.default_rng([case.seed, number])
        series.append(random_observations(rng, system, length, missing=case.missing))
    rows = stack_rows(series)
    together, log_likelihood = expect_all(lay(system, rows), rows)
    alone = []
    for each in series:
        own = stack_rows([each])
        alone.append(expect_all(lay(system, own), own))
    assert np.isclose(log_likelihood, sum(value for _, value in alone), rtol=1e-12, atol=1e-10)
    parts = [sums(expectations) for expectations, _ in alone]
    together = sums(together)
    largest = max(np.abs(value).max() for value in together.values())
    for name, value in together.items():
        same(value, sum(part[name] for part in parts), relative=1e-10, largest=largest)


@st.composite
def learners(draw):
    """Draw a model with forms at random, known values from the system behind the data, and another as a start."""
    case = draw(cases(shortest=20, longest=80, varying=False, diffuse=False))
    system, one = case.build()
    assume(np.all(np.sum(~one.is_missing, axis=0) > case.d + 1))

    def form(name, choices):
        chosen = draw(st.sampled_from(choices))
        return kem.Fixed(getattr(system, name)) if chosen is None else chosen

    start = draw(st.sampled_from(["default", "learnt", "known", "diffuse"]))
    square = [kem.Full(), kem.Diagonal(), kem.Isotropic(), None]
    known_rows = system.noise_selection is not None
    forms = {
        # A flat prior has no maximum where the transition may learn to hide a state from the sensors.
        "transition_matrix": form("transition_matrix", [None] if known_rows or start == "diffuse" else square),
        "transition_cov": form("transition_cov", square),
        "observation_matrix": form("observation_matrix", [None] if start == "diffuse" else [kem.Full(), None]),
        "observation_cov": form("observation_cov", square),
        "transition_offset": form("transition_offset", [None] if known_rows else [kem.Full(), None]),
        "observation_offset": form("observation_offset", [kem.Full(), None]),
        "noise_selection": system.noise_selection,
    }
    if system.input_dim:
        forms["transition_input"] = form("transition_input", [None] if known_rows else [kem.Full(), None])
        forms["observation_input"] = form("observation_input", [kem.Full(), None])
        forms["initial_mean"] = kem.Fixed(0) if start == "diffuse" else kem.Full()
    if start == "learnt":
        forms["initial_cov"] = form("initial_cov", square)
    elif start != "default":
        forms["initial_cov"] = kem.Diffuse() if start == "diffuse" else kem.Fixed(system.initial_cov)
    rng = np.random.default_rng([case.seed, 1])
    k, r = system.input_dim, None if system.noise_selection is None else system.noise_selection.shape[1]
    other = random_system(rng, case.d, case.p, one.n_steps, input_dim=k, noise_dim=r)
    return kem.LinearGaussian(case.d, case.p, **forms), one, other


@quick
@given(learners())
def test_plain_em_never_falls(drawn):
    model, one, other = drawn
    problem, _ = problem_of(model, one)
    try:
        run = kem.run_em(problem, projected(problem, other), stopping=kem.Stopping(max_iterations=15))
    except kem.NumericalError as error:
        if "never resolved" not in str(error):
            raise
        assume(False)
    event(run.stop_reason)
    assert run.stop_reason not in (kem.StopReason.objective_fell, kem.StopReason.non_finite), run.message
    assert run.n_falls == 0, run.message


def fixed_results() -> dict[str, np.ndarray]:
    """Return all results for a fixed set of systems: with missing data, varying matrices, inputs and singular noise."""
    found = {}
    for number, (d, p, n_steps, options) in enumerate(FIXED):
        rng = np.random.default_rng(number)
        system = random_system(rng, d, p, n_steps, **options)
        one = random_observations(rng, system, n_steps, missing=0.2, missing_rows=range(8, 12))
        rows = stack_rows([one, one])
        laid = lay(system, rows)
        filtered = filter_all(laid, rows)
        smoothed = smooth_all(laid, rows.starts, filtered)
        parts = {name: getattr(filtered, name) for name in MOMENTS}
        parts |= {name: getattr(smoothed, name).at_rows() for name in ("smoothed_covs", "lag_one_covs")}
        parts["smoothed_means"] = smoothed.smoothed_means
        parts |= sums(expect_all(laid, rows)[0])
        found |= {f"{number} {name}": part for name, part in parts.items()}
    return found


FIXED = [
    (2, 1, 60, {}),
    (3, 3, 20, {"varying": "all", "exact_rows": 1}),
    (1, 2, 40, {"input_dim": 1, "diffuse": 1}),
    (4, 5, 20, {"cov_rank": 1, "initial_rank": 0}),
    (3, 4, 20, {"varying": "FHR", "noise_dim": 1, "diffuse": 1}),
    (5, 3, 20, {"varying": "all", "input_dim": 2}),
    (5, 6, 20, {"cov_rank": 2, "exact_rows": 2, "initial_rank": 3}),
    (6, 2, 30, {"diffuse": 6, "noise_dim": 3}),
]


def test_compiled_equals_interpreted(tmp_path):
    path = tmp_path / "interpreted.npz"
    script = "import sys, numpy, test_properties as t; numpy.savez(sys.argv[1], **t.fixed_results())"
    here = Path(__file__).resolve().parent
    search = os.pathsep.join([str(here), str(Path(kem.__file__).parents[1])])
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": search}
    subprocess.run([sys.executable, "-c", script, path], env=environment, check=True)
    compiled = fixed_results()
    with np.load(path) as interpreted:
        assert sorted(interpreted) == sorted(compiled)
        for name, value in compiled.items():
            # The last digits may differ, and singular noise makes more of them.
            same(value, interpreted[name], relative=1e-11)


def test_a_smoothed_variance_never_exceeds_the_filtered_one():
    """Singular states seen without noise, contracting: the plain smoother alone would end with variances of 1e13."""
    options = {"noise_dim": 1, "exact_rows": 1, "initial_rank": 0, "radius": 0.5}
    system, one = Case(414, 6, 1, 35, options, 0.2, ()).build()
    filtered = kem.kalman_filter(system, one)
    smoothed = kem.rts_smoother(system, filtered)
    assert np.linalg.eigvalsh(smoothed.smoothed_covs).min() > -1e-12
    variances = np.diagonal(smoothed.smoothed_covs, axis1=1, axis2=2)
    assert np.all(variances <= np.diagonal(filtered.filtered_covs, axis1=1, axis2=2) + 1e-12)
