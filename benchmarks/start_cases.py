"""What `benchmarks.starts` fits: the data sets that come with the package, each with models that suit it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import kalman_em as kem


@dataclass(frozen=True)
class Case:
    """A data set, which part of it, and a model."""

    dataset: str
    text: str
    model: Any
    data: Callable[[], dict[str, Any]]


def columns(dataset: str, *names: str, rows: slice = slice(None), growth: float = 0.0) -> Callable[[], dict[str, Any]]:
    """Return what reads some columns and rows of a data set; `growth` times the differences of logarithms, if not 0."""

    def read() -> dict[str, Any]:
        frame = kem.datasets.load(dataset)
        chosen = frame[list(names)] if names else frame
        if growth:
            chosen = (growth * np.log(chosen)).diff().iloc[1:]
        return {"data": chosen[rows]}

    return read


def timed(dataset: str, name: str, rows: slice) -> Callable[[], dict[str, Any]]:
    """Return what reads one column in time: its labels are the times."""

    def read() -> dict[str, Any]:
        frame = kem.datasets.load(dataset)[name][rows]
        return {
            "data": pd.DataFrame({"time": frame.index, "value": frame.to_numpy()}),
            "time": "time",
            "values": "value",
        }

    return read


PRICES = ("infl", "unemp", "tbilrate")
OUTPUT = ("realgdp", "realcons", "realinv", "realdpi")
SECTORS = ("manufacturing", "construction", "financial_activities", "leisure_and_hospitality")
MODULES = ("module_1_c", "module_2_c", "module_3_c")


def cases() -> Iterator[Case]:
    """Yield all cases."""
    nile, gnp = columns("nile"), columns("us_gnp_growth", "gnp_growth_pct")
    for text, model in {
        "LocalLevel()": kem.LocalLevel(),
        "LocalLinearTrend()": kem.LocalLinearTrend(),
        "SmoothTrend()": kem.SmoothTrend(),
        "DampedTrend()": kem.DampedTrend(),
        "LocalLevel() + Autoregression(1)": kem.LocalLevel() + kem.Autoregression(1),
        "LinearGaussian(1, 1)": kem.LinearGaussian(1, 1),
        "LinearGaussian(2, 1)": kem.LinearGaussian(2, 1),
    }.items():
        yield Case("nile", text, model, nile)
    for text, model in {
        "LocalLevel() + Autoregression(2)": kem.LocalLevel() + kem.Autoregression(2),
        "LocalLevel() + Cycle()": kem.LocalLevel() + kem.Cycle(),
        "LinearGaussian(2, 1)": kem.LinearGaussian(2, 1),
        "LinearGaussian(3, 1)": kem.LinearGaussian(3, 1),
    }.items():
        yield Case("us_gnp_growth", text, model, gnp)
    yield Case(
        "co2",
        "LocalLinearTrend() + Seasonal(365.25 / 7, harmonics=2)",
        kem.LocalLinearTrend() + kem.Seasonal(365.25 / 7, harmonics=2),
        columns("co2", rows=slice(-520, None)),
    )
    sea = columns("sea_surface_temperature", rows=slice(0, 1000))
    yield Case("sea_surface_temperature", "LocalLinearTrend()", kem.LocalLinearTrend(), sea)
    yield Case("sea_surface_temperature", "LinearGaussian(2, 1)", kem.LinearGaussian(2, 1), sea)
    glucose = timed("glucose_monitor", "glucose_mg_dl", slice(0, 600))
    yield Case("glucose_monitor", "ConstantVelocity(dim=1)", kem.ConstantVelocity(dim=1, time_unit="min"), glucose)
    yield Case(
        "glucose_monitor",
        "CorrelatedRandomWalk(dim=1)",
        kem.CorrelatedRandomWalk(dim=1, time_constant=kem.Full(), time_unit="min"),
        glucose,
    )
    for text, names, model, growth in (
        ("LocalLevel(), 3 columns", PRICES, kem.LocalLevel(), 0.0),
        ("VectorAutoregression(1), 3 columns", PRICES, kem.VectorAutoregression(1), 0.0),
        ("VectorAutoregression(2), 3 columns", PRICES, kem.VectorAutoregression(2), 0.0),
        ("LinearGaussian(2, 3)", PRICES, kem.LinearGaussian(2, 3), 0.0),
        ("DynamicFactor(1), 4 columns", OUTPUT, kem.DynamicFactor(1), 400.0),
        ("DynamicFactor(1, order=2), 4 columns", OUTPUT, kem.DynamicFactor(1, order=2), 400.0),
        ("DynamicFactor(1, idiosyncratic=True), 4 columns", OUTPUT, kem.DynamicFactor(1, idiosyncratic=True), 400.0),
        ("DynamicFactor(2), 4 columns", OUTPUT, kem.DynamicFactor(2), 400.0),
        ("LinearGaussian(1, 4)", OUTPUT, kem.LinearGaussian(1, 4, observation_cov=kem.Diagonal()), 400.0),
        ("LinearGaussian(2, 4)", OUTPUT, kem.LinearGaussian(2, 4, observation_cov=kem.Diagonal()), 400.0),
    ):
        yield Case("us_macro", text, model, columns("us_macro", *names, growth=growth))
    for text, model, growth in (
        ("LocalLinearTrend(), 4 columns", kem.LocalLinearTrend(slope_cov=kem.Diagonal()), 0.0),
        ("DynamicFactor(1), 4 columns of growth", kem.DynamicFactor(1), 1200.0),
        ("DynamicFactor(2), 4 columns of growth", kem.DynamicFactor(2), 1200.0),
        ("LinearGaussian(2, 4) of growth", kem.LinearGaussian(2, 4, observation_cov=kem.Diagonal()), 1200.0),
    ):
        yield Case("us_employment", text, model, columns("us_employment", *SECTORS, growth=growth))
    yield Case(
        "module_temperature",
        "LinearGaussian(2, 3), diagonal R",
        kem.LinearGaussian(2, 3, observation_cov=kem.Diagonal()),
        columns("module_temperature", *MODULES),
    )
    robot = columns("robot_synthetic", "z1", "z2")
    yield Case("robot_synthetic", "LinearGaussian(2, 2)", kem.LinearGaussian(2, 2), robot)
    yield Case("robot_synthetic", "LinearGaussian(4, 2)", kem.LinearGaussian(4, 2), robot)
