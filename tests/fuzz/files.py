"""What files should contain by tests/reference, and what readers find in them, column by column."""

import csv
import io
import json
import pickle
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree

import pytest
from pyarrow import parquet

from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.writers import Batch, Writer
from tests.reference.cells import Changes, csv_cell, json_cell, plain_value, sheet_cell, without_surrogates
from tests.reference.parquet import parquet_column
from tests.reference.xlsx import kind_of, numbered, pattern
from tests.written import rows_by_calamine


class PickleWriter(Writer):
    """A project's own format: the values that its writer gets."""

    format = extension = "pickle"
    content_type, label = "application/octet-stream", "Pickle"

    def add(self, batch: Batch) -> None:
        pickle.dump(list(batch), self.file)


WRITERS: Final = {format: writers.get(format) for format in ("csv", "tsv", "jsonl", "xlsx", "parquet")} | {
    "pickle": PickleWriter
}

# What readers see as the same is equal. A column begins with its header.
Cells = list[Any]


class Rejected(ValueError):
    """A formula in a file that should have none."""


class Expected:
    """What the reference makes of columns. Raises Rejected where a formula is refused, and Unfit for Parquet."""

    def __init__(self, zone: tzinfo, csv_options: Mapping[str, Any]) -> None:
        self.zone, self.csv_options = zone, csv_options
        self._made: dict[Any, tuple[Cells, Counter[str]]] = {}

    def options(self, format: str) -> dict[str, Any]:
        """Return the options of a format."""
        if format == "tsv":
            return {name: value for name, value in self.csv_options.items() if name != "delimiter"}
        return dict(self.csv_options) if format == "csv" else {}

    def column(self, format: str, column: Column, values: Sequence[Any]) -> tuple[Cells, Counter[str]]:
        """Return the header and the cells of a column, and the number of alterations."""
        key = (format, column.name, column.kind, column.label, column.places, column.format)
        if key not in self._made:
            self._made[key] = getattr(self, f"_{format}")(column, values)
        return self._made[key]

    def _csv(self, column: Column, values: Sequence[Any], delimiter: str = "") -> tuple[Cells, Counter[str]]:
        header = self._csv_cell(column.label, Column("a"), delimiter)
        made = [header, *(self._csv_cell(value, column, delimiter) for value in values)]
        return [cell for cell, _ in made], counted(changes for _, changes in made)

    def _csv_cell(self, value: object, column: Column, delimiter: str) -> tuple[str, Changes]:
        delimiter = delimiter or self.csv_options["delimiter"]
        mode = column.formulas or self.csv_options["formulas"]
        formulas = "escape" if mode == "reject" else mode
        profile = self.csv_options["profile"]
        cell, changes = csv_cell(value, column.kind, self.zone, formulas=formulas, delimiter=delimiter, profile=profile)
        if mode == "reject" and "formula_escaped" in changes:
            raise Rejected
        return cell, changes

    def _tsv(self, column: Column, values: Sequence[Any]) -> tuple[Cells, Counter[str]]:
        return self._csv(column, values, "\t")

    def _jsonl(self, column: Column, values: Sequence[Any]) -> tuple[Cells, Counter[str]]:
        made = [without_surrogates(column.name), *(json_cell(value, column.kind, self.zone) for value in values)]
        return [typed(cell) for cell, _ in made], counted(changes for _, changes in made)

    def _xlsx(self, column: Column, values: Sequence[Any]) -> tuple[Cells, Counter[str]]:
        header, changed = sheet_cell(column.label, "", self.zone)
        made = [sheet_cell(value, column.kind, self.zone) for value in values]
        cells = [excel_cell(header, Column("a")), *(excel_cell(cell, column) for cell, _ in made)]
        return cells, counted([changed, *(changes for _, changes in made)])

    def _parquet(self, column: Column, values: Sequence[Any]) -> tuple[Cells, Counter[str]]:
        name, changed = without_surrogates(column.name)
        type_name, cells, changes = parquet_column(values, column.kind, column.places, self.zone)
        return [f"{name}: {type_name}", *cells], counted([changed, *changes])

    def _pickle(self, column: Column, values: Sequence[Any]) -> tuple[Cells, Counter[str]]:
        return [shown(plain_value(value, self.zone)) for value in values], Counter()


def counted(changes: Iterable[Changes]) -> Counter[str]:
    return Counter(change for each in changes for change in each)


def shown(value: object) -> str:
    # Stored rows do not keep which of two equal local times a value without a zone is.
    return repr(value).replace(", fold=1", "")


def typed(value: object) -> tuple[bool, object]:
    # Otherwise True would equal 1.
    return isinstance(value, bool), value


class ExcelCell(NamedTuple):
    """A cell by its type in the file, with its number format."""

    type: str
    value: object
    pattern: str


class ExpectedCell(ExcelCell):
    """A cell by the reference, which may have the format of others in its batch: of longer integers, with fractions."""

    def __eq__(self, other: object) -> bool:
        patterns = {self.pattern, f"{self.pattern}.000" if self.pattern.endswith("ss") else self.pattern or "0"}
        return isinstance(other, ExcelCell) and other[:2] == self[:2] and other.pattern in patterns


def excel_cell(cell: object, column: Column) -> ExcelCell | None:
    if cell is None:
        return None
    number_format = pattern(column, kind_of(cell, [cell]))
    if isinstance(cell, str | bool):
        return ExpectedCell("s" if isinstance(cell, str) else "b", cell, number_format)
    return ExpectedCell("n", float(numbered(cell)), number_format)


def found_columns(format: str, content: bytes, options: Mapping[str, Any], width: int) -> list[Cells]:
    return READERS[format](content, options.get("delimiter", "\t"), width)


def _of_csv(content: bytes, delimiter: str, width: int) -> list[Cells]:
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    return list(map(list, zip(*csv.reader(text, delimiter=delimiter, strict=True), strict=True)))


def _of_json_lines(content: bytes, delimiter: str, width: int) -> list[Cells]:
    lines = content.decode().split("\n")
    assert lines.pop() == ""
    rows = [json.loads(line, parse_float=Decimal, parse_constant=pytest.fail) for line in lines]
    return [[typed(name), *(typed(row[name]) for row in rows)] for name in (rows[0] if rows else ())]


def _of_pickle(content: bytes, delimiter: str, width: int) -> list[Cells]:
    file, columns = io.BytesIO(content), [[] for _ in range(width)]
    while file.tell() < len(content):
        for column, values in zip(columns, pickle.load(file), strict=True):
            column += map(shown, values)
    return columns


def _of_parquet(content: bytes, delimiter: str, width: int) -> list[Cells]:
    table = parquet.read_table(io.BytesIO(content))
    columns = []
    for field, column in zip(table.schema, table.columns, strict=True):
        stored = "int32" if str(field.type).startswith("date") else "int64"
        is_time = any(part in str(field.type) for part in ("time", "date", "duration"))
        columns.append([f"{field.name}: {field.type}", *(column.cast(stored) if is_time else column).to_pylist()])
    return columns


def _of_xlsx(content: bytes, delimiter: str, width: int) -> list[Cells]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheet, styles = (
            ElementTree.fromstring(archive.read(f"xl/{part}.xml")) for part in ("worksheets/sheet1", "styles")
        )
        # A workbook without a text has no such part.
        has_texts = "xl/sharedStrings.xml" in archive.namelist()
        shared_texts = (
            list(map(_text, ElementTree.fromstring(archive.read("xl/sharedStrings.xml")))) if has_texts else []
        )
    codes = {each.get("numFmtId"): each.get("formatCode") for each in styles.iterfind(".//{*}numFmt")}
    patterns = [(BUILT_IN | codes)[each.get("numFmtId")] for each in styles.iterfind("{*}cellXfs/{*}xf")]

    def read(cell: ElementTree.Element) -> ExcelCell | None:
        kind, value = cell.get("t", "n"), cell.findtext("{*}v")
        style = patterns[int(cell.get("s", "0"))]
        if kind == "inlineStr":
            return ExcelCell("s", _text(cell), style)
        if value is None:
            return None
        return ExcelCell(kind, shared_texts[int(value)] if kind == "s" else float(value), style)

    rows = []
    for row in sheet.iterfind(".//{*}row"):
        cells = {cell.get("r").rstrip("0123456789"): read(cell) for cell in row}
        rows.append([cells.get(name) for name in "ABCDEFGHIJ"[:width]])
    # A reader finds the same texts.
    for row, by_reader in zip(rows, rows_by_calamine(content), strict=False):
        texts = [(cell.value, other) for cell, other in zip(row, by_reader, strict=False) if cell and cell.type == "s"]
        assert [text for text, _ in texts] == [text for _, text in texts]
    return list(map(list, zip(*rows, strict=True)))


def _text(element: ElementTree.Element) -> str:
    return "".join(each.text or "" for each in element.iterfind(".//{*}t"))


# Number formats of Excel that need no code in the file.
BUILT_IN: Final = {"0": "", "1": "0", "2": "0.00"}
READERS: Final[dict[str, Callable[[bytes, str, int], list[Cells]]]] = {
    "csv": _of_csv,
    "tsv": _of_csv,
    "jsonl": _of_json_lines,
    "xlsx": _of_xlsx,
    "parquet": _of_parquet,
    "pickle": _of_pickle,
}
