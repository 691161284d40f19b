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
