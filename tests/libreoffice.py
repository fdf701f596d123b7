"""Convert files with LibreOffice, and find the formulas in the result."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from tests.servers import NotInstalled

SECONDS = 300.0
FORMULA = re.compile(rb'table:formula="([^"]*)"')
UTF_8, FROM_LINE = 76, 1
ENGLISH, GERMAN = 1033, 1031
OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"


class NotConverted(RuntimeError):
    """LibreOffice did not write a file. The message contains its output."""


def soffice() -> str:
    found = shutil.which("soffice") or shutil.which("libreoffice")
    if found is None:
        raise NotInstalled("LibreOffice is not installed. Install the package libreoffice-calc.")
    return found


def csv_filter(separator: str, *, quote: str, is_quoted_text: bool, language: int = ENGLISH) -> str:
    """Return LibreOffice's import filter for text: split at `separator`, with `quote` around fields ("" for none).

    Numbers and dates are those of the language, which is a number of Windows.
    LibreOffice detects numbers and formulas in every cell, or only outside of quotes if `is_quoted_text`.
    """
    quotes = ord(quote) if quote else ""
    as_text = str(is_quoted_text).lower()
    return f"CSV:{ord(separator)},{quotes},{UTF_8},{FROM_LINE},,{language},{as_text},true,false,false,false"


def convert(files: Sequence[Path], folder: Path, *, to: str, read_as: str | None = None) -> list[Path]:
    """Convert the files to the type `to` in `folder`, in the same order. Raises NotInstalled or NotConverted."""
    profile = folder.parent / "profile"
    command = [soffice(), f"-env:UserInstallation={profile.as_uri()}", "--headless", "--norestore"]
    command += [f"--infilter={read_as}"] if read_as else []
    command += ["--convert-to", to, "--outdir", str(folder), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    made = [folder / f"{file.stem}.{to}" for file in files]
    if missing := [file.name for file in made if not file.is_file()]:
        raise NotConverted(f"Not written: {', '.join(missing)}. LibreOffice: {(done.stdout + done.stderr)[-2000:]}")
    return made


def displayed(document: Path) -> list[list[tuple[str, str]]]:
    """Return the rows of a flat OpenDocument file of one sheet: the type and the text of each cell that is not empty.

    The types are those of OpenDocument: string, float, percentage, currency, date, time, boolean.
    """
    rows = []
    for row in ElementTree.parse(document).iter(f"{TABLE}table-row"):
        cells = [cell for cell in row.iter(f"{TABLE}table-cell") if f"{OFFICE}value-type" in cell.attrib]
        rows.append([(cell.attrib[f"{OFFICE}value-type"], "\n".join(map(text_of, cell))) for cell in cells])
    return [row for row in rows if row]


def text_of(paragraph: ElementTree.Element) -> str:
    return "".join(paragraph.itertext())


def formulas(document: Path) -> list[bytes]:
    """Return the formulas in a flat OpenDocument file. No text in it may look like the attribute of a formula."""
    return FORMULA.findall(document.read_bytes())


def cell_count(document: Path) -> int:
    """Return the number of cells of a flat OpenDocument file that are not empty."""
    return document.read_bytes().count(b" office:value-type=")
