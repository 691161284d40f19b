"""Observations and panels: frozen, checked at construction, NaN as the one missing marker."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from kalman_em import InputError, Observations, Panel


def test_values_are_copied_frozen_and_masked():
    source = np.array([[1.0, np.nan], [2.0, 3.0]])
    observed = Observations(source)
    source[0, 0] = 99.0
    assert observed.values[0, 0] == 1.0
    assert observed.is_missing.tolist() == [[False, True], [False, False]]
    assert (observed.n_steps, observed.obs_dim, observed.n_observed, observed.input_dim) == (2, 2, 3, 0)
    with pytest.raises(ValueError, match="read-only"):
        observed.values[0, 0] = 5.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        observed.values = source


def test_a_row_with_one_column_keeps_its_shape():
    assert Observations([[1.0, 2.0, 3.0]]).values.shape == (1, 3)


def test_zero_is_a_value():
    assert not Observations([[0.0]]).is_missing.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": [1.0, 2.0]}, r"^values: expected shape \(T, p\).* got \(2,\)"),
        ({"values": np.zeros((0, 2))}, "^values: expected at least one row"),
        ({"values": [["a"]]}, "^values: expected real numbers, got text such as 'a'"),
        ({"values": [[1.0, "2"]]}, "^values: expected real numbers"),
        ({"values": [[1.0], [1.0, 2.0]]}, "^values: expected rows of equal length, got a ragged list"),
        ({"values": None}, "^values: expected numbers, got None"),
        ({"values": np.nan}, r"^values: expected shape \(T, p\), rows in time order, got \(\)"),
        ({"values": np.inf}, "^values: expected a finite number, got inf"),
        ({"values": [[1.0], [pd.NA]]}, r"^values: expected real numbers, got <NA> \(NAType\) at position \(1, 0\)"),
        ({"values": [[True], [False]]}, r"^values: expected numbers, got booleans; turn them .*astype\(float\)"),
        ({"values": {"a": 1.0}}, r"^values: expected real numbers, got {'a': 1.0} \(dict\)"),
        ({"values": [[np.inf]]}, r"^values: holds inf at position \(0, 0\)"),
        ({"values": [[1.0 + 2.0j]]}, "^values: expected real numbers"),
        ({"values": np.array([["2020-01-01"]], dtype="datetime64[D]")}, "^values: expected real numbers"),
        ({"values": [[1.0]], "names": ["a", "b"]}, "^names: expected 1 names"),
        ({"values": [[1.0, 2.0]], "names": ["a", "a"]}, "^names: expected distinct"),
        ({"values": [[1.0]], "names": "y"}, r"^names: expected a sequence of names, got 'y' \(str\)"),
        ({"values": [[1.0]], "names": 3}, r"^names: expected a sequence of names, got 3 \(int\)"),
        ({"values": [[1.0]], "index": [1, 2]}, "^index: expected 1 labels"),
        ({"values": [[1.0]], "index": 3}, r"^index: expected a sequence of labels, got 3 \(int\)"),
        ({"values": [[1.0], [2.0]], "times": [0.0]}, r"^times: expected shape \(2,\)"),
        ({"values": [[1.0], [2.0]], "times": [1.0, 1.0]}, "^times: expected increasing"),
        ({"values": [[1.0], [2.0]], "inputs": [[1.0]]}, r"^inputs: expected shape \(2, k\)"),
        ({"values": [[1.0], [2.0]], "inputs": [[1.0, 2.0]]}, r"^inputs: expected shape \(2, k\), .*got \(1, 2\)"),
        ({"values": [[1.0]], "inputs": [[np.nan]]}, "^inputs: holds NaN"),
    ],
)
def test_bad_observations_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        Observations(**arguments)


def test_a_panel_holds_ragged_series_under_keys():
    panel = Panel([Observations([[1.0], [np.nan]]), Observations([[3.0]])], keys=["a", 7])
    assert (len(panel), panel.n_series, panel.obs_dim, panel.n_observed, panel.names) == (2, 2, 1, 2, ("y1",))
    assert panel[7].values.tolist() == [[3.0]]
    assert Panel([Observations([[1.0]])]).keys == (0,)
    with pytest.raises(InputError, match=r"no series is called 'b'; expected one of: 'a', 7"):
        panel["b"]


def test_none_and_masked_entries_are_missing():
    assert Observations([[1.0], [None]]).is_missing.tolist() == [[False], [True]]
    masked = np.ma.masked_array([[1.0], [2.0]], mask=[[False], [True]])
    assert Observations(masked).is_missing.tolist() == [[False], [True]]


def test_inputs_of_one_dimension_are_one_column():
    observed = Observations([[1.0], [2.0]], inputs=[3.0, 4.0])
    assert observed.inputs.tolist() == [[3.0], [4.0]]
    assert observed.input_dim == 1


@pytest.mark.parametrize("key", ["c", 0, ["a"], np.array(["a", "b"]), slice(None)])
def test_a_series_that_is_not_there_is_a_key_error_too(key):
    panel = Panel([Observations([[1.0]]), Observations([[2.0]])], keys=["a", "b"])
    with pytest.raises(InputError, match=r"^series: no series is called .*; expected one of: 'a', 'b'$") as caught:
        panel[key]
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize(
    ("series", "keys", "message"),
    [
        ([], None, "^series: expected at least one"),
        ([np.zeros((2, 1))], None, "^series: expected Observations, got ndarray"),
        ([Observations([[1.0]]), Observations([[1.0, 2.0]])], None, "^series: expected columns"),
        ([Observations([[1.0]]), Observations([[1.0]], inputs=[[1.0]])], None, "^series: expected 0 inputs"),
        ([Observations([[1.0]])], ["a", "b"], "^keys: expected 1 keys"),
        ([Observations([[1.0]])] * 2, ["a", "a"], "^keys: expected distinct"),
        ([Observations([[1.0]])] * 2, "ab", r"^keys: expected a sequence of keys, got 'ab' \(str\)"),
        ([Observations([[1.0]])], 3, r"^keys: expected a sequence of keys, got 3 \(int\)"),
        ([Observations([[1.0]])], [[1]], r"^keys: expected keys that can be hashed, got \[1\] \(list\)"),
        (Observations([[1.0]]), None, "^series: expected a sequence of Observations, got one alone"),
        ({"a": Observations([[1.0]])}, None, "^series: .* got a mapping; pass list"),
        (3, None, "^series: expected a sequence of Observations, got int"),
    ],
)
def test_bad_panels_are_named(series, keys, message):
    with pytest.raises(InputError, match=message):
        Panel(series, keys)
