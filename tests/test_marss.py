"""Every model of MARSS as it is written there, entry by entry, as patterns of ours; skipped where the folder is absent.

Source: MARSS 3.11.9 (R 4.2.2), its maxima polished by Newton steps. MARSS moves the state to row t by the inputs of row
t, this package from row t, so inputs of the transition come one row earlier; where the state before the first row is
learnt, it takes up the inputs of the first.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.oracles import array, shared_case, shared_series, shared_table

import kalman_em as kem

TIGHT = kem.Stopping(max_iterations=4000, relative_tolerance=1e-11, parameter_tolerance=1e-6)
OURS = {
    "B": "transition_matrix",
    "U": "transition_offset",
    "Q": "transition_cov",
    "Z": "observation_matrix",
    "A": "observation_offset",
    "R": "observation_cov",
    "x0": "initial_mean",
    "V0": "initial_cov",
}
INTERIOR = [
    "ar2noise_companion",
    "cov_obs_D_proc",
    "dfa_m2_Rdu",
    "dlm_salmon_prior",
    "loggerhead",
    "mar1_lakeWA_Bzeros",
    "nile_ll_drift",
    "nile_ll_missing_prior1000_t1",
    "nile_ll_prior1e7_t1",
    "nile_ll_x0est_t0",
    "nile_tvR",
    "royale_Blin",
    "royale_C_zeros",
    "seal_m1_Rde",
    "seal_m2_Ueq_Qde_Rdu",
    "seal_m2_Ueq_Qde_Rdu_tinitx1",
    "seal_m2_linU",
    "seal_m5_sharedR",
]


def ours(letter, name):
    """Return a name of MARSS as one of ours: MARSS takes any text, and the same name in two matrices is two numbers."""
    return f"{letter}." + "_".join(["n", *re.findall(r"\w+", name)])


def entry(letter, cell):
    """Return an entry of a matrix of MARSS: a number, a name, or numbers and names joined by + and *."""
    if not isinstance(cell, str):
        return cell
    if "+" not in cell and "*" not in cell:
        return ours(letter, cell)
    number = r"-?\d+\.?\d*"
    terms = [
        "*".join(part if re.fullmatch(number, part) else ours(letter, part) for part in term.split("*"))
        for term in cell.split("+")
    ]
    return "+".join(terms)


def pattern(letter, rows):
    written = [[entry(letter, cell) for cell in row] for row in rows]
    return kem.Pattern([row[0] for row in written] if letter in ("U", "A", "x0") else written)


def fitted_case(name):
    """Return the case and our fit of it."""
    case = shared_case(f"marss_{name}")
    symbolic = case["model"]["symbolic"]
    series = shared_series(case["data"]["file"])
    forms = {ours_: pattern(letter, symbolic[letter]) for letter, ours_ in OURS.items()}
    inputs = None
    if name == "cov_obs_D_proc":
        forms["observation_input"] = pattern("D", symbolic["D"])
        inputs = np.column_stack(list(shared_table("data/lakeWA_cov_1965_74_z.csv").values()))
    if name == "royale_C_zeros":
        forms["transition_input"] = pattern("C", symbolic["C"])
        climate = np.column_stack(list(shared_table("data/isleRoyal_clim_lag1_z.csv").values()))
        inputs = np.vstack([climate[1:], np.zeros((1, climate.shape[1]))])
    if name == "dlm_salmon_prior":
        forms["observation_matrix"] = kem.Fixed(case["matrices_at_filter_params"]["Z"])
    if name == "nile_tvR":
        forms["observation_cov"] = kem.Pattern([[["R.n_r1"]]] * 50 + [[["R.n_r2"]]] * 50)
    first = case["conventions"]["initial_state"].startswith("tinitx=1")
    model = kem.LinearGaussian(len(symbolic["B"]), series.obs_dim, initial_step="first" if first else "before", **forms)
    return case, kem.fit(model, series, inputs=inputs, stopping=TIGHT)


@pytest.mark.parametrize("name", INTERIOR)
def test_the_maximum_of_marss_is_reached_with_its_parameters(name):
    case, fitted = fitted_case(name)
    mle = case["mle"]
    assert fitted.em.stop_reason == "converged"
    assert fitted.log_likelihood > mle["logLik"] - 1e-4
    if fitted.log_likelihood > mle["logLik"] + 1e-3:
        return  # a higher maximum than theirs
    assert fitted.n_parameters == len(mle["par_names"])
    signs = np.ones(len(fitted.params["observation_matrix"].T)) if name != "dfa_m2_Rdu" else None
    for key, value, error in zip(mle["par_names"], array(mle["par"]), array(mle["se_numeric_hessian"]), strict=True):
        letter, _, label = key.partition(".")
        if name == "royale_C_zeros" and letter == "x0":
            continue  # ours takes up the inputs of the first row
        # MARSS files the coefficients of inputs under the offsets.
        inputs = ours({"A": "D", "U": "C"}.get(letter, letter), label)
        found = float(fitted.params[inputs if inputs in fitted.params else ours(letter, label)])
        if signs is None and letter == "Z":
            found, value = abs(found), abs(value)
        assert abs(found - value) < 1e-4 * max(abs(value), error), key
        if name != "dfa_m2_Rdu":
            spread = float(fitted.standard_errors[inputs if inputs in fitted.params else ours(letter, label)])
            assert spread == pytest.approx(error, rel=1e-3), key


def test_a_maximum_at_the_edge_is_higher_than_that_of_marss():
    """Q is singular at the maximum: MARSS stops short of it, its polished end is 40.859, and the edge is at 40.933."""
    case, fitted = fitted_case("seal_m5_Uun_Qunc_Rde")
    assert fitted.log_likelihood > case["mle"]["logLik"]
    assert fitted.log_likelihood > case["boundary_mle"]["logLik"] - 1e-2
