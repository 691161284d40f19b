"""Stochastic and incremental EM of state spaces: panels in parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.models.leading import rows_of
from kalman_em.models.parts import parted
from kalman_em.models.problem import LinearGaussianProblem
from kalman_em.models.scale import data_scale


def panel_of(n_series=60, seed=0, missing=0.1):
    rng = np.random.default_rng(seed)
    F, H = np.array([[0.9, 0.2], [-0.1, 0.7]]), np.array([[1.0, 0.0], [0.5, 1.0]])
    found = []
    for _ in range(n_series):
        n = int(rng.integers(15, 30))
        x, rows = rng.normal(size=2), []
        for _ in range(n):
            rows.append(H @ x + [1.0, -1.0] + 0.5 * rng.normal(size=2))
            x = F @ x + rng.normal(size=2) * [0.6, 0.9]
        rows = np.array(rows)
        rows[rng.random(rows.shape) < missing] = np.nan
        found.append(kem.Observations(rows))
    return kem.Panel(tuple(found))


MODEL = kem.LinearGaussian(
    2, 2, observation_matrix=kem.Fixed([[1.0, 0.0], [0.5, 1.0]]), observation_offset=kem.Full(),
    initial_mean=kem.Full(), initial_cov=kem.Full(),
)  # fmt: skip


def laid_out(panel, model=MODEL):
    specification = model.specify(panel)
    problem = parted(specification, panel, data_scale(panel), "auto", 1)
    plain = LinearGaussianProblem(specification, rows_of(panel, specification), data_scale(panel), "auto")
    return problem, plain, model.start(specification, panel)


def assert_same(one, other, rtol=1e-9):
    for name in (
        "transition_matrix",
        "transition_cov",
        "observation_offset",
        "observation_cov",
        "initial_mean",
        "initial_cov",
    ):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol, atol=1e-12, err_msg=name)


def test_a_step_over_all_parts_is_a_step_of_em():
    panel = panel_of(20)
    problem, plain, start = laid_out(panel)
    expectations, height = plain.e_step(start)
    parts = problem.divided(3, np.random.default_rng(0))
    assert sum(part.n_units for part in parts) == 20
    found = [part.e_step(start) for part in parts]
    assert sum(own for _, own in found) == pytest.approx(height, rel=1e-12)
    assert_same(
        problem.m_step(start, problem.pooled([(1.0, sums) for sums, _ in found])), plain.m_step(start, expectations)
    )
    # Counted twice, all of it says the same.
    assert_same(
        problem.m_step(start, problem.pooled([(2.0, sums) for sums, _ in found])), plain.m_step(start, expectations)
    )


def test_sums_stay_what_they_were_when_seen_from_other_coefficients():
    problem, _, start = laid_out(panel_of(8))
    sums, _ = problem.e_step(start)
    other = start.replaced(transition_matrix=start.transition_matrix + 0.3, observation_offset=np.array([5.0, -7.0]))
    # The noise that is most likely depends on them alone, not on where they are seen from.
    held = replace(sums, transition=sums.transition.moved(sums.transition.about + 2.0))
    assert_same(problem.m_step(start, held), problem.m_step(start, sums))
    assert_same(problem.m_step(other, sums), problem.m_step(start, sums), rtol=1e-8)


def test_incremental_em_never_falls_and_ends_where_em_does():
    panel = panel_of(24)
    exact = kem.fit(MODEL, panel, method="plain", stopping=kem.Stopping(max_iterations=300))
    parts = kem.fit(MODEL, panel, method=kem.Incremental(4), seed=0, stopping=kem.Stopping(max_iterations=100))
    heights = parts.em.log_likelihoods
    assert np.diff(heights).min() > -1e-8
    assert parts.log_likelihood == pytest.approx(exact.log_likelihood, abs=0.02)


def test_stochastic_em_reaches_the_optimum_within_a_thousandth_for_every_row():
    panel = panel_of(80, seed=1)
    exact = kem.fit(MODEL, panel, stopping=kem.Stopping(max_iterations=300))
    method = kem.Stochastic(batch_size=8, tolerance=1e-3)
    online = kem.fit(MODEL, panel, method=method, seed=3)
    n_rows = sum(one.n_steps for one in panel)
    assert abs(exact.log_likelihood - online.log_likelihood) / n_rows < 1e-3
    again = kem.fit(MODEL, panel, method=method, seed=3)
    assert again.log_likelihood == online.log_likelihood
    np.testing.assert_array_equal(again.system.transition_matrix, online.system.transition_matrix)
    assert "batches a pass" in online.em.detail


def test_structural_models_take_panels_in_parts_too():
    rng = np.random.default_rng(0)
    panel = kem.Panel(
        [kem.Observations((np.cumsum(rng.normal(size=25)) + rng.normal(size=25))[:, None]) for _ in range(30)]
    )
    exact = kem.fit(kem.LocalLevel(), panel)
    online = kem.fit(kem.LocalLevel(), panel, method=kem.Stochastic(batch_size=5, tolerance=1e-3), seed=0)
    assert abs(exact.log_likelihood - online.log_likelihood) / (30 * 25) < 1e-3


WAVES = kem.Panel([kem.Observations(wave(np.arange(20.0))[:, None]) for wave in (np.sin, np.cos)])


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        (kem.LocalLevel(), np.arange(9.0) ** 2, "at least two independent parts"),
        (kem.Autoregression(1), WAVES, "the start is stationary"),
        (kem.LocalLevel(observation_cov=kem.PerSeries(kem.Full())), WAVES, "own to each series"),
    ],
)
def test_what_does_not_add_up_is_refused_with_its_reason(model, data, said):
    with pytest.raises(kem.InputError, match=said):
        kem.fit(model, data, method="stochastic", seed=0)


def test_a_stream_of_series_comes_to_what_all_of_them_say():
    panel = panel_of(60, seed=2)
    first, rest = kem.Panel(panel.series[:6]), panel.series[6:]
    stream = kem.fit(MODEL, first, stopping=kem.Stopping(max_iterations=20)).stream()
    for k in range(0, len(rest), 6):
        stream = stream.partial_fit(kem.Panel(rest[k : k + 6]))
    assert (stream.n_series, stream.n_batches) == (60, 9)
    exact = kem.fit(MODEL, panel, stopping=kem.Stopping(max_iterations=100))
    problem = laid_out(panel)[1]
    n_rows = sum(one.n_steps for one in panel)
    at = {name: value for name, value in stream.params.items() if name in exact.params}
    reached = problem.e_step(exact.system.replaced(**at))[1]
    assert (exact.log_likelihood - reached) / n_rows < 0.01
    with pytest.raises(kem.InputError, match="exponent: expected a number above"):
        kem.fit(kem.LocalLevel(), np.arange(9.0) ** 2).stream(0.5)
