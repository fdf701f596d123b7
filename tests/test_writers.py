"""What all formats share: the registry, the options, the shape of batches."""

import io
import json

import pytest

from exports.exceptions import BadOption, TooManyColumns, UnknownFormat
from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.writers.base import Writer
from exports.tabular.writers.xlsx.writer import CountingFile as CountedFile

COLUMNS = [Column("a"), Column("b")]


class JsonTextSequenceWriter(Writer):
    """RFC 7464."""

    format, extension, content_type, label = "json-seq", "json-seq", "application/json-seq", "JSON sequence"

    def add(self, batch):
        names = [column.name for column in self.columns]
        for row in zip(*batch, strict=True):
            self.file.write(b"\x1e" + json.dumps(dict(zip(names, row, strict=True)), default=str).encode() + b"\n")


@pytest.fixture
def known_formats(monkeypatch):
    monkeypatch.setattr(writers, "_writers", dict(writers._writers))


def test_five_formats_are_known():
    assert [writer.format for writer in writers.formats()] == ["csv", "tsv", "xlsx", "jsonl", "parquet"]
    assert writers.get("xlsx") is writers.XlsxWriter


def test_an_unknown_format_names_the_known_ones():
    with pytest.raises(UnknownFormat, match=r"no format named 'pdf'\. Known formats: csv, jsonl, parquet, tsv, xlsx\."):
        writers.get("pdf")


@pytest.mark.usefixtures("known_formats")
def test_a_project_adds_a_format_in_a_dozen_lines():
    assert writers.register(JsonTextSequenceWriter) is JsonTextSequenceWriter
    file = io.BytesIO()
    with writers.get("json-seq")(file, COLUMNS) as writer:
        writer.write([[1, 2], ["x", None]])
    assert file.getvalue() == b'\x1e{"a": 1, "b": "x"}\n\x1e{"a": 2, "b": null}\n'
    assert writer.rows == 2


@pytest.mark.parametrize("writer_class", writers.formats())
class TestEveryFormat:
    def test_describes_itself(self, writer_class):
        assert writer_class.content_type
        assert writer_class.extension
        assert writer_class.label
        assert 0 <= writer_class.finishing_share < 1

    def test_an_unknown_option_is_refused_by_name(self, writer_class):
        with pytest.raises(BadOption, match=rf"Option 'colour': {writer_class.label} has no such option\. It has "):
            writer_class.clean_options({"colour": "red"})

    def test_counts_its_rows(self, writer_class):
        writer = writer_class(io.BytesIO(), COLUMNS)
        writer.write([[1, 2], ["x", "y"]])
        writer.write([[], []])
        writer.write([(3,), ("z",)])
        writer.close()
        assert writer.rows == 3

    def test_leaves_the_file_open_and_closes_once(self, writer_class):
        file = io.BytesIO()
        writer = writer_class(file, COLUMNS)
        writer.close()
        size = len(file.getvalue())
        writer.close()
        assert (len(file.getvalue()), file.closed) == (size, False)

    def test_takes_no_rows_once_closed(self, writer_class):
        writer = writer_class(io.BytesIO(), COLUMNS)
        writer.close()
        with pytest.raises(ValueError, match="closed"):
            writer.write([[1], [2]])

    @pytest.mark.parametrize("batch", [[[1]], [[1], [2], [3]], [[1], [2, 3]]])
    def test_a_batch_of_another_shape_is_refused(self, writer_class, batch):
        with writer_class(io.BytesIO(), COLUMNS) as writer, pytest.raises(ValueError, match="batch"):
            writer.write(batch)

    def test_needs_a_column(self, writer_class):
        with pytest.raises(ValueError, match="at least one column"):
            writer_class(io.BytesIO(), [])


def test_options_have_defaults():
    assert writers.CsvWriter.clean_options({}) == {"delimiter": ",", "bom": True, "formulas": "escape"}
    assert writers.CsvWriter.clean_options({"delimiter": ";"})["delimiter"] == ";"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": "|"}, r"Option 'delimiter': '\|' is not allowed\. Use one of ',', ';', '\\t'\."),
        ({"bom": 1}, r"Option 'bom': 1 is not allowed\. Use one of True, False\."),
        (
            {"formulas": ["raw"]},
            r"Option 'formulas': \['raw'\] is not allowed\. Use one of 'escape', 'raw', 'reject'\.",
        ),
    ],
)
def test_a_forbidden_value_is_refused_with_those_allowed(options, message):
    with pytest.raises(BadOption, match=message):
        writers.CsvWriter.clean_options(options)


def test_xlsx_refuses_more_columns_than_excel_has():
    with pytest.raises(TooManyColumns, match=r"Excel holds 16,384 columns, not 16,385\."):
        writers.XlsxWriter(io.BytesIO(), [Column("x")] * 16_385)


def test_leaving_after_an_error_discards_and_raises_it():
    discarded = []

    class Noisy(JsonTextSequenceWriter):
        def discard(self):
            discarded.append(True)
            super().discard()

    with pytest.raises(RuntimeError, match="stop"), Noisy(io.BytesIO(), COLUMNS) as writer:
        raise RuntimeError("stop")
    assert (discarded, writer.is_closed) == ([True], True)


# The file that reports


def test_a_counted_file_reports_what_is_written_from_where_it_began():
    reports = []
    file = io.BytesIO(b"head")
    file.seek(4)
    counted = CountedFile(file, lambda *report: reports.append(report))
    counted.is_reporting = True
    counted.write(b"12345")
    counted.expected = 7
    counted.seek(0)
    counted.write(b"ab")
    counted.seek(0, io.SEEK_END)
    counted.write(b"6789")
    assert reports == [(5, None), (5, 7), (9, 9)]
    assert file.getvalue() == b"headab3456789"
