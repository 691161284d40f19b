"""The methods of a fit name the argument that they cannot use, what they expected and what came."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem

SHORT = kem.Stopping(max_iterations=3)
DAYS = pd.date_range("2024-01-01", periods=40, freq="D")


@pytest.fixture(scope="module")
def walk():
    return np.random.default_rng(1).normal(size=40).cumsum()


@pytest.fixture(scope="module")
def level(walk):
    return kem.fit(kem.LocalLevel(), pd.Series(walk, DAYS, name="y"), stopping=SHORT)


@pytest.fixture(scope="module")
def pushed(walk):
    """A fit with one input, on dates."""
    model = kem.LinearGaussian(1, 1, transition_matrix=kem.Fixed(1.0), observation_input=kem.Full())
    inputs = pd.Series(np.sin(np.arange(40.0)), DAYS, name="u")
    return kem.fit(model, pd.Series(walk + inputs, DAYS, name="y"), inputs=inputs, stopping=SHORT)


def ahead(n, begin=40):
    return pd.date_range(DAYS[0] + pd.Timedelta(days=begin), periods=n, freq="D")


# --- parameters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["levelcov", 3, ["level_cov"]])
def test_a_parameter_that_is_not_there_names_those_that_are(level, name):
    message = "^parameter .* is not known; expected one of: level_cov, observation_cov"
    with pytest.raises(kem.InputError, match=message) as caught:
        level.params[name]
    assert isinstance(caught.value, KeyError)
    assert name not in level.params
    assert level.params.get(name, 5) == 5


def test_a_near_name_is_suggested(level):
    with pytest.raises(KeyError, match=r"\(did you mean 'observation_cov'\?\)$"):
        level.params["observation_covs"]


# --- starts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize(
    ("form", "start", "message"),
    [
        (kem.Diagonal(), [[1.0, 0.9], [0.9, 1.0]], r"expected 0 at \(0, 1\), got 9e"),
        (kem.Isotropic(), [[1.0, 0.0], [0.0, 2.0]], r"expected 1.5e?.* at \(0, 0\), got 1"),
    ],
)
def test_a_start_of_another_form_is_refused_in_all_units(walk, unit, form, start, message):
    data = np.column_stack([walk, walk[::-1]]) * np.sqrt(unit)
    model = kem.LocalLevel(observation_cov=form)
    if unit == 1.0:
        message = message.replace("got 9e", "got 0.9")
    with pytest.raises(kem.InputError, match=rf"^start\['observation_cov'\]: .* does not have the form .*: {message}"):
        kem.fit(model, data, start={"observation_cov": np.multiply(start, unit)}, stopping=SHORT)


def test_a_start_beside_a_large_entry_is_checked_in_its_own_unit(walk):
    data = np.column_stack([walk * 1e6, walk[::-1] * 1e-6])
    model = kem.LocalLevel(observation_cov=kem.Diagonal())
    good = np.diag([1e12, 1e-12])
    assert kem.fit(model, data, start={"observation_cov": good}, stopping=SHORT).em.n_iterations == 3
    correlated = good + 0.5 * np.array([[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(kem.InputError, match="does not have the form"):
        kem.fit(model, data, start={"observation_cov": correlated}, stopping=SHORT)


def test_a_start_may_miss_its_form_by_rounding(walk):
    data = np.column_stack([walk, walk[::-1]])
    start = np.diag([1.0, 2.0]) + 1e-16
    model = kem.LocalLevel(observation_cov=kem.Diagonal())
    assert kem.fit(model, data, start={"observation_cov": start}, stopping=SHORT).em.n_iterations == 3


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"level_cov": np.nan}, r"^start\['level_cov'\]: expected a finite number, got NaN"),
        ({"level_cov": None}, r"^start\['level_cov'\]: expected numbers, got None"),
        ({"level_cov": [[np.inf]]}, r"^start\['level_cov'\]: holds inf at position \(0, 0\); expected finite"),
        ({"levelcov": 1.0}, r"^start 'levelcov' is not known; .*\(did you mean 'level_cov'\?\)"),
        (kem.LocalLevel(), "^start: expected a mapping from parameter names to values, got LocalLevel$"),
    ],
)
def test_bad_starts_are_named(walk, start, message):
    with pytest.raises(kem.InputError, match=message):
        kem.fit(kem.LocalLevel(), walk, start=start)


def test_the_params_of_a_fit_are_a_start_and_a_fit_is_not(level, walk):
    again = kem.fit(kem.LocalLevel(), walk, start=level.params, stopping=SHORT)
    assert again.em.log_likelihoods[0] == pytest.approx(level.log_likelihood, rel=1e-12)
    with pytest.raises(kem.InputError, match=r"^start: .* got Fit; pass its \.params"):
        kem.fit(kem.LocalLevel(), walk, start=level)


def test_params_that_vary_in_time_are_a_start(walk):
    held = kem.Fixed(np.ones((40, 1, 1)))
    model = kem.LinearGaussian(1, 1, transition_matrix=kem.Fixed(1.0), observation_matrix=held)
    fitted = kem.fit(model, walk, stopping=SHORT)
    assert kem.fit(model, walk, start=fitted.params, stopping=SHORT).em.n_iterations == 3


def test_a_seed_is_checked_even_where_none_is_needed(walk):
    with pytest.raises(kem.InputError, match=r"^seed: expected a whole number"):
        kem.fit(kem.LocalLevel(), walk, seed="x")


# --- options that are not there ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["refit", "plot", "crosscheck"])
def test_an_option_that_is_not_there_names_the_method(level, walk, method):
    with pytest.raises(TypeError, match=rf"^Fit\.{method}\(\) got an unexpected keyword argument 'foo'"):
        getattr(level, method)(*([walk] if method == "refit" else []), foo=1)


# --- refit ------------------------------------------------------------------------------------------------------


def test_refitting_other_columns_blames_the_data(level, pushed, walk):
    two = np.column_stack([walk, walk])
    with pytest.raises(kem.InputError, match=r"^data: expected 1 column, .*, got 2 \(y1, y2\)"):
        level.refit(two)
    with pytest.raises(kem.InputError, match=r"^inputs: expected 1 column, as in the fit, got 2"):
        pushed.refit(walk, inputs=two)
    with pytest.raises(kem.InputError, match=r"^inputs: the model has an input matrix"):
        pushed.refit(walk)
    # A start of one's own needs nothing of the fit.
    assert level.refit(two, start={}, stopping=SHORT).panel.obs_dim == 2


def test_refitting_a_long_frame(level, walk):
    frame = pd.DataFrame({"id": np.repeat(["a", "b"], 20), "t": np.tile(np.arange(20), 2), "y": walk})
    again = level.refit(frame, series="id", time="t", stopping=SHORT)
    assert again.panel.keys == ("a", "b")


# --- forecast and simulate --------------------------------------------------------------------------------------


def test_labels_of_a_forecast_follow_on(level):
    assert level.forecast(2, index=ahead(2)).index.equals(ahead(2))
    assert level.forecast(2, index=["first", "second"]).index.tolist() == ["first", "second"]
    for labels, message in [
        (ahead(2, 39), "expected 2024-02-10 next, after 2024-02-09, got 2024-02-09"),
        (ahead(2, 43), "expected 2024-02-10 next, after 2024-02-09, got 2024-02-13; a forecast takes every step"),
        (ahead(3), "expected 2 labels, one a step, got 3"),
        ("ab", r"expected a sequence of labels, got 'ab' \(str\)"),
        (3, r"expected a sequence of labels, got 3 \(int\)"),
    ]:
        with pytest.raises(kem.InputError, match=f"^index: {message}"):
            level.forecast(2, index=labels)


def test_inputs_ahead_may_carry_their_labels(pushed):
    plain = pushed.forecast(2, inputs=[1.0, 2.0])
    labelled = pushed.forecast(2, inputs=pd.Series([1.0, 2.0], ahead(2)))
    assert np.array_equal(plain.means, labelled.means)
    with pytest.raises(kem.InputError, match=r"^inputs: .* got 2024-02-13 where 2024-02-10 was expected"):
        pushed.forecast(2, inputs=pd.Series([1.0, 2.0], ahead(2, 43)))


def test_simulation_takes_inputs_as_a_fit_does(pushed):
    draws = [
        pushed.simulate(3, rng=np.random.default_rng(0), inputs=inputs)["y"].tolist()
        for inputs in ([1.0, 2.0, 3.0], [[1.0], [2.0], [3.0]], pd.Series([1.0, 2.0, 3.0]))
    ]
    assert draws[0] == draws[1] == draws[2]
    assert len(pushed.simulate(rng=np.random.default_rng(0))) == 40


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, r"expected shape \(3, 1\), one row a step, got none; those of the fit are for 40 steps"),
        (1.0, r"expected shape \(T,\) or \(T, k\), .* got \(\)"),
        ([[1.0, 2.0, 3.0]], "expected 3 rows, .*, got 1"),
        (np.ones((3, 2)), "expected 1 column, as in the fit, got 2"),
        ([1.0, None, 2.0], "expected a known value in every row, got none"),
        ("x", "expected numbers, got text such as 'x'"),
    ],
)
def test_inputs_of_a_simulation_that_do_not_fit(pushed, inputs, message):
    with pytest.raises(kem.InputError, match=f"^inputs: {message}"):
        pushed.simulate(3, inputs=inputs)


@pytest.mark.parametrize("n_steps", [0, True, 1.5, "3", np.nan])
def test_a_length_is_a_whole_number(level, n_steps):
    with pytest.raises(kem.InputError, match=r"^n_steps: expected a whole number of at least 1, got"):
        level.simulate(n_steps)
    with pytest.raises(kem.InputError, match=r"^steps: expected a whole number of at least 1, got"):
        level.forecast(n_steps)


def test_inputs_that_the_model_does_not_have(level):
    with pytest.raises(kem.InputError, match=r"^inputs: expected none, because the fit had none"):
        level.simulate(3, inputs=[1.0, 2.0, 3.0])
    with pytest.raises(kem.InputError, match=r"^inputs: expected none"):
        level.forecast(3, inputs=[1.0, 2.0, 3.0])
    with pytest.raises(kem.InputError, match=r"^inputs: expected none, because the fit had none"):
        level.extend([1.0], inputs=[1.0])
    with pytest.raises(kem.InputError, match=r"^inputs: expected none, because the fit had none"):
        level.extend(kem.Observations([[1.0]], inputs=[[1.0]]))


# --- extend -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.Series([1.0, 2.0], ahead(2, 38)), "expected 2024-02-10 next, .*, got 2024-02-08; 2 of 2 labels overlap"),
        (pd.Series([1.0], ahead(1, 42)), "expected 2024-02-10 next, .*, got 2024-02-12; rows missing between"),
        (pd.Series([1.0], ahead(1).tz_localize("UTC")), "without a time zone .* got dates in the time zone UTC"),
        (pd.Series([1.0]), "continue dates without a time zone up to 2024-02-09, got numbers"),
        (pd.DataFrame({"z": [1.0]}, ahead(1)), "expected the columns y, in this order, got z"),
        (pd.DataFrame({"y": [1.0], "z": [1.0]}, ahead(1)), "expected the columns y, in this order, got y, z"),
        (np.ones((2, 2)), r"expected 1 column, .*, got 2 \(y1, y2\)$"),
        (kem.Panel([kem.Observations([[1.0]])] * 2), "expected the new rows of one series, got a Panel of 2"),
        ([], "expected at least one row and one column"),
        (["a"], "expected numbers, got text such as 'a'"),
    ],
)
def test_rows_that_do_not_follow_on(level, data, message):
    with pytest.raises(kem.InputError, match=f"^data: .*{message}"):
        level.extend(data)


def test_rows_for_labels_that_do_not_say_what_comes_next():
    fitted = kem.fit(kem.LocalLevel(), pd.Series([1.0, 2.0, 1.5, 3.0], list("abcd")), stopping=SHORT)
    with pytest.raises(kem.InputError, match=r"^data: expected a Series or DataFrame with labels, .*'d', do not say"):
        fitted.extend([1.0])
    assert fitted.extend(pd.Series([1.0], ["e"])).panel.series[0].index.tolist() == list("abcde")


def test_new_rows_bring_their_inputs_in_any_form(pushed):
    new = [3.0, 4.0]
    rows = pd.Series(new, ahead(2), name="y")
    longer = [
        pushed.extend(new, inputs=[0.5, 0.6]),
        pushed.extend(new, inputs=pd.Series([0.5, 0.6])),
        pushed.extend(rows, inputs=pd.Series([0.5, 0.6], ahead(2))),
        pushed.extend(kem.Observations([[3.0], [4.0]], inputs=[0.5, 0.6])),
    ]
    assert len({one.log_likelihood for one in longer}) == 1
    assert longer[0].panel.series[0].inputs[-2:].tolist() == [[0.5], [0.6]]
    for inputs, message in [
        (None, r"expected shape \(2, 1\), one row a new row, got none"),
        (np.ones((2, 2)), "expected 1 column, as in the fit, got 2"),
        (pd.Series([0.5, 0.6], ahead(2, 41)), "got 2024-02-11 where 2024-02-10 was expected"),
    ]:
        with pytest.raises(kem.InputError, match=f"^inputs: .*{message}"):
            pushed.extend(rows, inputs=inputs)


def test_a_fit_made_of_other_things_is_refused(level):
    with pytest.raises(kem.InputError, match=r"^panel: expected Panel, got list"):
        kem.Fit(model=level.model, specification=level.specification, panel=[], em=level.em)


class NeverStarts(kem.LocalLevel):
    """A level whose own start must not be asked for."""

    def start(self, specification, panel):
        raise AssertionError("the start was looked for")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"levelcov": 1.0}, "^start 'levelcov' is not known"),
        ({"level_cov": [1.0, 2.0]}, r"^start\['level_cov'\]: expected shape \(1, 1\), got \(2,\)"),
        ({"observation_cov": -1.0}, r"^start\['observation_cov'\]: expected a positive semi-definite"),
        ([1.0], "^start: expected a mapping"),
    ],
)
def test_a_bad_start_is_known_before_one_is_looked_for(walk, start, message):
    with pytest.raises(kem.InputError, match=message):
        kem.fit(NeverStarts(), walk, start=start)


def test_a_number_and_the_parameter_that_it_stands_in_must_agree():
    values = np.random.default_rng(0).normal(size=(30, 2))
    model = kem.LinearGaussian(1, 2, observation_cov=kem.Pattern([["r1", 0.0], [0.0, "r2"]]))
    with pytest.raises(kem.InputError, match=r"^start\['r1'\]: stands in observation_cov, .* got 0\.3 and"):
        kem.fit(model, values, start={"r1": 0.3, "observation_cov": np.eye(2)}, stopping=SHORT)
    both = {"r1": 0.3, "observation_cov": np.diag([0.3, 1.0])}
    fitted = kem.fit(model, values, start=both, stopping=SHORT)
    # The parameters of a fit name both.
    assert kem.fit(model, values, start=fitted.params, stopping=SHORT).em.n_iterations == 3
