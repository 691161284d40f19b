"""One EM step against the brute-force maximiser of the expected complete log-likelihood, form by form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracles import bruteforce as bf
from scipy.optimize import minimize
from support.learning import blocks_of, log_likelihood, maximise_by_steps, one_step, plain_em, problem_of, projected
from support.systems import random_cov, random_observations, random_system

import kalman_em as kem
from kalman_em import (
    BlockDiagonal,
    Diagonal,
    Diffuse,
    EqualVarCov,
    Fixed,
    Full,
    Isotropic,
    Known,
    Partly,
    Pattern,
    Scaled,
)

FREE = {
    "F": Full(),
    "b": Full(),
    "Q": Full(),
    "H": Full(),
    "d": Full(),
    "R": Full(),
    "m": Full(),
    "P": Full(),
}


def model_of(system, forms, **options):
    """Return a `LinearGaussian` with `forms` by letter; every other parameter is fixed at the system's value."""
    named = {}
    for letter, name in bf.NAMES.items():
        value = getattr(system, name)
        if letter in forms:
            named[name] = forms[letter]
        elif value is not None:
            named[name] = Fixed(value)
    if system.noise_selection is not None:
        options["noise_selection"] = system.noise_selection
    return kem.LinearGaussian(system.state_dim, system.obs_dim, **named, **options)


def case(seed, forms, *, d=2, p=3, lengths=(9,), missing=0.25, missing_rows=(3,), step="first", **system_options):
    """Return the problem, its parameters before the step, and the series as the filter sees them."""
    rng = np.random.default_rng(seed)
    system = random_system(rng, d, p, max(lengths), **system_options)
    series = [
        random_observations(rng, system, n, missing=missing, missing_rows=[t for t in missing_rows if t < n])
        for n in lengths
    ]
    if step == "before":
        # The input of the step before the first row is not among the data.
        system = replace(system, transition_input=None)
    problem, led = problem_of(model_of(system, forms, initial_step=step), *series)
    return problem, projected(problem, system), led


def check(new, expected, tolerance=1e-6):
    for letter, value in expected.items():
        ours = getattr(new, bf.NAMES[letter])
        if ours is None:
            # A block that the system does not have stands for zeros.
            assert not np.any(value), letter
            continue
        np.testing.assert_allclose(
            ours, value, rtol=0.0, atol=tolerance * np.abs(value).max(initial=1e-300), err_msg=letter
        )


CASES = {
    "everything full": (FREE, {}),
    "complete data": (FREE, {"missing": 0.0, "missing_rows": ()}),
    "half missing, full R": ({"R": Full(), "H": Full(), "d": Full()}, {"missing": 0.5, "missing_rows": (0, 4)}),
    "R alone, partly missing": ({"R": Full()}, {"missing": 0.4}),
    "R diagonal beside a free H": ({"R": Diagonal(), "H": Full()}, {"missing": 0.4}),
    "R isotropic": ({"R": Isotropic(), "d": Full()}, {"missing": 0.4}),
    "R in blocks": ({"R": BlockDiagonal([(Full(), 2), (Isotropic(), 1)]), "H": Full()}, {"missing": 0.4}),
    "R in blocks, one fixed": (
        {"R": BlockDiagonal([(Diagonal(), 2), (Fixed([[0.7]]), 1)]), "d": Full()},
        {"missing": 0.4},
    ),
    "whole rows missing": (FREE, {"missing": 0.0, "missing_rows": (0, 3, 4, 8)}),
    "Q alone": ({"Q": Full()}, {}),
    "Q diagonal, F diagonal": ({"Q": Diagonal(), "F": Diagonal()}, {}),
    "Q full, F diagonal, b full": ({"Q": Full(), "F": Diagonal(), "b": Full()}, {}),
    "Q full, F isotropic, b one number": ({"Q": Full(), "F": Isotropic(), "b": Isotropic()}, {}),
    "Q isotropic, F full": ({"Q": Isotropic(), "F": Full(), "b": Full()}, {}),
    "Q fixed, F diagonal": ({"F": Diagonal()}, {}),
    "Q in blocks": ({"Q": BlockDiagonal([(Full(), 2), (Diagonal(), 1)]), "F": Full()}, {"d": 3, "p": 2}),
    "b alone": ({"b": Full()}, {}),
    "R full, H square and diagonal": ({"R": Full(), "H": Diagonal(), "d": Full()}, {"p": 2}),
    "R full, d one number": ({"R": Full(), "d": Isotropic()}, {}),
    "inputs free": (FREE | {"B": Full(), "D": Full()}, {"input_dim": 2, "lengths": (14,)}),
    "inputs free, F and H fixed": ({"B": Full(), "D": Full(), "Q": Full(), "R": Full()}, {"input_dim": 1}),
    "inputs in one number": ({"D": Isotropic(), "B": Diagonal(), "Q": Full(), "R": Full()}, {"input_dim": 2, "p": 2}),
    "known inputs": (FREE, {"input_dim": 2}),
    "panel": (FREE, {"lengths": (7, 4, 9, 2)}),
    "panel with a single row": (FREE, {"lengths": (8, 1, 5), "missing_rows": ()}),
    "panel, forms": (
        {"F": Diagonal(), "Q": Full(), "H": Full(), "R": Isotropic(), "m": Full(), "P": Diagonal()},
        {"lengths": (7, 4, 9)},
    ),
    "panel, P isotropic": ({"m": Full(), "P": Isotropic()}, {"lengths": (4, 5, 6, 3)}),
    "P in blocks, m fixed": ({"P": BlockDiagonal([(Full(), 2), (Full(), 1)])}, {"d": 3, "lengths": (4, 5)}),
    "m fixed, P full": ({"P": Full()}, {"lengths": (4, 5, 6)}),
    "m alone": ({"m": Full()}, {"lengths": (4, 5, 6)}),
    "m one number, P fixed": ({"m": Isotropic()}, {"lengths": (4, 5, 6)}),
    "panel, m one number, P full": ({"m": Isotropic(), "P": Full()}, {"lengths": (4, 5, 6, 3, 4)}),
    "panel, m one number, P diagonal": ({"m": Isotropic(), "P": Diagonal()}, {"lengths": (4, 5, 6, 3, 4)}),
    "diffuse, H known": (
        {"F": Full(), "b": Full(), "Q": Full(), "d": Full(), "R": Full(), "m": Fixed(0), "P": Diffuse()},
        {"missing_rows": (0, 4), "lengths": (12,)},
    ),
    "diffuse, Q known": (
        {"F": Full(), "b": Full(), "H": Full(), "d": Full(), "R": Full(), "m": Fixed(0), "P": Diffuse()},
        {"missing_rows": (0, 4), "lengths": (12,)},
    ),
    "diffuse, panel, forms": (
        {"F": Diagonal(), "Q": Full(), "R": Diagonal(), "m": Fixed(0), "P": Diffuse()},
        {"missing_rows": (4,), "lengths": (9, 7)},
    ),
    "F in names, b a combination": (
        {"F": Pattern([["a", "b"], ["0.1-b", "a"]]), "b": Pattern(["1+u", "2*u"]), "Q": Full()},
        {},
    ),
    "F partly known, Q in names": (
        {
            "F": Partly([[0.5, 0.0], [0.0, 0.0]], free=[[False, True], [True, True]]),
            "Q": Pattern([["q", 0], [0, "3*q"]]),
        },
        {},
    ),
    "loadings with zeros": (
        {"H": Pattern([["z11", 0], ["z21", "z22"], ["z31", "z32"]]), "R": Diagonal(), "d": Full()},
        {"missing": 0.4},
    ),
    "R scaled": ({"R": Scaled(np.diag([1.0, 100.0, 1e-3])), "H": Full()}, {"missing": 0.4}),
    "R scaled and correlated": ({"R": Scaled(1.0 + np.eye(3)), "d": Full()}, {"missing": 0.4}),
    "R of equal variances and covariances": ({"R": EqualVarCov(), "d": Pattern(["x", "x", "y"])}, {"missing": 0.4}),
    "R with a known block": (
        {
            "R": Partly(np.diag([0.5, 0.0, 0.0]), free=np.pad(np.ones((2, 2), dtype=bool), ((1, 0), (1, 0)))),
            "H": Full(),
        },
        {"missing": 0.4},
    ),
    "R in shared names": ({"R": Pattern([["r", 0, 0], [0, "s", 0], [0, 0, "r"]]), "d": Full()}, {"missing": 0.4}),
    "Q climbed": ({"Q": Partly([[0.0, 0.1], [0.1, 0.0]], free=np.eye(2, dtype=bool)), "R": Full()}, {}),
    "R climbed": ({"R": Pattern([["a", "c", 0], ["c", "a", "c"], [0, "c", "b"]])}, {"missing": 0.4}),
    "Q scaled, panel": ({"Q": Scaled([[1 / 3, 1 / 2], [1 / 2, 1.0]]), "F": Diagonal()}, {"lengths": (7, 4, 9)}),
    "P scaled": ({"m": Full(), "P": Scaled([[2.0, 0.5], [0.5, 1.0]])}, {"lengths": (4, 5, 6, 3)}),
    "wide": (FREE, {"d": 1, "p": 5, "missing": 0.4}),
    "tall": (FREE, {"d": 3, "p": 1, "lengths": (14,), "missing": 0.1}),
}


@pytest.mark.parametrize("name", CASES)
def test_one_step_is_the_brute_force_maximiser(name):
    forms, options = CASES[name]
    problem, params, led = case(7, forms, **options)
    expected, _ = bf.maximise([(params, one) for one in led], blocks_of(problem, params))
    new = one_step(problem, params)
    check(new, expected)
    moved = [letter for letter, form in forms.items() if not isinstance(form, Fixed | Diffuse)]
    assert all(np.any(getattr(new, bf.NAMES[x]) != getattr(params, bf.NAMES[x])) for x in moved)


BEFORE = {
    "states": {"F": Full(), "b": Full(), "Q": Full(), "m": Full(), "P": Full()},
    "states, forms": {"F": Diagonal(), "b": Full(), "Q": Diagonal(), "P": Isotropic()},
    "observations": {"H": Full(), "d": Full(), "R": Full()},
    "observations, inputs": {"H": Full(), "D": Full(), "R": Diagonal()},
    "observations, known R": {"H": Full(), "d": Full(), "D": Full()},
}


@pytest.mark.parametrize("name", BEFORE)
@pytest.mark.parametrize("lengths", [(9,), (8, 5)], ids=str)
def test_one_step_with_the_prior_one_step_before(name, lengths):
    forms = BEFORE[name]
    problem, params, led = case(7, forms, lengths=lengths, input_dim=1, step="before")
    blocks = blocks_of(problem, params)
    expected = {}
    if any(letter in "mP" for letter in blocks):
        initial = {letter: blocks.pop(letter) for letter in "mP" if letter in blocks}
        expected |= {letter: value for letter, value in _initial(params, led, initial).items() if letter in initial}
    expected |= maximise_by_steps(params, led, blocks, n_leading=1)
    check(one_step(problem, params), expected)


def _initial(params, led, blocks):
    return bf.maximise([(params, one) for one in led], blocks)[0]


def test_noise_selection():
    rng = np.random.default_rng(3)
    system = random_system(rng, 3, 2, 9, noise_dim=1, cov_rank=1)
    # Noise enters along one direction; rows 0 and 1 of F and b stay known, row 2 is the only free one.
    system = replace(system, noise_selection=[[0.0], [0.0], [1.0]])
    one = random_observations(rng, system, 12, missing=0.2, missing_rows=(5,))
    forms = {"Q": Full(), "H": Full(), "R": Full(), "m": Full(), "P": Full()}
    problem, led = problem_of(model_of(system, forms), one)
    params = projected(problem, system)
    expected, _ = bf.maximise([(params, led[0])], blocks_of(problem, params))
    check(one_step(problem, params), expected)


@pytest.mark.parametrize("q_form", [Full(), Diagonal(), Isotropic()], ids=str)
def test_noise_selection_of_two_of_three_rows(q_form):
    rng = np.random.default_rng(4)
    system = random_system(rng, 3, 2, 9, noise_dim=2)
    one = random_observations(rng, system, 9, missing=0.2)
    problem, led = problem_of(model_of(system, {"Q": q_form, "R": Diagonal(), "d": Full()}), one)
    params = projected(problem, system)
    expected, _ = bf.maximise([(params, led[0])], blocks_of(problem, params))
    check(one_step(problem, params), expected)


def test_square_noise_selection_with_free_coefficients():
    """G is invertible, so every row of F has noise and may be free."""
    rng = np.random.default_rng(5)
    system = random_system(rng, 2, 2, 9, noise_dim=2)
    one = random_observations(rng, system, 9, missing=0.2)
    problem, led = problem_of(model_of(system, {"F": Full(), "b": Full(), "Q": Diagonal(), "R": Full()}), one)
    params = projected(problem, system)
    expected, _ = bf.maximise([(params, led[0])], blocks_of(problem, params))
    check(one_step(problem, params), expected)


VARYING = {
    "Q weighs F and b": ("Q", {"F": Full(), "b": Full()}),
    "Q weighs F and B": ("Q", {"F": Full(), "B": Full()}),
    "Q weighs a diagonal F": ("Q", {"F": Diagonal()}),
    "R weighs H and d": ("R", {"H": Full(), "d": Full()}),
    "R weighs H and D": ("R", {"H": Full(), "D": Full()}),
    "R weighs one number in d": ("R", {"d": Isotropic()}),
    "F varies, b and Q are free": ("F", {"b": Full(), "Q": Full()}),
    "b varies, F and Q are free": ("b", {"F": Full(), "Q": Diagonal()}),
    "H varies, d, D and R are free": ("H", {"d": Full(), "D": Full(), "R": Full()}),
    "d varies, H and R are free": ("d", {"H": Full(), "R": Full()}),
    "D varies, H and R are free": ("D", {"H": Full(), "R": Isotropic()}),
    "everything known varies": ("FbBQHdDR", {}),
    "F, B, b vary under a free Q": ("FBb", {"Q": Full()}),
    "Q and R both weigh": ("QR", {"F": Full(), "b": Full(), "B": Full(), "H": Full(), "d": Full(), "D": Full()}),
    "R weighs, one step before": ("R", {"H": Full(), "d": Full()}),
    "Q weighs, one step before": ("Q", {"F": Full(), "b": Full()}),
}


@pytest.mark.parametrize("name", VARYING)
def test_known_parameters_that_vary_in_time(name):
    varying, forms = VARYING[name]
    step = "before" if name.endswith("before") else "first"
    n_steps = 10
    problem, params, led = case(
        11,
        forms | {"m": Full()},
        p=2,
        lengths=(n_steps,),
        missing_rows=(3,),
        varying=varying,
        # With the prior one step before, T steps lead to T rows.
        n_transitions=n_steps - int(step == "first"),
        input_dim=1,
        step=step,
    )
    blocks = blocks_of(problem, params)
    del blocks["m"]
    new = one_step(problem, params)
    if forms:
        check(new, maximise_by_steps(params, led, blocks, n_leading=int(step == "before")))
    for letter in varying:
        if letter not in forms and getattr(params, bf.NAMES[letter]) is not None:
            assert np.array_equal(getattr(new, bf.NAMES[letter]), getattr(params, bf.NAMES[letter]))


def over_time(n, dim=2, spread=10.0):
    rng = np.random.default_rng(n)
    return np.stack([random_cov(rng, dim) for _ in range(n)]) * np.geomspace(1.0, spread, n)[:, None, None]


LEARNT_OVER_TIME = {
    "R times a factor, H and d free": {"R": Scaled(over_time(10)), "H": Full(), "d": Full()},
    "reported variances times a factor": {"R": Scaled(Known(np.geomspace(0.1, 3.0, 20).reshape(10, 2))), "H": Full()},
    "reported covariances, H in names": {"R": Known(over_time(10)), "H": Pattern([["a", "b"], ["b", "1+a"]])},
    "other variances in the second half": {
        "R": Pattern([[["r", 0], [0, "s"]]] * 4 + [[["t", 0], [0, "s"]]] * 6),
        "d": Full(),
    },
    "a known block beside a learnt one": {"R": BlockDiagonal([(Known(np.ones((10, 1))), 1), (Full(), 1)]), "H": Full()},
    "Q times a factor, F, b and B free": {"Q": Scaled(over_time(9)), "F": Full(), "b": Full(), "B": Full()},
    "Q times a factor with an entry to spare, F diagonal": {"Q": Scaled(over_time(10)), "F": Diagonal()},
    "both, one step before": {"Q": Scaled(over_time(9)), "F": Full(), "R": Scaled(over_time(10)), "H": Full()},
    "R climbed": {"R": Pattern([[["a", 0], [0, "0.1+a"]]] * 5 + [[["a", 0], [0, "0.3+a"]]] * 5)},
}


@pytest.mark.parametrize("name", LEARNT_OVER_TIME)
def test_covariances_that_are_learnt_and_vary_in_time(name):
    forms = LEARNT_OVER_TIME[name]
    step = "before" if name.endswith("before") else "first"
    problem, params, led = case(
        13, forms | {"m": Full()}, p=2, lengths=(10,), missing=0.3, missing_rows=(3,), input_dim=1, step=step
    )
    blocks = blocks_of(problem, params)
    del blocks["m"]
    for letter in "QR":
        value = getattr(params, bf.NAMES[letter])
        if letter in blocks and value.ndim == 3 and step == "before":
            family = problem.specification.noise(bf.NAMES[letter]).family
            basis = family.basis()[0]
            blocks[letter] = bf.Block(np.log(family.free(value)), lambda theta, basis=basis: np.exp(theta[0]) * basis)
    new = one_step(problem, params)
    moved = [not np.allclose(getattr(new, bf.NAMES[n]), getattr(params, bf.NAMES[n]), rtol=1e-6) for n in blocks]
    assert moved
    assert all(moved)
    check(new, maximise_by_steps(params, led, blocks, n_leading=int(step == "before")))


def test_a_factor_reaches_the_maximum_of_the_likelihood():
    """R = r diag(1, 100) and Q = q [[1/3, 1/2], [1/2, 1]]: a projection in the place of the mean misses it."""
    rng = np.random.default_rng(20)
    G, S = np.array([[1 / 3, 1 / 2], [1 / 2, 1.0]]), np.diag([1.0, 100.0])
    F = np.array([[1.0, 1.0], [0.0, 1.0]])
    system = kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=1.5 * G,
        observation_matrix=np.eye(2),
        observation_cov=1.2 * S,
        initial_mean=np.zeros(2),
        initial_cov=np.eye(2),
    )
    one = random_observations(rng, system, 80, missing=0.1)
    forms = {"Q": Scaled(G, name="q"), "R": Scaled(S, name="r")}
    tight = kem.Stopping(max_iterations=2000, relative_tolerance=1e-14, parameter_tolerance=1e-9)
    fitted = kem.fit(model_of(system, forms), one, stopping=tight)

    def loss(v):
        q, r = np.exp(v)
        return -log_likelihood(replace(system, transition_cov=q * G, observation_cov=r * S), one)

    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12})
    assert fitted.log_likelihood >= -found.fun - 1e-9
    np.testing.assert_allclose([float(fitted.params.q), float(fitted.params.r)], np.exp(found.x), rtol=1e-5)


def test_fixed_comes_back_bit_identical():
    rng = np.random.default_rng(1)
    system = random_system(rng, 2, 3, 9, input_dim=1)
    one = random_observations(rng, system, 9, missing=0.3, missing_rows=(4,))
    for letter, name in bf.NAMES.items():
        value = getattr(system, name)
        others = {x: form for x, form in FREE.items() if x != letter}
        problem, _ = problem_of(model_of(system, others), one)
        params = projected(problem, system)
        path = [params for params, _ in plain_em(problem, params, 3)]
        assert all(np.array_equal(getattr(params, name), value) for params in path), letter
        moving = "transition_matrix" if letter == "Q" else "transition_cov"
        assert not np.array_equal(getattr(path[-1], moving), getattr(path[0], moving))


def test_a_fixed_block_comes_back_bit_identical():
    value = np.array([[0.1, 0.03], [0.03, 0.3]])
    form = BlockDiagonal([(Full(), 1), (Fixed(value), 2)])
    problem, params, _ = case(2, {"R": form, "H": Full()}, missing=0.4)
    for system, _ in plain_em(problem, params, 3):
        assert np.array_equal(system.observation_cov[1:, 1:], value)
        assert not system.observation_cov[0, 1:].any()


@pytest.mark.parametrize("rank", [0, 1], ids=["P = 0", "P singular"])
@pytest.mark.parametrize("form", [Full(), Isotropic()], ids=str)
@pytest.mark.parametrize("lengths", [(9,), (7, 4)], ids=str)
def test_initial_mean_under_a_singular_initial_cov_maximises_the_likelihood_itself(rank, form, lengths):
    """EM cannot move a mean whose prior has no width: the step is the likelihood's own maximiser (ECME)."""
    problem, params, led = case(9, {"m": form, "Q": Full(), "R": Diagonal()}, lengths=lengths, initial_rank=rank)
    new = one_step(problem, params)
    basis = np.eye(2) if form == Full() else np.ones((1, 2))

    def at_mean(theta):
        return log_likelihood(replace(new, initial_mean=basis.T @ theta), *led)

    # The log-likelihood is a quadratic in m: differences of any width are exact.
    theta = np.linalg.lstsq(basis.T, new.initial_mean, rcond=None)[0]
    np.testing.assert_allclose(basis.T @ theta, new.initial_mean, rtol=1e-12)
    top, width = at_mean(theta), 0.5
    for step in width * np.eye(len(theta)):
        up, down = at_mean(theta + step), at_mean(theta - step)
        curvature = (2.0 * top - up - down) / width**2
        assert curvature > 0.0
        assert abs((up - down) / (2.0 * width)) < 1e-8 * max(curvature, 1.0)


def test_initial_mean_with_a_diffuse_looking_prior_agrees_with_its_limit():
    """Under a tiny but regular P the same step is plain EM, which hardly moves m; P = 0 must not be that."""
    problem, params, led = case(9, {"m": Full()}, initial_rank=0)
    moved = one_step(problem, params).initial_mean - params.initial_mean
    tiny, start, _ = case(9, {"m": Full()}, initial_rank=2)
    tiny_cov = 1e-10 * np.eye(2)
    system = replace(start, initial_cov=tiny_cov)
    crawling, _ = problem_of(model_of(system, {"m": Full()}), *led)
    crawled = one_step(crawling, system).initial_mean - system.initial_mean
    assert tiny.specification.is_free("initial_mean")
    assert np.abs(crawled).max() < 1e-6 < 1e-2 < np.abs(moved).max()


@pytest.mark.parametrize("forms", [FREE, {"Q": Diagonal(), "R": BlockDiagonal([(Full(), 2), (Full(), 1)])}], ids=len)
def test_steps_never_lower_the_log_likelihood_and_keep_covariances_symmetric(forms):
    problem, params, _ = case(21, forms, lengths=(12, 8))
    path = list(plain_em(problem, params, 40))
    values = np.array([value for _, value in path])
    assert np.all(np.diff(values) > -1e-10 * np.abs(values[1:]))
    assert values[-1] > values[0] + 1.0
    for system, _ in path:
        for letter in "QRP":
            cov = getattr(system, bf.NAMES[letter])
            assert np.array_equal(cov, cov.T)


def test_the_brute_force_maximiser_tells_a_wrong_step():
    """The comparison above is not vacuous: other parameters than the step's are found out."""
    problem, params, led = case(7, FREE)
    expected, _ = bf.maximise([(params, led[0])], blocks_of(problem, params))
    new = one_step(problem, params)
    wrong = replace(new, transition_cov=new.transition_cov * 1.00001)
    with pytest.raises(AssertionError):
        check(wrong, expected)
    with pytest.raises(AssertionError):
        check(replace(new, observation_cov=random_cov(np.random.default_rng(0), 3)), expected)
