"""`CrossCheck`: what a comparison with statsmodels found, as values and as a text that prints well."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass

import pandas as pd

from kalman_em.arrays import Array

WIDTH = 78
# Log-likelihoods closer than this, relative, are the same; smoothed moments closer than that, in deviations.
SAME_LIKELIHOOD = 1e-8
SAME_SMOOTHER = 1e-6
# Covariances are compared relative to the largest of each step: where R is singular, rounding of either side shows.
SAME_COVS = 1e-5
# A log-likelihood higher by no more than this is not higher.
SAME_MAXIMUM = 1e-3
# Where statsmodels has lost digits, a height above by so many times its error at our estimates may be error too.
TIMES_ITS_ERROR = 10.0
# So many parameters are printed; `parameter_differences` has them all.
SHOWN = 10


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class CrossCheck:
    """A fit beside the same model in statsmodels; printing it gives the report.

    Attributes
    ----------
    model, version : str
        The kind of model, and the version of statsmodels.
    log_likelihood, statsmodels_log_likelihood : float
        At our estimates, by each package.
    largest_mean_difference, largest_mean_difference_in_sd : float
        Of the smoothed means: in units of the states, and in smoothed standard deviations.
    largest_cov_difference : float
        Of the smoothed covariances, over the product of the two standard deviations.
    from_our_estimates, from_own_start : float
        The log-likelihood that statsmodels' optimiser reached from each start; NaN where it could not run.
    converged_from_our_estimates, converged_from_own_start : bool
        Whether it says it converged; otherwise it was cut off or gave up.
    iterations_from_our_estimates, iterations_from_own_start : int
        How many it took.
    own_start : str
        What its own start was.
    free_basis : int
        Directions in which the basis of the states is not identified: parameters then differ, likelihoods do not.
    compared : str
        Which of the two climbs gave statsmodels' parameters: the higher; of equals, the more telling.
    statsmodels_params : dict of ndarray
        Those parameters by name, fit to be the ``start`` of another fit.
    parameter_differences : DataFrame
        One row a free number, with columns ``ours``, ``statsmodels``, ``difference`` and ``relative``: to the
        largest entry of the parameter, for a covariance to its deviations.
    unavailable : str
        Why the optima could not be compared; empty if they were.
    notes : tuple of str
        What was left out, and what to look at.
    stopped : str
        Why EM stopped, where it did not converge; empty if it did.
    not_comparable : str
        Why no verdict can be given; empty if one can.
    exact_log_likelihood : float
        At our estimates, by one dense Gaussian without recursion, where the two differ and there are at most 3,000
        observed values a series; else NaN.
    our_cov_error, statsmodels_cov_error : float
        How far from that Gaussian the smoothed covariances of each are where they differ most, relative; or NaN.
    """

    model: str
    version: str
    log_likelihood: float
    statsmodels_log_likelihood: float
    largest_mean_difference: float
    largest_mean_difference_in_sd: float
    largest_cov_difference: float
    from_our_estimates: float
    from_own_start: float
    converged_from_our_estimates: bool
    converged_from_own_start: bool
    iterations_from_our_estimates: int
    iterations_from_own_start: int
    own_start: str
    free_basis: int
    compared: str
    statsmodels_params: dict[str, Array]
    parameter_differences: pd.DataFrame
    unavailable: str = ""
    notes: tuple[str, ...] = ()
    stopped: str = ""
    not_comparable: str = ""
    exact_log_likelihood: float = math.nan
    our_cov_error: float = math.nan
    statsmodels_cov_error: float = math.nan

    @property
    def relative_difference(self) -> float:
        """Difference of the two log-likelihoods at our estimates, over their size (or 1, if that is more)."""
        gap = abs(self.log_likelihood - self.statsmodels_log_likelihood)
        return gap / max(abs(self.log_likelihood), 1.0)

    @property
    def gain(self) -> float:
        """How much higher than at our estimates statsmodels' optimiser came, from the better of its starts."""
        reached = [value for value in (self.from_our_estimates, self.from_own_start) if not math.isnan(value)]
        return max(reached, default=math.nan) - self.statsmodels_log_likelihood

    @property
    def has_same_likelihood(self) -> bool:
        """Whether both give the same log-likelihood at our estimates (to 1e-8, relative)."""
        return self.relative_difference <= SAME_LIKELIHOOD

    @property
    def has_same_smoother(self) -> bool:
        """Whether smoothed means are the same to 1e-6 standard deviations, and covariances to 1e-5, relative."""
        return self.largest_mean_difference_in_sd <= SAME_SMOOTHER and self.largest_cov_difference <= SAME_COVS

    @property
    def is_confirmed(self) -> bool:
        """Whether statsmodels differs, and a computation without recursion gives our numbers, not those of statsmodels.

        To 1e-8 of the log-likelihood, and 1e-5 of the smoothed covariances where the two differ most. False where there
        is no such computation.
        """
        ours = self._error_of(self.log_likelihood)
        theirs = self._error_of(self.statsmodels_log_likelihood)
        is_right = ours <= SAME_LIKELIHOOD and self.our_cov_error <= SAME_COVS
        return is_right and (theirs > SAME_LIKELIHOOD or self.statsmodels_cov_error > SAME_COVS)

    @property
    def agrees(self) -> bool:
        """Same likelihood, same smoother, and nothing higher (by more than 1e-3) found by statsmodels.

        Where statsmodels has lost its digits and ours are confirmed (`is_confirmed`), the first two count as the same.
        """
        is_same = (self.has_same_likelihood and self.has_same_smoother) or self.is_confirmed
        return not self.not_comparable and is_same and not self._is_higher

    @property
    def _is_higher(self) -> bool:
        """Whether statsmodels found a higher point; a height within its own error, which wanders, is none."""
        error = abs(self.statsmodels_log_likelihood - self.exact_log_likelihood) if self.is_confirmed else 0.0
        return not self.unavailable and self.gain > SAME_MAXIMUM + TIMES_ITS_ERROR * error

    def _error_of(self, log_likelihood: float) -> float:
        return abs(log_likelihood - self.exact_log_likelihood) / max(abs(self.exact_log_likelihood), 1.0)

    @property
    def verdict(self) -> str:
        """The outcome in one line."""
        if self.not_comparable:
            return f"not comparable: {self.not_comparable}"
        return f"{self._outcome()}{f' (our EM stopped at {self.stopped})' if self.stopped else ''}"

    def _outcome(self) -> str:
        smoother = max(self.largest_mean_difference_in_sd, self.largest_cov_difference)
        if self.is_confirmed and not self._is_higher:
            return (
                "agrees with a computation without recursion (log-likelihood "
                f"{_size(self._error_of(self.log_likelihood))}, smoothed covariances {_size(self.our_cov_error)} "
                "relative); statsmodels has lost digits there (log-likelihood "
                f"{_size(self._error_of(self.statsmodels_log_likelihood))}, smoothed covariances "
                f"{_size(self.statsmodels_cov_error)})"
            )
        if not self.has_same_likelihood and not self.is_confirmed:
            return f"disagrees: the log-likelihoods at our estimates differ by {self.relative_difference:.1g} relative"
        if not self.has_same_smoother and not self.is_confirmed:
            return (
                "disagrees: same likelihood, but the smoothed states differ, means by "
                f"{self.largest_mean_difference_in_sd:.1g} standard deviations and covariances by "
                f"{self.largest_cov_difference:.1g} relative"
            )
        same = f"same likelihood ({_size(self.relative_difference)}), same smoother ({_size(smoother)})"
        if self.unavailable:
            return f"agrees: {same}; optima not compared ({self.unavailable})"
        if self._is_higher:
            return f"statsmodels reaches a log-likelihood higher by {self.gain:.3g}: {self._why_higher()}"
        gain = _size(self.gain, sign=True)
        own = self.from_own_start - self.statsmodels_log_likelihood
        if math.isnan(own):
            return f"agrees: {same}; from our estimates statsmodels finds nothing higher ({gain})"
        if own < -SAME_MAXIMUM:
            cut = "" if self.converged_from_own_start else ", not converged"
            return f"agrees: {same}; from its own start statsmodels stops lower by {-own:.3g}{cut}"
        return f"agrees: {same}, and statsmodels finds nothing higher ({gain})"

    def __str__(self) -> str:
        return "\n".join(
            line.rstrip()
            for line in [
                f"{self.model} beside statsmodels {self.version}",
                "=" * WIDTH,
                *self._same_point_lines(),
                *([] if self.not_comparable else ["-" * WIDTH, *self._climb_lines(), *self._parameter_lines()]),
                "-" * WIDTH,
                *(line for note in self.notes for line in _wrapped(note)),
                *_wrapped(f"Verdict: {self.verdict}"),
            ]
        )

    __repr__ = __str__

    def _why_higher(self) -> str:
        if self.from_own_start > self.from_our_estimates + SAME_MAXIMUM:
            return "our fit is at or near a lower maximum; refit with n_starts or start=crosscheck.statsmodels_params"
        return (
            "our fit is not at the maximum; refit with more iterations, tighter tolerances or "
            "start=crosscheck.statsmodels_params"
        )

    def _same_point_lines(self) -> list[str]:
        title = f"{'at our estimates':<22}{'ours':>18}{'statsmodels':>18}{'difference':>20}"
        heights = f"{'log-likelihood':<22}{self.log_likelihood:>18.8f}{self.statsmodels_log_likelihood:>18.8f}"
        if self.not_comparable:
            # Differences and climbs would be numbers without a meaning.
            return [title, f"{heights}{'not comparable':>20}"]
        return [
            title,
            f"{heights}{self.relative_difference:>11.1e} relative",
            f"{'smoothed means':<22}{'':>36}{self.largest_mean_difference_in_sd:>11.1e} sd      ",
            f"{'smoothed covariances':<22}{'':>36}{self.largest_cov_difference:>11.1e} relative",
        ]

    def _climb_lines(self) -> list[str]:
        if self.unavailable:
            return _wrapped(f"statsmodels' optimum is not available: {self.unavailable}.")
        lines = [f"{'statsmodels climbs':<22}{'to':>18}{'gain on ours':>18}{'iterations':>20}"]
        for title, reached, converged, n_iterations in (
            (
                "from our estimates",
                self.from_our_estimates,
                self.converged_from_our_estimates,
                self.iterations_from_our_estimates,
            ),
            ("from its own start", self.from_own_start, self.converged_from_own_start, self.iterations_from_own_start),
        ):
            if math.isnan(reached):
                lines.append(f"{title:<22}{'no likelihood there':>18}")
                continue
            state = f"{n_iterations}{'' if converged else ', not converged'}"
            lines.append(f"{title:<22}{reached:>18.8f}{reached - self.statsmodels_log_likelihood:>+18.1e}{state:>20}")
        return [*lines, *_wrapped(f"Its own start: {self.own_start}.")]

    def _parameter_lines(self) -> list[str]:
        table = self.parameter_differences
        if table.empty:
            return []
        shown = table.sort_values("relative", ascending=False, kind="stable").head(SHOWN)
        shown = shown.loc[[label for label in table.index if label in shown.index]]
        lines = ["-" * WIDTH, f"{'parameter':<26}{'ours':>14}{'statsmodels':>14}{'difference':>12}{'relative':>12}"]
        lines += [
            f"{label:<26}{row['ours']:>14.6g}{row['statsmodels']:>14.6g}{row['difference']:>12.1e}{row['relative']:>12.1e}"
            for label, row in shown.iterrows()
        ]
        if len(table) > len(shown):
            lines.append(f"... the {len(shown)} that differ most of {len(table)}; all in parameter_differences")
        lines += _wrapped(f"statsmodels' are those that it reached {self.compared}.")
        if self.free_basis:
            lines += _wrapped(
                f"The basis of the states is free in {self.free_basis} directions: parameters may differ by a change "
                "of basis where the likelihoods agree."
            )
        return lines


def _size(number: float, *, sign: bool = False) -> str:
    return "0" if number == 0.0 else f"{number:{'+' if sign else ''}.0e}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ")
