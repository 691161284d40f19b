"""Forecasts on the command line: labels that go on, and inputs from a file."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem
from kalman_em.console.ahead import check_continuable, future_inputs
from kalman_em.console.reading import read_table
from kalman_em.errors import InputError


@pytest.fixture(scope="module")
def driven() -> kem.Fit:
    """A fit with an input, on days."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=30, name="day")
    u = pd.DataFrame({"u": rng.standard_normal(30)}, index=days)
    y = pd.DataFrame({"y": rng.standard_normal(30).cumsum() + u["u"]}, index=days)
    model = kem.LinearGaussian(1, 1, observation_matrix=kem.Fixed([[1.0]]), observation_input=kem.Full())
    return kem.fit(model, y, inputs=u, stopping=kem.Stopping(max_iterations=2))


def write(tmp_path: Path, text: str) -> str:
    (tmp_path / "u.csv").write_text(text, encoding="utf-8")
    return str(tmp_path / "u.csv")


@pytest.mark.parametrize("text", ["day,u\n2024-01-31,1.5\n2024-02-01,-2\n", "u\n1.5\n-2\n"])
def test_inputs_of_the_rows_ahead(text: str, driven: kem.Fit, tmp_path: Path) -> None:
    np.testing.assert_array_equal(future_inputs(driven, write(tmp_path, text), 2), [[1.5], [-2.0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "--inputs: expected a CSV file of the fit's 1 input at the 2 rows ahead, got none"),
        ("u\n1\n2\n3\n", "--inputs: expected 2 rows of 1 input, got 3 rows of 1 (u)"),
        ("u,v\n1.5,2.5\n2,3\n", "--inputs: expected 2 rows of 1 input, got 2 rows of 2 (u, v)"),
        (
            "day,u\n2024-01-31,1\n2024-02-01,\n",
            "--inputs: expected a known value in every row, got an empty field in 'u'",
        ),
        (
            "day,u\n2024-02-01,1\n2024-02-02,2\n",
            "got 2024-02-01 where 2024-01-31 was expected; leave the labels out if",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_said(text: str | None, message: str, driven: kem.Fit, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        future_inputs(driven, None if text is None else write(tmp_path, text), 2)
    assert message in str(raised.value)


def test_a_fit_without_inputs_takes_none() -> None:
    fitted = kem.fit(kem.LocalLevel(), [1.0, 2.0, 1.5, 3.0], stopping=kem.Stopping(max_iterations=1))
    assert future_inputs(fitted, None, 2) is None
    with pytest.raises(InputError, match="--inputs: expected none, because the fit has no inputs"):
        future_inputs(fitted, "u.csv", 2)


def test_a_single_label_does_not_go_on(tmp_path: Path) -> None:
    source = write(tmp_path, "id,t,y\na,1,1\na,2,2\nb,1,3\n")
    with pytest.raises(InputError, match="--forecast: column 't' of series 'b' does not say what comes next"):
        check_continuable(read_table(source, series="id", index="t"), 2)
    check_continuable(read_table(source, series="id", values=["y"], unlabelled=True), 2)
