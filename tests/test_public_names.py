"""Public names are loaded when asked for, are what type checkers take them for, and load what they need alone."""

from __future__ import annotations

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import kalman_em as kem

SOURCE = Path(kem.__file__).read_text(encoding="utf-8")
MODULES = {"crosscheck", "datasets", "plotting"}


def stated():
    """Return the module of every name that type checkers are told of."""
    for_types = next(node for node in ast.parse(SOURCE).body if isinstance(node, ast.If))
    return {name.name: node.module for node in for_types.body for name in node.names}


def test_type_checkers_are_told_of_every_public_name_and_no_other():
    assert sorted(stated()) == sorted(kem.__all__) == sorted(set(kem.__all__))


@pytest.mark.parametrize("name", kem.__all__)
def test_a_public_name_is_what_type_checkers_take_it_for(name):
    module = stated()[name]
    if name in MODULES:
        assert getattr(kem, name) is importlib.import_module(f"kalman_em.{name}")
    else:
        assert getattr(kem, name) is getattr(importlib.import_module(module), name)


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'kalman_em' has no attribute 'local_level'"):
        kem.local_level  # noqa: B018


def test_all_names_are_listed_and_come_with_a_star():
    assert set(kem.__all__) <= set(dir(kem))
    found = run("from kalman_em import *; print(sorted(n for n in dir() if n[0] != '_') == sorted(kalman_em_names))")
    assert found == "True"


def test_values_are_pickled():
    assert pickle.loads(pickle.dumps(kem.Stopping(max_iterations=7))) == kem.Stopping(max_iterations=7)


def run(code):
    """Return what a process of its own prints."""
    names = f"kalman_em_names = {[*kem.__all__, 'kalman_em_names']!r}\n"
    command = [sys.executable, "-c", names + code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


LOADED = (
    "import sys; print(sorted({name.split('.')[0] for name in sys.modules} & {'numpy', 'numba', 'scipy', 'pandas'}))"
)


def test_the_import_alone_loads_no_other_package():
    assert run(f"import kalman_em; {LOADED}") == "[]"


def test_a_form_needs_no_compiler_and_no_frames():
    assert run(f"import kalman_em as kem; kem.Diagonal(); {LOADED}") == "['numpy']"


def test_a_model_and_fit_load_no_other_models_and_no_leaf():
    heavy = ["scipy.linalg", "scipy.optimize", "scipy.stats", "matplotlib", "statsmodels"]
    ours = ["kalman_em.latent.gaussian_hmm", "kalman_em.fitting.latent.learning", "kalman_em.plotting"]
    show = f"import sys; print(sorted({{*{heavy + ours}}} & set(sys.modules)))"
    assert run(f"import kalman_em as kem; kem.fit, kem.LocalLevel(); {show}") == "[]"
