"""The summary says of every parameter whether it was learnt, and of which states and columns its entries are."""

from __future__ import annotations

import numpy as np
import pandas as pd

import kalman_em as kem
from kalman_em import Fixed

SHORT = kem.Stopping(max_iterations=3)


def lines_of(fitted):
    return str(fitted.summary()).splitlines()


def test_what_is_fixed_is_marked_and_what_is_fixed_at_zero_left_out():
    values = np.cumsum(np.random.default_rng(0).normal(size=(30, 1)), axis=0)
    model = kem.LinearGaussian(
        1,
        1,
        transition_matrix=Fixed([[0.9]]),
        observation_matrix=Fixed([[1.0]]),
        initial_mean=Fixed([0.0]),
        initial_cov=Fixed([[2.0]]),
    )
    lines = {line.split()[0]: line for line in lines_of(kem.fit(model, values, stopping=SHORT)) if line}
    for name, value in (("transition_matrix", "0.9"), ("observation_matrix", "1"), ("initial_cov", "2")):
        assert lines[name].split()[1:] == [value, "(fixed)"]
    for name in ("transition_cov", "observation_cov"):
        assert "fixed" not in lines[name]
    for name in ("transition_offset", "observation_offset", "initial_mean"):
        assert name not in lines


def test_entries_are_labelled_by_the_columns_of_the_data():
    values = pd.DataFrame(np.cumsum(np.random.default_rng(1).normal(size=(40, 2)), axis=0), columns=["east", "north"])
    lines = lines_of(kem.fit(kem.LocalLinearTrend(), values, stopping=SHORT))
    first = lines.index("slope_cov") + 1
    assert lines[first].split() == ["east", "north"]
    assert [line.split()[0] for line in lines[first + 1 : first + 3]] == ["east", "north"]
    first = lines.index("observation_cov") + 1
    assert lines[first].split() == ["east", "north"]


def test_missing_entries_are_not_counted_as_observed():
    values = np.cumsum(np.random.default_rng(2).normal(size=(30, 2)), axis=0)
    values[3:8, 0] = np.nan
    facts = [line for line in lines_of(kem.fit(kem.LocalLevel(), values, stopping=SHORT)) if "observed values" in line]
    assert facts[0].startswith("observed values  55 of 60")


def test_rows_without_time_stamps_are_said_to_count_as_one_apart():
    model, quick = kem.ConstantVelocity(time_unit="min"), kem.Stopping(max_iterations=1)
    said = "Time: the rows came without time stamps and count as 1 min apart."
    values = [0.0, 1.0, 2.5, 2.9, 4.2]
    assert said in str(kem.fit(model, values, stopping=quick).summary())
    stamped = kem.Observations(np.array(values)[:, None], times=[0.0, 1.0, 2.0, 3.0, 4.0])
    assert said not in str(kem.fit(model, stamped, stopping=quick).summary())
