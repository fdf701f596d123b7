"""LibreOffice without a window: opens a file as a person would, and says what it took for a formula."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers import NotInstalled

SECONDS = 300.0
FORMULA = re.compile(rb'table:formula="([^"]*)"')
UTF_8, FROM_LINE, ENGLISH = 76, 1, 1033


class NotConverted(RuntimeError):
    """LibreOffice did not write what it was asked for; the message has its own words."""


def soffice() -> str:
    found = shutil.which("soffice") or shutil.which("libreoffice")
    if found is None:
        raise NotInstalled("There is no LibreOffice here. Install the package libreoffice-calc.")
    return found


def csv_filter(separator: str, *, quote: str, is_quoted_text: bool) -> str:
    """LibreOffice's import filter for text: split at `separator`, fields within `quote` ("" for none).

    Numbers and formulas are looked for in every cell; `is_quoted_text` leaves those within quotes alone.
    """
    quotes = ord(quote) if quote else ""
    as_text = str(is_quoted_text).lower()
    return f"CSV:{ord(separator)},{quotes},{UTF_8},{FROM_LINE},,{ENGLISH},{as_text},true,false,false,false"


def converted(files: Sequence[Path], folder: Path, *, to: str, read_as: str | None = None) -> list[Path]:
    """What LibreOffice makes of these files, as files of the type `to` in `folder`, in the same order.

    Raises NotInstalled or NotConverted.
    """
    profile = folder.parent / "profile"
    command = [soffice(), f"-env:UserInstallation={profile.as_uri()}", "--headless", "--norestore"]
    command += [f"--infilter={read_as}"] if read_as else []
    command += ["--convert-to", to, "--outdir", str(folder), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    made = [folder / f"{file.stem}.{to}" for file in files]
    if missing := [file.name for file in made if not file.is_file()]:
        raise NotConverted(f"Not written: {', '.join(missing)}. LibreOffice: {(done.stdout + done.stderr)[-2000:]}")
    return made


def formulas(document: Path) -> list[bytes]:
    """The formulas in a flat OpenDocument file, none of whose texts may look like the attribute that holds one."""
    return FORMULA.findall(document.read_bytes())


def cell_count(document: Path) -> int:
    """How many cells of a flat OpenDocument file hold something."""
    return document.read_bytes().count(b" office:value-type=")
