"""Covariances that share volume, shape or orientation: mclust's structures, against it and against maximisers."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize

import kalman_em as kem
from kalman_em.latent.covariances import ComponentStep
from kalman_em.latent.structures import Structure

DIAGONAL = kem.Diagonal()
# mclust 6.0.0 on R 4.2.2; log-likelihood at the end of EM from the species, and number of free parameters:
#
#     library(mclust)
#     rows <- na.omit(read.csv("datasets/penguins.csv")[, c("species", "bill_length_mm", "bill_depth_mm",
#                                                           "flipper_length_mm", "body_mass_g")])
#     for (name in mclust.options("emModelNames"))
#       print(me(modelName = name, data = scale(as.matrix(rows[, -1])), z = unmap(rows$species),
#                control = emControl(tol = c(1e-12, 1e-12), itmax = c(10000, 10000)))$loglik, digits = 10)
MCLUST = {
    "EII": (kem.Shared(kem.Isotropic()), -1411.297034, 15),
    "VII": (kem.Isotropic(), -1410.816258, 17),
    "EEI": (kem.Shared(DIAGONAL), -1398.108447, 18),
    "VEI": (kem.Shared(DIAGONAL, only="shape"), -1387.425501, 20),
    "EVI": (kem.Shared(DIAGONAL, only="volume"), -1372.113760, 24),
    "VVI": (DIAGONAL, -1361.992062, 26),
    "EEE": (kem.Shared(), -1185.892795, 24),
    "VEE": (kem.Shared(only=("shape", "orientation")), -1179.388719, 26),
    "EVE": (kem.Shared(only=("volume", "orientation")), -1171.114024, 30),
    "VVE": (kem.Shared(only="orientation"), -1164.142253, 32),
    "EEV": (kem.Shared(only=("volume", "shape")), -1162.010297, 36),
    "VEV": (kem.Shared(only="shape"), -1155.813096, 38),
    "EVV": (kem.Shared(only="volume"), -1153.175119, 42),
    "VVV": (kem.Full(), -1146.434475, 44),
}
PARTLY = {name: form for name, (form, *_) in MCLUST.items() if getattr(form, "only", None) is not None}


@pytest.fixture(scope="module")
def penguins():
    table = kem.datasets.load("penguins")
    table = table[["species", "bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]].dropna()
    rows = table.drop(columns="species").to_numpy(float)
    return (rows - rows.mean(axis=0)) / rows.std(axis=0, ddof=1), np.unique(table["species"], return_inverse=True)[1]


def from_labels(rows, labels, form):
    """Return the start that is one M-step from known labels."""
    counts = np.bincount(labels).astype(float)
    groups = [rows[labels == k] for k in range(len(counts))]
    scatters = np.array([np.cov(group.T, ddof=0) for group in groups])
    step = ComponentStep(form, len(counts), rows.shape[1], "covariance")
    return {
        "weights": counts / counts.sum(),
        "means": np.array([group.mean(axis=0) for group in groups]),
        "covs": step.most_likely(counts, scatters, scatters),
    }


@pytest.mark.parametrize("name", MCLUST)
def test_from_the_same_start_the_end_is_that_of_mclust(name, penguins):
    form, height, n_free = MCLUST[name]
    fitted = kem.fit(kem.GaussianMixture(3, covariance=form), penguins[0], start=from_labels(*penguins, form))
    assert fitted.em.stop_reason.is_converged
    assert fitted.n_parameters == n_free
    if name == "VVE":
        # From mclust's own end one M-step gains 0.127: orientations have several maxima, and a turn in a plane, exact
        # all the way round, gets from a lower one to a higher.
        assert height + 0.13 < fitted.log_likelihood < height + 0.14
    else:
        assert fitted.log_likelihood == pytest.approx(height, abs=2e-4)


def scatters_of(seed, n=3, p=3):
    rng = np.random.default_rng(seed)
    roots = rng.normal(size=(n, p, 2 * p)) * rng.uniform(0.3, 2.0, (n, p, 1))
    return rng.uniform(5.0, 40.0, n), roots @ np.swapaxes(roots, 1, 2) / (2 * p)


def lost(counts, scatters, covs):
    """Return Σ n_k (log|Σ_k| + tr(Σ_k^-1 S_k)) / Σ n_k."""
    each = np.linalg.slogdet(covs)[1] + np.trace(np.linalg.solve(covs, scatters), axis1=1, axis2=2)
    return counts @ each / counts.sum()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PARTLY)
def test_the_m_step_is_a_maximiser_of_the_expected_log_likelihood(name, seed):
    counts, scatters = scatters_of(seed)
    step = ComponentStep(PARTLY[name], 3, 3, "covariance")
    found = step.most_likely(counts, scatters, scatters)
    height = lost(counts, scatters, found)

    def cost(numbers):
        return lost(counts, scatters, step.with_numbers(found, numbers))

    at = step.free_numbers(found)
    np.testing.assert_allclose(step.with_numbers(found, at), found, rtol=1e-9, atol=1e-12)
    slope = [(cost(at + move) - cost(at - move)) / 2e-5 for move in 1e-5 * np.eye(len(at))]
    np.testing.assert_allclose(slope, 0.0, atol=2e-8)
    # From elsewhere a numerical climb ends there too, or lower: an orientation of all has several maxima.
    rng = np.random.default_rng(seed)
    ends = [minimize(cost, at + 0.3 * rng.normal(size=len(at))).fun for _ in range(2)]
    assert min(ends) > height - 1e-7
    assert max(ends) < height + 1.0
    # A maximum of the form is where it stays, and its members are their own maxima.
    np.testing.assert_allclose(step.most_likely(counts, scatters, found), found, rtol=1e-7, atol=1e-9)
    step.check_of_form(found, "covs")
    assert height > lost(counts, scatters, scatters)


@pytest.mark.parametrize("name", PARTLY)
def test_what_is_shared_is_the_same_and_the_rest_is_not(name):
    counts, scatters = scatters_of(5)
    covs = ComponentStep(PARTLY[name], 3, 3, "covariance").most_likely(counts, scatters, scatters)
    volumes = np.exp(np.linalg.slogdet(covs)[1] / 3.0)
    shapes = np.linalg.eigvalsh(covs) / volumes[:, None]
    if name.endswith("I"):
        shapes = np.diagonal(covs, axis1=1, axis2=2) / volumes[:, None]
        assert np.count_nonzero(covs) == 9
    turned = covs[0] @ covs[1] - covs[1] @ covs[0]
    assert (np.ptp(volumes) < 1e-9) == (name[0] == "E")
    assert (np.ptp(shapes, axis=0).max() < 1e-9) == (name[1] == "E")
    assert (np.abs(turned).max() < 1e-8) == (name[2] in "IE")


@pytest.mark.parametrize("name", PARTLY)
def test_numbers_are_free_each_in_a_direction_of_its_own(name):
    counts, scatters = scatters_of(6)
    step = ComponentStep(PARTLY[name], 3, 3, "covariance")
    covs = step.most_likely(counts, scatters, scatters)
    at = step.free_numbers(covs)
    assert len(at) == step.n_free
    moves = 1e-5 * np.eye(len(at))
    jacobian = [(step.with_numbers(covs, at + move) - step.with_numbers(covs, at - move)).ravel() for move in moves]
    singular = np.linalg.svd(jacobian, compute_uv=False)
    assert singular[-1] > 1e-3 * singular[0]


def holed(seed=0, n=60, missing=0.15):
    rng = np.random.default_rng(seed)
    first = rng.multivariate_normal([0.0, 0.0, 1.0], [[1.0, 0.6, 0.0], [0.6, 1.0, 0.2], [0.0, 0.2, 2.0]], n)
    second = rng.multivariate_normal([4.0, 3.0, 0.0], [[0.5, -0.2, 0.1], [-0.2, 0.8, 0.0], [0.1, 0.0, 0.7]], n // 2)
    rows = np.concatenate([first, second])
    rows[rng.random(rows.shape) < missing] = np.nan
    return rows


@pytest.mark.parametrize("name", PARTLY)
def test_with_entries_missing_it_climbs_to_where_the_slope_is_zero(name):
    tight = kem.Stopping(relative_tolerance=1e-12, parameter_tolerance=1e-8)
    fitted = kem.fit(kem.GaussianMixture(2, covariance=PARTLY[name]), holed(), stopping=tight)
    assert fitted.em.stop_reason.is_converged
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9
    assert fitted.em.kl_gaps.min() > -1e-9
    problem, end = fitted.problem, fitted.em.params
    at = problem.free_numbers(end)
    slopes = []
    for move in 1e-5 * np.eye(len(at)):
        ends = [problem.e_step(problem.with_numbers(end, at + sign * move))[1] for sign in (1.0, -1.0)]
        slopes.append((ends[0] - ends[1]) / 2e-5)
    np.testing.assert_allclose(slopes, 0.0, atol=1e-4)
    padded = np.concatenate([holed(), np.full((2, 3), np.nan)])
    other = kem.GaussianMixture(2, covariance=PARTLY[name]).problem(kem.Panel([kem.Observations(padded)]))
    assert other.e_step(end)[1] == pytest.approx(fitted.log_likelihood, rel=1e-12)


def test_priors_errors_regimes_and_files_take_them(tmp_path):
    form = kem.Shared(only=("volume", "orientation"))
    with_prior = kem.fit(kem.GaussianMixture(2, covariance=form, prior=kem.MixturePrior()), holed())
    assert with_prior.em.n_falls == 0
    fitted = kem.fit(kem.GaussianMixture(2, covariance=form), holed(missing=0.0))
    assert np.isfinite(fitted.standard_errors.covs).all()
    assert np.isfinite(fitted.standard_errors.means).all()
    fitted.save(tmp_path / "fit.json")
    assert kem.load(tmp_path / "fit.json").params == fitted.params
    regimes = kem.fit(kem.GaussianHMM(2, covariance=kem.Shared(DIAGONAL, only="shape")), holed())
    assert regimes.em.n_falls == 0
    ratios = np.diagonal(regimes.params.covs[0]) / np.diagonal(regimes.params.covs[1])
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-6)


def test_one_column_has_a_volume_alone():
    rows = holed(missing=0.0)[:, :1]
    for only, same in (("shape", kem.Full()), ("volume", kem.Shared())):
        one, other = (kem.fit(kem.GaussianMixture(2, covariance=form), rows) for form in (kem.Shared(only=only), same))
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-9)
        assert one.n_parameters == other.n_parameters


def test_a_component_without_spread_is_named():
    rows = np.concatenate([np.tile([[5.0, 5.0, 5.0]], (8, 1)), holed(missing=0.0)])
    start = from_labels(rows, np.repeat([0, 1], [8, 90]), kem.Shared())
    for form in PARTLY.values():
        fitted = kem.fit(
            kem.GaussianMixture(2, covariance=form), rows, start=start | {"covs": np.array([np.eye(3)] * 2)}
        )
        assert fitted.em.stop_reason.name in ("degenerate_covariance", "converged")
        assert np.isfinite(fitted.log_likelihood)


@pytest.mark.parametrize(
    ("form", "only", "said"),
    [
        (kem.Full(), "shapes", "did you mean 'shape'"),
        (kem.Full(), (), "expected some of volume, shape, orientation"),
        (kem.Full(), 3, "expected some of"),
        (DIAGONAL, "orientation", "volume, shape"),
        (kem.Isotropic(), "shape", "volume"),
        (kem.Fixed(np.eye(2)), "volume", "nothing"),
    ],
)
def test_what_a_form_has_not_is_not_shared(form, only, said):
    with pytest.raises(kem.InputError, match=said):
        kem.Shared(form, only=only)


def test_all_that_there_is_to_share_is_the_form_itself():
    assert kem.Shared(DIAGONAL, only=("shape", "volume")) == kem.Shared(DIAGONAL)
    assert kem.Shared(kem.Isotropic(), only="volume") == kem.Shared(kem.Isotropic())
    assert kem.Shared(only=["orientation", "shape", "volume"]) == kem.Shared()


def test_sizes_are_those_of_the_factors():
    sizes = {name: SimpleNamespace(form=form) for name, form in PARTLY.items()}
    for name, one in sizes.items():
        p, K = 4, 3
        structure = Structure(one.form.only, name.endswith("I"), K, p)
        expected = (1 if name[0] == "E" else K) + (p - 1) * (1 if name[1] == "E" else K)
        expected += {"I": 0, "E": 1, "V": K}[name[2]] * p * (p - 1) // 2
        assert structure.n_free == expected
