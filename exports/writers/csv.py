"""CSV as in RFC 4180: UTF-8, CRLF, quotes where they are needed."""

import codecs
import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from exports.cells import FORMULAS, Column, to_text
from exports.writers.base import Batch, Writer


class CsvWriter(Writer):
    """Options: `delimiter`; `bom`, without which Excel does not read UTF-8; `formulas`, see `cells.guard`.

    An empty cell is the empty field, whether the value was None or "".
    """

    format = "csv"
    extension = "csv"
    content_type = "text/csv; charset=utf-8"
    label = "CSV"
    choices: ClassVar[Mapping[str, tuple[object, ...]]] = {
        "delimiter": (",", ";", "\t"),
        "bom": (True, False),
        "formulas": FORMULAS,
    }

    def begin(self) -> None:
        self._special = ('"', "\r", "\n", str(self.options["delimiter"]))
        self._needs_quotes = re.compile(f"[{''.join(self._special)}]").search
        if self.options["bom"]:
            self.file.write(codecs.BOM_UTF8)
        self._write_lines([self._cells(Column(column.label), [column.label]) for column in self.columns])

    def add(self, batch: Batch) -> None:
        self._write_lines([self._cells(column, values) for column, values in zip(self.columns, batch, strict=True)])

    def _cells(self, column: Column, values: Sequence[object]) -> list[str]:
        return to_text(
            column,
            values,
            zone=self.zone,
            alterations=self.alterations,
            formulas=str(self.options["formulas"]),
            delimiter=str(self.options["delimiter"]),
        )

    def _write_lines(self, columns: Sequence[Sequence[str]]) -> None:
        delimiter = str(self.options["delimiter"])
        rows = zip(*map(self._quoted, columns), strict=True)
        self.file.write(("\r\n".join(map(delimiter.join, rows)) + "\r\n").encode())

    def _quoted(self, texts: Sequence[str]) -> Sequence[str]:
        """The fields of a column. Most columns need no quotes at all."""
        if len(self.columns) == 1 and "" in texts:
            return [self._field(text) or '""' for text in texts]  # a row of one empty field would be no row
        joined = "".join(texts)
        if not any(character in joined for character in self._special):
            return texts
        return [self._field(text) for text in texts]

    def _field(self, text: str) -> str:
        if not self._needs_quotes(text):
            return text
        return '"' + text.replace('"', '""') + '"'
