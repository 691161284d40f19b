"""The command line: what it prints, what it leaves, and one line for everything that can be wrong."""

import io
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import kalman_em as kem
from kalman_em import cli
from kalman_em.version import VERSION

FOLDER = Path(__file__).resolve().parents[1] / "datasets"
NILE, CO2 = FOLDER / "nile_annual.csv", FOLDER / "co2_mauna_loa_weekly.csv"
MACRO, SEA = FOLDER / "us_macro_quarterly.csv", FOLDER / "sea_surface_temperature_halfhourly.csv"
QUICK = ("--max-iterations", "3", "--no-crosscheck")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process; return its exit status and what it wrote to stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def fails(run: Run) -> Callable[..., str]:
    """Run a command that must fail; return its one line of error without the name of the command."""

    def fails(*arguments: object) -> str:
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("kalman-em: error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        return err.removeprefix("kalman-em: error: ").rstrip("\n")

    return fails


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def level_data(n: int = 12) -> list[float]:
    return np.random.default_rng(3).standard_normal(n).cumsum().round(3).tolist()


# What a fit prints and leaves


def test_fit_prints_the_summary_then_the_check_then_the_files(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "nile"
    status, out, err = run("fit", NILE, "--model", "local-level", "--forecast", 10, "--output", folder)
    assert (status, err) == (0, "")
    fitted = kem.load(folder / "parameters.json")
    check = str(fitted.crosscheck())
    places = [out.index(part) for part in ("100 rows; year 1871 to 1970", str(fitted.summary()), check, "Written:")]
    assert places == sorted(places)
    assert fitted.em.stop_reason.is_converged
    assert round(fitted.log_likelihood, 3) == -633.465
    files = [folder / name for name in ("parameters.json", "smoothed.csv", "forecast.csv", "plot.png")]
    assert [line.strip() for line in out.rpartition("Written:\n")[2].splitlines()] == [str(file) for file in files]
    assert sorted(folder.iterdir()) == sorted(files)


def test_the_files_hold_what_the_fit_says(run: Run, tmp_path: Path) -> None:
    run("fit", NILE, "--model", "local-level", "--forecast", 10, "--output", tmp_path, *QUICK)
    fitted = kem.load(tmp_path / "parameters.json")
    smoothed = pd.read_csv(tmp_path / "smoothed.csv", index_col="year")
    expected = fitted.smooth().to_frame(levels=(80, 95))
    np.testing.assert_allclose(smoothed[expected.columns], expected, rtol=1e-12)
    assert smoothed.index.tolist() == list(range(1871, 1971))
    np.testing.assert_array_equal(smoothed["flow_1e8_m3_observed"], pd.read_csv(NILE)["flow_1e8_m3"])
    np.testing.assert_allclose(smoothed["flow_1e8_m3_signal"], smoothed["level"], rtol=1e-12)
    forecast = pd.read_csv(tmp_path / "forecast.csv", index_col="year")
    assert forecast.index.tolist() == list(range(1971, 1981))
    assert list(forecast.columns) == ["mean", "sd", "lower_80", "upper_80", "lower_95", "upper_95"]
    np.testing.assert_allclose(forecast, fitted.forecast(10).to_frame(), rtol=1e-12)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_gaps_are_filled_and_dates_continue(run: Run, tmp_path: Path) -> None:
    status, out, _ = run(
        "fit", CO2, "--model", "local-linear-trend", "--forecast", 4, "--levels", 95, "--output", tmp_path, *QUICK
    )
    assert status == 0
    assert "2225 of 2284" in out
    assert "max_iterations after 3 iterations" in out
    smoothed = pd.read_csv(tmp_path / "smoothed.csv", index_col="date")
    missing = smoothed["co2_ppm_observed"].isna()
    assert missing.sum() == 59
    assert (smoothed["co2_ppm_filled_sd"] > 0).equals(missing)
    assert smoothed["co2_ppm_filled"].between(310, 375).all()
    assert {"level_lower_95", "slope_sd", "co2_ppm_signal_upper_95"} <= set(smoothed.columns)
    forecast = pd.read_csv(tmp_path / "forecast.csv", index_col="date")
    assert forecast.index.tolist() == ["2002-01-05", "2002-01-12", "2002-01-19", "2002-01-26"]
    assert list(forecast.columns) == ["mean", "sd", "lower_95", "upper_95"]


def test_several_columns_with_a_diagonal_covariance(run: Run, tmp_path: Path) -> None:
    chosen = ("--values", "tbilrate,unemp", "--values", "infl", "--covariance", "diagonal")
    status, out, _ = run("fit", MACRO, "--model", "local-level", *chosen, "--forecast", 2, "--output", tmp_path, *QUICK)
    assert status == 0
    assert "values tbilrate, unemp, infl; left out realgdp" in out
    cov = kem.load(tmp_path / "parameters.json").params.level_cov
    assert cov.shape == (3, 3)
    assert not np.any(cov - np.diag(np.diagonal(cov)))
    smoothed = pd.read_csv(tmp_path / "smoothed.csv", index_col="date")
    assert {"level.unemp", "level.infl_sd", "tbilrate_filled", "infl_signal_lower_80"} <= set(smoothed.columns)
    forecast = pd.read_csv(tmp_path / "forecast.csv", index_col="date")
    assert forecast.index.tolist() == ["2009-10-01", "2010-01-01"]
    assert {"unemp_mean", "unemp_lower_95"} <= set(forecast.columns)


def test_a_panel_shares_parameters_and_has_its_tables_in_one(run: Run, tmp_path: Path) -> None:
    lines = [f"{track},{t},{y}" for track, n in (("b/1", 9), ("a", 6)) for t, y in enumerate(level_data(n))]
    source = write(tmp_path / "tracks.csv", "\n".join(["track,t,x", *lines]))
    out_folder = tmp_path / "out"
    options = ("--series", "track", "--index", "t", "--forecast", 2, "--output", out_folder)
    status, out, err = run("fit", source, "--model", "local-level", *options, *QUICK)
    assert (status, err) == (0, "")
    assert "2 series by track" in out
    assert kem.load(out_folder / "parameters.json").panel.keys == ("b/1", "a")
    assert pd.read_csv(out_folder / "smoothed.csv")["series"].tolist() == ["b/1"] * 9 + ["a"] * 6
    assert pd.read_csv(out_folder / "forecast.csv")[["t", "series"]].to_numpy().tolist() == [
        [9, "b/1"],
        [10, "b/1"],
        [6, "a"],
        [7, "a"],
    ]
    assert {path.name for path in out_folder.glob("*.png")} == {"plot_1_b_1.png", "plot_2_a.png"}


def test_without_a_folder_the_forecast_is_printed_and_nothing_is_left(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = run("fit", NILE, "--model", "Local_Level", "--forecast", 2, *QUICK)
    assert status == 0
    assert "1972" in out.rpartition("lower_95")[2]
    assert "Written" not in out
    assert list(tmp_path.iterdir()) == []


def test_quiet_prints_nothing_and_leaves_the_files(run: Run, tmp_path: Path) -> None:
    assert run("fit", NILE, "--model", "local-level", "--quiet", "--output", tmp_path) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} == {"parameters.json", "smoothed.csv", "plot.png"}


def test_quiet_says_in_a_line_that_em_did_not_converge(run: Run) -> None:
    assert run("fit", NILE, "--model", "local-level", "--quiet", "--max-iterations", 3) == (
        0,
        "",
        "kalman-em: EM did not converge: max_iterations after 3 iterations. Raise --max-iterations.\n",
    )


@pytest.mark.parametrize(
    ("options", "is_terminal", "shows"),
    [
        ((), True, True),
        ((), False, False),
        (("--quiet",), True, False),
        (("--no-progress",), True, False),
        (("--progress",), False, True),
    ],
)
def test_progress_is_shown_on_a_terminal(
    options: tuple[str, ...], is_terminal: bool, shows: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    learn = cli.fit

    def spy(*arguments: object, **given: object) -> kem.Fit:
        asked.append(given.pop("progress"))
        return learn(*arguments, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(cli, "fit", spy)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    run("fit", NILE, "--model", "local-level", *QUICK, *options)
    assert asked == [shows]


def test_progress_is_on_stderr(run: Run) -> None:
    status, out, err = run("fit", NILE, "--model", "local-level", "--progress", *QUICK)
    assert status == 0
    assert err
    assert "log-likelihood" in out


def test_a_check_that_cannot_be_made_is_said_in_a_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: kem.Fit) -> None:
        raise kem.InputError("no twin of this model")

    monkeypatch.setattr(kem.Fit, "crosscheck", refuse)
    status, out, _ = run("fit", NILE, "--model", "local-level", "--max-iterations", 3)
    assert status == 0
    assert out.endswith("No check against statsmodels: no twin of this model\n")


# Reading


def standard_input(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode("utf-8"))))


def test_standard_input_is_a_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    standard_input(monkeypatch, "\ufeff" + NILE.read_text(encoding="utf-8"))
    status, out, _ = run("fit", "-", "--model", "local-level", *QUICK)
    assert status == 0
    assert out.startswith("standard input: 100 rows; year 1871 to 1970; values flow_1e8_m3\n")


def test_fill_gaps_works_on_a_real_sensor(run: Run) -> None:
    status, out, _ = run("fit", SEA, "--model", "local-level", "--fill-gaps", "--max-iterations", 1, "--no-crosscheck")
    assert status == 0
    assert "8800 of 8824" in out


# The other commands


def test_forecast_continues_a_saved_fit(run: Run, tmp_path: Path) -> None:
    run("fit", NILE, "--model", "local-level", "--output", tmp_path, "--forecast", 3, *QUICK)
    status, out, err = run("forecast", tmp_path / "parameters.json", "--steps", 3)
    assert (status, err) == (0, "")
    assert out == (tmp_path / "forecast.csv").read_text(encoding="utf-8")
    run("forecast", tmp_path / "parameters.json", "--steps", 1, "--levels", "50", "--output", tmp_path / "one.csv")
    table = pd.read_csv(tmp_path / "one.csv")
    assert list(table.columns) == ["year", "mean", "sd", "lower_50", "upper_50"]


def test_datasets_are_listed_described_and_printed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = run("datasets")[1]
    assert [line.split()[0] for line in listed.splitlines()] == kem.datasets.names()
    assert run("datasets", "nile")[1].strip() == kem.datasets.describe("nile")
    text = run("datasets", "nile", "--csv")[1]
    standard_input(monkeypatch, text)
    assert "100 rows; year 1871 to 1970; values flow" in run("fit", "-", "--model", "local-level", *QUICK)[1]


def test_help_and_version_end_well(run: Run) -> None:
    assert run("--version") == (0, f"kalman-em {VERSION}\n", "")
    for command in ((), ("fit",), ("forecast",), ("datasets",)):
        status, out, _ = run(*command, "--help")
        assert status == 0
        assert out.startswith("usage: kalman-em")


def test_python_m_runs_the_command(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "kalman_em",
        "fit",
        NILE,
        "--model",
        "local-level",
        "--output",
        tmp_path / "out",
        *QUICK,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "out" / "parameters.json").read_text(encoding="utf-8"))["fit"]["n_observed"] == 100
    bad = subprocess.run(
        [*command[:4], tmp_path / "absent.csv", *command[5:7]], capture_output=True, text=True, check=False
    )
    assert bad.returncode == 2
    assert bad.stderr == f"kalman-em: error: {tmp_path / 'absent.csv'}: No such file or directory\n"


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    command = [sys.executable, "-m", "kalman_em", "datasets", "co2", "--csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=FOLDER.parent) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 1


def test_there_is_one_version() -> None:
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION == kem.__version__
    assert project["scripts"] == {"kalman-em": "kalman_em.cli:main"}
    assert f"## [{VERSION}]" in (FOLDER.parent / "CHANGELOG.md").read_text(encoding="utf-8")


def test_files_are_there_even_if_the_reader_leaves_early(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kalman_em", "fit", NILE, "--model", "local-level", *QUICK, "--output", tmp_path]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=FOLDER.parent
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(f"{NILE}: 100 rows")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0
    assert (tmp_path / "plot.png").exists()


# What goes wrong under way


def test_a_numerical_error_is_one_line(fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise kem.NumericalError("fit: the likelihood is not finite;\n  rescale the data")

    monkeypatch.setattr(cli, "fit", fail)
    assert fails("fit", NILE, "--model", "local-level", "--quiet") == (
        "fit: the likelihood is not finite; rescale the data"
    )


def test_what_nobody_expected_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise TypeError("no such thing")

    monkeypatch.setattr(cli, "fit", fail)
    assert run("fit", NILE, "--model", "local-level", "--quiet") == (
        1,
        "",
        "kalman-em: error: unexpected TypeError: no such thing; please report it\n",
    )


def test_ctrl_c_in_compiled_code_ends_quietly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        try:
            try:
                raise KeyboardInterrupt
            except KeyboardInterrupt as error:
                raise SystemError("inner returned a result with an exception set") from error
        except SystemError as error:
            raise SystemError("outer returned a result with an exception set") from error

    monkeypatch.setattr(cli, "fit", interrupt)
    assert run("fit", NILE, "--model", "local-level", "--quiet") == (130, "", "kalman-em: error: interrupted\n")


def test_semicolons_and_decimal_commas(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "date;y\n2024-03-01;1,5\n2024-03-02;2,5\n2024-03-03;\n2024-03-04;1\n")
    options = ("--separator", ";", "--decimal", ",", "--output", tmp_path / "out")
    status, out, _ = run("fit", source, "--model", "local-level", *options, *QUICK)
    assert (status, "4 rows; date 2024-03-01 to 2024-03-04; values y" in out) == (0, True)
    assert kem.load(tmp_path / "out" / "parameters.json").panel.series[0].values[0, 0] == 1.5


def test_a_file_without_a_header_keeps_its_first_row(run: Run, tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "2024-03-01,1.5\n2024-03-02,2.5\n2024-03-03,1\n")
    status, out, _ = run("fit", source, "--model", "local-level", "--no-header", *QUICK)
    assert (status, "3 rows; column1 2024-03-01 to 2024-03-03; values column2" in out) == (0, True)


def test_ctrl_c_outside_the_fit_ends_quietly(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "read_table", interrupt)
    assert run("fit", NILE, "--model", "local-level") == (130, "", "kalman-em: error: interrupted\n")


def test_ctrl_c_in_the_fit_keeps_the_best_so_far(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    learn = cli.fit

    def interrupted(*arguments: object, **options: object) -> kem.Fit:
        def stop(iteration: kem.EMIteration[object]) -> None:
            if iteration.iteration == 2:
                raise KeyboardInterrupt

        return learn(*arguments, **options, callback=stop)  # type: ignore[arg-type]

    monkeypatch.setattr(cli, "fit", interrupted)
    status, out, _ = run("fit", NILE, "--model", "local-level", "--no-crosscheck", "--output", tmp_path)
    assert status == 0
    assert "EM: interrupted after 2 iterations" in out
    assert (tmp_path / "parameters.json").exists()
