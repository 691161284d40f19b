"""Saved fits come back exactly, read well, and say what is wrong with a file that is none."""

import json
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem
from kalman_em import persistence
from kalman_em.em.result import EMResult
from kalman_em.encoding.labels import decoded_index, encoded_index
from kalman_em.encoding.layout import laid_out
from kalman_em.models.specification import Specification
from kalman_em.version import VERSION

FEW = kem.Stopping(max_iterations=3)


def series(n: int = 30, *, index: Any = None) -> pd.Series:
    rng = np.random.default_rng(4)
    values = np.cumsum(rng.standard_normal(n)) + rng.standard_normal(n)
    values[[3, 4, 11]] = np.nan
    values[7] = -0.0
    return pd.Series(values, index=index, name="y")


def frame(n: int = 30) -> pd.DataFrame:
    return pd.DataFrame({"a": series(n), "b": series(n)[::-1].to_numpy()})


def tracks() -> pd.DataFrame:
    return pd.DataFrame({"id": ["p"] * 14 + [7] * 16, "y": series().to_numpy()})


def general(**forms: Any) -> kem.LinearGaussian:
    return kem.LinearGaussian(2, 2, transition_matrix=kem.Fixed([[0.9, 0.1], [0.0, 0.8]]), **forms)


def fits() -> dict[str, kem.Fit]:
    inputs = np.random.default_rng(1).standard_normal((30, 1))
    varying = np.tile(np.eye(2), (30, 1, 1)) * np.linspace(1.0, 2.0, 30)[:, None, None]
    return {
        "level": kem.fit(kem.LocalLevel(), series(), stopping=FEW),
        "starts": kem.fit(kem.LocalLevel(), series(), stopping=FEW, n_starts=3, seed=0),
        "trend": kem.fit(kem.LocalLinearTrend(level_cov=kem.Fixed(0)), series(), stopping=FEW),
        "columns": kem.fit(kem.LocalLevel(level_cov=kem.Isotropic()), frame(), stopping=FEW),
        "panel": kem.fit(kem.LocalLevel(), tracks(), series="id", values="y", stopping=FEW),
        "learnt start": kem.fit(kem.LocalLevel(initial_cov=kem.Diagonal()), frame(), stopping=FEW),
        "general": kem.fit(general(transition_cov=kem.Diagonal()), frame(), stopping=FEW),
        "inputs": kem.fit(general(transition_input=kem.Full()), frame(), inputs=inputs, stopping=FEW),
        "before": kem.fit(general(initial_step="before"), frame(), stopping=FEW),
        "varying": kem.fit(general(observation_matrix=kem.Fixed(varying)), frame(), stopping=FEW),
        "noise rows": kem.fit(general(noise_selection=[[1.0], [0.5]]), frame(), stopping=FEW),
        "blocks": kem.fit(
            general(transition_cov=kem.BlockDiagonal([(kem.Full(), 1), (kem.Fixed([[2.0]]), 1)])), frame(), stopping=FEW
        ),
    }


FITS = fits()


def saved_and_loaded(fitted: kem.Fit, tmp_path: Path) -> kem.Fit:
    fitted.save(tmp_path / "fit.json")
    return kem.load(tmp_path / "fit.json")


def document_of(fitted: kem.Fit, tmp_path: Path) -> dict[str, Any]:
    fitted.save(tmp_path / "fit.json")
    document: dict[str, Any] = json.loads((tmp_path / "fit.json").read_text(encoding="utf-8"))
    return document


def same_bits(one: Any, other: Any) -> bool:
    """Whether two arrays (or Nones) have the same shape, type and bytes, so that -0.0 is not 0.0."""
    if one is None or other is None:
        return one is other
    one, other = np.asarray(one), np.asarray(other)
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


@pytest.mark.parametrize("name", FITS)
def test_a_fit_comes_back_exactly(name: str, tmp_path: Path) -> None:
    fitted = FITS[name]
    loaded = saved_and_loaded(fitted, tmp_path)
    assert loaded.params == fitted.params
    for field in fields(kem.LinearGaussianSystem):
        assert same_bits(getattr(loaded.system, field.name), getattr(fitted.system, field.name)), field.name
    for field in fields(EMResult):
        one, other = getattr(loaded.em, field.name), getattr(fitted.em, field.name)
        assert field.name == "params" or (same_bits(one, other) if isinstance(other, np.ndarray) else one == other)
    assert type(loaded.em.stop_reason) is kem.StopReason
    assert loaded.panel.keys == fitted.panel.keys
    for one, other in zip(loaded.panel, fitted.panel, strict=True):
        assert same_bits(one.values, other.values)
        assert same_bits(one.inputs, other.inputs)
        assert one.names == other.names
        pd.testing.assert_index_equal(one.index, other.index, exact=True)
    for field in fields(Specification):
        one, other = getattr(loaded.specification, field.name), getattr(fitted.specification, field.name)
        assert same_bits(one, other) if field.name == "noise_selection" else one == other, field.name


@pytest.mark.parametrize("name", FITS)
def test_a_loaded_fit_works_like_the_one_saved(name: str, tmp_path: Path) -> None:
    fitted = FITS[name]
    loaded = saved_and_loaded(fitted, tmp_path)
    assert loaded.log_likelihood == fitted.log_likelihood
    assert (loaded.aic, loaded.aicc, loaded.bic) == (fitted.aic, fitted.aicc, fitted.bic)
    assert str(loaded.summary()) == str(fitted.summary())
    for key in fitted.panel.keys or ():
        one, other = loaded.smooth(key), fitted.smooth(key)
        for part in ("smoothed_means", "smoothed_covs", "lag_one_covs"):
            assert same_bits(getattr(one, part), getattr(other, part))
        pd.testing.assert_frame_equal(one.to_frame((80,)), other.to_frame((80,)))
    if fitted.system.input_dim == 0 and fitted.system.is_constant:
        key = (fitted.panel.keys or ())[0]
        pd.testing.assert_frame_equal(
            loaded.forecast(2, series=key).to_frame(), fitted.forecast(2, series=key).to_frame()
        )


@pytest.mark.parametrize("name", FITS)
def test_saving_what_was_loaded_gives_the_same_file(name: str, tmp_path: Path) -> None:
    FITS[name].save(tmp_path / "one.json")
    kem.load(tmp_path / "one.json").save(tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_a_loaded_fit_can_be_refitted_and_extended(tmp_path: Path) -> None:
    fitted = FITS["general"]
    loaded = saved_and_loaded(fitted, tmp_path)
    assert loaded.refit(frame(), stopping=FEW).params == fitted.refit(frame(), stopping=FEW).params
    extended = fitted.extend(np.ones((5, 2)))
    again = saved_and_loaded(extended, tmp_path)
    assert again.log_likelihood == extended.log_likelihood != fitted.log_likelihood
    assert again.specification.forms == fitted.specification.forms


INDEXES = {
    "range": pd.RangeIndex(5, 95, 3, name="row"),
    "numbers": pd.Index(range(100, 130), dtype="int32", name=3),
    "decimals": pd.Index(np.arange(30) * 0.1),
    "text": pd.Index([f"r{i}" for i in range(30)], name="étape"),
    "objects": pd.Index([*range(15), *"abcdefghijklmno"], dtype=object),
    "dates": pd.date_range("2024-03-01", periods=30, freq="D", name="day"),
    "weeks": pd.date_range("1999-12-25", periods=30, freq="2W-SAT"),
    "no frequency": pd.DatetimeIndex(pd.date_range("2024-03-01", periods=30, freq="h"), freq=None),
    "nanoseconds": pd.date_range("2024-03-01", periods=30, freq="7ns", unit="ns"),
    "summer time": pd.date_range("2024-03-20", periods=30, freq="D", tz="Europe/Paris"),
    "hours of a zone": pd.date_range("2024-10-27", periods=30, freq="h", tz="America/New_York"),
    "fixed offset": pd.date_range("2024-03-20T12:00+02:00", periods=30, freq="30min"),
    "offset without alias": pd.date_range("2024-01-31", periods=30, freq=pd.DateOffset(months=1)),
    "years": pd.period_range("1871", periods=30, freq="Y", name="year"),
    "fiscal quarters": pd.period_range("2001Q1", periods=30, freq="Q-NOV"),
    "two months": pd.period_range("2001-01", periods=30, freq="2M"),
    "weeks as periods": pd.period_range("2001-01-01", periods=30, freq="W-WED"),
    "durations": pd.timedelta_range("1h", periods=30, freq="250ms", name="elapsed"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_labels_come_back_with_their_kind_name_and_frequency(name: str, tmp_path: Path) -> None:
    index = INDEXES[name]
    fitted = kem.fit(kem.LocalLevel(), series(index=index), stopping=kem.Stopping(max_iterations=1))
    returned = saved_and_loaded(fitted, tmp_path).panel.series[0].index
    pd.testing.assert_index_equal(returned, index, exact=True)
    assert returned.name == index.name
    assert getattr(returned, "freq", None) == getattr(index, "freq", None)
    assert getattr(returned, "tz", None) == getattr(index, "tz", None)


@pytest.mark.parametrize(
    "index",
    [
        pd.CategoricalIndex(list("abc"), ordered=True),
        pd.Index([pd.Timestamp("2024-01-01"), 2, 3], dtype=object),
        pd.date_range("2024-01-01", periods=3, freq=pd.offsets.CustomBusinessDay(holidays=["2024-01-02"])),
        pd.Index([1, 2, 3], name=frozenset()),
    ],
    ids=["categories", "timestamps among numbers", "holidays", "name"],
)
def test_labels_that_json_cannot_hold_are_refused(index: pd.Index) -> None:
    with pytest.raises(kem.InputError, match="index"):
        encoded_index(index)


def test_the_labels_of_a_file_are_readable() -> None:
    node = encoded_index(pd.date_range("2024-03-30", periods=2, freq="D", tz="Europe/Paris"))
    assert (node["tz"], node["freq"]) == ("Europe/Paris", "D")
    assert node["labels"][0].startswith("2024-03-29T23:00:00")
    with pytest.raises(kem.InputError, match="kind 'moons'"):
        decoded_index({"kind": "moons", "name": None})


def test_the_file_shows_parameters_and_criteria_to_people(tmp_path: Path) -> None:
    fitted = FITS["columns"]
    document = document_of(fitted, tmp_path)
    assert list(document)[:5] == ["format", "format_version", "package_version", "parameters", "fit"]
    assert document["package_version"] == VERSION == kem.__version__
    assert document["parameters"]["observation_cov"] == fitted.params.observation_cov.tolist()
    assert document["fit"]["log_likelihood"] == fitted.log_likelihood
    assert document["fit"]["n_parameters"] == fitted.n_parameters
    assert document["fit"]["stop_reason"] == "max_iterations"
    assert {"aic", "aicc", "bic"} <= set(document["fit"])
    assert document["model"]["level_cov"] == {"class": "Isotropic"}
    assert document["data"]["series"][0]["values"][3] == [None, fitted.panel.series[0].values[3, 1]]


def test_infinities_and_failed_starts_survive(tmp_path: Path) -> None:
    fitted = FITS["level"]
    em = replace(
        fitted.em, parameter_changes=[math.inf, 0.5, 0.25], start_log_likelihoods=[-50.0, math.nan], detail='a "b"\nc'
    )
    loaded = saved_and_loaded(replace(fitted, em=em), tmp_path)
    assert loaded.em.parameter_changes.tolist() == [math.inf, 0.5, 0.25]
    assert same_bits(loaded.em.start_log_likelihoods, em.start_log_likelihoods)
    assert loaded.em.detail == em.detail
    text = (tmp_path / "fit.json").read_text(encoding="utf-8")
    assert '"parameter_changes": ["inf", 0.5, 0.25]' in text
    assert "NaN" not in text
    assert "Infinity" not in text


def test_too_little_data_for_aicc_is_saved(tmp_path: Path) -> None:
    fitted = kem.fit(kem.LocalLevel(), [1.0, 2.0, 4.0], stopping=FEW)
    assert math.isinf(fitted.aicc)
    assert document_of(fitted, tmp_path)["fit"]["aicc"] == "inf"


def test_the_layout_is_json_with_one_row_a_line() -> None:
    node = {"a": [[1.0, 2.0], [3.0, 4.0]], "b": {"c": []}, "d": [], "e": {}, "f": [{"g": 1}], "é": "\u2028"}
    text = laid_out(node)
    assert json.loads(text) == node
    assert "[1.0, 2.0]" in text.replace(",\n", "\n").split("\n    ")[1]
    with pytest.raises(ValueError, match="JSON"):
        laid_out({"a": [math.nan]})


@dataclass(frozen=True)
class MyLevel:
    """A model of a user's own."""

    base: kem.LocalLevel

    def specify(self, panel: kem.Panel) -> Any:
        return self.base.specify(panel)

    def start(self, specification: Any, panel: kem.Panel) -> Any:
        return self.base.start(specification, panel)

    def random_start(self, specification: Any, panel: kem.Panel, rng: np.random.Generator) -> Any:
        return self.base.random_start(specification, panel, rng)


def test_the_times_of_observations_survive(tmp_path: Path) -> None:
    observed = kem.Observations(series().to_numpy()[:, None], times=np.arange(30) * 0.25)
    fitted = kem.fit(kem.LocalLevel(), observed, stopping=FEW)
    assert same_bits(saved_and_loaded(fitted, tmp_path).panel.series[0].times, observed.times)


def test_a_class_that_has_the_name_of_ours_is_not_ours(tmp_path: Path) -> None:
    impostor = type("LocalLevel", (kem.LocalLevel,), {})
    fitted = kem.fit(impostor(), series(), stopping=FEW)
    with pytest.raises(kem.InputError, match=r"LocalLevel cannot be saved"):
        fitted.save(tmp_path / "fit.json")


def test_a_model_of_ones_own_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    fitted = kem.fit(MyLevel(kem.LocalLevel()), series(), stopping=FEW)
    with pytest.raises(kem.InputError, match=r"MyLevel cannot be saved; of models"):
        fitted.save(tmp_path / "fit.json")
    assert not (tmp_path / "fit.json").exists()


def test_saving_something_else_or_nowhere_says_so(tmp_path: Path) -> None:
    with pytest.raises(kem.InputError, match="expected a Fit, got dict"):
        persistence.save({}, tmp_path / "fit.json")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        FITS["level"].save(tmp_path / "absent" / "fit.json")


@pytest.mark.parametrize("path", [3, None, True, b"fit.json", 1.5, ""])
def test_what_is_no_path_says_so(path: Any) -> None:
    with pytest.raises(kem.InputError, match=r"^path: expected the path of a file, as text or a pathlib.Path, got "):
        FITS["level"].save(path)
    with pytest.raises(kem.InputError, match=r"^path: expected the path of a file, as text or a pathlib.Path, got "):
        kem.load(path)
    with pytest.raises(kem.InputError, match=r"^path: expected a path without null characters"):
        kem.load("fit\0.json")


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(kem.InputError, match=r"absent\.json: cannot be read \(No such file"):
        kem.load(tmp_path / "absent.json")
    with pytest.raises(kem.InputError, match="cannot be read"):
        kem.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        ("date,flow\n1871,1120\n", "is not JSON"),
        ('{"format": "kalman_em fit"', "is not JSON"),
        ('{"format": "kalman_em fit", "fit": NaN}', "is not JSON .NaN is no JSON number"),
        ("[" * 100_000, "is not JSON"),
        ("[1, 2]", "is not a fit saved by kalman_em"),
        ('{"format": "kalman_em"}', "is not a fit saved by kalman_em"),
        ('{"format": "kalman_em fit"}', "expected a format_version of 1 to 1, got None"),
        ('{"format": "kalman_em fit", "format_version": true}', "expected a format_version"),
        (
            '{"format": "kalman_em fit", "format_version": 99, "package_version": "9.9"}',
            r"has format version 99, written by kalman_em 9\.9; .* install a newer one",
        ),
        ('{"format": "kalman_em fit", "format_version": 1}', "the field 'model' is missing"),
    ],
)
def test_a_file_that_is_no_fit_says_so(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_text(text, encoding="utf-8")
    with pytest.raises(kem.InputError, match=message):
        kem.load(tmp_path / "fit.json")


def test_binary_files_are_no_json(tmp_path: Path) -> None:
    (tmp_path / "fit.json").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(kem.InputError, match="is not JSON"):
        kem.load(tmp_path / "fit.json")


def test_every_missing_field_is_noticed(tmp_path: Path) -> None:
    document = document_of(FITS["noise rows"], tmp_path)
    for block in ("specification", "system", "em", "data"):
        for name in document[block]:
            damaged = document | {block: {key: value for key, value in document[block].items() if key != name}}
            (tmp_path / "fit.json").write_text(json.dumps(damaged), encoding="utf-8")
            with pytest.raises(kem.InputError, match=f"the field '{name}' is missing"):
                kem.load(tmp_path / "fit.json")


@pytest.mark.parametrize(
    ("block", "name", "value", "message"),
    [
        ("model", "class", "Oracle", "class 'Oracle' is not known to this version"),
        ("model", "colour", 3, "LocalLevel: parameter 'colour' is not known"),
        ("system", "transition_matrix", [[1.0], [2.0, 3.0]], "is damaged"),
        ("system", "transition_cov", [[-1.0]], "is damaged .transition_cov"),
        ("system", "initial_mean", None, "is damaged .initial_mean: expected numbers, got None"),
        ("em", "stop_reason", "bored", "is damaged .'bored'"),
        ("em", "best_iteration", 99, "is damaged .best_iteration"),
        ("data", "series", [], "is damaged"),
        ("data", "series", 5, "is damaged"),
        ("specification", "forms", [], "is damaged"),
    ],
)
def test_damage_is_noticed(block: str, name: str, value: Any, message: str, tmp_path: Path) -> None:
    document = document_of(FITS["level"], tmp_path)
    document[block][name] = value
    (tmp_path / "fit.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(kem.InputError, match=message):
        kem.load(tmp_path / "fit.json")
