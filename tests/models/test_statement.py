"""A model is refused where it is misstated, not in the fit; models that state the same are equal."""

from __future__ import annotations

import numpy as np
import pytest

import kalman_em as kem
from kalman_em import Diffuse, Fixed, Full

G = np.kron([[0.125], [0.5]], np.eye(2))
F = np.kron([[1.0, 0.5], [0.0, 1.0]], np.eye(2))


def tracking(**changed):
    """The tracking model of the README."""
    forms = {
        "transition_matrix": Fixed(F),
        "noise_selection": G,
        "transition_cov": kem.Isotropic(),
        "observation_matrix": Fixed(np.eye(2, 4)),
        "observation_cov": kem.Diagonal(),
        "initial_cov": Diffuse(),
    }
    return kem.LinearGaussian(state_dim=4, obs_dim=2, **forms | changed)


GENERAL = [
    "transition_matrix",
    "transition_offset",
    "transition_input",
    "transition_cov",
    "observation_matrix",
    "observation_offset",
    "observation_input",
    "observation_cov",
    "initial_mean",
    "initial_cov",
]
PLACES = [
    *(((lambda **form: kem.LinearGaussian(2, 2, **form)), name) for name in GENERAL),
    *((kem.LocalLevel, name) for name in ("level_cov", "observation_cov", "initial_mean", "initial_cov")),
    *((kem.LocalLinearTrend, name) for name in ("level_cov", "slope_cov", "observation_cov")),
    *((kem.LocalLinearTrend, name) for name in ("initial_mean", "initial_cov")),
]


@pytest.mark.parametrize(("model", "name"), PLACES)
@pytest.mark.parametrize(
    ("form", "came"),
    [
        ("diagonal", r"'diagonal' \(did you mean Diagonal\(\)\?\)"),
        (kem.Diagonal, "the class Diagonal; call it"),
        (np.eye(2), "an array; hold known numbers with Fixed"),
        (1.0, "1.0"),
    ],
    ids=["text", "class", "array", "number"],
)
def test_what_is_no_form_is_refused_at_once(model, name, form, came):
    with pytest.raises(kem.InputError, match=f"^{name}: expected a form such as .* got {came}"):
        model(**{name: form})


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        ({"transition_matrix": None}, "^transition_matrix: expected a form .* got None"),
        ({"transition_matrix": Diffuse()}, r"^transition_matrix: expected a form .* got Diffuse\(\)"),
        ({"transition_cov": Diffuse()}, r"^transition_cov: expected a form .* got Diffuse\(\)"),
        ({"transition_matrix": Fixed(np.eye(3))}, r"^transition_matrix: expected shape \(2, 2\)"),
        ({"observation_matrix": kem.Diagonal()}, "^observation_matrix: Diagonal needs a square matrix"),
        ({"observation_offset": Fixed([1.0, 2.0])}, r"^observation_offset: expected shape \(3,\)"),
        ({"initial_mean": Fixed(np.ones(3))}, r"^initial_mean: expected shape \(2,\)"),
        ({"observation_cov": Fixed(-np.eye(3))}, "^observation_cov: .*semi-definite"),
        ({"initial_cov": Fixed(np.eye(3))}, r"^initial_cov: expected shape \(2, 2\)"),
        ({"transition_cov": kem.BlockDiagonal([(Full(), 3)])}, "^transition_cov: BlockDiagonal has blocks of 3 rows"),
        ({"noise_selection": np.ones((2, 1)), "transition_cov": Fixed(np.eye(2))}, "^transition_cov: expected shape"),
        ({"noise_selection": np.ones((3, 1))}, r"^noise_selection: expected shape \(2, r\), got \(3, 1\)"),
        ({"noise_selection": np.ones(2)}, r"^noise_selection: expected shape \(2, r\), got \(2,\)"),
        ({"initial_step": "after"}, "^initial_step: expected 'first' or 'before', got 'after'"),
    ],
)
def test_what_does_not_fit_the_dimensions_is_refused_at_once(forms, message):
    with pytest.raises(kem.InputError, match=message):
        kem.LinearGaussian(2, 3, **forms)


@pytest.mark.parametrize("name", ["level_cov", "observation_cov", "initial_cov"])
def test_the_initial_covariance_alone_may_be_diffuse(name):
    if name == "initial_cov":
        assert kem.LocalLevel(initial_cov=Diffuse()) == kem.LocalLevel()
    else:
        with pytest.raises(kem.InputError, match=f"^{name}: expected a form"):
            kem.LocalLevel(**{name: Diffuse()})


def test_models_that_state_the_same_are_equal():
    same, minus = tracking(noise_selection=G.copy()), tracking(noise_selection=np.where(G == 0.0, -0.0, G))
    assert tracking() == same == minus
    assert len({tracking(), same, minus}) == 1
    assert kem.LinearGaussian(2, 2) == kem.LinearGaussian(np.int64(2), 2)


@pytest.mark.parametrize(
    "other",
    [
        tracking(noise_selection=2.0 * G),
        tracking(noise_selection=None, transition_cov=Full()),
        tracking(transition_cov=Full()),
        tracking(transition_matrix=Fixed(2.0 * F)),
        tracking(initial_step="first"),
        kem.LinearGaussian(4, 2),
        kem.LocalLevel(),
        None,
    ],
)
def test_models_that_state_something_else_are_not_equal(other):
    assert tracking() != other


def test_a_saved_model_comes_back_equal(tmp_path):
    fitted = kem.fit(
        tracking(),
        np.random.default_rng(2).normal(size=(20, 2)).cumsum(axis=0),
        stopping=kem.Stopping(max_iterations=2),
    )
    fitted.save(tmp_path / "radar.json")
    loaded = kem.load(tmp_path / "radar.json").model
    assert loaded == fitted.model == tracking()
    assert hash(loaded) == hash(fitted.model)


@pytest.mark.parametrize(
    ("state", "near"),
    [
        (lambda: kem.LocalLevel(level_cv=kem.Full()), "level_cov"),
        (lambda: kem.LocalLinearTrend(slop_cov=kem.Full()), "slope_cov"),
        (lambda: kem.LinearGaussian(1, 1, transition_matrx=kem.Full()), "transition_matrix"),
    ],
)
def test_a_misspelt_parameter_is_named_with_the_nearest(state, near):
    with pytest.raises(kem.InputError, match=rf"^L\w+: parameter '\w+' is not known; .*did you mean '{near}'"):
        state()
