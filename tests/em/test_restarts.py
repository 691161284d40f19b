"""Several starts: the best run, and the outcome of each."""

import numpy as np
import pytest

from kalman_em.em.restarts import run_starts
from kalman_em.em.stopping import Stopping, StopReason
from kalman_em.errors import InputError, NumericalError


class Peaks:
    """Each start converges to the nearest peak, an integer; peak k has height k. Above 100 nothing is finite."""

    def e_step(self, x):
        if x > 100.0:
            raise NumericalError(f"no answer at {x}")
        peak = float(round(x))
        return peak, peak - (x - peak) ** 2

    def m_step(self, x, peak):
        if x < -1000.0:
            raise KeyboardInterrupt
        return peak + 0.5 * (x - peak)

    def examine(self, x):
        return StopReason.degenerate_covariance if x > 50.0 else None


class InterruptedAtOnce(Peaks):
    def e_step(self, x):
        if x > 100.0:
            raise KeyboardInterrupt
        return super().e_step(x)


def test_the_best_run_wins_and_every_outcome_is_kept():
    best, outcomes = run_starts(Peaks(), iter([1.2, 7.3, 3.1]))
    assert best.params == pytest.approx(7.0, rel=1e-4)
    assert best.stop_reason is StopReason.converged
    assert [run.params for run in outcomes] == pytest.approx([1.0, 7.0, 3.0], rel=1e-4)
    np.testing.assert_array_equal(best.start_log_likelihoods, [run.log_likelihood for run in outcomes])
    assert best.detail == ""


def test_a_start_that_fails_is_recorded():
    best, outcomes = run_starts(Peaks(), [1.2, 500.0, 3.1])
    assert best.params == pytest.approx(3.0, rel=1e-4)
    assert isinstance(outcomes[1], NumericalError)
    assert "no answer at 500.0" in str(outcomes[1])
    np.testing.assert_array_equal(np.isnan(best.start_log_likelihoods), [False, True, False])


class LosesItsDigits(Peaks):
    """Above 20 the objective grows until it falls."""

    def e_step(self, x):
        peak, height = super().e_step(x)
        return peak, height - 100.0 if x > 20.0 and abs(x - peak) < 1e-2 else height


def test_a_run_whose_objective_fell_is_best_only_if_all_are():
    best, outcomes = run_starts(LosesItsDigits(), [30.2, 1.2])
    assert outcomes[0].stop_reason is StopReason.objective_fell
    assert outcomes[0].log_likelihood > best.log_likelihood
    assert best.params == pytest.approx(1.0, rel=1e-4)
    best, _ = run_starts(LosesItsDigits(), [30.2, 40.2])
    assert best.stop_reason is StopReason.objective_fell


def test_a_degenerate_run_is_best_only_if_all_are():
    best, _ = run_starts(Peaks(), [60.2, 1.2, 70.2])
    assert best.params == pytest.approx(1.0, rel=1e-4)
    best, _ = run_starts(Peaks(), [60.2, 70.2, 500.0])
    assert best.stop_reason is StopReason.degenerate_covariance
    assert best.params == pytest.approx(70.1)


def test_all_starts_failing_is_an_error():
    with pytest.raises(NumericalError, match=r"starts: all 2 failed, the first with: .*no answer at 500"):
        run_starts(Peaks(), [500.0, 600.0])
    with pytest.raises(InputError, match="starts: expected at least one start"):
        run_starts(Peaks(), [])


@pytest.mark.parametrize(
    ("problem", "starts", "n_begun"),
    [
        (Peaks(), [3.1, 1.2, -2000.4, 9.0], 3),  # inside the third run, which returns what it has
        (InterruptedAtOnce(), [3.1, 1.2, 500.0, 9.0], 2),  # before the third run has anything to return
    ],
)
def test_an_interrupt_ends_all_runs_and_returns_the_best_so_far(problem, starts, n_begun):
    best, outcomes = run_starts(problem, starts)
    assert best.params == pytest.approx(3.0, rel=1e-4)
    assert len(outcomes) == n_begun
    assert f"interrupted after {n_begun} of 4 starts" in best.message


def test_an_interrupt_before_anything_is_known_is_passed_on():
    with pytest.raises(KeyboardInterrupt):
        run_starts(InterruptedAtOnce(), [500.0, 1.2])


def test_options_reach_every_run(capsys):
    events = []
    _, outcomes = run_starts(
        Peaks(), [1.2, 3.1], stopping=Stopping(max_iterations=2), callback=events.append, progress=True
    )
    assert [run.n_iterations for run in outcomes] == [2, 2]
    assert [event.iteration for event in events] == [1, 2, 1, 2]
    out, err = capsys.readouterr()
    assert out == ""
    assert "EM starts" in err


class Slow(Peaks):
    """The way up takes the longer the higher the peak: after a few steps the order may be another than at the end."""

    def __init__(self):
        self.n_steps = 0

    def e_step(self, x):
        if x > 100.0:
            raise NumericalError(f"no answer at {x}")
        peak = float(round(x))
        return peak, peak - 40.0 * abs(x - peak)

    def m_step(self, x, peak):
        self.n_steps += 1
        return super().m_step(x, peak)


def test_trials_take_the_best_start_to_the_end_and_no_other():
    problem, whole = Slow(), Slow()
    starts = [1.2, 7.05, 500.0, 3.1]
    best, outcomes = run_starts(problem, starts, trial_iterations=2)
    alone, every = run_starts(whole, starts)
    assert best.params == alone.params
    np.testing.assert_array_equal(best.log_likelihoods, alone.log_likelihoods)
    assert best.stop_reason is StopReason.converged
    assert isinstance(outcomes[2], NumericalError)
    assert [outcomes[i].n_iterations for i in (0, 1, 3)] == [2, every[1].n_iterations, 2]
    assert [outcomes[i].stop_reason for i in (0, 3)] == [StopReason.max_iterations] * 2
    np.testing.assert_array_equal(
        best.start_log_likelihoods[[0, 1, 3]], [outcomes[i].log_likelihood for i in (0, 1, 3)]
    )
    assert np.isnan(best.start_log_likelihoods[2])
    assert problem.n_steps < 0.5 * whole.n_steps


class RunsAwayLate(Peaks):
    """From 7 the run ends where its height says nothing, but not within the first steps."""

    def examine(self, x):
        return StopReason.degenerate_covariance if 7.0 < x < 7.001 or x > 50.0 else None


def test_where_the_most_promising_trial_runs_away_the_next_goes_on():
    best, outcomes = run_starts(RunsAwayLate(), [3.1, 7.3, 60.2], trial_iterations=2)
    assert outcomes[1].stop_reason is StopReason.degenerate_covariance
    assert (best.params, best.stop_reason) == (pytest.approx(3.0, rel=1e-4), StopReason.converged)
    assert outcomes[2].n_iterations == 1


@pytest.mark.parametrize("wrong", [0, -1, 2.0, True, "5"])
def test_trial_iterations_are_a_whole_number(wrong):
    with pytest.raises(InputError, match="trial_iterations: expected a whole number of at least 1 or None, got"):
        run_starts(Peaks(), [1.2, 3.1], trial_iterations=wrong)


def test_an_interrupt_of_the_run_after_the_trials_is_said():
    class Interrupted(Peaks):
        def m_step(self, x, peak):
            if 2.9 < x < 3.01:
                raise KeyboardInterrupt
            return super().m_step(x, peak)

    best, _ = run_starts(Interrupted(), [1.2, 3.1], trial_iterations=2)
    assert best.stop_reason is StopReason.interrupted
    assert best.params == pytest.approx(3.0, abs=0.02)
