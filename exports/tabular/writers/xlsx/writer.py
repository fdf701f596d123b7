"""XLSX files.

workbook               all parts but the rows, built by XlsxWriter before the rows and again after them
xlsxwriter_internals   what is read from XlsxWriter's XML, and the version that this was checked against
styles                 the styles of cells
sheet_rows             the rows as XML
zip_archive, deflate   the ZIP archive and its compression
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Final

from exports.exceptions import DeclarationError
from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.raw_columns import row_count, slice_column
from exports.tabular.columns import Column
from exports.tabular.writers.base import Batch, Writer
from exports.tabular.writers.serializer_pool import Block, SerializerPool
from exports.tabular.writers.xlsx.deflate import Deflate
from exports.tabular.writers.xlsx.sheet_rows import HEADER_ROWS, SheetSerializer
from exports.tabular.writers.xlsx.styles import CellStyles
from exports.tabular.writers.xlsx.workbook import Design, WorkbookParts, XlsxSheet, build_parts, sheet_name
from exports.tabular.writers.xlsx.zip_archive import ZipArchive, ZipEntry

# Excel's specifications and limits.
MAX_ROWS: Final = 1_048_576
MAX_COLUMNS: Final = 16_384

# Programs recognize a workbook by these first entries and a sheet behind them. They are filled last.
FIRST_PARTS: Final = ("_rels/.rels", "docProps/core.xml")
# Bytes by which the beginning of an entry may grow until it is filled: by the range of the sheet's cells, by being the
# sheet that is shown first, and by the widths of its columns.
RESERVED_FOR_GROWTH: Final = 256
RESERVED_FOR_COLUMN: Final = 96


@dataclass
class _WrittenSheet:
    """A sheet with rows in the archive, and what of its template they rely on."""

    sheet: XlsxSheet
    path: str
    entry: ZipEntry
    styles: Sequence[CellStyles]
    tail: bytes = b""


class XlsxWriter(Writer):
    """Write a workbook. Each sheet has a bold, frozen header with a filter; where a sheet is full, another one begins.

    Text is never a formula or a link. What Excel cannot hold exactly becomes text and is counted: see
    `to_excel_cells`. The file must be seekable; there are no temporary files.

    The rows go into the archive at once. XlsxWriter builds all other parts (see `build_parts`), before the rows of each
    sheet and again at the end, when their number is known. The beginning of each sheet is reserved and filled last.
    """

    format = "xlsx"
    extension = "xlsx"
    content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    label = "Excel"
    finishing_share = 0.01
    max_columns = MAX_COLUMNS
    holds_tables = True
    takes_raw_columns = True
    # Rows of a sheet, its header included.
    max_rows: ClassVar[int] = MAX_ROWS

    def __init__(
        self,
        file: BinaryIO,
        columns: Sequence[Column],
        *,
        engine: str | None = None,
        level: int | None = None,
        design: Design | None = None,
        document: str = "",
        # Any, because Writer checks them.
        **arguments: Any,
    ) -> None:
        """Begin the file.

        `engine` and `level` are those of `Deflate.choose`; `design` is a hook that styles the sheets, see SheetDesign;
        `document` is the title in the workbook's properties, that of the first table if it is empty.

        Raises what `Writer.__init__` raises, and DeclarationError where the hook, now, at a later sheet or at the end,
        writes rows or differs from its first call.
        """
        self._engine, self._level, self._design, self._document = engine, level, design, document
        super().__init__(file, columns, **arguments)

    def begin(self) -> None:
        deflate = Deflate.choose(self._engine, self._level, processes=self.processes)
        pool = SerializerPool(deflate=deflate, processes=self.processes, on_block=self._add_block)
        self._pool = self.resources.enter_context(closing(pool))
        self._archive = ZipArchive(self.file, self._report)
        self._is_finishing = False
        self._expected_bytes: int | None = None
        self._reserved_parts: dict[str, ZipEntry] = {}
        self._written: list[_WrittenSheet] = []
        self._document_title = self._cell_text(self._document or self.title)
        self._begin_table()

    def begin_table(self, title: str, columns: Sequence[Column]) -> None:
        if self.is_closed:
            raise ValueError("This file is closed.")
        self.title, self.columns = title, list(columns)
        self.check_columns()
        with self.discard_on_error():
            self._begin_table()

    def add(self, batch: Batch) -> None:
        start, rows = 0, row_count(batch)
        while start < rows:
            sheet = self._written[-1].sheet
            room = min(self.max_rows, MAX_ROWS) - HEADER_ROWS - sheet.rows
            if not room:
                self._begin_sheet()
                continue
            stop = min(rows, start + room)
            fits = stop - start == rows
            some = batch if fits else [slice_column(batch[number], start, stop) for number in range(len(batch))]
            self._pool.add(some, sheet.rows)
            sheet.rows += stop - start
            start = stop

    def finish(self) -> None:
        self._is_finishing = True
        # The widths of all columns are known afterwards.
        self._pool.drain()
        parts = self._build_parts()
        self._end_sheet(parts.templates[-1].tail)
        self._expected_bytes = self._archive.size + parts.size
        for written, path, template in zip(self._written, parts.paths, parts.templates, strict=True):
            if (path, template.styles, template.tail) != (written.path, written.styles, written.tail):
                raise _hook_differs()
            size = written.entry.reserved_size
            self._fill(written.entry, template.padded_head(size))
        for name, entry in self._reserved_parts.items():
            # Blanks may follow the root of an XML document.
            self._fill(entry, parts.others[name].ljust(entry.reserved_size))
        for name, content in parts.others.items():
            if name not in self._reserved_parts:
                self._archive.put(name, content)
        self._archive.close()

    def _begin_table(self) -> None:
        # Altered labels are counted once, however many sheets repeat them.
        self._labels = [self._cell_text(column.label) for column in self.columns]
        self._begin_sheet()

    def _begin_sheet(self) -> None:
        """Begin a sheet, after the end of the current one."""
        name = sheet_name(self.title, [written.sheet.name for written in self._written])
        sheet = XlsxSheet(name, self.title, self.columns, self._labels)
        parts = self._build_parts(sheet)
        template, path = parts.templates[-1], parts.paths[-1]
        if self._written:
            self._end_sheet(parts.templates[-2].tail)
        else:
            for part_name in FIRST_PARTS:
                size = len(parts.others[part_name]) + RESERVED_FOR_GROWTH
                self._reserved_parts[part_name] = self._archive.put_reserved(part_name, size)
        growth = RESERVED_FOR_GROWTH + RESERVED_FOR_COLUMN * len(self.columns)
        entry = self._archive.begin(path, len(template.head) + growth)
        self._written.append(_WrittenSheet(sheet, path, entry, template.styles))
        columns = tuple(column.picklable for column in self.columns)
        self._pool.begin(SheetSerializer(columns, self.zone, tuple(template.styles)))

    def _end_sheet(self, tail: bytes) -> None:
        self._written[-1].tail = tail
        self._pool.end_stream(tail)

    def _build_parts(self, *new: XlsxSheet) -> WorkbookParts:
        sheets = [*(written.sheet for written in self._written), *new]
        return build_parts(self._document_title, sheets, self._design)

    def _fill(self, entry: ZipEntry, content: bytes) -> None:
        if len(content) > entry.reserved_size:
            raise _hook_differs()
        self._archive.fill(entry, content)

    def address(self, row: int, column: int) -> str:
        cell = super().address(row, column)
        return f"{self._written[-1].sheet.name}!{cell}" if len(self._written) > 1 else cell

    def _add_block(self, block: Block) -> None:
        self.count_altered(block.findings.alterations, block.findings.places)
        if block.findings.widths:
            sheet = self._written[-1].sheet
            sheet.widths = list(map(max, sheet.widths, block.findings.widths))
        self._archive.add(block.content, block.length, block.crc)

    def _report(self, done: int) -> None:
        if self._is_finishing:
            self.on_bytes(done, None if self._expected_bytes is None else max(self._expected_bytes, done))

    def _cell_text(self, text: str) -> str:
        [cell] = to_excel_cells(Column(text), [text], zone=self.zone, alterations=self.alterations)
        return str(cell or "")


def _hook_differs() -> DeclarationError:
    return DeclarationError(
        "A `design` hook did something else after the rows than before. It must do the same each time."
    )
