"""The crosscheck of fits whose numbers have names, are shared, or scale what varies in time."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em import Fixed, Known, Pattern, Scaled

LEVEL = {"transition_matrix": Fixed([[1.0]]), "observation_matrix": Fixed([[1.0]])}
FORMS = {
    "names, and a factor over time": {
        "transition_offset": Pattern(["u"]),
        "transition_cov": Pattern([["q"]]),
        "observation_cov": Scaled(Known(np.linspace(1.0, 2.0, 100)[:, None]), name="factor"),
    },
    "a name in matrix and offset": {
        "transition_matrix": Pattern([["a"]]),
        "transition_offset": Pattern(["1000-1000*a"]),
    },
    "a climbed covariance": {"transition_cov": Pattern([["100+q"]])},
}


@pytest.mark.parametrize("name", FORMS)
def test_statsmodels_climbs_in_the_free_numbers_and_agrees(name):
    nile = kem.datasets.load("nile")["flow"]
    fitted = kem.fit(kem.LinearGaussian(1, 1, **(LEVEL | FORMS[name])), nile)
    check = fitted.crosscheck()
    assert "agrees" in str(check)
    assert abs(check.statsmodels_log_likelihood - fitted.log_likelihood) < 1e-5
    for number in fitted.specification.names:
        ours, theirs = check.parameter_differences.loc[number, ["ours", "statsmodels"]]
        assert ours == float(fitted.params[number])
        assert theirs == pytest.approx(ours, rel=1e-3)
        assert theirs != ours


def test_a_block_of_one_variance_and_one_covariance_agrees():
    rng = np.random.default_rng(0)
    states = rng.normal(size=(80, 2)).cumsum(axis=0)
    seen = states + rng.multivariate_normal([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]], 80)
    model = kem.LinearGaussian(
        2,
        2,
        transition_matrix=Fixed(np.eye(2)),
        observation_matrix=Fixed(np.eye(2)),
        transition_cov=kem.Isotropic(),
        observation_cov=Pattern([["v", "c"], ["c", "v"]]),
    )
    check = kem.fit(model, seen).crosscheck()
    assert "agrees" in str(check)
    assert {"v", "c"} <= set(check.parameter_differences.index)
