"""The bytes of XLSX files: how closing reports them, where temporary files lie, what a full disk does."""

import errno
import io
import resource
import tempfile
from pathlib import Path

import pytest

from exports.cells import Column
from exports.writers import XlsxWriter


def test_closing_reports_growing_bytes_against_an_estimate_of_them_all():
    reports = []
    values = [f"value {number * 7919 % 10007}" for number in range(20_000)]
    file = io.BytesIO()
    with XlsxWriter(file, [Column("a"), Column("b")], on_bytes=lambda *report: reports.append(report)) as writer:
        writer.write([values, values])
    done = [each for each, _ in reports]
    assert done == sorted(done)
    assert done[-1] == len(file.getvalue())
    assert len(set(done)) > 10
    assert 0.7 < reports[0][1] / done[-1] < 1.3
    assert all(each <= expected for each, expected in reports)


def test_temporary_files_are_in_the_given_folder_only_and_gone_at_the_end(tmp_path, monkeypatch):
    work_dir, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work_dir.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    writer = XlsxWriter(io.BytesIO(), [Column("a")], work_dir=work_dir)
    writer.write([["x" * 100_000]])
    assert list(work_dir.rglob("*"))
    writer.close()
    assert list(work_dir.iterdir()) == []
    assert list(elsewhere.iterdir()) == []


def test_giving_up_leaves_no_temporary_file(tmp_path):
    writer = XlsxWriter(io.BytesIO(), [Column("a")], work_dir=tmp_path)
    writer.write([["x"] * 1000])
    writer.discard()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_what_the_report_raises_ends_the_closing(tmp_path):
    class Cancelled(Exception):
        pass

    def stop(done, expected):
        if done > 10_000:
            raise Cancelled

    writer = XlsxWriter(io.BytesIO(), [Column("a")], work_dir=tmp_path, on_bytes=stop)
    writer.write([[str(number * 7919) for number in range(50_000)]])
    with pytest.raises(Cancelled):
        writer.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_full_at_close_is_an_oserror(tmp_path):
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
        writer = XlsxWriter(full, [Column("a")], work_dir=tmp_path)
        writer.write([[1, 2]])
        with pytest.raises(OSError, match="No space left") as caught:
            writer.close()
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_disk_full_of_temporary_files_is_an_oserror(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with (
            pytest.raises(OSError, match="File too large"),
            XlsxWriter(io.BytesIO(), [Column("a")], work_dir=tmp_path) as writer,
        ):
            writer.write([["x" * 1000] * 1000])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
