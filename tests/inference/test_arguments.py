"""Filter, smoother, prediction, simulation and sampling name the argument that they cannot use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem


def system(d=1, **more):
    return kem.LinearGaussianSystem(
        transition_matrix=np.eye(d),
        transition_cov=np.eye(d),
        observation_matrix=np.eye(d),
        observation_cov=np.eye(d),
        initial_mean=np.zeros(d),
        initial_cov=np.eye(d),
        **more,
    )


WALK, PLANE = system(), system(2)
PUSHED = system(observation_input=[[2.0]])
OBSERVED = kem.Observations([[1.0], [2.0]])
FILTERED = kem.kalman_filter(WALK, OBSERVED)


def rng():
    return np.random.default_rng(0)


CALLS = {
    "kalman_filter": lambda s, y: kem.kalman_filter(s, y),
    "sample_states": lambda s, y: kem.sample_states(s, y, 2, rng()),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("observations", "message"),
    [
        ("x", "got str$"),
        (None, "got NoneType$"),
        (np.zeros((3, 1)), "got ndarray; wrap an array in kalman_em.Observations"),
        (pd.Series([1.0, 2.0]), "got Series; wrap an array in kalman_em.Observations"),
        (kem.Panel([OBSERVED]), r"got a Panel; pass one of its series, as panel\[key\]"),
    ],
)
def test_observations_of_another_type(call, observations, message):
    with pytest.raises(kem.InputError, match=f"^observations: expected Observations, {message}"):
        call(WALK, observations)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_observations_that_do_not_fit_the_system(call):
    with pytest.raises(kem.InputError, match=r"^observations: expected 2 columns, .*, got 1$"):
        call(PLANE, OBSERVED)
    with pytest.raises(kem.InputError, match=r"^inputs: expected 1 columns .*, got none$"):
        call(PUSHED, OBSERVED)
    with pytest.raises(kem.InputError, match=r"^inputs: expected none, got 1, because the system has no input matrix"):
        call(WALK, kem.Observations([[1.0]], inputs=[[1.0]]))


@pytest.mark.parametrize(
    "call",
    [
        lambda s: kem.kalman_filter(s, OBSERVED),
        lambda s: kem.rts_smoother(s, FILTERED),
        lambda s: kem.predict_rows(s, FILTERED, 2),
        lambda s: kem.simulate(s, 3, rng()),
        lambda s: kem.sample_states(s, OBSERVED, 2, rng()),
    ],
)
@pytest.mark.parametrize("wrong", ["x", None, np.eye(2), FILTERED, kem.LocalLevel()])
def test_a_system_of_another_type(call, wrong):
    with pytest.raises(kem.InputError, match=f"^system: expected a LinearGaussianSystem, got {type(wrong).__name__}$"):
        call(wrong)


def test_a_fit_is_no_system_but_has_one():
    fitted = kem.fit(kem.LocalLevel(), [1.0, 2.0, 1.5, 3.0], stopping=kem.Stopping(max_iterations=2))
    with pytest.raises(kem.InputError, match=r"^system: .*, got Fit; pass its \.system$"):
        kem.kalman_filter(fitted, OBSERVED)


@pytest.mark.parametrize("call", [kem.rts_smoother, lambda s, f: kem.predict_rows(s, f, 2)])
def test_filtered_states_that_are_none_or_do_not_fit(call):
    for wrong in ("x", None, OBSERVED, kem.rts_smoother(WALK, FILTERED)):
        with pytest.raises(kem.InputError, match=f"^filtered: expected FilteredStates, .* got {type(wrong).__name__}$"):
            call(WALK, wrong)
    with pytest.raises(kem.InputError, match=r"^filtered: expected states of dimension 2, as the system's, got 1"):
        call(PLANE, FILTERED)
    tall = kem.LinearGaussianSystem(
        transition_matrix=[[1.0]],
        transition_cov=[[1.0]],
        observation_matrix=[[1.0], [1.0]],
        observation_cov=np.eye(2),
        initial_mean=[0.0],
        initial_cov=[[1.0]],
    )
    with pytest.raises(kem.InputError, match=r"^filtered: expected observations of 2 columns, as the system's, got 1"):
        call(tall, FILTERED)


@pytest.mark.parametrize("count", [0, -1, True, 1.5, "3", None, np.nan])
def test_counts_are_whole_numbers(count):
    for name, call in [
        ("n_steps", lambda n: kem.simulate(WALK, n, rng())),
        ("n_steps", lambda n: kem.predict_rows(WALK, FILTERED, n)),
        ("n_samples", lambda n: kem.sample_states(WALK, OBSERVED, n, rng())),
    ]:
        with pytest.raises(kem.InputError, match=f"^{name}: expected a whole number of at least 1, got {count!r}$"):
            call(count)


@pytest.mark.parametrize("wrong", [0, None, np.random.RandomState(0)])
def test_randomness_comes_from_a_generator(wrong):
    message = f"^rng: expected a numpy.random.Generator, .*, got {type(wrong).__name__}$"
    with pytest.raises(kem.InputError, match=message):
        kem.simulate(WALK, 3, wrong)
    with pytest.raises(kem.InputError, match=message):
        kem.sample_states(WALK, OBSERVED, 3, wrong)


def test_inputs_of_one_dimension_are_one_column():
    column = np.array([[1.0], [2.0], [3.0]])
    flat, tall = (kem.simulate(PUSHED, 3, rng(), inputs=u).values for u in (column[:, 0], column))
    assert np.array_equal(flat, tall)
    filtered = kem.kalman_filter(PUSHED, kem.Observations([[1.0]], inputs=[1.0]))
    ahead = [kem.predict_rows(PUSHED, filtered, 3, inputs=u, last_input=1.0) for u in (column[:, 0], column)]
    assert np.array_equal(ahead[0].observation_means, ahead[1].observation_means)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, r"expected shape \(3, 1\), .* got none"),
        ([[1.0, 2.0, 3.0]], r"expected shape \(3, 1\), .*, got \(1, 3\)"),
        ([1.0, 2.0], r"expected shape \(3, 1\), .*, got \(2,\)"),
        ([1.0, np.nan, 2.0], "holds NaN at position 1; expected finite numbers"),
        ([1.0, np.inf, 2.0], "holds inf at position 1; expected finite numbers"),
        ("abc", "expected real numbers, got text such as 'abc'"),
    ],
)
def test_inputs_that_do_not_fit(inputs, message):
    with pytest.raises(kem.InputError, match=f"^inputs: {message}"):
        kem.simulate(PUSHED, 3, rng(), inputs=inputs)
    filtered = kem.kalman_filter(PUSHED, kem.Observations([[1.0]], inputs=[1.0]))
    with pytest.raises(kem.InputError, match=f"^inputs: {message}"):
        kem.predict_rows(PUSHED, filtered, 3, inputs=inputs, last_input=1.0)


def test_inputs_that_nothing_reads_are_refused():
    with pytest.raises(kem.InputError, match=r"^inputs: expected none, because the system has no input matrix"):
        kem.simulate(WALK, 3, rng(), inputs=[1.0, 2.0, 3.0])


def test_one_step_at_a_time_takes_no_empty_state():
    with pytest.raises(kem.InputError, match=r"^mean: expected shape \(d,\), d at least 1, got \(0,\)"):
        kem.predict([], [[1.0]], [[1.0]], [[1.0]])
    with pytest.raises(kem.InputError, match=r"^value: expected shape \(p,\), p at least 1, got \(0,\)"):
        kem.update([0.0], [[1.0]], [], [[1.0]], [[1.0]])
    with pytest.raises(kem.InputError, match=r"^cov: expected numbers, got None"):
        kem.update([0.0], None, [1.0], [[1.0]], [[1.0]])


def test_moments_made_by_hand_are_checked():
    with pytest.raises(kem.InputError, match=r"^smoothed_means: expected an array, got list"):
        kem.SmoothedStates(smoothed_means=[[1.0]], smoothed_covs=np.ones((1, 1, 1)), lag_one_covs=np.ones((0, 1, 1)))
    with pytest.raises(kem.InputError, match=r"^smoothed_means: expected 2 dimensions, got shape \(3,\)"):
        kem.SmoothedStates(smoothed_means=np.ones(3), smoothed_covs=np.ones(3), lag_one_covs=np.ones(3))
    fields = {name: getattr(FILTERED, name) for name in kem.FilteredStates.__dataclass_fields__}
    with pytest.raises(kem.InputError, match=r"^innovations: expected an array, got str"):
        kem.FilteredStates(**fields | {"innovations": "x"})


def test_a_system_without_a_matrix_it_needs():
    with pytest.raises(kem.InputError, match=r"^transition_cov: expected numbers, got None"):
        kem.LinearGaussianSystem(
            transition_matrix=[[1.0]],
            transition_cov=None,
            observation_matrix=[[1.0]],
            observation_cov=[[1.0]],
            initial_mean=[0.0],
            initial_cov=[[1.0]],
        )


@pytest.mark.parametrize("order", [np.asfortranarray, lambda array: np.repeat(array, 2, axis=0)[::2]])
def test_moments_may_lie_in_memory_in_any_order(order):
    filtered = kem.kalman_filter(PLANE, kem.Observations([[1.0, 2.0], [np.nan, 0.5], [4.0, -1.0]]))
    names = ("predicted_means", "predicted_covs", "filtered_means", "filtered_covs")
    turned = replace(filtered, **{name: order(getattr(filtered, name)) for name in names})
    expected, found = kem.rts_smoother(PLANE, filtered), kem.rts_smoother(PLANE, turned)
    np.testing.assert_array_equal(found.smoothed_means, expected.smoothed_means)
    np.testing.assert_array_equal(found.smoothed_covs, expected.smoothed_covs)
