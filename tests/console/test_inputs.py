"""Inputs on the command line: columns of the file of a fit, then those of the rows ahead."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem
from kalman_em.cli import main


def table(tmp_path: Path, n: int = 40) -> tuple[str, pd.DataFrame]:
    rng = np.random.default_rng(0)
    index = pd.date_range("2020-01-01", periods=n, name="day")
    frame = pd.DataFrame({"heat": rng.normal(size=n), "rain": rng.normal(size=n)}, index=index)
    frame.insert(0, "sales", 10.0 + 2.0 * frame["heat"] - frame["rain"] + 0.1 * rng.normal(size=n))
    frame.to_csv(tmp_path / "sales.csv")
    return str(tmp_path / "sales.csv"), frame


def test_a_fit_with_inputs_and_its_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, frame = table(tmp_path)
    model = "local-level + regression"
    folder = tmp_path / "out"
    options = ["--inputs", "heat,rain", "--output", str(folder), "--no-crosscheck"]
    assert main(["fit", path, "--model", model, *options]) == 0
    out = capsys.readouterr().out
    assert "values sales; inputs heat, rain" in out
    saved = json.loads((folder / "parameters.json").read_text(encoding="utf-8"))
    expected = kem.fit(kem.LocalLevel() + kem.Regression(), frame["sales"], inputs=frame[["heat", "rain"]])
    np.testing.assert_allclose(saved["parameters"]["regression"], expected.params.regression, rtol=1e-6)
    (tmp_path / "ahead.csv").write_text("heat,rain\n1.0,0.0\n0.0,1.0\n", encoding="utf-8")
    ahead = ["--inputs", str(tmp_path / "ahead.csv"), "--output", str(tmp_path / "forecast.csv")]
    assert main(["forecast", str(folder / "parameters.json"), "--steps", "2", *ahead]) == 0
    means = pd.read_csv(tmp_path / "forecast.csv").filter(like="mean").to_numpy().ravel()
    np.testing.assert_allclose(means, expected.forecast(2, inputs=np.eye(2)).means.ravel(), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--inputs", "heta"], "--inputs: no column is called 'heta' (did you mean 'heat'?)"),
        (["--inputs", "heat", "--values", "heat"], "--inputs: column 'heat' is already used by --values"),
        (["--inputs", "heat", "--forecast", "3"], "--forecast: expected no --inputs beside it"),
        (
            ["--inputs", "holes"],
            "--inputs: expected a known value of 'holes' in every row, got an empty field in line 3",
        ),
        ([], "--inputs: expected at least one column for the regression of the model, got none"),
    ],
)
def test_inputs_that_do_not_fit_are_said(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, frame = table(tmp_path)
    frame["holes"] = np.where(np.arange(len(frame)) == 1, np.nan, 1.0)
    frame.to_csv(path)
    values = [] if "--values" in options else ["--values", "sales"]
    assert main(["fit", path, "--model", "local-level + regression", *values, *options]) == 2
    assert message in capsys.readouterr().err
