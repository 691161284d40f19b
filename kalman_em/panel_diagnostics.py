"""Is the noise that was learnt consistent with all series of a panel together?"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kalman_em.diagnostics import Consistency, mean_band

# So many series outside their bands are named.
NAMED = 5


@dataclass(frozen=True, eq=False, kw_only=True)
class PanelConsistency:
    """Whether the innovations of all series are as large as the model says (NIS), and white.

    Attributes
    ----------
    series : DataFrame
        One row a series: values counted, ``mean_nis`` with its band ``lower`` to ``upper``, ``share_inside`` (per cent
        of its rows inside their own bands), and the smallest p-value of its tests of whiteness.
    level : float
        Level of the bands, per cent.
    mean_nis : float
        Mean NIS per observed value over all series: 1 for a consistent filter.
    lower, upper : float
        The band of `mean_nis`: innovations of different series are independent, so that their sum is chi-square.
    smallest_p_value : float
        Of all tests of whiteness, times their number (Bonferroni), 1 at most; NaN where there is none.
    """

    series: pd.DataFrame
    level: float
    mean_nis: float
    lower: float
    upper: float
    smallest_p_value: float

    @property
    def is_consistent(self) -> bool:
        """Whether the mean NIS of all is inside its band and the smallest p-value is not below 1 - level."""
        return self.lower <= self.mean_nis <= self.upper and not self.smallest_p_value < 1.0 - self.level / 100.0

    @property
    def outside(self) -> list[Hashable]:
        """The keys of the series whose own mean NIS is outside its band; of many a few are so by chance."""
        inside = self.series["mean_nis"].between(self.series["lower"], self.series["upper"])
        return list(self.series.index[~inside])

    def __str__(self) -> str:
        verdict = "inside" if self.lower <= self.mean_nis <= self.upper else "outside"
        outside, n = self.outside, len(self.series)
        named = f" ({', '.join(map(str, outside[:NAMED]))}{', ...' if len(outside) > NAMED else ''})" if outside else ""
        by_chance = n * (1.0 - self.level / 100.0)
        return "\n".join(
            [
                f"NIS per observed value over {n} series: {self.mean_nis:.3f}, {verdict} its {self.level:g} % band "
                f"[{self.lower:.3f}, {self.upper:.3f}]",
                f"series outside their own band: {len(outside)}{named}; by chance {by_chance:.2g} would be",
                f"whiteness: the smallest p-value, times the number of tests, is {self.smallest_p_value:.3g}",
                f"verdict: {'consistent' if self.is_consistent else 'not consistent'}",
            ]
        )

    __repr__ = __str__


def panel_consistency(reports: Mapping[Hashable, Consistency]) -> PanelConsistency:
    """Return the verdict on series whose reports are given by key, all at one level.

    References
    ----------
    Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.4.2: NIS
    averaged over runs.

    Examples
    --------
    >>> import kalman_em as kem
    >>> jobs = kem.datasets.load("us_employment")[["manufacturing", "construction"]].diff().dropna()
    >>> fits = kem.fit_each(kem.LocalLevel(), jobs, wide=True)
    >>> panel_consistency({key: fitted.consistency() for key, fitted in fits.items()}).series["n_values"].tolist()
    [118, 118]
    """
    rows, p_values = [], []
    for report in reports.values():
        tests = report.whiteness["p_value"].dropna()
        p_values += tests.tolist()
        rows.append(
            {
                "n_values": int(report.n_observed.sum()),
                "mean_nis": report.mean_nis,
                "lower": report.lower,
                "upper": report.upper,
                "share_inside": report.share_inside,
                "p_value": float(tests.min()) if len(tests) else np.nan,
            }
        )
    table = pd.DataFrame(rows, index=pd.Index(list(reports), name="series", tupleize_cols=False))
    total = int(table["n_values"].sum())
    level = next(iter(reports.values())).level
    lower, upper = mean_band(total, level)
    return PanelConsistency(
        series=table,
        level=level,
        mean_nis=float((table["n_values"] * table["mean_nis"]).sum() / total),
        lower=lower,
        upper=upper,
        smallest_p_value=min(1.0, min(p_values) * len(p_values)) if p_values else np.nan,
    )
