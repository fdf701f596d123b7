"""CSV and TSV files, read back by the csv module."""

import csv
import io
from datetime import date
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.exceptions import BadOption, FormulaRejected
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers import CsvWriter, TsvWriter
from exports.tabular.writers.interleave import interleave
from tests.cell_values import raw_columns as columns
from tests.written import written

NO_BOM = {"bom": False}

written_csv = partial(written, CsvWriter)


def rows(content: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter))


def test_a_file_is_utf8_with_byte_order_mark_header_and_crlf():
    content = written_csv([Column("name", "Name"), Column("size")], [["é", None], [1, 2]])
    assert content == b"\xef\xbb\xbfName,size\r\n\xc3\xa9,1\r\n,2\r\n"


def test_the_byte_order_mark_can_be_left_out():
    assert written_csv([Column("a")], options=NO_BOM) == b"a\r\n"


@pytest.mark.parametrize(("label", "delimiter"), [("ID", ","), ("IDs; all", ","), ("ID", ";"), ("ID", "\t")])
def test_excel_does_not_take_a_file_that_begins_with_id_for_sylk(label, delimiter):
    options = {"bom": False, "delimiter": delimiter}
    content = written_csv([Column("a", label), Column("ID")], [["ID"], ["ID"]], options=options)
    assert content.startswith(f'"{label}"{delimiter}ID\r\nID{delimiter}'.encode())
    assert written_csv([Column("ID")], options=NO_BOM) == b'"ID"\r\n'


@pytest.mark.parametrize(("label", "has_bom"), [("Id", False), ("id", False), ("I", False), ("ID", True)])
def test_other_first_headers_need_no_quotes(label, has_bom):
    assert b'"' not in written_csv([Column("a", label), Column("b")], options={"bom": has_bom})


def test_an_export_of_no_rows_has_its_header():
    assert rows(written_csv([Column("a"), Column("b", "B")])) == [["a", "B"]]


def test_batches_follow_each_other():
    assert rows(written_csv([Column("a")], [[1]], [[2, 3]])) == [["a"], ["1"], ["2"], ["3"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_fields_are_quoted_where_the_delimiter_needs_it(delimiter):
    values = ["a,b", "a;b", "a\tb", 'a"b', "a\r\nb", "plain"]
    content = written_csv([Column("x"), Column("y")], [values, values], options={"delimiter": delimiter, **NO_BOM})
    assert rows(content, delimiter)[1:] == [[value, value] for value in values]
    assert content.count(b'"') == 2 * (2 + 4 + 2)
    assert b"\r\nplain" + delimiter.encode() + b"plain\r\n" in content


@pytest.mark.parametrize(
    "values", [[None, "", "x"], RawColumn([None, "", "x"], "text"), RawColumn([None, None, "x"], "uuid")]
)
def test_a_row_of_one_empty_field_is_a_row(values):
    assert written_csv([Column("a")], [values], options=NO_BOM) == b'a\r\n""\r\n""\r\nx\r\n'


def test_formulas_are_escaped_in_headers_and_text_but_numbers_stay():
    counted = Alterations()
    columns = [Column("a", "=HYPERLINK()"), Column("b", "B")]
    content = written_csv(columns, [["@x", "y"], [-1, Decimal("-2")]], alterations=counted)
    assert rows(content) == [["'=HYPERLINK()", "B"], ["'@x", "-1"], ["y", "-2"]]
    assert counted == {"formula_escaped": 2}


def test_the_header_of_a_column_of_raw_text_is_escaped():
    assert rows(written_csv([Column("a", "=A", formulas="raw")], [["=1"]])) == [["'=A"], ["=1"]]


@pytest.mark.parametrize(("header", "values"), [("=A", []), ("Name", ["=1"])])
def test_the_reject_mode_refuses_formulas_in_headers_and_cells(header, values):
    with pytest.raises(FormulaRejected, match=f"Column '{header}'"):
        written_csv([Column("a", header)], [values], options={"formulas": "reject"})


def test_a_value_of_another_type_than_its_column_is_written_by_its_own_type():
    values = [1, "two", None, "-3", date(2013, 1, 1)]
    found = rows(written_csv([Column("n", kind="integer"), Column("z")], [values, [0] * 5]))
    assert [row[0] for row in found[1:]] == ["1", "two", "", "-3", "2013-01-01"]


def test_closing_reports_no_bytes_because_none_are_left_to_write():
    reports = []
    written_csv([Column("a")], [[1]], on_bytes=lambda *report: reports.append(report))
    assert reports == []


def test_the_first_field_may_start_with_a_byte_order_mark():
    assert rows(written_csv([Column("a")], [["\ufeffx"]], options=NO_BOM))[1] == ["\ufeffx"]


# Raw columns


def test_a_batch_may_mix_raw_columns_and_columns_of_values():
    batch = [RawColumn(["1", None], "integer"), ("a,b", 'c"d'), RawColumn(["x", "=y"], "text"), [None, True]]
    content = written_csv(list(map(Column, "abcd")), batch, options=NO_BOM)
    assert content == b'a,b,c,d\r\n1,"a,b",x,\r\n,"c""d",\'=y,true\r\n'


GERMAN = {"profile": "spreadsheet", "delimiter": ";", "decimal": ","}


@given(columns(), st.sampled_from([{"delimiter": ","}, {"delimiter": ";"}, {"delimiter": "\t"}, GERMAN]))
def test_a_raw_column_gives_the_same_bytes_as_its_values(column, options):
    family, typed, texts = column
    kind = "json" if family == "json" else ""
    declared = [Column("x", kind=kind), Column("y", kind=kind)]
    counted, expected = Alterations(), Alterations()
    content = written_csv(declared, [RawColumn(texts, family), typed], options=options, alterations=counted)
    assert content == written_csv(declared, [typed, RawColumn(texts, family)], options=options, alterations=expected)
    assert counted == expected
    assert len(rows(content, options["delimiter"])) == len(typed) + 1


@given(st.integers(1, 5), st.integers(1, 5), st.text("aé€\U0001f600\x00", max_size=3), st.sampled_from(";€"))
def test_columns_are_interleaved_into_rows(width, height, text, delimiter):
    cells = [[f"{row}{text if number % 2 else ''}{number}" for row in range(height)] for number in range(width)]
    pieces = [*["", delimiter] * (width - 1), "", "\n"]
    made = interleave(pieces, {2 * number: column for number, column in enumerate(cells)})
    assert made.decode() == "".join(delimiter.join(row) + "\n" for row in zip(*cells, strict=True))


# TSV


def test_tsv_has_the_bytes_of_csv_with_tabs():
    batch = [["a\tb", "=1", "x,=2"], RawColumn(["1", None, "3"], "integer")]
    columns = [Column("a", "=A"), Column("b")]
    content = written(TsvWriter, columns, batch)
    assert content == written_csv(columns, batch, options={"delimiter": "\t"})
    assert b"x,'=2" in content


def test_tsv_has_the_options_of_csv_except_the_delimiter():
    assert written(TsvWriter, [Column("a")], [["=1"]], options={"bom": False, "formulas": "raw"}) == b"a\r\n=1\r\n"
    with pytest.raises(BadOption, match="TSV has no such option"):
        TsvWriter.clean_options({"delimiter": "\t"})
