"""The E-step in shares of the series: the sums of all at once, whatever the number of threads, to the last bit."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.inference import shares
from kalman_em.inference.e_step import expect_by
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.inference.shares import expect_shared, shares_of

SYSTEM = kem.LinearGaussianSystem(
    transition_matrix=[[0.9, 0.3], [0.0, 0.7]],
    transition_cov=[[0.5, 0.1], [0.1, 0.4]],
    observation_matrix=[[1.0, 0.0], [0.5, 1.0]],
    observation_cov=[[0.8, 0.3], [0.3, 0.6]],
    initial_mean=[0.5, -0.2],
    initial_cov=[[1.0, 0.2], [0.2, 2.0]],
)


def panel_rows(monkeypatch, n_leading=0):
    """Return the rows of series of many lengths, some of them with gaps of a kind that no other has."""
    monkeypatch.setattr(shares, "FEWEST_ROWS", 40)
    rng = np.random.default_rng(3)
    series = []
    for k, length in enumerate((31, 5, 80, 17, 60, 22, 45, 3)):
        values = rng.normal(size=(length, 2))
        if k in (1, 4):
            values[rng.random(length) < 0.3, 0] = np.nan
        if k == 6:
            values[4:9] = np.nan
        values[:n_leading] = np.nan
        series.append(kem.Observations(values))
    return stack_rows(series, n_leading)


def moments(sums):
    return sums.residual, sums.cross, sums.regressor, sums.count


@pytest.mark.parametrize("n_leading", [0, 1])
def test_shares_add_up_to_the_whole(monkeypatch, n_leading):
    rows = panel_rows(monkeypatch, n_leading)
    parts = shares_of(rows)
    assert len(parts) > 3
    assert sum(part.n_series for part in parts) == rows.n_series
    whole, log_likelihood = expect_by(lay(SYSTEM, rows), rows)
    found, total = expect_shared(SYSTEM, rows, parts)
    assert np.isclose(total, log_likelihood, rtol=1e-12)
    for one, other in zip(moments(found.transition), moments(whole.transition), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.initial_means, whole.initial_means, rtol=1e-12)
    np.testing.assert_allclose(found.initial_covs, whole.initial_covs, rtol=1e-12)
    assert {tuple(row) for row in found.observed} == {tuple(row) for row in whole.observed}
    for k, seen in enumerate(whole.observed):
        (same,) = np.flatnonzero((found.observed == seen).all(axis=1))
        for one, other in zip(moments(found.observation), moments(whole.observation), strict=True):
            np.testing.assert_allclose(one[same], other[k], rtol=1e-10, atol=1e-10)


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    rows = panel_rows(monkeypatch)
    parts = shares_of(rows)
    alone, log_likelihood = expect_shared(SYSTEM, rows, parts, n_threads=1)
    for n_threads in (2, 3):
        found, total = expect_shared(SYSTEM, rows, parts, n_threads=n_threads)
        assert total == log_likelihood
        for kind in ("transition", "observation"):
            both = zip(moments(getattr(found, kind)), moments(getattr(alone, kind)), strict=True)
            assert all(np.array_equal(one, other) for one, other in both)
        names = {entry.name for entry in fields(found)} - {"transition", "observation", "numerics"}
        assert all(np.array_equal(getattr(found, name), getattr(alone, name)) for name in names)


def test_an_impossible_value_is_named_by_its_place_in_the_whole(monkeypatch):
    rows = panel_rows(monkeypatch)
    certain = SYSTEM.replaced(
        transition_cov=np.zeros((2, 2)), observation_cov=np.zeros((2, 2)), initial_cov=np.zeros((2, 2))
    )
    one = stack_rows([kem.Observations(np.tile([[0.5, 0.05]], (1, 1)))] * 99 + [kem.Observations([[7.0, 7.0]])])
    with pytest.raises(kem.NumericalError, match="row 0 of series 99"):
        expect_shared(certain, one, shares_of(one), "standard", n_threads=2)
    assert rows.n_series == 8


def test_few_rows_or_one_series_are_not_shared_out():
    rows = stack_rows([kem.Observations(np.zeros((100_000, 1)))])
    assert shares_of(rows) == [rows]
    rows = stack_rows([kem.Observations(np.zeros((100, 1)))] * 20)
    assert shares_of(rows) == [rows]
