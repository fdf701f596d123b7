"""What an export declares of a sheet, what is left of it for whoever asks, and how many rows there are to write."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from django.db.models import QuerySet
from django.utils.text import capfirst

from exports.tabular.columns import Column
from exports.tabular.readers import querysets, resolve


@dataclass(frozen=True)
class Sheet:
    """One sheet of a file: its title, its rows, and its columns."""

    title: str
    queryset: QuerySet[Any]
    columns: Sequence[Column]


Held = Mapping[str, bool]
"""The permissions that columns ask for, by name, and whether somebody holds them."""


def is_withheld(column: Column, held: Held) -> bool:
    return not held.get(column.permission, True)


def permitted(sheets: Iterable[Sheet], held: Held) -> list[Sheet]:
    """The sheets without what is withheld; a sheet all of whose columns are is left out itself."""
    left = [replace(sheet, columns=[each for each in sheet.columns if not is_withheld(each, held)]) for sheet in sheets]
    return [sheet for sheet in left if sheet.columns]


def headers_withheld(sheets: Sequence[Sheet], held: Held) -> list[str]:
    """What would have stood above the columns that are withheld, behind the sheet's title where there are several."""
    headers = []
    for sheet in sheets:
        lost = [column for column in sheet.columns if is_withheld(column, held)]
        title = f"{sheet.title}: " if len(sheets) > 1 else ""
        headers += [f"{title}{column.label}" for column in resolve.resolve(sheet.queryset, lost)]
    return headers


def spoken(column: Column) -> str:
    """What people call a column before its queryset is known."""
    return str(column.header) or capfirst(" ".join(column.name.replace("_", " ").split()))


class Total(NamedTuple):
    """A number of rows that was counted or estimated beforehand; None where nobody knows."""

    rows: int | None = None
    is_estimate: bool = False

    @property
    def counted(self) -> int | None:
        """The rows that there are for certain."""
        return None if self.is_estimate else self.rows


def counted(queryset: QuerySet[Any]) -> Total:
    return Total(querysets.count(queryset))


def estimated(queryset: QuerySet[Any]) -> Total:
    """What the database believes, in no time; a count where it believes nothing."""
    rows = querysets.estimate(queryset)
    return counted(queryset) if rows is None else Total(rows, is_estimate=True)


def unknown(queryset: QuerySet[Any]) -> Total:
    return Total()


COUNTS: Final[Mapping[str, Callable[[QuerySet[Any]], Total]]] = {
    "exact": counted,
    "estimate": estimated,
    "none": unknown,
}


def sum_of(totals: Iterable[Total]) -> Total:
    """All of them together: an estimate where one is, unknown where one is."""
    parts = list(totals)
    rows = [part.rows for part in parts if part.rows is not None]
    return Total(sum(rows), any(part.is_estimate for part in parts)) if len(rows) == len(parts) else Total()


def has_at_most(sheets: Iterable[Sheet], rows: int) -> bool:
    """Whether the sheets have no more rows than that together. Counts one further at most."""
    for sheet in sheets:
        rows -= querysets.count(_beginning(sheet.queryset, rows + 1))
        if rows < 0:
            return False
    return True


def _beginning(queryset: QuerySet[Any], rows: int) -> QuerySet[Any]:
    return (queryset if queryset.query.is_sliced else queryset.order_by())[:rows]
