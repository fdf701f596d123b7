"""The columns that a user has chosen: which ones, in which order, under which headers."""

from collections.abc import Sequence
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


@dataclass(frozen=True)
class SheetChoice:
    """A sheet as the form offers its columns; the only one has no title."""

    title: str
    columns: Sequence[ColumnChoice]


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


def named(sheets: Sequence[Sheet]) -> dict[str, Column]:
    """Return the columns of all sheets by the names that choices use."""
    return {sheet.name_of(column): column for sheet in sheets for column in sheet.columns}


def checked(chosen: Chosen, available: Sequence[Sheet], usual: Sequence[str]) -> list[list[str]]:
    """Return the chosen columns as a row stores them, sheet by sheet: [] for the usual ones with their own headers.

    Raise BadOption for a column that is not available, or that is chosen twice, and for a header that is too long.
    """
    columns = named(available)
    kept: list[list[str]] = []
    for name, given in chosen:
        header = visible_name(given)
        if name not in columns:
            raise BadOption(FIELD, f"there is no column {name!r}. Columns: {', '.join(columns)}.")
        if len(header) > MAX_HEADER_LENGTH:
            raise BadOption(FIELD, f"the header of {name!r} is longer than {MAX_HEADER_LENGTH} characters.")
        kept.append([name, "" if header == spoken(columns[name]) else header])
    if len({name for name, _header in kept}) < len(kept):
        raise BadOption(FIELD, "a column is chosen twice.")
    sheet_of = {name: number for number, sheet in enumerate(available) for name in named([sheet])}
    kept.sort(key=lambda pair: sheet_of[pair[0]])
    return [] if kept == [[name, ""] for name in usual] else kept


def offered_columns(available: Sequence[Sheet], chosen: Chosen, usual: Sequence[str]) -> list[SheetChoice]:
    """Return the columns of a form by their sheets: the chosen ones first, or else the usual ones, then the others."""
    offered = []
    for sheet in available:
        by_name = named([sheet])
        own = [(name, header) for name, header in chosen if name in by_name]
        headers = dict(own or [(name, "") for name in usual if name in by_name])
        names = [*headers, *(name for name in by_name if name not in headers)]
        choices = [
            ColumnChoice(name, spoken(by_name[name]), name in headers, number, headers.get(name, ""))
            for number, name in enumerate(names, start=1)
        ]
        offered.append(SheetChoice(sheet.title if sheet.key else "", choices))
    return offered


def choose(sheets: Sequence[Sheet], chosen: Chosen, writer: type[Writer]) -> list[Sheet]:
    """Return the sheets with the chosen columns alone. Columns that are gone since are left out.

    One of several sheets, of whose columns none is chosen, keeps all of them. A new header is also the name of the
    column in formats that tell columns by their names.
    """
    has_names = issubclass(writer, JsonLinesWriter | ParquetWriter)
    left = []
    for sheet in sheets:
        by_name = named([sheet])
        columns, names = [], list(sheet.names)
        for name, header in chosen:
            if (column := by_name.get(name)) is None:
                continue
            if header and has_names:
                names[names.index(column.name)] = header
                source = path_of(column) if column.source is None else column.source
                column = replace(column, name=header, header=header, source=source)
            elif header:
                column = replace(column, header=header)
            columns.append(column)
        keeps_all = sheet.key and not columns
        left.append(sheet if keeps_all else replace(sheet, columns=columns, names=names))
    return left
