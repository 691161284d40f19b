"""Fits say in which arithmetic they were learnt, and go over to factors of covariances when they need them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.models.leading import rows_of
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.scale import data_scale

NILE = kem.datasets.load("nile")["flow"]
SHORT = kem.Stopping(max_iterations=30)


def two_sensors():
    """Return a model with a vague known start, and data of two sensors that hardly differ."""
    rng = np.random.default_rng(3)
    states = np.cumsum(rng.normal(size=(60, 2)), axis=0)
    H = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-6]])
    values = states @ H.T + 1e-6 * rng.normal(size=(60, 2))
    model = kem.LinearGaussian(
        2,
        2,
        transition_matrix=kem.Fixed(np.eye(2)),
        observation_matrix=kem.Fixed(H),
        observation_cov=kem.Fixed(1e-12 * np.eye(2)),
        transition_cov=kem.Diagonal(),
        initial_mean=kem.Fixed(0),
        initial_cov=kem.Fixed(1e4 * np.eye(2)),
    )
    return model, values


def test_an_ordinary_fit_is_standard_and_says_nothing_of_it():
    fitted = kem.fit(kem.LocalLevel(), NILE)
    assert fitted.numerics == "standard"
    assert fitted.em.switched_at is None
    assert fitted.filter().numerics == fitted.smooth().numerics == "standard"
    assert "square_root" not in str(fitted.summary())


def test_square_roots_as_asked_find_the_same():
    # Step by step: quasi-Newton steps are tried sooner on factors.
    standard, asked = (kem.fit(kem.LocalLevel(), NILE, method="plain", numerics=n) for n in ("auto", "square_root"))
    assert asked.numerics == asked.filter().numerics == asked.smooth().numerics == "square_root"
    assert asked.em.n_iterations == standard.em.n_iterations
    np.testing.assert_allclose(asked.em.log_likelihoods, standard.em.log_likelihoods, rtol=1e-12)
    np.testing.assert_allclose(asked.params.level_cov, standard.params.level_cov, rtol=1e-8)
    assert "Numerics: square_root, as asked." in str(asked.summary())
    assert asked.refit(NILE, stopping=SHORT).numerics == "square_root"
    assert asked.refit(NILE, stopping=SHORT, numerics="standard").numerics == "standard"


def test_a_fit_that_needs_square_roots_takes_them_and_says_so(tmp_path):
    model, values = two_sensors()
    fitted = kem.fit(model, values, stopping=SHORT)
    assert fitted.numerics == "square_root"
    assert fitted.em.switched_at == 0
    assert fitted.em.n_falls == 0
    assert "square-root numerics from the start on" in fitted.em.message
    text = " ".join(str(fitted.summary()).split())
    assert "Numerics: square_root, covariances would have lost their digits." in text
    asked = kem.fit(model, values, stopping=SHORT, numerics="square_root")
    np.testing.assert_array_equal(fitted.em.log_likelihoods, asked.em.log_likelihoods)
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.numerics == "square_root"
    assert loaded.em.switched_at == 0
    assert loaded.log_likelihood == fitted.log_likelihood


def test_a_run_that_has_switched_stays_and_compares_like_with_like():
    calls = []

    class Weakening(LinearGaussianProblem):
        """A problem whose standard E-step gives out after a few calls."""

        def e_step(self, params):
            expectations, log_likelihood = super().e_step(params)
            calls.append(self.numerics)
            if self.numerics == "auto" and len(calls) > 4:
                expectations = replace(expectations, numerics="square_root")
            return expectations, log_likelihood

    model = kem.LocalLevel()
    panel = kem.Panel([kem.Observations(NILE.to_numpy()[:, None], names=("flow",))])
    specification = model.specify(panel)
    problem = Weakening(specification, rows_of(panel, specification), data_scale(panel))
    run = kem.run_em(problem, model.start(specification, panel), stopping=kem.Stopping(max_iterations=12))
    assert run.switched_at == 3
    assert run.n_falls == 0
    assert "square-root numerics from iteration 3 on" in run.message
    # Five by covariances; then all by factors, the iteration before the switch anew.
    assert calls == ["auto"] * 5 + ["square_root"] * 9


@pytest.mark.parametrize("numerics", ["standard", "square_root"])
def test_a_mean_under_a_known_start_is_learnt_alike(numerics):
    model = kem.LinearGaussian(
        1,
        1,
        transition_matrix=kem.Fixed([[0.9]]),
        observation_matrix=kem.Fixed([[1.0]]),
        initial_mean=kem.Full(),
        initial_cov=kem.Fixed([[0.0]]),
    )
    values = np.random.default_rng(1).normal(size=40) + 3.0 * 0.9 ** np.arange(40)
    fitted = kem.fit(model, values, numerics=numerics)
    reference = kem.fit(model, values)
    np.testing.assert_allclose(fitted.params.initial_mean, reference.params.initial_mean, rtol=1e-6)


def test_rounding_that_has_grown_out_of_all_bounds_asks_for_factors():
    """Seasons without a level far from 0: noise of the states 1e-7 of that of the data, with squares below 0."""
    jobs = np.log(kem.datasets.load("us_employment")["nonfarm"])[:96]
    fitted = kem.fit(kem.Seasonal(12), jobs)
    assert fitted.em.switched_at == 0
    assert fitted.em.stop_reason == "converged"
    assert fitted.params.seasonal_cov.item() == 0.0
    # The log-likelihood that statsmodels' optimiser reaches.
    assert fitted.log_likelihood == pytest.approx(-367.38132, abs=1e-5)
