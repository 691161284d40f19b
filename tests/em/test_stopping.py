"""Stopping rules: judged by what is still to come, in the units of nothing."""

import math

import numpy as np
import pytest

from kalman_em.em.stopping import (
    DEFAULT_STOPPING,
    Stopping,
    StopReason,
    has_settled,
    projected_remaining,
)
from kalman_em.errors import InputError

FAR = [0.0, 100.0]  # the objective at the start and after the first M-step


def first_met(stopping, log_likelihoods, steps):
    """Return the number of iterations after which `stopping` is met."""
    return next(n for n in range(len(steps)) if stopping.is_met(log_likelihoods[: n + 1], steps[:n]))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 0.99, 0.999])
def test_projection_is_exact_for_a_geometric_sequence(rate):
    steps = [0.3 * rate**k for k in range(6)]
    to_come = sum(0.3 * rate**k for k in range(6, 40_000))
    assert projected_remaining(steps) == pytest.approx(to_come, rel=1e-9)


def test_projection_takes_the_slowest_of_the_last_three_rates():
    assert projected_remaining([1.0, 0.9, 0.45, 0.045]) == pytest.approx(0.045 * 9.0)
    assert projected_remaining([1.0, 1.0, 0.9, 0.45, 0.045]) == pytest.approx(0.045 * 9.0)


@pytest.mark.parametrize("steps", [[0.1], [0.1, 0.1], [0.1, 0.2], [0.0, 0.1], [math.inf, 0.1], [0.2, 0.1, math.inf]])
def test_steps_that_do_not_shrink_project_no_end(steps):
    assert projected_remaining(steps) == math.inf


def test_a_zero_step_leaves_nothing():
    assert projected_remaining([0.0]) == 0.0
    assert projected_remaining([1.0, 0.0]) == 0.0


def test_an_infinite_step_tells_nothing_of_the_rate():
    assert projected_remaining([math.inf, 0.2, 0.1]) == pytest.approx(0.1)


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.99, 0.998])
def test_linear_convergence_stops_within_the_tolerance_of_the_limit(rate):
    errors = 0.5 * rate ** np.arange(10_001)
    heights, steps = list(-(errors**2)), list(errors[:-1] - errors[1:])
    n = first_met(DEFAULT_STOPPING, heights, steps)
    assert 0.05e-4 < errors[n] <= 1e-4
    if rate >= 0.9:  # where the size of the last step says nothing
        naive = next(n for n, step in enumerate(steps, start=1) if step <= 1e-4)
        assert errors[naive] > 5e-4


def test_a_slow_direction_under_a_fast_one_is_seen():
    k = np.arange(5_000)
    errors = 0.1**k + 1e-3 * 0.99**k
    heights, steps = list(-(errors**2)), list(errors[:-1] - errors[1:])
    assert errors[first_met(DEFAULT_STOPPING, heights, steps)] <= 1e-4


def test_convergence_like_one_over_k_stops_within_twice_the_tolerance():
    stopping = Stopping(parameter_tolerance=1e-3, relative_tolerance=math.inf)
    errors = 1.0 / np.arange(1, 4_000)
    n = first_met(stopping, list(-(errors**2)), list(errors[:-1] - errors[1:]))
    assert errors[n] <= 2.1e-3


def test_a_constant_relative_step_never_counts_as_converged():
    """A variance that halves for ever has no limit to be near to."""
    assert not has_settled([1e-9] * 50, tolerance=1e-4)


def test_both_criteria_must_hold():
    settled = [*FAR, *([100.0] * 8)]
    climbing = [*FAR, *(100.0 + k for k in range(1, 9))]
    small, large = [1e-3 * 0.1**k for k in range(9)], [0.1] * 9
    assert Stopping().is_met(settled, small)
    assert not Stopping().is_met(climbing, small)
    assert not Stopping().is_met(settled, large)


def test_an_infinite_tolerance_leaves_a_criterion_out():
    climbing = [*FAR, *(100.0 + k for k in range(1, 9))]
    assert Stopping(relative_tolerance=math.inf).is_met(climbing, [1e-3 * 0.1**k for k in range(9)])
    assert Stopping(parameter_tolerance=math.inf).is_met([1.0] * 10, [0.1] * 9)


@pytest.mark.parametrize("shift", [-1e5, -1e3, 1e3, 1e5])
def test_a_change_of_units_of_the_data_does_not_move_the_stop(shift):
    stopping = Stopping(parameter_tolerance=math.inf)
    heights = -(0.95 ** np.arange(2_000)) * 300.0
    steps = [0.1] * 2_000
    assert first_met(stopping, list(heights + shift), steps) == first_met(stopping, list(heights), steps)


def test_the_gain_of_the_first_step_does_not_loosen_the_objective_criterion():
    climb = list(-(0.9 ** np.arange(12)) * 1e-3)
    assert not Stopping().objective_settled([-1e12, *climb])
    assert Stopping().objective_settled([-1e12, -1e6, *climb])


@pytest.mark.parametrize("tolerance", [0.0, 1e-8])
def test_rounding_counts_as_settled_whatever_the_ratio(tolerance):
    stopping = Stopping(relative_tolerance=tolerance, parameter_tolerance=tolerance)
    assert stopping.is_met([-1e4, -1e3, -1e3 + 5e-13], [1e-13, 9e-13])
    assert not stopping.is_met([-1e4, -1e3, -1e3 + 5e-13], [1e-13, 9e-12])
    assert not stopping.is_met([-1e4, -1e3, -1e3 + 1e-9], [1e-13, 9e-13])


def test_a_fall_within_rounding_says_that_the_objective_has_settled():
    assert Stopping().objective_settled([*FAR, 101.0, 101.0 - 1e-8])


def test_nothing_has_settled_before_the_first_iterations():
    assert not Stopping().is_met([1.0], [])
    assert not Stopping().is_met([1.0, 2.0], [1e-5])


@pytest.mark.parametrize("value", [0, -1, 1.5, 100.0, True, "100", None, math.nan])
def test_max_iterations_must_be_a_positive_integer(value):
    with pytest.raises(InputError, match="max_iterations: expected a positive integer, got"):
        Stopping(max_iterations=value)


@pytest.mark.parametrize("name", ["relative_tolerance", "parameter_tolerance"])
@pytest.mark.parametrize("value", [-1e-9, math.nan, True, "1e-4", None, 1j])
def test_tolerances_must_be_numbers_of_at_least_zero(name, value):
    with pytest.raises(InputError, match=f"{name}: expected a number of at least 0, got"):
        Stopping(**{name: value})


def test_numpy_numbers_are_taken_as_python_numbers():
    stopping = Stopping(max_iterations=np.int64(3), relative_tolerance=np.float32(0.5), parameter_tolerance=1)
    assert stopping == Stopping(3, 0.5, 1.0)
    assert [type(value) for value in vars(stopping).values()] == [int, float, float]


@pytest.mark.parametrize("reason", list(StopReason))
def test_every_reason_carries_one_sentence_of_remedy(reason):
    assert reason.remedy[0].isupper()
    assert reason.remedy.endswith(".")
    assert ". " not in reason.remedy
    assert reason.is_converged == (reason == "converged")


def test_the_reasons_are_a_closed_list():
    assert {str(reason) for reason in StopReason} == {
        "converged",
        "max_iterations",
        "objective_fell",
        "degenerate_covariance",
        "unit_root",
        "unobservable_start",
        "empty_component",
        "heywood_case",
        "non_finite",
        "interrupted",
    }


def test_a_noisy_objective_does_not_keep_settled_parameters_waiting():
    """Rounding of 1e-7 in the objective, above the tolerance: a fall soon shows that nothing more can be seen."""
    noise = np.random.default_rng(1).normal(scale=1e-7, size=500)
    errors = 0.9 ** np.arange(500)
    heights, steps = list(1e4 - errors**2 + noise), list(errors[:-1] - errors[1:])
    quiet = first_met(DEFAULT_STOPPING, list(1e4 - errors**2), steps)
    assert first_met(DEFAULT_STOPPING, heights, steps) <= quiet + 5


def test_a_large_step_is_not_settled_however_little_it_projects():
    assert projected_remaining([1e3, 10.0]) < 0.15
    assert not has_settled([1e3, 10.0, 0.1, 1e-3], tolerance=0.15)
    assert has_settled([1e3, 10.0, 0.1, 1e-3, 1e-5], tolerance=0.15)
