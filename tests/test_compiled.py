"""While kernels are compiled Python's collector waits, and goes on afterwards only if it ran before."""

from __future__ import annotations

import gc
import math
from types import SimpleNamespace

import pytest
from numba.core import event

import kalman_em as kem
import kalman_em.compiled  # the listener


def compiling(function):
    """Return the announcement that `function` is being compiled, as numba makes it."""
    return event.trigger_event("numba:compile", data={"dispatcher": SimpleNamespace(py_func=function)})


def test_the_collector_waits_while_kernels_are_compiled_inside_of_each_other():
    assert gc.isenabled()
    with compiling(kem.fit):
        assert not gc.isenabled()
        with compiling(kem.fit_each):
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_where_compiling_fails():
    with pytest.raises(ArithmeticError), compiling(kem.fit):
        raise ArithmeticError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with compiling(kem.fit):
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_functions_of_others_are_compiled_as_they_are():
    with compiling(math.sqrt):
        assert gc.isenabled()
