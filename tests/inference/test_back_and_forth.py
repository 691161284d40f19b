"""The parts of filter and smoother that take turns: diffuse rows and regular ones, ample noise and scarce noise."""

from __future__ import annotations

import numpy as np
import pytest
from support.systems import random_observations, random_system

from kalman_em.inference import filtering, smoothing_loop
from kalman_em.inference.expectations import expect_filtered
from kalman_em.inference.filtering import filter_all, log_likelihood_of
from kalman_em.inference.rows import lay, stack_rows
from kalman_em.inference.smoothing import smooth_all

T = 300


def same(actual, expected, scale=0.0):
    scale = max(np.abs(expected).max(initial=0.0), scale)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-11 * scale)


def everything(laid, rows):
    """Return all that filter, smoother and sums of EM give, and the sizes against which rounding counts."""
    filtered = filter_all(laid, rows)
    smoothed, sums = smooth_all(laid, rows.starts, filtered), expect_filtered(laid, rows, filtered)
    found = [filtered.log_likelihoods, filtered.filtered_means, smoothed.smoothed_means]
    found += [filtered.at_rows(covs) for covs in (filtered.predicted_covs, filtered.filtered_covs)]
    found += [smoothed.smoothed_covs.at_rows(), smoothed.lag_one_covs.at_rows()]
    parts = [getattr(part, name) for part in (sums.transition, sums.observation) for name in ("residual", "cross")]
    return found, [*parts, sums.transition.regressor, sums.initial_means, sums.initial_covs]


@pytest.mark.parametrize("diffuse", [1, 2])
def test_series_with_diffuse_starts_are_in_a_panel_what_they_are_alone(diffuse):
    rng = np.random.default_rng([1, diffuse])
    system = random_system(rng, 3, 1, T, diffuse=diffuse)
    series = [random_observations(rng, system, n, missing=m) for n, m in ((40, 0.0), (25, 0.3), (T, 0.0))]
    panel = stack_rows(series)
    found, sums = everything(lay(system, panel), panel)
    alone = [everything(lay(system, rows), rows) for rows in (stack_rows([one]) for one in series)]
    for k, whole in enumerate(found):
        same(whole, np.concatenate([one[0][k] for one in alone]))
    # Nothing frozen, the tables have an entry a row, yet not in the order of the rows.
    full = filter_all(lay(system, panel), panel, freezes=False)
    assert len(full.filtered_covs) == panel.n_rows
    same(full.at_rows(full.filtered_covs), found[4])
    same(sums[0].sum(axis=0), sum(one[1][0].sum(axis=0) for one in alone), scale=T)
    total = sum(one[0][0].sum() for one in alone)
    assert log_likelihood_of(lay(system, panel), panel) == pytest.approx(total, rel=1e-11)


def scarce_for_a_while(rng, d):
    """Return a system without much noise from row 100 to 120, and observations."""
    system = random_system(rng, d, 2, T, varying="Q")
    noise = system.transition_cov.copy()
    noise[100:120] *= 1e-6
    return system.replaced(transition_cov=noise), random_observations(rng, system, T, missing=0.2)


@pytest.mark.parametrize("d", [2, 4, 5])
def test_where_noise_is_scarce_the_general_form_takes_over_and_gives_back(d, monkeypatch):
    turns = []

    def counted(name):
        kernel = getattr(smoothing_loop, name)

        def called(*arguments):
            turns.append(name)
            return kernel(*arguments)

        return called

    for name in ("smooth_plainly", "smooth_generally"):
        monkeypatch.setattr(smoothing_loop, name, counted(name))
    system, observed = scarce_for_a_while(np.random.default_rng([2, d]), d)
    rows = stack_rows([observed, observed])
    laid = lay(system, rows)
    found, sums = everything(laid, rows)
    assert turns[:5] == ["smooth_plainly", "smooth_generally", "smooth_plainly", "smooth_generally", "smooth_plainly"]
    turns.clear()
    # Without a part of the spread that is enough, no noise is ample.
    monkeypatch.setattr(filtering, "LOSSLESS", np.inf)
    expected, expected_sums = everything(laid, rows)
    assert set(turns) == {"smooth_generally"}
    for one, other in zip(found, expected, strict=True):
        same(one, other)
    for one, other in zip(sums, expected_sums, strict=True):
        same(one, other, scale=1.0)
