"""The relative change of parameters of any structure."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest

from kalman_em.em.change import relative_change
from kalman_em.errors import InputError


@dataclass(frozen=True, eq=False)
class Inner:
    weights: tuple[float, ...]
    label: str = "a"


@dataclass(frozen=True, eq=False)
class Outer:
    cov: np.ndarray
    inner: Inner
    offset: np.ndarray | None = None
    derived: object = field(init=False, default_factory=object)


class Pair(NamedTuple):
    first: float
    second: float


def test_the_largest_leaf_decides_in_nested_dataclasses():
    old = Outer(np.diag([2.0, 4.0]), Inner((1.0, 10.0)))
    assert relative_change(old, Outer(np.diag([2.0, 4.4]), Inner((1.0, 10.5)))) == pytest.approx(0.1)
    assert relative_change(old, Outer(np.diag([2.0, 4.4]), Inner((1.5, 10.5)))) == pytest.approx(0.5)
    assert relative_change(old, Outer(np.diag([2.0, 4.0]), Inner((1.0, 10.0)))) == 0.0


def test_a_matrix_is_measured_by_its_largest_entry():
    old = np.array([[100.0, 0.0], [0.0, 1e-9]])
    new = np.array([[100.0, 0.5], [0.5, 2e-9]])
    assert relative_change(old, new) == pytest.approx(0.005)


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1.0, 1e30])
def test_units_do_not_matter(scale):
    rng = np.random.default_rng(0)
    old, new = rng.normal(size=(2, 3, 3))
    assert relative_change(scale * old, scale * new) == pytest.approx(relative_change(old, new), rel=1e-12)


def test_zero_to_zero_is_no_change_and_zero_to_something_is_infinite():
    assert relative_change(np.zeros(3), np.zeros(3)) == 0.0
    assert relative_change(np.zeros((0, 2)), np.zeros((0, 2))) == 0.0
    assert relative_change((), ()) == 0.0
    assert relative_change(0.0, 1e-300) == np.inf


@pytest.mark.parametrize("old", [np.array([0.0, 0.0]), np.array([1.0, 2.0])])
def test_nan_comes_out_as_nan_even_beside_larger_changes(old):
    assert np.isnan(relative_change((old, 1.0), (np.array([np.nan, 5.0]), 9.0)))
    assert np.isnan(relative_change((1.0, old), (9.0, np.array([np.nan, 5.0]))))


def test_an_infinite_entry_that_stays_is_no_change():
    assert relative_change(np.array([np.inf, 1.0]), np.array([np.inf, 1.0])) == 0.0


def test_mappings_sequences_named_tuples_and_integers():
    assert relative_change({"a": 1, "b": [2.0]}, OrderedDict(b=[3.0], a=1)) == 0.5
    assert relative_change(Pair(1.0, 4.0), Pair(1.0, 5.0)) == 0.25
    assert relative_change([np.float64(2.0)], (np.array(3.0),)) == 0.5
    assert relative_change(np.array([2, 4]), np.array([2, 5])) == 0.25


def test_labels_must_stay():
    assert relative_change((None, "a", True, 2.0), (None, "a", True, 3.0)) == 0.5
    mask = np.array([True, False])
    assert relative_change({"mask": mask, "x": 1.0}, {"mask": mask.copy(), "x": 2.0}) == 1.0
    with pytest.raises(InputError, match=r"params\.inner\.label: .* to stay"):
        relative_change(Outer(np.eye(1), Inner((1.0,))), Outer(np.eye(1), Inner((1.0,), "b")))
    with pytest.raises(InputError, match=r"params\['mask'\]"):
        relative_change({"mask": mask}, {"mask": ~mask})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (1.0, None, "params: expected 1.0 as before, got None"),
        (None, 1.0, "to stay, got 1.0"),
        (1.0, True, "got True"),
        (1.0, "1.0", "got '1.0'"),
        (np.zeros(2), np.zeros(3), r"expected shape \(2,\) as before, got \(3,\)"),
        (np.zeros(2), [0.0, 0.0], "expected an array of shape"),
        ([1.0, 2.0], [1.0], r"sequence of length 2, got list of length 1"),
        ([1.0, 2.0], "ab", "sequence of length 2"),
        ({"a": 1.0}, {"b": 1.0}, r"keys \['a'\], got dict with keys \['b'\]"),
        ({"a": 1.0}, [1.0], "mapping with keys"),
        (Inner((1.0,)), {"weights": (1.0,)}, "expected Inner as before, got dict"),
        ((1.0, {2.0}), (1.0, {2.0}), r"params\[1\]: expected numbers, .* got set.*parameter_change"),
        (np.array([1j]), np.array([1j]), "real numbers, got an array of complex128"),
        (np.array([None]), np.array([None]), "real numbers, got an array of object"),
        (1j, 1j, "got complex"),
        (b"ab", b"ab", "got bytes"),
        (Inner, Inner, "got type"),
    ],
)
def test_what_cannot_be_compared_is_named(old, new, message):
    with pytest.raises(InputError, match=message):
        relative_change(old, new)
