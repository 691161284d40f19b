"""Known parameters that vary in time, beside a start at the first row and one step before it."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em import Fixed, Full

T = 40
FEW = kem.Stopping(max_iterations=20)


@pytest.fixture
def values():
    return np.cumsum(np.random.default_rng(0).standard_normal(T))


def model(n_transitions=T - 1, n_rows=T, **options):
    steps = 1.0 + 0.01 * np.arange(n_transitions).reshape(-1, 1, 1)
    sight = np.where(np.arange(n_rows) % 2, 1.0, 2.0).reshape(-1, 1, 1)
    return kem.LinearGaussian(1, 1, transition_matrix=Fixed(steps), observation_matrix=Fixed(sight), **options)


@pytest.mark.parametrize("n_transitions", [T - 1, T])
@pytest.mark.parametrize("options", [{}, {"initial_cov": kem.Diffuse()}, {"initial_cov": Fixed(1.0)}])
def test_as_many_entries_as_rows_or_steps_will_do(values, n_transitions, options):
    fitted = kem.fit(model(n_transitions, **options), values, stopping=FEW)
    assert fitted.params.transition_matrix.shape == (n_transitions, 1, 1)
    assert fitted.params.observation_matrix.shape == (T, 1, 1)
    again = kem.fit(model(T - 1, **options), values, stopping=FEW)
    assert fitted.log_likelihood == again.log_likelihood


def test_the_step_before_the_data_is_like_the_first(values):
    fitted = kem.fit(model(), values, stopping=FEW)
    F, m, Q = fitted.params.transition_matrix, fitted.params.initial_mean, fitted.params.transition_cov
    system = kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=Q,
        observation_matrix=fitted.params.observation_matrix,
        observation_cov=fitted.params.observation_cov,
        initial_mean=F[0] @ m,
        initial_cov=Q,
    )
    filtered = kem.kalman_filter(system, kem.Observations(values[:, None]))
    assert np.isclose(filtered.log_likelihood, fitted.log_likelihood)


@pytest.mark.parametrize("options", [{}, {"initial_cov": kem.Diffuse()}])
@pytest.mark.parametrize(("n_transitions", "n_rows", "name"), [(T - 2, T, "transition"), (T, T + 1, "observation")])
def test_other_counts_are_refused_in_terms_of_the_rows_given(values, options, n_transitions, n_rows, name):
    with pytest.raises(kem.InputError, match=rf"^{name}_matrix: expected .*{T} .*over time for the {T} rows, got"):
        kem.fit(model(n_transitions, n_rows, **options), values, stopping=FEW)


def test_inputs_beside_a_start_before_the_data_need_a_learnt_mean(values):
    pushed = kem.LinearGaussian(1, 1, transition_input=Full(), initial_step="before", initial_cov=Fixed(0))
    inputs = np.random.default_rng(1).standard_normal(T)
    default = kem.fit(kem.LinearGaussian(1, 1, transition_input=Full()), values, inputs=inputs, stopping=FEW)
    assert kem.fit(pushed, values, inputs=inputs, stopping=FEW).log_likelihood == default.log_likelihood
    held = kem.LinearGaussian(
        1, 1, transition_input=Full(), initial_step="before", initial_cov=Fixed(0), initial_mean=Fixed(0)
    )
    with pytest.raises(kem.InputError, match=r"^initial_step: 'before' needs the inputs of a step before"):
        kem.fit(held, values, inputs=inputs, stopping=FEW)


def test_what_is_not_known_ahead_is_not_forecast(values):
    fitted = kem.fit(model(), values, stopping=FEW)
    for ahead in (lambda: fitted.forecast(3), lambda: fitted.extend(values[:3]), lambda: fitted.simulate(5)):
        with pytest.raises(
            kem.InputError, match=r"^transition_matrix: varies in time, and is known for the rows of the"
        ):
            ahead()
    assert fitted.simulate(rng=np.random.default_rng(0)).shape == (T, 1)
    padded = np.concatenate([values, np.full(3, np.nan)])
    longer = kem.fit(model(T + 2, T + 3), padded, stopping=FEW)
    assert longer.impute().shape[0] == T + 3
