"""The text of a CSV file or of standard input; what is no text is turned away by name."""

from __future__ import annotations

import sys
from pathlib import Path

from kalman_em import datasets
from kalman_em.errors import InputError

STANDARD_INPUT = "-"
# How files that are often taken for CSV begin.
BEGINNINGS = {
    b"PK\x03\x04": "is an Excel workbook or a zip archive; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "is compressed (gzip); unpack it, as with: gunzip -c FILE.csv.gz | kalman-em fit - ...",
    b"PAR1": "is a Parquet file; save the table as CSV",
    b"\x89PNG": "is a picture; expected CSV",
    b"%PDF": "is a PDF document; expected CSV",
}
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def name_of(source: str) -> str:
    """Return what messages call a source."""
    return "standard input" if source == STANDARD_INPUT else source


def read_text(source: str, encoding: str = "utf-8") -> str:
    """Return the text of the file `source` (``-``: standard input), without a byte order mark.

    Raises
    ------
    InputError
        If the encoding is not known, or the file is not text in it.
    OSError
        If the file cannot be read.
    """
    content = _content(source)
    name = name_of(source)
    for beginning, verdict in BEGINNINGS.items():
        if content.startswith(beginning):
            raise InputError(f"{name}: {verdict}")
    is_utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    if is_utf8 and content.startswith(UTF16_MARKS):
        raise InputError(f"{name}: is UTF-16 text; say --encoding utf-16, or save it as UTF-8")
    try:
        text = content.decode("utf-8-sig" if is_utf8 else encoding)
    except LookupError as error:
        raise InputError(f"--encoding: expected a name such as utf-8, cp1252 or utf-16, got {encoding!r}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is not CSV ({_undecoded(content, error.start, encoding, is_utf8)}") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{name}: is not CSV (a NUL character in line {line})")
    return text


def _content(source: str) -> bytes:
    if source == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except FileNotFoundError as error:
        if source in datasets.names():
            raise InputError(
                f"{source}: no such file; for the data set of that name: "
                f"kalman-em datasets {source} --csv | kalman-em fit - ..."
            ) from error
        raise


def _undecoded(content: bytes, start: int, encoding: str, is_utf8: bool) -> str:
    line = content.count(b"\n", 0, start) + 1
    what = "not UTF-8 text" if is_utf8 else f"not {encoding} text"
    return f"{what}: byte 0x{content[start]:02x} in line {line}); name its encoding, such as --encoding cp1252"
