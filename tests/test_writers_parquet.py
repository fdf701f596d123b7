"""Parquet files as a whole: their groups, their end, their library."""

import errno
import gc
import io
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.writers import ParquetWriter
from exports.tabular.writers.arrow_columns import POOL
from tests.test_writers_arrow import table, written

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("compression", ParquetWriter.choices["compression"])
def test_it_is_compressed_as_asked(compression):
    content = written([Column("x")], [["a" * 9_999]], options={"compression": compression})
    found = parquet.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0).compression
    assert found == {"zstd": "ZSTD", "snappy": "SNAPPY", "none": "UNCOMPRESSED"}[compression]
    assert (len(content) < 5_000) == (compression != "none")


def groups_of(content: bytes) -> list[int]:
    metadata = parquet.ParquetFile(io.BytesIO(content)).metadata
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def test_a_group_has_about_100_000_rows():
    batches = [[range(60_000)], [range(60_000)], [range(99_999)], [range(2)]]
    assert groups_of(written([Column("x", kind="integer")], *batches)) == [120_000, 100_001]


def test_rows_of_much_text_make_smaller_groups():
    text = "x" * 2**20
    assert groups_of(written([Column("x")], *[[[text] * 20]] * 7)) == [80, 60]


def test_an_export_of_no_rows_has_its_columns():
    found = table([Column("a", kind="integer"), Column("b", kind="datetime")])
    assert (found.num_rows, found.schema.types) == (0, [pa.int64(), pa.timestamp("us", "UTC")])


def test_the_memory_that_is_held_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr("exports.tabular.writers.parquet.GROUP_ROWS", 10_000)
    held = []
    with ParquetWriter(io.BytesIO(), [Column("a", kind="integer"), Column("b")]) as writer:
        for first in range(0, 200_000, 2_000):
            numbers = range(first, first + 2_000)
            writer.write([numbers, [f"text {number}" for number in numbers]])
            held.append(POOL.bytes_allocated())
    assert max(held[50:]) < 1.1 * max(held[:50])


def test_a_discarded_file_is_left_as_it_is_and_its_memory_given_back():
    held, file = POOL.bytes_allocated(), io.BytesIO()
    writer = ParquetWriter(file, [Column("x", kind="integer")])
    writer.write([range(100_000)])
    writer.write([range(99_999)])
    size = len(file.getvalue())
    writer.discard()
    writer.discard()
    del writer
    gc.collect()
    assert (len(file.getvalue()), POOL.bytes_allocated() - held, file.closed) == (size, 0, False)


@pytest.mark.parametrize("room", [0, 1_000, 500_000])
def test_a_full_disk_is_an_error_of_the_system(room):
    class Full(io.BytesIO):
        def write(self, content):
            if self.tell() + len(content) > room:
                raise OSError(errno.ENOSPC, "No room")
            return super().write(content)

    batches = [[list(map(str, range(first, first + 50_000)))] for first in range(0, 150_000, 50_000)]
    with pytest.raises(OSError, match="No room") as caught:
        written([Column("x")], *batches, file=Full(), options={"compression": "none"})
    assert caught.value.errno == errno.ENOSPC


# Without pyarrow


def output(program: str) -> str:
    command, environment = [sys.executable, "-W", "error", "-c", program], {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_without_its_library_it_is_not_offered_and_says_what_to_install():
    program = (
        "import sys; sys.modules['pyarrow'] = sys.modules['orjson'] = None\n"
        "from exports.tabular import writers\nfrom exports.exceptions import UnknownFormat\n"
        "print(*(writer.format for writer in writers.formats()))\n"
        "try:\n    writers.get('parquet')\nexcept UnknownFormat as error:\n    print(error)\n"
    )
    assert output(program).splitlines() == [
        "csv tsv xlsx jsonl",
        "The format 'parquet' needs pyarrow: pip install 'django-live-exports[parquet]'. "
        "Known formats: csv, jsonl, tsv, xlsx.",
    ]


def test_its_library_is_imported_only_when_a_file_is_begun():
    program = (
        "import io, sys\nfrom exports.tabular import writers\nfrom exports.tabular.columns import Column\n"
        "writer = writers.get('parquet')\nprint('pyarrow' in sys.modules)\n"
        "writer(io.BytesIO(), [Column('x')]).close()\nprint('pyarrow' in sys.modules)\n"
    )
    assert output(program).split() == ["False", "True"]


def test_why_a_format_is_missing_is_said_of_extras_only():
    assert (writers.why_missing("pdf"), writers.why_missing("parquet")) == ("", "")
