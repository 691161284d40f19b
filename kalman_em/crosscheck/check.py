"""`crosscheck`: a fit beside the same model in statsmodels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import statsmodels

from kalman_em.arrays import Array
from kalman_em.crosscheck.arbiter import Judgement, judged
from kalman_em.crosscheck.coordinates import NoCoordinates, coordinates
from kalman_em.crosscheck.identification import free_basis_dimension
from kalman_em.crosscheck.outside import Climb, climb
from kalman_em.crosscheck.own_start import described, own_start
from kalman_em.crosscheck.report import SAME_COVS, SAME_LIKELIHOOD, SAME_SMOOTHER, CrossCheck
from kalman_em.crosscheck.smoothing import SamePoint, same_point
from kalman_em.crosscheck.start import outside_start
from kalman_em.em.stopping import StopReason
from kalman_em.errors import InputError
from kalman_em.fitting.result import Fit
from kalman_em.fitting.starting import free_values
from kalman_em.linalg import smallest_scaled_eigenvalue
from kalman_em.models.leading import with_leading_rows
from kalman_em.models.scale import data_scale
from kalman_em.models.specification import COVARIANCES
from kalman_em.models.titles import model_title
from kalman_em.observations import Panel
from kalman_em.systems import LinearGaussianSystem

# Data that vary by less than this meet statsmodels' absolute tolerances.
TINY_UNITS = 1e-4
# Below this a covariance at statsmodels' optimum is nearly singular: scaled to a unit diagonal, or beside the start's.
NEARLY_SINGULAR = 1e-6
# Climbs that end closer than this ended at the same height.
SAME_HEIGHT = 1e-6


def crosscheck(fitted: Fit, *, max_iterations: int = 100) -> CrossCheck:
    """Compare a fit with the same model in statsmodels: likelihood, smoother and optimum.

    The model of `fitted` is built for statsmodels' `MLEModel` from its forms, one model a series. Both packages
    then compute log-likelihood and smoothed states at our estimates, and statsmodels' own optimiser (L-BFGS with
    numerical gradients) climbs from our estimates and from a start that owes nothing to them. Missing entries,
    inputs, offsets, matrices that vary in time and exactly diffuse starts take part.

    Parameters
    ----------
    fitted : Fit
        A fit of a linear-Gaussian model.
    max_iterations : int
        Iterations at most of each climb; one that is cut off is reported as not converged.

    Returns
    -------
    CrossCheck
        Prints as a report; `verdict` says it in one line, `agrees` in one bit.

    Raises
    ------
    InputError
        If `fitted` is not a fit of a linear-Gaussian model, or `max_iterations` is no positive whole number.

    References
    ----------
    Fulton, Estimating time series models by state space methods in Python: statsmodels (2015).

    Examples
    --------
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> found = fitted.crosscheck()
    >>> found.agrees, found.relative_difference < 1e-10, round(found.from_own_start, 3)
    (True, True, -633.465)
    """
    if not isinstance(fitted, Fit) or not isinstance(fitted.system, LinearGaussianSystem):
        raise InputError(f"fitted: expected a Fit of a linear-Gaussian model, got {type(fitted).__name__}")
    if not isinstance(max_iterations, int | np.integer) or isinstance(max_iterations, bool) or max_iterations < 1:
        raise InputError(f"max_iterations: expected a whole number of at least 1, got {max_iterations!r}")
    specification, system = fitted.specification, fitted.system
    led = with_leading_rows(fitted.panel, specification)
    point = same_point(system, led, fitted.log_likelihood, SAME_LIKELIHOOD, outside_start(specification))
    climbs, unavailable = _climbs(fitted, int(max_iterations), point.unit)
    basis = free_basis_dimension(specification, system) if any(climbs) else 0
    compared, best = _compared(climbs, basis)
    not_comparable = _not_comparable(fitted, point.log_likelihood)
    judgement = _judgement(fitted, led, point)
    return CrossCheck(
        model=model_title(fitted.model),
        version=str(statsmodels.__version__),
        log_likelihood=fitted.log_likelihood,
        statsmodels_log_likelihood=point.log_likelihood,
        largest_mean_difference=point.mean,
        largest_mean_difference_in_sd=point.mean_in_sd,
        largest_cov_difference=point.cov,
        from_our_estimates=np.nan if climbs[0] is None else climbs[0].log_likelihood,
        from_own_start=np.nan if climbs[1] is None else climbs[1].log_likelihood,
        converged_from_our_estimates=climbs[0] is not None and climbs[0].is_converged,
        converged_from_own_start=climbs[1] is not None and climbs[1].is_converged,
        iterations_from_our_estimates=0 if climbs[0] is None else climbs[0].n_iterations,
        iterations_from_own_start=0 if climbs[1] is None else climbs[1].n_iterations,
        own_start=described(specification),
        free_basis=basis,
        compared=compared,
        statsmodels_params={} if best is None else free_values(specification, best.system),
        parameter_differences=_differences(fitted, system if best is None else best.system, best is not None),
        unavailable=unavailable,
        notes=_notes(fitted, point, None if not_comparable else best, basis),
        stopped="" if fitted.em.stop_reason.is_converged else str(fitted.em.stop_reason),
        not_comparable=not_comparable,
        exact_log_likelihood=np.nan if judgement is None else judgement.log_likelihood,
        our_cov_error=np.nan if judgement is None else judgement.our_cov_error,
        statsmodels_cov_error=np.nan if judgement is None else judgement.their_cov_error,
    )


def _judgement(fitted: Fit, led: Panel, point: SamePoint) -> Judgement | None:
    """Return a third opinion where the two packages differ at the same parameters."""
    gap = abs(fitted.log_likelihood - point.log_likelihood) / max(abs(fitted.log_likelihood), 1.0)
    if gap <= SAME_LIKELIHOOD and point.cov <= SAME_COVS and point.mean_in_sd <= SAME_SMOOTHER:
        return None
    return None if point.worst is None else judged(fitted.system, led, point.worst)


def _not_comparable(fitted: Fit, outside: float) -> str:
    """Return why the two packages cannot be compared on this fit, or nothing."""
    if fitted.em.stop_reason is StopReason.degenerate_covariance:
        return "the likelihood has no maximum here (degenerate_covariance), so no optimum can be compared"
    smallest = float(data_scale(fitted.panel).min())
    differs = abs(fitted.log_likelihood - outside) > SAME_LIKELIHOOD * max(abs(fitted.log_likelihood), 1.0)
    if differs and smallest < TINY_UNITS:
        return (
            f"the data vary by {smallest:.1g}, which statsmodels' absolute tolerances take for 0; compare a fit of "
            "the data in larger units"
        )
    return ""


def _climbs(fitted: Fit, max_iterations: int, unit: Array) -> tuple[tuple[Climb | None, Climb | None], str]:
    """Return the climbs from our estimates and from the own start, and why there are none if so."""
    specification, panel = fitted.specification, fitted.panel
    if fitted.n_parameters == 0:
        return (None, None), "nothing is learnt"
    if specification.by_series:
        return (None, None), "parameters that are PerSeries are compared at the estimates alone"
    led = with_leading_rows(panel, specification)
    try:
        plain = own_start(specification, panel)
        charts = [coordinates(specification, origin, plain, led) for origin in (fitted.system, plain)]
    except NoCoordinates as reason:
        return (None, None), str(reason)
    ours, own = (climb(chart, led, max_iterations, unit) for chart in charts)
    return (ours, own), "" if ours or own else "the log-likelihood cannot be computed at either start"


def _compared(climbs: tuple[Climb | None, Climb | None], free_basis: int) -> tuple[str, Climb | None]:
    """Return the climb whose parameters are compared: the higher.

    Of two at the same height (1e-6), the one from its own start, which says more; but where the basis of the states
    is free, the one from our estimates, because the other has another basis.
    """
    ours, own = climbs
    if own is None or (ours is not None and own.log_likelihood < ours.log_likelihood - SAME_HEIGHT):
        return ("from our estimates", ours) if ours else ("", None)
    if ours is not None and free_basis and own.log_likelihood <= ours.log_likelihood + SAME_HEIGHT:
        return "from our estimates", ours
    return "from its own start", own


def _differences(fitted: Fit, theirs: LinearGaussianSystem, has_climbed: bool) -> pd.DataFrame:
    """Return one row a free number; relative to the largest of its parameter, covariances to their deviations."""
    rows: dict[str, tuple[float, float, float, float]] = {}
    for name, slot in fitted.specification.slots.items():
        if not has_climbed or not fitted.specification.is_free(slot.parameter):
            continue
        left, right = slot.read(fitted.system), slot.read(theirs)
        if slot.parameter in COVARIANCES:
            # The entries over time of a learnt covariance move together: the first speaks for all.
            left, right = (value if value.ndim == 2 else value[0] for value in (left, right))
            deviation = np.sqrt(np.maximum(np.diagonal(left), np.diagonal(right)))
            unit = np.outer(deviation, deviation)
            moved = np.tril((left != 0.0) | (right != 0.0))
        else:
            unit = np.full(left.shape, max(np.abs(left).max(initial=0.0), np.abs(right).max(initial=0.0)))
            moved = np.any(fitted.specification.constraint(slot.parameter).design != 0.0, axis=1)
            if slot.entries is not None:
                moved = moved.reshape(fitted.specification.shape(slot.parameter))[slot.places]
            # A damping and a period are made of two entries each.
            moved = moved.reshape(*left.shape, -1).any(axis=-1)
        for place in np.argwhere(moved):
            at = tuple(int(i) for i in place)
            label = name if left.size == 1 else f"{name}[{', '.join(map(str, at))}]"
            gap = float(right[at] - left[at])
            rows[label] = (float(left[at]), float(right[at]), gap, abs(gap) / float(unit[at]) if gap else 0.0)
    numbers = fitted.specification.numbers(theirs) if has_climbed else {}
    for name, value in numbers.items():
        mine = float(fitted.params[name])
        size = max(abs(mine), abs(value))
        rows[name] = (mine, value, value - mine, abs(value - mine) / size if size > 0.0 else 0.0)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["ours", "statsmodels", "difference", "relative"])


def _notes(fitted: Fit, point: SamePoint, best: Climb | None, free_basis: int) -> tuple[str, ...]:
    notes = []
    if point.n_left_out:
        notes.append(
            f"Smoothed moments of {point.n_left_out} rows are not compared: in a diffuse phase of several steps with "
            "a transition matrix that varies in time, statsmodels' are wrong."
        )
    if np.any(point.unit != 1.0):
        notes.append(
            "statsmodels saw the columns in units in which their loadings are of size one: with a diffuse start it "
            "takes squared loadings below 1e-10 for zero."
        )
    specification = fitted.specification
    is_tied = specification.is_free("initial_mean") and not specification.is_free("initial_cov")
    if free_basis and is_tied and np.any(fitted.system.initial_cov):
        notes.append(
            "initial_cov is fixed while the basis of the states is free: the likelihood can rise slowly and without "
            "end, as the states grow beside it."
        )
    if best is not None:
        usual = own_start(specification, fitted.panel)
        singular = [
            name
            for name in COVARIANCES
            if specification.is_free(name)
            and any(
                _is_singular(cov, other)
                for cov, other in zip(
                    specification.noise(name).losable(getattr(best.system, name)),
                    specification.noise(name).losable(getattr(usual, name)),
                    strict=True,
                )
            )
        ]
        if singular:
            notes.append(
                f"At statsmodels' optimum {_listed(singular)} all but singular: a variance may be at its boundary of 0."
            )
    return tuple(notes)


def _listed(names: list[str]) -> str:
    """Return names with the verb that follows them: ``a is``, ``a and b are``, ``a, b and c are``."""
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"


def _is_singular(cov: Array, usual: Array) -> bool:
    if np.any(np.diagonal(cov) < NEARLY_SINGULAR * np.diagonal(usual)):
        return True
    return bool(smallest_scaled_eigenvalue(cov) < NEARLY_SINGULAR)
