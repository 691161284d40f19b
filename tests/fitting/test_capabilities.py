"""The tables of docs/capabilities.md against the code."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import kalman_em as kem
from kalman_em.em.problem import Divides, Tempers
from kalman_em.fitting.fit import Fit
from kalman_em.fitting.latent.kinds import kind_of

PAGE = Path(__file__).parents[2] / "docs" / "capabilities.md"
LATENT = {
    "GaussianMixture": kem.GaussianMixture(2),
    "VariationalMixture": kem.VariationalMixture(2),
    "MixtureOfFactorAnalysers": kem.MixtureOfFactorAnalysers(2, 1),
    "GaussianHMM": kem.GaussianHMM(2),
    "MarkovAutoregression": kem.MarkovAutoregression(2, order=1),
    "SwitchingLinearGaussian": kem.SwitchingLinearGaussian(2, 1, 3),
    "FactorAnalysis": kem.FactorAnalysis(1),
    "PrincipalComponents": kem.PrincipalComponents(1),
    "TopicModel": kem.TopicModel(2),
    "VariationalLinearGaussian": kem.VariationalLinearGaussian(1),
}


def table(title):
    """Return {model: {column: cell}} of the first table under a title."""
    lines = PAGE.read_text(encoding="utf-8").split(f"## {title}")[1].split("##")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head = rows[0][1:]
    found = {}
    for row in rows[2:]:
        for name in row[0].replace("`", "").split(", "):
            found[name] = dict(zip(head, row[1:], strict=True))
    return found


ANSWERS, OPTIONS = table("Answers of a fit"), table("Options of `fit`")


@pytest.mark.parametrize("name", LATENT)
def test_answers_are_those_of_the_page(name):
    kind = kind_of(LATENT[name])
    for answer, cell in ANSWERS[name].items():
        # Every kind has the attribute `standard_errors`, which some refuse: held in test_standard_errors.py.
        if answer != "standard_errors":
            assert hasattr(kind, answer) == (cell == "yes"), answer


def test_answers_of_state_spaces_are_those_of_the_page():
    for answer, cell in ANSWERS["LinearGaussian"].items():
        assert hasattr(Fit, answer) == (cell == "yes"), answer


@pytest.mark.parametrize("name", LATENT)
def test_variants_are_those_of_the_page(name):
    model, values = LATENT[name], np.random.default_rng(0).normal(size=(30, 3))
    if name == "MarkovAutoregression":
        values = values[:, :1]
    if name == "TopicModel":
        problem = model.problem(model.read(np.random.default_rng(0).poisson(2.0, size=(6, 5))))
    else:
        problem = model.problem(kem.Panel([kem.Observations(values[:15]), kem.Observations(values[15:])]))
    assert isinstance(problem, Tempers) == (OPTIONS[name]["hard, annealed"] == "yes")
    assert isinstance(problem, Divides) == (OPTIONS[name]["incremental, stochastic"] == "yes")
    assert (OPTIONS[name]["panels"] == "yes") == model.is_ordered


@pytest.mark.parametrize("name", LATENT)
def test_all_latent_models_are_accelerated_and_take_no_inputs(name):
    values = np.random.default_rng(0).normal(size=(30, 1 if name == "MarkovAutoregression" else 3))
    data = np.random.default_rng(0).poisson(2.0, size=(6, 5)) if name == "TopicModel" else values
    fitted = kem.fit(LATENT[name], data, method="accelerated", stopping=kem.Stopping(max_iterations=3))
    assert (OPTIONS[name]["accelerated"], OPTIONS[name]["inputs"]) == ("yes", "")
    assert np.diff(fitted.em.log_likelihoods).min() > -1e-9 * abs(fitted.log_likelihood)
    with pytest.raises(kem.InputError, match="inputs"):
        kem.fit(LATENT[name], data, inputs=np.ones((len(data), 1)))


def test_variants_of_state_spaces_are_those_of_the_page():
    assert list(OPTIONS["LinearGaussian"].values()) == ["", "hard", "yes", "yes", "yes"]
    flow = kem.datasets.load("nile")["flow"]
    for method in ("accelerated", "annealed"):
        with pytest.raises(kem.InputError, match="method"):
            kem.fit(kem.LocalLevel(), flow, method=method)
    noise = kem.LocalLevel(level_cov=kem.Fixed([[1469.0]]))
    assert "smoothed states together" in kem.fit(noise, flow, method="hard").em.objective


def test_what_hard_em_loses_is_what_the_page_says(capsys):
    page = PAGE.read_text(encoding="utf-8")
    ((block, said),) = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(block, "capabilities.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out == said
