"""The ZIP archive of XLSX files, opened by Python's zipfile and by Info-ZIP's unzip and zip."""

import io
import os
import shutil
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest

from exports.tabular.writers.xlsx.deflate import EMPTY_LAST_BLOCK, Deflate, combine_crc
from exports.tabular.writers.xlsx.zip_archive import ZipArchive

MIB = 1024 * 1024
REST = b"rest" * 1000


class EarlyZip64(ZipArchive):
    """An archive that needs ZIP64 for numbers of 1,000 and more."""

    limit = 1000


def archive_of(contents: dict[str, bytes], archive_class: type[ZipArchive] = ZipArchive) -> bytes:
    archive = archive_class(file := io.BytesIO())
    for name, content in contents.items():
        archive.put(name, content)
    archive.close()
    return file.getvalue()


def read(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def assert_info_zip_opens(path: Path) -> None:
    for command in (["unzip", "-tq"], ["zip", "-T"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, path], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("contents", [{}, {"a/b.xml": b"<a/>", "empty": b"", "c": os.urandom(70_000)}])
def test_entries_read_back_in_their_order_without_zip64(contents):
    content = archive_of(contents)
    assert list(read(content).items()) == list(contents.items())
    assert b"PK\x06\x06" not in content


def test_the_same_entries_make_the_same_bytes_at_any_time():
    content = archive_of({"a": b"1" * 1000})
    assert content == archive_of({"a": b"1" * 1000})
    assert zipfile.ZipFile(io.BytesIO(content)).getinfo("a").date_time == (1980, 1, 1, 0, 0, 0)


@pytest.mark.parametrize("reserved", [1, 100, 65_535, 65_536, 200_000])
def test_reserved_bytes_are_filled_after_what_follows_them(reserved, tmp_path):
    archive = ZipArchive(file := io.BytesIO())
    head = os.urandom(reserved)
    entry = archive.begin("a", reserved)
    archive.add(Deflate("zlib", 1).block(REST), len(REST), zlib.crc32(REST))
    archive.add(EMPTY_LAST_BLOCK, 0, 0)
    archive.put("b", b"behind")
    archive.fill(entry, head)
    archive.put("c", b"after")
    archive.close()
    assert read(file.getvalue()) == {"a": head + REST, "b": b"behind", "c": b"after"}
    (tmp_path / "a.zip").write_bytes(file.getvalue())
    assert_info_zip_opens(tmp_path / "a.zip")


def test_an_entry_may_consist_of_reserved_bytes_which_are_blanks_at_first():
    archive = ZipArchive(file := io.BytesIO())
    entry = archive.put_reserved("a", 10)
    archive.put_reserved("b", 3)
    archive.fill(entry, b"0123456789")
    archive.close()
    assert read(file.getvalue()) == {"a": b"0123456789", "b": b"   "}


def test_filling_more_bytes_than_reserved_is_refused():
    archive = ZipArchive(io.BytesIO())
    entry = archive.put_reserved("a", 3)
    with pytest.raises(ValueError, match="4 bytes for the 3"):
        archive.fill(entry, b"1234")


# ZIP64


@pytest.mark.parametrize("contents", [
    {"size": b"x" * 5000}, {"packed": os.urandom(2000), "offset": b"y"},
    {"small": b"1", "packed": os.urandom(990), "offset": b"y" * 5000, "last": b"z"},
    {f"entry {number}": b"" for number in range(50)},
], ids=lambda contents: next(iter(contents)))  # fmt: skip
def test_zip64_archives_read_back(contents, tmp_path):
    content = archive_of(contents, EarlyZip64)
    assert b"PK\x06\x06" in content or list(contents) == ["size"]
    assert read(content) == contents
    (tmp_path / "a.zip").write_bytes(content)
    assert_info_zip_opens(tmp_path / "a.zip")


def test_an_archive_may_have_more_than_65535_entries():
    assert len(read(archive_of({str(number): b"" for number in range(70_000)}))) == 70_000


def test_an_entry_may_have_more_than_four_gib(tmp_path):
    zeros = bytes(64 * MIB)
    block, crc, whole = Deflate("zlib", 1).block(zeros), zlib.crc32(zeros), 0
    with (tmp_path / "a.zip").open("wb+") as file:
        archive = ZipArchive(file)
        entry = archive.begin("large", 4)
        for _ in range(65):
            archive.add(block, len(zeros), crc)
            whole = combine_crc(whole, crc, len(zeros))
        archive.add(EMPTY_LAST_BLOCK, 0, 0)
        archive.fill(entry, b"head")
        archive.put("behind", b"still here")
        archive.close()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.getinfo("large").file_size == 65 * 64 * MIB + 4
        assert combine_crc(zlib.crc32(b"head"), whole, 65 * 64 * MIB) == archive.getinfo("large").CRC
        with archive.open("large") as large:
            assert large.read(6) == b"head\x00\x00"
        assert archive.read("behind") == b"still here"


def test_entries_behind_four_gib_are_found(tmp_path):
    """Skip 4 GiB in a sparse file: nothing reads the entry that they belong to."""
    path = tmp_path / "sparse.zip"
    with path.open("wb+") as file:
        archive = ZipArchive(file)
        archive.begin("hole")
        file.seek(0xFFFFFFFF, os.SEEK_CUR)
        archive.put("behind", b"still here")
        archive.put("last", b"too")
        archive.close()
    assert path.stat().st_blocks * 512 < MIB
    with zipfile.ZipFile(path) as archive:
        assert (archive.read("behind"), archive.read("last")) == (b"still here", b"too")
