"""The lower bound of every iteration, for state spaces where it is asked for."""

import numpy as np
import pytest

import kalman_em as kem


def test_a_state_space_keeps_its_bound_where_it_is_asked_to(tmp_path):
    flows = kem.datasets.load("nile")["flow"]
    model = kem.LocalLevel()
    plain, kept = (kem.fit(model, flows, record_bound=wanted) for wanted in (False, True))
    assert plain.em.bound_history is None
    np.testing.assert_array_equal(kept.em.log_likelihoods, plain.em.log_likelihoods)
    assert kept.em.kl_gaps.min() > -1e-8
    assert kept.em.kl_gaps.max() > 1e-6
    assert (kept.em.bound_history - kept.em.log_likelihoods[:-1]).min() > -1e-8
    kept.save(tmp_path / "kept.json")
    np.testing.assert_array_equal(kem.load(tmp_path / "kept.json").em.bound_history, kept.em.bound_history)
    with pytest.raises(kem.InputError, match="record_bound=True"):
        _ = plain.em.kl_gaps


def test_a_mean_that_moves_where_its_covariance_is_known_to_be_zero_has_no_finite_bound():
    flows = kem.datasets.load("nile")["flow"]
    model = kem.LinearGaussian(1, 1, observation_matrix=kem.Fixed([[1.0]]))
    fitted = kem.fit(model, flows, record_bound=True, stopping=kem.Stopping(max_iterations=3))
    # Under the old mean the first state was certain, and not what the new one says: the M-step is one of ECME.
    assert np.all(fitted.em.bound_history == -np.inf)
    assert np.isfinite(fitted.em.log_likelihoods).all()
