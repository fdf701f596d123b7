"""What goes to another process is of Python's own types, and gives the cells that it would have given here."""

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
from hypothesis import given
from hypothesis import strategies as st

from exports.tabular.cells.csv import to_csv_cells
from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.json import UnquotedStrings, to_json_cells
from exports.tabular.cells.raw_batches import CursorBatch
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers.pickling import PLAIN_TYPES, picklable_batch


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
        return "shouted " + str.__str__(self)


class Count(int):
    pass


class Weight(float):
    pass


class Price(Decimal):
    pass


class Day(date):
    pass


class Moment(datetime):
    pass


class Clock(time):
    pass


class Span(timedelta):
    pass


class Name(UUID):
    pass


class Lazy:
    """Known by its text in this process only."""

    def __reduce__(self):
        raise TypeError("stays here")

    def __str__(self) -> str:
        return "lazy"


HOSTS = [
    *Colour, *Size, *Word, Text("=1"), Count(5), Count(0), Weight(1.5), Weight(0), Price("1.20"), Day(2013, 1, 2),
    Moment(2013, 1, 2, 3, tzinfo=UTC), Moment(2013, 1, 2, 3, fold=1), Clock(3, 4), Clock(3, 4, tzinfo=UTC), Span(0),
    Span(hours=5), Name(int=7), Fraction(1, 2), bytearray(b"\x01"), memoryview(b"\x02"), Lazy(), {1},
    {"a": Lazy(), "b": [Size.LARGE, Word.EQUALS, Count(1), None, 1.5]}, [Colour.RED, Decimal("1.0"), date(2013, 1, 1)],
    OrderedDict(b=1, a=2), MappingProxyType({"a": Text("b")}), UserDict(a=1), {Word.EQUALS: 1, Size.LARGE: 2, None: 3},
    {(1, 2): Size.LARGE}, ({"a": (1, Text("x"))},),
]  # fmt: skip
OWN = [None, True, 1, 1.5, Decimal("1.20"), "=1", date(2013, 1, 2), time(3), timedelta(1), UUID(int=1), b"x", {"a": 1}]


def cells(column: Column, values: Sequence[Any]) -> list[Any]:
    counted = Alterations()
    given = {"zone": UTC, "alterations": counted}
    tokens = to_json_cells(column, values, **given)
    tokens = [f'"{token}"' for token in tokens] if isinstance(tokens, UnquotedStrings) else tokens
    return [
        list(to_csv_cells(column, values, **given)),
        list(to_excel_cells(column, values, **given)),
        tokens,
        dict(counted),
    ]


def travelled(batch: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    return pickle.loads(pickle.dumps(picklable_batch(batch)))


def is_own(value: object) -> bool:
    if type(value) is dict:
        return all(map(is_own, [*value, *value.values()]))
    return all(map(is_own, value)) if type(value) is list else type(value) in PLAIN_TYPES


@pytest.mark.parametrize("value", HOSTS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("kind", ["", "text"])
def test_every_value_gives_the_cells_that_it_gives_here(value: object, kind: str):
    column = Column("a", kind=kind)
    [values] = travelled([[value, None]])
    assert all(map(is_own, values))
    assert cells(column, values) == cells(column, [value, None])


@given(st.lists(st.sampled_from(HOSTS + OWN), min_size=1, max_size=6))
def test_so_does_a_column_of_all_kinds(values: list[Any]):
    column = Column("a")
    assert cells(column, travelled([values])[0]) == cells(column, values)


def test_what_holds_itself_goes_as_its_text():
    endless: list[Any] = [1]
    endless.append(endless)
    assert travelled([[endless]]) == [["[1, [...]]"]]


def test_columns_of_python_s_own_types_are_not_copied():
    batch = [[1, 2], ["a", None], RawColumn(["b"], "text")]
    assert all(ours is theirs for ours, theirs in zip(picklable_batch(batch), batch, strict=True))


def test_of_what_a_cursor_fetched_the_values_change_and_what_the_database_wrote_stays():
    written, values = ["2013-01-02"], [Colour.RED]
    batch = picklable_batch(CursorBatch([written, values], ["date", "value"]))
    assert batch.raw(0) is written
    assert batch.raw(1) == ["red"]
