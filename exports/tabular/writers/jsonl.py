"""JSON Lines: one object (RFC 8259) a line; UTF-8 without a byte order mark, line feeds."""

from dataclasses import dataclass
from datetime import tzinfo

from exports.tabular.cells.json import UnquotedStrings, encode_string, to_json_cells
from exports.tabular.columns import Column
from exports.tabular.writers.base import Batch
from exports.tabular.writers.field_names import unique_field_names
from exports.tabular.writers.interleave import interleave
from exports.tabular.writers.line_writer import LineWriter
from exports.tabular.writers.serializer_pool import Findings


@dataclass(frozen=True)
class JsonLinesSerializer:
    """Turn batches into lines of JSON. `keys` are the names of the columns as JSON strings."""

    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    zone: tzinfo

    def __call__(self, batch: Batch, first: int, findings: Findings) -> bytes:
        pieces, tokens, before = [], {}, "{"
        for number, column in enumerate(self.columns):
            found = to_json_cells(column, batch[number], zone=self.zone, alterations=findings.alterations)
            quote = '"' if isinstance(found, UnquotedStrings) else ""
            pieces += [f"{before}{self.keys[number]}:{quote}", ""]
            tokens[2 * number + 1] = found
            before = f"{quote},"
        return interleave([*pieces, f"{before[:-1]}}}\n"], tokens)


class JsonLinesWriter(LineWriter):
    """Write objects whose keys are the names of the columns. No options, no formula escapes: see docs/formats.md.

    No content type is registered with IANA; jsonlines.org names this one.
    """

    format = "jsonl"
    extension = "jsonl"
    content_type = "application/jsonl"
    label = "JSON Lines"

    def address(self, row: int, column: int) -> str:
        return f"{row + 1}:{self.columns[column].name}"

    def serializer(self) -> JsonLinesSerializer:
        """Return the serializer. Raises DuplicateColumn if two columns have the same name."""
        keys = tuple(map(encode_string, unique_field_names(self.columns, self.alterations)))
        return JsonLinesSerializer(tuple(column.picklable for column in self.columns), keys, self.zone)
