"""Stationary initial states: EM climbs to the maximum of the likelihood that moves with its own start."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy
from oracles import bruteforce as bf
from statsmodels.tools.sm_exceptions import OutputWarning
from statsmodels.tsa.statespace.initialization import Initialization
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother
from statsmodels.tsa.statespace.sarimax import SARIMAX
from support.learning import log_likelihood, one_step, problem_of
from support.slopes import slopes
from support.systems import random_cov, random_transition

import kalman_em as kem
from kalman_em import BlockDiagonal, Diagonal, Diffuse, Fixed, Full, Stationary
from kalman_em.models.stationary import largest_modulus

TIGHT = kem.Stopping(max_iterations=800, relative_tolerance=1e-11, parameter_tolerance=1e-7)


def vector_series(seed, d=2, n=60, *, radius=0.9, mean=0.0, n_series=1):
    """Return series of a stationary vector autoregression seen through noise, with gaps."""
    rng = np.random.default_rng(seed)
    F, Q = random_transition(rng, d, radius=radius), random_cov(rng, d)
    m, P = kem.stationary_moments(F, Q)
    found = []
    for _ in range(n_series):
        x, rows = rng.multivariate_normal(m, P), []
        for _ in range(n):
            rows.append(mean + x + 0.7 * rng.normal(size=d))
            x = F @ x + rng.multivariate_normal(np.zeros(d), Q)
        values = np.array(rows)
        if n > 30:
            values[7, 0] = np.nan
            values[20:23] = np.nan
        found.append(kem.Observations(values))
    return found


def one_state(**forms):
    forms = {"observation_matrix": Fixed([[1.0]]), "initial_cov": Stationary()} | forms
    return kem.LinearGaussian(1, 1, **forms), vector_series(1, d=1, n=80, mean=3.0)


def offset():
    return one_state(transition_offset=Full())


def one_step_before():
    return one_state(transition_offset=Full(), initial_step="before")


def stated_mean():
    return one_state(initial_mean=Full())


def vector(form=None):
    model = kem.LinearGaussian(
        2,
        2,
        observation_matrix=Fixed(np.eye(2)),
        observation_cov=Fixed(0.49 * np.eye(2)),
        transition_cov=Full() if form is None else form,
        initial_cov=Stationary(),
    )
    return model, vector_series(2)


def vector_with_diagonal_noise():
    return vector(Diagonal())


def short_panel():
    """Many short series: the first states say as much as the transitions."""
    model = kem.LinearGaussian(
        1, 1, observation_matrix=Fixed([[1.0]]), observation_cov=Fixed([[0.49]]), initial_cov=Stationary()
    )
    return model, vector_series(3, d=1, n=4, n_series=30)


def noise_in_one_row():
    F = np.array([[0.6, 0.3], [0.0, 0.8]])
    model = kem.LinearGaussian(
        2,
        1,
        transition_matrix=Fixed(F),
        transition_cov=Full(),
        noise_selection=[[0.0], [1.0]],
        observation_matrix=Fixed([[1.0, 0.0]]),
        initial_cov=Stationary(),
    )
    return model, vector_series(4, d=1, n=80)


def trend_cycle_and_known():
    """A diffuse level, a stationary pair whose F and Q are learnt, a learnt and a known element."""
    model = kem.LinearGaussian(
        4,
        2,
        transition_matrix=Fixed(np.diag([1.0, 0.8, 0.3, 0.5])),
        transition_cov=BlockDiagonal([(Diagonal(), 2), (Fixed(np.eye(2)), 2)]),
        observation_matrix=Fixed([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 1.0]]),
        observation_cov=Diagonal(),
        initial_mean=None,
        initial_cov=BlockDiagonal([(Diffuse(), 1), (Stationary(), 1), (Fixed(np.eye(2)), 2)]),
    )
    return model, vector_series(5, n=80, radius=0.99, n_series=2)


def mean_beside_a_diffuse_level():
    """m of an element that is known without error at first moves by the likelihood itself."""
    model = kem.LinearGaussian(
        2,
        2,
        transition_matrix=Fixed(np.diag([1.0, 0.9])),
        transition_cov=Diagonal(),
        observation_matrix=Fixed([[1.0, 1.0], [0.0, 1.0]]),
        observation_cov=Diagonal(),
        initial_cov=BlockDiagonal([(Diffuse(), 1), (Fixed(0.0), 1)]),
    )
    return model, vector_series(9, n=60)


CASES = [
    offset,
    one_step_before,
    stated_mean,
    vector,
    vector_with_diagonal_noise,
    short_panel,
    noise_in_one_row,
    trend_cycle_and_known,
    mean_beside_a_diffuse_level,
]


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_the_gradient_vanishes_and_the_objective_never_fell(make):
    model, series = make()
    problem, led = problem_of(model, *series, leaps=True)
    start = model.start(problem.specification, kem.Panel(series))
    result = kem.run_em(problem, start, stopping=TIGHT)
    assert np.all(np.diff(result.log_likelihoods) > -1e-11 * (1.0 + np.abs(result.log_likelihoods[1:])))
    assert result.log_likelihood == pytest.approx(log_likelihood(result.params, *led), rel=1e-12)
    before, after = slopes(problem, start, led), slopes(problem, result.params, led)
    assert len(after) == problem.specification.n_parameters
    assert max(map(abs, before.values())) > 0.3
    assert {label: slope for label, slope in after.items() if abs(slope) < 2e-3} == after


def test_without_the_first_states_in_the_m_step_the_end_is_elsewhere():
    """The criterion above bites: the closed form that forgets them ends where the gradient is not 0."""
    model, series = short_panel()
    problem, led = problem_of(model, *series)
    forgetful = kem.LinearGaussian(
        1, 1, observation_matrix=Fixed([[1.0]]), observation_cov=Fixed([[0.49]]), initial_cov=Full()
    )
    other, _ = problem_of(forgetful, *series)
    params = model.start(problem.specification, kem.Panel(series))
    for _ in range(60):
        expectations, _ = problem.e_step(params)
        closed = other.m_step(params, expectations)
        params = problem.specification.settled(
            params.replaced(transition_matrix=closed.transition_matrix, transition_cov=closed.transition_cov)
        )
    assert max(map(abs, slopes(problem, params, led).values())) > 0.1


def _complex_moments(F, b, Q):
    d = len(F)
    P = np.linalg.solve(np.eye(d * d) - np.kron(F, F), Q.reshape(-1)).reshape(d, d)
    return np.linalg.solve(np.eye(d) - F, b), P


@pytest.mark.parametrize("make", [offset, vector, short_panel], ids=lambda make: make.__name__)
def test_one_m_step_gains_what_there_is_to_gain(make):
    """Beside a numerical maximiser of the expected complete log-likelihood, first states included."""
    model, series = make()
    problem, led = problem_of(model, *series)
    params = model.start(problem.specification, kem.Panel(series))
    each = [bf.expected_moments(params, one) for one in led]
    moments = [sum(rest, first) for first, *rest in zip(*each, strict=True)]
    old = bf.constants(params)
    blocks = {"F": bf.free(old["F"]), "Q": bf.full_cov(old["Q"])}
    if problem.specification.is_free("transition_offset"):
        blocks["b"] = bf.free(old["b"])
    ends = np.cumsum([len(block.start) for block in blocks.values()])[:-1]

    def expected(values):
        m, P = _complex_moments(values["F"], values["b"], values["Q"])
        parts = ("initial", "transition")
        return bf.expected_log_likelihood(moments, {**values, "m": m, "P": P}, parts)

    def build(theta):
        pieces = np.split(theta, ends)
        return old | {name: block.build(piece) for (name, block), piece in zip(blocks.items(), pieces, strict=True)}

    stepped = one_step(problem, params)
    # From there: the numbers of the maximiser are unbounded, and it must not leave the unit circle.
    near = bf.constants(stepped)
    blocks = {"F": bf.free(near["F"]), "Q": bf.full_cov(near["Q"])} | (
        {"b": bf.free(near["b"])} if "b" in blocks else {}
    )
    theta = bf.climb(lambda x: -expected(build(x)), np.concatenate([block.start for block in blocks.values()]))
    best = build(theta)
    assert np.abs(np.linalg.eigvals(best["F"])).max() < 1.0
    whole = expected(best) - expected(old)
    assert 0.95 * whole <= expected(near) - expected(old) <= whole * (1.0 + 1e-9)


def test_an_ar1_through_noise_is_that_of_statsmodels():
    model, (one,) = offset()
    fitted = kem.fit(model, one, stopping=TIGHT)
    F, b, Q, R = (
        float(np.ravel(getattr(fitted.system, name))[0])
        for name in ("transition_matrix", "transition_offset", "transition_cov", "observation_cov")
    )
    outside = SARIMAX(one.values[:, 0], order=(1, 0, 0), trend="c", measurement_error=True)
    assert outside.loglike([b, F, R, Q]) == pytest.approx(fitted.log_likelihood, rel=1e-9)
    found = outside.fit([b, F, R, Q], disp=0, maxiter=200)
    assert found.llf == pytest.approx(fitted.log_likelihood, abs=1e-6)
    np.testing.assert_allclose([b, F, R, Q], found.params, rtol=2e-3)


@pytest.mark.parametrize("form", [Full(), Diagonal()], ids=str)
def test_a_vector_model_is_where_another_optimiser_ends(form):
    model, series = vector(form)
    fitted = kem.fit(model, series[0], stopping=TIGHT)
    found = fitted.crosscheck(max_iterations=40)
    assert found.relative_difference < 1e-9
    assert found.agrees
    assert found.from_our_estimates == pytest.approx(fitted.log_likelihood, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_mixed_starts_are_those_of_statsmodels(seed):
    """Two diffuse elements, two stationary, one known, missing rows in the diffuse phase: filter and smoother."""
    rng = np.random.default_rng(seed)
    p, d, n = 2 + seed % 2, 5, 25
    F = np.zeros((d, d))
    F[:2, :2] = [[1.0, 1.0], [0.0, 1.0]]
    F[:2, 2:] = 0.2 * rng.normal(size=(2, 3))
    F[2:4, 2:4] = random_transition(rng, 2, radius=0.9)
    F[4] = 0.3 * rng.normal(size=d)
    Q, b, H, R = random_cov(rng, d), rng.normal(size=d), rng.normal(size=(p, d)), random_cov(rng, p)
    V = np.array([[2.0]])
    values = rng.normal(size=(n, p)).cumsum(axis=0)
    values[0] = values[1, 0] = values[3, :] = np.nan
    values[rng.random((n, p)) < 0.2] = np.nan
    model = kem.LinearGaussian(
        d,
        p,
        transition_matrix=Fixed(F),
        transition_offset=Fixed(b),
        transition_cov=Fixed(Q),
        observation_matrix=Fixed(H),
        observation_cov=Fixed(R),
        initial_mean=None,
        initial_cov=BlockDiagonal([(Diffuse(), 2), (Stationary(), 2), (Fixed(V), 1)]),
    )
    one = kem.Observations(values)
    specification = model.specify(kem.Panel([one]))
    system = specification.projected({"initial_mean": np.full(d, 0.5), "initial_cov": np.eye(d)})
    assert system.initial_mean[4] == 0.5
    outside = KalmanSmoother(k_endog=p, k_states=d)
    outside.bind(np.array(values))
    places = {"design": H, "obs_cov": R, "transition": F, "state_cov": Q, "selection": np.eye(d)}
    for name, value in places.items():
        outside[name] = value
    outside["state_intercept"] = b[:, None]
    start = Initialization(d)
    start.set((0, 2), "diffuse")
    start.set((2, 4), "stationary")
    start.set((4, 5), "known", constant=system.initial_mean[4:], stationary_cov=V)
    outside.initialization, outside.filter_univariate, outside.tolerance = start, True, 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutputWarning)  # about disturbances, which are not looked at
        theirs = outside.smooth()
    filtered = kem.kalman_filter(system, one)
    smoothed = kem.rts_smoother(system, filtered)
    assert filtered.log_likelihood == pytest.approx(theirs.llf, rel=1e-8)
    size = np.abs(theirs.smoothed_state).max()
    np.testing.assert_allclose(smoothed.smoothed_means, theirs.smoothed_state.T, rtol=0.0, atol=1e-8 * size)
    covs = np.moveaxis(theirs.smoothed_state_cov, -1, 0)
    np.testing.assert_allclose(smoothed.smoothed_covs, covs, rtol=0.0, atol=1e-8 * np.abs(covs).max())


@pytest.mark.parametrize("seed", range(3))
def test_data_with_a_unit_root_stay_inside_the_circle(seed):
    values = np.cumsum(np.random.default_rng(seed).normal(size=40))[:, None]
    fitted = kem.fit(one_state()[0], values, stopping=kem.Stopping(max_iterations=200))
    assert largest_modulus(fitted.system, fitted.specification.initial) < 1.0
    assert fitted.em.n_falls == 0
    assert np.isfinite(fitted.log_likelihood)


def test_states_as_good_as_non_stationary_end_the_run_by_name():
    model, series = one_state()
    problem, _ = problem_of(model, *series)
    start = model.start(problem.specification, kem.Panel(series))
    near = problem.specification.settled(start.replaced(transition_matrix=np.array([[1.0 - 5e-8]])))
    assert problem.examine(near) is kem.StopReason.unit_root
    assert problem.examine(start) is None
    assert "Diffuse()" in kem.StopReason.unit_root.remedy


REFUSED = {
    "the eigenvalue 1.2": {"transition_matrix": Fixed(np.diag([1.2, 0.5]))},
    "the eigenvalue 1 of modulus 1": {"transition_matrix": Fixed([[1.0, 0.0], [0.0, 0.5]])},
    "lets x2 move x1": {
        "transition_matrix": Fixed([[0.5, 1.0], [0.0, 0.5]]),
        "initial_cov": BlockDiagonal([(Stationary(), 1), (Full(), 1)]),
    },
    "lets x1 move x2": {"initial_cov": BlockDiagonal([(Full(), 1), (Stationary(), 1)])},
    "blocks of 3 rows in all, expected 2": {"initial_cov": BlockDiagonal([(Diffuse(), 1), (Stationary(), 2)])},
    "which is for initial_cov alone": {"transition_cov": BlockDiagonal([(Stationary(), 2)])},
    "transition_cov: varies in time": {"transition_cov": Fixed(np.ones((80, 1, 1)) * np.eye(2))},
    "blocks of initial_cov leave nothing to learn": {
        "transition_matrix": Diagonal(),
        "observation_matrix": Fixed(np.ones((1, 2))),
        "initial_cov": BlockDiagonal([(Diffuse(), 1), (Stationary(), 1)]),
        "initial_mean": Full(),
    },
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_has_no_stationary_start_is_refused(said):
    forms = {"initial_cov": Stationary()} | REFUSED[said]
    with pytest.raises(kem.InputError, match=said):
        kem.fit(kem.LinearGaussian(2, 1, **forms), np.random.default_rng(0).normal(size=80))


@pytest.mark.parametrize("model", [kem.LocalLevel, kem.LocalLinearTrend])
def test_models_that_walk_refuse_where_they_are_stated(model):
    for form in (Stationary(), BlockDiagonal([(Diffuse(), 1), (Stationary(), 1)])):
        with pytest.raises(kem.InputError, match="no stationary distribution"):
            model(initial_cov=form)


def test_a_start_outside_the_unit_circle_is_refused_by_its_eigenvalue():
    model, series = one_state()
    with pytest.raises(kem.InputError, match=r"it has the eigenvalue 1.1 of modulus 1.1"):
        kem.fit(model, series[0], start={"transition_matrix": 1.1})


def test_a_fit_knows_its_start(tmp_path):
    model, series = trend_cycle_and_known()
    fitted = kem.fit(model, kem.Panel(series), stopping=kem.Stopping(max_iterations=20))
    # Q of two states, R of two columns, m of the last two states.
    assert fitted.n_parameters == 2 + 2 + 2
    assert "1 diffuse, 1 stationary, 2 known" in str(fitted.summary())
    assert "Generalised M-step: the stationary start" in str(fitted.summary())
    assert fitted.system.initial_diffuse.tolist() == [True, False, False, False]
    assert fitted.system.initial_cov[1, 1] == pytest.approx(fitted.params.transition_cov[1, 1] / (1.0 - 0.8**2))
    fitted.save(tmp_path / "fit.json")
    again = kem.load(tmp_path / "fit.json")
    assert again.params == fitted.params
    assert again.model == fitted.model
    assert again.log_likelihood == fitted.log_likelihood
    assert again.specification.start_moves
    refit = fitted.refit(kem.Panel(series), stopping=kem.Stopping(max_iterations=5))
    assert refit.log_likelihood >= fitted.log_likelihood - 1e-9


def test_several_starts_stay_inside():
    model, series = vector()
    fitted = kem.fit(model, series[0], n_starts=3, seed=1, stopping=kem.Stopping(max_iterations=15))
    assert np.isfinite(fitted.em.start_log_likelihoods).all()
    assert largest_modulus(fitted.system, fitted.specification.initial) < 1.0


def test_a_diffuse_block_that_the_data_never_resolve_is_an_error():
    model = kem.LinearGaussian(
        2,
        1,
        transition_matrix=Fixed(np.diag([1.0, 0.5])),
        transition_cov=Diagonal(),
        observation_matrix=Fixed([[0.0, 1.0]]),
        initial_cov=BlockDiagonal([(Diffuse(), 1), (Stationary(), 1)]),
    )
    values = np.random.default_rng(0).normal(size=30)
    with pytest.raises(kem.NumericalError, match="diffuse"):
        kem.fit(model, values)


def test_quasi_newton_steps_know_that_the_start_moves():
    """Where noise covariances alone are learnt: the score of the climb is that of the likelihood."""
    model = kem.LinearGaussian(
        2,
        2,
        transition_matrix=Fixed([[0.7, 0.2], [-0.1, 0.5]]),
        observation_matrix=Fixed(np.eye(2)),
        observation_cov=Diagonal(),
        initial_cov=Stationary(),
    )
    series = vector_series(6, n=5, n_series=12)
    problem, led = problem_of(model, *series, leaps=True)
    start = model.start(problem.specification, kem.Panel(series))
    found = problem.climb(start)
    assert log_likelihood(found, *led) > log_likelihood(start, *led)
    assert max(map(abs, slopes(problem, found, led).values())) < 1e-2
    P = scipy.linalg.solve_discrete_lyapunov(found.transition_matrix, found.transition_cov)
    np.testing.assert_allclose(found.initial_cov, P, rtol=1e-10)
