"""Vector autoregressions and dynamic factors: matrices, statsmodels' likelihood, the end of EM, a ragged edge."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import kalman_em as kem

FEW = kem.Stopping(max_iterations=20)


def panel_of(values):
    return kem.Panel([kem.Observations(np.asarray(values, dtype=float))])


def growth():
    macro = kem.datasets.load("us_macro")[["realgdp", "realcons", "realinv", "realdpi", "unemp"]]
    table = 400.0 * np.log(macro).diff().iloc[1:]
    table["unemp"] = macro["unemp"].diff().iloc[1:]
    return table


def two_columns(seed=0, n_steps=120):
    rng = np.random.default_rng(seed)
    A = np.array([[0.6, 0.2], [-0.1, 0.5]])
    rows = [np.zeros(2)]
    for _ in range(n_steps):
        rows.append(A @ rows[-1] + rng.normal(size=2))
    values = np.array([5.0, -3.0]) + np.array(rows[1:]) + 0.5 * rng.normal(size=(n_steps, 2))
    values[10:13, 0] = np.nan
    values[40] = np.nan
    return values


def begun(model, values, **params):
    """Return the log-likelihood and the system where the named parameters are as given."""
    fitted = kem.fit(model, values, start=params, stopping=kem.Stopping(max_iterations=1), method="plain")
    return float(fitted.em.log_likelihoods[0])


def test_the_matrices_of_a_vector_autoregression():
    values = two_columns()
    model = kem.VectorAutoregression(2)
    specification = model.specify(panel_of(values))
    system = model.start(specification, panel_of(values))
    assert specification.state_names == ("y1", "y2", "y1_lag_1", "y2_lag_1")
    assert system.transition_matrix[2:].tolist() == np.eye(2, 4).tolist()
    assert system.observation_matrix.tolist() == np.eye(2, 4).tolist()
    assert specification.n_parameters == 8 + 3 + 2 + 2


def test_the_likelihood_of_a_vector_autoregression_is_that_of_statsmodels():
    values, A = two_columns(1), np.array([[0.5, 0.1, 0.2, 0.0], [-0.2, 0.4, 0.0, 0.1]])
    Q, R, d = np.array([[1.0, 0.3], [0.3, 2.0]]), np.diag([0.2, 0.4]), np.array([4.0, -2.0])
    ours = begun(
        kem.VectorAutoregression(2), values, autoregression=A, autoregression_cov=Q, observation_cov=R,
        observation_offset=d,
    )  # fmt: skip
    theirs = sm.tsa.VARMAX(values - d, order=(2, 0), trend="n", measurement_error=True)
    theirs.update(np.concatenate([A.ravel(), np.linalg.cholesky(Q)[np.tril_indices(2)], np.diagonal(R)]))
    first = np.zeros((4, 4))
    first[:2, :2] = Q
    theirs.ssm.initialize_known(np.zeros(4), first)
    theirs.ssm.tolerance = 0.0
    assert ours == pytest.approx(theirs.ssm.loglike(), rel=1e-8)


def test_the_likelihood_of_a_dynamic_factor_is_that_of_statsmodels():
    values = growth().iloc[:, :3].to_numpy()
    values = values - values.mean(axis=0)
    values[-1, 0], values[5] = np.nan, np.nan
    loadings, Q, R = np.array([[1.0], [0.8], [4.0]]), 6.0, np.array([4.0, 3.0, 200.0])
    ours = begun(
        kem.DynamicFactor(1, 2), values, loadings=loadings, factor_transition=[[0.4, 0.2]], factor_cov=[[Q]],
        observation_cov=np.diag(R), observation_offset=np.zeros(3),
    )  # fmt: skip
    theirs = sm.tsa.DynamicFactor(values, k_factors=1, factor_order=2)
    theirs.update(np.concatenate([loadings[:, 0] * np.sqrt(Q), R, [0.4, 0.2]]))
    theirs.ssm.initialize_known(np.zeros(2), np.diag([1.0, 0.0]))
    theirs.ssm.tolerance = 0.0
    assert ours == pytest.approx(theirs.ssm.loglike(), rel=1e-8)


MODELS = {
    "vector autoregression": (kem.VectorAutoregression(1), two_columns(2)),
    "factor": (kem.DynamicFactor(1), growth().iloc[:100].to_numpy()),
    "factor and memories": (kem.DynamicFactor(1, idiosyncratic=True), growth().iloc[:80, :3].to_numpy()),
}


@pytest.mark.parametrize("name", MODELS)
def test_units_and_origin_change_nothing_but_units(name):
    model, values = MODELS[name]
    unit = np.geomspace(0.1, 1e3, values.shape[1])
    one, other = (kem.fit(model, table, stopping=FEW) for table in (values, 7.0 + values * unit))
    assert np.diff(one.em.log_likelihoods).min() > -1e-9 * abs(one.log_likelihood)
    jacobian = -float((~np.isnan(values)).sum(axis=0) @ np.log(unit))
    assert other.log_likelihood == pytest.approx(one.log_likelihood + jacobian, rel=1e-9)


def test_em_climbs_to_where_the_score_vanishes():
    values = growth().iloc[:120, :4].to_numpy()
    model = kem.DynamicFactor(1)
    fitted = kem.fit(model, values, stopping=kem.Stopping(max_iterations=3000))
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9 * abs(fitted.log_likelihood)
    for name, value in fitted.params.items():
        for place in np.argwhere(value != 0.0):
            at = tuple(place)
            if name == "loadings" and at == (0, 0):
                assert value[at] == 1.0
                continue
            ends = []
            for factor in (np.exp(-1e-4), np.exp(1e-4)):
                moved = np.array(value)
                moved[at] *= factor
                ends.append(begun(model, values, **{**fitted.params, name: moved}))
            assert abs(ends[1] - ends[0]) / 2e-4 < 5e-2, (name, at)


def test_a_nowcast_at_the_ragged_edge_uses_what_is_there():
    """The missing growth of the last quarter is told better with the other columns than by the mean."""
    table = growth()
    truth = table["realgdp"].copy()
    errors, naive = [], []
    fitted = kem.fit(kem.DynamicFactor(1), table.iloc[:150], stopping=kem.Stopping(max_iterations=200))
    for last in range(160, 200, 4):
        seen = table.iloc[:last].copy()
        seen.iloc[-1, 0] = np.nan
        nowcast = fitted.extend(seen.iloc[150:]).impute()["realgdp"].iloc[-1]
        errors.append(nowcast - truth.iloc[last - 1])
        naive.append(truth.iloc[:150].mean() - truth.iloc[last - 1])
    assert np.mean(np.square(errors)) < 0.7 * np.mean(np.square(naive))


def test_factors_are_components_and_read_back(tmp_path):
    fitted = kem.fit(kem.DynamicFactor(1, 2, idiosyncratic=True), growth().iloc[:60], stopping=FEW)
    parts = fitted.components(levels=())
    names = ("factor_1", "deviation", "offset", "residual")
    whole = sum(parts[f"{name}.realinv"] for name in names)
    np.testing.assert_allclose(whole, growth()["realinv"].iloc[:60], rtol=1e-10)
    fitted.save(tmp_path / "fit.json")
    loaded = kem.load(tmp_path / "fit.json")
    assert loaded.model == fitted.model
    pd.testing.assert_frame_equal(loaded.components(levels=()), parts, check_freq=False)
    assert "loadings" in str(fitted.summary())
    assert fitted.forecast(4).means.shape == (4, 5)


def test_a_random_start_keeps_the_identification():
    values = growth().iloc[:60].to_numpy()
    model = kem.DynamicFactor(2)
    specification = model.specify(panel_of(values))
    drawn = model.random_start(specification, panel_of(values), np.random.default_rng(0))
    assert drawn.observation_matrix[:2].tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert np.abs(np.linalg.eigvals(drawn.transition_matrix)).max() <= 1.0 + 1e-9


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: kem.DynamicFactor(0), "n_factors: expected a whole number of at least 1, got 0"),
        (lambda: kem.DynamicFactor(1, 0), "order: expected a whole number"),
        (lambda: kem.DynamicFactor(1, idiosyncratic="yes"), "idiosyncratic: expected True or False, got 'yes'"),
        (lambda: kem.VectorAutoregression(0), "order: expected a whole number"),
        (lambda: kem.fit(kem.DynamicFactor(2), two_columns()), "n_factors: expected fewer than the 2 columns"),
        (lambda: kem.fit(kem.DynamicFactor(1), two_columns(), inputs=np.ones(120)), "inputs: expected none"),
        (lambda: kem.VectorAutoregression(1, autoregression_cov="full"), "autoregression_cov: expected a form"),
    ],
)
def test_bad_input_is_refused(make, said):
    with pytest.raises(kem.InputError, match=said):
        make()
