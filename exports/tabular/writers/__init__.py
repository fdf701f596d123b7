"""The registry of file formats, by name. A project registers its own: see docs/custom-writers.md."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final, TypeVar

from exports.exceptions import UnknownFormat
from exports.tabular.writers.base import Batch, Writer
from exports.tabular.writers.csv import CsvWriter, TsvWriter
from exports.tabular.writers.jsonl import JsonLinesWriter
from exports.tabular.writers.parquet import ParquetWriter
from exports.tabular.writers.xlsx.writer import XlsxWriter

__all__ = [
    "Batch",
    "CsvWriter",
    "JsonLinesWriter",
    "ParquetWriter",
    "TsvWriter",
    "Writer",
    "XlsxWriter",
    "formats",
    "get",
    "register",
    "why_missing",
]

# The library that a format needs beyond this package's own requirements. The extra has the name of the format.
EXTRAS: Final[Mapping[str, str]] = {"parquet": "pyarrow"}

WriterClass = TypeVar("WriterClass", bound=type[Writer])

_writers: dict[str, type[Writer]] = {}


def register(writer_class: WriterClass) -> WriterClass:
    """Add a format, or replace the one of the same name. Usable as a decorator."""
    _writers[writer_class.format] = writer_class
    return writer_class


def get(format: str) -> type[Writer]:
    """Return the writer of a format.

    Raises UnknownFormat, whose message names the known formats, or the extra that this one needs.
    """
    if format not in _writers:
        raise UnknownFormat(format, _writers, why=why_missing(format))
    return _writers[format]


def why_missing(format: str) -> str:
    """Say what to install for a format whose library is missing. Return "" for all other names."""
    if format in _writers or format not in EXTRAS:
        return ""
    return f"The format {format!r} needs {EXTRAS[format]}: pip install 'django-live-exports[{format}]'."


def formats() -> list[type[Writer]]:
    """Return all writers in the order of their registration."""
    return list(_writers.values())


register(CsvWriter)
register(TsvWriter)
register(XlsxWriter)
register(JsonLinesWriter)
if find_spec(EXTRAS["parquet"]):
    register(ParquetWriter)
