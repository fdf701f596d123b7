"""The formats of a file, by name. A project registers its own: see `exports.writers.base`."""

from typing import TypeVar

from exports.exceptions import UnknownFormat
from exports.writers.base import Batch, Writer
from exports.writers.csv import CsvWriter, TsvWriter
from exports.writers.xlsx import XlsxWriter

__all__ = ["Batch", "CsvWriter", "TsvWriter", "Writer", "XlsxWriter", "formats", "get", "register"]

WriterClass = TypeVar("WriterClass", bound=type[Writer])

_writers: dict[str, type[Writer]] = {}


def register(writer_class: WriterClass) -> WriterClass:
    """Make a format known, or replace it. Usable as a decorator."""
    _writers[writer_class.format] = writer_class
    return writer_class


def get(format: str) -> type[Writer]:
    """Raises UnknownFormat, which names the known ones."""
    if format not in _writers:
        raise UnknownFormat(format, _writers)
    return _writers[format]


def formats() -> list[type[Writer]]:
    """In the order of registration."""
    return list(_writers.values())


register(CsvWriter)
register(TsvWriter)
register(XlsxWriter)
