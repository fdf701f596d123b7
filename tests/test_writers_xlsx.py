"""XLSX files, read back by openpyxl and by python-calamine, two readers that share no code."""

import io
import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial

import pytest
import python_calamine
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.worksheet.worksheet import Worksheet

from exports.exceptions import LostCells, TooManyColumns
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers import XlsxWriter
from exports.tabular.writers.xlsx.workbook import SheetDesign, sheet_name
from tests.written import ShortSheets, rows_by_calamine, sheet_xml, widths_of, workbook, written

PEOPLE = [Column("name", "Name", kind="text"), Column("born", "Born", kind="date", style={"italic": True})]
AMOUNTS = [
    Column("amount", "Amount", kind="integer", format="#,##0"),
    Column("note"),
    Column("a\x00", style={"bold": True}),
]

written_xlsx = partial(written, XlsxWriter)


def sheet_of(columns, *batches, **given) -> Worksheet:
    return workbook(written_xlsx(columns, *batches, **given)).active


def rows_of(content: bytes) -> list[tuple]:
    return list(workbook(content).active.values)


def column_of(content: bytes) -> list:
    """Return the cells below the header of the only column, on which both readers must agree."""
    first, second = ([row[0] for row in rows[1:]] for rows in (rows_of(content), rows_by_calamine(content)))
    assert first == [cell if cell != "" else None for cell in second]
    return first


# Cells


def test_typed_cells_read_back():
    values = {
        "text": "=1+1 <b> & é 😀", "integer": -(10**15) + 1, "decimal": Decimal("12345.678"), "float": 0.25,
        "boolean": True, "date": date(2013, 1, 2), "datetime": datetime(2013, 1, 2, 3, 4, 5), "time": time(3, 4, 5),
        "duration": timedelta(hours=26, minutes=3),
    }  # fmt: skip
    content = written_xlsx([Column(kind, kind=kind) for kind in values], [[value] for value in values.values()])
    shown = {**values, "decimal": 12345.678, "date": datetime(2013, 1, 2)}
    assert rows_of(content) == [tuple(values), tuple(shown.values())]
    assert dict(zip(values, rows_by_calamine(content)[1], strict=True)) == {**values, "decimal": 12345.678}


def test_text_is_never_a_formula_or_a_link():
    values = ["=1+1", "{=1+1}", "https://example.com", "mailto:a@example.com", "internal:A1", "0123", "TRUE", "1e5"]
    content = written_xlsx([Column("a", "=HEADER()")], [values])
    assert column_of(content) == values
    assert rows_of(content)[0] == ("=HEADER()",)
    assert "<f>" not in sheet_xml(content)
    assert "hyperlink" not in sheet_xml(content).lower()


@pytest.mark.parametrize("value", [
    "_x0041_", "_x0041_x0042_", "_x005F_", "_xD83D__xDE00_", "maximum005F_x", " _x000D_ ", "<r>", "<r></r>", "<r>a&b",
    "<r><t>x</t></r>",
])  # fmt: skip
def test_text_that_looks_like_an_escape_or_xml_reads_back(value):
    counted = Alterations()
    content = written_xlsx([Column("a", value)], [[value, 1, "plain"]], [[value]], alterations=counted)
    assert column_of(content) == [value, 1, "plain", value]
    assert rows_of(content)[0] == (value,)
    assert counted == {}


@pytest.mark.parametrize("value", [" lead", "trail ", "\n", "trail\u2003", " _x0041_"])
def test_white_space_at_an_end_is_marked_to_be_preserved(value):
    xml = sheet_xml(written_xlsx([Column("a"), Column("b")], [["plain", value], ["two words", "b"]]))
    marked = re.findall(r'<c r="(\w+)"[^>]*><is>(?:<r>)?<t xml:space="preserve">', xml)
    assert set(marked) == {"A2", "A3"}


def test_none_and_empty_text_make_no_cell():
    content = written_xlsx([Column("a"), Column("b"), Column("c")], [[None, "x"], [1, ""], [None, None]])
    assert re.findall(r'<c r="(\w+)"', sheet_xml(content)) == ["A1", "B1", "C1", "B2", "A3"]
    assert re.findall(r'<row r="(\w+)"', sheet_xml(content)) == ["1", "2", "3"]
    assert rows_of(content)[1:] == [(None, 1, None), ("x", None, None)]


def test_numbers_have_all_their_digits():
    columns = [Column("f", kind="float"), Column("d", kind="decimal"), Column("t", kind="datetime")]
    moment = datetime(2013, 1, 1, 6, 0, 0, 1000)
    xml = sheet_xml(written_xlsx(columns, [[0.1 + 0.2, 1e22], [Decimal("1.50"), Decimal("1E+3")], [moment, moment]]))
    first, second, moment_cell, third, fourth, _ = re.findall(r"<v>([^<]+)</v></c>", xml.partition("</row>")[2])
    assert (first, second, fourth) == ("0.30000000000000004", "1.50", "1000")
    assert float(third) == 1e22
    assert float(moment_cell) == pytest.approx(41275.25 + 1e-3 / 86400, abs=1e-11)


def test_text_is_cut_where_excel_would_cut_it():
    counted = Alterations()
    texts = ["x" * 40_000, "_x0041_" * 6_000, "x" * 32_767]
    content = written_xlsx([Column("a")], [texts], alterations=counted)
    assert [len(cell) for cell in column_of(content)] == [32_767, 32_767, 32_767]
    assert counted == {"text_cut": 2}


# Header, widths, number formats


def test_the_header_is_bold_and_frozen_with_a_filter_over_all_rows():
    sheet = sheet_of([Column("a", "A"), Column("b", "B")], [[1, 2], [3, 4]])
    assert [cell.font.b for cell in sheet[1]] == [True, True]
    assert not sheet["A2"].font.b
    assert (sheet.freeze_panes, sheet.auto_filter.ref, sheet.dimensions) == ("A2", "A1:B3", "A1:B3")


def test_an_export_of_no_rows_is_a_sheet_with_its_header():
    sheet = sheet_of([Column("a", "A")])
    assert list(sheet.values) == [("A",)]
    assert (sheet.auto_filter.ref, sheet.dimensions) == ("A1", "A1:A1")


def test_a_header_of_control_characters_only_is_empty():
    assert rows_of(written_xlsx([Column("\x00")], [["a"]])) == [(None,), ("a",)]


def test_a_header_that_xlsxwriter_refuses_is_an_error():
    class WideSheets(XlsxWriter):
        max_columns = None

    with pytest.raises(LostCells, match="header of column 'last'"):
        WideSheets(io.BytesIO(), [*[Column("a")] * 16_384, Column("last")])


def test_number_formats_are_as_declared_or_fit_the_kind():
    columns = [
        Column("a", kind="integer"),
        Column("b", kind="datetime"),
        Column("c", kind="decimal", format="#,##0.00"),
        Column("d", kind="text"),
    ]
    sheet = sheet_of(columns, [[1], [datetime(2013, 1, 2, 3, 4)], [Decimal("3.5")], ["x"]])
    assert [cell.number_format for cell in sheet[2]] == ["General", "yyyy-mm-dd hh:mm:ss", "#,##0.00", "General"]


@pytest.mark.parametrize("processes", [1, 2])
def test_columns_are_as_wide_as_their_header_and_their_widest_cell(processes):
    columns = [Column("a"), Column("b", "A header that needs room"), Column("c"), Column("d"), Column("e"), Column("f")]
    batches = [[[1], [1], [f"{'é' * 10}\n{'é' * 15}"], ["漢字" * 10], ["x" * 500], [date(2013, 1, 1)]]]
    batches += [[[None], [None], ["x"], [None], ["x"], ["2013"]]] * 20 + [
        [[-(10**9)], [2], ["x"], ["x"], ["x"], [None]]
    ]
    content = written_xlsx(columns, *batches, processes=processes)
    assert widths_of(content) == [12, 27, 16, 41, 61, 11]


def test_a_declared_width_grows_for_numbers_but_not_for_text():
    columns = [Column(name, width=5) for name in ("text", "small", "large", "float", "date")]
    columns += [Column("huge", width=1000), Column("large print", width=5, style={"font_size": 22})]
    values = ["x" * 20, 1234, 123456789, 1234.56789, date(2013, 1, 1), 1, 123456]
    assert widths_of(written_xlsx(columns, [[value] for value in values])) == [5, 5, 10, 7, 11, 255, 13]


def test_only_cells_with_line_breaks_wrap():
    columns = [Column("a", "Head\nline"), Column("b", style={"text_wrap": False}), Column("c", style={"bold": True})]
    sheet = sheet_of(columns, [["one\ntwo", "one", None], ["a\nb", "c", "d"], ["a\nb", "_x0041_\n", 1]])
    assert [[bool(cell.alignment.wrap_text) for cell in row] for row in sheet] == [
        [True, False, False], [True, False, True], [False, False, True], [False, False, False],
    ]  # fmt: skip
    assert [cell.font.b for cell in sheet["C"]] == [True, True, True, True]
    assert sheet["C3"].value == "_x0041_\n"


def test_long_integers_have_a_number_format_against_exponents():
    columns = [Column("n", kind="integer"), Column("m")]
    sheet = sheet_of(columns, [[10**11, 1], [-(10**11), "x"]], [[1], [99_999_999_999]])
    formats = [[cell.number_format for cell in row] for row in sheet["A2:B4"]]
    assert formats == [["0", "0"], ["0", "General"], ["General", "General"]]


# Sheets


def test_a_full_sheet_is_followed_by_another_one_with_the_header():
    batches, counted = [[[1, 2], ["a", "b"]], [[3, 4, 5, 6, 7], ["c", "d", "e", "f", "g"]]], Alterations()
    columns = [Column("n", "N"), Column("t", "T\x00")]
    book = workbook(written(ShortSheets, columns, *batches, title="Rows", alterations=counted))
    assert {sheet.title: list(sheet.values) for sheet in book} == {
        "Rows": [("N", "T"), (1, "a"), (2, "b"), (3, "c")],
        "Rows 2": [("N", "T"), (4, "d"), (5, "e"), (6, "f")],
        "Rows 3": [("N", "T"), (7, "g")],
    }
    assert [sheet.auto_filter.ref for sheet in book] == ["A1:B4", "A1:B4", "A1:B2"]
    assert all(sheet.freeze_panes == "A2" and sheet["A1"].font.b for sheet in book)
    # An altered header counts once.
    assert counted == {"control_removed": 1}


def test_an_exactly_full_sheet_is_not_followed_by_an_empty_one():
    assert workbook(written(ShortSheets, [Column("n")], [[1, 2, 3]])).sheetnames == ["Sheet 1"]


@pytest.mark.parametrize(("title", "taken", "name"), [
    ("", [], "Sheet 1"), ("", ["Sheet 1"], "Sheet 2"), ("Flights", [], "Flights"),
    ("Flights", ["Flights"], "Flights 2"), ("Flights", ["FLIGHTS"], "Flights 2"),
    ("a/b\\c[d]e:f*g?h", [], "a b c d e f g h"), ("'quoted'", [], "quoted"), ("History", [], "History 1"),
    ("HISTORY", ["History 1"], "HISTORY 2"), ("x" * 40, [], "x" * 31), ("x" * 40, ["x" * 31], "x" * 29 + " 2"),
    ("😀" * 16, [], "😀" * 15), ("x" * 30 + "'y", [], "x" * 30), ("\x00\ud800", [], "Sheet 1"),
    ("x" * 29 + " 2", ["x" * 29 + " 2"], "x" * 29 + " 3"),
])  # fmt: skip
def test_sheet_names_follow_the_rules_of_excel(title, taken, name):
    assert sheet_name(title, taken) == name


@settings(max_examples=60)
@given(st.text(st.sampled_from("[]:*?/\\' xX\x00😀") | st.characters(), max_size=40))
def test_any_title_makes_names_of_sheets(title):
    assert len(workbook(written(ShortSheets, [Column("n")], [[1] * 4], title=title)).sheetnames) == 2


@pytest.mark.parametrize("processes", [1, 2])
def test_each_table_is_a_sheet_with_its_columns_and_styles(processes):
    file, counted = io.BytesIO(), Alterations()
    with XlsxWriter(file, PEOPLE, title="People", alterations=counted, processes=processes) as writer:
        writer.write([["Ada", "Bo\x00"], [date(1915, 1, 1), None]])
        writer.begin_table("Amounts", AMOUNTS)
        writer.write([[1000, 2], [None, "x"], [3, 4]])
        writer.write([[3], ["y"], [5]])
    people, amounts = workbook(file.getvalue())
    assert (people.title, [row[0] for row in people.values]) == ("People", ["Name", "Ada", "Bo"])
    assert (amounts.title, list(amounts.values)) == (
        "Amounts",
        [("Amount", "note", "a"), (1000, None, 3), (2, "x", 4), (3, "y", 5)],
    )
    assert (people["B2"].font.i, people["B2"].number_format, people["A2"].font.i) == (True, "yyyy-mm-dd", False)
    assert (amounts["A2"].number_format, amounts["C4"].font.b, amounts["A2"].font.b) == ("#,##0", True, False)
    assert (people.auto_filter.ref, amounts.auto_filter.ref) == ("A1:B3", "A1:C4")
    assert (people.dimensions, amounts.dimensions) == ("A1:B3", "A1:C4")
    assert (writer.rows, counted) == (5, {"control_removed": 2})


def test_tables_of_no_rows_have_their_headers():
    with XlsxWriter(file := io.BytesIO(), PEOPLE, title="People") as writer:
        writer.begin_table("Amounts", AMOUNTS)
    assert [list(sheet.values) for sheet in workbook(file.getvalue())] == [
        [("Name", "Born")],
        [("Amount", "note", "a")],
    ]


def test_tables_of_the_same_title_have_different_names():
    with ShortSheets(file := io.BytesIO(), PEOPLE, title="People") as writer:
        writer.write([["a"] * 4, [None] * 4])
        writer.begin_table("People", AMOUNTS)
    assert workbook(file.getvalue()).sheetnames == ["People", "People 2", "People 3"]


@pytest.mark.parametrize("processes", [1, 2])
def test_raw_columns_continue_on_the_next_sheet(processes):
    values = [str(number) for number in range(10)]
    batch = [RawColumn(values, "integer"), RawColumn([f"2013-01-{n + 1:02}" for n in range(10)], "date"), tuple(values)]
    columns = [Column("n"), Column("d"), Column("t")]
    book = workbook(written(ShortSheets, columns, batch, processes=processes))
    rows = [row for sheet in book for row in list(sheet.values)[1:]]
    assert [(number, day.day, text) for number, day, text in rows] == [(n, n + 1, str(n)) for n in range(10)]
    assert book.sheetnames == [f"Sheet {number}" for number in (1, 2, 3, 4)]


def test_the_design_hook_gets_each_sheet():
    def design(sheet: SheetDesign) -> None:
        rule = {"type": "no_blanks", "format": sheet.workbook.add_format({"bg_color": "red"})}
        sheet.worksheet.conditional_format(1, 0, sheet.rows, len(sheet.columns) - 1, rule)
        sheet.worksheet.add_table(0, 0, sheet.rows, 0, {"columns": [{"header": sheet.columns[0].label}]})

    with ShortSheets(file := io.BytesIO(), PEOPLE, title="People", design=design) as writer:
        writer.write([["a"] * 5, [None] * 5])
        writer.begin_table("Amounts", AMOUNTS)
        writer.write([[1], [2], [3]])
    book = workbook(file.getvalue())
    assert [[table.ref for table in sheet.tables.values()] for sheet in book] == [["A1:A4"], ["A1:A3"], ["A1:A2"]]
    ranges = [[str(each.sqref) for each in sheet.conditional_formatting] for sheet in book]
    assert ranges == [["A2:B4"], ["A2:B3"], ["A2:C2"]]


def test_a_table_of_too_many_columns_is_refused():
    with pytest.raises(TooManyColumns), XlsxWriter(io.BytesIO(), PEOPLE) as writer:
        writer.begin_table("Wide", [Column("a")] * 16_385)


def test_a_closed_file_takes_no_table():
    writer = XlsxWriter(io.BytesIO(), PEOPLE)
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.begin_table("Amounts", AMOUNTS)


@pytest.mark.slow
def test_a_sheet_holds_as_many_rows_as_excel_allows(tmp_path):
    rows, size = 1_048_577, 50_000
    with (tmp_path / "file.xlsx").open("wb") as file, XlsxWriter(file, [Column("n")], title="Numbers") as writer:
        for start in range(0, rows, size):
            writer.write([list(range(start, min(rows, start + size)))])
    book = python_calamine.load_workbook(tmp_path / "file.xlsx")
    first, second = (list(book.get_sheet_by_name(name).iter_rows()) for name in book.sheet_names)
    assert (len(first), len(second)) == (1_048_576, 3)
    assert first[1:] + second[1:] == [[number] for number in range(rows)]


def test_the_properties_of_the_workbook_have_its_title():
    content = written_xlsx([Column("a")], title="Flights <2013> & \x00more")
    assert workbook(content).properties.title == "Flights <2013> & more"
    book = workbook(written_xlsx([Column("a")], title="First", document="All of it"))
    assert (book.properties.title, book.sheetnames) == ("All of it", ["First"])


# Random values
