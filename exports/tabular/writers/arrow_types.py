"""What each kind of column holds in Parquet, and which values of other types are the same."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, Inexact, InvalidOperation
from numbers import Integral, Real
from types import NoneType
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from exports.tabular.cells.conversion import ConversionContext, convert
from exports.tabular.cells.csv import CSV_FORMAT
from exports.tabular.cells.json import JSON_FORMAT, encode_json_values
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers.arrow import POOL, ArrowColumn, Unfit, array_of, cast

# Of a decimal128.
DIGITS: Final = 38
FIRST_INTEGER: Final = -(2**63)
LAST_INTEGER: Final = 2**63 - 1
EPOCH_DAY: Final = "1970-01-01 "


class Integers(ArrowColumn):
    type, python = pa.int64(), int

    def cast(self, texts: pa.Array, family: str) -> pa.Array | None:
        return cast(texts, self.type) if family == "integer" else None

    def fit(self, value: Any) -> int:
        number = _decimal(value)
        if not number.is_finite() or not FIRST_INTEGER <= number <= LAST_INTEGER:
            raise Unfit("a number beyond 64 bits")
        if number != int(number):
            raise Unfit("a number that is not whole")
        return int(number)


class Decimals(ArrowColumn):
    """NaN and infinite numbers are left out and counted.

    pyarrow 26 makes another number of some that have an exponent or do not fit, without an error, so it gets only those
    whose text is short and plain.
    """

    python = Decimal

    def __init__(self, column: Column, rules: ConversionContext) -> None:
        super().__init__(column, rules)
        self.type = pa.decimal128(DIGITS, column.places)
        self._length = DIGITS - column.places
        self._unit = Decimal(1).scaleb(-column.places)
        self._exact = Context(prec=DIGITS, traps=[Inexact, InvalidOperation])

    def cast(self, texts: pa.Array, family: str) -> pa.Array | None:
        if family not in ("decimal", "integer") or _longest(texts) > self._length or _have_exponent(texts):
            return None
        return cast(texts, self.type)

    def is_plain(self, values: Sequence[object]) -> bool:
        texts = list(map(str, values))
        return max(map(len, texts), default=0) <= self._length and "E" not in "".join(texts)

    def fit(self, value: Any) -> Decimal | None:
        number = _decimal(value)
        if not number.is_finite():
            self.rules.count("number_left_out")
            return None
        try:
            return number.quantize(self._unit, context=self._exact)
        except (Inexact, InvalidOperation) as error:
            places = f"more than {self.column.places} decimal places, or {DIGITS} digits in all"
            raise Unfit(f"a number of {places}") from error


class Floats(ArrowColumn):
    type, python = pa.float64(), float

    def cast(self, texts: pa.Array, family: str) -> pa.Array | None:
        return cast(texts, self.type) if family == "float" else None

    def fit(self, value: Any) -> float:
        number = _decimal(value)
        if number.is_finite() and number not in (float(number), Decimal(repr(float(number)))):
            raise Unfit("a number with more digits than a float")
        return math.nan if number.is_nan() else float(number)


class Booleans(ArrowColumn):
    type, python = pa.bool_(), bool

    def fit(self, value: Any) -> bool:
        if not isinstance(value, Integral) or value not in (0, 1):
            raise Unfit(_said(value))
        return bool(value)


class Dates(ArrowColumn):
    type, python = pa.date32(), date

    def cast(self, texts: pa.Array, family: str) -> pa.Array | None:
        return cast(texts, self.type) if family == "date" else None

    def fit(self, value: Any) -> date:
        # pyarrow would cut the time off.
        if not isinstance(value, date) or isinstance(value, datetime):
            raise Unfit(_said(value))
        return value


class Times(ArrowColumn):
    type, python = pa.time64("us"), time

    def cast(self, texts: pa.Array, family: str) -> pa.Array | None:
        if family != "time":
            return None
        of_a_day = pc.binary_join_element_wise(EPOCH_DAY, texts, "", memory_pool=POOL)
        return cast(cast(of_a_day, pa.timestamp("us")), self.type)

    def is_plain(self, values: Sequence[object]) -> bool:
        return all(value is None or value.tzinfo is None for value in values)

    def fit(self, value: Any) -> time:
        if not isinstance(value, time):
            raise Unfit(_said(value))
        if value.tzinfo is not None:
            raise Unfit("a time of day with a zone of its own")
        return value


class Durations(ArrowColumn):
    type, python = pa.duration("us"), timedelta

    def fit(self, value: Any) -> timedelta:
        if not isinstance(value, timedelta):
            raise Unfit(_said(value))
        if not FIRST_INTEGER <= value // timedelta.resolution <= LAST_INTEGER:
            raise Unfit("a duration of more than 292,000 years")
        return value


class Datetimes(ArrowColumn):
    """Moments, or datetimes without a zone: as the first value is. Moments where the first group of rows has no value.

    A datetime without a zone among moments is taken as local time, and counted.
    """

    python = datetime

    def __init__(self, column: Column, rules: ConversionContext) -> None:
        super().__init__(column, rules)
        self._are_moments: bool | None = None

    @property
    def type(self) -> pa.DataType:
        return pa.timestamp("us") if self._are_moments is False else pa.timestamp("us", zone_name(self.rules.zone))

    def field(self) -> pa.Field:
        self._are_moments = self._are_moments is not False
        return super().field()

    def array(self, values: Sequence[object]) -> pa.Array:
        if self._are_moments is None:
            self._are_moments = _are_moments(values)
        return pa.nulls(len(values)) if self._are_moments is None else super().array(values)

    def cast(self, texts: pa.Array, family: str) -> pa.Array | None:
        if family != ("utc datetime" if self._are_moments else "datetime"):
            return None
        # Without a zone it counts as UTC.
        return cast(cast(texts, pa.timestamp("us")), self.type)

    def is_plain(self, values: Sequence[object]) -> bool:
        zones = {value.tzinfo for value in values if value is not None}
        return None not in zones if self._are_moments else zones <= {None}

    def fit(self, value: Any) -> datetime:
        if not isinstance(value, datetime):
            raise Unfit(_said(value))
        if self._are_moments and value.tzinfo is None:
            self.rules.count("zone_assumed")
            return value.replace(tzinfo=self.rules.zone)
        if not self._are_moments and value.tzinfo is not None:
            raise Unfit("a datetime with a zone among some without")
        return value


class Strings(ArrowColumn):
    """The texts that CSV has, without its guard; JSON is JSON."""

    type, python = pa.string(), str

    def array(self, values: Sequence[object]) -> pa.Array:
        found = self._straight(values)
        if found is None:
            conversions = JSON if self.column.kind == "json" else PLAIN
            found = array_of(convert(values, self.rules, conversions), self.type)
        return found

    def _straight(self, values: Sequence[object]) -> pa.Array | None:
        try:
            return array_of(values, self.type) if self._are_texts(values) else None
        except UnicodeEncodeError:  # a lone surrogate
            return None

    def _are_texts(self, values: Sequence[object]) -> bool:
        if self.column.kind == "json":
            return False
        if isinstance(values, RawColumn):
            return values.family in ("text", "uuid")
        return set(map(type, values)) <= {str, NoneType}


PLAIN: Final = replace(
    CSV_FORMAT,
    values={
        **CSV_FORMAT.values,
        "json": encode_json_values,
        "enum": lambda values, rules: convert([value.value for value in values], rules, PLAIN),
    },
    raw={**CSV_FORMAT.raw, "json": JSON_FORMAT.raw["json"]},
    empty=None,
)
JSON: Final = replace(JSON_FORMAT, empty=None)

COLUMNS: Final[Mapping[str, type[ArrowColumn]]] = {
    "integer": Integers,
    "decimal": Decimals,
    "float": Floats,
    "boolean": Booleans,
    "date": Dates,
    "datetime": Datetimes,
    "time": Times,
    "duration": Durations,
}


def arrow_column(column: Column, *, zone: tzinfo, alterations: Alterations) -> ArrowColumn:
    """A decimal whose places are not known is text, with all its digits."""
    rules = ConversionContext(column, zone, alterations, formulas="raw")
    if column.kind == "decimal" and (column.places is None or not 0 <= column.places <= DIGITS):
        return Strings(column, rules)
    return COLUMNS.get(column.kind, Strings)(column, rules)


def zone_name(zone: tzinfo) -> str:
    """What Arrow calls a zone: its key, or its offset of whole minutes. "UTC" for a zone that has neither."""
    key = getattr(zone, "key", None)
    if key or not isinstance(zone, timezone):
        return key or "UTC"
    offset = datetime(2000, 1, 1, tzinfo=zone).isoformat()[19:]
    return offset if len(offset) == len("+00:00") and zone.utcoffset(None) else "UTC"


def _are_moments(values: Sequence[object]) -> bool | None:
    if isinstance(values, RawColumn):
        return values.family != "datetime"
    first = next((value for value in values if value is not None), None)
    return None if first is None else getattr(first, "tzinfo", UTC) is not None


def _longest(texts: pa.Array) -> int:
    return pc.max(pc.binary_length(texts)).as_py() or 0


def _have_exponent(texts: pa.Array) -> bool:
    *_, characters = texts.buffers()
    return characters is not None and b"e" in characters.to_pybytes().lower()


def _decimal(value: Any) -> Decimal:
    if isinstance(value, Integral):
        return Decimal(int(value))
    if isinstance(value, Real):
        return Decimal(repr(float(value)))
    if not isinstance(value, Decimal):
        raise Unfit(_said(value))
    return value


def _said(value: object) -> str:
    return f"a value of type {type(value).__name__}"
