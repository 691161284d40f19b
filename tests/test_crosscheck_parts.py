"""The parts of the crosscheck by themselves: the basis counted by hand, the same system in statsmodels, coordinates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.systems import random_observations, random_system

import kalman_em as kem
from kalman_em import Diagonal, Fixed, Isotropic
from kalman_em.crosscheck import CrossCheck
from kalman_em.crosscheck.check import _listed
from kalman_em.crosscheck.coordinates import LEAST_DEVIATION, covariance_members
from kalman_em.crosscheck.identification import free_basis_dimension
from kalman_em.crosscheck.outside import OutsideModel
from kalman_em.crosscheck.own_start import own_start
from kalman_em.crosscheck.smoothing import _deviations


def dimension(**forms):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40, 3)).cumsum(axis=0)
    p = forms.pop("obs_dim", 3)
    panel = kem.Panel([kem.Observations(values[:, :p])])
    model = kem.LinearGaussian(2, p, **forms)
    specification = model.specify(panel)
    return free_basis_dimension(specification, model.start(specification, panel))


@pytest.mark.parametrize(
    ("forms", "expected"),
    [
        ({}, 4),
        # AF = FA: with distinct eigenvalues A is diagonal too.
        ({"transition_matrix": Fixed(np.diag([0.9, 0.5]))}, 2),
        ({"transition_matrix": Fixed([[0.9, 1.0], [0.0, 0.9]])}, 2),
        ({"transition_matrix": Fixed(0.7 * np.eye(2))}, 4),
        # A + A' = 0: rotations.
        ({"transition_cov": Fixed(np.eye(2))}, 1),
        # AQ + QA' diagonal: one equation.
        ({"transition_cov": Diagonal()}, 3),
        # HA = 0: the first row of A is 0.
        ({"observation_matrix": Fixed([[1.0, 0.0]]), "obs_dim": 1}, 2),
        ({"observation_matrix": Fixed(np.eye(3)[:, :2])}, 0),
        # A b = 0, and A m = 0.
        ({"transition_offset": Fixed([1.0, 2.0])}, 2),
        ({"transition_offset": Fixed([0.0, 0.0])}, 4),
        ({"initial_mean": Fixed([1.0, 2.0]), "initial_cov": Fixed(np.eye(2))}, 2),
        # The first row of A is 0, and the second orthogonal to b.
        ({"observation_matrix": Fixed([[1.0, 0.0]]), "transition_offset": Fixed([1.0, 2.0]), "obs_dim": 1}, 1),
        # Diagonal A of F and rotations of Q have nothing in common.
        ({"transition_matrix": Fixed(np.diag([0.9, 0.5])), "transition_cov": Fixed(np.eye(2))}, 0),
    ],
    ids=str,
)
def test_the_directions_that_forms_leave_free(forms, expected):
    assert dimension(**forms) == expected


@pytest.mark.parametrize(
    "options",
    [{}, {"varying": "all", "input_dim": 1}, {"diffuse": 1}, {"diffuse": [0, 2]}, {"noise_dim": 1}, {"exact_rows": 1}],
    ids=str,
)
def test_the_same_system_outside_in_other_units(options):
    rng = np.random.default_rng(1)
    system = random_system(rng, 3, 2, 12, **options)
    one = random_observations(rng, system, 12, missing=0.3)
    expected = kem.kalman_filter(system, one).log_likelihood
    for unit in (None, np.array([10.0, 0.5])):
        outside = OutsideModel(system, one, unit=unit)
        assert outside.ssm.loglike() + outside.jacobian == pytest.approx(expected, rel=1e-9)


def test_a_series_and_its_siblings_add_up():
    rng = np.random.default_rng(2)
    system = random_system(rng, 2, 1, 9)
    series = [random_observations(rng, system, 9) for _ in range(3)]
    siblings = [OutsideModel(system, one) for one in series[1:]]
    first = OutsideModel(system, series[0], siblings=siblings)
    expected = sum(kem.kalman_filter(system, one).log_likelihood for one in series)
    assert first.loglike(np.zeros(0)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("form", [Diagonal(), kem.Full()], ids=str)
def test_a_variance_of_zero_starts_at_a_part_of_the_usual_one(form):
    size, members = covariance_members(form, np.diag([0.0, 4.0]), np.array([10.0, 1.0]))
    np.testing.assert_allclose(members(np.zeros(size)), np.diag([(10.0 * LEAST_DEVIATION) ** 2, 4.0]), atol=1e-12)


def test_coordinates_are_logarithms_of_deviations():
    size, members = covariance_members(Diagonal(), np.diag([1.0, 4.0]), np.ones(2))
    assert size == 2
    np.testing.assert_allclose(members(np.array([1.0, -0.5])), np.diag([np.exp(2.0), 4.0 * np.exp(-1.0)]))
    size, members = covariance_members(Isotropic(), 3.0 * np.eye(2), np.ones(2))
    assert size == 1
    np.testing.assert_allclose(members(np.array([0.5])), 3.0 * np.exp(1.0) * np.eye(2))


def test_the_own_start_has_the_level_of_the_data_in_the_offset_or_in_the_state():
    values = 100.0 + np.random.default_rng(3).normal(size=(50, 2))
    panel = kem.Panel([kem.Observations(values)])
    options = {"observation_matrix": Fixed(np.eye(2)), "initial_mean": kem.Full(), "initial_cov": Fixed(np.eye(2))}
    for offset, state in ((kem.Full(), 0.0), (Fixed(0), 100.0), (Fixed([90.0, 80.0]), 100.0)):
        specification = kem.LinearGaussian(2, 2, observation_offset=offset, **options).specify(panel)
        start = own_start(specification, panel)
        np.testing.assert_allclose(start.initial_mean, state, atol=1.0)
        if isinstance(offset, kem.Full):
            np.testing.assert_allclose(start.observation_offset, values.mean(axis=0))


def test_smoothed_deviations_are_roots_and_never_rounding_alone():
    covs = np.array([[[4.0, 0.0], [0.0, 1e-30]], [[9.0, 0.0], [0.0, 0.0]]])
    smoothed = kem.SmoothedStates(
        smoothed_means=np.array([[0.0, 5.0], [0.0, 2.0]]), smoothed_covs=covs, lag_one_covs=np.zeros((1, 2, 2))
    )
    np.testing.assert_allclose(_deviations(smoothed), [[2.0, 5e-6], [3.0, 5e-6]])


def report(**changes):
    """Return a comparison that agrees, with anything changed."""
    same = {
        "model": "LocalLevel",
        "version": "0",
        "log_likelihood": -100.0,
        "statsmodels_log_likelihood": -100.0,
        "largest_mean_difference": 0.0,
        "largest_mean_difference_in_sd": 0.0,
        "largest_cov_difference": 0.0,
        "from_our_estimates": -100.0,
        "from_own_start": -100.0,
        "converged_from_our_estimates": True,
        "converged_from_own_start": True,
        "iterations_from_our_estimates": 1,
        "iterations_from_own_start": 1,
        "own_start": "anything",
        "free_basis": 0,
        "compared": "from its own start",
        "statsmodels_params": {},
        "parameter_differences": pd.DataFrame(),
    }
    return CrossCheck(**same | changes)


@pytest.mark.parametrize(
    ("names", "words"),
    [("a", "a is"), ("ab", "a and b are"), ("abc", "a, b and c are")],
)
def test_the_verb_agrees(names, words):
    assert _listed(list(names)) == words


@pytest.mark.parametrize(
    ("changes", "agrees", "words"),
    [
        ({}, True, "and statsmodels finds nothing higher (0)"),
        ({"from_own_start": -100.0009}, True, "and statsmodels finds nothing higher (0)"),
        ({"from_own_start": -99.9995}, True, "and statsmodels finds nothing higher (+5e-04)"),
        ({"from_own_start": -105.0}, True, "from its own start statsmodels stops lower by 5"),
        (
            {"from_own_start": -105.0, "converged_from_own_start": False},
            True,
            "from its own start statsmodels stops lower by 5, not converged",
        ),
        ({"from_own_start": np.nan}, True, "from our estimates statsmodels finds nothing higher (0)"),
        (
            {"from_own_start": -99.0},
            False,
            "our fit is at or near a lower maximum; refit with n_starts or start=crosscheck.statsmodels_params",
        ),
        (
            {"from_our_estimates": -99.0},
            False,
            "not at the maximum; refit with more iterations, tighter tolerances or start=crosscheck.statsmodels_params",
        ),
        ({"statsmodels_log_likelihood": -100.1}, False, "the log-likelihoods at our estimates differ by 0.001"),
        ({"largest_cov_difference": 1e-3}, False, "standard deviations and covariances by 0.001 relative"),
        ({"unavailable": "no form"}, True, "optima not compared (no form)"),
        ({"not_comparable": "no maximum"}, False, "not comparable: no maximum"),
        ({"stopped": "max_iterations"}, True, "(our EM stopped at max_iterations)"),
    ],
)
def test_verdicts(changes, agrees, words):
    found = report(**changes)
    assert found.agrees is agrees
    assert words in found.verdict
    assert found.verdict.startswith("agrees") is agrees


@pytest.mark.parametrize(("rank", "expected"), [(1, 0), (2, 0)])
def test_states_that_start_at_zero_take_no_part_of_those_that_start_diffuse(rank, expected):
    panel = kem.Panel([kem.Observations(np.random.default_rng(0).normal(size=(12, 3)).cumsum(axis=0))])
    common = kem.LocalLevel(level_cov=kem.LowRank(rank), observation_cov=Diagonal())
    specification = common.specify(panel)
    assert free_basis_dimension(specification, common.start(specification, panel)) == expected
