"""Rows of an Arrow stream, from any engine with the Arrow PyCapsule interface. pyarrow is imported when one is read."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from exports.exceptions import CellPlace, DeclarationError, UnfitValue, UnsupportedLibrary
from exports.tabular.columns import Column
from exports.tabular.readers.resolve import is_callable, path_of, resolve_for_rows, unknown_column
from exports.tabular.readers.rows import Batch

if TYPE_CHECKING:
    import pyarrow as pa

# Tests of pyarrow.types, and the kind of the columns that pass them; all others are decided by the type of each value.
KINDS: Final = (
    ("is_boolean", "boolean"),
    ("is_integer", "integer"),
    ("is_floating", "float"),
    ("is_decimal", "decimal"),
    ("is_date", "date"),
    ("is_timestamp", "datetime"),
    ("is_time", "time"),
    ("is_duration", "duration"),
    ("is_string", "text"),
    ("is_large_string", "text"),
    ("is_string_view", "text"),
)


def is_stream(rows: object) -> bool:
    """Return True for what gives an Arrow stream. A DataFrame of pandas has an index, and is read as one."""
    return hasattr(rows, "__arrow_c_stream__") and not hasattr(rows, "itertuples")


@dataclass(frozen=True)
class ArrowRows:
    """The rows of an Arrow stream, which can be read once.

    Attributes:
        reader: The record batches, a RecordBatchReader of pyarrow.
        length: The number of rows, None where only reading them shows it.

    """

    # Any: pyarrow has no types.
    reader: Any
    length: int | None = None

    @classmethod
    def of(cls, stream: Any) -> Self:
        """Open a stream. Raise UnsupportedLibrary without pyarrow, and DeclarationError for two fields of one name."""
        try:
            import pyarrow as pa
        except ImportError as error:
            raise UnsupportedLibrary(
                "Rows of an Arrow stream need pyarrow: pip install 'django-live-exports[parquet]'."
            ) from error
        # pyarrow's own reader raises the errors of Python code as they are; an imported stream has only their text.
        reader = stream if isinstance(stream, pa.RecordBatchReader) else pa.RecordBatchReader.from_stream(stream)
        names = reader.schema.names
        if len(set(names)) < len(names):
            reader.close()
            raise DeclarationError(f"Several fields of the Arrow stream have one name: {', '.join(names)}.")
        # A Table of pyarrow, or a DataFrame of Polars.
        lengths = [getattr(stream, name, None) for name in ("num_rows", "height")]
        return cls(reader, next((length for length in lengths if isinstance(length, int)), None))

    @property
    def names(self) -> list[str]:
        """The names of the fields."""
        return list(self.reader.schema.names)

    def resolve(self, columns: Sequence[Column]) -> list[Column]:
        """Return the columns with their headers, and the kind and places of their fields where none are declared.

        Raise UnknownColumn.
        """
        return [self._with_kind(column) for column in resolve_for_rows(columns)]

    def batches(self, columns: Sequence[Column], *, size: int) -> Generator[Batch, None, None]:
        """Yield batches of at most `size` rows. A callable is called with the row, a dict.

        Raise UnfitValue for a value that Python does not have, such as a time with nanoseconds.
        """
        rows_before = 0
        try:
            for record_batch in self.reader:
                for start in range(0, record_batch.num_rows, size):
                    part = record_batch.slice(start, size)
                    yield [self._values(column, part, rows_before) for column in columns]
                    rows_before += part.num_rows
        finally:
            self.reader.close()

    def _with_kind(self, column: Column) -> Column:
        import pyarrow as pa

        if is_callable(column):
            return column
        path = path_of(column)
        if path not in self.names:
            raise unknown_column(column, path, "the Arrow stream", self.names)
        type_ = _plain_type(self.reader.schema.field(path).type)
        if column.kind:
            return column
        kind = next((kind for test, kind in KINDS if getattr(pa.types, test)(type_)), "")
        if kind == "decimal" and column.places is None:
            return replace(column, kind=kind, places=max(type_.scale, 0))
        return replace(column, kind=kind)

    def _values(self, column: Column, part: "pa.RecordBatch", rows_before: int) -> list[Any]:
        if not is_callable(column):
            return _python_values(path_of(column), part.column(path_of(column)))
        rows = [_python_values(name, part.column(name)) for name in self.names]
        values: list[Any] = []
        get: Any = column.source
        try:
            for row in zip(*rows, strict=True):
                values.append(get(dict(zip(self.names, row, strict=True))))
        except Exception as error:
            error.add_note(CellPlace(f"column {column.name!r}, row {rows_before + len(values) + 1:,}"))
            raise
        return values


def _python_values(name: str, array: "pa.Array") -> list[Any]:
    """Return the values of one batch of a field as Python has them. Raise UnfitValue."""
    import pyarrow.compute

    if pyarrow.types.is_run_end_encoded(array.type):
        array = pyarrow.compute.run_end_decode(array)
    type_ = _plain_type(array.type)
    try:
        plain = array if array.type.equals(type_) else array.cast(type_)
        return list(plain.to_pylist(maps_as_pydicts="strict"))
    except (ValueError, OverflowError, KeyError, TypeError, NotImplementedError):
        # Without the cause, whose message shows the value.
        raise UnfitValue(
            f"The field {name!r} of type {array.type} has a value that Python does not have, such as a time with "
            "nanoseconds, a year beyond 9999, text that is not UTF-8 or a map with equal or nested keys. Cast the "
            "field in the query that makes the stream."
        ) from None


def _plain_type(type_: "pa.DataType") -> "pa.DataType":
    """Return the type that a field is cast to, whose values Python has: times in microseconds, UTC, no dictionaries."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(type_) or types.is_run_end_encoded(type_):
        return _plain_type(type_.value_type)
    if types.is_float16(type_):
        return pa.float32()
    if types.is_timestamp(type_):
        return pa.timestamp("us", type_.tz and "UTC")
    if types.is_time(type_):
        return pa.time64("us")
    if types.is_duration(type_):
        return pa.duration("us")
    if types.is_struct(type_):
        return pa.struct([field.with_type(_plain_type(field.type)) for field in type_])
    if types.is_map(type_):
        return pa.map_(_plain_type(type_.key_type), _plain_type(type_.item_type))
    if types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_):
        item = type_.value_field.with_type(_plain_type(type_.value_type))
        if types.is_fixed_size_list(type_):
            return pa.list_(item, type_.list_size)
        return pa.large_list(item) if types.is_large_list(type_) else pa.list_(item)
    return type_
