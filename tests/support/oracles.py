"""Numbers of other packages: extracts that are checked in, and the whole cases where they lie beside the repository."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import kalman_em as kem

TESTS = Path(__file__).parents[1]
SHARED = TESTS.parents[1] / "shared" / "oracles"


def nile_cases():
    """Return the rows that the arrays hold, and the cases of `tests/oracles/nile.json` by name."""
    whole = json.loads((TESTS / "oracles" / "nile.json").read_text(encoding="utf-8"))
    return whole["rows"], whole["cases"]


def nile(missing_rows=()):
    """Return the Nile series, with rows blanked."""
    values = np.array(kem.datasets.load("nile")["flow"], dtype=float)[:, None]
    values[list(missing_rows)] = np.nan
    return kem.Observations(values)


def shared_names(prefix):
    """Return the names of the shared cases that begin with `prefix`; none where the folder is absent."""
    return sorted(path.stem for path in SHARED.glob(f"{prefix}*.json"))


def shared_case(name):
    """Return a shared case; skip the test where the folder is absent."""
    path = SHARED / f"{name}.json"
    if not path.exists():
        pytest.skip(f"the folder of outside results ({path.parent.name}) is not beside the repository")
    return json.loads(path.read_text(encoding="utf-8"))


def shared_table(file):
    """Return a shared CSV file as {column: values}, the first column (labels) left out; an empty cell is NaN."""
    with (SHARED / file).open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    values = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in rows])
    return dict(zip(header[1:], values.T, strict=True))


def shared_series(file, *columns):
    """Return some columns (all when none is named) of a shared CSV file as `Observations`."""
    table = shared_table(file)
    return kem.Observations(np.column_stack([table[name] for name in columns or table]))


def array(value):
    """Return a nested list as an array, null as NaN."""
    return np.array(value, dtype=float)


def assert_close(ours, theirs, tolerance, name=""):
    """Compare arrays relative to the largest entry, where the other package says anything."""
    theirs = array(theirs)
    assert ours.shape == theirs.shape, name
    known = ~np.isnan(theirs)
    assert known.any(), name
    size = np.abs(theirs[known]).max()
    np.testing.assert_allclose(ours[known], theirs[known], rtol=0.0, atol=tolerance * max(size, 1e-300), err_msg=name)


def marss_system(matrices, initial_step):
    """Return the system of a MARSS case: x_t = B x_{t-1} + U_t + w_t, y_t = Z x_t + A_t + v_t.

    With the prior at t = 0 ("before") the system has a leading row, for a leading row of missing data.
    """
    given = {name: array(matrices[name]) for name in ("B", "U", "Q", "Z", "A", "R", "x0", "V0")}

    def led(value, ndim):
        varies = value.ndim > ndim and initial_step == "before"
        return np.concatenate([value[:1], value]) if varies else value

    def moved(value, ndim):
        # Entry t of MARSS leads to row t; ours leads from row t.
        return value[1:] if value.ndim > ndim and initial_step == "first" else value

    return kem.LinearGaussianSystem(
        transition_matrix=moved(given["B"], 2),
        transition_offset=moved(given["U"], 2)[..., 0],
        transition_cov=moved(given["Q"], 2),
        observation_matrix=led(given["Z"], 2),
        observation_offset=led(given["A"], 2)[..., 0],
        observation_cov=led(given["R"], 2),
        initial_mean=given["x0"][:, 0],
        initial_cov=given["V0"],
    )


def led(observations, initial_step):
    """Return the series with a missing row in front for a prior one step before."""
    if initial_step == "first":
        return observations
    return kem.Observations(np.vstack([np.full((1, observations.obs_dim), np.nan), observations.values]))


def kfas_system(model):
    """Return the system of a KFAS case: a diffuse element is one with P1inf."""
    return kem.LinearGaussianSystem(
        transition_matrix=model["T"],
        transition_cov=model["Q"],
        noise_selection=model["R"],
        observation_matrix=model["Z"],
        observation_cov=model["H"],
        initial_mean=model["a1"],
        initial_cov=model["P1"],
        initial_diffuse=np.diagonal(array(model["P1inf"])) == 1.0,
    )
