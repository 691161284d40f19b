"""Memory for large arrays: used again once nobody holds it, and never before."""

from __future__ import annotations

import numpy as np
import pytest

from kalman_em import memory
from kalman_em.memory import LARGE_PAGE, empty_arrays

N = 1 << 19


@pytest.fixture(autouse=True)
def _no_spare_pieces():
    memory._spare.clear()
    yield
    memory._spare.clear()


def address(array):
    return array.__array_interface__["data"][0]


def test_arrays_lie_side_by_side_on_large_pages():
    one, other = empty_arrays((N, 2), (7,))
    assert address(one) % LARGE_PAGE == 0
    one[:], other[:] = 1.0, 2.0
    assert np.all(one == 1.0)
    assert np.all(other == 2.0)


def test_memory_comes_again_only_when_no_view_is_left():
    (first,) = empty_arrays((N,))
    where, view = address(first), first[10:20].reshape(2, 5).T
    view[:] = 3.0
    del first
    (second,) = empty_arrays((N,))
    assert address(second) != where
    second[:] = 4.0
    assert np.all(view == 3.0)
    assert len(memory._spare) == 0
    del view
    assert len(memory._spare) == 1
    (third,) = empty_arrays((N,))
    assert address(third) == where


def test_a_piece_is_not_wasted_on_a_much_smaller_array():
    (large,) = empty_arrays((8 * N,))
    where = address(large)
    del large
    (small,) = empty_arrays((N,))
    assert address(small) != where
    (large,) = empty_arrays((8 * N,))
    assert address(large) == where


def test_what_is_kept_for_later_is_bounded(monkeypatch):
    monkeypatch.setattr(memory, "MOST_SPARE", 5 * 8 * N)
    pieces = [empty_arrays((N,)) for _ in range(8)]
    del pieces
    empty_arrays((64 * N,))
    assert sum(piece.nbytes for piece in memory._spare) <= 5 * 8 * N + 65 * 8 * N + 2 * LARGE_PAGE
    assert sum(piece.nbytes < 10 * 8 * N for piece in memory._spare) <= 5
