"""Fits as JSON files: readable by people, exact to the last bit, and loaded without computing anything anew."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from kalman_em.em.result import EMResult
from kalman_em.em.stopping import StopReason
from kalman_em.encoding.classes import decoded, encoded
from kalman_em.encoding.counts import decoded_counts, encoded_counts
from kalman_em.encoding.labels import decoded_index, decoded_label, encoded_index, encoded_label
from kalman_em.encoding.layout import laid_out
from kalman_em.encoding.numbers import as_array, as_nested
from kalman_em.errors import InputError
from kalman_em.fitting.latent.kinds import kind_of
from kalman_em.fitting.latent.latent_fit import LatentFit
from kalman_em.fitting.learning import Learnt
from kalman_em.fitting.panel_fit import PanelFit
from kalman_em.fitting.result import Fit
from kalman_em.latent.corpus import Corpus
from kalman_em.models.rate import Rate
from kalman_em.models.slots import Slot
from kalman_em.models.specification import Specification
from kalman_em.observations import Observations, Panel
from kalman_em.systems import LinearGaussianSystem
from kalman_em.version import VERSION

FORMAT = "kalman_em fit"
# Raised when a file of the new kind could be misread by code of the old one.
FORMAT_VERSION = 1


def save(fitted: Fit | LatentFit | PanelFit, path: str | PathLike[str]) -> None:
    """Write a fit with its data, its history and its model as JSON.

    The blocks ``parameters`` and ``fit`` are for people who open the file; `load` reads the others. NaN is
    written as null and infinity as ``"inf"``, so that any JSON reader can take the file.

    Parameters
    ----------
    fitted : Fit, LatentFit or PanelFit
    path : path
        The file; one that is there is replaced.

    Raises
    ------
    InputError
        If `path` is no path, or the model, a form or the row labels are of a kind that cannot be read back, such as a
        model class of one's own.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fitted.save(pathlib.Path(folder) / "nile.json")
    ...     loaded = kem.load(pathlib.Path(folder) / "nile.json")
    >>> loaded.params == fitted.params, loaded.log_likelihood == fitted.log_likelihood
    (True, True)
    """
    if not isinstance(fitted, Fit | LatentFit | PanelFit):
        raise InputError(f"fitted: expected a Fit, got {type(fitted).__name__}")
    file = _path(path)
    if isinstance(fitted, PanelFit):
        text = laid_out(_encoded_many(fitted))
    else:
        text = laid_out(_encoded_fit(fitted) if isinstance(fitted, Fit) else _encoded_latent(fitted))
    file.write_text(text + "\n", encoding="utf-8", newline="\n")


def load(path: str | PathLike[str]) -> Any:
    """Return the fit that `save` wrote, equal to the last bit.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    Fit, PanelFit, or the kind of result that belongs to the model
        With its data, its history and its model; nothing is computed anew.

    Raises
    ------
    InputError
        If `path` is no path, or the file cannot be read, is not JSON, not a fit, written by a newer version, or
        incomplete.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import kalman_em as kem
    >>> fitted = kem.fit(kem.LocalLevel(), kem.datasets.load("nile")["flow"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fitted.save(pathlib.Path(folder) / "nile.json")
    ...     loaded = kem.load(pathlib.Path(folder) / "nile.json")
    >>> loaded.forecast(1).to_frame().equals(fitted.forecast(1).to_frame())
    True
    """
    file = _path(path)
    name = str(file)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is not JSON (not UTF-8 text)") from error
    try:
        document = json.loads(text, parse_constant=_refused_constant)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: is not JSON ({error})") from error
    _check_ours(document, name)
    try:
        if "fits" in document:
            return _decoded_many(document)
        return _decoded_latent(document) if "latent" in document else _decoded_fit(document)
    except KeyError as error:
        raise InputError(f"{name}: the field {error} is missing") from error
    except (InputError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{name}: is damaged ({error})") from error


def _path(path: Any) -> Path:
    if not isinstance(path, str | PathLike) or not str(path):
        raise InputError(f"path: expected the path of a file, as text or a pathlib.Path, got {path!r}")
    if "\0" in str(path):
        raise InputError(f"path: expected a path without null characters, got {path!r}")
    return Path(path)


def _check_ours(document: Any, name: str) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{name}: is not a fit saved by kalman_em (expected a format of {FORMAT!r})")
    version = document.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(f"{name}: expected a format_version of 1 to {FORMAT_VERSION}, got {version!r}")
    if version > FORMAT_VERSION:
        raise InputError(
            f"{name}: has format version {version}, written by kalman_em {document.get('package_version')}; this is "
            f"kalman_em {VERSION}, which reads versions up to {FORMAT_VERSION}: install a newer one"
        )


def _refused_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _encoded_fit(fitted: Fit) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "package_version": VERSION,
        "parameters": {name: as_nested(value) for name, value in fitted.params.items()},
        "fit": _figures(fitted),
        "model": encoded(fitted.model, "model"),
        "specification": _encoded_specification(fitted.specification),
        "system": _encoded_system(fitted.system),
        "em": _encoded_em(fitted.em),
        "numerics": fitted.numerics,
        "data": _encoded_panel(fitted.panel),
    }


def _encoded_latent(fitted: LatentFit) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "package_version": VERSION,
        "parameters": {name: as_nested(value) for name, value in fitted.params.items()},
        "fit": {
            "log_likelihood": fitted.log_likelihood,
            "n_parameters": fitted.n_parameters,
            "stop_reason": str(fitted.em.stop_reason),
        },
        "model": encoded(fitted.model, "model"),
        "latent": encoded(fitted.em.params, "params"),
        "em": _encoded_em(fitted.em),
        "data": _encoded_data(fitted.panel),
    }


def _encoded_many(fits: PanelFit) -> dict[str, Any]:
    alike = ("format", "format_version", "package_version", "model")
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "package_version": VERSION,
        "model": encoded(fits.model, "model"),
        "series_name": fits.series_name,
        "time_name": fits.time_name,
        "errors": [[encoded_label(key, "series"), reason] for key, reason in fits.errors.items()],
        "fits": [
            {"key": encoded_label(key, "series")}
            | {name: part for name, part in _encoded_fit(fits[key]).items() if name not in alike}
            for key in fits
        ],
    }


def _decoded_many(document: dict[str, Any]) -> PanelFit:
    learnt = {}
    for node in document["fits"]:
        one = _decoded_fit(node | {"model": document["model"]})
        learnt[decoded_label(node["key"])] = Learnt(one.specification, one.panel, one.em, one.numerics)
    return PanelFit(
        model=decoded(document["model"], "model"),
        learnt=learnt,
        errors={decoded_label(key): reason for key, reason in document["errors"]},
        series_name=document["series_name"],
        time_name=document["time_name"],
    )


def _encoded_data(data: Any) -> dict[str, Any]:
    return encoded_counts(data) if isinstance(data, Corpus) else _encoded_panel(data)


def _decoded_latent(document: dict[str, Any]) -> LatentFit:
    model = decoded(document["model"], "model")
    em = _decoded_em(document["em"], decoded(document["latent"], "latent"))
    kind, data = kind_of(model), document["data"]
    panel: Any = decoded_counts(data) if kind.data_kind is Corpus else _decoded_panel(data)
    return kind(model=model, panel=panel, em=em)


def _decoded_fit(document: dict[str, Any]) -> Fit:
    return Fit(
        model=decoded(document["model"], "model"),
        specification=_decoded_specification(document["specification"]),
        panel=_decoded_panel(document["data"]),
        em=_decoded_em(document["em"], _decoded_system(document["system"])),
        numerics=document["numerics"],
    )


def _figures(fitted: Fit) -> dict[str, Any]:
    figures = {name: _plain(np.float64(getattr(fitted, name))) for name in ("log_likelihood", "aic", "aicc", "bic")}
    counts = {"n_parameters": fitted.n_parameters, "n_observed": fitted.n_observed}
    return figures | counts | {"stop_reason": str(fitted.em.stop_reason), "n_iterations": fitted.em.n_iterations}


def _encoded_specification(specification: Specification) -> dict[str, Any]:
    node = {
        name: _plain(getattr(specification, name))
        for name in _names(
            Specification,
            but=("forms", "slots", "components", "regressions", "dynamics", "series", "rates", "row_starts"),
        )
    }
    node["rates"] = [asdict(rate) for rate in specification.rates]
    for name in ("series", "row_starts"):
        if value := getattr(specification, name):
            node[name] = list(value)
    node["dynamics"] = encoded(specification.dynamics, "dynamics")
    node["forms"] = {name: encoded(form, name) for name, form in specification.forms.items()}
    node["slots"] = {name: _encoded_slot(slot) for name, slot in specification.slots.items()}
    for field in ("components", "regressions"):
        if parts := getattr(specification, field):
            node[field] = {name: [part.start, part.stop] for name, part in parts.items()}
    return node


def _encoded_slot(slot: Slot) -> list[Any]:
    rows = None if slot.rows is None else [slot.rows.start, slot.rows.stop]
    node: list[Any] = [slot.parameter, rows]
    if slot.copies > 1 or slot.entries is not None or slot.kind != "value" or slot.entry is not None:
        node.append({name: _plain(getattr(slot, name)) for name in ("copies", "shape", "kind")})
        node[-1]["entries"] = None if slot.entries is None else [list(entry) for entry in slot.entries]
        if slot.entry is not None:
            node[-1]["entry"] = slot.entry
    return node


def _decoded_rate(node: dict[str, Any]) -> Rate:
    entries = tuple((int(row), int(column), float(weight)) for row, column, weight in node["entries"])
    return Rate(node["name"], entries, tuple(node["states"]), tuple(node["noises"]))


def _decoded_slot(node: list[Any]) -> Slot:
    parameter, rows, *more = node
    parts = dict(more[0]) if more else {}
    if parts:
        parts["shape"] = tuple(parts["shape"])
        parts["entries"] = None if parts["entries"] is None else tuple(tuple(entry) for entry in parts["entries"])
    return Slot(parameter, None if rows is None else slice(*rows), **parts)


def _decoded_specification(node: dict[str, Any]) -> Specification:
    parts = {
        name: node[name] for name in _names(Specification, but=("components", "regressions", "series", "row_starts"))
    }
    parts["forms"] = {name: decoded(form, name) for name, form in node["forms"].items()}
    parts["slots"] = {name: _decoded_slot(slot) for name, slot in node["slots"].items()}
    # Models that are no sums have none.
    for field in ("components", "regressions"):
        parts[field] = {name: slice(*rows) for name, rows in node.get(field, {}).items()}
    parts["state_names"] = tuple(node["state_names"])
    for name in ("noise_selection", "transition_gaps"):
        parts[name] = None if node[name] is None else as_array(node[name])
    parts["dynamics"] = decoded(node["dynamics"], "dynamics")
    for name in ("series", "row_starts"):
        parts[name] = tuple(node.get(name, ()))
    parts["rates"] = tuple(_decoded_rate(rate) for rate in node["rates"])
    return Specification(**parts)


def _encoded_system(system: LinearGaussianSystem) -> dict[str, Any]:
    names = _names(LinearGaussianSystem, but=("dynamics", "by_series", "row_starts"))
    node = {name: _plain(getattr(system, name)) for name in names}
    for name in ("by_series", "row_starts"):
        if value := getattr(system, name):
            node[name] = list(value)
    return node | {"dynamics": encoded(system.dynamics, "dynamics")}


def _decoded_system(node: dict[str, Any]) -> LinearGaussianSystem:
    names = _names(LinearGaussianSystem, but=("dynamics", "by_series", "row_starts"))
    parts: dict[str, Any] = {name: None if node[name] is None else as_array(node[name]) for name in names}
    for name in ("by_series", "row_starts"):
        parts[name] = tuple(node.get(name, ()))
    parts["dynamics"] = decoded(node["dynamics"], "dynamics")
    parts["initial_diffuse"] = np.array(node["initial_diffuse"], dtype=bool)
    return LinearGaussianSystem(**parts)


def _encoded_em(em: EMResult[Any]) -> dict[str, Any]:
    # The bound is there only where it was asked for.
    left_out = ("params",) if em.bound_history is not None else ("params", "bound_history")
    return {name: _plain(getattr(em, name)) for name in _names(EMResult, but=left_out)}


def _decoded_em(node: dict[str, Any], params: Any) -> EMResult[Any]:
    parts = {name: node[name] for name in _names(EMResult, but=("params", "bound_history"))}
    parts["bound_history"] = node.get("bound_history")
    parts = {name: as_array(value) if isinstance(value, list) else value for name, value in parts.items()}
    parts["stop_reason"] = StopReason(node["stop_reason"])
    return EMResult(params=params, **parts)


def _encoded_panel(panel: Panel) -> dict[str, Any]:
    return {
        "columns": list(panel.names),
        "series": [
            {
                "key": encoded_label(key, "series"),
                "index": encoded_index(one.index),
                "values": as_nested(one.values),
                "times": _plain(one.times),
                "inputs": _plain(one.inputs),
            }
            for key, one in zip(panel.keys or (), panel, strict=True)
        ],
    }


def _decoded_panel(node: dict[str, Any]) -> Panel:
    series = tuple(
        Observations(
            as_array(one["values"]),
            times=None if one["times"] is None else as_array(one["times"]),
            index=decoded_index(one["index"]),
            names=tuple(node["columns"]),
            inputs=None if one["inputs"] is None else as_array(one["inputs"]),
        )
        for one in node["series"]
    )
    return Panel(series, tuple(decoded_label(one["key"]) for one in node["series"]))


def _names(cls: type[Any], *, but: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the fields of a dataclass, in order, `but` some."""
    return [field.name for field in fields(cls) if field.init and field.name not in but]


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return as_nested(np.asarray(value))
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, StopReason) else value
