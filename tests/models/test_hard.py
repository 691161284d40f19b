"""Hard EM of state spaces: a joint maximum over states and parameters, which collapses where there is none."""

import numpy as np
import pytest
from scipy import optimize, stats

import kalman_em as kem
from kalman_em.fitting.learning import stated
from kalman_em.models.hard import HardProblem
from kalman_em.models.leading import rows_of
from kalman_em.models.scale import data_scale

NAN = np.nan


def tracked(n=60, seed=0, missing=0.1):
    rng = np.random.default_rng(seed)
    x = np.zeros(n)
    for t in range(1, n):
        x[t] = 0.8 * x[t - 1] + rng.normal()
    rows = x[:, None] * [1.0, 0.5] + rng.normal(size=(n, 2)) * [0.7, 0.55]
    rows[rng.random(rows.shape) < missing] = NAN
    return rows


def problem_of(model, data):
    specification, panel = stated(model, data)
    problem = HardProblem(specification, rows_of(panel, specification), data_scale(panel))
    return problem, model.start(specification, panel)


def log_density(system, values, states):
    """Return log p(y, x) of one series, factor by factor; the initial state must not be diffuse."""
    H, R = system.observation_matrix, system.observation_cov
    height = stats.multivariate_normal.logpdf(states[0], system.initial_mean, system.initial_cov)
    for t, row in enumerate(values):
        if t:
            moved = system.transition_matrix @ states[t - 1] + system.transition_offset
            height += stats.multivariate_normal.logpdf(states[t], moved, system.transition_cov)
        o = np.flatnonzero(~np.isnan(row))
        if len(o):
            seen = H[o] @ states[t] + system.observation_offset[o]
            height += stats.multivariate_normal.logpdf(row[o], seen, R[np.ix_(o, o)])
    return height


def some_system(d=2, p=3, seed=0):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(3, 5, 5))
    covs = [roots[k, :n, :n] @ roots[k, :n, :n].T + np.eye(n) for k, n in enumerate((d, p, d))]
    return {
        "transition_matrix": 0.5 * rng.normal(size=(d, d)), "transition_cov": covs[0], "observation_offset": np.ones(p),
        "observation_matrix": rng.normal(size=(p, d)), "observation_cov": covs[1], "initial_mean": np.ones(d),
        "initial_cov": covs[2],
    }  # fmt: skip


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_objective_is_the_highest_log_density_of_data_and_states(missing):
    values, rng = np.random.default_rng(1).normal(size=(6, 3)), np.random.default_rng(0)
    values[rng.random(values.shape) < missing] = NAN
    known = {name: kem.Fixed(value) for name, value in some_system().items()}
    problem, system = problem_of(kem.LinearGaussian(2, 3, **known), values)
    expectations, height = problem.e_step(system)
    states = kem.rts_smoother(system, kem.kalman_filter(system, kem.Observations(values))).smoothed_means
    assert height == pytest.approx(log_density(system, values, states), rel=1e-11)
    for _ in range(20):
        assert log_density(system, values, states + 0.01 * rng.normal(size=states.shape)) < height
    # Sums of the smoothed means alone.
    moved = states[1:] - states[:-1] @ system.transition_matrix.T
    np.testing.assert_allclose(expectations.transition.residual[0], moved.T @ moved, rtol=1e-10)
    assert not expectations.initial_covs.any()


def test_many_columns_have_the_same_objective():
    values = np.random.default_rng(3).normal(size=(8, 14))
    values[2, 3:9] = NAN
    rng = np.random.default_rng(0)
    system = some_system() | {
        "observation_matrix": rng.normal(size=(14, 2)), "observation_offset": rng.normal(size=14),
        "observation_cov": np.diag(rng.uniform(0.5, 2.0, 14)),
    }  # fmt: skip
    known = {name: kem.Fixed(value) for name, value in system.items()}
    problem, system = problem_of(kem.LinearGaussian(2, 14, **known), values)
    states = kem.rts_smoother(system, kem.kalman_filter(system, kem.Observations(values))).smoothed_means
    assert problem.e_step(system)[1] == pytest.approx(log_density(system, values, states), rel=1e-11)


def test_it_finds_the_joint_maximum_over_states_and_parameters():
    data, loadings = tracked(8, seed=2), np.array([[1.0], [0.5]])
    model = kem.LinearGaussian(
        1, 2, observation_matrix=kem.Fixed(loadings), transition_cov=kem.Fixed([[1.0]]),
        observation_offset=kem.Full(), observation_cov=kem.Isotropic(), initial_mean=kem.Fixed([0.0]),
        initial_cov=kem.Fixed([[2.0]]))  # fmt: skip
    stopping = kem.Stopping(relative_tolerance=1e-13, parameter_tolerance=1e-10, max_iterations=5000)
    fitted = kem.fit(model, data, method="hard", stopping=stopping)
    assert fitted.em.stop_reason.is_converged

    def minus_height(numbers):
        F, offset, variance, states = numbers[0], numbers[1:3], np.exp(numbers[3]), numbers[4:]
        moves = states[1:] - F * states[:-1]
        errors = data - offset - states[:, None] * loadings[:, 0]
        seen = ~np.isnan(data)
        squares = states[0] ** 2 / 2.0 + moves @ moves + (errors[seen] ** 2).sum() / variance
        logs = np.log(2.0) + seen.sum() * np.log(variance) + (len(data) + seen.sum()) * np.log(2.0 * np.pi)
        return 0.5 * (squares + logs)

    system, states = fitted.system, fitted.smooth().smoothed_means[:, 0]
    own = [system.transition_matrix[0, 0], *system.observation_offset, np.log(system.observation_cov[0, 0])]
    at = np.concatenate([own, states])
    start = at + 0.1 * np.random.default_rng(0).normal(size=len(at))
    found = optimize.minimize(minus_height, start, method="BFGS", options={"gtol": 1e-7})
    assert fitted.em.log_likelihood == pytest.approx(-found.fun, abs=1e-7)
    np.testing.assert_allclose(at, found.x, atol=1e-4)


def in_one(noise, **options):
    """Return a model of one state that is seen in two columns."""
    loadings = kem.Pattern([[1.0], ["b"]])
    options = {"transition_cov": kem.Fixed([[1.0]]), "observation_offset": kem.Full()} | options
    return kem.LinearGaussian(1, 2, observation_matrix=loadings, observation_cov=noise, **options)


FIRST = {"initial_mean": kem.Fixed([0.0]), "initial_cov": kem.Fixed([[3.0]])}
MODELS = {
    "known noise": in_one(kem.Fixed(np.diag([0.5, 0.3])), **FIRST),
    "equal noises": in_one(kem.Isotropic()),
    "full noise": in_one(kem.Full(), **FIRST),
    "stationary start": in_one(kem.Isotropic(), initial_cov=kem.Stationary()),
    "levels": kem.LocalLevel(),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_objective_never_falls(name):
    stopping = kem.Stopping(max_iterations=30)
    fitted = kem.fit(MODELS[name], tracked(40, seed=5), method=kem.Hard(), record_bound=True, stopping=stopping)
    heights, bounds = fitted.em.log_likelihoods, fitted.em.bound_history
    assert len(heights) > 3
    rounding = 1e-10 * (1.0 + np.abs(heights).max())
    assert np.diff(heights).min() > -rounding
    # A first state that is known exactly has no bound while its mean moves.
    finite = np.isfinite(bounds)
    assert finite.all() or fitted.system.initial_cov.max() == 0.0
    assert (bounds - heights[:-1])[finite].min(initial=0.0) > -rounding
    assert (heights[1:] - bounds).min() > -rounding
    assert "smoothed states together" in " ".join(str(fitted.summary()).split())


def test_variances_are_too_small():
    model, data = MODELS["equal noises"], tracked(150)
    stopping = kem.Stopping(max_iterations=60)
    hard, soft = (kem.fit(model, data, method=m, stopping=stopping) for m in ("hard", "plain"))
    assert hard.system.observation_cov[0, 0] < 0.8 * soft.system.observation_cov[0, 0]
    assert hard.log_likelihood < soft.log_likelihood


def test_a_learnt_noise_of_the_states_collapses_and_is_named():
    fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"], method="hard")
    assert fitted.em.stop_reason is kem.StopReason.degenerate_covariance
    assert "transition_cov has collapsed" in fitted.em.detail
    assert np.isfinite(fitted.log_likelihood)
    said = str(fitted.summary())
    assert "log density of data and smoothed states together" in " ".join(said.split())
    assert "mixture" not in said
    assert str(fitted.em).count("log-likelihood") == 0


def test_a_learnt_covariance_that_has_lost_a_direction_ends_the_run():
    problem, system = problem_of(kem.LocalLevel(), tracked())
    problem.e_step(system.replaced(transition_cov=np.array([[1.0, 0.9], [0.9, 1.0]])))
    with pytest.raises(kem.NumericalError, match="transition_cov has collapsed"):
        problem.e_step(system.replaced(transition_cov=np.array([[1.0, 1.0 - 1e-10], [1.0 - 1e-10, 1.0]])))


def test_states_without_a_scale_are_refused():
    with pytest.raises(kem.InputError, match="scale of their own"):
        kem.fit(kem.LinearGaussian(1, 2), tracked(), method="hard")
    with pytest.raises(kem.InputError, match="scale of their own"):
        kem.fit(kem.LinearGaussian(1, 2, transition_cov=kem.Fixed([[1.0]])), tracked(), method="hard")
    with pytest.raises(kem.InputError, match="method"):
        kem.fit_each(kem.LocalLevel(), {"a": tracked()[:, 0]}, method="hard")
