"""Variances tried at 0 and away from it, by the book: a made-up EM step says where the likelihood is high."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.errors import NumericalError
from kalman_em.models.boundary import Direction, boundary_guesses, directions


def trend(p=1, **options):
    """Return the specification of a trend in p columns and a system of it with slope variances of 1."""
    values = np.cumsum(np.random.default_rng(0).normal(size=(30, p)), axis=0)
    panel = kem.Panel([kem.Observations(values)])
    model = kem.LocalLinearTrend(**options)
    specification = model.specify(panel)
    return specification, with_slope(model.start(specification, panel), np.eye(p))


def with_slope(system, cov):
    Q = np.array(system.transition_cov)
    p = len(Q) // 2
    Q[p:, p:] = cov
    return replace(system, transition_cov=Q)


def slope(system):
    p = system.obs_dim
    return system.transition_cov[p:, p:]


def shrinking(height, factor=0.9):
    """Return an EM step that multiplies the slope variances by `factor`, from a log-likelihood of `height(slope)`."""

    def step(system):
        return with_slope(system, factor * slope(system)), height(slope(system))

    return step


def guesses(specification, system, step, *, before=None):
    earlier = before or with_slope(system, slope(system) / 0.9)
    return list(boundary_guesses(specification, earlier, system, lambda at: step(at)[0], lambda at: step(at)[1]))


def test_a_variance_that_shrinks_slowly_and_all_the_way_is_tried_at_zero():
    specification, system = trend()
    ((guess, note),) = guesses(specification, system, shrinking(lambda cov: -cov.item()))
    assert slope(guess).item() == 0.0
    assert guess.transition_cov[0, 0] == system.transition_cov[0, 0]
    assert note == "slope_cov went to 0, where the likelihood is highest"


@pytest.mark.parametrize(
    ("step", "earlier"),
    [
        (shrinking(lambda cov: cov.item()), 1.1),  # the likelihood is lower near 0
        (shrinking(lambda cov: -cov.item(), factor=1.1), 1.1),  # EM leaves the neighbourhood of 0
        (shrinking(lambda cov: -cov.item()), 0.9),  # it grows
        (shrinking(lambda cov: -cov.item()), 2.0),  # quick enough by itself
    ],
    ids=["lower", "leaves", "grows", "quick"],
)
def test_a_variance_that_does_not_head_for_zero_is_let_be(step, earlier):
    specification, system = trend()
    assert guesses(specification, system, step, before=with_slope(system, [[earlier]])) == []


def test_where_the_likelihood_cannot_be_computed_there_is_no_guess():
    specification, system = trend()

    def step(tried):
        if slope(tried).item() < 0.5:
            raise NumericalError("too small")
        return with_slope(tried, 0.9 * slope(tried)), 0.0

    assert guesses(specification, system, step) == []


def test_a_full_covariance_goes_to_zero_as_a_whole_or_not_at_all():
    """With another variance beside it, a covariance with it would raise the likelihood to first order."""
    specification, system = trend(p=2)
    system = with_slope(system, [[1.0, 0.5], [0.5, 4.0]])
    before = with_slope(system, [[1.1, 0.55], [0.55, 4.4]])
    ((zero, note),) = guesses(specification, system, shrinking(lambda cov: -np.trace(cov)), before=before)
    assert not np.any(slope(zero))
    assert note.startswith("slope_cov went to 0")

    def growing_somewhere(tried):
        cov = slope(tried)
        return with_slope(tried, 0.9 * cov + 0.2 * cov[0, 0] * np.array([[1.0, -1.0], [-1.0, 1.0]])), -np.trace(cov)

    assert guesses(specification, system, growing_somewhere, before=before) == []


def test_shrinking_a_variance_keeps_the_correlations():
    cov = np.array([[4.0, 1.0, 0.5], [1.0, 9.0, -2.0], [0.5, -2.0, 1.0]])
    shrunk = Direction("transition_cov", (1,), "").shrunk(cov, 0.01)
    unit = np.sqrt(np.outer(np.diagonal(cov), np.diagonal(cov)))
    now = np.sqrt(np.outer(np.diagonal(shrunk), np.diagonal(shrunk)))
    np.testing.assert_allclose(shrunk / now, cov / unit, rtol=1e-12)
    np.testing.assert_allclose(np.diagonal(shrunk), [4.0, 0.09, 1.0], rtol=1e-12)


@pytest.mark.parametrize(("slope_height", "is_revived"), [(10.0, True), (-10.0, False), (0.0, False)])
def test_a_variance_at_zero_comes_back_only_where_the_likelihood_is_higher(slope_height, is_revived):
    specification, system = trend()
    system = with_slope(system, [[0.0]])
    found = guesses(specification, system, shrinking(lambda cov: slope_height * cov.item()), before=system)
    assert len(found) == int(is_revived)
    if is_revived:
        guess, note = found[0]
        variances = np.append(np.diagonal(system.transition_cov)[:1], system.observation_cov)
        assert slope(guess).item() == pytest.approx(0.01 * variances.mean())
        assert note == "slope_cov was 0 and is not"


def test_noise_that_enters_rows_of_free_coefficients_stays():
    """Without noise these rows could never move again; noise of known rows may go."""
    values = np.cumsum(np.random.default_rng(0).normal(size=(30, 1)), axis=0)
    panel = kem.Panel([kem.Observations(values)])
    model = kem.LinearGaussian(
        2,
        1,
        transition_matrix=kem.Fixed([[1.0, 1.0], [0.0, 0.9]]),
        transition_offset=kem.Fixed(0),
        noise_selection=[[0.0, 1.0], [1.0, 0.0]],
        transition_cov=kem.Diagonal(),
        observation_matrix=kem.Fixed([[1.0, 0.0]]),
        initial_mean=kem.Fixed([0.0, 0.0]),
        initial_cov=kem.Fixed(np.eye(2)),
    )
    free = replace(model, transition_matrix=kem.Full())
    # An offset is set to the maximum of the likelihood wherever there is no noise.
    drift = replace(model, transition_offset=kem.Full())
    for one, expected in ((model, [1, 2]), (drift, [1, 2]), (free, [])):
        specification = one.specify(panel)
        system = replace(one.start(specification, panel), transition_cov=np.diag([1.0, 2.0]))

        def step(tried):
            return replace(tried, transition_cov=0.9 * tried.transition_cov)

        def height(tried):
            return -np.trace(tried.transition_cov)

        before = replace(system, transition_cov=np.diag([1.1, 2.2]))
        found = list(boundary_guesses(specification, before, system, step, height))
        # The second is tried beside the first.
        zeros = [int(np.count_nonzero(np.diagonal(guess.transition_cov) == 0.0)) for guess, _ in found]
        assert zeros == expected


def test_a_variance_that_coordinates_share_goes_to_zero_and_comes_back_for_all_of_them():
    specification, system = trend(2, slope_cov=kem.Isotropic())
    ((zero, note),) = guesses(specification, system, shrinking(lambda cov: -cov[1, 1]))
    assert not np.any(slope(zero))
    assert note == "slope_cov went to 0, where the likelihood is highest"
    rising = shrinking(lambda cov: float(np.trace(cov) > 0.0))
    ((alive, note),) = guesses(specification, with_slope(system, np.zeros((2, 2))), rising)
    assert note == "slope_cov was 0 and is not"
    assert slope(alive)[0, 0] == slope(alive)[1, 1] > 0.0


def wander_with_memory(seed=0):
    """Return the fit of a level and an autoregression to a walk that has no second part."""
    values = np.random.default_rng(seed).normal(size=80).cumsum()
    return kem.fit(kem.LocalLevel() + kem.Autoregression(1), values), values


def test_an_autoregression_that_the_data_do_not_need_vanishes_with_its_noise():
    fitted, values = wander_with_memory()
    alone = kem.fit(kem.LocalLevel(), values)
    assert fitted.em.stop_reason == "converged"
    assert fitted.params.autoregression_cov.item() == 0.0
    assert "autoregression_cov went to 0" in fitted.em.message
    assert np.isclose(fitted.log_likelihood, alone.log_likelihood, rtol=1e-10)
    errors = fitted.standard_errors
    assert np.isinf(errors.autoregression).all()
    assert np.isclose(errors.level_cov.item(), alone.standard_errors.level_cov.item(), rtol=1e-3)


def test_the_noise_of_a_stationary_state_about_another_mean_than_zero_stays():
    panel = kem.Panel([kem.Observations(np.random.default_rng(0).normal(size=(30, 1)))])
    options = {"initial_cov": kem.Stationary(), "observation_matrix": kem.Fixed(1.0)}
    for offset, n_directions in ((0.0, 1), (1.0, 0)):
        model = kem.LinearGaussian(1, 1, transition_offset=kem.Fixed(offset), **options)
        specification = model.specify(panel)
        system = model.start(specification, panel)
        found = directions(specification, "transition_cov", system)
        assert [direction.parameter for direction in found] == ["transition_cov"] * n_directions
