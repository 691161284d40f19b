"""The EM loop: every model, and every variant of EM, goes round here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

from kalman_em.em.ascent import Ascent
from kalman_em.em.bar import progress_bar
from kalman_em.em.bound import ExpectsGain
from kalman_em.em.history import History
from kalman_em.em.problem import EMProblem, Expectations, Params
from kalman_em.em.result import Callback, EMResult
from kalman_em.em.steps import EMState, em_event, evaluate
from kalman_em.em.stopping import DEFAULT_STOPPING, Stopping, StopReason
from kalman_em.errors import InputError, NumericalError, is_interrupt


def run_em(
    problem: EMProblem[Params, Expectations],
    start: Params,
    *,
    stopping: Stopping = DEFAULT_STOPPING,
    callback: Callback[Params] | None = None,
    progress: bool = False,
    record_bound: bool = False,
) -> EMResult[Params]:
    """Climb from `start` by expectation-maximisation until `stopping` says that nothing is left to gain.

    Parameters
    ----------
    problem : EMProblem
        Anything with the methods ``e_step(params) -> (expectations, log_likelihood)`` and
        ``m_step(params, expectations) -> params``; optionally `parameter_change` and `examine`.
    start : object
        The first parameters.
    stopping : Stopping
        How many iterations, and how near to the limit.
    callback : callable, optional
        Called with an `EMIteration` after each iteration; what it raises is passed on.
    progress : bool
        Show a bar on stderr.
    record_bound : bool
        Keep the lower bound that each M-step raised, as `EMResult.bound_history`; the problem must then have a method
        `expected_gain` (see `kalman_em.em.bound`).

    Returns
    -------
    EMResult
        The best parameters of the run, the objective at exactly those, the whole history, and why it ended.
        The run also ends, with its best parameters, when the objective falls by more than rounding
        (1e-9 of 1 + |objective|), when it or the parameters are no longer finite or cannot be computed, when
        the problem's `examine` says so, and on Ctrl-C.

    Raises
    ------
    InputError
        If an argument or what the problem returns is not of the kind expected.
    NumericalError
        If the objective at `start` is not finite, or cannot be computed.
    KeyboardInterrupt
        If it comes before the start has been evaluated: there is nothing to return yet.

    Notes
    -----
    If the problem offers `leaps`, a climb that is not over after 500 iterations tries them every 10 iterations, and
    every climb once where it would end; it takes one only if the objective there is not lower: the ascent stays
    monotone, and the limit is the same.

    Each iteration is an M-step and then an E-step at the new parameters (Dempster, Laird & Rubin 1977), so
    the objective that convergence was judged by belongs to the parameters returned.

    Examples
    --------
    Lifetimes of lamps: three burnt out after 2, 4 and 6 months, two still burn after 8. The mean lifetime is
    then all months over the number burnt out, 28/3; EM fills in the unseen lifetimes, 8 + mean each.

    >>> import math
    >>> class Lamps:
    ...     def e_step(self, mean):
    ...         return 2.0 + 4.0 + 6.0 + 2 * (8.0 + mean), -3 * math.log(mean) - 28.0 / mean
    ...     def m_step(self, mean, total_lifetime):
    ...         return total_lifetime / 5
    >>> result = run_em(Lamps(), start=1.0)
    >>> round(result.params, 3), result.n_iterations, result.stop_reason.is_converged
    (9.333, 13, True)
    >>> print(result)
    converged after 13 iterations, log-likelihood -9.7007767.
    """
    _check_arguments(problem, stopping, callback, record_bound)
    with progress_bar(stopping.max_iterations, "EM", "iteration", shown=progress) as bar:
        try:
            state = evaluate(problem, start)
        except NumericalError as error:
            raise NumericalError(f"start: the E-step failed there: {error}") from error
        history = History(state.params, state.log_likelihood, with_bound=record_bound)

        def tell(now: EMState[Params, Expectations], before: EMState[Params, Expectations]) -> None:
            if bar is not None:
                bar.set_postfix_str(f"log-likelihood {now.log_likelihood:.8g}", refresh=False)
                bar.update()
            if callback is not None:
                callback(em_event(history, now, before))

        try:
            reason, detail = Ascent(problem, state, history, stopping).run(tell)
        except (KeyboardInterrupt, SystemError) as error:
            if not is_interrupt(error):
                raise
            reason, detail = StopReason.interrupted, ""
    return history.result(reason, detail)


def climb_on(
    problem: EMProblem[Params, Expectations],
    history: History[Params],
    trail: Sequence[Params],
    *,
    stopping: Stopping = DEFAULT_STOPPING,
    is_at_end: bool = False,
) -> EMResult[Params]:
    """Go on with a run of `run_em` that stands at the last parameters of `trail`, with `history` so far.

    Parameters
    ----------
    is_at_end : bool
        Whether the run has met its `stopping`, so that only the leaps tried there are left.
    """
    ascent = Ascent(problem, evaluate(problem, trail[-1]), history, stopping, trail)
    if is_at_end and not ascent.leap_at_end():
        return history.result(*ascent.end())
    return history.result(*ascent.run())


def _check_arguments(problem: object, stopping: object, callback: object, record_bound: object = False) -> None:
    if isinstance(problem, type) or not isinstance(problem, EMProblem):
        raise InputError(f"problem: expected an object with methods e_step and m_step, got {problem!r}")
    if not isinstance(stopping, Stopping):
        raise InputError(f"stopping: expected a Stopping, got {stopping!r}")
    if callback is not None and not callable(callback):
        raise InputError(f"callback: expected a function of one EMIteration, got {callback!r}")
    if record_bound and not isinstance(problem, ExpectsGain):
        raise InputError(f"record_bound: expected a problem with a method expected_gain, got {problem!r}")
