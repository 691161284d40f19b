"""Noise of low rank: the same model as a singular covariance, exact steps, the maximum that others find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from oracles import bruteforce as bf
from oracles.dense import DenseGaussian, forecast
from statsmodels.tsa.statespace.initialization import Initialization
from support.learning import one_step, plain_em, problem_of

import kalman_em as kem
from kalman_em import Diagonal, Fixed, Full, LowRank
from kalman_em.fitting.starting import started
from kalman_em.models.loadings import triangular

LOADINGS = {
    "level": np.array([[1.0, 0.0], [-2.0, 0.4], [0.5, 0.7]]),
    "slope": np.array([[0.2], [0.1], [-0.3]]),
    "seasonal": np.array([[0.3], [0.5], [0.1]]),
}
R = np.array([[0.5, 0.1, 0.0], [0.1, 0.8, -0.2], [0.0, -0.2, 0.4]])


def columns(n_steps=14, seed=0, p=3):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_steps, 1)).cumsum(axis=0) @ np.array([[1.0, -2.0, 0.5]])[:, :p]
    values += np.array([5.0, 0.0, 10.0])[:p] + 0.5 * rng.normal(size=(n_steps, p))
    values[2:4, 0], values[6] = np.nan, np.nan
    return values


def models(**forms):
    """Return the models by name, each noise with the form of its name in `forms`."""
    level, slope, seasonal = (forms.get(name, Full()) for name in ("level", "slope", "seasonal"))
    return {
        "level": kem.LocalLevel(level_cov=level),
        "trend": kem.LocalLinearTrend(level_cov=level, slope_cov=slope),
        "smooth": kem.SmoothTrend(slope_cov=slope),
        "level and waves": kem.LocalLevel(level_cov=level) + kem.Seasonal(4, seasonal_cov=seasonal),
        "dummy": kem.Seasonal(3, kind="dummy", seasonal_cov=seasonal),
    }


def system_of(model, values, covs):
    """Return the system of `model` with these values of its parameters."""
    panel = kem.Panel([kem.Observations(values)])
    specification = model.specify(panel)
    return started(specification, model.start(specification, panel), covs | {"observation_cov": R})


@pytest.mark.parametrize("name", list(models()))
def test_it_is_the_model_of_the_singular_covariance(name):
    values = columns()
    low = models(level=LowRank(2), slope=LowRank(1), seasonal=LowRank(1))[name]
    full = models()[name]
    panel = kem.Panel([kem.Observations(values)])
    wanted = [slot.removesuffix("_loadings") for slot in low.specify(panel).slots if slot.endswith("_loadings")]
    ours = system_of(low, values, {f"{one}_loadings": LOADINGS[one] for one in wanted})
    covs = {f"{one}_cov": LOADINGS[one] @ LOADINGS[one].T for one in wanted}
    dense = DenseGaussian(system_of(full, values, covs), kem.Observations(values))
    filtered = kem.kalman_filter(ours, kem.Observations(values))
    assert filtered.log_likelihood == pytest.approx(dense.smoothed().log_likelihood, rel=1e-9)
    seen = kem.rts_smoother(ours, filtered)
    H = ours.observation_matrix
    expected = dense.smoothed().obs_means[6]
    np.testing.assert_allclose(H @ seen.smoothed_means[6], expected, rtol=1e-8)
    ahead = forecast(dense.system, kem.Observations(values), 2)
    longer = np.vstack([values, np.full((2, 3), np.nan)])
    smoothed = kem.rts_smoother(ours, kem.kalman_filter(ours, kem.Observations(longer)))
    np.testing.assert_allclose(H @ smoothed.smoothed_covs[-1] @ H.T + R, ahead.obs_covs[-1], rtol=1e-7)


@pytest.mark.parametrize("name", ["level", "smooth", "dummy"])
def test_a_step_is_the_brute_force_maximum_of_the_expanded_model(name):
    model = models(level=LowRank(2), slope=LowRank(1), seasonal=LowRank(1))[name]
    series = [kem.Observations(columns(9, seed)) for seed in (1, 2)]
    problem, led = problem_of(model, *series)
    params = list(plain_em(problem, model.start(problem.specification, kem.Panel(series)), 2))[-1][0]
    new = one_step(problem, params)
    constraint = problem.specification.constraint("observation_matrix")
    basis = constraint.design.T.reshape(-1, *params.observation_matrix.shape)
    blocks = {
        "H": bf.linear(constraint.fixed, basis, constraint.free(params.observation_matrix)),
        "Q": bf.full_cov(params.transition_cov),
        "R": bf.full_cov(params.observation_cov),
    }
    best, _ = bf.maximise([(params, one) for one in led], blocks)
    common = np.flatnonzero(np.any(basis != 0.0, axis=(0, 1)))
    n = len(params.transition_cov)
    np.testing.assert_allclose(new.observation_cov, best["R"], rtol=1e-5, atol=1e-8)
    loadings, ours = best["H"][:, common[:n]], new.observation_matrix[:, common[:n]]
    np.testing.assert_allclose(ours @ ours.T, loadings @ best["Q"] @ loadings.T, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(new.transition_cov, np.eye(n))


def test_the_waves_of_a_season_share_their_loadings_and_each_step_climbs():
    model = models(level=LowRank(1), seasonal=LowRank(1))["level and waves"]
    problem, _ = problem_of(model, kem.Observations(columns(30, 3)))
    start = model.start(problem.specification, kem.Panel([kem.Observations(columns(30, 3))]))
    steps = list(plain_em(problem, start, 25))
    assert np.diff([height for _, height in steps]).min() > 0.0
    slot, H = problem.specification.slots["seasonal_loadings"], steps[-1][0].observation_matrix
    assert slot.copies == 2
    for row, column in slot.entries[3:]:
        assert H[row, column] == H[slot.entries[row][0], slot.entries[row][1]]


def test_of_full_rank_it_reaches_the_maximum_of_a_full_covariance():
    values = columns(40, 4, p=2)
    values += 0.7 * np.random.default_rng(9).normal(size=values.shape).cumsum(axis=0)
    full = kem.fit(kem.LocalLevel(), values)
    ours = kem.fit(kem.LocalLevel(level_cov=LowRank(2)), values)
    assert ours.log_likelihood == pytest.approx(full.log_likelihood, abs=2e-5)
    assert ours.n_parameters == full.n_parameters
    loadings = ours.params.level_loadings
    np.testing.assert_allclose(loadings @ loadings.T, full.params.level_cov, rtol=5e-3)


class CommonLevel(sm.tsa.statespace.MLEModel):
    """One random walk that two columns see, each with a constant, by statsmodels."""

    def __init__(self, values):
        super().__init__(values, k_states=3, k_posdef=1)
        self["design"] = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        self["transition"], self["selection"], self["state_cov"] = np.eye(3), np.eye(3, 1), np.eye(1)
        init = Initialization(3)
        init.set(0, "known", constant=[0.0], stationary_cov=[[0.0]])
        init.set((1, 3), "diffuse")
        self.ssm.initialization = init

    @property
    def start_params(self):
        return np.array([0.5, 0.5, 1.0, 1.0])

    def update(self, params, **kwargs):
        params = super().update(params, **kwargs)
        self["design", 0, 0], self["design", 1, 0] = params[:2]
        self["obs_cov"] = np.diag(params[2:] ** 2)


def test_the_maximum_and_its_standard_errors_are_those_of_statsmodels():
    values = columns(80, 5, p=2)
    ours = kem.fit(kem.LocalLevel(level_cov=LowRank(1), observation_cov=Diagonal()), values)
    theirs = CommonLevel(values).fit(disp=False, method="bfgs", maxiter=500, gtol=1e-8, cov_type="approx")
    assert ours.log_likelihood == pytest.approx(theirs.llf, abs=1e-5)
    sign = np.sign(theirs.params[0])
    np.testing.assert_allclose(ours.params.level_loadings[:, 0], sign * theirs.params[:2], rtol=2e-3)
    np.testing.assert_allclose(ours.standard_errors.level_loadings[:, 0], theirs.bse[:2], rtol=0.02)


def test_components_forecasts_and_files():
    index = pd.date_range("2020-01", periods=36, freq="MS")
    table = pd.DataFrame(columns(36, 6), index=index, columns=["a", "b", "c"])
    model = kem.LocalLevel(level_cov=LowRank(1), observation_cov=Diagonal()) + kem.Seasonal(4, seasonal_cov=LowRank(2))
    fitted = kem.fit(model, table, stopping=kem.Stopping(max_iterations=15))
    assert list(fitted.params) == ["level_loadings", "seasonal_loadings", "observation_cov"]
    assert fitted.n_parameters == 3 + 5 + 3
    parts = fitted.components(levels=())
    seen = table.notna().to_numpy()
    for column, at in zip("abc", seen.T, strict=True):
        total = sum(parts[f"{name}.{column}"] for name in ("level", "seasonal", "residual"))
        np.testing.assert_allclose(total[at], table[column][at], rtol=1e-9)
    states = fitted.smooth().to_frame()
    common = states["level_common_1"].to_numpy()[:, None] * fitted.params.level_loadings[:, 0]
    level = states[["level.a", "level.b", "level.c"]].to_numpy() + common
    np.testing.assert_allclose(parts[["level.a", "level.b", "level.c"]], level, rtol=1e-9)
    assert fitted.forecast(3).to_frame().index[0] == pd.Timestamp("2023-01-01")


def test_a_fit_is_saved_and_begun_again(tmp_path):
    model = models(level=LowRank(1), seasonal=LowRank(1))["level and waves"]
    fitted = kem.fit(model, columns(24, 7), stopping=kem.Stopping(max_iterations=5))
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.model == model
    np.testing.assert_array_equal(loaded.forecast(4).means, fitted.forecast(4).means)
    again = kem.fit(model, columns(24, 7), start=fitted.params, stopping=kem.Stopping(max_iterations=1))
    assert again.em.log_likelihoods[0] == pytest.approx(fitted.log_likelihood, abs=1e-9)


def test_one_start_finds_the_columns_that_carry_the_common_noises():
    jobs = kem.datasets.load("us_employment")[["construction", "manufacturing", "government"]]
    values = 100.0 * np.log(jobs)
    # What statsmodels reaches from its own start, and random starts of ours at best.
    for rank, best in ((1, -551.459), (2, -342.62)):
        fitted = kem.fit(kem.LocalLevel(level_cov=LowRank(rank), observation_cov=Diagonal()), values)
        assert fitted.em.stop_reason.is_converged
        assert fitted.log_likelihood > best - 2e-3


def test_random_starts_scatter_the_loadings():
    model, panel = kem.LocalLevel(level_cov=LowRank(2)), kem.Panel([kem.Observations(columns(20, 8))])
    specification = model.specify(panel)
    start = model.start(specification, panel).observation_matrix
    moved = model.random_start(specification, panel, np.random.default_rng(0)).observation_matrix
    free = np.any(specification.constraint("observation_matrix").design != 0.0, axis=1).reshape(start.shape)
    assert np.all(start[free] != moved[free])
    assert np.all(start[~free] == moved[~free])
    assert start[0, 4] == 0.0
    assert start[0, 3] > 0.0


def test_triangular_loadings_have_the_same_covariance():
    loadings = np.random.default_rng(1).normal(size=(4, 2))
    found = triangular(loadings)
    np.testing.assert_allclose(found @ found.T, loadings @ loadings.T, rtol=1e-12)
    assert found[0, 1] == 0.0
    assert min(found[0, 0], found[1, 1]) > 0.0


@pytest.mark.parametrize("rank", [0, -1, 1.5, True])
def test_a_rank_is_a_whole_number(rank):
    with pytest.raises(kem.InputError, match=r"rank: expected a whole number of at least 1, got"):
        LowRank(rank)


def test_what_is_refused():
    values = columns(20)
    with pytest.raises(kem.InputError, match=r"level_cov: expected a rank of at most the 3 columns of the data, got 4"):
        kem.fit(kem.LocalLevel(level_cov=LowRank(4)), values)
    with pytest.raises(kem.InputError, match=r"initial_cov: beside LowRank every part starts diffuse"):
        kem.fit(kem.LocalLevel(level_cov=LowRank(1), initial_cov=Full()), values)
    for name, build in {
        "observation_cov": lambda: kem.LocalLevel(observation_cov=LowRank(1)),
        "cycle_cov": lambda: kem.Cycle(cycle_cov=LowRank(1)),
        "slope_cov": lambda: kem.DampedTrend(slope_cov=LowRank(1)),
        "coefficient_cov": lambda: kem.TimeVaryingRegression(coefficient_cov=LowRank(1)),
        "level_cov": lambda: kem.fit(kem.Irregular(kem.LocalLevel(level_cov=LowRank(1))), values),
        "transition_cov": lambda: kem.LinearGaussian(3, 3, transition_cov=LowRank(1)),
    }.items():
        with pytest.raises(kem.InputError, match=rf"{name}: .*LowRank\(rank=1\), which is for LocalLevel"):
            build()


def test_it_stands_beside_coefficients_that_move():
    rng = np.random.default_rng(2)
    model = kem.LocalLevel(level_cov=LowRank(1)) + kem.TimeVaryingRegression(coefficient_cov=Diagonal())
    series = [kem.Observations(columns(n, n), inputs=rng.normal(size=(n, 1)), names=("a", "b", "c")) for n in (22, 15)]
    fitted = kem.fit(model, kem.Panel(series), stopping=kem.Stopping(max_iterations=8), method="plain")
    assert np.diff(fitted.em.log_likelihoods).min() > 0.0
    H = fitted.system.observation_matrix
    assert H.shape == (37, 3, 7)
    assert np.ptp(H[:, :, 3], axis=0).max() == 0.0


def test_units_change_neither_the_maximum_nor_when_it_is_reached():
    model = kem.LocalLevel(level_cov=LowRank(1), observation_cov=Diagonal())
    ours, small = (kem.fit(model, unit * columns(40, 10)) for unit in (1.0, 1e-6))
    assert abs(small.em.n_iterations - ours.em.n_iterations) <= 2
    np.testing.assert_allclose(small.params.level_loadings, 1e-6 * ours.params.level_loadings, rtol=1e-5)
    # The constants of the columns have no unit that loadings could be measured by.
    model, changes = kem.LocalLevel(level_cov=LowRank(1), observation_cov=Fixed(R)), []
    for unit in (1.0, 1e-6):
        one = kem.Observations(unit * columns(40, 10))
        problem, _ = problem_of(replace(model, observation_cov=Fixed(unit**2 * R)), one)
        start = model.start(problem.specification, kem.Panel([one]))
        changes.append(problem.parameter_change(start, one_step(problem, start)))
    assert changes[1] == pytest.approx(changes[0], rel=1e-6)
