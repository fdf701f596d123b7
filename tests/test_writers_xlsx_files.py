"""The bytes of XLSX files: how closing reports them, what they take of memory and disk, what a full disk does."""

import errno
import io
import multiprocessing
import resource
import tempfile
import threading
import tracemalloc
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest

from exports.exceptions import BadOption
from exports.tabular.columns import Column
from exports.tabular.writers import XlsxWriter


def some_texts(rows: int) -> list[str]:
    return [f"value {number * 7919 % 10007}" for number in range(rows)]


def test_closing_reports_growing_bytes_and_an_estimate_of_them_all_once_the_rows_are_there():
    reports = []
    file = io.BytesIO()
    with XlsxWriter(file, [Column("a"), Column("b")], on_bytes=lambda *report: reports.append(report)) as writer:
        writer.write([some_texts(20_000)] * 2)
        assert reports == []
    done = [each for each, _ in reports]
    assert done == sorted(done)
    assert done[-1] == len(file.getvalue())
    assert len(set(done)) > 10
    estimates = [expected for _, expected in reports if expected is not None]
    assert 0.9 < estimates[0] / done[-1] < 1.1
    assert all(expected is None or each <= expected for each, expected in reports)
    assert [expected is None for _, expected in reports] == sorted((each is None for _, each in reports), reverse=True)


def test_rows_are_in_the_file_before_it_is_closed():
    file = io.BytesIO()
    with XlsxWriter(file, [Column("a")], processes=1) as writer:
        for _ in range(20):
            writer.write([some_texts(5000)])
        assert len(file.getvalue()) > 100_000


def test_there_are_no_temporary_files(tmp_path, monkeypatch):
    work_dir, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work_dir.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    writer = XlsxWriter(io.BytesIO(), [Column("a")], work_dir=work_dir)
    writer.write([["x" * 100_000]])
    assert set(tmp_path.rglob("*")) == {work_dir, elsewhere}
    writer.close()
    assert set(tmp_path.rglob("*")) == {work_dir, elsewhere}


@pytest.mark.parametrize("processes", [1, 2])
def test_giving_up_ends_the_threads_and_processes(processes):
    before = set(threading.enumerate())
    writer = XlsxWriter(io.BytesIO(), [Column("a")], processes=processes)
    writer.write([some_texts(20_000)])
    assert set(threading.enumerate()) - before or multiprocessing.active_children()
    writer.discard()
    writer.discard()
    assert set(threading.enumerate()) <= before
    assert multiprocessing.active_children() == []


def test_closing_ends_the_threads():
    before = set(threading.enumerate())
    with XlsxWriter(io.BytesIO(), [Column("a")]) as writer:
        writer.write([some_texts(20_000)])
    assert set(threading.enumerate()) <= before


def test_memory_does_not_grow_with_the_rows():
    texts = some_texts(5000)
    with tempfile.TemporaryFile() as file, XlsxWriter(file, [Column("a"), Column("b")]) as writer:
        writer.write([texts, texts])
        tracemalloc.start()
        try:
            peaks = [peak_of_writing(writer, texts, batches) for batches in (10, 60)]
        finally:
            tracemalloc.stop()
    # How far the deflate lags behind differs from run to run, by a few batches of half a mebibyte. All are 30 MiB.
    assert peaks[1] < peaks[0] + 4 * 2**20


def peak_of_writing(writer: XlsxWriter, texts: list[str], batches: int) -> int:
    tracemalloc.reset_peak()
    for _ in range(batches):
        writer.write([texts, texts])
    return tracemalloc.get_traced_memory()[1]


def test_a_file_may_begin_behind_something_else():
    file = io.BytesIO(b"before")
    file.seek(0, io.SEEK_END)
    with XlsxWriter(file, [Column("a")]) as writer:
        writer.write([[1]])
    assert file.getvalue().startswith(b"beforePK")
    assert zipfile.ZipFile(io.BytesIO(file.getvalue()[6:])).testzip() is None
    assert file.tell() == len(file.getvalue())


def test_programs_know_the_file_by_its_first_entries():
    file = io.BytesIO()
    with XlsxWriter(file, [Column("a")]) as writer:
        writer.write([[1]])
    names = zipfile.ZipFile(file).namelist()
    assert names[:3] == ["_rels/.rels", "docProps/core.xml", "xl/worksheets/sheet1.xml"]


@pytest.mark.parametrize(("engine", "level"), [("zlib", 1), ("zlib", 9), ("isal", 0), ("zlib-ng", 3)])
def test_the_engine_and_its_level_may_be_chosen(engine, level):
    file = io.BytesIO()
    with XlsxWriter(file, [Column("a")], engine=engine, level=level or None) as writer:
        writer.write([some_texts(1000)])
    sheet = zipfile.ZipFile(file).read("xl/worksheets/sheet1.xml")
    assert sheet.count(b"<row ") == 1001


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(BadOption, match="no deflate engine 'gzip'"):
        XlsxWriter(io.BytesIO(), [Column("a")], engine="gzip")


def test_what_the_report_raises_ends_the_closing():
    class Cancelled(Exception):
        pass

    def stop(done, expected):
        if done > 10_000:
            raise Cancelled

    before = set(threading.enumerate())
    writer = XlsxWriter(io.BytesIO(), [Column("a")], on_bytes=stop)
    writer.write([[str(number * 7919) for number in range(50_000)]])
    with pytest.raises(Cancelled):
        writer.close()
    assert set(threading.enumerate()) <= before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_oserror():
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="No space left") as caught:  # noqa: PTH123
        XlsxWriter(full, [Column("a")])
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("size", [5_000, 100_000])
def test_a_disk_that_is_full_later_is_an_oserror_and_ends_the_threads(tmp_path, size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE), set(threading.enumerate())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[0][1]))
    try:
        with (tmp_path / "file").open("wb", buffering=0) as file, pytest.raises(OSError, match="File too large"):
            write_until_full(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
    assert set(threading.enumerate()) <= before[1]


def write_until_full(file: BinaryIO) -> None:
    with XlsxWriter(file, [Column("a")]) as writer:
        for _ in range(20):
            writer.write([some_texts(5_000)])
