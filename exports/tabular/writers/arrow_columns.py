"""Columns as Arrow arrays, each of one type for the whole file. Needs pyarrow.

pyarrow converts whole columns of the expected Python type, and texts that a database rendered. All other values are
converted one by one: to the same value of the column's type, or UnfitValue is raised.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, Inexact, InvalidOperation
from enum import Enum
from numbers import Integral, Real
from types import NoneType
from typing import Any, ClassVar, Final

import pyarrow as pa
import pyarrow.compute as pc

from exports.exceptions import UnfitValue
from exports.tabular.cells.conversion import CellFormat, ConversionContext, convert
from exports.tabular.cells.csv import CSV_FORMAT
from exports.tabular.cells.json import JSON_FORMAT, encode_json_values, without_surrogates
from exports.tabular.cells.plain_values import PARSERS
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column

# Python's own memory: pyarrow's default pool would keep 25 MiB more for itself.
POOL: Final = pa.system_memory_pool()

DECIMAL128_DIGITS: Final = 38
INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
EPOCH_DAY: Final = "1970-01-01 "


def arrow_column(column: Column, *, zone: tzinfo, alterations: Alterations) -> "ArrowColumn":
    """Return the column of the right kind: text for decimals whose number of places is not known."""
    rules = ConversionContext(column, zone, alterations, formulas="raw")
    if column.kind == "decimal":
        places = column.places
        return Strings(rules) if places is None or not 0 <= places <= DECIMAL128_DIGITS else Decimals(rules, places)
    return COLUMNS.get(column.kind, Strings)(rules)


class Unfit(ValueError):
    """The column cannot hold a value. The message says what the value is, without showing it."""


class ArrowColumn:
    """A column of one type.

    Subclasses set `type`; `python_type`, the type of the values that pyarrow takes as they are; and `family`, that of
    the texts that pyarrow casts to the type, "" for none.
    """

    type: pa.DataType
    python_type: ClassVar[type]
    family: ClassVar[str] = ""

    def __init__(self, rules: ConversionContext) -> None:
        self.column = rules.column
        self.rules = rules

    def field(self) -> pa.Field:
        """Return the column's entry in the schema, with the label as metadata. From now on the type is fixed."""
        return pa.field(self.column.name, self.type, metadata={"label": without_surrogates(self.column.label)})

    def array(self, values: Sequence[object]) -> pa.Array:
        """Return the values as an array of the column's type. Raises UnfitValue."""
        try:
            return self._array_of_texts(values) if isinstance(values, RawColumn) else self._array_of_values(values)
        except Unfit as error:
            raise UnfitValue(
                f"Column {self.column.label!r} has {error}, which a column of type {self.type} cannot hold. "
                "Give it a kind, or as many places, as hold all its values; text holds any."
            ) from error

    def cast_texts(self, texts: pa.Array, family: str) -> pa.Array | None:
        """Return texts of a family as this type, or None if pyarrow cannot cast them. Raises ArrowInvalid."""
        return cast_array(texts, self.type) if family == self.family else None

    def is_exact(self, values: Sequence[Any]) -> bool:
        """Return True if pyarrow converts these values of `python_type` or None exactly."""
        return True

    def convert(self, value: Any) -> object:
        """Return the same value as one that pyarrow takes exactly, or None to leave it empty. Raises Unfit."""
        raise NotImplementedError

    def _array_of_texts(self, texts: RawColumn) -> pa.Array:
        try:
            found = self.cast_texts(new_array(texts, pa.string()), texts.family)
        except (pa.ArrowInvalid, UnicodeEncodeError):
            found = None
        if found is not None:
            return found
        parse = PARSERS.get(texts.family, str)
        values: list[object] = []
        for text in texts:
            try:
                values.append(text if text is None else parse(text))
            except (ValueError, ArithmeticError):
                # Without the cause, whose message shows the text.
                raise Unfit(f"a {texts.family} that Python does not have") from None
        return self._array_one_by_one(values)

    def _array_of_values(self, values: Sequence[object]) -> pa.Array:
        if set(map(type, values)) <= {self.python_type, NoneType} and self.is_exact(values):
            try:
                return new_array(values, self.type)
            except (pa.ArrowInvalid, OverflowError):
                # One by one it is clear which value does not fit.
                pass
        return self._array_one_by_one(values)

    def _array_one_by_one(self, values: Sequence[object]) -> pa.Array:
        plain = [value.value if isinstance(value, Enum) else value for value in values]
        return new_array([None if value is None else self.convert(value) for value in plain], self.type)


class Integers(ArrowColumn):
    """Integers of 64 bits."""

    type, python_type, family = pa.int64(), int, "integer"

    def convert(self, value: Any) -> int:
        number = _as_decimal(value)
        if not number.is_finite() or not INT64_MIN <= number <= INT64_MAX:
            raise Unfit("a number beyond 64 bits")
        if number != int(number):
            raise Unfit("a number that is not whole")
        return int(number)


class Decimals(ArrowColumn):
    """Decimals with a fixed number of places. NaN and infinite numbers are left empty and counted.

    pyarrow 26 silently changes some numbers that have an exponent or do not fit, so it gets only those whose text is
    short and has no exponent.
    """

    python_type = Decimal

    def __init__(self, rules: ConversionContext, places: int) -> None:
        super().__init__(rules)
        self.type = pa.decimal128(DECIMAL128_DIGITS, places)
        self._max_length = DECIMAL128_DIGITS - places
        self._unit = Decimal(1).scaleb(-places)
        self._exact = Context(prec=DECIMAL128_DIGITS, traps=[Inexact, InvalidOperation])

    def cast_texts(self, texts: pa.Array, family: str) -> pa.Array | None:
        longest = pc.max(pc.binary_length(texts)).as_py() or 0
        if family not in ("decimal", "integer") or longest > self._max_length:
            return None
        *_, characters = texts.buffers()
        has_exponent = characters is not None and b"e" in characters.to_pybytes().lower()
        return None if has_exponent else cast_array(texts, self.type)

    def is_exact(self, values: Sequence[Any]) -> bool:
        texts = list(map(str, values))
        return max(map(len, texts), default=0) <= self._max_length and "E" not in "".join(texts)

    def convert(self, value: Any) -> Decimal | None:
        number = _as_decimal(value)
        if not number.is_finite():
            self.rules.count("number_left_out")
            return None
        try:
            return number.quantize(self._unit, context=self._exact)
        except (Inexact, InvalidOperation) as error:
            places = f"more than {self.column.places} decimal places, or {DECIMAL128_DIGITS} digits in all"
            raise Unfit(f"a number of {places}") from error


class Floats(ArrowColumn):
    """Floats of 64 bits."""

    type, python_type, family = pa.float64(), float, "float"

    def convert(self, value: Any) -> float:
        number = _as_decimal(value)
        if number.is_finite() and number not in (float(number), Decimal(repr(float(number)))):
            raise Unfit("a number with more digits than a float")
        return math.nan if number.is_nan() else float(number)


class Booleans(ArrowColumn):
    """True and False, and the numbers 1 and 0."""

    type, python_type = pa.bool_(), bool

    def convert(self, value: Any) -> bool:
        if not isinstance(value, Integral) or value not in (0, 1):
            raise _wrong_type(value)
        return bool(value)


class Dates(ArrowColumn):
    """Dates."""

    type, python_type, family = pa.date32(), date, "date"

    def convert(self, value: Any) -> date:
        # pyarrow would drop the time of a datetime.
        if not isinstance(value, date) or isinstance(value, datetime):
            raise _wrong_type(value)
        return value


class Times(ArrowColumn):
    """Naive times of day, in microseconds."""

    type, python_type = pa.time64("us"), time

    def cast_texts(self, texts: pa.Array, family: str) -> pa.Array | None:
        if family != "time":
            return None
        # pyarrow casts texts to timestamps and these to times, but not texts to times.
        on_epoch_day = pc.binary_join_element_wise(EPOCH_DAY, texts, "", memory_pool=POOL)
        return cast_array(cast_array(on_epoch_day, pa.timestamp("us")), self.type)

    def is_exact(self, values: Sequence[Any]) -> bool:
        return all(value is None or value.tzinfo is None for value in values)

    def convert(self, value: Any) -> time:
        if not isinstance(value, time):
            raise _wrong_type(value)
        if value.tzinfo is not None:
            raise Unfit("a time of day with a time zone")
        return value


class Durations(ArrowColumn):
    """Durations in microseconds."""

    type, python_type = pa.duration("us"), timedelta

    def convert(self, value: Any) -> timedelta:
        if not isinstance(value, timedelta):
            raise _wrong_type(value)
        if not INT64_MIN <= value // timedelta.resolution <= INT64_MAX:
            raise Unfit("a duration of more than 292,000 years")
        return value


class Datetimes(ArrowColumn):
    """Aware or naive datetimes, as the first value is; aware if the first row group has no value.

    A naive datetime among aware ones is taken as local time, and counted.
    """

    python_type = datetime

    def __init__(self, rules: ConversionContext) -> None:
        super().__init__(rules)
        self._are_aware: bool | None = None

    @property
    def type(self) -> pa.DataType:
        return pa.timestamp("us") if self._are_aware is False else pa.timestamp("us", _zone_name(self.rules.zone))

    def field(self) -> pa.Field:
        self._are_aware = self._are_aware is not False
        return super().field()

    def array(self, values: Sequence[object]) -> pa.Array:
        if self._are_aware is None:
            if isinstance(values, RawColumn):
                self._are_aware = values.family != "datetime"
            else:
                first = next((value for value in values if value is not None), None)
                self._are_aware = None if first is None else getattr(first, "tzinfo", UTC) is not None
        return pa.nulls(len(values)) if self._are_aware is None else super().array(values)

    def cast_texts(self, texts: pa.Array, family: str) -> pa.Array | None:
        if family != ("utc datetime" if self._are_aware else "datetime"):
            return None
        # pyarrow casts a timestamp without a zone to one with a zone as UTC.
        return cast_array(cast_array(texts, pa.timestamp("us")), self.type)

    def is_exact(self, values: Sequence[Any]) -> bool:
        zones = {value.tzinfo for value in values if value is not None}
        return None not in zones if self._are_aware else zones <= {None}

    def convert(self, value: Any) -> datetime:
        if not isinstance(value, datetime):
            raise _wrong_type(value)
        if self._are_aware and value.tzinfo is None:
            self.rules.count("zone_assumed")
            return value.replace(tzinfo=self.rules.zone)
        if not self._are_aware and value.tzinfo is not None:
            raise Unfit("a datetime with a zone among some without")
        return value


class Strings(ArrowColumn):
    """The texts that CSV has, without formula escapes; JSON stays JSON."""

    type, python_type = pa.string(), str

    def array(self, values: Sequence[object]) -> pa.Array:
        if self.column.kind != "json":
            is_text = (
                values.family in ("text", "uuid")
                if isinstance(values, RawColumn)
                else set(map(type, values)) <= {str, NoneType}
            )
            try:
                if is_text:
                    return new_array(values, self.type)
            except UnicodeEncodeError:
                # Lone surrogates: the conversion replaces and counts them.
                pass
        return new_array(convert(values, self.rules, JSON if self.column.kind == "json" else PLAIN_TEXT), self.type)


PLAIN_TEXT: Final[CellFormat] = replace(
    CSV_FORMAT,
    values={
        **CSV_FORMAT.values,
        "json": encode_json_values,
        "enum": lambda values, rules: convert([member.value for member in values], rules, PLAIN_TEXT),
    },
    raw={**CSV_FORMAT.raw, "json": JSON_FORMAT.raw["json"]},
    empty=None,
)
JSON: Final[CellFormat] = replace(JSON_FORMAT, empty=None)

COLUMNS: Final[Mapping[str, type[ArrowColumn]]] = {
    "integer": Integers,
    "float": Floats,
    "boolean": Booleans,
    "date": Dates,
    "datetime": Datetimes,
    "time": Times,
    "duration": Durations,
}


def new_array(values: Sequence[object], type_: pa.DataType) -> pa.Array:
    """Return an array in Python's own memory."""
    return pa.array(values, type_, memory_pool=POOL)


def cast_array(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Return the array as another type, in Python's own memory."""
    return array.cast(type_, memory_pool=POOL)


def _zone_name(zone: tzinfo) -> str:
    """Return Arrow's name of a zone: its key, or its offset of whole minutes; "UTC" for a zone that has neither."""
    key: str | None = getattr(zone, "key", None)
    if key or not isinstance(zone, timezone):
        return key or "UTC"
    offset = datetime(2000, 1, 1, tzinfo=zone).isoformat()[19:]
    return offset if len(offset) == len("+00:00") and zone.utcoffset(None) else "UTC"


def _as_decimal(value: Any) -> Decimal:
    if isinstance(value, Integral):
        return Decimal(int(value))
    if isinstance(value, Real):
        return Decimal(repr(float(value)))
    if not isinstance(value, Decimal):
        raise _wrong_type(value)
    return value


def _wrong_type(value: object) -> Unfit:
    return Unfit(f"a value of type {type(value).__name__}")
