"""Autoregressions and cycles that start from their stationary distribution, alone and beside diffuse parts of a sum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov
from statsmodels.tsa.statespace.sarimax import SARIMAX
from support.learning import log_likelihood, problem_of
from support.slopes import slopes

import kalman_em as kem
from kalman_em import BlockDiagonal, Diffuse, Fixed, Stationary
from kalman_em.models.cycle import rotation
from kalman_em.models.stationary import largest_modulus

TIGHT = kem.Stopping(max_iterations=3000, relative_tolerance=1e-12, parameter_tolerance=1e-8)
CONSTANT = kem.LocalLevel(level_cov=Fixed(0), observation_cov=Fixed(0))


def growth():
    return kem.Observations(kem.datasets.load("us_gnp_growth")["gnp_growth_pct"].to_numpy()[:, None])


def waves(seed, n_columns=1, n=100):
    """Return damped cycles about constants, with gaps."""
    rng = np.random.default_rng(seed)
    state, rows = rng.normal(size=(2, n_columns)), []
    for _ in range(n):
        state = rotation(8.0, 0.9) @ state + 0.5 * rng.normal(size=(2, n_columns))
        rows.append(5.0 + state[0] + 0.3 * rng.normal(size=n_columns))
    values = np.array(rows)
    values[0] = np.nan
    values[30:33, 0] = np.nan
    return kem.Observations(values)


def specified(model, one):
    return model.specify(kem.Panel([one]))


def test_each_part_of_a_sum_starts_as_its_states_do():
    model = kem.LocalLinearTrend() + kem.Autoregression(3) + kem.Seasonal(4) + kem.Cycle()
    specification = specified(model, waves(0, 2))
    assert specification.forms["initial_cov"] == BlockDiagonal(
        [(Diffuse(), 4), (Stationary(), 6), (Diffuse(), 6), (Stationary(), 4)]
    )
    assert specification.initial.stationary == (slice(4, 10), slice(16, 20))
    assert "initial_cov" not in specification.slots
    assert not specification.is_free("initial_mean")
    assert specified(kem.DampedTrend(), waves(0)).initial.diffuse.all()
    assert specified(kem.LocalLevel() + kem.Seasonal(4), waves(0)).forms["initial_cov"] == Diffuse()
    assert specified(kem.Autoregression(2), waves(0)).forms["initial_cov"] == Stationary()


@pytest.mark.parametrize(
    "part",
    [
        kem.Cycle(initial_cov=Diffuse()),
        kem.Cycle(cycle_cov=Fixed(0)),
        kem.Cycle(cycle_cov=Fixed(np.diag([1.0, 0.0]))),
        kem.Autoregression(2, initial_cov=Diffuse()),
        kem.Autoregression(2, autoregression_cov=Fixed(np.ones((100, 1, 1)) * np.eye(2))),
    ],
    ids=repr,
)
def test_a_start_is_diffuse_where_it_is_stated_or_there_is_no_other(part):
    component = part.component("part", kem.Panel([waves(1, 2)]))
    assert component.initial_cov == Diffuse()


def test_other_starts_are_refused():
    for make in (lambda: kem.Cycle(initial_cov=kem.Full()), lambda: kem.Autoregression(1, initial_cov=Fixed(1.0))):
        with pytest.raises(kem.InputError, match=r"initial_cov: expected Diffuse\(\) or Stationary\(\), got F"):
            make()


def test_the_first_states_of_several_columns_are_those_of_the_lyapunov_equation():
    one = waves(2, 2)
    model = kem.LocalLevel() + kem.Autoregression(2) + kem.Cycle()
    system = model.start(specified(model, one), kem.Panel([one]))
    F, G = system.transition_matrix, system.noise_selection
    noise = G @ system.transition_cov @ G.T
    assert system.initial_diffuse.tolist() == [True] * 2 + [False] * 8
    assert not system.initial_mean.any()
    for rows in (slice(2, 6), slice(6, 10)):
        expected = solve_discrete_lyapunov(F[rows, rows], noise[rows, rows])
        np.testing.assert_allclose(system.initial_cov[rows, rows], expected, rtol=1e-9, atol=1e-12 * expected.max())
    assert not system.initial_cov[:2].any()
    assert not system.initial_cov[2:6, 6:].any()


CASES = {
    "AR(2) about a constant": (CONSTANT + kem.Autoregression(2), growth),
    "AR(4) about a constant": (CONSTANT + kem.Autoregression(4), growth),
    "AR(1) alone, through noise": (kem.Autoregression(1), lambda: kem.Observations(waves(3).values - 5.0)),
    "level and AR(2) through noise": (kem.LocalLevel(level_cov=Fixed(0)) + kem.Autoregression(2), lambda: waves(4)),
    "level and cycle": (kem.LocalLevel(level_cov=Fixed(0)) + kem.Cycle(), lambda: waves(5)),
    "two columns": (
        kem.LocalLevel(level_cov=Fixed(0), observation_cov=Fixed(0.09 * np.eye(2))) + kem.Cycle(),
        lambda: waves(6, 2),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_em_never_falls_and_ends_where_the_gradient_vanishes(name):
    model, make = CASES[name]
    one = make()
    fitted = kem.fit(model, one, stopping=TIGHT)
    assert fitted.em.stop_reason.is_converged
    assert fitted.em.n_falls == 0
    heights = fitted.em.log_likelihoods
    assert np.all(np.diff(heights) > -1e-11 * (1.0 + np.abs(heights[1:])))
    assert largest_modulus(fitted.system, fitted.specification.initial) < 1.0
    problem, led = problem_of(model, one)
    assert log_likelihood(fitted.system, *led) == pytest.approx(fitted.log_likelihood, rel=1e-12)
    start = model.start(problem.specification, kem.Panel([one]))
    before, after = slopes(problem, start, led), slopes(problem, fitted.system, led)
    assert len(after) == problem.specification.n_parameters
    assert max(map(abs, before.values())) > 0.3
    assert {label: slope for label, slope in after.items() if abs(slope) < 2e-3} == after


@pytest.mark.parametrize("order", [1, 2, 4])
def test_an_autoregression_about_a_constant_is_where_statsmodels_ends(order):
    """The diffuse constant is one of restricted likelihood: at their coefficients both likelihoods are the same."""
    fitted = kem.fit(CONSTANT + kem.Autoregression(order), growth(), stopping=TIGHT)
    outside = SARIMAX(growth().values[:, 0], order=(order, 0, 0), trend="c")
    phi, q = fitted.params.autoregression, fitted.params.autoregression_cov[0, 0]
    # The restricted likelihood is theirs at the best mean, beside the information on the mean (Harville 1974).
    means = np.linspace(-1.0, 3.0, 5)
    heights = [outside.loglike([mean * (1.0 - phi.sum()), *phi, q]) for mean in means]
    curve = np.polyfit(means, heights, 2)
    best = curve[2] - curve[1] ** 2 / (4.0 * curve[0])
    restricted = best - 0.5 * np.log(-2.0 * curve[0])
    # In the sense of Durbin and Koopman the 2π of what the mean takes up counts too.
    assert fitted.log_likelihood == pytest.approx(restricted, abs=1e-7)
    assert fitted.params.autoregression == pytest.approx(outside.fit(disp=0).params[1:-1], abs=0.02)


def test_standard_errors_of_a_start_that_moves():
    """Beside the curvature of the log-likelihood, the stationary start moved along."""
    one = kem.Observations(waves(7, n=60).values - 5.0)
    model = kem.Autoregression(1, observation_cov=Fixed(0.09))
    fitted = kem.fit(model, one, stopping=TIGHT)
    at = np.array([fitted.params.autoregression[0], fitted.params.autoregression_cov[0, 0]])

    def height(phi, q):
        system = fitted.system.replaced(transition_matrix=np.array([[phi]]), transition_cov=np.array([[q]]))
        return log_likelihood(fitted.specification.settled(system), one)

    h = 1e-3 * np.eye(2)
    information = np.array(
        [[-sum(height(*(at + a * u + b * v)) * a * b for a in (1, -1) for b in (1, -1)) / 4e-6 for u in h] for v in h]
    )
    expected = np.sqrt(np.diagonal(np.linalg.inv(information)))
    errors = fitted.standard_errors
    np.testing.assert_allclose([errors.autoregression[0], errors.autoregression_cov[0, 0]], expected, rtol=1e-3)
    forgetful = kem.fit(kem.Autoregression(1, observation_cov=Fixed(0.09), initial_cov=Diffuse()), one, stopping=TIGHT)
    assert abs(forgetful.standard_errors.autoregression[0] / expected[0] - 1.0) > 1e-3


def test_standard_errors_beside_a_diffuse_level():
    fitted = kem.fit(CONSTANT + kem.Autoregression(2), growth(), stopping=TIGHT)
    # Of an autoregression seen without noise they are those of least squares, nearly.
    y = growth().values[:, 0]
    X = np.column_stack([np.ones(len(y) - 2), y[1:-1], y[:-2]])
    residual = y[2:] - X @ np.linalg.lstsq(X, y[2:], rcond=None)[0]
    expected = np.sqrt(np.diagonal(np.linalg.inv(X.T @ X)) * residual.var())[1:]
    np.testing.assert_allclose(fitted.standard_errors.autoregression, expected, rtol=0.05)
    assert "autoregression" in str(fitted.summary(standard_errors=True))


def test_random_starts_are_stationary_and_differ():
    one = waves(8)
    model = kem.LocalLevel() + kem.Autoregression(2) + kem.Cycle()
    specification, panel = specified(model, one), kem.Panel([one])
    rng = np.random.default_rng(0)
    drawn = [model.random_start(specification, panel, rng) for _ in range(6)]
    assert len({system.transition_matrix.tobytes() for system in drawn}) == 6
    for system in drawn:
        assert largest_modulus(system, specification.initial) < 1.0
        again = specification.settled(system)
        np.testing.assert_array_equal(again.initial_cov, system.initial_cov)


def test_a_wave_that_never_dies_away_is_a_matter_of_a_diffuse_start():
    t = np.arange(80)
    values = np.cos(2.0 * np.pi * t / 9.0) + 0.1 * np.random.default_rng(9).normal(size=80)
    with pytest.raises(kem.InputError, match=r"eigenvalue .* of modulus 1"):
        kem.fit(kem.Cycle(), values, start={"cycle_damping": [1.0]})
    stopping = kem.Stopping(max_iterations=300)
    inside = kem.fit(kem.LocalLevel(level_cov=Fixed(0)) + kem.Cycle(), values, stopping=stopping)
    assert inside.em.n_falls == 0
    assert 0.95 < inside.params.cycle_damping[0] < 1.0
    still = kem.LocalLevel(level_cov=Fixed(0)) + kem.Cycle(initial_cov=Diffuse())
    assert kem.fit(still, values, stopping=stopping).params.cycle_period[0] == pytest.approx(9.0, rel=1e-2)


def test_fits_of_many_series_are_those_of_each():
    panel = kem.Panel([waves(10), waves(11)], keys=("a", "b"))
    model, stopping = kem.LocalLevel() + kem.Cycle(), kem.Stopping(max_iterations=5)
    many = kem.fit_each(model, panel, stopping=stopping)
    for key, one in zip(panel.keys, panel, strict=True):
        alone = kem.fit(model, one, stopping=stopping)
        assert many[key].log_likelihood == alone.log_likelihood


@pytest.mark.parametrize("part", [kem.Autoregression(2), kem.Cycle()], ids=repr)
def test_statsmodels_as_a_whole_agrees(part):
    """Likelihood, smoother and the optimum of another optimiser, the start moving with the transition in both."""
    fitted = kem.fit(kem.LocalLevel(level_cov=Fixed(0)) + part, waves(13), stopping=TIGHT)
    found = fitted.crosscheck(max_iterations=60)
    assert found.relative_difference < 1e-9
    assert found.agrees
    assert found.from_our_estimates == pytest.approx(fitted.log_likelihood, abs=1e-6)


def test_a_fit_says_how_it_starts_and_is_read_back(tmp_path):
    fitted = kem.fit(kem.LocalLevel() + kem.Autoregression(2), waves(12), stopping=kem.Stopping(max_iterations=3))
    text = str(fitted.summary())
    assert "1 diffuse, 2 stationary" in text
    assert "Generalised M-step: the stationary start moves" in text
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.model == fitted.model
    np.testing.assert_array_equal(loaded.system.initial_cov, fitted.system.initial_cov)
    assert fitted.simulate(5, rng=np.random.default_rng(0)).shape == (5, 1)
