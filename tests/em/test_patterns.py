"""Patterns written out entry by entry: what they say, what is no linear expression, and names that are shared."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em import Fixed, Full, Partly, Pattern
from kalman_em.em.constraints import join
from kalman_em.em.forms.expressions import linear


@pytest.mark.parametrize(
    ("text", "constant", "coefficients"),
    [
        ("a", 0.0, {"a": 1.0}),
        ("1+2*a-b", 1.0, {"a": 2.0, "b": -1.0}),
        ("-a", 0.0, {"a": -1.0}),
        ("-1*c", 0.0, {"c": -1.0}),
        ("2*(a - 3*(b+1)) + a", -6.0, {"a": 3.0, "b": -6.0}),
        ("a*2*-3", 0.0, {"a": -6.0}),
        (" 1e-3 + .5*Q.x_1 ", 1e-3, {"Q.x_1": 0.5}),
        ("a-a", 0.0, {}),
        ("2*3", 6.0, {}),
        (-1.5, -1.5, {}),
        (np.float64(2.0), 2.0, {}),
    ],
)
def test_linear_expressions(text, constant, coefficients):
    found = linear(text, "F")
    assert found.constant == pytest.approx(constant)
    assert dict(found.coefficients) == pytest.approx(coefficients)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("a*b", "F: 'a\\*b' is not linear: it multiplies a by b"),
        ("(1+a)*a", "is not linear"),
        ("a/2", "cannot be read at '/'"),
        ("2a", "cannot be read at 'a': an operator is missing before it"),
        ("a b", "an operator is missing"),
        ("(a", "lacks a closing parenthesis"),
        ("a+", "ends too early"),
        ("", "is empty; write 0 for zero"),
        ("*a", "cannot be read at '\\*'"),
        ("1e400*a", "not finite"),
        (None, "expected a number or an expression such as '1\\+2\\*a-b', got None"),
        (True, "got True"),
        (float("nan"), "expected a finite number, got nan"),
    ],
)
def test_what_is_no_linear_expression_is_named(entry, said):
    with pytest.raises(kem.InputError, match=said):
        linear(entry, "F")
    with pytest.raises(kem.InputError, match="Pattern: "):
        Pattern([[entry]])


def test_a_pattern_is_a_constraint_with_names():
    constraint = Pattern([["b", "c"], ["-c", "1+2*b"]]).constraint((2, 2), "F")
    assert constraint.names == ("b", "c")
    assert constraint.fixed.tolist() == [[0.0, 0.0], [0.0, 1.0]]
    value = constraint.at(np.array([3.0, 4.0]))
    assert value.tolist() == [[3.0, 4.0], [-4.0, 7.0]]
    np.testing.assert_allclose(constraint.free(value), [3.0, 4.0])
    np.testing.assert_allclose(constraint.project(value), value)


def test_equal_names_of_joined_blocks_are_one_number():
    joint = join([Pattern([["a", "b"]]).constraint((1, 2), "F"), Pattern(["a"]).constraint((1,), "b")])
    assert joint.n_free == 2
    assert joint.labels == ("a", "b")
    assert joint.design.tolist() == [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    assert joint.free_columns is None


def test_partly_known_entries_may_vary_in_time():
    values = np.zeros((3, 1, 2))
    values[:, 0, 1] = [1.0, 2.0, 3.0]
    constraint = Partly(values, free=[[True, False]]).constraint((1, 2), "H")
    found = constraint.at(np.array([5.0]))
    assert found[:, 0].tolist() == [[5.0, 1.0], [5.0, 2.0], [5.0, 3.0]]
    np.testing.assert_allclose(constraint.free(found), [5.0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Pattern([["a"], ["b", "c"]]), "Pattern: expected rows of equal length"),
        (lambda: Pattern("a"), "Pattern: expected a list of rows, or a list for a vector, got 'a'"),
        (lambda: Pattern([]), "Pattern: expected rows of equal length, got none"),
        (lambda: Pattern([["a"]]).constraint((2, 2), "F"), r"F: expected a Pattern of shape \(2, 2\), got \(1, 1\)"),
        (lambda: Partly([1.0], free=[True]).constraint((2,), "b"), r"b: expected a Partly of shape \(2,\), got \(1,\)"),
        (lambda: Partly([1.0, 2.0], free=[True]), "Partly: expected values and free of one shape"),
    ],
)
def test_shapes_that_do_not_fit_are_named(make, said):
    with pytest.raises(kem.InputError, match=said):
        make()


def model(**forms):
    given = {"transition_matrix": Fixed([[1.0]]), "observation_matrix": Fixed([[1.0]])} | forms
    return kem.LinearGaussian(1, 1, **given)


@pytest.mark.parametrize(
    ("forms", "said"),
    [
        (
            {"transition_matrix": Pattern([["a"]]), "observation_matrix": Pattern([["a"]])},
            "observation_matrix: the name 'a' stands in transition_matrix too, but these two cannot share a number",
        ),
        (
            {"transition_cov": Pattern([["q"]]), "observation_cov": Pattern([["q"]])},
            "observation_cov: the name 'q' stands in transition_cov too",
        ),
        (
            {"transition_matrix": Pattern([["q"]]), "transition_cov": kem.Scaled([[1.0]], name="q")},
            "transition_cov: the name 'q' stands in transition_matrix too",
        ),
        (
            {"transition_matrix": Pattern([["initial_mean"]])},
            "transition_matrix: the name 'initial_mean' is that of a parameter; choose another",
        ),
    ],
)
def test_names_that_cannot_be_shared_are_refused(forms, said):
    with pytest.raises(kem.InputError, match=said):
        kem.fit(model(**forms), np.arange(10.0))


def test_a_name_shared_between_matrix_offset_and_input_is_one_number():
    rng = np.random.default_rng(0)
    y, u = rng.normal(size=60).cumsum(), rng.normal(size=60)
    fitted = kem.fit(
        model(
            transition_matrix=Pattern([["0.5+a"]]), transition_offset=Pattern(["a"]), transition_input=Pattern([["-a"]])
        ),
        y,
        inputs=u,
        stopping=kem.Stopping(max_iterations=20),
    )
    a = float(fitted.params["a"])
    system = fitted.system
    np.testing.assert_allclose(system.transition_matrix, 0.5 + a, rtol=1e-12)
    np.testing.assert_allclose([system.transition_offset[0], -system.transition_input[0, 0]], a, rtol=1e-10)
    assert fitted.n_parameters == 4  # a, Q, R, m


def test_named_numbers_are_in_params_summary_and_start():
    nile = kem.datasets.load("nile")["flow"]
    named = model(
        transition_offset=Pattern(["u"]),
        transition_cov=Pattern([["q"]]),
        observation_cov=Pattern([["r"]]),
        initial_mean=Full(),
    )
    once = kem.Stopping(max_iterations=1)
    fitted = kem.fit(named, nile, start={"q": 1000.0, "u": -3.0}, stopping=once)
    assert fitted.params["q"] == fitted.params.transition_cov[0, 0]
    assert float(fitted.params.u) == fitted.params.transition_offset[0]
    text = str(fitted.summary())
    assert "u  " in text
    assert "in transition_offset" in text
    again = kem.fit(named, nile, start={"transition_cov": [[1000.0]], "transition_offset": [-3.0]}, stopping=once)
    assert again.log_likelihood == fitted.log_likelihood
    other = kem.fit(named, nile, start={"q": 2000.0}, stopping=once)
    assert other.log_likelihood != fitted.log_likelihood
    with pytest.raises(kem.InputError, match="start 'w' is not known"):
        kem.fit(named, nile, start={"w": 1.0})
    with pytest.raises(kem.InputError, match=r"start\['q'\]: the model has no such covariance"):
        kem.fit(named, nile, start={"q": -1.0})
    with pytest.raises(kem.InputError, match=r"start\['q'\]: expected one number, got shape \(2,\)"):
        kem.fit(named, nile, start={"q": [1.0, 2.0]})


@pytest.mark.parametrize(
    "forms",
    [
        {"transition_offset": Pattern(["u"]), "transition_cov": Pattern([["q"]]), "initial_mean": Full()},
        {"observation_cov": kem.Scaled(kem.Known(np.linspace(1.0, 2.0, 100)[:, None]), name="factor")},
        {"observation_cov": kem.Known(np.linspace(1e4, 2e4, 100)[:, None, None])},
        {"transition_matrix": Partly([[np.nan]], free=[[True]])},
        {"transition_cov": Pattern([["100+q"]])},
    ],
    ids=["pattern", "scaled", "known", "partly", "climbed"],
)
@pytest.mark.parametrize("step", ["first", "before"])
def test_saved_fits_come_back_equal(forms, step, tmp_path):
    nile = kem.datasets.load("nile")["flow"]
    named = model(initial_step=step, initial_cov=Fixed(0), **({"initial_mean": Full()} | forms))
    fitted = kem.fit(named, nile, stopping=kem.Stopping(max_iterations=5))
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.params == fitted.params
    assert loaded.log_likelihood == fitted.log_likelihood
    assert loaded.model == fitted.model
    assert str(loaded.summary()) == str(fitted.summary())
    assert ("Generalised M-step" in str(fitted.summary())) == bool(fitted.specification.generalised_steps)
    assert bool(fitted.specification.generalised_steps) == ("100+q" in repr(forms))
    refitted = fitted.refit(nile, stopping=kem.Stopping(max_iterations=1))
    assert refitted.log_likelihood >= fitted.log_likelihood


def test_noise_over_time_needs_an_entry_a_row_and_is_not_known_ahead():
    nile = kem.datasets.load("nile")["flow"]
    for form in (kem.Known(np.full((99, 1), 1e4)), kem.Scaled(kem.Known(np.linspace(1.0, 2.0, 99)[:, None]))):
        with pytest.raises(kem.InputError, match=r"observation_cov: expected 100 entries over time .* got 99"):
            kem.fit(kem.LocalLevel(observation_cov=form), nile)
    fitted = kem.fit(kem.LocalLevel(observation_cov=kem.Known(np.full((100, 1), 1e4))), nile)
    with pytest.raises(kem.InputError, match="observation_cov: varies in time"):
        fitted.forecast(3)
    # Known noise that does not vary is that of a constant one.
    same = kem.fit(kem.LocalLevel(observation_cov=Fixed([[1e4]])), nile)
    assert fitted.log_likelihood == pytest.approx(same.log_likelihood, abs=1e-6)
