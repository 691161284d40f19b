"""The command line: ``kalman-em fit data.csv --model local-level --forecast 10 --output folder``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kalman_em import datasets
from kalman_em.console.reading import Table, read_table
from kalman_em.console.writing import forecast_table, write_results, write_table
from kalman_em.em.stopping import Stopping
from kalman_em.errors import InputError, NumericalError
from kalman_em.fitting.fit import fit
from kalman_em.fitting.result import Fit
from kalman_em.frames import checked_levels
from kalman_em.models.model import Model
from kalman_em.models.naming import model_named, model_names
from kalman_em.persistence import load
from kalman_em.version import VERSION

USAGE_ERROR = 2
UNEXPECTED_ERROR = 1
INTERRUPTED = 130

FIT = """Fit a model to a CSV file: print the parameters and a check against statsmodels; with --output leave
parameters.json, smoothed.csv, forecast.csv and plot.png. An empty field is a missing value. The first column labels
the rows if it looks like it; the other columns of numbers are the values."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `InputError`s, so that every error of the command is one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message."""
        raise InputError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, or 2 after one line on stderr that says what was wrong."""
    try:
        arguments = _parser().parse_args(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except (InputError, NumericalError) as error:
        return _failed(str(error), USAGE_ERROR)
    except BrokenPipeError:  # the reader of our output left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNEXPECTED_ERROR
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error), USAGE_ERROR)
    except Exception as error:
        return _failed(f"unexpected {type(error).__name__}: {error}; please report it", UNEXPECTED_ERROR)


def _failed(message: str, status: int) -> int:
    print(f"kalman-em: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _fit(arguments: argparse.Namespace) -> int:
    say = _nothing if arguments.quiet else _say
    model = model_named(arguments.model, covariance=arguments.covariance)
    stopping = Stopping() if arguments.max_iterations is None else Stopping(max_iterations=arguments.max_iterations)
    table = read_table(
        arguments.csv,
        index=arguments.index,
        values=arguments.values,
        series=arguments.series,
        unlabelled=arguments.no_index,
        fill_gaps=arguments.fill_gaps,
    )
    say(f"{'standard input' if arguments.csv == '-' else arguments.csv}: {table.describe()}\n")
    fitted = _fitted(model, table, stopping, arguments.progress)
    say(str(fitted.summary()))
    steps, levels = arguments.forecast, arguments.levels
    written = [] if arguments.output is None else write_results(fitted, arguments.output, steps=steps, levels=levels)
    if steps and arguments.output is None:
        say(f"\n{forecast_table(fitted, steps, levels).to_string()}")
    if not arguments.no_crosscheck and not arguments.quiet:
        say(f"\n{_checked(fitted)}")
    if written:
        say("\nWritten:\n" + "\n".join(f"  {path}" for path in written))
    return 0


def _fitted(model: Model, table: Table, stopping: Stopping, progress: bool) -> Fit:
    if table.series is None:
        return fit(model, table.frame, values=table.values, stopping=stopping, progress=progress)
    return fit(
        model,
        table.frame.reset_index(drop=table.index is None),
        time=table.index,
        series=table.series,
        values=table.values,
        stopping=stopping,
        progress=progress,
    )


def _checked(fitted: Fit) -> str:
    try:
        return str(fitted.crosscheck())
    except (InputError, NumericalError) as error:
        return f"No check against statsmodels: {error}"


def _forecast(arguments: argparse.Namespace) -> int:
    table = forecast_table(load(arguments.parameters), arguments.steps, arguments.levels)
    write_table(table, sys.stdout if arguments.output is None else arguments.output)
    return 0


def _datasets(arguments: argparse.Namespace) -> int:
    if arguments.csv:
        if arguments.name is None:
            raise InputError("--csv: expected the name of a data set before it")
        datasets.load(arguments.name).to_csv(sys.stdout, lineterminator="\n")
    elif arguments.name is not None:
        _say(datasets.describe(arguments.name))
    else:
        _say("\n".join(f"{name:<24}{datasets.CATALOGUE[name].title}" for name in datasets.names()))
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _nothing(text: str) -> None:
    del text


def _parser() -> Parser:
    parser = Parser(
        prog="kalman-em",
        description="Learn state-space models from time series by expectation-maximisation.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"kalman-em {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_fit(commands)
    forecast = commands.add_parser("forecast", help="forecast from a saved fit, as CSV", allow_abbrev=False)
    forecast.add_argument("parameters", type=Path, help="the parameters.json that a fit left")
    forecast.add_argument("--steps", type=_count, required=True, metavar="N", help="how many rows ahead")
    forecast.add_argument("--levels", type=_levels, default=(80.0, 95.0), help="interval levels in per cent: 80,95")
    forecast.add_argument("--output", type=Path, metavar="FILE", help="a CSV file; standard output when left out")
    forecast.set_defaults(run=_forecast)
    shelf = commands.add_parser("datasets", help="list the data sets, or describe one", allow_abbrev=False)
    shelf.add_argument("name", nargs="?", help="a data set")
    shelf.add_argument("--csv", action="store_true", help="print it as CSV, to save or to pipe into `kalman-em fit -`")
    shelf.set_defaults(run=_datasets)
    return parser


def _add_fit(commands: argparse._SubParsersAction[Parser]) -> None:
    parser = commands.add_parser("fit", help="fit a model to a CSV file", allow_abbrev=False, description=FIT)
    add = parser.add_argument
    add("csv", metavar="CSV", help="a CSV file with a header, rows in time order; - for standard input")
    add("--model", required=True, metavar="MODEL", help=f"one of: {', '.join(model_names())}")
    add("--covariance", default="full", metavar="FORM", help="noise of several columns: full (default) or diagonal")
    add("--values", type=_names, action="extend", default=[], metavar="COL[,COL]", help="the columns of values")
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument("--index", metavar="COL", help="the column that labels the rows; found when left out")
    labels.add_argument("--no-index", action="store_true", help="no labels: every row is one step")
    add("--fill-gaps", action="store_true", help="put an empty row wherever the labels skip a regular step")
    add("--series", metavar="COL", help="the column that tells series apart; they share the parameters")
    add("--forecast", type=_count, default=0, metavar="N", help="forecast N rows ahead")
    add("--levels", type=_levels, default=(80.0, 95.0), metavar="L,L", help="interval levels in per cent (80,95)")
    add("--max-iterations", type=_count, metavar="N", help="most EM iterations")
    add("--output", type=Path, metavar="FOLDER", help="where to leave the results, created if absent")
    add("--progress", action="store_true", help="show progress on stderr")
    add("--no-crosscheck", action="store_true", help="leave out the check against statsmodels")
    add("--quiet", action="store_true", help="print nothing, leave out that check")
    parser.set_defaults(run=_fit)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"expected names of columns, got {text!r}")
    return names


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _levels(text: str) -> tuple[float, ...]:
    try:
        return checked_levels([float(part) for part in text.split(",")])
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("levels: ")) from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected per cent such as 80,95, got {text!r}") from error
