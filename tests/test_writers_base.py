"""What all file formats share: the registry, the options, the shape of batches, the end of a file."""

import io
import json

import pytest

from exports.exceptions import BadOption, TooManyColumns, UnknownFormat
from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.writers.base import Writer
from tests.written import written

COLUMNS = [Column("a"), Column("b")]


class JsonTextSequenceWriter(Writer):
    """The format of RFC 7464, as the documentation of the writers shows it."""

    format, extension, content_type, label = "json-seq", "json-seq", "application/json-seq", "JSON sequence"

    def add(self, batch):
        names = [column.name for column in self.columns]
        for row in zip(*batch, strict=True):
            self.file.write(b"\x1e" + json.dumps(dict(zip(names, row, strict=True)), default=str).encode() + b"\n")


def test_five_formats_are_registered():
    assert [writer.format for writer in writers.formats()] == ["csv", "tsv", "xlsx", "jsonl", "parquet"]
    assert writers.get("xlsx") is writers.XlsxWriter


def test_an_unknown_format_raises_an_error_that_names_the_known_ones():
    with pytest.raises(UnknownFormat, match=r"no format named 'pdf'\. Known formats: csv, jsonl, parquet, tsv, xlsx\."):
        writers.get("pdf")
    assert writers.why_missing("pdf") == writers.why_missing("parquet") == ""


def test_a_project_can_register_a_format(monkeypatch):
    monkeypatch.setattr(writers, "_writers", dict(writers._writers))
    assert writers.register(JsonTextSequenceWriter) is JsonTextSequenceWriter
    content = written(writers.get("json-seq"), COLUMNS, [[1, 2], ["x", None]])
    assert content == b'\x1e{"a": 1, "b": "x"}\n\x1e{"a": 2, "b": null}\n'


@pytest.mark.parametrize("writer_class", writers.formats())
class TestEveryFormat:
    def test_has_a_content_type_an_extension_and_a_label(self, writer_class):
        assert writer_class.content_type
        assert writer_class.extension
        assert writer_class.label
        assert 0 <= writer_class.finishing_share < 1

    def test_refuses_an_unknown_option(self, writer_class):
        with pytest.raises(BadOption, match=rf"Option 'colour': {writer_class.label} has no such option\. It has "):
            writer_class.clean_options({"colour": "red"})

    def test_counts_its_rows_and_leaves_the_file_open(self, writer_class):
        file = io.BytesIO()
        writer = writer_class(file, COLUMNS)
        writer.write([[1, 2], ["x", "y"]])
        writer.write([[], []])
        writer.write([(3,), ("z",)])
        writer.close()
        size = len(file.getvalue())
        writer.close()
        assert (writer.rows, len(file.getvalue()), file.closed) == (3, size, False)

    def test_takes_no_rows_once_closed(self, writer_class):
        writer = writer_class(io.BytesIO(), COLUMNS)
        writer.close()
        with pytest.raises(ValueError, match="closed"):
            writer.write([[1], [2]])

    @pytest.mark.parametrize("batch", [[[1]], [[1], [2], [3]], [[1], [2, 3]]])
    def test_refuses_a_batch_of_another_shape(self, writer_class, batch):
        with writer_class(io.BytesIO(), COLUMNS) as writer, pytest.raises(ValueError, match="batch"):
            writer.write(batch)

    def test_needs_a_column(self, writer_class):
        with pytest.raises(ValueError, match="at least one column"):
            writer_class(io.BytesIO(), [])


def test_a_format_of_one_table_refuses_a_second_one():
    with writers.CsvWriter(io.BytesIO(), COLUMNS) as writer, pytest.raises(ValueError, match=r"CSV holds one table\."):
        writer.begin_table("Second", COLUMNS)


def test_options_have_defaults():
    assert writers.JsonLinesWriter.clean_options({}) == {}
    defaults = {"profile": "exchange", "delimiter": ",", "decimal": ".", "bom": True, "formulas": "escape"}
    assert writers.CsvWriter.clean_options({}) == defaults
    assert writers.CsvWriter.clean_options({"delimiter": ";"})["delimiter"] == ";"


@pytest.mark.parametrize(("options", "message"), [
    ({"delimiter": "|"}, r"Option 'delimiter': '\|' is not allowed\. Use one of ',', ';', '\\t'\."),
    ({"bom": 1}, r"Option 'bom': 1 is not allowed\. Use one of True, False\."),
    ({"formulas": ["raw"]}, r"Option 'formulas': \['raw'\] is not allowed\. Use one of 'escape', 'raw', 'reject'\."),
])  # fmt: skip
def test_a_value_that_an_option_does_not_allow_is_refused(options, message):
    with pytest.raises(BadOption, match=message):
        writers.CsvWriter.clean_options(options)


def test_xlsx_refuses_more_columns_than_excel_has():
    with pytest.raises(TooManyColumns, match=r"Excel holds 16,384 columns, not 16,385\."):
        writers.XlsxWriter(io.BytesIO(), [Column("x")] * 16_385)


def test_an_error_inside_the_with_block_discards_the_file():
    discarded = []

    class Recording(JsonTextSequenceWriter):
        def discard(self):
            discarded.append(True)
            super().discard()

    with pytest.raises(RuntimeError, match="stop"), Recording(io.BytesIO(), COLUMNS) as writer:
        raise RuntimeError("stop")
    assert (discarded, writer.is_closed) == ([True], True)
