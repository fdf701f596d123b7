"""CSV as in RFC 4180: UTF-8, CRLF, quotes where they are needed. TSV is the same with tabs."""

import codecs
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import ClassVar, Final

from exports.exceptions import BadOption
from exports.tabular.cells.csv import to_csv_cells
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.cells.sql_csv import SQL_LINE_END, SQL_LINE_START, Dialect, SqlCsvBatch
from exports.tabular.columns import FORMULA_MODES, PROFILES, Alterations, Column
from exports.tabular.writers.base import Batch
from exports.tabular.writers.interleave import interleave
from exports.tabular.writers.line_writer import LineWriter
from exports.tabular.writers.serializer_pool import Findings

LINE_END: Final = b"\r\n"
# If a larger share of the lines that a database rendered may need escapes, writing all of them from values is faster.
MOST_SUSPECTS: Final = 1 / 3


@dataclass(frozen=True)
class CsvSerializer:
    """Turn batches into lines of CSV. A cell of None or "" is an empty field."""

    columns: tuple[Column, ...]
    zone: tzinfo
    formulas: str
    delimiter: str
    decimal: str = "."
    profile: str = "exchange"

    def __call__(self, batch: Batch, first: int, findings: Findings) -> bytes:
        if isinstance(batch, SqlCsvBatch):
            suspects = batch.suspect_slices()
            if len(suspects) <= batch.row_count * MOST_SUSPECTS:
                return self._rendered_lines(batch, suspects, findings.alterations)
        return self._lines(batch, findings.alterations)

    def _rendered_lines(self, batch: SqlCsvBatch, suspects: Sequence[slice], alterations: Alterations) -> bytes:
        """Return the lines that a database rendered, with the suspect ones written again from their values."""
        content = batch.content
        if not suspects:
            return _with_line_ends(content)
        subset = batch.subset([content[place] for place in suspects])
        rewritten = self._lines(subset, alterations, line_end=LINE_END + SQL_LINE_START).split(SQL_LINE_START)[:-1]
        parts, last = [], 0
        for place, line in zip(suspects, rewritten, strict=True):
            parts += [_with_line_ends(content[last : place.start]), line]
            last = place.stop
        return b"".join([*parts, _with_line_ends(content[last:])])

    def _lines(self, batch: Batch, alterations: Alterations, *, line_end: bytes = LINE_END) -> bytes:
        pieces, fields = ["", self.delimiter] * len(self.columns), {}
        pieces[-1] = line_end.decode()
        for number, column in enumerate(self.columns):
            cells = to_csv_cells(
                column,
                batch[number],
                zone=self.zone,
                alterations=alterations,
                formulas=self.formulas,
                delimiter=self.delimiter,
                decimal=self.decimal,
                profile=self.profile,
            )
            # No cell of another column needs quotes.
            may_need_quotes = isinstance(cells, RawColumn)
            texts = _quoted(cells, self.delimiter) if may_need_quotes else cells
            # A line without a field would be no row.
            fields[2 * number] = [text or '""' for text in texts] if len(self.columns) == 1 else texts
        return interleave(pieces, fields)


def _with_line_ends(lines: bytes) -> bytes:
    """Turn lines as a database rendered them into lines of the file. Line feeds within a text stay."""
    if not lines:
        return b""
    content = lines.removeprefix(SQL_LINE_START).removesuffix(SQL_LINE_END)
    return content.replace(SQL_LINE_END + SQL_LINE_START, LINE_END) + LINE_END


def _quoted(texts: Sequence[str], delimiter: str) -> Sequence[str]:
    """Return the fields of a column, in quotes where they need them; most columns need none at all."""
    joined = "".join(texts)
    if not any(special in joined for special in ('"', delimiter, "\n", "\r")):
        return texts
    return [
        '"' + text.replace('"', '""') + '"'
        if '"' in text or delimiter in text or "\n" in text or "\r" in text
        else text
        for text in texts
    ]


class CsvWriter(LineWriter):
    """Write CSV.

    The options are `profile` and `formulas`, see PROFILES and FORMULA_MODES; `delimiter` and `decimal`, the decimal
    mark of numbers, which may not be the same; and `bom`, without which Excel does not read UTF-8.
    """

    format = "csv"
    extension = "csv"
    content_type = "text/csv; charset=utf-8"
    label = "CSV"
    choices: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "profile": PROFILES,
        "delimiter": (",", ";", "\t"),
        "decimal": (".", ","),
        "bom": (True, False),
        "formulas": FORMULA_MODES,
    }

    @classmethod
    def clean_options(cls, options: Mapping[str, object]) -> dict[str, object]:
        cleaned = super().clean_options(options)
        if cleaned["decimal"] == cleaned.get("delimiter"):
            raise BadOption("decimal", "The delimiter is a comma too: choose another one, or a decimal point.")
        return cleaned

    @classmethod
    def dialect(cls, options: Mapping[str, object], zone: tzinfo) -> Dialect | None:
        cleaned = cls.clean_options(options)
        delimiter, is_for_exchange = cleaned["delimiter"], (cleaned["profile"], cleaned["decimal"]) == ("exchange", ".")
        # PostgreSQL's quotes would hide which tab is within a text.
        return Dialect(str(delimiter), zone) if is_for_exchange and delimiter != "\t" else None

    def serializer(self) -> CsvSerializer:
        return self._serializer(column.picklable for column in self.columns)

    def header(self) -> bytes:
        # A label is text, whatever its column holds.
        serializer = self._serializer(Column(column.label) for column in self.columns)
        line = serializer([[column.label] for column in self.columns], 0, Findings(self.alterations))
        if self.options["bom"]:
            return codecs.BOM_UTF8 + line
        # Excel takes a file whose first two bytes are "ID" for SYLK, and refuses to open it.
        return re.sub(f"\\AID[^{self.delimiter()}\r]*".encode(), rb'"\g<0>"', line)

    def delimiter(self) -> str:
        """Return the character between the fields."""
        return str(self.options["delimiter"])

    def _serializer(self, columns: Iterable[Column]) -> CsvSerializer:
        formulas, decimal, profile = (str(self.options[name]) for name in ("formulas", "decimal", "profile"))
        return CsvSerializer(tuple(columns), self.zone, formulas, self.delimiter(), decimal, profile)


class TsvWriter(CsvWriter):
    """Write CSV with tabs. The options are those of CSV, without `delimiter`."""

    format = "tsv"
    extension = "tsv"
    content_type = "text/tab-separated-values; charset=utf-8"
    label = "TSV"
    choices: ClassVar[Mapping[str, tuple[object, ...]]] = {
        name: values for name, values in CsvWriter.choices.items() if name != "delimiter"
    }

    @classmethod
    def dialect(cls, options: Mapping[str, object], zone: tzinfo) -> None:
        return None

    def delimiter(self) -> str:
        return "\t"
