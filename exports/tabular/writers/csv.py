"""CSV as in RFC 4180: UTF-8, CRLF, quotes where they are needed. TSV is the same with tabs."""

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import ClassVar, Final

from exports.tabular.cells.csv import to_csv_cells
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.cells.sql_csv import SQL_LINE_END, SQL_LINE_START, Dialect, SqlCsvBatch
from exports.tabular.columns import FORMULA_MODES, Alterations, Column
from exports.tabular.writers.base import Batch
from exports.tabular.writers.lines import LinesWriter, interleaved

LINE_END: Final = b"\r\n"
# Where a larger share of the lines needs care, all are made anew.
MANY: Final = 1 / 3


@dataclass(frozen=True)
class CsvRows:
    """The serialiser of rows. An empty cell is the empty field, whether the value was None or ""."""

    columns: tuple[Column, ...]
    zone: tzinfo
    formulas: str
    delimiter: str

    def __call__(self, batch: Batch, first: int, alterations: Alterations) -> bytes:
        return self._mended(batch, alterations) if isinstance(batch, SqlCsvBatch) else self._lines(batch, alterations)

    def _mended(self, batch: SqlCsvBatch, alterations: Alterations) -> bytes:
        """The lines that a database wrote; those that need care are made anew."""
        suspects, content = batch.suspect_slices(), batch.content
        if len(suspects) > batch.row_count * MANY:
            return self._lines(batch, alterations)
        parts, last = [], 0
        for place, line in zip(suspects, self._mends(batch, suspects, alterations), strict=True):
            parts += [_with_line_ends(content[last : place.start]), line]
            last = place.stop
        return b"".join([*parts, _with_line_ends(content[last:])])

    def _mends(self, batch: SqlCsvBatch, places: Sequence[slice], alterations: Alterations) -> list[bytes]:
        """The lines at these places, made of their values."""
        if not places:
            return []
        some = batch.subset([batch.content[place] for place in places])
        return self._lines(some, alterations, mark=SQL_LINE_START.decode()).split(SQL_LINE_START)[:-1]

    def _lines(self, batch: Batch, alterations: Alterations, *, mark: str = "") -> bytes:
        """`mark` stands after each line."""
        pieces, fields = ["", self.delimiter] * len(self.columns), {}
        pieces[-1] = LINE_END.decode() + mark
        for number, column in enumerate(self.columns):
            fields[2 * number] = self._fields(column, batch[number], alterations)
        return interleaved(pieces, fields)

    def _fields(self, column: Column, values: Sequence[object], alterations: Alterations) -> Sequence[str]:
        texts = to_csv_cells(
            column,
            values,
            zone=self.zone,
            alterations=alterations,
            formulas=self.formulas,
            delimiter=self.delimiter,
        )
        fields = _quoted(texts, self.delimiter) if isinstance(texts, RawColumn) else texts
        # A row of one empty field would be no row.
        return [field or '""' for field in fields] if len(self.columns) == 1 else fields


def _with_line_ends(lines: bytes) -> bytes:
    """Lines that a database wrote, as those of the file. In a text a line feed stays what it is."""
    return (
        lines[len(SQL_LINE_START) :].replace(SQL_LINE_END + SQL_LINE_START, LINE_END)[: -len(SQL_LINE_END)] + LINE_END
        if lines
        else b""
    )


def _quoted(texts: Sequence[str], delimiter: str) -> Sequence[str]:
    """The fields of a column. Most columns need no quotes at all."""
    joined = "".join(texts)
    if not any(special in joined for special in ('"', delimiter, "\n", "\r")):
        return texts
    return [
        '"' + text.replace('"', '""') + '"'
        if '"' in text or delimiter in text or "\n" in text or "\r" in text
        else text
        for text in texts
    ]


class CsvWriter(LinesWriter):
    """Options: `delimiter`; `bom`, without which Excel does not read UTF-8; `formulas`, see `cells.formula_escape`."""

    format = "csv"
    extension = "csv"
    content_type = "text/csv; charset=utf-8"
    label = "CSV"
    choices: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "delimiter": (",", ";", "\t"),
        "bom": (True, False),
        "formulas": FORMULA_MODES,
    }

    @classmethod
    def dialect(cls, options: Mapping[str, object], zone: tzinfo) -> Dialect | None:
        delimiter = str(cls.clean_options(options)["delimiter"])
        # PostgreSQL's quotes would hide which tab is within a text.
        return None if delimiter == "\t" else Dialect(delimiter, zone)

    def serialiser(self) -> CsvRows:
        columns = tuple(column.picklable for column in self.columns)
        return CsvRows(columns, self.zone, str(self.options["formulas"]), self.delimiter())

    def header(self) -> bytes:
        labels = [[column.label] for column in self.columns]
        # A label is text, whatever its column holds.
        columns = tuple(Column(column.label) for column in self.columns)
        line = CsvRows(columns, self.zone, str(self.options["formulas"]), self.delimiter())(labels, 0, self.alterations)
        return codecs.BOM_UTF8 + line if self.options["bom"] else line

    def delimiter(self) -> str:
        return str(self.options["delimiter"])


class TsvWriter(CsvWriter):
    """CSV between tabs. Options: `bom` and `formulas`, as those of CSV."""

    format = "tsv"
    extension = "tsv"
    content_type = "text/tab-separated-values; charset=utf-8"
    label = "TSV"
    choices: ClassVar[Mapping[str, tuple[object, ...]]] = {"bom": (True, False), "formulas": FORMULA_MODES}

    @classmethod
    def dialect(cls, options: Mapping[str, object], zone: tzinfo) -> None:
        return None

    def delimiter(self) -> str:
        return "\t"
