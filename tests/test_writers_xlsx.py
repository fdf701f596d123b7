"""XLSX files, read back by openpyxl and by python-calamine, two readers that share no code."""

import io
import math
import re
import zipfile
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import openpyxl
import pytest
import python_calamine
from hypothesis import given, settings
from hypothesis import strategies as st

from exports.exceptions import LostCells
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers import XlsxWriter
from exports.tabular.writers.xlsx.workbook import sheet_name

SHEET = "xl/worksheets/sheet1.xml"
MILLISECOND = timedelta(milliseconds=1)


class ShortSheets(XlsxWriter):
    """As if Excel's sheets had four rows, one of them for the header."""

    max_rows = 4


def written(columns, *batches, writer_class=XlsxWriter, **given) -> io.BytesIO:
    file = io.BytesIO()
    with writer_class(file, columns, **given) as writer:
        for batch in batches:
            writer.write(batch)
    return file


def workbook(file: io.BytesIO) -> openpyxl.Workbook:
    return openpyxl.load_workbook(file)


def by_openpyxl(file: io.BytesIO) -> list[tuple]:
    return list(workbook(file).active.values)


def by_calamine(file: io.BytesIO) -> list[list]:
    file.seek(0)
    return python_calamine.load_workbook(file).get_sheet_by_index(0).to_python(skip_empty_area=False)


def column_of(file: io.BytesIO) -> list:
    """The cells below the header of the only column, which both readers must agree on."""
    first, second = ([row[0] for row in rows[1:]] for rows in (by_openpyxl(file), by_calamine(file)))
    assert first == [cell if cell != "" else None for cell in second]
    return first


def part(file: io.BytesIO, name: str) -> str:
    return zipfile.ZipFile(file).read(name).decode()


def test_typed_cells_read_back_as_they_were():
    values = {
        "text": "=1+1 <b> & é 😀",
        "integer": -(10**15) + 1,
        "decimal": Decimal("12345.678"),
        "float": 0.25,
        "boolean": True,
        "date": date(2013, 1, 2),
        "datetime": datetime(2013, 1, 2, 3, 4, 5),
        "time": time(3, 4, 5),
        "duration": timedelta(hours=26, minutes=3),
    }
    file = written([Column(kind, kind=kind) for kind in values], [[value] for value in values.values()])
    shown = {**values, "decimal": 12345.678, "date": datetime(2013, 1, 2)}
    assert by_openpyxl(file) == [tuple(values), tuple(shown.values())]
    calamine = dict(zip(values, by_calamine(file)[1], strict=True))
    assert calamine == {**values, "decimal": 12345.678}


def test_the_header_is_bold_frozen_and_filtered_over_the_real_range():
    sheet = workbook(written([Column("a", "A"), Column("b", "B")], [[1, 2], [3, 4]])).active
    assert [cell.font.b for cell in sheet[1]] == [True, True]
    assert not sheet["A2"].font.b
    assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("A2", "A1:B3")


def test_an_export_of_no_rows_is_a_sheet_with_its_header():
    file = written([Column("a", "A")])
    assert by_openpyxl(file) == [("A",)]
    assert workbook(file).active.auto_filter.ref == "A1"


def test_widths_and_formats_are_those_declared_or_fit_the_kind():
    columns = [
        Column("a", kind="integer", width=7.5),
        Column("b", "A header that needs some room", kind="integer"),
        Column("c", kind="datetime"),
        Column("d", kind="decimal", format="#,##0.00"),
        Column("e", kind="text", width=1000),
    ]
    moment = datetime(2013, 1, 2, 3, 4)
    sheet = workbook(written(columns, [[1], [2], [moment], [Decimal("3.5")], ["x"]])).active
    widths = [round(sheet.column_dimensions[letter].width) for letter in "ABCDE"]
    assert widths == [8, 33, 20, 13, 256]
    formats = [cell.number_format for cell in sheet[2]]
    assert formats == ["General", "General", "yyyy-mm-dd hh:mm:ss", "#,##0.00", "General"]


def test_integers_that_excel_would_show_with_an_exponent_have_a_format():
    file = written([Column("n", kind="integer"), Column("m")], [[10**11, 1], [-(10**11), "x"]], [[1], [99_999_999_999]])
    sheet = workbook(file).active
    assert [[cell.number_format for cell in row] for row in sheet["A2:B4"]] == [
        ["0", "0"],
        ["0", "General"],
        ["General", "General"],
    ]


def test_a_declared_format_is_for_its_kind_and_other_types_keep_theirs():
    column = Column("a", kind="decimal", format="0.000")
    sheet = workbook(written([column], [[Decimal("1.5"), 2, date(2013, 1, 2), "text", True]])).active
    formats = [sheet.cell(row, 1).number_format for row in range(2, 7)]
    assert formats == ["0.000", "0.000", "yyyy-mm-dd", "General", "General"]


def test_a_declared_format_of_an_unknown_kind_is_for_all_but_text():
    sheet = workbook(written([Column("a", format="0.0")], [[1, 2.5, "text"]])).active
    assert [sheet.cell(row, 1).number_format for row in range(2, 5)] == ["0.0", "0.0", "General"]


def test_text_is_never_a_formula_nor_a_link():
    values = [
        "=1+1",
        "{=1+1}",
        "https://example.com",
        "mailto:a@example.com",
        "internal:A1",
        "0123",
        "+1",
        "TRUE",
        "1e5",
    ]
    file = written([Column("a", "=HEADER()")], [values])
    assert column_of(file) == values
    sheet = part(file, SHEET)
    assert "<f>" not in sheet
    assert "hyperlink" not in sheet.lower()
    assert by_openpyxl(file)[0] == ("=HEADER()",)


@pytest.mark.parametrize(
    "value",
    [
        "_x0041_",
        "_x0041_x0042_",
        "_x005F_",
        "_xD83D__xDE00_",
        "<r>",
        "<r></r>",
        "<r>a&b",
        "<r><t>x</t></r>",
        " _x000D_ ",
    ],
)
def test_text_that_looks_like_xlsx_inside_reads_back_as_it_was(value):
    counted = Alterations()
    file = written([Column("a", value)], [[value, 1, "plain"]], [[value]], alterations=counted)
    assert column_of(file) == [value, 1, "plain", value]
    assert by_openpyxl(file)[0] == (value,)
    assert counted == {}


@pytest.mark.parametrize("value", [" lead", "trail ", " ", "\n", "a\tb", "two\nlines", "\x85", "\u2028", "]]>"])
def test_white_space_and_marks_read_back_as_they_were(value):
    assert column_of(written([Column("a")], [[value]])) == [value]


@pytest.mark.parametrize("value", [" lead", "trail ", "\n", "trail\u2003", " _x0041_"])
def test_white_space_at_an_end_is_marked_to_be_kept(value):
    sheet = part(written([Column("a"), Column("b")], [["plain", value], ["two words", "b"]]), SHEET)
    marked = re.findall(r'<c r="(\w+)"[^>]*><is>(?:<r>)?<t xml:space="preserve">', sheet)
    assert set(marked) == {"A2", "A3"}


def test_xml_has_no_cell_where_there_is_no_value():
    sheet = part(written([Column("a"), Column("b"), Column("c")], [[None, "x"], [1, None], [None, None]]), SHEET)
    assert re.findall(r'<c r="(\w+)"', sheet) == ["A1", "B1", "C1", "B2", "A3"]
    assert re.findall(r'<row r="(\w+)"', sheet) == ["1", "2", "3"]


def test_numbers_have_all_their_digits():
    columns = [Column("f", kind="float"), Column("d", kind="decimal"), Column("t", kind="datetime")]
    moment = datetime(2013, 1, 1, 6, 0, 0, 1)
    sheet = part(written(columns, [[0.1 + 0.2, 1e22], [Decimal("1.50"), Decimal("1E+3")], [moment, moment]]), SHEET)
    first, second, moment_cell, third, fourth, _ = re.findall(r"<v>([^<]+)</v></c>", sheet.partition("</row>")[2])
    assert (first, second, fourth) == ("0.30000000000000004", "1.50", "1000")
    assert float(third) == 1e22
    assert float(moment_cell) == pytest.approx(41275.25 + 1e-6 / 86400, abs=1e-11)


def test_the_header_has_the_cells_it_should_where_a_name_would_be_changed_by_a_reader():
    labels = ["plain", "maximum005F_x", "_x005F_", "", "<r>x</r>"]
    file = written([Column(label, "") for label in labels], [[1]] * 5)
    assert [cell or "" for cell in by_openpyxl(file)[0]] == labels
    assert by_calamine(file)[0] == labels


def test_what_excel_cannot_hold_is_text_and_counted():
    values = [10**20, math.nan, Decimal("1.23456789012345678"), date(1899, 1, 1), timedelta(-1), "a\x00\r\nb\ud800"]
    counted = Alterations()
    file = written([Column("a")], [values], alterations=counted)
    assert column_of(file) == [
        "1" + "0" * 20, "nan", "1.23456789012345678", "1899-01-01", "-24:00:00", "a\nb\ufffd",
    ]  # fmt: skip
    assert counted == {
        "number_as_text": 2, "not_a_number": 1, "date_as_text": 1, "duration_as_text": 1,
        "control_removed": 1, "surrogate_replaced": 1, "line_break_changed": 1,
    }  # fmt: skip


def test_text_is_cut_where_excel_would_cut_it():
    counted = Alterations()
    file = written([Column("a")], [["x" * 40_000, "_x0041_" * 6_000, "x" * 32_767]], alterations=counted)
    assert [len(cell) for cell in column_of(file)] == [32_767, 32_767, 32_767]
    assert counted == {"text_cut": 2}


def test_none_and_the_empty_text_are_empty_cells():
    file = written([Column("a"), Column("b")], [[None, "", "x"], [1, 2, 3]])
    assert by_openpyxl(file)[1:] == [(None, 1), (None, 2), ("x", 3)]


def test_moments_are_local_in_the_zone_that_was_asked_for():
    moment = datetime(2013, 7, 1, 12, tzinfo=UTC)
    file = written([Column("at", kind="datetime")], [[None, moment]], zone=ZoneInfo("America/New_York"))
    assert by_openpyxl(file)[1:] == [(None,), (datetime(2013, 7, 1, 8),)]


def test_a_full_sheet_is_followed_by_another_with_the_header_again():
    batches = [[[1, 2], ["a", "b"]], [[3, 4, 5, 6, 7], ["c", "d", "e", "f", "g"]]]
    file = written([Column("n", "N"), Column("t", "T")], *batches, writer_class=ShortSheets, title="Rows")
    book = workbook(file)
    assert book.sheetnames == ["Rows", "Rows 2", "Rows 3"]
    assert [list(sheet.values) for sheet in book] == [
        [("N", "T"), (1, "a"), (2, "b"), (3, "c")],
        [("N", "T"), (4, "d"), (5, "e"), (6, "f")],
        [("N", "T"), (7, "g")],
    ]
    assert [sheet.auto_filter.ref for sheet in book] == ["A1:B4", "A1:B4", "A1:B2"]
    assert [sheet.freeze_panes for sheet in book] == ["A2"] * 3
    assert all(sheet["A1"].font.b for sheet in book)


def test_a_sheet_that_is_exactly_full_has_no_empty_one_behind_it():
    file = written([Column("n")], [[1, 2, 3]], writer_class=ShortSheets)
    assert workbook(file).sheetnames == ["Sheet 1"]


def test_headers_are_counted_once_however_many_sheets_repeat_them():
    counted = Alterations()
    written([Column("n", "a\x00")], [[1] * 10], writer_class=ShortSheets, alterations=counted)
    assert counted == {"control_removed": 1}


@pytest.mark.parametrize(
    ("title", "taken", "name"),
    [
        ("", [], "Sheet 1"),
        ("", ["Sheet 1"], "Sheet 2"),
        ("Flights", [], "Flights"),
        ("Flights", ["Flights"], "Flights 2"),
        ("Flights", ["FLIGHTS"], "Flights 2"),
        ("a/b\\c[d]e:f*g?h", [], "a b c d e f g h"),
        ("'quoted'", [], "quoted"),
        ("History", [], "History 1"),
        ("HISTORY", ["History 1"], "HISTORY 2"),
        ("x" * 40, [], "x" * 31),
        ("x" * 40, ["x" * 31], "x" * 29 + " 2"),
        ("😀" * 16, [], "😀" * 15),
        ("x" * 30 + "'y", [], "x" * 30),
        ("\x00\ud800", [], "Sheet 1"),
        ("x" * 29 + " 2", ["x" * 29 + " 2"], "x" * 29 + " 3"),
    ],
)
def test_sheet_names_follow_excels_rules(title, taken, name):
    assert sheet_name(title, taken) == name


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("[]:*?/\\' xX\x00😀") | st.characters(), max_size=40))
def test_xlsxwriter_takes_any_title_as_the_name_of_a_sheet(title):
    assert len(workbook(written([Column("n")], [[1] * 4], writer_class=ShortSheets, title=title)).sheetnames) == 2


def test_the_title_is_in_the_properties_of_the_document():
    assert (
        workbook(written([Column("a")], title="Flights <2013> & \x00more")).properties.title == "Flights <2013> & more"
    )


def test_a_header_that_the_library_refuses_is_an_error_never_a_hole():
    class WideSheets(XlsxWriter):
        max_columns = None

    with pytest.raises(LostCells, match="header of column 'last'"):
        WideSheets(io.BytesIO(), [*[Column("a")] * 16_384, Column("last")])


# Whatever comes

TEXTS = st.text(st.sampled_from("_x0041F<>r/&t \n\t\"'=😀") | st.characters(), max_size=12)
EXCEL_TEXTS = TEXTS.map(lambda text: re.sub("[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff\ud800-\udfff]", "", text))


@settings(max_examples=60, deadline=None)
@given(st.lists(EXCEL_TEXTS, min_size=1, max_size=30))
def test_text_reads_back_as_it_was(values):
    counted = Alterations()
    file = written([Column("a")], [[*values, "end"]], alterations=counted)
    assert column_of(file) == [value or None for value in values] + ["end"]
    assert counted == {}


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=30))
def test_both_readers_open_and_agree_on_any_text(values):
    column_of(written([Column("a"), Column("b")], [[*values, "end"], [1] * (len(values) + 1)]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.datetimes(min_value=datetime(1900, 3, 1), max_value=datetime(9999, 12, 31, 23, 59, 59)), min_size=1))
def test_moments_read_back_to_the_millisecond(values):
    file = written([Column("at", kind="datetime")], [values])
    for rows in (by_openpyxl(file), by_calamine(file)):
        for [cell], value in zip(rows[1:], values, strict=True):
            # python-calamine has a date where the time is midnight.
            moment = cell if isinstance(cell, datetime) else datetime.combine(cell, time())
            assert abs(moment - value) <= MILLISECOND


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=2), min_size=1))
def test_numbers_read_back_with_all_their_digits(values):
    for cell, value in zip(column_of(written([Column("n")], [values])), values, strict=True):
        assert (Decimal(cell) if type(cell) is str else Decimal(f"{cell:.15G}")) == value


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_read_back_to_sixteen_digits(values):
    for cell, value in zip(column_of(written([Column("x")], [values])), values, strict=True):
        assert float(cell) == pytest.approx(value, rel=1e-15)
