"""Where the likelihood has no maximum, and where its maximum has no noise: told apart, and stopped before rounding."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em import Diffuse, Fixed, Full
from kalman_em.models.degeneracy import Start, is_degenerate, is_unseen

STEPS = kem.Stopping(max_iterations=1000, relative_tolerance=0.0, parameter_tolerance=0.0)


def autoregression(seed, coefficient=0.8, n=200):
    rng = np.random.default_rng(seed)
    values = np.zeros(n)
    for t in range(1, n):
        values[t] = coefficient * values[t - 1] + rng.standard_normal()
    return values


def walk(seed, p):
    return np.cumsum(np.random.default_rng(seed).standard_normal((30, p)), axis=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_an_autoregression_seen_without_noise_is_one_by_least_squares(seed):
    values = autoregression(seed)
    fitted = kem.fit(kem.LinearGaussian(1, 1), values)
    before, after = values[:-1], values[1:]
    coefficient = before @ after / (before @ before)
    # m is learnt, so the first value is fitted exactly; it still counts as one of n.
    variance = np.sum((after - coefficient * before) ** 2) / len(values)
    assert fitted.em.stop_reason == "converged"
    assert np.array_equal(fitted.params.observation_cov, [[0.0]])
    assert np.isclose(fitted.params.transition_matrix[0, 0], coefficient, rtol=1e-4)
    signal = fitted.params.observation_matrix[0, 0] ** 2 * fitted.params.transition_cov[0, 0]
    assert np.isclose(signal, variance, rtol=1e-4)
    highest = -0.5 * len(values) * (np.log(2.0 * np.pi * variance) + 1.0)
    assert np.isclose(fitted.log_likelihood, highest, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(("seed", "p"), [(4, 1), (5, 1), (7, 1), (8, 1), (0, 2), (3, 3)])
@pytest.mark.parametrize("method", ["em", "plain"])
def test_a_start_learnt_whole_from_one_series_is_stopped_before_the_likelihood_falls(seed, p, method):
    model = kem.LinearGaussian(
        2, p, transition_offset=Full(), observation_offset=Full(), initial_mean=Full(), initial_cov=Full()
    )
    fitted = kem.fit(model, walk(seed, p), method=method, stopping=STEPS)
    heights = fitted.em.log_likelihoods
    highest = np.maximum.accumulate(heights)
    assert np.max((highest - heights) / (1.0 + np.abs(highest))) <= 1e-9
    assert fitted.em.stop_reason in ("degenerate_covariance", "max_iterations", "converged")


def test_many_series_that_start_alike_are_no_degeneracy():
    rng = np.random.default_rng(2)
    start = np.array([[3.0]])
    tracks = [start + np.vstack([[[0.0]], rng.standard_normal((60, 1)).cumsum(axis=0)]) for _ in range(8)]
    noisy = [track + 1e-4 * rng.standard_normal(track.shape) for track in tracks]
    model = kem.LinearGaussian(
        1, 1, transition_matrix=Fixed(1.0), observation_matrix=Fixed(1.0), initial_mean=Full(), initial_cov=Full()
    )
    panel = kem.Panel([kem.Observations(values) for values in noisy])
    fitted = kem.fit(model, panel, stopping=kem.Stopping(max_iterations=300))
    assert fitted.em.stop_reason != "degenerate_covariance"
    assert np.isclose(fitted.params.transition_cov[0, 0], 1.0, rtol=0.2)


def test_a_flat_prior_on_states_without_a_scale_is_refused():
    with pytest.raises(kem.InputError, match=r"^initial_cov: Diffuse\(\) needs states with a scale"):
        kem.fit(kem.LinearGaussian(1, 1, initial_cov=Diffuse()), walk(0, 1))
    held = kem.LinearGaussian(1, 1, observation_matrix=Fixed(1.0), initial_cov=Diffuse())
    assert np.isfinite(kem.fit(held, walk(0, 1), stopping=kem.Stopping(max_iterations=20)).log_likelihood)


BOTH = frozenset({"transition_cov", "observation_cov"})


def level(state_noise, noise, *, first=1.0, **changes):
    """Return a level with these variances of its step, of its measurement, and of its start."""
    return kem.LinearGaussianSystem(
        **{
            "transition_matrix": [[1.0]],
            "transition_cov": [[state_noise]],
            "observation_matrix": [[1.0]],
            "observation_cov": [[noise]],
            "initial_mean": [0.0],
            "initial_cov": [[first]],
        }
        | changes
    )


def blocks_of(system, learnt):
    return {name: [np.atleast_3d(getattr(system, name).T).T[0]] for name in learnt}


def is_at_an_end(system, scale=1.0, learnt=BOTH, *, is_learnt=False, is_before=False, is_alone=True):
    return is_degenerate(
        system,
        blocks_of(system, learnt),
        start=Start(is_learnt, is_before, is_alone),
        scale=np.full(system.obs_dim, scale),
    )


@pytest.mark.parametrize("unit", [1e-30, 1.0, 1e30])
def test_noise_has_vanished_in_units_of_the_data(unit):
    assert is_at_an_end(level(1e-30 * unit**2, 1e-30 * unit**2), unit)
    assert not is_at_an_end(level(1e-24 * unit**2, 1e-30 * unit**2), unit)
    assert not is_at_an_end(level(1e-30 * unit**2, 1e-24 * unit**2), unit)


def test_noise_is_counted_as_it_enters_the_states():
    chosen = {"transition_matrix": np.eye(2), "observation_matrix": [[1.0, 0.0]], "initial_mean": [0.0, 0.0]}
    chosen |= {"initial_cov": np.eye(2), "noise_selection": [[1e-20], [1.0]]}
    assert is_at_an_end(level(1.0, 1e-40, **chosen))
    assert not is_at_an_end(level(1e30, 1e-40, **chosen))
    chosen["noise_selection"] = [[1.0], [0.0]]
    assert is_at_an_end(level(1e-40, 1e-40, **chosen))


def test_only_what_is_learnt_can_have_vanished():
    for learnt in (frozenset({"transition_cov"}), frozenset({"observation_cov"}), frozenset()):
        assert not is_at_an_end(level(1e-40, 1e-40), learnt=learnt)


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_a_first_row_that_a_learnt_start_fits_without_error(unit):
    sure = level(unit**2, 1e-13 * unit**2, first=0.0)
    assert is_at_an_end(sure, unit, is_learnt=True)
    assert not is_at_an_end(sure, unit, is_learnt=False)
    assert not is_at_an_end(level(unit**2, 1e-13 * unit**2, first=1e-3 * unit**2), unit, is_learnt=True)
    assert not is_at_an_end(level(unit**2, 1e-3 * unit**2, first=0.0), unit, is_learnt=True)
    # One step before, the first row has the noise of a step.
    assert not is_at_an_end(sure, unit, is_learnt=True, is_before=True)
    # With several series the limit is lower: they hold the start back.
    nearly = level(unit**2, 1e-9 * unit**2, first=0.0)
    assert is_at_an_end(nearly, unit, is_learnt=True, is_alone=True)
    assert not is_at_an_end(nearly, unit, is_learnt=True, is_alone=False)


def test_a_first_row_is_judged_in_the_units_of_its_columns():
    sizes = np.array([1.0, 1e-12])
    two = {"observation_matrix": sizes[:, None], "initial_mean": [0.0]}
    system = level(1.0, 0.0, first=1.0, **two | {"observation_cov": np.diag(0.1 * sizes**2)})
    assert not is_degenerate(system, blocks_of(system, BOTH), start=Start(True, False, True), scale=sizes)


def test_a_covariance_that_lost_a_direction_but_none_of_its_variances():
    pair = {"transition_matrix": np.eye(2), "observation_matrix": np.eye(2), "initial_mean": [0.0, 0.0]}
    pair |= {"initial_cov": np.eye(2), "observation_cov": np.eye(2)}
    for correlation, expected in ((1.0 - 1e-12, True), (1.0 - 1e-6, False)):
        cov = np.array([[1.0, 1e5 * correlation], [1e5 * correlation, 1e10]])
        assert is_at_an_end(level(1.0, 1.0, **pair | {"transition_cov": cov})) is expected
        assert not is_at_an_end(
            level(1.0, 1.0, **pair | {"transition_cov": cov}), learnt=frozenset({"observation_cov"})
        )
    # A variance of 0 is a choice that is reported by name, not a loss.
    assert not is_at_an_end(level(1.0, 1.0, **pair | {"transition_cov": np.diag([1.0, 0.0])}))


def test_a_known_observation_without_noise_does_not_hold_a_learnt_start():
    """R = 0 and a start learnt from three series: the first rows are fitted ever more closely, and the run says so."""
    rng = np.random.default_rng(0)
    panel = kem.Panel([kem.Observations(np.cumsum(rng.normal(size=(20, 3)), axis=0)) for _ in range(3)])
    model = kem.LinearGaussian(
        4, 3, transition_matrix=kem.Diagonal(), observation_cov=kem.Fixed(0), initial_cov=kem.Full()
    )
    fitted = kem.fit(model, panel, stopping=kem.Stopping(max_iterations=60))
    assert fitted.em.stop_reason == "degenerate_covariance"
    assert fitted.em.n_falls == 0


def test_a_known_noise_holds_a_learnt_start():
    values = walk(3, 1)
    model = kem.LinearGaussian(1, 1, transition_cov=Full(), observation_cov=Fixed([[0.5]]), initial_cov=Full())
    fitted = kem.fit(model, values, stopping=kem.Stopping(max_iterations=60))
    assert fitted.em.stop_reason in ("converged", "max_iterations")


@pytest.mark.parametrize("numerics", ["auto", "standard", "square_root"])
@pytest.mark.parametrize(
    "model", [kem.VectorAutoregression(1, autoregression_cov=Fixed(0)), kem.DynamicFactor(1, idiosyncratic=False)]
)
def test_a_column_that_never_changes_ends_a_run_before_it_falls(model, numerics):
    """Its noise goes to 0 and its offset is known to the last digit alone: the next step would go anywhere."""
    values = np.random.default_rng(5).standard_normal((15, 2)) * 6e6
    values[:, 0] = 6451231.077169427
    fitted = kem.fit(model, values, numerics=numerics)
    assert fitted.em.stop_reason == "degenerate_covariance"
    assert fitted.em.n_falls == 0


@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e9])
def test_sensors_that_only_a_vanishing_noise_tells_apart(unit):
    pair = {"observation_matrix": [[2.0 * unit], [-unit]]}

    def ends(noise, **changes):
        system = level(1.0, noise * unit**2, **pair | {"observation_cov": np.diag([noise, noise]) * unit**2} | changes)
        return is_at_an_end(system, unit)

    assert ends(1e-23)
    assert not ends(1e-20)
    # Two states move two sensors; and what is stated as exact is no loss.
    both = {"transition_matrix": np.eye(2), "transition_cov": np.eye(2), "initial_mean": [0.0, 0.0]}
    both |= {"observation_matrix": unit * np.eye(2), "initial_cov": np.eye(2)}
    assert not ends(1e-23, **both)
    assert not ends(0.0)


@pytest.mark.parametrize("form", [kem.Scaled([[2.0, 0.3], [0.3, 1.0]]), kem.Diagonal(), kem.Full()])
def test_a_sensor_that_copies_another_ends_a_run_before_it_falls(form):
    values = np.random.default_rng(1).standard_normal((20, 1)) @ [[0.7, -1.6]]
    model = kem.LinearGaussian(1, 2, transition_cov=kem.Isotropic(), observation_cov=form, initial_cov=kem.Stationary())
    stopping = kem.Stopping(max_iterations=400)
    fitted = kem.fit(model, values, stopping=stopping)
    assert fitted.em.stop_reason == "degenerate_covariance"
    assert fitted.em.n_falls == 0
    each = kem.fit_each(model, kem.Panel([kem.Observations(values), kem.Observations(2.0 * values)]), stopping=stopping)
    assert {one.em.stop_reason for one in each.values()} == {"degenerate_covariance"}


def test_a_start_that_is_stated_as_exact_is_not_lost():
    """P = 0 and R = 0 are known, m is learnt: one direction of the first row is known, and nothing shrinks."""
    pair = {"transition_matrix": np.eye(2), "observation_matrix": np.eye(2), "initial_mean": [0.0, 0.0]}
    pair |= {"observation_cov": np.zeros((2, 2)), "initial_cov": np.diag([1.0, 0.0]), "transition_cov": np.eye(2)}
    system, learnt = level(1.0, 0.0, **pair), {"transition_cov": [np.eye(2)]}
    ends = {
        known: is_degenerate(system, learnt, start=Start(True, False, True, known), scale=np.ones(2))
        for known in (True, False)
    }
    assert ends == {True: False, False: True}


def test_first_states_that_the_data_tell_exactly_are_not_unseen():
    panel = kem.Panel([kem.Observations(walk(0, 2))])
    model = kem.LocalLevel() + kem.Autoregression(1)
    specification = model.specify(panel)
    system = model.start(specification, panel)
    exactly, as_one, apart = np.zeros((1, 4, 4)), np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    as_one[0, :2, :2], apart[0, :2, :2] = 1.0, np.eye(2)
    assert not is_unseen(specification, system, exactly)
    assert is_unseen(specification, system, as_one)
    assert not is_unseen(specification, system, apart)


def test_a_block_that_is_stated_as_singular_has_lost_nothing():
    """Two levels that move as one, stated so, beside slopes that are learnt: by itself and among others."""
    rng = np.random.default_rng(1)
    series = [np.cumsum(rng.standard_normal((30, 2)), axis=0) + rng.standard_normal((30, 2)) for _ in range(2)]
    model = kem.LocalLinearTrend(level_cov=Fixed(np.ones((2, 2))), slope_cov=Full(), observation_cov=Full())
    stopping = kem.Stopping(max_iterations=12)
    fits = kem.fit_each(model, series, stopping=stopping)
    for k, one in enumerate(series):
        alone = kem.fit(model, one, stopping=stopping)
        assert alone.em.stop_reason == fits[k].em.stop_reason == "max_iterations"
        assert np.allclose(alone.em.log_likelihoods, fits[k].em.log_likelihoods, rtol=1e-10)
        assert np.array_equal(alone.system.transition_cov[:2, :2], np.ones((2, 2)))
