"""Sheets of an export: what is declared, what a user's column permissions leave of it, and how many rows it has."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from django.db.models import QuerySet
from django.db.models.manager import BaseManager
from django.utils.text import capfirst

from exports.exceptions import DeclarationError, RowsDiffer
from exports.tabular.columns import Column, as_columns
from exports.tabular.readers import querysets, resolve
from exports.tabular.readers import rows as row_reader
from exports.tabular.readers.arrow import ArrowRows, is_stream
from exports.tabular.readers.rows import Batch, Rows

COUNTS: Final = ("exact", "estimate", "none")
"""How the rows can be counted before they are read: counted, estimated by the database, or not at all."""


@dataclass(frozen=True)
class Sheet:
    """One sheet of a file.

    Attributes:
        title: The name of the sheet.
        rows: A queryset, or what `get_rows` or `get_arrow` may return.
        columns: The columns, each a Column or the name of a plain one; for an Arrow stream all of its fields if empty.
        names: For rows that are tuples: the names of all their values, also of columns that are withheld.
        key: What choices of columns call a sheet of `get_sheets`, by default its title: "<key>.<name of the column>".

    """

    title: str
    rows: QuerySet[Any] | Rows | ArrowRows
    # After the initialization each is a Column.
    columns: Sequence[Column]
    names: Sequence[str] = ()
    key: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", as_columns(self.columns))
        if isinstance(self.rows, BaseManager):
            object.__setattr__(self, "rows", self.rows.all())
        elif is_stream(self.rows):
            rows = ArrowRows.of(self.rows)
            object.__setattr__(self, "rows", rows)
            object.__setattr__(self, "columns", self.columns or as_columns(rows.names))
        elif not isinstance(self.rows, Iterable | ArrowRows):
            raise DeclarationError(
                f"The rows of the sheet {self.title!r} are a {type(self.rows).__name__}: return a queryset or rows."
            )
        if not self.names:
            object.__setattr__(self, "names", [column.name for column in self.columns])

    def resolve(self, columns: Sequence[Column]) -> list[Column]:
        """Return columns of this sheet, completed. Raise UnknownColumn."""
        if isinstance(self.rows, QuerySet):
            return resolve.resolve(self.rows, columns)
        if isinstance(self.rows, ArrowRows):
            return self.rows.resolve(columns)
        return resolve.resolve_for_rows(columns)

    def name_of(self, column: Column) -> str:
        """Return what choices of columns call this column."""
        return f"{self.key}.{column.name}" if self.key else column.name

    @property
    def length(self) -> int | None:
        """The number of rows that are no queryset, or None where only reading them shows it."""
        return self.rows.length if isinstance(self.rows, ArrowRows) else row_reader.length(self.rows)

    def batches(self, columns: Sequence[Column], *, size: int) -> Generator[Batch, None, None]:
        """Yield rows that are no queryset in batches of at most `size`. `columns` are resolved."""
        if isinstance(self.rows, ArrowRows):
            return self.rows.batches(columns, size=size)
        return row_reader.batches(self.rows, columns, self.names, size=size)


Held = Mapping[str, bool]
"""The permissions that columns require, by name, and whether a user holds them."""


def is_withheld(column: Column, held: Held) -> bool:
    """Return True if the user lacks the permission that this column requires."""
    return not held.get(column.permission, True)


def permitted(sheets: Iterable[Sheet], held: Held) -> list[Sheet]:
    """Return the sheets without the withheld columns, and without sheets that have no other columns."""
    left = [replace(sheet, columns=[each for each in sheet.columns if not is_withheld(each, held)]) for sheet in sheets]
    return [sheet for sheet in left if sheet.columns]


def columns_of(sheets: Iterable[Sheet]) -> list[Column]:
    """Return the columns of all sheets."""
    return [column for sheet in sheets for column in sheet.columns]


def with_keys(sheets: Iterable[Sheet]) -> list[Sheet]:
    """Return the sheets of `get_sheets`, each with its title as key where it has none."""
    return [replace(sheet, key=sheet.key or sheet.title) for sheet in sheets]


def headers_withheld(sheets: Sequence[Sheet], held: Held) -> list[str]:
    """Return the headers of the withheld columns, each with the title of its sheet if there are several sheets."""
    headers = []
    for sheet in sheets:
        lost = [column for column in sheet.columns if is_withheld(column, held)]
        title = f"{sheet.title}: " if len(sheets) > 1 else ""
        headers += [f"{title}{column.label}" for column in sheet.resolve(lost)]
    return headers


def spoken(column: Column) -> str:
    """Return a name of a column for people, without looking at its queryset."""
    return str(column.header) or capfirst(" ".join(column.name.replace("_", " ").split()))


@dataclass(frozen=True)
class Total:
    """The number of rows as it is known before they are read; None if it is not known."""

    rows: int | None = None
    is_estimate: bool = False

    def check(self, rows: int, title: str) -> None:
        """Raise RowsDiffer if the rows were counted and this is another number of rows. `title` is their sheet's."""
        if self.rows not in (None, rows) and not self.is_estimate:
            raise RowsDiffer(
                f"{self.rows:,} rows were counted{f' for {title!r}' if title else ''}, and {rows:,} were read. "
                "An ordering by a relation to several rows, or a column that aggregates or follows one, "
                "adds or merges rows: select such a value by a Subquery. So does distinct() with an ordering by what "
                "is not among the values."
            )


def total_of(queryset: QuerySet[Any], count: str) -> Total:
    """Count the rows of a queryset in one of the ways of COUNTS. Databases that cannot estimate count instead."""
    if count == "none":
        return Total()
    estimate = querysets.estimate(queryset) if count == "estimate" else None
    return Total(querysets.count(queryset)) if estimate is None else Total(estimate, is_estimate=True)


def sum_of(totals: Iterable[Total]) -> Total:
    """Add up the rows of several sheets: unknown if one is unknown, an estimate if one is an estimate."""
    rows, is_estimate = 0, False
    for total in totals:
        if total.rows is None:
            return Total()
        rows += total.rows
        is_estimate |= total.is_estimate
    return Total(rows, is_estimate)


def has_at_most(sheets: Iterable[Sheet], rows: int) -> bool:
    """Return True if the sheets have at most `rows` rows in total. Count one row further at most.

    Rows whose number only reading them shows are taken for too many.
    """
    for sheet in sheets:
        if isinstance(sheet.rows, QuerySet):
            unordered = sheet.rows if sheet.rows.query.is_sliced else sheet.rows.order_by()
            rows -= querysets.count(unordered[: rows + 1])
        else:
            count = sheet.length
            rows -= rows + 1 if count is None else count
        if rows < 0:
            return False
    return True
