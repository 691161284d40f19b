"""Standard errors of any problem: closed forms, the two ways to the curvature, edges, what the data do not tell."""

from dataclasses import dataclass

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.em.information import observed_information

TIGHT = kem.Stopping(relative_tolerance=1e-14, parameter_tolerance=1e-10, max_iterations=20_000)


@dataclass(frozen=True)
class Censored:
    """Exponential lifetimes, some still going on, as (rate,) or its logarithm."""

    times: np.ndarray
    ended: np.ndarray

    def e_step(self, rate):
        total = np.sum(self.times) + np.count_nonzero(~self.ended) / rate
        return total, float(self.ended.sum() * np.log(rate) - rate * self.times.sum())

    def m_step(self, rate, total):
        return len(self.times) / total

    def expected_gain(self, old, new, total):
        return len(self.times) * np.log(new / old) - (new - old) * total


class CensoredWithoutGain(Censored):
    expected_gain = None


@dataclass(frozen=True)
class Shares:
    """Two known normals with an unknown share, and two unknown means: a mixture whose shares sum to 1."""

    values: np.ndarray

    def e_step(self, params):
        joint = params["shares"] * np.exp(-0.5 * (self.values[:, None] - params["means"]) ** 2) / np.sqrt(2.0 * np.pi)
        total = joint.sum(axis=1)
        return joint / total[:, None], float(np.log(total).sum())

    def m_step(self, params, shares):
        counts = shares.sum(axis=0)
        return {"shares": counts / counts.sum(), "means": self.values @ shares / counts}

    def free_numbers(self, params):
        return np.array([params["shares"][0], *params["means"]])

    def with_numbers(self, params, numbers):
        return {"shares": np.array([numbers[0], 1.0 - numbers[0]]), "means": numbers[1:]}


class SharesWithGain(Shares):
    def expected_gain(self, old, new, shares):
        def height(at):
            squares = (self.values[:, None] - at["means"]) ** 2
            return float((shares * (np.log(at["shares"]) - 0.5 * squares)).sum())

        return height(new) - height(old)


def lifetimes(unit=1.0, seed=0):
    rng = np.random.default_rng(seed)
    true, seen = rng.exponential(3.0, 60), rng.uniform(0.0, 6.0, 60)
    return unit * np.minimum(true, seen), true <= seen


def two_groups():
    rng = np.random.default_rng(1)
    return np.concatenate([rng.normal(0.0, 1.0, 120), rng.normal(3.0, 1.0, 60)])


@pytest.mark.parametrize("unit", [1.0, 1e-9, 1e7])
@pytest.mark.parametrize("kind", [Censored, CensoredWithoutGain])
def test_a_rate_has_its_textbook_error_in_all_units(kind, unit):
    problem = kind(*lifetimes(unit))
    if kind is CensoredWithoutGain:
        assert not callable(problem.expected_gain)
    run = kem.run_em(problem, 0.1 / unit, stopping=TIGHT)
    found = observed_information(problem, run)
    n = np.count_nonzero(problem.ended)
    assert found.standard_errors == pytest.approx(run.params / np.sqrt(n), rel=1e-4)
    assert found.information[0, 0] == pytest.approx(n / run.params**2, rel=1e-4)
    assert found.reasons == ()


def louis(problem, params):
    """Return the observed information of `Shares` by hand: the scores of rows, and their derivatives."""
    joint = params["shares"] * np.exp(-0.5 * (problem.values[:, None] - params["means"]) ** 2)
    r = joint / joint.sum(axis=1, keepdims=True)
    w, off = params["shares"], problem.values[:, None] - params["means"]
    complete = np.zeros((3, 3))
    complete[0, 0] = (r[:, 0] / w[0] ** 2 + r[:, 1] / w[1] ** 2).sum()
    complete[1, 1], complete[2, 2] = r.sum(axis=0)
    # Of each row the score is one of two, by the hidden component: Louis (1982).
    scores = np.zeros((len(r), 2, 3))
    scores[:, 0, 0], scores[:, 1, 0] = 1.0 / w[0], -1.0 / w[1]
    scores[:, 0, 1], scores[:, 1, 2] = off[:, 0], off[:, 1]
    mean = np.einsum("nk,nki->ni", r, scores)
    missing = np.einsum("nk,nki,nkj->ij", r, scores, scores) - mean.T @ mean
    return complete - missing


@pytest.mark.parametrize("kind", [Shares, SharesWithGain])
def test_bound_parameters_by_their_free_numbers(kind):
    problem = kind(two_groups())
    run = kem.run_em(problem, {"shares": np.array([0.5, 0.5]), "means": np.array([-1.0, 4.0])}, stopping=TIGHT)
    found = observed_information(problem, run)
    expected = louis(problem, run.params)
    np.testing.assert_allclose(found.information, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())
    errors = np.sqrt(np.diagonal(np.linalg.inv(expected)))
    # Both shares have one error, as their sum is known.
    np.testing.assert_allclose(found.standard_errors["shares"], [errors[0], errors[0]], rtol=1e-4)
    np.testing.assert_allclose(found.standard_errors["means"], errors[1:], rtol=1e-4)
    np.testing.assert_allclose(found.cov, np.linalg.inv(expected), rtol=1e-3, atol=1e-3 * errors.min() ** 2)


def test_a_number_that_the_data_say_nothing_of_has_no_error_and_one_at_the_edge_is_held():
    class Odd(Censored):
        expected_gain = None

        def e_step(self, params):
            if params["edge"] < 0.0:
                raise ValueError("below 0")
            total, height = super().e_step(params["rate"])
            return total, height - params["edge"]

        def m_step(self, params, total):
            return {"rate": super().m_step(params["rate"], total), "edge": params["edge"], "idle": params["idle"]}

    problem = Odd(*lifetimes())
    run = kem.run_em(problem, {"rate": 0.3, "edge": 0.0, "idle": 2.0}, stopping=TIGHT)
    found = observed_information(problem, run)
    assert found.standard_errors["edge"] == 0.0
    assert found.standard_errors["idle"] == np.inf
    assert np.isfinite(found.standard_errors["rate"])
    assert len(found.reasons) == 2


def test_a_latent_model_of_the_package_has_them_too():
    rows = np.random.default_rng(2).normal(2.0, 3.0, (200, 1))
    fitted = kem.fit(kem.GaussianMixture(1, weights=kem.Fixed([1.0])), rows)

    class Alone:
        e_step, m_step, expected_gain = fitted.problem.e_step, fitted.problem.m_step, fitted.problem.expected_gain

        def free_numbers(self, params):
            return np.array([params.means[0, 0], np.log(params.covs[0, 0, 0])])

        def with_numbers(self, params, numbers):
            return type(params)(numbers[:1, None], np.exp(numbers[1])[None, None, None], params.weights)

    found = observed_information(Alone(), fitted.em)
    variance = rows.var()
    assert found.standard_errors["means"][0, 0] == pytest.approx(np.sqrt(variance / 200), rel=1e-4)
    assert found.standard_errors["covs"][0, 0, 0] == pytest.approx(variance * np.sqrt(2.0 / 200), rel=1e-4)


def test_arguments_are_checked():
    with pytest.raises(kem.InputError, match="e_step and m_step"):
        observed_information("problem", 1.0)
    problem = Censored(*lifetimes())
    with pytest.raises(kem.InputError, match="free_numbers"):
        observed_information(problem, object())
