"""What can be wrong with a command: one line on stderr that names it, and exit status 2."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kalman_em import cli

FOLDER = Path(__file__).resolve().parents[2] / "datasets"
NILE = FOLDER / "nile_annual.csv"


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail; return its one line of error without the name of the command."""

    def fails(*arguments: object) -> str:
        status = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert (status, out) == (2, "")
        assert err.startswith("kalman-em: error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        return err.removeprefix("kalman-em: error: ").rstrip("\n")

    return fails


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the following arguments are required: command (see kalman-em --help)"),
        (("fti",), "expected one of: fit, forecast, datasets, got 'fti' (did you mean fit?)"),
        (("fit", "--model", "local-level"), "the following arguments are required: CSV (see kalman-em fit --help)"),
        (("fit", NILE), "the following arguments are required: --model"),
        (
            ("fit", NILE, "--model", "local-levle"),
            "(did you mean local-level?); expected one of: local-level, local-linear",
        ),
        (
            ("fit", NILE, "--model", "arima"),
            "model 'arima' is not known; expected one of: local-level, local-linear-trend",
        ),
        (("fit", NILE, "--model", "local-level", "--covariance", "diag"), "covariance 'diag' is not known"),
        (("fit", NILE, "--model", "local-level", "--forecast", "-3"), "argument --forecast: expected"),
        (("fit", NILE, "--model", "local-level", "--forecast", "ten"), "a whole number of at least 1, got 'ten'"),
        (("fit", NILE, "--model", "local-level", "--max-iterations", "0"), "--max-iterations: expected a whole number"),
        (
            ("fit", NILE, "--model", "local-level", "--levels", "0.95"),
            "--levels: expected per cent, got 0.95; write 95",
        ),
        (("fit", NILE, "--model", "local-level", "--levels", "80;95"), "--levels: expected per cent such as 80,95"),
        (("fit", NILE, "--model", "local-level", "--values", ","), "--values: expected names of columns"),
        (
            ("fit", NILE, "--model", "local-level", "--values", "flow"),
            "--values: no column is called 'flow' (did you mean 'flow_1e8_m3'?); expected one of: year, flow_",
        ),
        (
            ("fit", NILE, "--model", "local-level", "--index", "date"),
            "--index: no column is called 'date'; expected one of: year, flow_",
        ),
        (("fit", NILE, "--model", "local-level", "--series", "id"), "--series: no column is called 'id'"),
        (("fit", NILE, "--model", "local-level", "--index", "year", "--no-index"), "not allowed with argument --index"),
        (
            ("fit", NILE, "--model", "local-level", "--values", "year", "--index", "year"),
            "--values: column 'year' is already used by --index",
        ),
        (
            ("fit", NILE, "--model", "local-level", "--outptu", "x"),
            "--outptu (did you mean --output?) (see kalman-em fit --help)",
        ),
        (
            ("fit", NILE, "--modle", "local-level"),
            "unrecognized arguments: --modle (did you mean --model?) (see kalman-em",
        ),
        (("fit", NILE, "b.csv", "--model", "local-level"), "unrecognized arguments: b.csv (see kalman-em fit --help)"),
        (("--verion",), "unrecognized arguments: --verion (did you mean --version?) (see kalman-em --help)"),
        (("fit", NILE, "--model", "local-level", "--forecast", "100001"), "--forecast: expected at most 100000 rows"),
        (("fit", NILE, "--model", "local-level", "--separator", "ab"), "--separator: expected one character"),
        (
            ("fit", NILE, "--model", "local-level", "--decimal", ","),
            "--decimal: expected another mark than the separator",
        ),
        (
            ("fit", NILE, "--model", "local-level", "--encoding", "latin-99"),
            "--encoding: expected a name such as utf-8",
        ),
        (("fit", "nile", "--model", "local-level"), "kalman-em datasets nile --csv | kalman-em fit - ..."),
        (("fit", "absent.csv", "--model", "local-level"), "absent.csv: No such file or directory"),
        (("fit", FOLDER, "--model", "local-level"), "Is a directory"),
        (
            ("fit", FOLDER / "penguins.csv", "--model", "local-level", "--values", "sex"),
            "'sex': expected numbers, got 'MALE'",
        ),
        (("forecast", NILE, "--steps", "2"), "nile_annual.csv: is not JSON"),
        (("forecast", "absent.json", "--steps", "2"), "absent.json: cannot be read"),
        (("forecast", "absent.json"), "required: --steps"),
        (("forecast", NILE, "--steps", "2", "--output", NILE), "would replace the file that is read"),
        (("forecast", NILE, "--steps", "2", "--output", FOLDER), "--output: expected a file, got the folder"),
        (("forecast", NILE, "--steps", "2", "--output", "no/such/a.csv"), "--output: there is no folder no/such"),
        (("datasets", "nil"), "data set 'nil' is not known; expected one of: co2"),
        (("datasets", "--csv"), "--csv: expected the name of a data set"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: tuple[object, ...], message: str, fails: Callable[..., str]) -> None:
    assert message in fails(*arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv: is empty"),
        (
            "date,y\n2024-03-01,1\n2024-03-02,1,2\n",
            "a.csv: expected 2 fields in line 3, as in the header (date,y), got 3",
        ),
        (
            "date,y\n2024-03-01,1\n2024-03-08,2\n2024-03-22,3\n",
            "got a gap after 2024-03-08 (1 step skipped before 2024",
        ),
        (
            "date,y\n2024-03-01,1\n2024-03-02,inf\n2024-03-03,2\n",
            "column 'y': expected finite numbers, got inf in line 3",
        ),
        ("y\n1.0\n", "expected at least two rows"),
        ("date,y\n2024-03-01,1\n2024-03-02,\n2024-03-03,\n", "a.csv: expected at least 2 observed values"),
        ("date,y\n2024-03-01,\n2024-03-02,\n", "column 'y': expected numbers, got empty fields throughout"),
    ],
)
def test_wrong_files_are_one_line(text: str, message: str, fails: Callable[..., str], tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", text)
    assert message in fails("fit", source, "--model", "local-level", "--quiet")


def test_what_cannot_be_fitted_is_refused_before_anything_is_said_or_made(
    fails: Callable[..., str], tmp_path: Path
) -> None:
    source, folder = write(tmp_path / "a.csv", "y\n1.0\n"), tmp_path / "results"
    assert "a.csv: expected at least two rows" in fails("fit", source, "--model", "local-level", "--output", folder)
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_one_line(fails: Callable[..., str], tmp_path: Path) -> None:
    file = write(tmp_path / "file", "")
    fit = ("fit", NILE, "--model", "local-level", "--quiet", "--max-iterations", 1, "--output")
    assert fails(*fit, file) == f"--output: expected a folder, got the file {file}"
    assert fails(*fit, file / "below") == f"--output: cannot write to {file / 'below'} (Not a directory)"
    (tmp_path / "smoothed.csv").mkdir()
    assert "expected a file or nothing at" in fails(*fit, tmp_path)


def test_where_the_results_go_is_checked_before_the_fit(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cli, "fit", lambda *arguments, **options: pytest.fail("it was fitted"))
    file = write(tmp_path / "file", "")
    fails("fit", NILE, "--model", "local-level", "--output", file)
    source = write(tmp_path / "forecast.csv", "t,y\n1,2\n2,3\n3,3\n")
    assert fails("fit", source, "--model", "local-level", "--output", tmp_path) == (
        f"--output: {source} would replace the file that is read; choose another place"
    )
    clash = write(tmp_path / "clash.csv", "t,y,y_sd\n1,2,3\n2,3,3\n3,3,3\n")
    assert fails("fit", clash, "--model", "local-level", "--output", tmp_path / "out").startswith(
        "--values: columns 'y' and 'y_sd' cannot both be values: the results of the first have the name of the second"
    )
    assert not (tmp_path / "out").exists()
    single = write(tmp_path / "panel.csv", "id,t,y\na,1,2\na,2,3\nb,1,3\n")
    message = fails("fit", single, "--model", "local-level", "--series", "id", "--forecast", 2)
    assert "column 't' of series 'b' does not say what comes next" in message


def test_a_bad_file_leaves_no_folder(fails: Callable[..., str], tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "t,y\n1,\n2,\n")
    fails("fit", source, "--model", "local-level", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_panel_with_a_series_that_is_missing_names_it(fails: Callable[..., str], tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", "id,t,y\na,1,1\na,2,3\na,3,2\nb,1,\nb,2,\n")
    message = fails("fit", source, "--model", "local-level", "--series", "id", "--quiet")
    assert message == f"{source}: series 'b' has no observed value; leave it out"
