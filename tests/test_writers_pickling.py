"""Values that child processes get have Python's own types, and make the same cells as the originals."""

import pickle
from collections import OrderedDict, UserDict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest

from exports.tabular.cells.plain_values import PLAIN_TYPES
from exports.tabular.cells.raw_batches import CursorBatch
from exports.tabular.columns import Alterations
from exports.tabular.writers.pickling import picklable_batch
from tests.cell_values import csv_cells, excel_cells, json_cells


class Colour(Enum):
    RED = "red"
    SECOND = 2
    MANY = ("a", 1)


class Size(IntEnum):
    LARGE = 3


class Word(StrEnum):
    EQUALS = "=1"


class Text(str):
    def __str__(self) -> str:
        return "other " + str.__str__(self)


Count, Weight, Price, Day, Moment, Clock, Span, Name = (
    type(f"Derived{base.__name__}", (base,), {})
    for base in (int, float, Decimal, date, datetime, time, timedelta, UUID)
)


class Lazy:
    """A value that cannot be pickled."""

    def __reduce__(self):
        raise TypeError("stays here")

    def __str__(self) -> str:
        return "lazy"


DERIVED = [
    *Colour, *Size, *Word, Text("=1"), Count(5), Count(0), Weight(1.5), Weight(0), Price("1.20"), Day(2013, 1, 2),
    Moment(2013, 1, 2, 3, tzinfo=UTC), Moment(2013, 1, 2, 3, fold=1), Clock(3, 4), Clock(3, 4, tzinfo=UTC), Span(0),
    Span(hours=5), Name(int=7), Fraction(1, 2), bytearray(b"\x01"), memoryview(b"\x02"), Lazy(), {1},
    {"a": Lazy(), "b": [Size.LARGE, Word.EQUALS, Count(1), None, 1.5]}, [Colour.RED, Decimal("1.0"), date(2013, 1, 1)],
    OrderedDict(b=1, a=2), MappingProxyType({"a": Text("b")}), UserDict(a=1), {Word.EQUALS: 1, Size.LARGE: 2, None: 3},
    {(1, 2): Size.LARGE}, ({"a": (1, Text("x"))},),
]  # fmt: skip


def cells(*values: object, kind: str = "") -> list[Any]:
    counted = Alterations()
    return [*(make(*values, kind=kind, counted=counted) for make in (csv_cells, excel_cells, json_cells)), counted]


def unpickled(batch: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    return pickle.loads(pickle.dumps(picklable_batch(batch)))


def is_plain(value: object) -> bool:
    if type(value) is dict:
        return all(map(is_plain, [*value, *value.values()]))
    return all(map(is_plain, value)) if type(value) in (list, tuple) else type(value) in PLAIN_TYPES


@pytest.mark.parametrize("value", DERIVED, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("kind", ["", "text"])
def test_a_plain_value_makes_the_same_cells(value: object, kind: str):
    [values] = unpickled([[value, None]])
    assert all(map(is_plain, values))
    assert cells(*values, kind=kind) == cells(value, None, kind=kind)


def test_a_value_that_contains_itself_becomes_its_text():
    endless: list[Any] = [1]
    endless.append(endless)
    assert unpickled([[endless]]) == [["[1, [...]]"]]


def test_texts_of_the_database_are_not_copied_but_its_values_become_plain():
    written, values = ["2013-01-02"], [Colour.RED]
    batch = picklable_batch(CursorBatch([written, values], ["date", "value"]))
    assert batch.raw(0) is written
    assert batch.raw(1) == ["red"]
