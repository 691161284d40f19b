"""Which series may be learnt at once."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.models.stacked_forms import can_be_stacked


@pytest.mark.parametrize(
    ("first", "noise", "together"),
    [(np.diag([1.0, 0.0]), 0.0, False), (np.diag([1.0, 0.0]), 1.0, True), (np.eye(2), 0.0, True)],
    ids=["singular P, exact reading", "singular P", "exact reading"],
)
def test_a_mean_that_exact_readings_leave_less_freedom_is_learnt_one_series_at_a_time(first, noise, together):
    model = kem.LinearGaussian(
        2,
        1,
        transition_matrix=kem.Fixed(0.5 * np.eye(2)),
        observation_matrix=kem.Fixed([[1.0, 1.0]]),
        observation_cov=kem.Fixed([[noise]]),
        initial_mean=kem.Full(),
        initial_cov=kem.Fixed(first),
    )
    panel = kem.Panel([kem.Observations(np.random.default_rng(0).normal(size=(20, 1)))])
    specification = model.specify(panel)
    assert can_be_stacked(specification, model.start(specification, panel)) is together
