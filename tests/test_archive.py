"""The ZIP container of XLSX, opened by Python's zipfile and by Info-ZIP's unzip and zip."""

import io
import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.tabular.writers.xlsx.deflate import EMPTY_LAST_BLOCK as END
from exports.tabular.writers.xlsx.deflate import Deflate
from exports.tabular.writers.xlsx.deflate import combine_crc as combine
from exports.tabular.writers.xlsx.zip_archive import GROWTH_HINT, ZIP64_FIELD
from exports.tabular.writers.xlsx.zip_archive import ZipArchive as Archive

MIB = 1024 * 1024


class SmallZip64(Archive):
    """As if a field of four bytes held less than 1,000."""

    limit = 1000


def piece(content: bytes) -> tuple[bytes, int, int]:
    return Deflate("zlib", 1).block(content), len(content), zlib.crc32(content)


def archive_of(contents: dict[str, bytes], archive_class: type[Archive] = Archive, prefix: bytes = b"") -> io.BytesIO:
    file = io.BytesIO(prefix)
    file.seek(0, io.SEEK_END)
    archive = archive_class(file)
    for name, content in contents.items():
        archive.put(name, content)
    archive.close()
    return file


def read(file: io.BytesIO | Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def extra_ids(header: bytes) -> set[int]:
    """The ids of the extra fields of the local header at the beginning of a file."""
    name_length, extra_length = struct.unpack_from("<2H", header, 26)
    extra, found = header[30 + name_length :][:extra_length], set()
    while extra:
        number, length = struct.unpack_from("<2H", extra)
        found.add(number)
        extra = extra[4 + length :]
    return found


def test_entries_come_back_in_their_order():
    contents = {"a/b.xml": b"<a/>", "empty": b"", "c": os.urandom(70_000)}
    file = archive_of(contents)
    assert list(read(file).items()) == list(contents.items())
    assert zipfile.ZipFile(file).testzip() is None


def test_the_same_entries_make_the_same_bytes_whenever_they_are_made():
    contents = {"a": b"1" * 1000}
    assert archive_of(contents).getvalue() == archive_of(contents).getvalue()
    assert zipfile.ZipFile(archive_of(contents)).getinfo("a").date_time == (1980, 1, 1, 0, 0, 0)


def test_an_archive_of_nothing_is_one():
    assert read(archive_of({})) == {}


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_the_pieces_of_an_entry_are_joined(contents):
    archive = Archive(file := io.BytesIO())
    archive.begin("a")
    for content in contents:
        archive.add(*piece(content))
    archive.add(END, 0, 0)
    archive.close()
    assert read(file) == {"a": b"".join(contents)}


@pytest.mark.parametrize("reserved", [1, 100, 65_535, 65_536, 200_000])
def test_what_was_reserved_is_filled_after_what_follows_it(reserved):
    archive = Archive(file := io.BytesIO())
    front = os.urandom(reserved)
    entry = archive.begin("a", reserved)
    archive.add(*piece(b"rest" * 1000))
    archive.add(END, 0, 0)
    archive.put("b", b"behind")
    archive.fill(entry, front)
    archive.put("c", b"after")
    archive.close()
    assert read(file) == {"a": front + b"rest" * 1000, "b": b"behind", "c": b"after"}


def test_an_entry_may_be_nothing_but_reserved():
    archive = Archive(file := io.BytesIO())
    entry = archive.put_reserved("a", 10)
    archive.fill(entry, b"0123456789")
    archive.close()
    assert read(file) == {"a": b"0123456789"}


def test_what_was_not_filled_is_blank():
    archive = Archive(file := io.BytesIO())
    archive.put_reserved("a", 3)
    archive.close()
    assert read(file) == {"a": b"   "}


def test_the_reserved_bytes_are_filled_whole():
    archive = Archive(io.BytesIO())
    entry = archive.put_reserved("a", 3)
    with pytest.raises(ValueError, match="4 bytes for the 3"):
        archive.fill(entry, b"1234")


def test_an_archive_may_begin_behind_something_else():
    file = archive_of({"a": b"x" * 5000, "b": b"y"}, prefix=b"0123456789")
    assert read(io.BytesIO(file.getvalue()[10:])) == read(file) == {"a": b"x" * 5000, "b": b"y"}


# ZIP64


def test_small_archives_have_the_room_for_zip64_but_no_zip64():
    content = archive_of({"a": b"x" * 5000}).getvalue()
    assert extra_ids(content) == {0xA220}
    assert struct.unpack_from("<H", content, 4) == (20,)
    assert b"PK\x06\x06" not in content


def test_an_entry_whose_size_needs_it_has_zip64_in_the_same_room():
    small = archive_of({"a": b"x" * 5000, "b": b"y"}).getvalue()
    large = archive_of({"a": b"x" * 5000, "b": b"y"}, SmallZip64).getvalue()
    assert extra_ids(large) == {ZIP64_FIELD}
    assert large.index(b"PK\x03\x04", 4) == small.index(b"PK\x03\x04", 4)
    assert struct.unpack_from("<2L", large, 18) == (0xFFFFFFFF, 0xFFFFFFFF)
    assert len(GROWTH_HINT) == 20


@pytest.mark.parametrize(
    "contents",
    [
        {"size": b"x" * 5000},
        {"packed": os.urandom(2000), "offset": b"y"},
        {"small": b"1", "packed": os.urandom(990), "offset": b"y" * 5000, "last": b"z"},
        {f"entry {number}": b"" for number in range(50)},
    ],
)
def test_zip64_archives_read_back(contents, tmp_path):
    file = archive_of(contents, SmallZip64)
    assert b"PK\x06\x06" in file.getvalue() or list(contents) == ["size"]
    assert read(file) == contents
    path = tmp_path / "a.zip"
    path.write_bytes(file.getvalue())
    assert_others_open(path)


def test_more_entries_than_the_old_count_holds():
    contents = {str(number): b"" for number in range(70_000)}
    assert len(read(archive_of(contents))) == 70_000


def test_an_entry_of_more_than_four_gib_has_its_true_size(tmp_path):
    path = tmp_path / "a.zip"
    block = Deflate("zlib", 1).block(b"\x00" * 64 * MIB)
    crc = zlib.crc32(b"\x00" * 64 * MIB)
    whole = 0
    with path.open("wb+") as file:
        archive = Archive(file)
        entry = archive.begin("large", 4)
        for _ in range(65):
            archive.add(block, 64 * MIB, crc)
            whole = combine(whole, crc, 64 * MIB)
        archive.add(END, 0, 0)
        archive.fill(entry, b"head")
        archive.put("behind", b"still here")
        archive.close()
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("large").file_size == 65 * 64 * MIB + 4
        assert combine(zlib.crc32(b"head"), whole, 65 * 64 * MIB) == archive.getinfo("large").CRC
        with archive.open("large") as large:
            assert large.read(6) == b"head\x00\x00"
        assert archive.read("behind") == b"still here"


def test_entries_behind_four_gib_are_found(tmp_path):
    """A deflate stream of one stored block, whose bytes are a hole in the file."""
    path = tmp_path / "sparse.zip"
    with path.open("wb+") as file:
        archive = Archive(file)
        archive.begin("hole")
        file.seek(0xFFFFFFFF, os.SEEK_CUR)
        archive.put("behind", b"still here")
        archive.put("last", b"too")
        archive.close()
    assert path.stat().st_blocks * 512 < MIB
    with zipfile.ZipFile(path) as archive:
        assert archive.read("behind") == b"still here"
        assert archive.read("last") == b"too"


def assert_others_open(path: Path) -> None:
    for command in (["unzip", "-tq"], ["zip", "-T"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, path], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr


def test_other_programs_open_an_archive_with_filled_fronts(tmp_path):
    path = tmp_path / "a.zip"
    with path.open("wb") as file:
        archive = Archive(file)
        entry = archive.begin("front", 100_000)
        archive.add(*piece(b"rest"))
        archive.add(END, 0, 0)
        archive.fill(entry, os.urandom(100_000))
        archive.put("a", b"whole")
        archive.close()
    assert_others_open(path)
