"""The data sets: each loads with its index, columns and provenance, from a checkout and from an installed package."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kalman_em import datasets
from kalman_em.errors import InputError
from kalman_em.frames import check_regular, continued_index, to_panel

FOLDER = Path(__file__).resolve().parents[1] / "datasets"

SHAPES = {
    "co2": (2284, 1),
    "glucose_monitor": (6000, 2),
    "iris": (150, 5),
    "module_temperature": (480, 5),
    "nile": (100, 1),
    "penguins": (344, 7),
    "robot_synthetic": (500, 12),
    "robot_synthetic_params": (146, 4),
    "sea_surface_temperature": (8800, 1),
    "us_employment": (120, 22),
    "us_gnp_growth": (135, 2),
    "us_macro": (203, 12),
}


def test_the_catalogue_lists_every_file_shipped() -> None:
    assert datasets.names() == sorted(SHAPES)
    assert {entry.file for entry in datasets.CATALOGUE.values()} == {path.name for path in FOLDER.glob("*.csv")}


def test_the_readme_has_a_row_for_every_data_set() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for entry in datasets.CATALOGUE.values():
        assert f"| `{entry.name}` | `{entry.file}` |" in readme
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{entry.name}` |"))
        assert f"| {SHAPES[entry.name][0]} |" in row


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_data_set_loads_with_units_and_provenance(name: str) -> None:
    frame = datasets.load(name)
    assert frame.shape == SHAPES[name]
    assert list(frame.attrs["units"]) == list(frame.columns)
    assert frame.attrs["name"] == name
    for entry in ("title", "sampling", "source", "licence"):
        assert frame.attrs[entry]


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_descriptions_name_the_licence_and_every_column(name: str) -> None:
    text = " ".join(datasets.describe(name).split())
    attrs = datasets.load(name).attrs
    assert text.startswith(f"{name}: ")
    assert attrs["licence"] in text
    assert all(column in text for column in attrs["units"])
    assert all(len(line) <= 100 for line in datasets.describe(name).splitlines())


def test_nile_is_annual_with_a_short_column_name() -> None:
    nile = datasets.load("nile")
    assert isinstance(nile.index, pd.PeriodIndex)
    assert nile.index.name == "year"
    assert list(nile.columns) == ["flow"]
    assert nile.loc["1871", "flow"] == 1120.0
    assert nile["flow"].iloc[-1] == 740.0
    assert continued_index(nile.index, 1).astype(str).tolist() == ["1971"]


def test_co2_is_weekly_without_a_skipped_week() -> None:
    co2 = datasets.load("co2")
    assert isinstance(co2.index, pd.DatetimeIndex)
    assert co2.index.freqstr == "W-SAT"
    assert co2["co2_ppm"].isna().sum() == 59
    assert continued_index(co2.index, 1)[0] == pd.Timestamp("2002-01-05")


def test_sea_surface_temperature_keeps_its_zone_and_its_two_gaps() -> None:
    sea = datasets.load("sea_surface_temperature")
    assert str(sea.index.tz) == "UTC"
    steps = sea.index.to_series().diff().dropna()
    assert steps.value_counts().to_dict() == {
        pd.Timedelta(minutes=30): 8797,
        pd.Timedelta(hours=1): 1,
        pd.Timedelta(hours=12): 1,
    }
    with pytest.raises(InputError, match=r"gap after 2016-06-14 13:00:00\+00:00 \(1 label missing"):
        check_regular(sea.index)
    check_regular(sea.asfreq("30min").index)


@pytest.mark.parametrize(
    ("name", "first", "label"),
    [("us_macro", "1959Q1", "quarter"), ("us_employment", "2006-01", "month"), ("us_gnp_growth", "1951Q2", "quarter")],
)
def test_economic_series_have_periods(name: str, first: str, label: str) -> None:
    index = datasets.load(name).index
    assert isinstance(index, pd.PeriodIndex)
    assert (str(index[0]), index.name) == (first, label)
    check_regular(index)


def test_robot_rows_are_steps_and_its_matrices_predict_the_next_true_state() -> None:
    robot, params = datasets.load("robot_synthetic"), datasets.load("robot_synthetic_params")
    assert robot.index.name == "step"
    entries = params[params["name"] == "transition_matrix"]
    matrix = np.zeros((5, 5))
    matrix[entries["row"] - 1, entries["col"] - 1] = entries["value"]
    states = robot[[f"x{i}_true" for i in range(1, 6)]].to_numpy()
    offsets = robot[[f"b{i}" for i in range(1, 6)]].to_numpy()
    residuals = states[1:] - states[:-1] @ matrix.T - offsets[:-1]
    assert np.allclose(residuals.var(axis=0), [3.83, 1.89, 1.01, 0.23, 0.01], rtol=0.1, atol=0.01)


def test_penguins_and_irises_have_no_index() -> None:
    for name in ("penguins", "iris"):
        frame = datasets.load(name)
        assert isinstance(frame.index, pd.RangeIndex)
    assert datasets.load("penguins")["body_mass_g"].isna().sum() == 2


@pytest.mark.parametrize("name", ["nile", "co2", "us_macro", "us_employment", "us_gnp_growth", "robot_synthetic"])
def test_series_are_ready_for_a_model_in_discrete_time(name: str) -> None:
    frame = datasets.load(name)
    panel = to_panel(frame)
    check_regular(panel.series[0].index)
    assert panel.names == tuple(frame.columns)


def test_each_load_is_a_fresh_copy() -> None:
    first = datasets.load("nile")
    first.iloc[0, 0] = -1.0
    first.attrs["units"]["flow"] = "changed"
    second = datasets.load("nile")
    assert second.iloc[0, 0] == 1120.0
    assert second.attrs["units"] == {"flow": "1e8 m3"}


@pytest.mark.parametrize("function", [datasets.load, datasets.describe])
def test_an_unknown_name_lists_the_known_ones(function) -> None:
    with pytest.raises(InputError, match=r"data set 'nil' is not known; expected one of: co2, .*nile"):
        function("nil")


def test_files_inside_the_installed_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "kalman_em" / "_datasets"
    installed.mkdir(parents=True)
    (installed / "nile_annual.csv").write_text("year,flow_1e8_m3\n1900,5\n", encoding="utf-8")
    monkeypatch.setattr(datasets.resources, "files", lambda package: tmp_path / package)
    assert datasets.load("nile")["flow"].tolist() == [5.0]
    assert len(datasets.load("co2")) == 2284  # not installed there: found beside the package


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_folders", lambda: (tmp_path / "one", tmp_path / "two"))
    with pytest.raises(FileNotFoundError, match=r"nile_annual.csv is in none of .*one.*two"):
        datasets.load("nile")
