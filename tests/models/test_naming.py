"""Models as text: names, arguments, sums, and errors that name what is wrong."""

from __future__ import annotations

import pytest

import kalman_em as kem
from kalman_em.models.naming import model_named


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("local-level", kem.LocalLevel()),
        (" Local_Linear trend ", kem.LocalLinearTrend()),
        ("seasonal(12)", kem.Seasonal(12)),
        ("smooth-trend + seasonal(365.25/7, harmonics=2)", kem.SmoothTrend() + kem.Seasonal(365.25 / 7, harmonics=2)),
        ("local-level+seasonal(2 + 2, kind='dummy')", kem.LocalLevel() + kem.Seasonal(4, kind="dummy")),
        ("local-level() + seasonal(period=3*4)", kem.LocalLevel() + kem.Seasonal(12)),
    ],
)
def test_text_becomes_the_model(text, model):
    assert model_named(text) == model


def test_the_covariance_holds_for_every_noise():
    named = model_named("local-level + seasonal(4)", covariance="diagonal")
    diagonal = kem.Diagonal()
    level = kem.LocalLevel(level_cov=diagonal, observation_cov=diagonal)
    assert named == level + kem.Seasonal(4, seasonal_cov=diagonal, observation_cov=diagonal)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("local-level + sesonal(4)", r"model 'sesonal' is not known \(did you mean seasonal\?\)"),
        ("local-level + ", "model '' is not known"),
        ("seasonal(4", "the brackets do not match"),
        ("seasonal(4))", "the brackets do not match"),
        ("seasonal(x)", r"model 'seasonal\(x\)': the arguments \(x\) cannot be read"),
        ("seasonal(__import__('os'))", "cannot be read"),
        ("seasonal(1/0)", "cannot be read"),
        ("seasonal(1)", r"model 'seasonal\(1\)': period: expected a number of steps of at least 2"),
        ("seasonal(4, harmonic=1)", "parameter 'harmonic' is not known"),
        ("seasonal()", r"model 'seasonal\(\)': expected arguments out of period, harmonics, kind"),
        ("local-level + local-linear-trend", "each bring a level"),
    ],
)
def test_what_cannot_be_read_is_named(text, said):
    with pytest.raises(kem.InputError, match=said):
        model_named(text)
