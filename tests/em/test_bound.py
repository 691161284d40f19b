"""The bound of any EM problem, on one whose every number is known in closed form."""

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.em.bound import BoundCurve, bound_curve, lower_bound


class Halves:
    """n observations y = z + noise with z ~ N(θ, 1) and noise of variance 1, up to constants of the likelihood.

    Given y, z is N((y + θ)/2, 1/2) at every θ: the gap is the divergence n (new - old)² / 4.
    """

    y = np.array([3.0, -1.0, 4.0])

    def e_step(self, mean):
        return 0.5 * (self.y + mean), -0.25 * float(np.sum((self.y - mean) ** 2))

    def m_step(self, mean, hidden):
        return float(np.mean(hidden))

    def expected_gain(self, old, new, hidden):
        return 0.5 * float(np.sum((hidden - old) ** 2 - (hidden - new) ** 2))


class Boxed(Halves):
    """The same with the parameter in a list."""

    def e_step(self, params):
        return super().e_step(params[0])

    def m_step(self, params, hidden):
        return [super().m_step(params[0], hidden)]

    def expected_gain(self, old, new, hidden):
        return super().expected_gain(old[0], new[0], hidden)


def test_the_gap_is_the_divergence() -> None:
    problem = Halves()
    for old, new in ((0.0, 1.0), (2.0, -3.0), (1.0, 1.0)):
        gap = problem.e_step(new)[1] - lower_bound(problem, old, new)
        assert gap == pytest.approx(3 * (new - old) ** 2 / 4, abs=1e-12)


def test_curve_holds_both_curves_and_the_m_step() -> None:
    curve = bound_curve(Halves(), 0.0, [-1.0, 0.0, 2.0, 5.0])
    assert np.allclose(curve.gaps, [0.75, 0.0, 3.0, 18.75])
    assert curve.log_likelihoods.tolist() == [Halves().e_step(v)[1] for v in (-1.0, 0.0, 2.0, 5.0)]
    assert (curve.old, curve.new) == (0.0, 1.0)
    assert curve.old_log_likelihood == curve.log_likelihoods[1] == curve.bounds[1]
    assert curve.new_log_likelihood - curve.new_bound == pytest.approx(0.75)
    fine = bound_curve(Halves(), 0.0, np.linspace(-2.0, 4.0, 601))
    assert fine.values[np.argmax(fine.bounds)] == pytest.approx(curve.new, abs=0.006)
    assert not curve.bounds.flags.writeable


def test_parameters_may_be_more_than_the_number() -> None:
    plain, boxed = (
        bound_curve(Halves(), 0.5, [0.0, 1.0]),
        bound_curve(Boxed(), 0.5, [0.0, 1.0], place=lambda value: [value], read=lambda params: params[0]),
    )
    assert np.array_equal(plain.bounds, boxed.bounds)
    assert plain.new == boxed.new


def test_a_bound_of_minus_infinity_is_kept() -> None:
    class Cut(Halves):
        def expected_gain(self, old, new, hidden):
            return super().expected_gain(old, new, hidden) if new >= 0.0 else -np.inf

    curve = bound_curve(Cut(), 1.0, [-1.0, 1.0])
    assert curve.bounds.tolist()[0] == -np.inf
    assert curve.gaps.tolist()[0] == np.inf


def test_bad_input_is_named() -> None:
    class TwoSteps:
        def e_step(self, params):
            return params, 0.0

        def m_step(self, params, expectations):
            return params

    with pytest.raises(kem.InputError, match="problem: expected an object with e_step, m_step and expected_gain"):
        lower_bound(TwoSteps(), 0.0, 1.0)
    with pytest.raises(kem.InputError, match="problem:"):
        bound_curve(Halves, 0.0, [1.0])
    with pytest.raises(kem.InputError, match=r"values: expected shape \(n,\), got \(1, 1\)"):
        bound_curve(Halves(), 0.0, [[1.0]])
    parts = {"old": 0.0, "old_log_likelihood": 0.0, "new": 0.0, "new_bound": 0.0, "new_log_likelihood": 0.0}
    with pytest.raises(kem.InputError, match="bounds: expected shape"):
        BoundCurve(values=[1.0, 2.0], log_likelihoods=[0.0, 0.0], bounds=[0.0], **parts)
