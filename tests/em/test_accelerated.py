"""Squared extrapolation round any problem: the same end, fewer steps, never a fall."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

import kalman_em as kem


@dataclass(frozen=True)
class Rates:
    mean: float
    share: float


class ManyZeros:
    """Zero-inflated Poisson counts; the share of structural zeros and the mean are slow where the mean is small."""

    def __init__(self, counts):
        self.counts, self.n_e_steps = counts, 0

    def e_step(self, params):
        self.n_e_steps += 1
        if not (0.0 < params.share < 1.0 and params.mean > 0.0):
            raise ValueError("outside")
        zero = self.counts == 0
        at_zero = params.share + (1.0 - params.share) * math.exp(-params.mean)
        logs = math.log(1.0 - params.share) - params.mean + self.counts * math.log(params.mean)
        height = np.where(zero, math.log(at_zero), logs).sum()
        return np.where(zero, params.share / at_zero, 0.0), float(height)

    def m_step(self, params, structural):
        return Rates(float(self.counts.sum() / (1.0 - structural).sum()), float(structural.mean()))

    def parameter_change(self, old, new):
        return max(abs(new.mean - old.mean), abs(new.share - old.share))


@pytest.fixture
def counts():
    rng = np.random.default_rng(0)
    return np.where(rng.random(400) < 0.3, 0, rng.poisson(0.5, 400))


def test_the_same_end_in_fewer_steps_and_never_a_fall(counts):
    plain, fast = ManyZeros(counts), ManyZeros(counts)
    one = kem.run_em(plain, Rates(2.0, 0.1), stopping=kem.Stopping(parameter_tolerance=1e-7))
    other = kem.run_em(kem.accelerated(fast), Rates(2.0, 0.1), stopping=kem.Stopping(parameter_tolerance=1e-7))
    assert one.stop_reason.is_converged
    assert other.stop_reason.is_converged
    assert other.params.mean == pytest.approx(one.params.mean, abs=1e-5)
    assert other.log_likelihood >= one.log_likelihood - 1e-9
    assert np.diff(other.log_likelihoods).min() >= -1e-10
    assert fast.n_e_steps < 0.4 * plain.n_e_steps


@pytest.mark.parametrize("beyond", [None, -100.0, math.nan])
def test_a_leap_out_of_range_or_downhill_is_not_taken(beyond):
    class Bent:
        """Steps that shrink as if the limit were at 3; the objective has its top at 2, and nothing good above 2.5."""

        def e_step(self, x):
            if x > 2.5 and beyond is None:
                raise ZeroDivisionError
            return None, beyond if x > 2.5 else -((x - 2.0) ** 2)

        def m_step(self, x, _):
            if x > 2.5:
                return x - 0.01
            return x + 0.05 * (3.0 - x) if x < 1.9 else 2.0

    run = kem.run_em(kem.accelerated(Bent()), 0.0)
    assert run.stop_reason.is_converged
    assert run.params == pytest.approx(2.0)
    assert np.diff(run.log_likelihoods).min() >= 0.0


def test_what_the_problem_offers_reaches_the_loop(counts):
    wrapped = kem.accelerated(ManyZeros(counts))
    assert wrapped.parameter_change(Rates(1.0, 0.5), Rates(1.5, 0.4)) == 0.5
    assert not hasattr(wrapped, "expected_gain")
    with pytest.raises(kem.InputError, match="e_step and m_step"):
        kem.accelerated(ManyZeros)


def test_free_numbers_are_what_is_extrapolated(counts):
    class Logged(ManyZeros):
        def free_numbers(self, params):
            return np.array([math.log(params.mean), math.log(params.share / (1.0 - params.share))])

        def with_numbers(self, params, numbers):
            return Rates(math.exp(numbers[0]), 1.0 / (1.0 + math.exp(-numbers[1])))

    one = kem.run_em(kem.accelerated(ManyZeros(counts)), Rates(2.0, 0.1))
    other = kem.run_em(kem.accelerated(Logged(counts)), Rates(2.0, 0.1))
    assert other.params.mean == pytest.approx(one.params.mean, abs=1e-4)


def test_there_is_no_leap_where_a_number_reaches_an_edge_on_the_way(counts):
    class Edged(ManyZeros):
        def free_numbers(self, params):
            # As of a variance that is held once it is at 0: below some mean there is a number less.
            return np.array([params.share, params.mean, 0.0][: 3 if params.mean > limit else 2])

        def with_numbers(self, params, numbers):
            return Rates(float(numbers[1]), float(numbers[0]))

    plain, problem = kem.run_em(ManyZeros(counts), Rates(2.0, 0.1)), Edged(counts)
    limit = 0.5 * (2.0 + problem.m_step(None, problem.e_step(Rates(2.0, 0.1))[0]).mean)
    fast = kem.run_em(kem.accelerated(problem), Rates(2.0, 0.1))
    assert fast.log_likelihood == pytest.approx(plain.log_likelihood, abs=1e-6)
    assert fast.n_iterations < plain.n_iterations
