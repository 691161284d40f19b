"""What is public is explained: every name has a docstring with an example that runs (the doctests run them)."""

from __future__ import annotations

import inspect
import types

import pytest

import kalman_em as kem

MODULES = [name for name in kem.__all__ if isinstance(getattr(kem, name), types.ModuleType)]
NAMES = [name for name in kem.__all__ if name not in MODULES]
METHODS = [name for name, _ in inspect.getmembers(kem.Fit, inspect.isfunction) if not name.startswith("_")]
PROPERTIES = [name for name in dir(kem.Fit) if not name.startswith("_") and name not in METHODS]
# What a caller may do wrong is said; these take nothing that could be wrong, or are not called.
RAISES_NOTHING = {
    *("EMIteration", "EMProblem", "Fit", "InputError", "NumericalError", "StopReason"),
    *("Diagonal", "Diffuse", "Full", "Hard", "Isotropic"),
}


def public_functions(module: types.ModuleType) -> list[str]:
    """Return the names of the functions that a public module brings."""
    root = module.__name__
    found = inspect.getmembers(module, inspect.isfunction)
    return [name for name, one in found if not name.startswith("_") and one.__module__.startswith(root)]


def section(text: str | None, title: str) -> str:
    """Return what stands below a heading of a numpydoc docstring, to its end; nothing if it has no such heading."""
    lines = inspect.cleandoc(text or "").splitlines()
    for row, line in enumerate(lines[:-1]):
        if line == title and lines[row + 1] == "-" * len(title):
            return "\n".join(lines[row + 2 :])
    return ""


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>>" in section(getattr(kem, name).__doc__, "Examples")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_a_fit_has_an_example(name: str) -> None:
    assert ">>>" in section(getattr(kem.Fit, name).__doc__, "Examples")


@pytest.mark.parametrize("module", MODULES)
def test_every_function_of_a_public_module_has_an_example(module: str) -> None:
    functions = public_functions(getattr(kem, module))
    assert functions
    for name in functions:
        assert ">>>" in section(getattr(getattr(kem, module), name).__doc__, "Examples"), name


@pytest.mark.parametrize("name", [name for name in NAMES if name not in RAISES_NOTHING])
def test_every_public_name_says_what_it_raises(name: str) -> None:
    assert "Error" in section(getattr(kem, name).__doc__, "Raises")


@pytest.mark.parametrize(
    ("name", "source"), [("aic", "Akaike 1974"), ("aicc", "Hurvich and Tsai 1989"), ("bic", "Schwarz 1978")]
)
def test_criteria_give_their_equation_and_source(name: str, source: str) -> None:
    text = getattr(kem.Fit, name).__doc__
    assert source in text
    assert " k" in text


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_property_of_a_fit_is_explained(name: str) -> None:
    assert inspect.getattr_static(kem.Fit, name).__doc__
