"""What users hold, read into a panel: labels, names and missing values kept, everything doubtful refused by name."""

from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem
from kalman_em import datasets
from kalman_em.errors import InputError
from kalman_em.frames import input_rows, to_panel
from kalman_em.observations import Observations, Panel

MIXED_ZONES = pd.Index([pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02", tz="UTC")], dtype=object)
WEEKS = pd.date_range("2024-01-06", periods=3, freq="W-SAT", name="week")
TRACKS = pd.DataFrame(
    {
        "id": ["b", "a", "b", "a", "b"],
        "t": [0.0, 10.0, 0.5, 10.5, 1.0],
        "x": [1.0, 2.0, np.nan, 4.0, 5.0],
        "y": [0.1, 0.2, 0.3, 0.4, 0.5],
        "thrust": [1, 0, 1, 0, 1],
    }
)


def only(panel: Panel) -> Observations:
    """Return the one series of a panel."""
    assert panel.n_series == 1
    return panel.series[0]


# --- plain tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "index",
    [
        WEEKS,
        WEEKS.tz_localize("Europe/Berlin"),
        pd.period_range("2024Q1", periods=3, freq="Q", name="quarter"),
        pd.RangeIndex(5, 11, 2, name="row"),
        pd.Index([1871, 1872, 1873], name="year"),
        pd.Index([0.0, 0.1, 0.4], name="seconds"),
        pd.Index(["one", "two", "three"]),
    ],
)
def test_a_frame_keeps_its_columns_and_index(index: pd.Index) -> None:
    frame = pd.DataFrame({"level": [1.0, np.nan, 3.0], "flow": [4, 5, 6]}, index=index)
    one = only(to_panel(frame))
    assert one.names == ("level", "flow")
    assert np.array_equal(one.values, [[1.0, 4.0], [np.nan, 5.0], [3.0, 6.0]], equal_nan=True)
    assert one.index.identical(frame.index)


def test_a_series_gives_its_name_and_an_unnamed_one_is_y1() -> None:
    assert only(to_panel(pd.Series([1.0, 2.0], name="flow"))).names == ("flow",)
    assert only(to_panel(pd.Series([1.0, 2.0]))).names == ("y1",)
    assert only(to_panel(pd.Series([1.0, 2.0], name=0))).names == ("0",)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([1, 2.5, float("nan")], [[1.0], [2.5], [np.nan]]),
        ((1, 2), [[1.0], [2.0]]),
        ([[1, 2], [3, 4]], [[1.0, 2.0], [3.0, 4.0]]),
        (np.arange(3, dtype=np.uint8), [[0.0], [1.0], [2.0]]),
        (np.arange(6, dtype=np.float32).reshape(3, 2), [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
        (np.ma.array([1, 2, 3], mask=[False, True, False]), [[1.0], [np.nan], [3.0]]),
        (pd.array([1, None, 3], dtype="Int64").to_numpy(dtype=float, na_value=np.nan), [[1.0], [np.nan], [3.0]]),
    ],
)
def test_arrays_and_lists_become_columns_y1_y2(data: object, expected: list[list[float]]) -> None:
    one = only(to_panel(data))
    assert np.array_equal(one.values, expected, equal_nan=True)
    assert one.names == tuple(f"y{i + 1}" for i in range(one.obs_dim))
    assert one.index.identical(pd.RangeIndex(len(expected)))


@pytest.mark.parametrize("dtype", ["Float64", "Int64", "Float32"])
def test_nullable_columns_turn_na_into_nan(dtype: str) -> None:
    one = only(to_panel(pd.DataFrame({"a": pd.array([1, None, 3], dtype=dtype)})))
    assert np.array_equal(one.values[:, 0], [1.0, np.nan, 3.0], equal_nan=True)


def test_the_data_of_the_caller_are_never_changed_and_never_shared() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0]})
    one = only(to_panel(frame))
    frame.iloc[0, 0] = 9.0
    assert one.values[0, 0] == 1.0
    array = np.array([[1.0], [2.0]])
    other = only(to_panel(array))
    array[0] = 9.0
    assert other.values[0, 0] == 1.0


def test_values_choose_columns_in_the_order_given() -> None:
    assert to_panel(TRACKS, values=["y", "x"]).names == ("y", "x")
    assert to_panel(TRACKS, values="x").names == ("x",)
    assert to_panel(TRACKS, values=pd.Index(["x"])).names == ("x",)
    assert to_panel(pd.DataFrame({0: [1.0], 1: [2.0]}), values=1).names == ("1",)


def test_time_names_the_column_of_labels() -> None:
    frame = pd.DataFrame({"when": WEEKS, "flow": [1.0, 2.0, 3.0]}, index=[7, 8, 9])
    one = only(to_panel(frame, time="when"))
    assert one.index.equals(WEEKS)
    assert one.index.name == "when"
    assert one.names == ("flow",)
    periods = frame.assign(when=WEEKS.to_period("W-SAT"))
    assert isinstance(only(to_panel(periods, time="when")).index, pd.PeriodIndex)
    zoned = frame.assign(when=WEEKS.tz_localize("Asia/Tokyo"))
    assert str(only(to_panel(zoned, time="when")).index.tz) == "Asia/Tokyo"


def test_observations_and_panels_pass_through_with_labels() -> None:
    plain = Observations([[1.0], [2.0]])
    assert only(to_panel(plain)).index.identical(pd.RangeIndex(2))
    timed = Observations([[1.0], [2.0]], times=[0.0, 0.5])
    assert only(to_panel(timed)).index.tolist() == [0.0, 0.5]
    assert only(to_panel(timed)).times.tolist() == [0.0, 0.5]
    labelled = Observations([[1.0], [2.0]], index=["a", "b"])
    assert only(to_panel(labelled)).index.tolist() == ["a", "b"]
    panel = to_panel(Panel((plain, labelled), keys=("p", "q")))
    assert panel.keys == ("p", "q")
    assert panel["q"].index.tolist() == ["a", "b"]
    with pytest.raises(InputError, match="data: index of series 'q': expected distinct labels"):
        to_panel(Panel((plain, Observations([[1.0], [2.0]], index=["a", "a"])), keys=("p", "q")))


# --- long frames ------------------------------------------------------------------------------------------------


def test_a_long_frame_becomes_a_panel_in_order_of_first_appearance() -> None:
    panel = to_panel(TRACKS, time="t", series="id", values=["x", "y"])
    assert panel.keys == ("b", "a")
    assert np.array_equal(panel["b"].values[:, 0], [1.0, np.nan, 5.0], equal_nan=True)
    assert panel["a"].values[:, 1].tolist() == [0.2, 0.4]
    assert panel["b"].index.identical(pd.Index([0.0, 0.5, 1.0], name="t"))
    assert to_panel(TRACKS, time="t", series="id").names == ("x", "y", "thrust")


def test_without_time_rows_of_a_series_are_counted_and_dates_kept() -> None:
    assert to_panel(TRACKS, series="id", values="x")["b"].index.identical(pd.RangeIndex(3))
    dated = pd.DataFrame({"id": ["a", "b"] * 3, "x": range(6)}, index=WEEKS.repeat(2))
    panel = to_panel(dated, series="id")
    assert panel["a"].index.equals(WEEKS)
    assert panel["b"].index.equals(WEEKS)


def test_ids_of_any_kind_are_keys() -> None:
    frame = pd.DataFrame({"id": pd.Categorical(["z", "y"], categories=["y", "z"]), "x": [1.0, 2.0]})
    assert to_panel(frame, series="id").keys == ("z", "y")
    assert to_panel(frame.assign(id=[7, 3]), series="id").keys == (7, 3)
    assert to_panel(frame.assign(id=[7, 7]), series="id").keys == (7,)


def test_a_column_may_be_silent_in_one_series_but_not_in_all() -> None:
    frame = pd.DataFrame({"id": ["a", "a", "b"], "x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, np.nan]})
    assert to_panel(frame, series="id")["b"].n_observed == 1
    with pytest.raises(InputError, match="column 'y' has no observed value"):
        to_panel(frame.assign(y=np.nan), series="id")
    with pytest.raises(InputError, match="series 'b' has no observed value"):
        to_panel(frame.assign(x=[1.0, 2.0, np.nan]), series="id")


def test_data_sets_read_as_long_and_wide() -> None:
    wide = datasets.load("us_employment")
    long = wide.stack().rename("jobs").rename_axis(["month", "sector"]).reset_index()
    panel = to_panel(long, time="month", series="sector", values="jobs")
    assert panel.keys == tuple(wide.columns)
    assert np.array_equal(panel["government"].values[:, 0], wide["government"])
    assert panel["government"].index.equals(wide.index)


# --- refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["setosa", "virginica", None], r"numbers in column 'bad', got 'setosa' \(str\); choose .* with values="),
        (["1.5", "2", "3"], r"numbers in column 'bad', got '1.5' \(str\); turn .* with pd.to_numeric"),
        ([1.0, "oops", 2.0], r"numbers in column 'bad', got 'oops' \(str\)"),
        ([Decimal("1.5"), Decimal(2), None], r"got Decimal\('1.5'\) \(Decimal\); turn .* pd.to_numeric"),
        ([True, False, True], r"column 'bad', got booleans; turn them into 0 and 1 with .astype\(float\)"),
        (pd.array([True, None, False], dtype="boolean"), "column 'bad', got booleans"),
        ([1j, 2.0, 3.0], "column 'bad', got complex numbers"),
        (WEEKS, r"column 'bad', got Timestamp\('2024-01-06"),
        (pd.Categorical(["u", "v", "u"]), r"column 'bad', got 'u' \(str\)"),
        (np.array([1, True, None], dtype=object), r"column 'bad', got True \(bool\); turn .* with pd.to_numeric"),
        ([1, 10**400, 2], "holds a whole number that is too large for a float"),
        ([1.0, 1e160, 2.0], r"column 'bad' holds 1e\+160, whose square is too large for a float; use larger units"),
        ([1.0, np.inf, 2.0], "column 'bad' holds inf at row-2; NaN is the marker for missing"),
        ([1.0, -np.inf, 2.0], "column 'bad' holds inf at row-2"),
    ],
)
def test_a_column_that_is_not_numbers_is_named_with_an_example(column: object, message: str) -> None:
    frame = pd.DataFrame({"good": [1.0, 2.0, 3.0], "bad": column})
    frame.index = pd.Index(["row-1", "row-2", "row-3"])
    with pytest.raises(InputError, match=message.replace("at row-2", "at 'row-2'")) as caught:
        to_panel(frame)
    assert str(caught.value).startswith("data: ")
    assert only(to_panel(frame, values="good")).names == ("good",)


@pytest.mark.parametrize("column", [[np.nan] * 3, [None] * 3, pd.array([None] * 3, dtype="Float64")])
def test_a_column_without_an_observed_value_is_refused_unless_allowed(column: object) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "silent": column})
    with pytest.raises(InputError, match="column 'silent' has no observed value"):
        to_panel(frame)
    assert to_panel(frame, allow_unobserved=True).n_observed == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (["1", "2"], "expected numbers, got text such as '1'"),
        ([1.0, "2"], "expected numbers, got text such as '2'"),
        ([1.0, object], r"expected numbers, got type such as <class 'object'>"),
        ([1.0, Decimal("1.5")], r"expected numbers, got Decimal such as Decimal\('1.5'\)"),
        ([1.0, True, None], r"expected numbers, got bool such as True"),
        (np.array([True, False]), "expected numbers, got booleans"),
        (np.array([1j]), "expected numbers, got complex numbers"),
        (
            np.array(["2024-01-01"], dtype="datetime64[D]"),
            "expected numbers, got date such as datetime.date",
        ),
        (np.zeros((2, 3, 1)), r"expected shape \(T,\) or \(T, p\), one row a time step, got \(2, 3, 1\)"),
        (np.array(3.0), r"expected shape \(T,\) or \(T, p\).* got \(\)"),
        ([[1.0, 2.0], [3.0]], "expected rows of equal length, got a ragged list"),
        ([1.0, np.inf], r"holds inf at position \(1, 0\)"),
        (np.ma.array([1j, 2], mask=[True, False]), "complex numbers"),
        ([], "at least one row and one column, got shape"),
        (np.empty((0, 2)), r"at least one row and one column, got shape \(0, 2\)"),
        (np.empty((3, 0)), r"at least one row and one column, got shape \(3, 0\)"),
        (pd.DataFrame({"a": []}), r"at least one row and one column, got shape \(0, 1\)"),
        (pd.DataFrame(index=[1, 2]), r"at least one row and one column, got shape \(2, 0\)"),
        (pd.Series([], dtype=float), "at least one row"),
        ([np.nan, np.nan], "column 'y1' has no observed value"),
        ({"a": [1.0]}, r"expected a Series, DataFrame, array, list, Observations or Panel, got dict"),
        (3.0, "got float"),
        (None, "got NoneType"),
        ("nile.csv", r"got str \('nile.csv'\)"),
        (iter([1.0]), "got list_iterator"),
        ([pd.DataFrame({"a": [1.0]})], "expected one table, got a list of them"),
        ([Observations([[1.0]])], r"pass Panel\(\[Observations"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), "expected distinct columns, got 'a' twice"),
        (pd.DataFrame([[1.0]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "got 2 levels"),
        (pd.Series([1.0, 2.0], index=[1, 1]), "index: expected distinct labels, got 1 again at row 1"),
        (pd.Series([1.0, 2.0], index=WEEKS[[1, 0]]), "time order, got 2024-01-06 after 2024-01-13 at row 1"),
        (pd.Series([1.0, 2.0], index=[["a", "a"], [1, 2]]), "got 2 levels .*series="),
        (pd.Series([1.0, 2.0], index=[date(2024, 1, 1), date(2024, 1, 2)]), r"got datetime.date\(.*pd.to_datetime"),
        (pd.Series([1.0, 2.0], index=MIXED_ZONES), "all with one time zone or all without, got Timestamp"),
        (pd.Series([1.0, 2.0], index=[1j, 2j]), "expected dates, periods, durations, numbers or text, got complex128"),
        (pd.Series([1.0, 2.0], index=[False, True]), "expected dates, .*, got bool labels"),
    ],
)
def test_data_that_cannot_be_a_table_of_numbers(data: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        to_panel(data)
    assert str(caught.value).startswith("data: ")


@pytest.mark.parametrize(
    "data",
    [[1.0, None, 3.0], np.array([1, None, 3.0], dtype=object), [1, pd.NA, 3], pd.Series([1, None, 3], dtype=object)],
)
def test_none_among_numbers_is_missing_as_in_pandas(data: object) -> None:
    np.testing.assert_array_equal(only(to_panel(data)).values, [[1.0], [np.nan], [3.0]])


def test_one_row_of_the_models_width_is_no_column() -> None:
    with pytest.raises(InputError, match=r"data: expected shape \(T, 2\), got \(2,\); put a single row in a list"):
        to_panel([1.0, 2.0], obs_dim=2)
    assert only(to_panel([[1.0, 2.0]], obs_dim=2)).values.shape == (1, 2)


@pytest.mark.parametrize("data", [np.zeros((2, 5)), np.zeros((2, 5)).tolist()])
def test_a_transposed_array_is_called_so(data: object) -> None:
    with pytest.raises(InputError, match=r"data: looks transposed: expected \(T, 2\), time first, got \(2, 5\)"):
        to_panel(data, obs_dim=2)
    assert to_panel(data).obs_dim == 5
    assert to_panel(data, obs_dim=5).obs_dim == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((9, 3)), r"data: expected 2 columns, as the model has, got 3 \(y1, y2, y3\)"),
        (np.zeros(9), "data: expected 2 columns, as the model has, got 1"),
        (pd.DataFrame(np.zeros((2, 3)), columns=list("abc")), r"got 3 \(a, b, c\); choose the columns with values="),
        (Observations(np.zeros((4, 1))), r"expected 2 columns, as the model has, got 1 \(y1\)"),
    ],
)
def test_a_number_of_columns_unlike_the_models_names_both(data: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_panel(data, obs_dim=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": "z"}, "values: no column is called 'z'; expected one of: id, t, x, y, thrust"),
        ({"values": ["x", "z"]}, "values: no column is called 'z'"),
        ({"values": []}, r"values: expected at least one column, got \[\]"),
        ({"values": ["x", "x"]}, "values: expected distinct columns"),
        ({"values": {"x"}}, r"values: expected the name of a column or a list of them, got {'x'} \(set\)"),
        ({"time": ["t"]}, r"time: expected the name of a column, got \['t'\] \(list\)"),
        ({"inputs": "thurst"}, r"inputs: no column is called 'thurst'; .* \(did you mean 'thrust'\?\)"),
        ({"time": "T"}, "time: no column is called 'T'"),
        ({"series": "name"}, "series: no column is called 'name'"),
        ({"time": "t", "series": "t"}, "series: column 't' is already used as time"),
        ({"time": "t", "series": "id", "values": ["t", "x"]}, "values: column 't' is already used as time"),
        ({"inputs": "x", "values": "x"}, "values: column 'x' is already used as inputs"),
        ({"inputs": ["nope"]}, "inputs: no column is called 'nope'"),
        ({"time": "id", "values": "x"}, r"time: expected dates.* in column 'id', got 'b' \(str\); .*pd.to_datetime"),
        ({"time": "t", "values": "x"}, "time: column 't': expected labels in time order, got 0.5 after 10.0 at row 2"),
        ({"values": ["id"]}, r"data: expected numbers in column 'id', got 'b' \(str\)"),
    ],
)
def test_names_of_columns_that_do_not_fit(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_panel(TRACKS, **arguments)


def test_a_series_with_rows_out_of_order_or_repeated_is_named() -> None:
    with pytest.raises(InputError, match=r"time: column 't' of series 'a': expected labels in time order, got 10\.5"):
        to_panel(TRACKS.assign(t=[0.0, 11.0, 0.5, 10.5, 1.0]), time="t", series="id")
    with pytest.raises(InputError, match=r"time: column 't' of series 'b': expected distinct labels, got 0\.0 again"):
        to_panel(TRACKS.assign(t=[0.0, 10.0, 0.0, 10.5, 1.0]), time="t", series="id")
    with pytest.raises(InputError, match="time: column 't' of series 'b': expected a label in every row, got nan"):
        to_panel(TRACKS.assign(t=[0.0, 10.0, np.nan, 10.5, 1.0]), time="t", series="id")


def test_a_missing_id_names_its_row() -> None:
    with pytest.raises(InputError, match="series: expected an id in every row of column 'id', got none in row 2"):
        to_panel(TRACKS.assign(id=["b", "a", None, "a", "b"]), series="id")


def test_a_frame_of_nothing_but_roles_has_no_values() -> None:
    with pytest.raises(InputError, match=r"data: expected a column of values beside \['t', 'id'\], got none"):
        to_panel(TRACKS[["id", "t"]], time="t", series="id")


@pytest.mark.parametrize("data", [[1.0, 2.0], pd.Series([1.0, 2.0]), Observations([[1.0]])])
@pytest.mark.parametrize("argument", ["time", "series", "values"])
def test_column_names_need_a_frame(data: object, argument: str) -> None:
    with pytest.raises(InputError, match=f"{argument}: names a column of a DataFrame, got 'x' with a"):
        to_panel(data, **{argument: "x"})


# --- inputs -----------------------------------------------------------------------------------------------------

FLOW = pd.DataFrame({"flow": [1.0, 2.0, 3.0]}, index=WEEKS)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([1, 2, 3], [[1.0], [2.0], [3.0]]),
        (np.eye(3)[:, :2], np.eye(3)[:, :2]),
        (pd.Series([1, 2, 3], index=WEEKS), [[1.0], [2.0], [3.0]]),
        (pd.DataFrame({"law": [False, True, True], "price": [1.0, 2.0, 3.0]}, index=WEEKS), [[0, 1], [1, 2], [1, 3]]),
        ([False, True, True], [[0.0], [1.0], [1.0]]),
    ],
)
def test_inputs_have_a_row_for_every_row(inputs: object, expected: object) -> None:
    assert np.array_equal(only(to_panel(FLOW, inputs=inputs)).inputs, expected)
    assert np.array_equal(only(to_panel(FLOW["flow"], inputs=inputs)).inputs, expected)


def test_inputs_may_be_columns_of_the_frame() -> None:
    panel = to_panel(TRACKS, time="t", series="id", inputs=["thrust"])
    assert panel.names == ("x", "y")
    assert panel["b"].inputs.tolist() == [[1.0], [1.0], [1.0]]
    assert panel["a"].inputs.tolist() == [[0.0], [0.0]]
    assert only(to_panel(TRACKS, values="x", inputs="thrust")).inputs[:, 0].tolist() == [1, 0, 1, 0, 1]


def test_inputs_of_a_long_frame_are_split_with_its_rows() -> None:
    panel = to_panel(TRACKS, time="t", series="id", values="x", inputs=np.arange(5.0))
    assert panel["b"].inputs[:, 0].tolist() == [0.0, 2.0, 4.0]
    assert panel["a"].inputs[:, 0].tolist() == [1.0, 3.0]
    labelled = to_panel(TRACKS, series="id", values="x", inputs=pd.Series(np.arange(5.0)))
    assert labelled["a"].inputs[:, 0].tolist() == [1.0, 3.0]


def test_inputs_may_be_labelled_by_the_time_column() -> None:
    frame = FLOW.reset_index()
    by_week = pd.Series([1.0, 2.0, 3.0], index=WEEKS)
    assert only(to_panel(frame, time="week", inputs=by_week)).inputs.tolist() == [[1.0], [2.0], [3.0]]
    by_row = by_week.reset_index(drop=True)
    assert only(to_panel(frame, time="week", inputs=by_row)).inputs.tolist() == [[1.0], [2.0], [3.0]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([1.0, 2.0], "inputs: expected 3 rows, one a row of data, got 2"),
        (pd.Series([1.0, 2.0], index=WEEKS[:2]), "inputs: expected 3 rows, got 2"),
        (pd.Series([1.0, 2.0, 3.0]), r"inputs: .*got 0 where 2024-01-06 was expected \(row 0\)"),
        (pd.Series([1.0, 2.0, 3.0], index=WEEKS.shift(1)), "got 2024-01-13 where 2024-01-06 was expected"),
        ([1.0, np.nan, 3.0], "inputs: expected a known value in every row, got none in column 0 at 2024-01-13"),
        (pd.DataFrame({"u": [1.0, None, 3.0]}, index=WEEKS), "got none in column 'u' at 2024-01-13"),
        ([1.0, np.inf, 3.0], "inputs: holds inf"),
        (pd.Series(["a", "b", "c"], index=WEEKS, name="u"), r"inputs: expected numbers in column 'u', got 'a'"),
        (np.zeros((3, 1, 1)), r"inputs: expected shape \(T,\) or \(T, k\)"),
        (pd.DataFrame(np.zeros((3, 2)), index=WEEKS, columns=["u", "u"]), "inputs: expected distinct columns"),
        ("flow", "data: expected a column of values beside"),
    ],
)
def test_inputs_that_do_not_fit(inputs: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_panel(FLOW, inputs=inputs)


def test_inputs_of_data_without_labels() -> None:
    array = np.zeros((3, 1))
    assert only(to_panel(array, inputs=pd.Series([1.0, 2.0, 3.0]))).inputs.tolist() == [[1.0], [2.0], [3.0]]
    with pytest.raises(InputError, match=r"inputs: have labels \(.*\), but the rows have none; .*to_numpy\(\)"):
        to_panel(array, inputs=pd.Series([1.0, 2.0, 3.0], index=WEEKS))
    with pytest.raises(InputError, match="inputs: expected numbers, got text such as 'u'"):
        to_panel(array, inputs=["u", "v"])


def test_inputs_beside_observations() -> None:
    plain = Observations([[1.0], [2.0]])
    assert only(to_panel(plain, inputs=[3.0, 4.0])).inputs.tolist() == [[3.0], [4.0]]
    with pytest.raises(InputError, match="inputs: expected None, because the Observations carry inputs of their own"):
        to_panel(Observations([[1.0], [2.0]], inputs=[[1.0], [2.0]]), inputs=[3.0, 4.0])
    with pytest.raises(InputError, match="inputs: expected None with a Panel"):
        to_panel(Panel((plain,)), inputs=[3.0, 4.0])


def test_input_rows_serve_labels_ahead() -> None:
    ahead = pd.date_range("2024-01-27", periods=2, freq="W-SAT")
    assert input_rows(pd.Series([1.0, 2.0], index=ahead), ahead).tolist() == [[1.0], [2.0]]
    with pytest.raises(InputError, match="inputs: expected 2 rows, one a row of data, got 3"):
        input_rows([1.0, 2.0, 3.0], ahead)


@pytest.mark.parametrize(
    ("times", "ids", "said"),
    [
        ([0.0, 2.0, 1.0, 3.0], None, r"got 1.0 after 2.0 at row 2; .* data.sort_values\('t'\)"),
        ([0.0, 2.0, 1.0, 3.0], "aaab", r"of series 'a'.* at row 2 of the series; .*data.sort_values\(\['id', 't'\]\)"),
        ([0.0, 2.0, 2.0, 3.0], "aaab", r"of series 'a'.* again at row 2 of the series; keep one of them"),
        ([0.0, 2.0, 2.0, 3.0], None, r"again at row 2; a long frame of several series needs series="),
    ],
)
def test_the_advice_on_time_stamps_is_for_the_frame_at_hand(times, ids, said):
    frame = pd.DataFrame({"t": times, "x": 1.0})
    if ids is not None:
        frame["id"] = list(ids)
    with pytest.raises(InputError, match=said):
        to_panel(frame, time="t", series=None if ids is None else "id")


def test_longer_labelled_inputs_are_chosen_by_label() -> None:
    weeks = pd.date_range("2024-01-06", periods=6, freq="W-SAT")
    known = pd.DataFrame({"u": np.arange(6.0)}, index=weeks)
    assert input_rows(known, weeks[2:4]).tolist() == [[2.0], [3.0]]
    with pytest.raises(InputError, match="inputs: expected the same labels, got 2024-01-06 where 2024-01-20"):
        input_rows(known.drop(index=weeks[3]), weeks[2:4])
    with pytest.raises(InputError, match="inputs: "):
        input_rows(pd.concat([known, known[2:3]]), weeks[2:4])
    with pytest.raises(InputError, match="inputs: expected 2 rows, got 6"):
        input_rows(known.reset_index(drop=True), pd.RangeIndex(2), labelled=False)


def test_inputs_of_past_and_future_in_one_table_serve_fit_and_forecast() -> None:
    index = pd.period_range("2020-01", periods=40, freq="M")
    rng = np.random.default_rng(0)
    known = pd.Series(rng.normal(size=40), index=index, name="u")
    data = 2.0 * known[:36] + rng.normal(size=36)
    model, few = kem.LocalLevel() + kem.Regression(), kem.Stopping(max_iterations=20)
    fitted = kem.fit(model, data, inputs=known, stopping=few)
    same = kem.fit(model, data, inputs=known[:36], stopping=few)
    assert fitted.log_likelihood == same.log_likelihood
    np.testing.assert_array_equal(fitted.forecast(4, inputs=known).means, same.forecast(4, inputs=known[36:]).means)
