"""Data sets to learn on: real series (and one synthetic robot) that come with the package, as DataFrames."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np
import pandas as pd

from kalman_em.errors import InputError, unknown_name

PUBLIC_DOMAIN = "public domain"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What is known of one data set.

    Attributes
    ----------
    name, file, title : str
    units : dict of str to str
        The unit of each column, as loaded.
    sampling : str
        What a row stands for.
    source, licence : str
    label : function, optional
        Turns the columns of the file into a frame with its index.
    """

    name: str
    file: str
    title: str
    units: dict[str, str]
    sampling: str
    source: str
    licence: str
    label: Callable[[pd.DataFrame], pd.DataFrame] = field(default=lambda frame: frame, repr=False)


def names() -> list[str]:
    """Return the names of the data sets, in alphabetical order.

    Examples
    --------
    >>> from kalman_em import datasets
    >>> "nile" in datasets.names()
    True
    """
    return sorted(CATALOGUE)


def load(name: str) -> pd.DataFrame:
    """Return a data set as a DataFrame with its real index, a fresh copy each time; NaN marks missing values.

    Parameters
    ----------
    name : str
        One of `names`.

    Returns
    -------
    DataFrame
        Its `attrs` hold name, title, units (column by column), sampling, source and licence.

    Raises
    ------
    InputError
        If there is no such data set (lists those there are).
    FileNotFoundError
        If the file was not installed with the package.

    Examples
    --------
    >>> from kalman_em import datasets
    >>> nile = datasets.load("nile")
    >>> nile.loc["1871":"1872"]
            flow
    year
    1871  1120.0
    1872  1160.0
    >>> nile.attrs["units"]
    {'flow': '1e8 m3'}
    """
    dataset = _known(name)
    with _path(dataset.file).open("r", encoding="utf-8") as file:
        frame = dataset.label(pd.read_csv(file))
    frame.attrs.update(
        name=dataset.name,
        title=dataset.title,
        units=dict(dataset.units),
        sampling=dataset.sampling,
        source=dataset.source,
        licence=dataset.licence,
    )
    return frame


def describe(name: str) -> str:
    """Return what a data set is, its columns and units, where it comes from and its licence, as text.

    Raises
    ------
    InputError
        If there is no such data set (lists those there are).

    Examples
    --------
    >>> from kalman_em import datasets
    >>> print(datasets.describe("nile"))
    nile: annual flow of the Nile at Aswan, 1871-1970
    Rows: one a year
    Columns: flow (1e8 m3)
    Source: Cobb (1978), The problem of the Nile, Biometrika 65; from statsmodels
    Licence: public domain
    """
    dataset = _known(name)
    columns = ", ".join(f"{column} ({unit})" if unit else column for column, unit in dataset.units.items())
    lines = [
        f"{dataset.name}: {dataset.title}",
        f"Rows: {dataset.sampling}",
        f"Columns: {columns}",
        f"Source: {dataset.source}",
        f"Licence: {dataset.licence}",
    ]
    return "\n".join(textwrap.fill(line, width=100, subsequent_indent="  ") for line in lines)


def _known(name: str) -> Dataset:
    if name not in CATALOGUE:
        raise InputError(unknown_name("data set", name, names()))
    return CATALOGUE[name]


def _folders() -> tuple[Traversable, ...]:
    """Return where the files may be: inside an installed package, or beside the package in a checkout."""
    return (resources.files("kalman_em") / "_datasets", Path(__file__).resolve().parents[1] / "datasets")


def _path(file: str) -> Traversable:
    for folder in _folders():
        if (folder / file).is_file():
            return folder / file
    raise FileNotFoundError(f"{file} is in none of {', '.join(map(str, _folders()))}; install kalman_em again")


def _dates(column: str, *, freq: str | None = None) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def label(frame: pd.DataFrame) -> pd.DataFrame:
        dates = pd.DatetimeIndex(pd.to_datetime(frame[column]), name=column)
        regular = dates if freq is None else pd.DatetimeIndex(dates, freq=freq)
        return frame.drop(columns=column).set_index(regular)

    return label


def _periods(freq: str, name: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def label(frame: pd.DataFrame) -> pd.DataFrame:
        periods = pd.DatetimeIndex(pd.to_datetime(frame["date"])).to_period(freq).rename(name)
        return frame.drop(columns="date").set_index(periods)

    return label


def _nile(frame: pd.DataFrame) -> pd.DataFrame:
    years = pd.PeriodIndex(frame["year"].astype(str), freq="Y", name="year")
    return pd.DataFrame({"flow": frame["flow_1e8_m3"].to_numpy(dtype=np.float64)}, index=years)


def _steps(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.set_index("step")


MACRO_UNITS = {
    "realgdp": "bn 2005 USD, annual rate",
    "realcons": "bn 2005 USD, annual rate",
    "realinv": "bn 2005 USD, annual rate",
    "realgovt": "bn 2005 USD, annual rate",
    "realdpi": "bn 2005 USD, annual rate",
    "cpi": "1982-84 = 100",
    "m1": "bn USD",
    "tbilrate": "% a year",
    "unemp": "%",
    "pop": "million",
    "infl": "% a year",
    "realint": "% a year",
}

EMPLOYMENT_SECTORS = (
    "nonfarm",
    "private",
    "goods_producing",
    "service_providing",
    "private_service_providing",
    "mining_and_logging",
    "construction",
    "manufacturing",
    "durable_goods",
    "nondurable_goods",
    "trade_transportation_utilties",  # as the file spells it
    "wholesale_trade",
    "retail_trade",
    "transportation_and_warehousing",
    "utilities",
    "information",
    "financial_activities",
    "professional_and_business_services",
    "education_and_health_services",
    "leisure_and_hospitality",
    "other_services",
    "government",
)

ROBOT_COLUMNS = ("z1", "z2", *(f"x{i}_true" for i in range(1, 6)), *(f"b{i}" for i in range(1, 6)))

CATALOGUE = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="nile",
            file="nile_annual.csv",
            title="annual flow of the Nile at Aswan, 1871-1970",
            units={"flow": "1e8 m3"},
            sampling="one a year",
            source="Cobb (1978), The problem of the Nile, Biometrika 65; from statsmodels",
            licence=PUBLIC_DOMAIN,
            label=_nile,
        ),
        Dataset(
            name="co2",
            file="co2_mauna_loa_weekly.csv",
            title="carbon dioxide in the air at Mauna Loa, 1958-2001",
            units={"co2_ppm": "ppm"},
            sampling="one a week (Saturdays), none skipped; 59 values missing",
            source="Keeling & Whorf (2004), Scripps Institution of Oceanography; from statsmodels",
            licence=PUBLIC_DOMAIN,
            label=_dates("date", freq="W-SAT"),
        ),
        Dataset(
            name="sea_surface_temperature",
            file="sea_surface_temperature_halfhourly.csv",
            title="sea surface temperature at buoy B01, Gulf of Maine, February to August 2016",
            units={"temperature_c": "degC"},
            sampling=(
                "one every 30 minutes (UTC), except two gaps without rows: 1 h from 2016-06-14 13:00 and 12 h from "
                "2016-07-08 01:30; asfreq('30min') puts NaN there"
            ),
            source="NERACOOS dataset B01_sbe37_all; from bokeh_sampledata",
            licence="NERACOOS: may be used and redistributed for free but is not intended for legal use",
            label=_dates("timestamp"),
        ),
        Dataset(
            name="glucose_monitor",
            file="glucose_monitor.csv",
            title="continuous glucose monitor of one person, March and April 2010",
            units={"glucose_mg_dl": "mg/dL", "sensor_current_na": "nA"},
            sampling="one about every 5 minutes (no time zone given), with odd steps and gaps",
            source="bokeh_sampledata (CGM)",
            licence=PUBLIC_DOMAIN,
            label=_dates("timestamp"),
        ),
        Dataset(
            name="module_temperature",
            file="module_temperature_quarter_hourly.csv",
            title="three thermometers on the back of one row of solar modules, 2-6 January 2022",
            units={
                "module_1_c": "degC",
                "module_2_c": "degC",
                "module_3_c": "degC",
                "air_c": "degC",
                "irradiance_w_m2": "W/m2",
            },
            sampling="one every 15 minutes (local standard time), none skipped",
            source="National Renewable Energy Laboratory, SERF West, Golden, Colorado; from pvanalytics",
            licence="MIT (pvanalytics)",
            label=_dates("timestamp", freq="15min"),
        ),
        Dataset(
            name="us_macro",
            file="us_macro_quarterly.csv",
            title="macroeconomic series of the United States, 1959Q1-2009Q3",
            units=MACRO_UNITS,
            sampling="one a quarter",
            source="FRED and the Bureau of Labor Statistics; from statsmodels",
            licence=PUBLIC_DOMAIN,
            label=_periods("Q", "quarter"),
        ),
        Dataset(
            name="us_employment",
            file="us_employment_monthly.csv",
            title="jobs in 22 sectors of the United States, 2006-2015, seasonally adjusted",
            units=dict.fromkeys(EMPLOYMENT_SECTORS, "thousand"),
            sampling="one a month",
            source="Bureau of Labor Statistics; from vega_datasets",
            licence=PUBLIC_DOMAIN,
            label=_periods("M", "month"),
        ),
        Dataset(
            name="us_gnp_growth",
            file="us_gnp_growth_quarterly.csv",
            title="growth of real GNP of the United States, 1951Q2-1984Q4, and NBER recessions",
            units={"gnp_growth_pct": "% a quarter", "nber_recession": "1 in a recession, else 0"},
            sampling="one a quarter",
            source="Hamilton (1989), Econometrica 57; from the tests of statsmodels",
            licence="BSD-3-Clause",
            label=_periods("Q", "quarter"),
        ),
        Dataset(
            name="penguins",
            file="penguins.csv",
            title="Palmer penguins: species, island, four measurements and sex",
            units={
                "species": "",
                "island": "",
                "bill_length_mm": "mm",
                "bill_depth_mm": "mm",
                "flipper_length_mm": "mm",
                "body_mass_g": "g",
                "sex": "",
            },
            sampling="one a penguin, in no order; 2 without measurements",
            source="Gorman, Williams & Fraser (2014), PLoS ONE 9; from bokeh_sampledata",
            licence="CC0-1.0",
        ),
        Dataset(
            name="iris",
            file="iris.csv",
            title="Anderson's irises: four measurements and species",
            units={
                "sepal_length_cm": "cm",
                "sepal_width_cm": "cm",
                "petal_length_cm": "cm",
                "petal_width_cm": "cm",
                "species": "",
            },
            sampling="one a flower, in no order",
            source="Fisher (1936), Annals of Eugenics 7; from scikit-learn",
            licence="BSD-3-Clause (scikit-learn)",
        ),
        Dataset(
            name="robot_synthetic",
            file="robot_synthetic.csv",
            title="SYNTHETIC robot: observations z, true states x and known offsets b of the transition",
            units=dict.fromkeys(ROBOT_COLUMNS, ""),
            sampling="one a step, no unit of time; x[t+1] = A x[t] + b[t] + w and z[t] = C x[t] + d + v",
            source="P. Abbeel, CS287 (2011); from pykalman",
            licence="BSD (pykalman)",
            label=_steps,
        ),
        Dataset(
            name="robot_synthetic_params",
            file="robot_synthetic_params.csv",
            title="the matrices of robot_synthetic, and the result of 50 EM iterations by pykalman",
            units={"name": "", "row": "counted from 1", "col": "counted from 1", "value": ""},
            sampling="one an entry of a matrix",
            source="P. Abbeel, CS287 (2011); from pykalman",
            licence="BSD (pykalman)",
        ),
    )
}
