"""The EM loop on toy problems that know nothing of time series."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from tqdm import tqdm

from kalman_em.em.bound import lower_bound
from kalman_em.em.loop import run_em
from kalman_em.em.problem import Note
from kalman_em.em.result import EMResult
from kalman_em.em.steps import EMState, em_step, evaluate
from kalman_em.em.stopping import EMStop, Stopping, StopReason
from kalman_em.errors import InputError, NumericalError


@dataclass(frozen=True)
class CensoredLifetimes:
    """Exponential lifetimes, some still running at `limit`; the mean of highest likelihood has a closed form."""

    seen: tuple[float, ...] = (0.3, 2.0, 4.1, 6.6)
    n_running: int = 6
    limit: float = 7.0
    shift: float = 0.0  # added to the log-likelihood, as other units of the data would

    @property
    def maximum(self):
        return (sum(self.seen) + self.n_running * self.limit) / len(self.seen)

    def e_step(self, mean):
        log_likelihood = -len(self.seen) * math.log(mean) - self.maximum * len(self.seen) / mean
        return sum(self.seen) + self.n_running * (self.limit + mean), log_likelihood + self.shift

    def m_step(self, mean, total):
        return total / (len(self.seen) + self.n_running)


@dataclass(frozen=True)
class MixtureParams:
    weight: float
    means: np.ndarray


@dataclass(frozen=True, eq=False)
class Mixture:
    """Two normal components of variance 1."""

    points: np.ndarray

    def e_step(self, params):
        weights = np.array([params.weight, 1.0 - params.weight])
        densities = weights * np.exp(-0.5 * (self.points[:, None] - params.means) ** 2) / math.sqrt(2 * math.pi)
        totals = densities.sum(axis=1)
        return densities / totals[:, None], np.log(totals).sum()

    def m_step(self, params, shares):
        counts = shares.sum(axis=0)
        return MixtureParams(counts[0] / len(self.points), self.points @ shares / counts)


class Script:
    """Parameters 1.0, 2.0, ... whose objective at the k-th E-step is read from a list (or raised)."""

    def __init__(self, objectives):
        self.objectives = objectives

    def e_step(self, params):
        outcome = self.objectives[int(params) - 1]
        if isinstance(outcome, BaseException):
            raise outcome
        return "expectations", outcome

    def m_step(self, params, expectations):
        return params + 1.0


@pytest.fixture(scope="module")
def mixture():
    rng = np.random.default_rng(4)
    return Mixture(np.concatenate([rng.normal(-1.0, 1.0, 60), rng.normal(1.5, 1.0, 90)]))


MIXTURE_START = MixtureParams(0.5, np.array([-0.5, 0.5]))


def test_censored_lifetimes_reach_the_closed_form():
    problem = CensoredLifetimes()
    result = run_em(problem, 1.0)
    assert result.stop_reason is StopReason.converged
    assert result.params == pytest.approx(problem.maximum, rel=1e-4)
    tight = run_em(problem, 1.0, stopping=Stopping(relative_tolerance=0.0, parameter_tolerance=0.0))
    assert tight.stop_reason is StopReason.converged
    assert tight.params == pytest.approx(problem.maximum, rel=1e-11)


def test_mixture_climbs_to_where_the_gradient_vanishes(mixture):
    result = run_em(mixture, MIXTURE_START, stopping=Stopping(parameter_tolerance=1e-8))
    assert result.stop_reason is StopReason.converged
    assert np.diff(result.log_likelihoods).min() > -1e-11
    assert result.n_falls == 0

    def height(vector):
        return mixture.e_step(MixtureParams(vector[0], vector[1:]))[1]

    best, step = np.array([result.params.weight, *result.params.means]), 1e-5
    gradient = [(height(best + d) - height(best - d)) / (2 * step) for d in step * np.eye(3)]
    assert np.abs(gradient).max() < 1e-4
    assert height(best) - result.log_likelihoods[0] > 5.0


def test_the_default_stop_is_within_its_tolerance_of_the_limit():
    """With 396 of 400 lifetimes unseen the rate is 0.99."""
    problem, means = CensoredLifetimes(n_running=396), []
    result = run_em(problem, 1.0, callback=lambda event: means.append(event.params))
    assert result.stop_reason is StopReason.converged
    assert result.params == pytest.approx(problem.maximum, rel=1e-4)
    naive = means[int(np.argmax(result.parameter_changes <= 1e-4))]
    assert abs(naive / problem.maximum - 1.0) > 5e-3


def test_the_log_likelihood_belongs_exactly_to_the_parameters(mixture):
    for n_iterations in (1, 2, 7):
        result = run_em(mixture, MIXTURE_START, stopping=Stopping(max_iterations=n_iterations))
        assert result.stop_reason is StopReason.max_iterations
        assert result.n_iterations == n_iterations
        assert result.log_likelihood == mixture.e_step(result.params)[1]


def test_the_history_is_complete_and_read_only():
    problem = CensoredLifetimes()
    result = run_em(problem, 1.0, stopping=Stopping(max_iterations=3))
    means = [1.0]
    for _ in range(3):
        means.append(problem.m_step(means[-1], problem.e_step(means[-1])[0]))
    np.testing.assert_array_equal(result.log_likelihoods, [problem.e_step(mean)[1] for mean in means])
    np.testing.assert_allclose(result.parameter_changes, np.abs(np.diff(means)) / means[:-1], rtol=1e-15)
    np.testing.assert_array_equal(result.start_log_likelihoods, [result.log_likelihood])
    for array in (result.log_likelihoods, result.parameter_changes, result.start_log_likelihoods):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


def test_a_start_at_the_answer_stops_there():
    problem = CensoredLifetimes()
    result = run_em(problem, problem.maximum)
    assert result.stop_reason is StopReason.converged
    assert result.n_iterations <= 2
    assert result.params == pytest.approx(problem.maximum, rel=1e-14)


def test_other_units_of_the_data_stop_at_the_same_iteration():
    reference = run_em(CensoredLifetimes(), 1.0)
    for shift in (-1e4, 1e4):
        shifted = run_em(CensoredLifetimes(shift=shift), 1.0)
        assert shifted.n_iterations == reference.n_iterations
        assert shifted.params == reference.params


def test_a_fall_stops_the_run_with_the_parameters_before_it():
    result = run_em(Script([-9.0, -8.0, -7.0, -7.5, -1.0]), 1.0)
    assert result.stop_reason is StopReason.objective_fell
    assert (result.params, result.log_likelihood, result.best_iteration) == (3.0, -7.0, 2)
    assert (result.n_iterations, result.n_falls, result.largest_fall) == (3, 1, 0.5)
    np.testing.assert_array_equal(result.log_likelihoods, [-9.0, -8.0, -7.0, -7.5])
    assert "fell by 0.5" in result.message


def test_a_broken_m_step_is_found_out():
    class Overshooting(CensoredLifetimes):
        def m_step(self, mean, total):
            return 3.0 * super().m_step(mean, total)

    problem = Overshooting()
    result = run_em(problem, 1.0)
    assert result.stop_reason is StopReason.objective_fell
    assert result.log_likelihood == result.log_likelihoods.max() == problem.e_step(result.params)[1]


def test_small_falls_add_up():
    """Each fall is within rounding of the one before, all together are not."""
    result = run_em(Script([-9.0, *(-8.0 - 4e-9 * k for k in range(100))]), 1.0)
    assert result.stop_reason is StopReason.objective_fell
    assert result.n_iterations == 4
    assert result.params == 2.0
    assert result.n_falls == 1


def test_a_fall_within_rounding_is_not_a_fall_but_is_shown():
    stopping = Stopping(max_iterations=3)
    result = run_em(Script([-9.0, -8.0, -8.0 - 1e-9, -7.0]), 1.0, stopping=stopping)
    assert result.stop_reason is StopReason.max_iterations
    assert result.n_falls == 0
    assert result.largest_fall == pytest.approx(1e-9)


def test_of_objectives_equal_to_within_rounding_the_latest_is_best():
    result = run_em(Script([-9.0, -8.0, -8.0 - 1e-13, -8.0 - 2e-13]), 1.0, stopping=Stopping(max_iterations=3))
    assert (result.params, result.best_iteration) == (4.0, 3)
    assert result.log_likelihood == -8.0 - 2e-13
    drift = run_em(Script([-8.0 - 4e-12 * k for k in range(6)]), 1.0, stopping=Stopping(max_iterations=5))
    assert drift.params == 3.0  # as near to the highest as rounding, not to the one before


def test_an_interrupt_in_the_e_step_returns_the_best_so_far():
    result = run_em(Script([-9.0, -8.0, -7.0, -6.0, -5.0, KeyboardInterrupt()]), 1.0)
    assert result.stop_reason is StopReason.interrupted
    assert (result.params, result.log_likelihood, result.n_iterations) == (5.0, -5.0, 4)


def test_an_interrupt_that_compiled_code_wrapped_is_one_and_other_system_errors_are_not():
    wrapped = SystemError("a result with an exception set")
    wrapped.__cause__ = KeyboardInterrupt()
    result = run_em(Script([-9.0, -8.0, wrapped]), 1.0)
    assert result.stop_reason is StopReason.interrupted
    assert result.log_likelihood == -8.0
    with pytest.raises(SystemError, match=r"^broken$"):
        run_em(Script([-9.0, -8.0, SystemError("broken")]), 1.0)


@pytest.mark.parametrize("where", ["m_step", "callback"])
def test_an_interrupt_elsewhere_returns_the_best_so_far(where):
    class Problem(CensoredLifetimes):
        def m_step(self, mean, total):
            if where == "m_step" and mean > 8.0:
                raise KeyboardInterrupt
            return super().m_step(mean, total)

    def stop_above_eight(event):
        if where == "callback" and event.params > 8.0:
            raise KeyboardInterrupt

    result = run_em(Problem(), 1.0, callback=stop_above_eight)
    assert result.stop_reason is StopReason.interrupted
    assert result.params > 8.0
    assert result.log_likelihood == Problem().e_step(result.params)[1]


def test_an_interrupt_before_anything_is_known_is_passed_on():
    with pytest.raises(KeyboardInterrupt):
        run_em(Script([KeyboardInterrupt()]), 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, NumericalError("no finite answer")])
def test_a_non_finite_objective_returns_the_best_so_far(bad):
    result = run_em(Script([-9.0, -8.0, -7.0, bad]), 1.0)
    assert result.stop_reason is StopReason.non_finite
    assert (result.params, result.log_likelihood, result.n_iterations) == (3.0, -7.0, 2)
    assert result.detail.startswith("iteration 3: ")
    assert ("no finite answer" in result.detail) == isinstance(bad, NumericalError)
    assert result.detail in result.message


@pytest.mark.parametrize("bad", [math.nan, math.inf, NumericalError("no finite answer")])
def test_a_start_without_a_finite_objective_is_an_error(bad):
    with pytest.raises(NumericalError, match=r"start: the E-step failed there: .* finite"):
        run_em(Script([bad]), 1.0)


def test_an_m_step_that_gives_nan_or_fails_returns_the_best_so_far():
    class Problem(CensoredLifetimes):
        def m_step(self, mean, total):
            if mean > 9.0:
                raise NumericalError("singular")
            return math.nan if mean > 6.0 else super().m_step(mean, total)

    result = run_em(Problem(), 1.0)
    assert result.stop_reason is StopReason.non_finite
    assert "parameters that are not finite" in result.detail
    assert 6.0 < result.params < 7.0
    result = run_em(Problem(), 9.5)
    assert result.stop_reason is StopReason.non_finite
    assert (result.n_iterations, result.params, result.detail) == (0, 9.5, "iteration 1: singular")


def test_other_errors_of_the_problem_are_passed_on():
    with pytest.raises(ZeroDivisionError):
        run_em(Script([-9.0, -8.0, ZeroDivisionError()]), 1.0)


def test_a_problem_may_say_that_its_parameters_degenerate():
    class Problem(CensoredLifetimes):
        def examine(self, mean):
            return StopReason.degenerate_covariance if mean > 8.0 else None

    result = run_em(Problem(), 1.0)
    assert result.stop_reason is StopReason.degenerate_covariance
    assert result.n_iterations == 2
    assert result.params > 8.0
    assert StopReason.degenerate_covariance.remedy in result.message


def test_a_problem_may_measure_its_own_change():
    class Problem(CensoredLifetimes):
        def parameter_change(self, old, new):
            return abs(math.log(new / old))

    result = run_em(Problem(), 1.0, stopping=Stopping(max_iterations=1))
    assert result.parameter_changes[0] == pytest.approx(math.log(Problem().m_step(1.0, Problem().e_step(1.0)[0])))


def test_parameters_may_start_at_zero():
    class Problem:
        def e_step(self, x):
            return 2.0 + 0.5 * (x - 2.0), -((x - 2.0) ** 2)

        def m_step(self, x, expected):
            return expected

    result = run_em(Problem(), 0.0)
    assert result.parameter_changes[0] == math.inf
    assert result.stop_reason is StopReason.converged
    assert result.params == pytest.approx(2.0, rel=1e-4)


def test_the_callback_sees_each_iteration_once():
    events = []
    result = run_em(CensoredLifetimes(), 1.0, callback=events.append)
    assert [event.iteration for event in events] == list(range(1, result.n_iterations + 1))
    assert [event.log_likelihood for event in events] == list(result.log_likelihoods[1:])
    assert [event.gain for event in events] == list(np.diff(result.log_likelihoods))
    assert [event.parameter_change for event in events] == list(result.parameter_changes)
    assert events[-1].params == result.params
    with pytest.raises(AttributeError):
        events[0].iteration = 7


def test_what_a_callback_raises_is_passed_on():
    def refuse(event):
        raise NumericalError("the callback's own")

    with pytest.raises(NumericalError, match="the callback's own"):
        run_em(CensoredLifetimes(), 1.0, callback=refuse)


def test_progress_goes_to_stderr_and_is_closed(capsys):
    run_em(CensoredLifetimes(), 1.0, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "EM" in err
    assert "log-likelihood -" in err
    run_em(Script([-9.0, -8.0, KeyboardInterrupt()]), 1.0, progress=True)
    with pytest.raises(KeyboardInterrupt):
        run_em(Script([KeyboardInterrupt()]), 1.0, progress=True)
    assert not tqdm._instances
    capsys.readouterr()
    run_em(CensoredLifetimes(), 1.0)
    assert capsys.readouterr() == ("", "")


def test_one_step_can_be_taken_alone():
    problem = CensoredLifetimes()
    state = evaluate(problem, 1.0)
    assert state.expectations == problem.e_step(1.0)[0]
    after, change = em_step(problem, state)
    assert isinstance(after, EMState)
    assert after.params == problem.m_step(1.0, state.expectations)
    assert after.log_likelihood == problem.e_step(after.params)[1]
    assert change == pytest.approx(after.params - 1.0)


def test_parameters_written_to_in_place_are_refused():
    class InPlace:
        def e_step(self, x):
            return 2.0 + 0.5 * (x - 2.0), -float((x - 2.0) @ (x - 2.0))

        def m_step(self, x, expected):
            x[:] = expected
            return x

    with pytest.raises(InputError, match="m_step: expected new parameters, got the ndarray"):
        run_em(InPlace(), np.ones(2))


def test_an_m_step_that_returns_nothing_is_refused():
    class Forgetful(CensoredLifetimes):
        def m_step(self, mean, total):
            return None

    with pytest.raises(InputError, match=r"params: expected 1.0 as before, got None"):
        run_em(Forgetful(), 1.0)


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (-9.0, r"expected a pair \(expectations, log-likelihood\), got float"),
        (("a", "b", "c"), "expected a pair"),
        (("a", None), "expected a real number as log-likelihood, got NoneType"),
        (("a", np.array([-9.0])), "expected a real number as log-likelihood, got ndarray"),
        (("a", True), "expected a real number as log-likelihood, got bool"),
    ],
)
def test_an_e_step_must_return_a_pair(outcome, message):
    class Problem(CensoredLifetimes):
        def e_step(self, mean):
            return outcome

    with pytest.raises(InputError, match=f"e_step: {message}"):
        run_em(Problem(), 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"problem": object()}, "problem: expected an object with methods e_step and m_step"),
        ({"problem": CensoredLifetimes}, "problem: expected an object"),
        ({"stopping": 100}, "stopping: expected a Stopping, got 100"),
        ({"callback": "print"}, "callback: expected a function"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(InputError, match=message):
        run_em(**({"problem": CensoredLifetimes(), "start": 1.0} | arguments))


def test_the_message_is_one_line_with_a_remedy_unless_converged():
    assert "\n" not in str(run_em(CensoredLifetimes(), 1.0))
    assert StopReason.converged.remedy not in str(run_em(CensoredLifetimes(), 1.0))
    stopped = str(run_em(CensoredLifetimes(), 1.0, stopping=Stopping(max_iterations=1)))
    assert stopped.startswith("max_iterations after 1 iteration, log-likelihood -")
    assert stopped.endswith(StopReason.max_iterations.remedy)


def test_a_result_whose_lengths_disagree_is_refused():
    fields = {"params": 1.0, "best_iteration": 0, "stop_reason": StopReason.converged}
    with pytest.raises(InputError, match="parameter_changes"):
        EMResult(log_likelihoods=[1.0, 2.0], parameter_changes=[], **fields)
    with pytest.raises(InputError, match="log_likelihoods"):
        EMResult(log_likelihoods=[], parameter_changes=[], **fields)
    with pytest.raises(InputError, match="best_iteration"):
        EMResult(log_likelihoods=[1.0], parameter_changes=[], **(fields | {"best_iteration": 1}))


@dataclass(frozen=True)
class LeapThenFailure:
    """Converges at 1; a leap from there reaches 5, where the next M-step fails."""

    def e_step(self, x):
        return x, -((x - 6.0) ** 2)

    def m_step(self, x, _):
        if x == 5.0:
            raise NumericalError("nothing to learn there")
        return 1.0 - 0.1 * (1.0 - x)

    def leaps(self, trail):
        yield 5.0, "leapt"


def test_a_leap_at_the_end_of_the_climb_is_not_lost_when_the_next_step_fails():
    seen = []
    result = run_em(LeapThenFailure(), 0.0, callback=lambda event: seen.append(event.log_likelihood))
    assert result.stop_reason is StopReason.non_finite
    assert result.params == 5.0
    assert result.log_likelihood == result.log_likelihoods[-1] == seen[-1] == -1.0
    assert result.best_iteration == result.n_iterations == len(seen)


@dataclass(frozen=True)
class Ladder:
    """A slow climb on which every leap gains a little, and every step after it next to nothing."""

    def parameter_change(self, old, new):
        return 0.0

    def e_step(self, at):
        count, rung, since = at
        return None, -10.0 + 1e-6 * min(count, 525) + 5e-8 * rung - 1e-9 * 0.1**since

    def m_step(self, at, _):
        count, rung, since = at
        return count + 1, rung, since + 1

    def leaps(self, trail):
        count, rung, _ = trail[-1]
        yield (count, rung + 1, 0), ""


def test_a_climb_that_gains_at_every_leap_is_not_over_between_them():
    result = run_em(Ladder(), (0, 0, 0), stopping=Stopping(max_iterations=900))
    assert result.stop_reason is StopReason.max_iterations
    assert result.n_iterations == 900


@dataclass(frozen=True)
class Tremor:
    """A climb with a second way up that is over, whose M-step knows its parameter to `size` only."""

    size: float
    climb_after: int = 30

    def e_step(self, at):
        return None, -1.0 - 0.9 ** at[0]

    def m_step(self, at, _):
        return at[0] + 1, self.size * (-1.0) ** at[0]

    def climb(self, at):
        return at[0] + 10, at[1]

    def parameter_change(self, old, new):
        return abs(new[1] - old[1])


@pytest.mark.parametrize(("size", "reason"), [(1e-8, StopReason.converged), (1e-6, StopReason.max_iterations)])
def test_a_long_climb_whose_parameters_move_within_rounding_is_over(size, reason):
    assert run_em(Tremor(size), (0, 0.0), stopping=Stopping(max_iterations=700)).stop_reason is reason


@dataclass(frozen=True)
class SecondWay(CensoredLifetimes):
    """A crawl, with another way up that leads to the maximum, or to somewhere lower."""

    goal: float = math.nan
    climb_after: int = 520

    def m_step(self, mean, total):
        return mean + 1e-6 * (self.maximum - mean)

    def climb(self, mean):
        return self.maximum if math.isnan(self.goal) else self.goal


def test_the_second_way_up_is_taken_if_it_leads_higher():
    stopping = Stopping(max_iterations=800)
    crawl = run_em(SecondWay(goal=1.0), 2.0, stopping=stopping)
    assert crawl.params < 2.1
    assert crawl.stop_reason is StopReason.max_iterations
    result = run_em(SecondWay(), 2.0, stopping=stopping)
    assert result.params == pytest.approx(SecondWay().maximum, abs=1e-9)
    assert result.stop_reason.is_converged
    assert 520 < result.n_iterations < 800
    early = run_em(SecondWay(climb_after=30), 2.0, stopping=stopping)
    assert early.params == pytest.approx(SecondWay().maximum, abs=1e-9)
    assert 30 < early.n_iterations < 200


class Halving:
    """y ~ N(z, 1), z ~ N(θ, 1), one observation 3: each step halves the way, and stops the run near the end."""

    def e_step(self, mean):
        return 0.5 * (3.0 + mean), -0.25 * (3.0 - mean) ** 2

    def m_step(self, mean, hidden):
        if hidden > 2.99:
            raise EMStop(StopReason.empty_component, "nothing is left")
        return hidden

    def expected_gain(self, old, new, hidden):
        return 0.5 * (hidden - old) ** 2 - 0.5 * (hidden - new) ** 2


def test_a_step_may_end_the_run_with_a_reason_and_a_detail():
    result = run_em(Halving(), 1.0)
    assert result.stop_reason is StopReason.empty_component
    assert result.detail == "iteration 8: nothing is left"
    assert 2.9 < result.params < 2.99


def test_the_bound_is_that_of_the_step_before_and_is_kept_where_asked():
    problem = Halving()
    assert run_em(problem, 1.0).bound_history is None
    result = run_em(problem, 1.0, record_bound=True)
    means = [3.0 - 2.0 * 0.5**k for k in range(result.n_iterations + 1)]
    expected = [lower_bound(problem, old, new) for old, new in pairwise(means)]
    np.testing.assert_allclose(result.bound_history, expected, rtol=1e-12)
    # At the M-step's result the posterior still lies at the old mean: KL(N(z; ., 1/2)) is their distance squared.
    np.testing.assert_allclose(result.kl_gaps, [(new - old) ** 2 / 4.0 for old, new in pairwise(means)], rtol=1e-9)
    with pytest.raises(InputError, match="record_bound"):
        _ = run_em(problem, 1.0).kl_gaps


def test_a_bound_needs_a_problem_that_has_one():
    class Plain:
        def e_step(self, x):
            return x, -(x**2)

        def m_step(self, x, half):
            return 0.5 * half

    with pytest.raises(InputError, match="record_bound: expected a problem with a method expected_gain"):
        run_em(Plain(), 1.0, record_bound=True)


def test_the_end_tells_of_each_subject_once_and_what_is_true_then():
    @dataclass(frozen=True)
    class Teller(LeapThenFailure):
        """Leaps that tell of the same things again and again, to where nothing is left to gain."""

        def m_step(self, x, _):
            return x if x >= 5.0 else 1.0 - 0.1 * (1.0 - x)

        def leaps(self, trail):
            yield 5.0, Note("a", "fell")
            yield 5.5, Note("b", "fell")
            yield 6.0, Note("a", "rose")

    result = run_em(Teller(), 0.0)
    assert result.params == 6.0
    assert result.detail == "b fell; a rose"


class Rounded(Script):
    """A script that knows another one, computed with less rounding."""

    def __init__(self, objectives, exactly):
        super().__init__(objectives)
        self.exactly = exactly

    def doubted(self):
        return Script(self.exactly), "more digits"


def test_a_fall_that_is_rounding_is_taken_anew_with_more_digits():
    run = run_em(
        Rounded([-9.0, -8.0, -8.5, -7.0], [-9.1, -8.1, -7.9, -7.5, -7.4]), 1.0, stopping=Stopping(max_iterations=4)
    )
    assert run.n_falls == 0
    assert run.switched_at == 1
    assert "more digits from iteration 1 on" in run.message
    np.testing.assert_allclose(run.log_likelihoods, [-9.0, -8.1, -7.9, -7.5, -7.4])


def test_a_fall_that_more_digits_confirm_is_one():
    run = run_em(Rounded([-9.0, -8.0, -8.5], [-9.0, -8.0, -8.6, -8.0]), 1.0, stopping=Stopping(max_iterations=4))
    assert run.stop_reason == "objective_fell"
    assert run.log_likelihoods.tolist() == [-9.0, -8.0, -8.6]
    assert run.params == 2.0
