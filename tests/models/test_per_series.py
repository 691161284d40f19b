"""Parameters that each series of a panel has for itself beside shared ones: the M-step, and what EM climbs to."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import bruteforce as bf
from support.learning import block_of, covariance_block_of, one_step, plain_em, problem_of, projected
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em import BlockDiagonal, Diagonal, Fixed, Full, Isotropic, Pattern, PerSeries

KEYS = ("a", "b", "c")


def case(seed, forms, *, d=2, p=3, lengths=(9, 12, 7), inputs=0, step="first"):
    """Return the problem, parameters that differ by series before the step, and the series as the filter sees them."""
    rng = np.random.default_rng(seed)
    system = random_system(rng, d, p, max(lengths), input_dim=inputs)
    series = [random_observations(rng, system, n, missing=0.25, missing_rows=(3,)) for n in lengths]
    named = {name: Fixed(getattr(system, name)) for name in bf.NAMES.values() if getattr(system, name) is not None}
    named |= {bf.NAMES[letter]: form for letter, form in forms.items()}
    problem, led = problem_of(kem.LinearGaussian(d, p, initial_step=step, **named), *series)
    start = projected(problem, system)
    # One step away from it, what each series has of its own differs.
    return problem, one_step(problem, start), led


def expected(problem, params, series):
    """Return the brute-force maximiser of every series' parameters."""
    shared, own = {}, [{} for _ in series]
    for letter, name in bf.NAMES.items():
        form = problem.specification.forms.get(name)
        if form is None or not problem.specification.is_free(name):
            continue
        make = covariance_block_of if letter in "QRP" else block_of
        for s, blocks in enumerate(own):
            value = getattr(params.of_series(s), name)
            if isinstance(form, PerSeries):
                blocks[letter] = make(form.form, value)
            elif s == 0:
                shared[letter] = make(form, value)
    return bf.maximise_by_series([(params.of_series(s), one) for s, one in enumerate(series)], shared, own)


CASES = {
    "R": {"R": PerSeries(Full())},
    "R diagonal beside H": {"H": Full(), "R": PerSeries(Diagonal())},
    "R beside H and its own d": {"H": Full(), "d": PerSeries(Full()), "R": PerSeries(Full())},
    "d beside a shared R": {"H": Full(), "d": PerSeries(Full()), "R": Full()},
    "d of one number": {"d": PerSeries(Isotropic()), "R": Diagonal()},
    "d of names": {"d": PerSeries(Pattern(["u", "u", "2*u+v"])), "R": PerSeries(Isotropic())},
    "d under a known R": {"H": Full(), "d": PerSeries(Full())},
    "Q": {"F": Full(), "Q": PerSeries(Full())},
    "b beside F and Q": {"F": Full(), "b": PerSeries(Full()), "Q": Full()},
    "b and Q": {"F": Diagonal(), "b": PerSeries(Full()), "Q": PerSeries(Diagonal())},
    "m under a known P": {"m": PerSeries(Full())},
    "P around a shared m": {"m": Full(), "P": PerSeries(Isotropic())},
    "m beside a shared P": {"m": PerSeries(Full()), "P": Full()},
    "everything": {
        "F": Full(),
        "b": PerSeries(Full()),
        "Q": Full(),
        "H": Full(),
        "d": PerSeries(Full()),
        "R": PerSeries(Diagonal()),
        "m": PerSeries(Full()),
    },
}


@pytest.mark.parametrize("name", CASES)
def test_the_m_step_is_the_brute_force_maximiser(name):
    problem, params, series = case(3, CASES[name])
    new = one_step(problem, params)
    for s, values in enumerate(expected(problem, params, series)):
        for letter, parameter in bf.NAMES.items():
            ours = getattr(new.of_series(s), parameter)
            if ours is not None:
                size = np.abs(values[letter]).max(initial=1e-300)
                np.testing.assert_allclose(ours, values[letter], rtol=0.0, atol=2e-6 * size, err_msg=f"{letter} of {s}")


def test_inputs_may_have_coefficients_by_series():
    problem, params, series = case(5, {"D": PerSeries(Full()), "B": PerSeries(Full()), "F": Full()}, inputs=2)
    new = one_step(problem, params)
    for s, values in enumerate(expected(problem, params, series)):
        for letter in "FBD":
            np.testing.assert_allclose(getattr(new.of_series(s), bf.NAMES[letter]), values[letter], atol=1e-6)


def test_blocks_of_a_covariance_may_be_shared_and_others_not():
    blocks = BlockDiagonal([(Full(), 1), (PerSeries(Full()), 2)])
    problem, params, series = case(8, {"R": blocks})
    new = one_step(problem, params)
    inner = BlockDiagonal([(Full(), 1), (Full(), 2)])
    alone = []
    for s, one in enumerate(series):
        old = params.of_series(s)
        alone.append(bf.maximise([(old, one)], {"R": covariance_block_of(inner, old.observation_cov)})[0]["R"])
    lengths = np.array([one.n_steps for one in series])
    pooled = lengths @ [R[0, 0] for R in alone] / lengths.sum()
    for ours, R in zip(new.observation_cov, alone, strict=True):
        np.testing.assert_allclose(ours[1:, 1:], R[1:, 1:], rtol=1e-6)
        np.testing.assert_allclose(ours[0, 0], pooled, rtol=1e-6)
        assert not np.any(ours[0, 1:])


def test_the_objective_never_falls_on_the_way():
    problem, params, _ = case(11, CASES["everything"], lengths=(30, 25, 40))
    heights = [height for _, height in plain_em(problem, params, 40)]
    assert np.all(np.diff(heights) > -1e-9 * np.abs(heights[:-1]))
