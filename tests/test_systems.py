"""Systems: shapes and covariances checked where the mistake was made, and named."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em import InputError, LinearGaussianSystem

GOOD = {
    "transition_matrix": np.eye(2),
    "transition_cov": np.eye(2),
    "observation_matrix": np.ones((3, 2)),
    "observation_cov": np.eye(3),
    "initial_mean": np.zeros(2),
    "initial_cov": np.eye(2),
}


def test_a_constant_system_says_so():
    system = LinearGaussianSystem(**GOOD)
    assert (system.state_dim, system.obs_dim, system.input_dim) == (2, 3, 0)
    assert system.is_constant
    assert not system.has_diffuse
    assert np.array_equal(system.observation_offset, np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        system.transition_matrix[0, 0] = 2.0


def test_a_varying_system_serves_series_of_its_length():
    system = LinearGaussianSystem(
        **GOOD | {"transition_matrix": np.ones((4, 2, 2)), "observation_cov": np.array([np.eye(3)] * 5)}
    )
    assert not system.is_constant
    kem.kalman_filter(system, kem.Observations(np.zeros((5, 3))))
    with pytest.raises(InputError, match="observation_cov: expected 6 entries"):
        kem.kalman_filter(system, kem.Observations(np.zeros((6, 3))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transition_matrix": np.ones((2, 3))}, r"^transition_matrix: expected shape \(d, d\).* got \(2, 3\)"),
        ({"transition_matrix": np.ones(2)}, "^transition_matrix: expected shape"),
        ({"observation_matrix": np.ones((2, 3))}, r"^observation_matrix: expected shape \(p, 2\).* got \(2, 3\)"),
        ({"transition_cov": np.eye(3)}, r"^transition_cov: expected shape \(2, 2\), got \(3, 3\)"),
        ({"transition_cov": 1.0}, r"^transition_cov: expected shape"),
        (
            {"observation_cov": np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])},
            "^observation_cov: .*semi",
        ),
        ({"observation_cov": np.triu(np.ones((3, 3)))}, "^observation_cov: .*symmetric"),
        ({"initial_mean": np.zeros(3)}, r"^initial_mean: expected shape \(2,\), got \(3,\)"),
        ({"initial_cov": np.zeros((4, 2, 2))}, "^initial_cov: expected shape"),
        ({"transition_offset": np.zeros(3)}, "^transition_offset: expected shape"),
        ({"observation_offset": np.zeros((2, 2))}, "^observation_offset: expected shape"),
        ({"noise_selection": np.zeros((3, 1))}, "^noise_selection: expected shape"),
        ({"noise_selection": np.ones((2, 1))}, r"^transition_cov: expected shape \(1, 1\)"),
        ({"transition_input": np.zeros((3, 1))}, "^transition_input: expected shape"),
        (
            {"transition_input": np.zeros((2, 1)), "observation_input": np.zeros((3, 2))},
            "^inputs: expected as many columns",
        ),
        ({"initial_diffuse": [True]}, "^initial_diffuse: expected 2 booleans"),
        ({"initial_diffuse": [1, 0]}, "^initial_diffuse: expected 2 booleans"),
        ({"initial_diffuse": [True, False]}, "^initial_cov: expected 0 in the rows"),
        ({"transition_matrix": np.full((2, 2), np.nan)}, "^transition_matrix: holds NaN"),
        ({"transition_matrix": [["a", "b"], ["c", "d"]]}, "^transition_matrix: expected real numbers"),
        (
            {"transition_matrix": np.ones((4, 2, 2)), "transition_cov": np.array([np.eye(2)] * 5)},
            "^time-varying matrices: expected one common length",
        ),
        (
            {"transition_matrix": np.ones((4, 2, 2)), "observation_matrix": np.ones((7, 3, 2))},
            "^time-varying matrices: expected 7 or 6",
        ),
    ],
)
def test_bad_systems_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        LinearGaussianSystem(**GOOD | changes)


def test_a_misspelt_matrix_is_a_type_error():
    with pytest.raises(TypeError, match="transition_covariance"):
        LinearGaussianSystem(**GOOD, transition_covariance=np.eye(2))


def test_data_that_do_not_fit_the_system_are_named():
    system = LinearGaussianSystem(**GOOD)
    with pytest.raises(InputError, match=r"^observations: expected 3 columns.* got 2"):
        kem.kalman_filter(system, kem.Observations(np.zeros((5, 2))))
    with pytest.raises(InputError, match=r"^observations: expected Observations, got ndarray"):
        kem.kalman_filter(system, np.zeros((5, 3)))
    driven = LinearGaussianSystem(**GOOD, transition_input=np.ones((2, 1)))
    with pytest.raises(InputError, match=r"^inputs: expected 1 columns.* got none"):
        kem.kalman_filter(driven, kem.Observations(np.zeros((5, 3))))


def test_an_impossible_observation_is_an_error_not_a_nan():
    known = LinearGaussianSystem(
        **GOOD
        | {"transition_cov": np.zeros((2, 2)), "observation_cov": np.zeros((3, 3)), "initial_cov": np.zeros((2, 2))}
    )
    kem.kalman_filter(known, kem.Observations(np.zeros((2, 3))))
    with pytest.raises(kem.NumericalError, match="observation at row 1 is impossible"):
        kem.kalman_filter(known, kem.Observations([[0.0] * 3, [1.0, 0.0, 0.0]]))


def test_a_diffuse_state_that_no_observation_resolves_is_an_error():
    blind = LinearGaussianSystem(
        **GOOD
        | {
            "observation_matrix": np.array([[1.0, 0.0]] * 3),
            "initial_cov": np.zeros((2, 2)),
            "initial_diffuse": [True, True],
        }
    )
    filtered = kem.kalman_filter(blind, kem.Observations(np.zeros((4, 3))))
    with pytest.raises(kem.NumericalError, match="never resolved"):
        kem.rts_smoother(blind, filtered)
