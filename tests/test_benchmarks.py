"""The benchmark compares equals: the C++ reference and this package reach the same numbers on its own workloads."""

import importlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from kalman_em import StopReason

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reference")


@pytest.fixture
def bench(monkeypatch):
    """Return the modules of the benchmark by name."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def reference_answer(bench, workload, case, variant, folder):
    path = folder / f"{workload.name}.case"
    case.write(path)
    # Unoptimised: quick to compile, and the same program.
    flags = ("-std=c++17", "-O0")
    program = bench("reference").compiled(case.start.state_dim, case.start.obs_dim, folder, flags)
    command = [program, path, workload.kind, variant]
    done = subprocess.run(command, input="\n", capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[1])


def own_answer(bench, workload, case):
    outcome = bench("ours").prepared(case, workload.kind, "frozen")()
    checks = {name: block.ravel().tolist() for name, block in outcome.checks().items()}
    return {"log_likelihood": outcome.log_likelihood, "checks": checks}


@pytest.mark.parametrize("name", ["loglike-d1", "smooth-d4", "em-d4", "em-d4-missing", "em-d10"])
def test_reference_and_package_agree(bench, folder, name):
    workload = bench("workloads").WORKLOADS[name]
    case = workload.case(is_quick=True)
    own = own_answer(bench, workload, case)
    for variant in workload.variants:
        answer = reference_answer(bench, workload, case, variant, folder)
        assert bench("agreement").difference(own, answer) == ""


def test_a_difference_is_seen(bench):
    first = {"log_likelihood": -10.0, "checks": {"F": [1.0, 2.0]}}
    difference = bench("agreement").difference
    assert difference(first, {"log_likelihood": -10.0 * (1 + 1e-7)}).startswith("disagrees (log-likelihood")
    assert difference(first, {"log_likelihood": float("nan")}).startswith("disagrees (log-likelihood")
    assert difference(first, {"log_likelihood": -10.0, "checks": {"F": [1.0, 2.1]}}).startswith("disagrees (F")


def test_the_random_fits_know_every_reason_to_stop(bench):
    of_other_models = {StopReason.empty_component, StopReason.heywood_case}
    assert set(bench("random_outcome").STOPS) == set(StopReason) - {StopReason.interrupted} - of_other_models


def test_random_fits_go_on_where_they_were(bench, monkeypatch, tmp_path, capsys):
    fits, outcome = bench("random_fits"), bench("random_outcome")
    ran = []

    def pretended(seeds, processes):
        for seed in seeds:
            ran.append(seed)
            faults = {"fall": "1e-3 relative"} if seed == 2 else {}
            yield outcome.Outcome(seed, "sum", "a level", "converged", "", 30, "standard", faults, 0.1)

    monkeypatch.setattr(fits, "outcomes", pretended)
    path = str(tmp_path / "outcomes.jsonl")
    assert fits.main(["--seed", "0", "--n", "2", "--resume", path]) == 0
    assert fits.main(["--seed", "0", "--n", "4", "--resume", path]) == 1
    assert ran == [0, 1, 2, 3]
    assert "| **fall** | 0 | 1 | 0 | 0 | 1 |" in capsys.readouterr().out
    fits.main(["--only", "2", "--resume", path])
    assert ran == [0, 1, 2, 3, 2]


def test_a_case_of_the_starts_that_is_known_is_not_run_again(bench, tmp_path, monkeypatch, capsys):
    starts, results = bench("starts"), tmp_path / "starts.jsonl"
    few = ["--random", "1", "--max-iterations", "5", "--results", str(results), "--resume"]
    assert starts.main(["--only", "nile SmoothTrend()", *few]) == 0
    names = [one.case for one in starts.read(results).values()]
    assert names == ["SmoothTrend()"]
    table = capsys.readouterr().out
    monkeypatch.setattr(starts, "compared", None)
    assert starts.main(["--only", "nile SmoothTrend()", *few]) == 0
    assert capsys.readouterr().out == table
    # What others found stays in the file.
    assert starts.main(["--only", "no such case", *few]) == 0
    assert [one.case for one in starts.read(results).values()] == names


def test_many_series_are_timed_on_one_thread_and_two(bench):
    row = bench("many_series").measured("LocalLevel", 3, 1)
    assert len(row) == 7
    assert all(float(entry.removesuffix(" s")) > 0.0 for entry in row)
