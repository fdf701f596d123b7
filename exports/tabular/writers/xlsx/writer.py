"""XLSX: the workbook by XlsxWriter, its rows a column at a time, straight into the archive.

workbook    all but the rows, built by XlsxWriter before and once more after them
frame       what stands around the rows of a sheet
styles      how cells look
sheet       rows as XML: the serialiser
archive     the ZIP container
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Final

from exports.tabular.cells.excel import to_excel_cells
from exports.tabular.cells.raw_columns import row_count, slice_column
from exports.tabular.columns import Column
from exports.tabular.writers.base import Batch, CountedFile, Writer
from exports.tabular.writers.pipeline import Block, Pipeline
from exports.tabular.writers.xlsx.archive import Archive, Entry
from exports.tabular.writers.xlsx.deflate import Deflate
from exports.tabular.writers.xlsx.frame import ROOM, Frame, Styles, inconstant
from exports.tabular.writers.xlsx.sheet import HEADER_ROWS, SheetRows
from exports.tabular.writers.xlsx.workbook import Book, Design, Sheet, build, sheet_name

# Excel's specifications and limits.
MAX_ROWS: Final = 1_048_576
MAX_COLUMNS: Final = 16_384

# By these first entries, and a sheet behind them, programs know the file for a workbook. They may still change.
FIRST_PARTS: Final = ("_rels/.rels", "docProps/core.xml")


@dataclass
class _Written:
    """A sheet of which rows were written: its part of the archive, and what these rows rely on."""

    sheet: Sheet
    path: str
    entry: Entry
    styles: Sequence[Styles]
    tail: bytes = b""


class XlsxWriter(Writer):
    """A bold, frozen header with a filter on each sheet; a new sheet where one is full.

    Text is never a formula or a link. What Excel cannot hold exactly is text and counted (`cells.sheet`). No temporary
    files; the file must be seekable.
    """

    format = "xlsx"
    extension = "xlsx"
    content_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    label = "Excel"
    finishing_share = 0.01
    max_columns = MAX_COLUMNS
    holds_tables = True
    # Rows of a sheet, its header included.
    max_rows: ClassVar[int] = MAX_ROWS

    _pipeline: Pipeline | None = None

    def __init__(
        self,
        file: BinaryIO,
        columns: Sequence[Column],
        *,
        engine: str | None = None,
        level: int | None = None,
        design: Design | None = None,
        document: str = "",
        **shared: object,
    ) -> None:
        """Begin the file. `engine` and `level` are those of `Deflate.chosen`, `design` is a hook: see SheetDesign.

        `document` is the title in the workbook's properties, that of the first table where it is empty.

        Raises ValueError too where the hook, now or at a later sheet or the end, does what cannot be kept.
        """
        self._engine, self._level, self._design, self._document = engine, level, design, document
        super().__init__(file, columns, **shared)

    def begin(self) -> None:
        deflate = Deflate.chosen(self._engine, self._level, processes=self.processes)
        self._pipeline = Pipeline(deflate=deflate, processes=self.processes, on_block=self._take)
        self._is_finishing = False
        self._out = CountedFile(self.file, self._report)
        self._archive = Archive(self._out)
        self._reserved: dict[str, Entry] = {}
        self._written: list[_Written] = []
        self._document_title = self._text(self._document or self.title)
        self._start_table()

    def begin_table(self, title: str, columns: Sequence[Column]) -> None:
        if self.is_closed:
            raise ValueError("This file is closed.")
        self.title, self.columns = title, list(columns)
        self._check_columns()
        self._or_discard(self._start_table)

    def add(self, batch: Batch) -> None:
        start, rows = 0, row_count(batch)
        while start < rows:
            room = min(self.max_rows, MAX_ROWS) - HEADER_ROWS - self._written[-1].sheet.rows
            if not room:
                self._start_sheet()
                continue
            stop = min(rows, start + room)
            self._add_rows(batch if stop - start == rows else _rows_of(batch, start, stop))
            start = stop

    def finish(self) -> None:
        self._is_finishing = True
        book = self._built()
        self._end_sheet(book.frames[-1])
        self._out.expected = self._out.tell() + book.size
        self._fill(book)
        for name, content in book.parts.items():
            if name not in self._reserved:
                self._archive.put(name, content)
        self._archive.close()
        self._release()

    def discard(self) -> None:
        super().discard()
        self._release()

    def _release(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.discard()

    def _start_table(self) -> None:
        # Counted once, however many sheets repeat them.
        self._labels = [self._text(column.label) for column in self.columns]
        self._start_sheet()

    def _start_sheet(self) -> None:
        """Begin the next sheet, after the end of the present one where there is one."""
        taken = [written.sheet.name for written in self._written]
        sheet = Sheet(sheet_name(self.title, taken), self.title, self.columns, self._labels)
        book = self._built(sheet)
        if self._written:
            self._end_sheet(book.frames[-2])
        else:
            self._reserve(book)
        self._begin_rows(sheet, book.paths[-1], book.frames[-1])

    def _built(self, *new: Sheet) -> Book:
        return build(self._document_title, [*(written.sheet for written in self._written), *new], self._design)

    def _reserve(self, book: Book) -> None:
        for name in FIRST_PARTS:
            self._reserved[name] = self._archive.put_reserved(name, len(book.parts[name]) + ROOM)

    def _begin_rows(self, sheet: Sheet, path: str, frame: Frame) -> None:
        entry = self._archive.begin(path, len(frame.head) + ROOM)
        self._written.append(_Written(sheet, path, entry, frame.styles))
        columns = tuple(column.picklable for column in sheet.columns)
        self._pipeline.begin(SheetRows(columns, self.zone, tuple(frame.styles)))

    def _add_rows(self, batch: Batch) -> None:
        sheet = self._written[-1].sheet
        self._pipeline.add(batch, sheet.rows)
        sheet.rows += row_count(batch)

    def _end_sheet(self, frame: Frame) -> None:
        written = self._written[-1]
        written.tail = frame.tail
        self._pipeline.add(frame.tail, written.sheet.rows)
        self._pipeline.drain()

    def _take(self, block: Block) -> None:
        self.alterations.update(block.alterations)
        self._archive.add(block.content, block.length, block.crc)

    def _fill(self, book: Book) -> None:
        """Write the beginnings that were reserved, now that all is known that they say."""
        for written, path, frame in zip(self._written, book.paths, book.frames, strict=True):
            if (path, frame.styles, frame.tail) != (written.path, written.styles, written.tail):
                raise inconstant()
            self._archive.fill(written.entry, frame.padded(written.entry.reserved))
        for name, entry in self._reserved.items():
            # Blanks may follow the root of an XML document.
            self._archive.fill(entry, _padded(book.parts[name], entry.reserved))

    def _text(self, text: str) -> str:
        [fitting] = to_excel_cells(Column(text), [text], zone=self.zone, alterations=self.alterations)
        return fitting or ""

    def _report(self, done: int, expected: int | None) -> None:
        if self._is_finishing:
            self.on_bytes(done, expected)


def _padded(content: bytes, size: int) -> bytes:
    if len(content) > size:
        raise inconstant()
    return content.ljust(size)


def _rows_of(batch: Batch, start: int, stop: int) -> Batch:
    return [slice_column(batch[number], start, stop) for number in range(len(batch))]
