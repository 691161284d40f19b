"""After a diffuse start whose directions are hardly told apart the filter keeps its digits: beside 60 of them."""

from __future__ import annotations

from decimal import Decimal, localcontext
from itertools import pairwise

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.inference.rows import noise_covs

KAPPA = Decimal(10) ** 25


def a_year_of_weeks(n_steps=70):
    rng = np.random.default_rng(0)
    steps = np.arange(n_steps)
    values = 315.0 + 0.02 * steps + 3.0 * np.cos(2.0 * np.pi * steps * 7 / 365.25) + 0.3 * rng.normal(size=n_steps)
    values[[5, 9, 10, 11]] = np.nan
    return values


def system_and_rows():
    values = a_year_of_weeks()
    panel = kem.Panel([kem.Observations(values[:, None])])
    model = kem.LocalLinearTrend() + kem.Seasonal(365.25 / 7, harmonics=2)
    begun = model.start(model.specify(panel), panel)
    Q = np.diag([0.02, 1e-7, 1e-5, 1e-5, 1e-5, 1e-5])
    return begun.replaced(transition_cov=Q, observation_cov=np.array([[0.085]])), panel.series[0]


def in_many_digits(system, values):
    """Return the log-likelihood, and the filtered means at the end, by the textbook with 60 digits and a huge prior."""
    exact = np.vectorize(Decimal, otypes=[object])
    F, Q = exact(system.transition_matrix), exact(noise_covs(system))
    h, r = exact(system.observation_matrix[0]), Decimal(float(system.observation_cov[0, 0]))
    d = len(h)
    with localcontext() as context:
        context.prec = 60
        pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
        mean, cov = exact(np.zeros(d)), exact(np.eye(d)) * KAPPA
        total = Decimal(0)
        for t, value in enumerate(values):
            if t:
                mean, cov = F @ mean, F @ cov @ F.T + Q
            if np.isnan(value):
                continue
            error, spread = Decimal(float(value)) - h @ mean, h @ cov @ h + r
            total -= ((2 * pi).ln() + spread.ln() + error * error / spread) / 2
            if spread > Decimal(10) ** 15:
                total += KAPPA.ln() / 2
            gain = cov @ h / spread
            mean, cov = mean + gain * error, cov - np.outer(gain, gain) * spread
    return float(total), mean.astype(float)


def test_the_likelihood_keeps_its_digits():
    system, one = system_and_rows()
    expected, mean = in_many_digits(system, one.values[:, 0])
    filtered = kem.kalman_filter(system, one)
    assert filtered.n_diffuse_steps > 5
    assert filtered.log_likelihood == pytest.approx(expected, abs=1e-8)
    deviations = np.sqrt(np.diagonal(filtered.filtered_covs[-1]))
    assert np.max(np.abs(filtered.filtered_means[-1] - mean) / deviations) < 1e-8


def test_the_likelihood_is_smooth_in_the_parameters():
    """A change of the last digits of a variance moves the log-likelihood by as little."""
    system, one = system_and_rows()
    found = [
        kem.kalman_filter(system.replaced(transition_cov=system.transition_cov * (1.0 + k * 1e-13)), one).log_likelihood
        for k in range(6)
    ]
    assert max(abs(b - a) for a, b in pairwise(found)) < 1e-8


def test_em_never_falls_by_rounding():
    values = a_year_of_weeks(160)
    model = kem.LocalLinearTrend() + kem.Seasonal(365.25 / 7, harmonics=2)
    fitted = kem.fit(model, values, stopping=kem.Stopping(max_iterations=60))
    assert str(fitted.em.stop_reason) != "objective_fell"
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-8
