"""Columns as Arrow arrays, each of the type that it keeps for the whole file. Needs pyarrow.

Values of the column's own Python type, and a RawColumn of its family, are taken by pyarrow a column at a time. All others
are looked at one by one: made what the column holds where that is exact, or else refused by UnfitValue.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, ClassVar, Final

import pyarrow as pa

from exports.exceptions import UnfitValue
from exports.tabular.cells.conversion import ConversionContext
from exports.tabular.cells.json import without_surrogates
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Column

# Python's own memory: pyarrow's would keep 25 MiB more for itself.
POOL: Final = pa.system_memory_pool()

# How the texts of a family are read, where pyarrow does not.
PARSERS: Final[Mapping[str, Callable[[str], object]]] = {
    "integer": int,
    "decimal": Decimal,
    "float": float,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "utc datetime": lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
    "time": time.fromisoformat,
}


class Unfit(ValueError):
    """A value that the column cannot hold: its sentence says what it is, without the value."""


class ArrowColumn:
    """A column of one type. `python` is the type of the values that pyarrow takes as they are."""

    type: pa.DataType
    python: ClassVar[type]

    def __init__(self, column: Column, rules: ConversionContext) -> None:
        self.column = column
        self.rules = rules

    def field(self) -> pa.Field:
        """What stands in the file's schema, the label as metadata. From now on the type is certain."""
        return pa.field(self.column.name, self.type, metadata={"label": without_surrogates(self.column.label)})

    def array(self, values: Sequence[object]) -> pa.Array:
        """Raises UnfitValue."""
        try:
            return self._of_texts(values) if isinstance(values, RawColumn) else self._of_values(values)
        except Unfit as error:
            raise UnfitValue(
                f"Column {self.column.label!r} has {error}, which a column of type {self.type} cannot hold. "
                "Give it a kind, or as many places, as hold all its values; text holds any."
            ) from error

    def cast(self, texts: pa.Array, family: str) -> pa.Array | None:
        """RawColumn of a family as this type, or None where pyarrow has no such way. Raises ArrowInvalid."""
        return None

    def is_plain(self, values: Sequence[object]) -> bool:
        """Whether values of the type `python` are all exact in this column."""
        return True

    def fit(self, value: Any) -> object:
        """The same value as one that pyarrow takes exactly; None where it was left out. Raises Unfit."""
        raise NotImplementedError

    def _of_texts(self, texts: RawColumn) -> pa.Array:
        found = self._cast(texts)
        if found is not None:
            return found
        parse = PARSERS.get(texts.family, str)
        return self._one_by_one([text if text is None else _parsed(parse, text, texts.family) for text in texts])

    def _cast(self, texts: RawColumn) -> pa.Array | None:
        """Texts by pyarrow, None where it does not take them."""
        try:
            return self.cast(array_of(texts, pa.string()), texts.family)
        except (pa.ArrowInvalid, UnicodeEncodeError):
            return None

    def _of_values(self, values: Sequence[object]) -> pa.Array:
        found = self._straight(values)
        return self._one_by_one(values) if found is None else found

    def _straight(self, values: Sequence[object]) -> pa.Array | None:
        """Values by pyarrow, None where it does not take them, or not exactly."""
        if not set(map(type, values)) <= {self.python, NoneType} or not self.is_plain(values):
            return None
        try:
            return array_of(values, self.type)
        except (pa.ArrowInvalid, OverflowError):
            return None

    def _one_by_one(self, values: Sequence[object]) -> pa.Array:
        return array_of([self._fitted(value) for value in values], self.type)

    def _fitted(self, value: object) -> object:
        if isinstance(value, Enum):
            value = value.value
        return None if value is None else self.fit(value)


def array_of(values: Sequence[object], type_: pa.DataType) -> pa.Array:
    return pa.array(values, type_, memory_pool=POOL)


def cast(array: pa.Array, type_: pa.DataType) -> pa.Array:
    return array.cast(type_, memory_pool=POOL)


def _parsed(parse: Callable[[str], object], text: str, family: str) -> object:
    try:
        return parse(text)
    except (ValueError, ArithmeticError):
        # Their messages have the text.
        raise Unfit(f"a {family} that Python does not have") from None
