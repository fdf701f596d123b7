"""Files that writers make in memory, and the rows that readers find in them."""

import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import openpyxl
import python_calamine

from exports.tabular.columns import Alterations, Column
from exports.tabular.writers import Batch, Writer, XlsxWriter

ROOT = Path(__file__).resolve().parent.parent


def printed_by(program: str, *arguments: str) -> str:
    """Run a Python program in a new process, in which warnings are errors, and return what it prints."""
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


class ShortSheets(XlsxWriter):
    """Excel with sheets of four rows, one of them for the header."""

    max_rows = 4


def written(
    writer_class: type[Writer], columns: Sequence[Column], *batches: Batch, file: BinaryIO | None = None, **given: Any
) -> bytes:
    """Return the content of the file that a writer makes of these batches, if it is in memory."""
    file = io.BytesIO() if file is None else file
    with writer_class(file, columns, **given) as writer:
        for batch in batches:
            writer.write(batch)
    return file.getvalue() if isinstance(file, io.BytesIO) else b""


def written_and_counted(
    writer_class: type[Writer], columns: Sequence[Column], batches: Sequence[Batch], **given: Any
) -> tuple[bytes, Alterations]:
    """Return the content of the file, and how many cells were altered in each way."""
    counted = Alterations()
    return written(writer_class, columns, *batches, alterations=counted, **given), counted


def workbook(content: bytes) -> openpyxl.Workbook:
    """Open an XLSX file with openpyxl, after python-calamine, which shares no code with it, found the same sheets."""
    book = openpyxl.load_workbook(io.BytesIO(content))
    assert python_calamine.load_workbook(io.BytesIO(content)).sheet_names == book.sheetnames
    return book


def sheet_xml(content: bytes) -> str:
    """Return the XML of the first sheet of an XLSX file."""
    return zipfile.ZipFile(io.BytesIO(content)).read("xl/worksheets/sheet1.xml").decode()


def widths_of(content: bytes) -> list[int]:
    """Return the widths of the first sheet's columns in characters, without what Excel adds for the margin."""
    ranges = re.findall(r'<col min="(\d+)" max="(\d+)" width="([\d.]+)"', sheet_xml(content))
    return [int(float(width)) for first, last, width in ranges for _ in range(int(first), int(last) + 1)]


def rows_by_calamine(content: bytes) -> list[list[Any]]:
    """Return the rows of the first sheet of an XLSX file."""
    book = python_calamine.load_workbook(io.BytesIO(content))
    return book.get_sheet_by_index(0).to_python(skip_empty_area=False)
