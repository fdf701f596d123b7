"""CSV files, read back by the csv module."""

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.exceptions import BadOption, FormulaRejected
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers import CsvWriter, TsvWriter
from exports.tabular.writers.interleave import interleave
from tests.test_cells_texts import columns

TEXTS = st.text(st.sampled_from(",;\"\t\r\n =-'a\ufeff") | st.characters(exclude_categories=["Cs"]), max_size=8)


def written(columns, *batches, writer_class=CsvWriter, **given) -> bytes:
    file = io.BytesIO()
    with writer_class(file, columns, **given) as writer:
        for batch in batches:
            writer.write(batch)
    return file.getvalue()


def rows(content: bytes, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter))


def test_it_is_utf8_with_a_mark_a_header_and_crlf():
    content = written([Column("name", "Name"), Column("size")], [["é", None], [1, 2]])
    assert content == b"\xef\xbb\xbfName,size\r\n\xc3\xa9,1\r\n,2\r\n"


def test_the_mark_can_be_left_out():
    assert written([Column("a")], options={"bom": False}) == b"a\r\n"


def test_an_export_of_no_rows_has_its_header():
    assert rows(written([Column("a"), Column("b", "B")])) == [["a", "B"]]


def test_batches_follow_each_other():
    assert rows(written([Column("a")], [[1]], [[2, 3]])) == [["a"], ["1"], ["2"], ["3"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_fields_are_quoted_where_the_delimiter_needs_it(delimiter):
    values = ["a,b", "a;b", "a\tb", 'a"b', "a\r\nb", "plain"]
    content = written([Column("x"), Column("y")], [values, values], options={"delimiter": delimiter, "bom": False})
    assert rows(content, delimiter)[1:] == [[value, value] for value in values]
    assert content.count(b'"') == 2 * (2 + 4 + 2)
    assert b"\r\nplain" + delimiter.encode() + b"plain\r\n" in content


def test_a_row_of_one_empty_field_is_a_row():
    content = written([Column("a")], [[None, "", "x"]], options={"bom": False})
    assert content == b'a\r\n""\r\n""\r\nx\r\n'
    assert rows(content) == [["a"], [""], [""], ["x"]]


def test_moments_are_shown_in_the_zone_that_was_asked_for():
    moment = datetime(2013, 1, 1, 10, tzinfo=UTC)
    content = written([Column("at")], [[moment]], zone=ZoneInfo("America/New_York"))
    assert rows(content)[1] == ["2013-01-01T05:00:00-05:00"]


def test_headers_and_text_are_guarded_and_numbers_are_not():
    counted = Alterations()
    columns = [Column("a", "=HYPERLINK()"), Column("b", "B")]
    content = written(columns, [["@x", "y"], [-1, Decimal("-2")]], alterations=counted)
    assert rows(content) == [["'=HYPERLINK()", "B"], ["'@x", "-1"], ["y", "-2"]]
    assert counted == {"formula_escaped": 2}


def test_raw_leaves_text_alone():
    content = written([Column("a", "=A")], [["=1", "\t@"]], options={"formulas": "raw"})
    assert rows(content) == [["=A"], ["=1"], ["\t@"]]


def test_reject_stops_at_a_header_and_at_a_cell():
    options = {"formulas": "reject"}
    with pytest.raises(FormulaRejected, match="Column '=A'"):
        written([Column("a", "=A")], options=options)
    with pytest.raises(FormulaRejected, match="Column 'Name'"):
        written([Column("a", "Name")], [["=1"]], options=options)


def test_a_value_of_another_type_than_its_column_is_written_by_its_own():
    values = [1, "two", None, "-3", date(2013, 1, 1)]
    assert [row[0] for row in rows(written([Column("n", kind="integer"), Column("z")], [values, [0] * 5]))[1:]] == [
        "1", "two", "", "'-3", "2013-01-01",
    ]  # fmt: skip


def test_nothing_is_reported_while_closing_because_nothing_is_left_to_write():
    reports = []
    written([Column("a")], [[1]], on_bytes=lambda *report: reports.append(report))
    assert reports == []


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6), st.sampled_from([",", ";", "\t"]))
def test_raw_text_reads_back_as_it_was(table, delimiter):
    batch = [[row[number] for row in table] for number in range(2)]
    options = {"delimiter": delimiter, "formulas": "raw", "bom": False}
    content = written([Column("a"), Column("b")], batch, options=options)
    found = list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter))
    assert found == [["a", "b"], *map(list, table)]


@given(st.lists(TEXTS, max_size=6))
def test_text_without_controls_reads_back_but_for_apostrophes(texts):
    texts = ["".join(character for character in text if character.isprintable()) for text in texts]
    found = [row[0] for row in rows(written([Column("a")], [texts]))[1:]]
    assert [cell.replace("'", "") for cell in found] == [text.replace("'", "") for text in texts]


def test_the_first_field_may_start_with_a_byte_order_mark():
    assert rows(written([Column("a")], [["\ufeffx"]], options={"bom": False}))[1] == ["\ufeffx"]


# Columns that are texts already, and other sequences


def test_a_batch_may_mix_columns_of_texts_and_of_values():
    batch = [RawColumn(["1", None], "integer"), ("a,b", 'c"d'), RawColumn(["x", "=y"], "text"), [None, True]]
    content = written(list(map(Column, "abcd")), batch, options={"bom": False})
    assert content == b'a,b,c,d\r\n1,"a,b",x,\r\n,"c""d",\'=y,true\r\n'


def test_a_column_of_texts_is_quoted_where_the_delimiter_needs_it():
    texts = RawColumn(['{"a": [1, 2]}', "{}"], "json")
    for delimiter, cell in {",": '"{""a"": [1, 2]}"', ";": '"{""a"": [1, 2]}"'}.items():
        content = written([Column("x"), Column("y")], [texts, [1, 2]], options={"delimiter": delimiter, "bom": False})
        assert content.decode().splitlines()[1:] == [f"{cell}{delimiter}1", f"{{}}{delimiter}2"]


@pytest.mark.parametrize("values", [RawColumn([None, "1"], "integer"), [None, 1], RawColumn([None, "1"], "text")])
def test_a_single_column_has_a_row_for_each_value(values):
    assert written([Column("a")], [values], options={"bom": False}) == b'a\r\n""\r\n1\r\n'


@given(columns(), st.sampled_from([",", ";", "\t"]))
def test_texts_give_the_bytes_that_their_values_give(column, delimiter):
    family, typed, texts = column
    kind = "json" if family == "json" else ""
    declared = [Column("x", kind=kind), Column("y", kind=kind)]
    counted, expected, options = Alterations(), Alterations(), {"delimiter": delimiter}
    content = written(declared, [RawColumn(texts, family), typed], options=options, alterations=counted)
    assert content == written(declared, [typed, RawColumn(texts, family)], options=options, alterations=expected)
    assert counted == expected
    assert len(rows(content, delimiter)) == len(typed) + 1


@given(st.integers(1, 5), st.integers(1, 5), st.text("aé€\U0001f600\x00", max_size=3), st.sampled_from(";€"))
def test_rows_are_interleaved_from_columns(width, height, text, delimiter):
    cells = [[f"{row}{text if number % 2 else ''}{number}" for row in range(height)] for number in range(width)]
    pieces = [*["", delimiter] * (width - 1), "", "\n"]
    made = interleave(pieces, {2 * number: column for number, column in enumerate(cells)})
    assert made.decode() == "".join(delimiter.join(row) + "\n" for row in zip(*cells, strict=True))


# TSV


def test_tsv_is_csv_between_tabs():
    values = ["a\tb", "a,b", 'a"b', "a\nb", None]
    content = written([Column("x", "X"), Column("y")], [values, range(5)], writer_class=TsvWriter)
    assert content == (b'\xef\xbb\xbfX\ty\r\n"a\tb"\t0\r\na,b\t1\r\n"a""b"\t2\r\n"a\nb"\t3\r\n\t4\r\n')
    assert rows(content, "\t")[1:] == [[value or "", str(number)] for number, value in enumerate(values)]


def test_tsv_is_the_same_as_csv_with_that_delimiter():
    batch = [["a\tb", "=1", "x,=2"], RawColumn(["1", None, "3"], "integer")]
    columns = [Column("a", "=A"), Column("b")]
    same = written(columns, batch, options={"delimiter": "\t"})
    assert written(columns, batch, writer_class=TsvWriter) == same
    assert b"x,'=2" in same


def test_tsv_has_the_options_of_csv_but_its_delimiter():
    options = {"bom": False, "formulas": "raw"}
    assert written([Column("a")], [["=1"]], writer_class=TsvWriter, options=options) == b"a\r\n=1\r\n"
    with pytest.raises(BadOption, match="TSV has no such option"):
        TsvWriter.clean_options({"delimiter": "\t"})
