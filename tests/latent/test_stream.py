"""Online EM on a stream: batches move the parameters to the maximum, and nothing else is kept."""

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem
from kalman_em.latent.moments import combined

NAN = np.nan


def draw(n, rng, missing=0.0):
    labels = rng.choice(2, n, p=[0.7, 0.3])
    points = (
        rng.normal(size=(n, 2)) * np.array([[1.0, 0.5], [0.6, 1.2]])[labels]
        + np.array([[0.0, 0.0], [4.0, 2.0]])[labels]
    )
    points[rng.random(points.shape) < missing] = NAN
    return points


@pytest.mark.parametrize("model", [kem.GaussianMixture(2), kem.VariationalMixture(2)])
def test_a_stream_comes_near_what_all_rows_at_once_give(model):
    rng = np.random.default_rng(0)
    batches = [draw(400, rng, 0.1) for _ in range(40)]
    stream = kem.fit(model, batches[0]).stream()
    for batch in batches[1:]:
        stream = stream.partial_fit(batch)
    data = np.concatenate(batches)
    whole = kem.fit(model, data)
    np.testing.assert_allclose(stream.params.means, whole.params.means, atol=0.08)
    height = whole.problem.e_step(stream.latest)[1]
    assert 0.0 < (whole.em.log_likelihood - height) / len(data) < 1e-3
    assert stream.n_batches == 39


def test_a_batch_is_one_step_of_the_recursion():
    rng = np.random.default_rng(1)
    fitted = kem.fit(kem.GaussianMixture(2), draw(300, rng))
    stream, batch = fitted.stream(exponent=0.8), draw(50, rng)
    after = stream.partial_fit(batch)
    problem = fitted.problem
    old, _ = problem.e_step(fitted.em.params)
    new, _ = kem.GaussianMixture(2).problem(kem.Panel([kem.Observations(batch)])).e_step(fitted.em.params)
    step = (50.0 / 350.0) ** 0.8
    expected = problem.m_step(fitted.em.params, combined([((1.0 - step) / 300, old), (step / 50, new)]))
    np.testing.assert_allclose(after.params.means, expected.means, rtol=1e-10)
    np.testing.assert_allclose(after.params.covs, expected.covs, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(after.params.weights, expected.weights, rtol=1e-10)
    assert stream.n_rows == 300
    assert after.n_rows == 350


def test_batches_are_checked_and_empty_ones_change_nothing():
    frame = pd.DataFrame(draw(100, np.random.default_rng(2)), columns=["a", "b"])
    stream = kem.fit(kem.GaussianMixture(2), frame).stream()
    assert stream.partial_fit([[NAN, NAN]]) is stream
    with pytest.raises(kem.InputError, match="a is 0 times among z, b"):
        stream.partial_fit(frame.rename(columns={"a": "z"}))
    with pytest.raises(kem.InputError, match="expected 2 columns"):
        stream.partial_fit([1.0, 2.0, 3.0])
    with pytest.raises(kem.InputError, match="exponent"):
        kem.fit(kem.GaussianMixture(2), frame).stream(0.5)


def test_one_row_moves_little_what_many_have_taught():
    rng = np.random.default_rng(4)
    fitted = kem.fit(kem.GaussianMixture(2), draw(300, rng))
    after = fitted.stream().partial_fit(draw(1, rng))
    assert np.abs(after.params.weights - fitted.params.weights).max() < 2.0 * 301.0**-0.6
    assert not np.allclose(after.params.weights, fitted.params.weights, rtol=0.0, atol=1e-6)


def test_with_exponent_1_all_rows_count_alike():
    rng = np.random.default_rng(5)
    first, second = draw(200, rng), draw(50, rng)
    fitted = kem.fit(kem.GaussianMixture(1), first)
    after = fitted.stream(exponent=1.0).partial_fit(second)
    np.testing.assert_allclose(after.params.means[0], np.concatenate([first, second]).mean(axis=0), rtol=1e-10)


def test_columns_of_a_table_are_chosen_by_name():
    frame = pd.DataFrame(draw(100, np.random.default_rng(2)), columns=["a", "b"])
    fitted = kem.fit(kem.GaussianMixture(2), frame)
    other = frame[["b"]].assign(kind="x", a=frame["a"])
    pd.testing.assert_frame_equal(fitted.probabilities(other), fitted.probabilities())
    after, same = fitted.stream().partial_fit(other), fitted.stream().partial_fit(frame)
    np.testing.assert_array_equal(after.params.means, same.params.means)
    with pytest.raises(kem.InputError, match="b is 2 times among a, b, b"):
        fitted.assign(pd.concat([frame, frame["b"]], axis=1))


def regimes(rng, n_series=1):
    rows = [4.0 * np.repeat(rng.integers(2, size=6), 5)[:, None] + rng.normal(size=(30, 1)) for _ in range(n_series)]
    return kem.Panel([kem.Observations(one) for one in rows])


def test_a_stream_of_series_comes_near_the_fit_of_all_of_them():
    rng = np.random.default_rng(1)
    batches = [regimes(rng, 4) for _ in range(30)]
    stream = kem.fit(kem.GaussianHMM(2), batches[0]).stream(exponent=0.7)
    for batch in batches[1:]:
        stream = stream.partial_fit(batch)
    everything = kem.Panel([one for batch in batches for one in batch])
    fitted = kem.fit(kem.GaussianHMM(2), everything)
    height = fitted.problem.e_step(stream.latest)[1]
    assert fitted.log_likelihood - height < 0.05 * everything.n_series
    assert (stream.n_series, stream.n_batches) == (120, 29)


def test_the_first_step_of_a_stream_of_series_is_that_of_cappe_and_moulines():
    rng = np.random.default_rng(2)
    first, second = regimes(rng, 3), regimes(rng, 2)
    fitted = kem.fit(kem.GaussianHMM(2), first)
    problem, step = fitted.problem, 0.4**0.6
    old, new = problem.e_step(fitted.em.params)[0], problem.seeing(second).e_step(fitted.em.params)[0]
    moved = fitted.stream().partial_fit(second).params
    counts = (1.0 - step) / 3.0 * old.transition_counts + step / 2.0 * new.transition_counts
    np.testing.assert_allclose(moved.transition_matrix, counts / counts.sum(axis=1, keepdims=True), rtol=1e-12)
    with pytest.raises(kem.InputError, match="exponent"):
        fitted.stream(exponent=0.2)
    with pytest.raises(kem.InputError, match="expected 1 column"):
        fitted.stream().partial_fit(rng.normal(size=(5, 2)))
