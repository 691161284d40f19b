"""The command line: ``kalman-em fit data.csv --model local-level --forecast 10 --output folder``."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kalman_em import datasets
from kalman_em.console.ahead import check_continuable, future_inputs
from kalman_em.console.arguments import build_parser
from kalman_em.console.reading import Table, read_table
from kalman_em.console.sheet import Dialect
from kalman_em.console.text import name_of
from kalman_em.console.wording import in_options, one_line_warnings, unconverged
from kalman_em.console.writing import (
    check_file,
    check_names,
    forecast_table,
    prepare_folder,
    write_results,
    write_table,
)
from kalman_em.em.stopping import Stopping
from kalman_em.errors import InputError, NumericalError, is_interrupt
from kalman_em.fitting.fit import fit
from kalman_em.fitting.learning import stated
from kalman_em.fitting.result import Fit
from kalman_em.models.naming import model_named
from kalman_em.persistence import load

USAGE_ERROR = 2
UNEXPECTED_ERROR = 1
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, or 2 after one line on stderr that says what was wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no error
    try:
        arguments = build_parser(_fit, _forecast, _datasets).parse_args(sys.argv[1:] if argv is None else argv)
        with one_line_warnings():
            status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as end:  # --help and --version
        return int(end.code or 0)
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except (InputError, NumericalError) as error:
        return _failed(in_options(str(error)), USAGE_ERROR)
    except BrokenPipeError:  # the reader of our output left
        _print_nowhere()
        return UNEXPECTED_ERROR
    except OSError as error:
        return _failed(f"{error.filename}: {error.strerror}" if error.filename else str(error), USAGE_ERROR)
    except MemoryError:
        return _failed("expected less data, or shorter forecasts, than memory holds", USAGE_ERROR)
    except Exception as error:
        if is_interrupt(error):
            return _failed("interrupted", INTERRUPTED)
        return _failed(f"unexpected {type(error).__name__}: {error}; please report it", UNEXPECTED_ERROR)


def _failed(message: str, status: int) -> int:
    print(f"kalman-em: error: {' '.join(message.split())}", file=sys.stderr)
    return status


def _fit(arguments: argparse.Namespace) -> int:
    say = _nothing if arguments.quiet else _say if arguments.output is None else _say_if_heard
    model = model_named(arguments.model, covariance=arguments.covariance)
    stopping = Stopping(max_iterations=arguments.max_iterations)
    if arguments.inputs and arguments.forecast:
        raise InputError(
            "--forecast: expected no --inputs beside it, as those of the rows ahead are not in the file; use "
            "`kalman-em forecast` with the parameters that --output leaves and --inputs"
        )
    table, name = _table(arguments), name_of(arguments.csv)
    data = _data(table)
    with _in_options(name):
        stated(model, **data)  # what cannot be fitted is refused before anything is said or made
    steps, levels, folder = arguments.forecast, arguments.levels, arguments.output
    if steps:
        check_continuable(table, steps)
    if folder is not None:
        check_names(table.values, levels)
        prepare_folder(folder, arguments.csv)
    say(f"{name}: {table.describe()}\n")
    progress = arguments.progress
    if progress is None:
        progress = sys.stderr.isatty() and not arguments.quiet
    with _in_options(name):
        fitted = fit(model, **data, stopping=stopping, progress=progress)
    say(str(fitted.summary()))
    written = [] if folder is None else write_results(fitted, folder, steps=steps, levels=levels)
    if steps and folder is None:
        say(f"\n{forecast_table(fitted, steps, levels).to_string()}")
    if not arguments.no_crosscheck and not arguments.quiet:
        if progress:
            print("Checking against statsmodels ...", file=sys.stderr, flush=True)
        say(f"\n{_checked(fitted)}")
    if written:
        say("\nWritten:\n" + "\n".join(f"  {path}" for path in written))
    if arguments.quiet and not fitted.em.stop_reason.is_converged:
        print(f"kalman-em: {' '.join(unconverged(fitted.em).split())}", file=sys.stderr)
    return 0


def _table(arguments: argparse.Namespace) -> Table:
    dialect = Dialect(separator=arguments.separator, decimal=arguments.decimal, has_header=not arguments.no_header)
    return read_table(
        arguments.csv,
        index=arguments.index,
        values=arguments.values,
        series=arguments.series,
        inputs=arguments.inputs,
        unlabelled=arguments.no_index,
        fill_gaps=arguments.fill_gaps,
        dialect=dialect,
        encoding=arguments.encoding,
    )


def _data(table: Table) -> dict[str, Any]:
    """Return a table as the arguments of a fit."""
    frame = table.frame if table.series is None else table.frame.reset_index(drop=table.index is None)
    time = None if table.series is None else table.index
    columns = {"time": time, "series": table.series, "values": table.values, "inputs": table.inputs or None}
    return {"data": frame, **columns}


@contextmanager
def _in_options(name: str) -> Iterator[None]:
    """Put what is wrong with the data of file `name` in the words of the command line."""
    try:
        yield
    except InputError as error:
        raise InputError(in_options(str(error), name)) from error


def _checked(fitted: Fit) -> str:
    try:
        return str(fitted.crosscheck())
    except (InputError, NumericalError) as error:
        return f"No check against statsmodels: {error}"


def _forecast(arguments: argparse.Namespace) -> int:
    if arguments.output is not None:
        check_file(arguments.output, arguments.parameters)
    fitted = load(arguments.parameters)
    inputs = future_inputs(fitted, arguments.inputs, arguments.steps)
    table = forecast_table(fitted, arguments.steps, arguments.levels, inputs)
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


def _say_if_heard(text: str) -> None:
    """Print, and go on without a reader: there are files to write."""
    try:
        _say(text)
    except BrokenPipeError:
        _print_nowhere()


def _print_nowhere() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _nothing(text: str) -> None:
    del text
