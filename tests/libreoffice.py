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
# Text with each column as wide as in the sheet: a number that does not fit is ###.
FIXED_WIDTH = "csv:Text - txt - csv (StarCalc):FIX,34,76,1"
UTF_8, FROM_LINE = 76, 1
ENGLISH, GERMAN = 1033, 1031
OFFICE = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}"
TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
# The settings of a new user whose system has another language.
LOCALE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry"><item oor:path="/org.openoffice.Setup/L10N">
<prop oor:name="ooSetupSystemLocale" oor:op="fuse"><value>{locale}</value></prop></item></oor:items>"""


class NotConverted(RuntimeError):
    """LibreOffice did not write a file. The message contains its output."""


def soffice() -> str:
    found = shutil.which("soffice") or shutil.which("libreoffice")
    if found is None:
        raise NotInstalled("LibreOffice is not installed. Install the package libreoffice-calc.")
    return found


def csv_filter(separators: str, *, quote: str, is_quoted_text: bool, language: int = ENGLISH) -> str:
    """Return LibreOffice's import filter for text: split at these characters, with `quote` around fields ("" for none).

    Numbers and dates are those of the language, which is a number of Windows.
    LibreOffice detects numbers and formulas in every cell, or only outside of quotes if `is_quoted_text`.
    """
    quotes = ord(quote) if quote else ""
    as_text = str(is_quoted_text).lower()
    split_at = "/".join(str(ord(separator)) for separator in separators)
    return f"CSV:{split_at},{quotes},{UTF_8},{FROM_LINE},,{language},{as_text},true,false,false,false"


def convert(
    files: Sequence[Path | str], folder: Path, *, to: str, read_as: str | None = None, locale: str = "en-US"
) -> list[Path]:
    """Convert the files, or what is at these URLs, to the type `to` in `folder`, in the same order.

    `to` may have a filter behind a colon. Raises NotInstalled or NotConverted.
    `locale` is that of the user's system; it decides how numbers are shown.
    """
    profile = folder.parent / f"profile-{locale}"
    registry = profile / "user" / "registrymodifications.xcu"
    if not registry.exists():
        registry.parent.mkdir(parents=True)
        registry.write_text(LOCALE.format(locale=locale))
    command = [soffice(), f"-env:UserInstallation={profile.as_uri()}", "--headless", "--norestore"]
    command += [f"--infilter={read_as}"] if read_as else []
    command += ["--convert-to", to, "--outdir", str(folder), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    made = [folder / f"{Path(file).stem}.{to.partition(':')[0]}" for file in files]
    if missing := [file.name for file in made if not file.is_file()]:
        raise NotConverted(f"Not written: {', '.join(missing)}. LibreOffice: {(done.stdout + done.stderr)[-2000:]}")
    return made


def displayed(document: Path) -> list[list[tuple[str, str]]]:
    """Return the rows of a flat OpenDocument file of one sheet: the type of each cell, and the text that it shows.

    The types are those of OpenDocument: string, float, percentage, currency, date, time, boolean; "" if it is empty.
    """
    rows = []
    for row in ElementTree.parse(document).iter(f"{TABLE}table-row"):
        cells: list[tuple[str, str]] = []
        for cell in row.iter(f"{TABLE}table-cell"):
            text = "\n".join("".join(paragraph.itertext()) for paragraph in cell.iter(f"{TEXT}p"))
            repeated = int(cell.get(f"{TABLE}number-columns-repeated", 1))
            cells += [(cell.get(f"{OFFICE}value-type", ""), text)] * repeated
        while cells and not cells[-1][0]:
            cells.pop()
        rows.append(cells)
    return [row for row in rows if row]


def formulas(document: Path) -> list[bytes]:
    """Return the formulas in a flat OpenDocument file. No text in it may look like the attribute of a formula."""
    return FORMULA.findall(document.read_bytes())


def cell_count(document: Path) -> int:
    """Return the number of cells of a flat OpenDocument file that are not empty."""
    return document.read_bytes().count(b" office:value-type=")
