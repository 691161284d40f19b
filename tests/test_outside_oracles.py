"""Every outside result that the present parameters can express; skipped where the folder of results is absent.

Sources: MARSS 3.11.9, KFAS 1.5.1, astsa 2.5 and stats::arima (R 4.2.2). The Nile cases are checked in and run
everywhere: `test_nile.py`. Every model of MARSS is written as it is there, and fitted, in `test_marss.py`. Compared at
fixed parameters alone: fits with seasonal states (`kfas_ukgas`, `kfas_seatbelts_drivers`).
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov
from support.learning import plain_em, problem_of
from support.oracles import (
    array,
    assert_close,
    kfas_system,
    led,
    marss_system,
    shared_case,
    shared_series,
    shared_table,
)

import kalman_em as kem
from kalman_em import BlockDiagonal, Diagonal, Fixed, Full, Isotropic

LOG_2PI = np.log(2.0 * np.pi)
TIGHT = kem.Stopping(max_iterations=4000, relative_tolerance=1e-12, parameter_tolerance=1e-8)

MARSS = [
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
    "seal_m5_Uun_Qunc_Rde",
    "seal_m5_sharedR",
]


def step_of(case):
    return "first" if case["conventions"]["initial_state"].startswith("tinitx=1") else "before"


@pytest.mark.parametrize("name", MARSS)
def test_marss_filter_and_smoother(name):
    case = shared_case(f"marss_{name}")
    step, block = step_of(case), case["filter"]
    system = marss_system(case["matrices_at_filter_params"], step)
    filtered = kem.kalman_filter(system, led(shared_series(case["data"]["file"]), step))
    smoothed = kem.rts_smoother(system, filtered)
    is_hard = "1e7" in case["title"] or case["quality"] != "interior-mle"
    means, covs = (1e-6, 1e-6) if is_hard else (1e-8, 1e-8)
    assert filtered.log_likelihood == pytest.approx(block["logLik"], abs=1e-6 if is_hard else 1e-8)
    lead = int(step == "before")
    assert_close(smoothed.smoothed_means[lead:], block["xtT"], means, "xtT")
    assert_close(smoothed.smoothed_covs[lead:], block["VtT"], covs, "VtT")
    assert_close(filtered.predicted_means[lead:], block["xtt1"], means, "xtt1")
    assert_close(filtered.predicted_covs[lead:], block["Vtt1"], covs, "Vtt1")
    assert_close(filtered.filtered_means[lead:], block["xtt"], means, "xtt")
    assert_close(filtered.filtered_covs[lead:], block["Vtt"], covs, "Vtt")
    assert_close(smoothed.lag_one_covs, block["Vtt1T_lag1_cov"][1 - lead :], covs, "lag one")
    if lead:
        assert_close(smoothed.smoothed_means[0], block["x0T"], means, "x0T")
        assert_close(1.0 + smoothed.smoothed_covs[0], 1.0 + array(block["V0T"]), covs, "V0T")


def fitted_at(case):
    """Return the maximum of MARSS as arrays by our names."""
    given = case["matrices_at_filter_params"]
    names = {
        "transition_matrix": "B",
        "transition_cov": "Q",
        "observation_cov": "R",
        "transition_offset": "U",
        "initial_mean": "x0",
    }
    return {
        name: array(given[letter])[..., 0] if letter in ("U", "x0") else array(given[letter])
        for name, letter in names.items()
    }


def marss_fit(name, **options):
    """Return the case, our fit of it, and its model."""
    case = shared_case(f"marss_{name}")
    given = case["matrices_at_filter_params"]
    series = shared_series(case["data"]["file"])
    d, p = len(given["B"]), series.obs_dim
    known = {"transition_matrix": Fixed(np.eye(d)), "observation_matrix": Fixed(given["Z"])}
    unknown_start = {"initial_mean": Full(), "initial_cov": Fixed(0)}
    known_start = {"initial_mean": Fixed(np.ravel(given["x0"])), "initial_cov": Fixed(given["V0"])}
    covariates = None
    forms = {
        "loggerhead": lambda: (
            known
            | unknown_start
            | {"transition_offset": Full(), "transition_cov": Diagonal(), "observation_cov": Diagonal()}
        ),
        "dlm_salmon_prior": lambda: known | known_start | {"transition_cov": Diagonal(), "observation_cov": Full()},
        "cov_obs_D_proc": lambda: (
            known
            | known_start
            | {
                "transition_matrix": Diagonal(),
                "transition_cov": Full(),
                "observation_cov": Isotropic(),
                "observation_input": Full(),
            }
        ),
        "seal_m5_sharedR": lambda: (
            known
            | unknown_start
            | {
                "transition_offset": Isotropic(),
                "transition_cov": Isotropic(),
                "observation_cov": BlockDiagonal([(Isotropic(), 2), (Isotropic(), 3)]),
            }
        ),
        "seal_m5_Uun_Qunc_Rde": lambda: (
            known
            | unknown_start
            | {"transition_offset": Full(), "transition_cov": Full(), "observation_cov": Isotropic()}
        ),
    }[name]()
    if name == "cov_obs_D_proc":
        table = shared_table("data/lakeWA_cov_1965_74_z.csv")
        covariates = np.column_stack(list(table.values()))
    model = kem.LinearGaussian(d, p, initial_step=step_of(case), **forms)
    return case, kem.fit(model, series, inputs=covariates, **({"stopping": TIGHT} | options))


@pytest.mark.parametrize("name", ["loggerhead", "dlm_salmon_prior", "cov_obs_D_proc", "seal_m5_sharedR"])
def test_marss_maximum_likelihood(name):
    case, fitted = marss_fit(name)
    mle = case["mle"]
    assert fitted.log_likelihood == pytest.approx(mle["logLik"], abs=1e-6)
    assert fitted.n_parameters == len(mle["par"])
    assert fitted.aicc == pytest.approx(mle["AICc"], abs=1e-5)
    error = max(np.max(mle["se_numeric_hessian"]), 0.0)
    for parameter, value in fitted_at(case).items():
        if fitted.specification.is_free(parameter):
            np.testing.assert_allclose(fitted.params[parameter], value, rtol=1e-4, atol=1e-4 * error, err_msg=parameter)
    if name == "cov_obs_D_proc":
        at = dict(zip(mle["par_names"], mle["par"], strict=True))
        rows, columns = ("Greens", "Bluegreens"), ("Temp", "TP")
        ours = fitted.params["observation_input"]
        theirs = [[at[f"A.({row},{column})"] for column in columns] for row in rows]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_marss_maximum_on_the_boundary():
    """Q is singular at the maximum, in slanted directions that EM creeps along: compare heights, not places."""
    start = {
        "transition_cov": 0.05 * np.eye(5),
        "observation_cov": 0.05 * np.eye(5),
        "transition_offset": np.zeros(5),
    }
    case, fitted = marss_fit("seal_m5_Uun_Qunc_Rde", start=start, stopping=kem.Stopping(max_iterations=2000))
    assert fitted.em.log_likelihoods[0] == pytest.approx(case["em_trace"]["logLik"][0], abs=1e-8)
    assert fitted.log_likelihood > case["boundary_mle"]["logLik"] - 0.1
    assert fitted.n_parameters == case["em"]["num_params"]


def test_marss_maximum_on_the_boundary_from_our_start():
    case, fitted = marss_fit("seal_m5_Uun_Qunc_Rde", stopping=kem.Stopping(max_iterations=2000))
    assert fitted.log_likelihood > case["boundary_mle"]["logLik"] - 0.1


KFAS = {
    "nile_ll_fixed": (),
    "nile_ll_missing_fixed": (),
    "nile_llt_fixed_missing_start": (),
    "seatbelts_bivariate_ll_missing_fixed": (),
    "seatbelts_drivers_trig_fixed": ("log_drivers",),
    "ukgas_bsm_fixed": (),
}


@pytest.mark.parametrize("name", KFAS)
def test_kfas_exact_diffuse(name):
    case = shared_case(f"kfas_{name}")
    results, system = case["results"], kfas_system(case["results"]["model"])
    series = shared_series(case["data"]["file"], *KFAS[name])
    filtered = kem.kalman_filter(system, series)
    smoothed = kem.rts_smoother(system, filtered)
    tolerance = 1e-6 if "drivers" in name else 1e-8
    assert filtered.log_likelihood == pytest.approx(results["logLik_DK_exact_diffuse"], abs=tolerance)
    assert_close(smoothed.smoothed_means, results["smoothed_state"], tolerance, "smoothed_state")
    theirs = array(results["smoothed_var"])
    covs = smoothed.smoothed_covs
    # Of the larger models the variances alone are stored.
    ours = covs if theirs.ndim == 3 else np.diagonal(covs, axis1=1, axis2=2)
    assert_close(ours, theirs, tolerance, "smoothed_var")
    # After the diffuse phase the predictions are ordinary.
    first = results["d_last_diffuse_t"]
    if "predicted_state_a" in results:
        assert_close(filtered.predicted_means[first:], results["predicted_state_a"][first:-1], tolerance, "a")
        assert_close(filtered.predicted_covs[first:], results["predicted_var_P"][first:-1], tolerance, "P")
        assert_close(filtered.filtered_means[first:], results["filtered_state_att"][first:], tolerance, "att")
    ahead = kem.predict_rows(system, filtered, 1)
    assert_close(ahead.state_means[0], results["final_prediction"]["a"], tolerance, "a")
    assert_close(ahead.state_covs[0], results["final_prediction"]["P"], tolerance, "P")


def test_kfas_forecast():
    results = shared_case("kfas_seatbelts_bivariate_ll_missing_fixed")["results"]
    system = kfas_system(results["model"])
    filtered = kem.kalman_filter(system, shared_series("data/seatbelts_front_rear_missing.csv"))
    ahead = kem.predict_rows(system, filtered, 6)
    for column, name in enumerate(["log_front", "log_rear"]):
        theirs = results["forecast"][name]
        mean, sd = ahead.observation_means[:, column], np.sqrt(ahead.observation_covs[:, column, column])
        np.testing.assert_allclose(mean, theirs["fit"], rtol=1e-9)
        np.testing.assert_allclose(mean + 1.959963984540054 * sd, theirs["upr"], rtol=1e-9)


# --- astsa: EM step by step; the prior one step before, mean and covariance of it learnt ----------------------------


def blood():
    case = shared_case("astsa_blood_em")
    # Rows without a draw are missing as a whole in astsa.
    problem, led_series = problem_of(
        kem.LinearGaussian(
            3,
            3,
            observation_matrix=Fixed(np.eye(3)),
            observation_cov=Diagonal(),
            initial_mean=Full(),
            initial_cov=Full(),
            initial_step="before",
        ),
        shared_series(case["data"]["file"]),
    )
    start = kem.LinearGaussianSystem(
        transition_matrix=case["start"]["Phi"],
        transition_cov=np.diag(case["start"]["Q_diag"]),
        observation_matrix=np.eye(3),
        observation_cov=np.diag(case["start"]["R_diag"]),
        initial_mean=case["start"]["mu0"],
        initial_cov=np.diag(case["start"]["Sigma0_diag"]),
    )
    return case, problem, start, led_series[0]


ASTSA = {
    "Phi": "transition_matrix",
    "Q": "transition_cov",
    "R": "observation_cov",
    "mu0": "initial_mean",
    "Sigma0": "initial_cov",
}


def compare_astsa(system, theirs, tolerance=1e-8):
    for letter, name in ASTSA.items():
        value = getattr(system, name)
        np.testing.assert_allclose(value, array(theirs[letter]).reshape(value.shape), rtol=0.0, atol=tolerance)


def test_astsa_blood_em_step_by_step():
    case, problem, start, series = blood()
    path = list(plain_em(problem, start, 64))
    for entry in case["trace"]:
        compare_astsa(path[entry["k"]][0], entry)
    compare_astsa(path[case["em_default_tol_1e4"]["niter"]][0], case["em_default_tol_1e4"])
    assert path[0][1] == pytest.approx(case["logLik_full_observed_data_at_start"], abs=1e-8)
    assert path[64][1] == pytest.approx(case["logLik_full_observed_data_at_em_default"], abs=1e-8)
    # Its own objective has another constant, and log R for every missing entry.
    missing = series.is_missing[1:]
    for (system, value), like in zip(path, case["em_default_tol_1e4"]["like_trace"], strict=True):
        extra = 0.5 * np.sum(missing * np.log(np.diagonal(system.observation_cov)))
        assert value == pytest.approx(-like + extra - 0.5 * np.sum(~missing) * LOG_2PI, abs=1e-8)


def test_astsa_blood_em_far_on():
    """The updates go on after astsa's own stop (its objective turns there; the likelihood does not)."""
    case, problem, start, _ = blood()
    wanted = {entry["k_total_updates"]: entry for entry in case["em_continued_single_steps"][:2]}
    path = list(plain_em(problem, start, max(wanted)))
    assert np.all(np.diff([value for _, value in path]) > 0.0)
    for k, entry in wanted.items():
        compare_astsa(path[k][0], entry, tolerance=1e-7)
        assert path[k][1] == pytest.approx(entry["logLik_full_observed_data"], abs=1e-8)


def test_astsa_ar1_with_noise_em_step_by_step():
    case = shared_case("astsa_ex6_8_em_ar1noise")
    model = kem.LinearGaussian(
        1,
        1,
        observation_matrix=Fixed([[1.0]]),
        initial_mean=Full(),
        initial_cov=Full(),
        initial_step="before",
    )
    problem, _ = problem_of(model, shared_series(case["data"]["file"]))
    given = case["start"]
    start = scalar_system(given["Phi"], given["Q"], given["R"], given["mu0"], given["Sigma0"])
    path = list(plain_em(problem, start, 200))
    for entry in case["trace"]:
        compare_astsa(path[entry["k"]][0], entry)
    for run in ("em_default_tol_1e4", "em_tol_1e5_max75"):
        compare_astsa(path[case[run]["niter"]][0], case[run])
    # Stopped by its limit, astsa counts one less than it took.
    compare_astsa(path[case["em_200_iterations"]["niter"] + 1][0], case["em_200_iterations"])
    n = 100
    likes = -np.array([value for _, value in path[:200]]) - 0.5 * n * LOG_2PI
    np.testing.assert_allclose(likes, case["em_200_iterations"]["like_trace"], rtol=0.0, atol=1e-8)
    assert path[0][1] == pytest.approx(case["logLik_full_at_start"], abs=1e-8)


def scalar_system(F, Q, R, m, P):
    return kem.LinearGaussianSystem(
        transition_matrix=[[F]],
        transition_cov=[[Q]],
        observation_matrix=[[1.0]],
        observation_cov=[[R]],
        initial_mean=[m],
        initial_cov=[[P]],
    )


def test_astsa_stationary_start():
    case = shared_case("astsa_ex6_8_em_ar1noise")
    newton = case["newton_stationary_init"]
    phi, sigw, sigv = newton["par"]
    system = scalar_system(phi, sigw**2, sigv**2, 0.0, sigw**2 / (1.0 - phi**2))
    series = led(shared_series(case["data"]["file"]), "before")
    assert kem.kalman_filter(system, series).log_likelihood == pytest.approx(newton["logLik_full"], abs=1e-8)


def test_astsa_smoother():
    case = shared_case("astsa_ex6_5_smoother")
    results = case["results"]
    system = scalar_system(1.0, 1.0, 1.0, 0.0, 1.0)
    filtered = kem.kalman_filter(system, led(shared_series(case["data"]["file"]), "before"))
    smoothed = kem.rts_smoother(system, filtered)
    assert filtered.log_likelihood == pytest.approx(results["logLik_full"], abs=1e-8)
    for ours, key in [
        (smoothed.smoothed_means[1:], "Xs"),
        (smoothed.smoothed_covs[1:], "Ps"),
        (filtered.filtered_means[1:], "Xf"),
        (filtered.filtered_covs[1:], "Pf"),
        (filtered.predicted_means[1:], "Xp"),
        (filtered.predicted_covs[1:], "Pp"),
        (smoothed.smoothed_means[0], "x0n"),
        (smoothed.smoothed_covs[0], "P0n"),
    ]:
        assert_close(ours, array(results[key]).reshape(ours.shape), 1e-10, key)


# --- stats::arima: a stationary start, worked out here -------------------------------------------------------------


def arma_system(ar, ma, mean, sigma2):
    """Return the ARMA in the form of Harvey (1993), section 4.1, from its stationary distribution."""
    d = max(len(ar), len(ma) + 1)
    F = np.eye(d, k=1)
    F[: len(ar), 0] = ar
    G = np.zeros((d, 1))
    G[: len(ma) + 1, 0] = [1.0, *ma]
    return kem.LinearGaussianSystem(
        transition_matrix=F,
        transition_cov=[[sigma2]],
        noise_selection=G,
        observation_matrix=np.eye(1, d),
        observation_offset=[mean],
        observation_cov=[[0.0]],
        initial_mean=np.zeros(d),
        initial_cov=solve_discrete_lyapunov(F, sigma2 * G @ G.T),
    )


@pytest.mark.parametrize("name", ["ar1", "ar3", "arma11", "ar1_missing"])
def test_arima_likelihood_and_forecasts(name):
    case = shared_case("arima_lh")
    entry = case[name]
    at = dict(zip(entry["coef_names"], entry["coef"], strict=True))
    ar = [value for label, value in at.items() if label.startswith("ar")]
    ma = [value for label, value in at.items() if label.startswith("ma")]
    system = arma_system(ar, ma, at["intercept"], entry["sigma2"])
    series = shared_series(case["data"]["file_missing" if name.endswith("missing") else "file"])
    filtered = kem.kalman_filter(system, series)
    assert filtered.log_likelihood == pytest.approx(entry["logLik"], abs=1e-7)
    ahead = kem.predict_rows(system, filtered, 5)
    np.testing.assert_allclose(ahead.observation_means[:, 0], entry["forecast"], rtol=1e-7)
    np.testing.assert_allclose(np.sqrt(ahead.observation_covs[:, 0, 0]), entry["forecast_se"], rtol=1e-7)
