"""JSON Lines: one object a line, as in RFC 8259; UTF-8 without a mark, LF."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo

from exports.tabular.cells.json import UnquotedStrings, encode_string, to_json_cells
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers.base import Batch
from exports.tabular.writers.field_names import names_of
from exports.tabular.writers.lines import LinesWriter, interleaved


@dataclass(frozen=True)
class JsonLinesRows:
    """The serialiser of rows. `keys` are the names of the columns, as JSON."""

    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    zone: tzinfo

    def __call__(self, batch: Batch, first: int, alterations: Alterations) -> bytes:
        pieces, tokens, before = [], {}, "{"
        for number, column in enumerate(self.columns):
            found = to_json_cells(column, batch[number], zone=self.zone, alterations=alterations)
            quote = '"' if isinstance(found, UnquotedStrings) else ""
            pieces += [f"{before}{self.keys[number]}:{quote}", ""]
            tokens[2 * number + 1] = found
            before = f"{quote},"
        return interleaved([*pieces, f"{before[:-1]}}}\n"], tokens)


class JsonLinesWriter(LinesWriter):
    """The keys are the names of the columns. No options, no guard: see docs/formats.md.

    The content type is the one that jsonlines.org names; none is registered with IANA.
    """

    format = "jsonl"
    extension = "jsonl"
    content_type = "application/jsonl"
    label = "JSON Lines"

    def serialiser(self) -> JsonLinesRows:
        """Raises DuplicateColumn."""
        names: Sequence[str] = names_of(self.columns, self.alterations)
        columns = tuple(column.picklable for column in self.columns)
        return JsonLinesRows(columns, tuple(map(encode_string, names)), self.zone)
