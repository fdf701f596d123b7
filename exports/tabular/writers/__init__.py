"""The formats of a file, by name. A project registers its own: see `exports.tabular.writers.base`."""

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

# Formats of which a library is an extra of this package, with that library.
EXTRAS: Final[Mapping[str, str]] = {"parquet": "pyarrow"}

WriterClass = TypeVar("WriterClass", bound=type[Writer])

_writers: dict[str, type[Writer]] = {}


def register(writer_class: WriterClass) -> WriterClass:
    """Make a format known, or replace it. Usable as a decorator."""
    _writers[writer_class.format] = writer_class
    return writer_class


def get(format: str) -> type[Writer]:
    """Raises UnknownFormat, which names the known ones, or the extra that this one needs."""
    if format not in _writers:
        raise UnknownFormat(format, _writers, why=why_missing(format))
    return _writers[format]


def why_missing(format: str) -> str:
    """What to install for a format that is not known only because its library is missing; "" for all others."""
    if format in _writers or format not in EXTRAS:
        return ""
    return f"The format {format!r} needs {EXTRAS[format]}: pip install 'django-live-exports[{format}]'."


def formats() -> list[type[Writer]]:
    """In the order of registration."""
    return list(_writers.values())


register(CsvWriter)
register(TsvWriter)
register(XlsxWriter)
register(JsonLinesWriter)
if find_spec(EXTRAS["parquet"]):
    register(ParquetWriter)
