"""The columns that a user has chosen: which ones, in which order, under which headers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.http import QueryDict

from exports.exceptions import BadOption
from exports.exporters.sheets import Sheet, spoken
from exports.filenames import visible_name
from exports.tabular.columns import Column
from exports.tabular.readers.resolve import path_of
from exports.tabular.writers import Writer
from exports.tabular.writers.jsonl import JsonLinesWriter
from exports.tabular.writers.parquet import ParquetWriter

FIELD: Final = "columns"
OFFERED_FIELD: Final = "columns_offered"
POSITION: Final = "position."
HEADER: Final = "header."
MAX_HEADER_LENGTH: Final = 100

Chosen = Sequence[Sequence[str]]
"""Pairs of a column's name and the header that it gets, "" for its own; as the row of an export stores them."""


@dataclass(frozen=True)
class ColumnChoice:
    """A column as the form offers it: whether it is chosen, at which position, and under which header."""

    name: str
    label: str
    is_chosen: bool
    position: int
    header: str = ""


def posted_columns(posted: QueryDict) -> list[list[str]] | None:
    """Return the columns of a posted form in their order; None if it did not offer them.

    A column without a position, or with one that is no number, keeps its place in the posted order.
    """
    names = posted.getlist(FIELD)
    if not names and OFFERED_FIELD not in posted:
        return None

    def position(place: int) -> float:
        text = posted.get(f"{POSITION}{names[place]}", "")
        return int(text) if text.isdecimal() and len(text) < 6 else place + 1

    order = sorted(range(len(names)), key=position)
    return [[names[place], posted.get(f"{HEADER}{names[place]}", "").strip()] for place in order]


def checked(chosen: Chosen, available: Sequence[Column], usual: Sequence[str]) -> list[list[str]]:
    """Return the chosen columns as a row stores them: [] for the usual ones in their order, with their own headers.

    Raise BadOption for a column that is not available, or that is chosen twice, and for a header that is too long.
    """
    labels = {column.name: spoken(column) for column in available}
    kept: list[list[str]] = []
    for name, given in chosen:
        header = visible_name(given)
        if name not in labels:
            raise BadOption(FIELD, f"there is no column {name!r}. Columns: {', '.join(labels)}.")
        if len(header) > MAX_HEADER_LENGTH:
            raise BadOption(FIELD, f"the header of {name!r} is longer than {MAX_HEADER_LENGTH} characters.")
        kept.append([name, "" if header == labels[name] else header])
    if len({name for name, _header in kept}) < len(kept):
        raise BadOption(FIELD, "a column is chosen twice.")
    return [] if kept == [[name, ""] for name in usual] else kept


def offered_columns(available: Sequence[Column], chosen: Chosen, usual: Sequence[str]) -> list[ColumnChoice]:
    """Return the columns of a form: the chosen ones first, or else the usual ones, and then the others."""
    headers: Mapping[str, str] = dict(chosen or [(name, "") for name in usual])  # type: ignore[arg-type]  # Pairs.
    by_name = {column.name: column for column in available}
    names = [*(name for name in headers if name in by_name), *(name for name in by_name if name not in headers)]
    return [
        ColumnChoice(name, spoken(by_name[name]), name in headers, number, headers.get(name, ""))
        for number, name in enumerate(names, start=1)
    ]


def choose(sheet: Sheet, chosen: Chosen, writer: type[Writer]) -> Sheet:
    """Return the sheet with the chosen columns alone. Columns that are gone since are left out.

    A new header is also the name of the column in formats that tell columns by their names.
    """
    by_name = {column.name: column for column in sheet.columns}
    has_names = issubclass(writer, JsonLinesWriter | ParquetWriter)
    columns, names = [], list(sheet.names)
    for name, header in chosen:
        if (column := by_name.get(name)) is None:
            continue
        if header and has_names:
            names[names.index(name)] = header
            source = path_of(column) if column.source is None else column.source
            column = replace(column, name=header, header=header, source=source)
        elif header:
            column = replace(column, header=header)
        columns.append(column)
    return replace(sheet, columns=columns, names=names)
