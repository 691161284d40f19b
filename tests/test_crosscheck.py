"""The crosscheck with statsmodels: agrees where we are right, says so where a fit is not at the maximum."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from support.reference import statsmodels_smoother

import kalman_em as kem
from kalman_em.crosscheck import CrossCheck, crosscheck
from kalman_em.crosscheck.check import _compared
from kalman_em.crosscheck.coordinates import coordinates, covariance_members
from kalman_em.crosscheck.identification import free_basis_dimension
from kalman_em.crosscheck.outside import Climb
from kalman_em.crosscheck.own_start import own_start
from kalman_em.leaves import leaf

TIGHT = kem.Stopping(max_iterations=3000, relative_tolerance=1e-12)


@pytest.fixture(scope="module")
def nile():
    return kem.datasets.load("nile")["flow"]


def trend_like(seed, n_steps, p, missing=0.0):
    rng = np.random.default_rng(seed)
    levels = np.cumsum(rng.standard_normal((n_steps, p)), axis=0)
    values = 100.0 + levels + 1.5 * rng.standard_normal((n_steps, p))
    values[rng.random(values.shape) < missing] = np.nan
    return values


def check_same_point(found):
    assert found.relative_difference < 1e-8
    assert found.largest_mean_difference_in_sd < 1e-7
    assert found.largest_cov_difference < 1e-7
    assert found.has_same_likelihood
    assert found.has_same_smoother


def check_agrees(found):
    check_same_point(found)
    assert found.agrees, found.verdict
    assert found.verdict.startswith("agrees: same likelihood")
    assert found.gain < 1e-3
    for line in str(found).splitlines():
        assert len(line) <= 80


def test_nile_with_a_diffuse_start(nile):
    found = kem.fit(kem.LocalLevel(), nile).crosscheck()
    check_agrees(found)
    # Durbin and Koopman 2012, section 2.10: 1469.1 and 15098.5.
    table = found.parameter_differences
    assert table.index.tolist() == ["level_cov", "observation_cov"]
    assert table.loc["level_cov", "statsmodels"] == pytest.approx(1469.1, rel=1e-3)
    assert table.loc["observation_cov", "statsmodels"] == pytest.approx(15098.5, rel=1e-3)
    assert table["relative"].max() < 1e-3
    assert found.compared == "from its own start"
    assert found.from_own_start == pytest.approx(-633.464563, abs=1e-5)
    assert found.converged_from_own_start
    assert found.iterations_from_own_start > 3
    assert found.free_basis == 0


def test_nile_with_a_prior(nile):
    model = kem.LocalLevel(initial_mean=kem.Fixed([1120.0]), initial_cov=kem.Fixed([[1e6]]))
    found = kem.fit(model, nile, stopping=TIGHT).crosscheck()
    check_agrees(found)
    assert found.from_own_start == pytest.approx(found.log_likelihood, abs=1e-4)
    assert found.parameter_differences["relative"].max() < 1e-3


def test_nile_with_missing_years_in_other_units(nile):
    gappy = nile.astype(float).copy()
    gappy.iloc[20:40] = np.nan
    gappy.iloc[60:80] = np.nan
    found = kem.fit(kem.LocalLevel(), gappy, stopping=TIGHT).crosscheck()
    check_agrees(found)
    scaled = kem.fit(kem.LocalLevel(), 1e6 * gappy, stopping=TIGHT).crosscheck()
    check_agrees(scaled)
    # 60 values less the one that the diffuse start, in units of the state, takes.
    assert scaled.from_own_start - found.from_own_start == pytest.approx(-59 * np.log(1e6), abs=1e-4)


def test_a_fit_stopped_early_is_found_out(nile):
    start = {"level_cov": [[20.0]], "observation_cov": [[4e4]]}
    fitted = kem.fit(kem.LocalLevel(), nile, start=start, stopping=kem.Stopping(max_iterations=1))
    found = fitted.crosscheck()
    check_same_point(found)
    assert not found.agrees
    assert found.gain == pytest.approx(-633.464563 - fitted.log_likelihood, abs=1e-5)
    assert found.gain > 1.0
    assert "statsmodels reaches a log-likelihood higher by" in found.verdict
    assert "our fit is not at the maximum" in found.verdict
    assert found.parameter_differences["relative"].max() > 0.5
    better = fitted.refit(nile, start=found.statsmodels_params)
    assert better.em.log_likelihoods[0] == pytest.approx(-633.464563, abs=1e-5)
    assert better.crosscheck().agrees


def test_a_climb_that_is_cut_off_is_reported(nile):
    found = kem.fit(kem.LocalLevel(), nile).crosscheck(max_iterations=1)
    assert not found.converged_from_own_start
    assert found.iterations_from_own_start == 1
    assert "1, not converged" in str(found)
    assert found.agrees


def test_local_linear_trend():
    rng = np.random.default_rng(3)
    slope = np.cumsum(0.1 * rng.standard_normal(120))
    values = np.cumsum(slope + 0.3 * rng.standard_normal(120)) + rng.standard_normal(120)
    found = kem.fit(kem.LocalLinearTrend(), values, stopping=TIGHT).crosscheck()
    check_agrees(found)
    assert len(found.parameter_differences) == 3
    assert found.notes == ()


def test_bivariate_level_with_partly_missing_rows():
    found = kem.fit(kem.LocalLevel(), trend_like(4, 80, 2, missing=0.2), stopping=TIGHT).crosscheck()
    check_agrees(found)
    labels = found.parameter_differences.index.tolist()
    assert labels[:3] == ["level_cov[0, 0]", "level_cov[1, 0]", "level_cov[1, 1]"]
    assert len(labels) == 6
    assert found.parameter_differences["relative"].max() < 1e-2


@pytest.mark.parametrize("form", [kem.Diagonal(), kem.Isotropic()], ids=str)
def test_restricted_covariances(form):
    model = kem.LocalLevel(level_cov=form, observation_cov=form)
    found = kem.fit(model, trend_like(5, 60, 2), stopping=TIGHT).crosscheck()
    check_agrees(found)
    assert len(found.parameter_differences) == 4
    if isinstance(form, kem.Isotropic):
        theirs = found.parameter_differences["statsmodels"]
        assert theirs["level_cov[0, 0]"] == theirs["level_cov[1, 1]"]


def known_loadings(**options):
    H = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    return kem.LinearGaussian(2, 3, observation_matrix=kem.Fixed(H), **options)


def driven(seed, n_steps, noise=(0.3, 0.3)):
    """Return values (T, 3) and inputs (T, 2) of a system with inputs and offsets."""
    rng = np.random.default_rng(seed)
    system = kem.LinearGaussianSystem(
        transition_matrix=[[0.8, 0.2], [0.0, 0.6]],
        transition_input=[[0.5, 0.0], [0.0, 0.4]],
        transition_cov=np.diag(noise),
        observation_matrix=[[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]],
        observation_offset=[5.0, -3.0, 0.0],
        observation_input=[[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]],
        observation_cov=np.diag([0.4, 0.5, 0.6]),
        initial_mean=np.zeros(2),
        initial_cov=np.eye(2),
    )
    inputs = rng.standard_normal((n_steps, 2))
    values = np.array(kem.simulate(system, n_steps, rng, inputs=inputs).values)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values, inputs


def test_inputs_offsets_and_fixed_matrices():
    values, inputs = driven(6, 120)
    model = known_loadings(
        transition_input=kem.Full(),
        observation_offset=kem.Full(),
        observation_input=kem.Fixed([[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]]),
        transition_cov=kem.Diagonal(),
        observation_cov=kem.Diagonal(),
        initial_mean=kem.Fixed(0),
        initial_cov=kem.Fixed(np.eye(2)),
    )
    found = kem.fit(model, values, inputs=inputs, stopping=TIGHT).crosscheck()
    check_agrees(found)
    assert found.from_own_start == pytest.approx(found.log_likelihood, abs=1e-3)
    assert {label.partition("[")[0] for label in found.parameter_differences.index} == {
        "transition_matrix",
        "transition_input",
        "transition_cov",
        "observation_offset",
        "observation_cov",
    }
    assert found.parameter_differences["relative"].max() < 0.02
    assert found.free_basis == 0


def test_noise_selection_and_a_learnt_initial_state():
    # A smooth trend: noise enters the slope alone, and the first state is learnt.
    values = trend_like(7, 80, 1)
    model = kem.LinearGaussian(
        2,
        1,
        transition_matrix=kem.Fixed([[1.0, 1.0], [0.0, 1.0]]),
        noise_selection=[[0.0], [1.0]],
        observation_matrix=kem.Fixed([[1.0, 0.0]]),
        initial_mean=kem.Full(),
        initial_cov=kem.Fixed(np.diag([1.0, 0.1])),
    )
    found = kem.fit(model, values, stopping=TIGHT).crosscheck()
    check_agrees(found)
    assert found.parameter_differences.index.tolist()[0] == "transition_cov"
    assert len(found.parameter_differences) == 4


def test_the_prior_one_step_before():
    values = trend_like(8, 60, 1, missing=0.1)
    options = {
        "transition_matrix": kem.Fixed([[1.0]]),
        "observation_matrix": kem.Fixed(np.ones((60, 1, 1))),
        "initial_mean": kem.Fixed([100.0]),
        "initial_cov": kem.Fixed([[0.5]]),
    }
    before = kem.fit(kem.LinearGaussian(1, 1, initial_step="before", **options), values, stopping=TIGHT)
    check_agrees(before.crosscheck())
    assert before.log_likelihood != kem.fit(kem.LinearGaussian(1, 1, **options), values).log_likelihood


def test_a_panel_shares_its_parameters():
    first, second = trend_like(9, 70, 1, missing=0.1), trend_like(10, 40, 1)
    panel = kem.Panel([kem.Observations(first), kem.Observations(second)], keys=["a", "b"])
    fitted = kem.fit(kem.LocalLevel(), panel, stopping=TIGHT)
    found = fitted.crosscheck()
    check_agrees(found)
    alone = [statsmodels_smoother(fitted.system, one).llf for one in panel]
    assert found.statsmodels_log_likelihood == pytest.approx(sum(alone), rel=1e-12)
    assert found.from_own_start == pytest.approx(found.log_likelihood, abs=1e-4)
    assert found.parameter_differences["relative"].max() < 1e-2


@pytest.fixture(scope="module")
def everything_free():
    values, _ = driven(11, 100)
    known_start = kem.Fixed(np.eye(2))
    model = kem.LinearGaussian(2, 3, observation_offset=kem.Full(), initial_cov=known_start)
    return kem.fit(model, values, stopping=kem.Stopping(max_iterations=1500))


def test_a_free_basis_is_named(everything_free):
    found = everything_free.crosscheck(max_iterations=40)
    check_same_point(found)
    assert found.free_basis == 4
    assert "without end" in found.notes[0]
    assert "basis of the states is free in 4 directions" in " ".join(str(found).split())
    assert found.gain == max(found.from_our_estimates, found.from_own_start) - found.statsmodels_log_likelihood
    assert len(found.parameter_differences) == 4 + 3 + 6 + 3 + 6 + 2


def test_known_loadings_leave_no_free_basis(everything_free):
    values, _ = driven(11, 60)
    for model, expected in [
        (known_loadings(), 0),
        (kem.LinearGaussian(2, 3, transition_cov=kem.Fixed(np.eye(2))), 1),  # rotations alone
        (kem.LinearGaussian(2, 3, transition_cov=kem.Diagonal()), 3),  # and the two units
        (kem.LinearGaussian(2, 3, transition_matrix=kem.Diagonal()), 2),
        (kem.LinearGaussian(2, 3, initial_mean=kem.Fixed([1.0, 0.0])), 2),
    ]:
        fitted = kem.fit(model, values, stopping=kem.Stopping(max_iterations=3))
        assert free_basis_dimension(fitted.specification, fitted.system) == expected


def test_matrices_that_vary_in_time_beside_a_diffuse_start():
    rng = np.random.default_rng(12)
    steps = rng.uniform(0.2, 2.0, size=49)
    F = np.array([[[1.0, dt], [0.0, 1.0]] for dt in steps])
    values = trend_like(13, 50, 1)
    values[[0, 3]] = np.nan
    model = kem.LinearGaussian(
        2,
        1,
        transition_matrix=kem.Fixed(F),
        observation_matrix=kem.Fixed([[1.0, 0.0]]),
        transition_cov=kem.Diagonal(),
        initial_cov=kem.Diffuse(),
    )
    found = kem.fit(model, values, stopping=TIGHT).crosscheck()
    check_same_point(found)
    # Without leaving those rows out, the means would differ by much more than rounding.
    assert "Smoothed moments of 3 rows are not compared" in found.notes[0]
    assert found.agrees, found.verdict


def test_small_loadings_beside_a_diffuse_start_are_no_false_alarm():
    values = 1e-7 * trend_like(14, 50, 1)
    options = {"transition_matrix": kem.Fixed([[1.0]]), "initial_cov": kem.Diffuse()}
    small = kem.fit(kem.LinearGaussian(1, 1, observation_matrix=kem.Fixed([[1e-7]]), **options), values, stopping=TIGHT)
    found = small.crosscheck()
    check_agrees(found)
    assert "loadings are of size one" in found.notes[0]
    # Left alone, statsmodels sees no loading at all.
    (one,) = small.panel
    assert statsmodels_smoother(small.system, one).llf != pytest.approx(small.log_likelihood, abs=1.0)


def test_a_variance_of_exactly_zero_is_a_start_like_any_other():
    rng = np.random.default_rng(15)
    for values, is_zero in [(3.0 + rng.standard_normal(80), True), (trend_like(16, 80, 1), False)]:
        fitted = kem.fit(kem.LocalLevel(), values, stopping=TIGHT)
        noise = [[np.var(values, ddof=1)]] if is_zero else fitted.params.observation_cov
        system = dataclasses.replace(fitted.system, transition_cov=[[0.0]], observation_cov=noise)
        found = dataclasses.replace(fitted, em=dataclasses.replace(fitted.em, params=system)).crosscheck()
        check_same_point(found)
        assert found.agrees == is_zero, found.verdict
        if is_zero:
            assert found.from_our_estimates == pytest.approx(found.log_likelihood, abs=1e-3)
            assert "transition_cov is all but singular" in found.notes[0]
        else:
            assert found.from_our_estimates == pytest.approx(fitted.log_likelihood, abs=1e-5)
            assert found.from_our_estimates > found.log_likelihood + 1.0


@dataclasses.dataclass(frozen=True)
class EqualVariances:
    """A form that the crosscheck has never heard of: one variance and one covariance."""

    def most_likely(self, scatter):
        dim = len(scatter)
        variance = np.trace(scatter) / dim
        shared = (scatter.sum() - np.trace(scatter)) / (dim * (dim - 1))
        return np.full((dim, dim), shared) + (variance - shared) * np.eye(dim)

    def n_free_in_covariance(self, dim):
        return 2

    def check_covariance(self, dim, name):
        pass


class NotItsOwnMember(EqualVariances):
    """A form whose M-step does not return a member of the form when given one."""

    def most_likely(self, scatter):
        return 0.5 * super().most_likely(scatter)


def test_an_unknown_form_is_reached_through_its_most_likely_member():
    values = trend_like(17, 60, 2)
    found = kem.fit(kem.LocalLevel(observation_cov=EqualVariances()), values, stopping=TIGHT).crosscheck()
    check_agrees(found)
    table = found.parameter_differences
    assert table.loc["observation_cov[0, 0]", "statsmodels"] == table.loc["observation_cov[1, 1]", "statsmodels"]
    assert table["relative"].max() < 1e-2


def test_a_form_that_cannot_be_reached_is_reported():
    values = trend_like(17, 60, 2)
    model = kem.LocalLevel(observation_cov=NotItsOwnMember())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = kem.fit(model, values, stopping=kem.Stopping(max_iterations=2)).crosscheck()
    check_same_point(found)
    assert found.unavailable == "no coordinates are known for the form NotItsOwnMember"
    assert np.isnan(found.from_our_estimates)
    assert "optima not compared (no coordinates are known for the form NotItsOwnMember)" in found.verdict
    assert found.parameter_differences.empty
    assert "not available" in str(found)


def test_nothing_to_learn(nile):
    model = kem.LocalLevel(level_cov=kem.Fixed([[1469.1]]), observation_cov=kem.Fixed([[15099.0]]))
    found = kem.fit(model, nile).crosscheck()
    check_same_point(found)
    assert found.agrees
    assert found.unavailable == "nothing is learnt"
    assert found.verdict.endswith("optima not compared (nothing is learnt)")


def test_a_disagreement_is_said_first():
    fields = {field.name: 0.0 for field in dataclasses.fields(CrossCheck)}
    fields |= {
        "model": "LocalLevel",
        "version": "0",
        "own_start": "nowhere",
        "compared": "from its own start",
        "statsmodels_params": {},
        "free_basis": 0,
        "unavailable": "",
        "notes": (),
        "converged_from_our_estimates": True,
        "converged_from_own_start": False,
        "log_likelihood": -100.0,
        "statsmodels_log_likelihood": -100.0,
        "from_our_estimates": -100.0,
        "from_own_start": -102.0,
        "parameter_differences": pd.DataFrame(columns=["ours", "statsmodels", "difference", "relative"]),
    }

    def verdict(**changes):
        found = CrossCheck(**(fields | changes))
        assert repr(found) == str(found)
        return found.agrees, found.verdict

    agrees, line = verdict()
    assert agrees
    assert line.endswith("stops lower by 2, not converged")
    assert verdict(statsmodels_log_likelihood=-100.001) == (
        False,
        "disagrees: the log-likelihoods at our estimates differ by 1e-05 relative",
    )
    agrees, line = verdict(largest_cov_difference=1e-3)
    assert not agrees
    assert "covariances by 0.001 relative" in line
    lost = {"exact_log_likelihood": -100.0, "statsmodels_log_likelihood": -100.001, "statsmodels_cov_error": 0.2}
    agrees, line = verdict(**lost)
    assert agrees
    assert line.endswith("statsmodels has lost digits there (log-likelihood 1e-05, smoothed covariances 2e-01)")
    assert verdict(**lost, from_our_estimates=-99.992)[0]  # within what its error may be
    assert not verdict(**lost, from_our_estimates=-99.98)[0]
    assert not verdict(**lost, our_cov_error=1e-3)[0]
    assert not verdict(**(lost | {"exact_log_likelihood": -100.001}))[0]
    agrees, line = verdict(from_own_start=-99.5)
    assert not agrees
    assert "higher by 0.5: our fit is at or near a lower maximum" in line


@pytest.mark.parametrize(
    "form", [kem.Full(), kem.Diagonal(), kem.BlockDiagonal([(kem.Full(), 2), (kem.Isotropic(), 1)])]
)
def test_covariance_coordinates_start_at_the_origin_and_stay_in_the_form(form):
    rng = np.random.default_rng(18)
    root = np.diag([1.0, 1e3, 1e-3]) @ rng.standard_normal((3, 3))
    origin = form.most_likely(root @ root.T)
    size, members = covariance_members(form, origin, np.ones(3))
    assert size == form.n_free_in_covariance(3)
    np.testing.assert_allclose(members(np.zeros(size)), origin, rtol=1e-10)
    moved = members(rng.standard_normal(size))
    np.testing.assert_allclose(form.most_likely(moved), moved)
    assert np.linalg.eigvalsh(moved)[0] > 0.0
    # Every coordinate moves the covariance.
    assert all(np.any(members(step) != origin) for step in np.eye(size))


def test_coordinates_do_not_depend_on_the_units_of_the_data():
    values, inputs = driven(19, 60)
    moved = []
    for factor in (1.0, 1e5):
        prior = kem.Fixed(factor**2 * np.eye(2))
        model = known_loadings(transition_input=kem.Full(), observation_offset=kem.Full(), initial_cov=prior)
        fitted = kem.fit(model, factor * values, inputs=inputs, stopping=kem.Stopping(max_iterations=5))
        start = own_start(fitted.specification, fitted.panel)
        chart = coordinates(fitted.specification, start, start, fitted.panel)
        step = 0.1 * np.random.default_rng(0).standard_normal(chart.size)
        moved.append(chart.system(step))
    np.testing.assert_allclose(moved[1].transition_matrix, moved[0].transition_matrix, rtol=1e-6)
    np.testing.assert_allclose(moved[1].observation_offset, 1e5 * moved[0].observation_offset, rtol=1e-6)
    np.testing.assert_allclose(moved[1].observation_cov, 1e10 * moved[0].observation_cov, rtol=1e-6)


def test_what_is_not_a_fit_is_refused(nile):
    assert leaf("crosscheck").crosscheck is crosscheck
    with pytest.raises(kem.InputError, match=r"fitted: expected a Fit .* got LocalLevel"):
        crosscheck(kem.LocalLevel())
    fitted = kem.fit(kem.LocalLevel(), nile)
    for wrong in (0, 1.5, True):
        with pytest.raises(kem.InputError, match="max_iterations: expected a whole number"):
            crosscheck(fitted, max_iterations=wrong)


def test_the_own_start_parts_states_that_load_on_the_same_column():
    fitted = kem.fit(kem.LinearGaussian(2, 1), trend_like(20, 60, 1), stopping=kem.Stopping(max_iterations=2))
    start = own_start(fitted.specification, fitted.panel)
    assert np.all(start.observation_matrix > 0.0)
    first, second = np.diagonal(start.transition_matrix)
    assert abs(first - second) > 0.1


def test_the_higher_climb_is_compared_and_of_equals_the_more_telling():
    ours, own = (Climb(height, None, True, 3) for height in (-10.0, -10.0))
    higher = dataclasses.replace(own, log_likelihood=-9.0)
    assert _compared((ours, own), 0) == ("from its own start", own)
    assert _compared((ours, own), 4) == ("from our estimates", ours)
    assert _compared((ours, higher), 4) == ("from its own start", higher)
    assert _compared((higher, own), 0) == ("from our estimates", higher)
    assert _compared((ours, None), 0) == ("from our estimates", ours)
    assert _compared((None, own), 4) == ("from its own start", own)
    assert _compared((None, None), 0) == ("", None)


def test_where_there_is_no_maximum_or_no_common_unit_nothing_is_compared():
    constant = kem.fit(kem.LocalLevel(), np.full(30, 2.0)).crosscheck()
    assert constant.verdict.startswith("not comparable: the likelihood has no maximum")
    tiny = kem.fit(kem.LocalLevel(), 1e-12 * np.random.default_rng(1).normal(size=80).cumsum()).crosscheck()
    assert tiny.verdict.startswith("not comparable: the data vary by")
    for found in (constant, tiny):
        assert not found.agrees
        # No difference, no climb and no parameter is printed above such a verdict.
        heights = f"{found.log_likelihood:.8f} {found.statsmodels_log_likelihood:.8f}"
        table, _, rest = str(found).partition("-" * 78 + "\n")
        assert table.splitlines()[3].split() == ["log-likelihood", *heights.split(), "not", "comparable"]
        assert len(table.splitlines()) == 4
        assert "statsmodels climbs" not in rest
        assert "own start" not in rest
        assert "optimum" not in rest.partition("Verdict")[0]


def test_a_fit_that_did_not_converge_is_said_to_be_one():
    short = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"], stopping=kem.Stopping(max_iterations=5))
    assert short.crosscheck().verdict.endswith("(our EM stopped at max_iterations)")
