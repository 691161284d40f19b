"""The options of the command line: what each takes, what --help says of it, and hints for those misspelt."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from kalman_em.em.stopping import DEFAULT_STOPPING
from kalman_em.errors import InputError
from kalman_em.frames import checked_levels
from kalman_em.models.naming import model_names
from kalman_em.version import VERSION

# So many rows ahead may be asked for.
FURTHEST = 100_000
Command = Callable[[argparse.Namespace], int]

FIT = """Fit a model to a CSV file: print the parameters and a check against statsmodels; with --output leave
parameters.json, smoothed.csv, forecast.csv (with --forecast) and plot.png. The first line names the columns. An empty
field (or NA, NaN, null) is a missing value. The first column labels the rows if it is called date, year or the like,
or holds dates or growing whole numbers; the other columns of numbers are the values. Nothing is sorted, skipped or
filled in unless an option says so."""
MODEL = f"""a sum such as "local-linear-trend + seasonal(12)", arguments in brackets as in Python; one of:
{", ".join(model_names())}"""
STATUS = """Exit status: 0 when done (also when EM did not converge, which the summary says, or with --quiet a line on
stderr), 2 when something given is wrong, 1 when the program is at fault or the reader of its output left, 130 after
Ctrl-C; Ctrl-C during EM keeps the best parameters so far, and the command goes on with them."""
FORECAST = """Forecast the rows after the end of a saved fit, as CSV: mean, standard deviation and bounds of every
column."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `InputError`s, so that every error of the command is one line."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse as usual, but name an option that is not known before anything that is missing for lack of it."""
        self._check_options([] if args is None else args)
        parsed, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return parsed, rest

    def error(self, message: str) -> NoReturn:
        """Raise the message, with the nearest choice if one was misspelt."""
        chosen = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if chosen is not None:
            known = [name.strip(" '") for name in chosen[2].split(",")]
            message = f"expected one of: {', '.join(known)}, got {chosen[1]!r}{_hint(chosen[1], known)}"
        raise InputError(f"{message} (see {self.prog} --help)")

    def _check_options(self, args: Sequence[str]) -> None:
        for argument in args:
            if argument == "--" or (self._subparsers is not None and not argument.startswith("-")):
                return  # what follows is no option, or for the parser of the command
            name = argument.split("=")[0]
            if name.startswith("--") and name not in self._option_string_actions:
                self.error(f"unrecognized arguments: {argument}{_hint(name, list(self._option_string_actions))}")


def build_parser(fit: Command, forecast: Command, datasets: Command) -> Parser:
    """Return the parser of the whole command; `run` of what it parses is one of the three commands."""
    parser = Parser(
        prog="kalman-em",
        description="Learn state-space models from time series by expectation-maximisation.",
        epilog="kalman-em COMMAND --help says more of each command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"kalman-em {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    _add_fit(commands, fit)
    _add_forecast(commands, forecast)
    shelf = commands.add_parser(
        "datasets",
        help="list the data sets that come along, or describe one",
        description="List the data sets that come along, describe one, or print it as CSV.",
        allow_abbrev=False,
    )
    shelf.add_argument("name", nargs="?", metavar="NAME", help="a data set; all are listed when left out")
    shelf.add_argument("--csv", action="store_true", help="print it as CSV, to save or to pipe into `kalman-em fit -`")
    shelf.set_defaults(run=datasets)
    return parser


def _add_fit(commands: argparse._SubParsersAction[Parser], run: Command) -> None:
    parser = commands.add_parser(
        "fit", help="fit a model to a CSV file", allow_abbrev=False, description=FIT, epilog=STATUS
    )
    add = parser.add_argument
    add("csv", metavar="CSV", help="a CSV file, rows in time order; - for standard input")
    add("--model", required=True, metavar="MODEL", help=MODEL)
    add("--covariance", default="full", metavar="FORM", help="noise of several columns: full (default) or diagonal")
    _add_reading(parser)
    add("--forecast", type=_steps, default=0, metavar="N", help="forecast N rows ahead")
    _add_levels(parser)
    most = DEFAULT_STOPPING.max_iterations
    add("--max-iterations", type=_count, default=most, metavar="N", help=f"most EM iterations ({most})")
    add("--output", type=Path, metavar="FOLDER", help="where to leave the results, created if absent")
    add(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show progress on stderr; by default on a terminal, and not with --quiet",
    )
    add("--no-crosscheck", action="store_true", help="leave out the check against statsmodels")
    add("--quiet", action="store_true", help="print nothing, leave out that check; if EM did not converge, stderr says")
    parser.set_defaults(run=run)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("reading the file")
    add = group.add_argument
    add("--values", action="append", default=[], type=_names, metavar="COL[,COL]", help="the columns of values")
    add(
        "--inputs",
        action="append",
        default=[],
        type=_names,
        metavar="COL[,COL]",
        help="the columns of known inputs, for a model with regression",
    )
    labels = group.add_mutually_exclusive_group()
    labels.add_argument("--index", metavar="COL", help="the column that labels the rows; found when left out")
    labels.add_argument("--no-index", action="store_true", help="no labels: every row is one step")
    add(
        "--series",
        metavar="COL",
        help="the column that tells series apart; they share the parameters, and follow one another in the results",
    )
    add("--fill-gaps", action="store_true", help="put an empty row wherever the labels skip a regular step")
    add("--no-header", action="store_true", help="the first line is data; the columns are column1, column2, ...")
    add("--separator", default=",", metavar="CHAR", help="what separates the fields: , (default) or ; or tab ...")
    add("--decimal", default=".", metavar="MARK", help="the decimal mark: . (default) or ,")
    add("--encoding", default="utf-8", metavar="NAME", help="of the text: utf-8 (default), cp1252, utf-16 ...")


def _add_forecast(commands: argparse._SubParsersAction[Parser], run: Command) -> None:
    parser = commands.add_parser(
        "forecast", help="forecast from a saved fit, as CSV", allow_abbrev=False, description=FORECAST
    )
    add = parser.add_argument
    add("parameters", type=Path, metavar="PARAMETERS", help="the parameters.json that a fit left")
    add("--steps", type=_steps, required=True, metavar="N", help="how many rows ahead")
    add("--inputs", metavar="CSV", help="known inputs at those rows, one column an input; for a fit with inputs")
    _add_levels(parser)
    add("--output", type=Path, metavar="FILE", help="a CSV file; standard output when left out")
    parser.set_defaults(run=run)


def _add_levels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--levels", type=_levels, default=(80.0, 95.0), metavar="L,L", help="interval levels in per cent (80,95)"
    )


def _hint(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _names(text: str) -> str:
    if not text.strip(" ,"):
        raise argparse.ArgumentTypeError(f"expected names of columns, got {text!r}")
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _steps(text: str) -> int:
    steps = _count(text)
    if steps > FURTHEST:
        raise argparse.ArgumentTypeError(f"expected at most {FURTHEST} rows, got {text}")
    return steps


def _levels(text: str) -> tuple[float, ...]:
    try:
        return checked_levels([float(part) for part in text.split(",")])
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("levels: ")) from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected per cent such as 80,95, got {text!r}") from error
