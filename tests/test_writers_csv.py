"""CSV files, read back by the csv module."""

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exports.cells import Alterations, Column
from exports.exceptions import FormulaRejected
from exports.writers import CsvWriter

TEXTS = st.text(st.sampled_from(",;\"\t\r\n =-'a\ufeff") | st.characters(exclude_categories=["Cs"]), max_size=8)


def written(columns, *batches, **given) -> bytes:
    file = io.BytesIO()
    with CsvWriter(file, columns, **given) as writer:
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
