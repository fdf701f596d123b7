"""The bytes of XLSX files: progress while closing, memory, disk space, threads and processes."""

import io
import multiprocessing
import resource
import tempfile
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from functools import partial

import pytest

from exports.tabular.columns import Column
from exports.tabular.writers import XlsxWriter
from tests.written import ShortSheets, written

A = [Column("a")]

written_xlsx = partial(written, XlsxWriter, A)


@pytest.fixture
def no_threads_are_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    assert multiprocessing.active_children() == []


def some_texts(rows: int) -> list[str]:
    return [f"value {number * 7919 % 10007}" for number in range(rows)]


def archive(content: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(content))


def test_closing_reports_the_bytes_written_and_an_estimate_of_the_total():
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
    with XlsxWriter(file, A) as writer:
        for _ in range(20):
            writer.write([some_texts(5000)])
        assert len(file.getvalue()) > 100_000


def test_there_are_no_temporary_files(tmp_path, monkeypatch):
    work_dir, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work_dir.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    writer = XlsxWriter(io.BytesIO(), A, work_dir=work_dir)
    writer.write([["x" * 100_000]])
    assert set(tmp_path.rglob("*")) == {work_dir, elsewhere}
    writer.close()
    assert set(tmp_path.rglob("*")) == {work_dir, elsewhere}


@pytest.mark.usefixtures("no_threads_are_left")
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("end", ["close", "discard"])
def test_closing_and_discarding_end_the_threads_and_processes(processes, end):
    before = set(threading.enumerate())
    writer = XlsxWriter(io.BytesIO(), A, processes=processes)
    writer.write([some_texts(20_000)])
    assert set(threading.enumerate()) - before or multiprocessing.active_children()
    getattr(writer, end)()
    writer.discard()


def test_memory_does_not_grow_with_the_rows():
    texts = some_texts(5000)

    def peak(writer: XlsxWriter, batches: int) -> int:
        tracemalloc.reset_peak()
        for _ in range(batches):
            writer.write([texts, texts])
        return tracemalloc.get_traced_memory()[1]

    with tempfile.TemporaryFile() as file, XlsxWriter(file, [Column("a"), Column("b")]) as writer:
        writer.write([texts, texts])
        tracemalloc.start()
        try:
            peaks = [peak(writer, batches) for batches in (10, 60)]
        finally:
            tracemalloc.stop()
    # How many batches of half a mebibyte wait for the compression differs from run to run. All are 30 MiB.
    assert peaks[1] < peaks[0] + 4 * 2**20


def test_a_workbook_may_begin_in_the_middle_of_a_file():
    file = io.BytesIO(b"before")
    file.seek(0, io.SEEK_END)
    content = written_xlsx([[1]], file=file)
    assert content.startswith(b"beforePK")
    assert archive(content[6:]).testzip() is None
    assert file.tell() == len(content)


def test_the_first_entries_show_that_the_file_is_a_workbook():
    names = archive(written_xlsx([[1]])).namelist()
    assert names[:3] == ["_rels/.rels", "docProps/core.xml", "xl/worksheets/sheet1.xml"]


def test_each_part_of_each_sheet_is_in_the_archive_once():
    names = archive(written(ShortSheets, A, [["a"] * 20])).namelist()
    assert len(names) == len(set(names))
    assert sum(name.startswith("xl/worksheets/sheet") for name in names) == 7


@pytest.mark.parametrize(("engine", "level"), [("zlib", 1), ("zlib", 9), ("isal", None), ("zlib-ng", 3)])
def test_the_compression_engine_and_its_level_may_be_chosen(engine, level):
    content = written_xlsx([some_texts(1000)], engine=engine, level=level)
    assert archive(content).read("xl/worksheets/sheet1.xml").count(b"<row ") == 1001


@pytest.mark.usefixtures("no_threads_are_left")
def test_an_exception_of_on_bytes_ends_the_closing():
    class Cancelled(Exception):
        pass

    def stop(done, expected):
        if done > 10_000:
            raise Cancelled

    writer = XlsxWriter(io.BytesIO(), A, on_bytes=stop)
    writer.write([[str(number * 7919) for number in range(50_000)]])
    with pytest.raises(Cancelled):
        writer.close()


@pytest.mark.usefixtures("no_threads_are_left")
@pytest.mark.parametrize("size", [5_000, 100_000])
def test_a_disk_that_fills_up_while_rows_are_written_raises_oserror(tmp_path, size):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        with (tmp_path / "file").open("wb", buffering=0) as file, pytest.raises(OSError, match="File too large"):
            written(XlsxWriter, A, *[[some_texts(5_000)]] * 20, file=file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
