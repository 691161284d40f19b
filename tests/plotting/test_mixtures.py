"""Plots of mixtures: what is drawn is the mixture."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import norm

import kalman_em as kem
from kalman_em.plotting import plot_mixture


def frame(n=80, seed=0):
    rng = np.random.default_rng(seed)
    first = rng.multivariate_normal([0.0, 0.0, 0.0], np.diag([1.0, 0.3, 1.0]) + 0.2, n)
    second = rng.multivariate_normal([5.0, 3.0, 1.0], np.eye(3), n)
    return pd.DataFrame(np.concatenate([first, second]), columns=["a", "b", "c"])


@pytest.fixture(scope="module")
def fitted():
    return kem.fit(kem.GaussianMixture(2), frame())


def test_densities_are_those_of_the_components_and_add_up(fitted):
    ax = fitted.plot(columns=["c"])
    lines = {line.get_label(): line.get_xydata() for line in ax.get_lines()}
    x = lines["mixture"][:, 0]
    for k in range(2):
        mean, sd = fitted.params.means[k, 2], np.sqrt(fitted.params.covs[k, 2, 2])
        expected = fitted.params.weights[k] * norm.pdf(x, mean, sd)
        np.testing.assert_allclose(lines[f"component {k}"][:, 1], expected, rtol=1e-10)
    np.testing.assert_allclose(lines["mixture"][:, 1], sum(lines[f"component {k}"][:, 1] for k in range(2)))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("c", "density")


def test_ellipses_hold_their_share_of_each_component(fitted):
    ax = fitted.plot(columns=["b", "a"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("b", "a")
    drawn = fitted.sample(20_000, rng=np.random.default_rng(1))
    ellipses = iter(ax.patches)
    for k in range(2):
        own = drawn.loc[drawn["component"] == k, ["b", "a"]].to_numpy()
        for share in (0.5, 0.95):
            ellipse = next(ellipses)
            inside = ellipse.get_patch_transform().inverted().transform(own)
            assert np.mean((inside**2).sum(axis=1) <= 1.0) == pytest.approx(share, abs=0.02)


def test_points_have_the_colour_of_their_component(fitted):
    ax = fitted.plot()
    labels = fitted.assign().to_numpy()
    for k, line in enumerate(ax.get_lines()):
        np.testing.assert_array_equal(line.get_xydata(), frame()[["a", "b"]].to_numpy()[labels == k])


def test_axes_are_taken_and_bad_columns_named(fitted):
    ax = Figure().add_subplot()
    assert plot_mixture(fitted, ax=ax) is ax
    for columns, said in (
        (["z"], "column 'z'"),
        (["a", "b", "c"], "one column or two"),
        (["a", "a"], "one column or two"),
    ):
        with pytest.raises(kem.InputError, match=said):
            fitted.plot(columns=columns)
    with pytest.raises(kem.InputError, match="fit of a mixture"):
        plot_mixture("fit")


def test_emptied_components_are_not_drawn():
    points = np.concatenate([np.random.default_rng(1).normal(at, 1.0, (60, 2)) for at in (0.0, 8.0)])
    fitted = kem.fit(kem.VariationalMixture(5, concentration=1e-3), points)
    ax = fitted.plot()
    assert fitted.n_kept == 2
    assert [line.get_label() for line in ax.get_lines()] == [f"component {k}" for k in np.flatnonzero(fitted.kept)]
    assert len(ax.patches) == 4
    assert "2 components" in ax.get_title()
