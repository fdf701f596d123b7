"""Several sheets in one file: tables with columns of their own, and sheets that spill."""

import io
import zipfile
from datetime import date

import openpyxl
import pytest
import python_calamine

from exports.exceptions import TooManyColumns
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers import XlsxWriter
from exports.tabular.writers.xlsx.workbook import SheetDesign

PEOPLE = [Column("name", "Name", kind="text"), Column("born", "Born", kind="date", style={"italic": True})]
AMOUNTS = [
    Column("amount", "Amount", kind="integer", format="#,##0"),
    Column("note"),
    Column("a\x00", style={"bold": True}),
]


class ShortSheets(XlsxWriter):
    """As if Excel's sheets had four rows, one of them for the header."""

    max_rows = 4


def sheets(file: io.BytesIO) -> dict[str, list[tuple]]:
    """The rows of each sheet by its name, which both readers must agree on."""
    book = openpyxl.load_workbook(file)
    file.seek(0)
    assert python_calamine.load_workbook(file).sheet_names == book.sheetnames
    return {sheet.title: list(sheet.values) for sheet in book}


@pytest.mark.parametrize("processes", [1, 2])
def test_each_table_has_its_sheet_with_its_columns_and_styles(processes):
    file, counted = io.BytesIO(), Alterations()
    with XlsxWriter(file, PEOPLE, title="People", alterations=counted, processes=processes) as writer:
        writer.write([["Ada", "Bo\x00"], [date(1915, 1, 1), None]])
        writer.begin_table("Amounts", AMOUNTS)
        writer.write([[1000, 2], [None, "x"], [3, 4]])
        writer.write([[3], ["y"], [5]])
    found = sheets(file)
    assert [row[0] for row in found["People"]] == ["Name", "Ada", "Bo"]
    assert found["Amounts"] == [("Amount", "note", "a"), (1000, None, 3), (2, "x", 4), (3, "y", 5)]
    people, amounts = openpyxl.load_workbook(file)
    assert (people["B2"].font.i, people["B2"].number_format, people["A2"].font.i) == (True, "yyyy-mm-dd", False)
    assert (amounts["A2"].number_format, amounts["C4"].font.b, amounts["A2"].font.b) == ("#,##0", True, False)
    assert (people.auto_filter.ref, amounts.auto_filter.ref) == ("A1:B3", "A1:C4")
    assert (people.dimensions, amounts.dimensions) == ("A1:B3", "A1:C4")
    assert (writer.rows, counted) == (5, {"control_removed": 2})


def test_a_header_of_nothing_but_control_characters_is_empty():
    file = io.BytesIO()
    with XlsxWriter(file, [Column("\x00")]) as writer:
        writer.write([["a"]])
    assert sheets(file) == {"Sheet 1": [(None,), ("a",)]}


def test_tables_of_no_rows_have_their_headers():
    file = io.BytesIO()
    with XlsxWriter(file, PEOPLE, title="People") as writer:
        writer.begin_table("Amounts", AMOUNTS)
    assert sheets(file) == {"People": [("Name", "Born")], "Amounts": [("Amount", "note", "a")]}


def test_tables_of_one_title_have_names_that_differ():
    file = io.BytesIO()
    with ShortSheets(file, PEOPLE, title="People") as writer:
        writer.write([["a"] * 4, [None] * 4])
        writer.begin_table("People", AMOUNTS)
    assert list(sheets(file)) == ["People", "People 2", "People 3"]


@pytest.mark.parametrize("processes", [1, 2])
def test_texts_spill_as_values_do(processes):
    values = [str(number) for number in range(10)]
    batch = [RawColumn(values, "integer"), RawColumn([f"2013-01-{n + 1:02}" for n in range(10)], "date"), tuple(values)]
    file = io.BytesIO()
    with ShortSheets(file, [Column("n"), Column("d"), Column("t")], processes=processes) as writer:
        writer.write(batch)
    rows = [row for found in sheets(file).values() for row in found[1:]]
    assert [(number, day.day, text) for number, day, text in rows] == [(n, n + 1, str(n)) for n in range(10)]
    assert list(sheets(file)) == [f"Sheet {number}" for number in (1, 2, 3, 4)]


def test_the_hook_designs_each_sheet():
    def design(sheet: SheetDesign) -> None:
        red = sheet.workbook.add_format({"bg_color": "red"})
        rule = {"type": "no_blanks", "format": red}
        sheet.worksheet.conditional_format(1, 0, sheet.rows, len(sheet.columns) - 1, rule)
        sheet.worksheet.add_table(0, 0, sheet.rows, 0, {"columns": [{"header": sheet.columns[0].label}]})

    file = io.BytesIO()
    with ShortSheets(file, PEOPLE, title="People", design=design) as writer:
        writer.write([["a"] * 5, [None] * 5])
        writer.begin_table("Amounts", AMOUNTS)
        writer.write([[1], [2], [3]])
    book = openpyxl.load_workbook(file)
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


def test_the_parts_of_all_sheets_are_in_the_archive_once():
    file = io.BytesIO()
    with ShortSheets(file, PEOPLE) as writer:
        writer.write([["a"] * 20, [None] * 20])
    names = zipfile.ZipFile(file).namelist()
    assert len(names) == len(set(names))
    assert sum(name.startswith("xl/worksheets/sheet") for name in names) == 7


@pytest.mark.slow
def test_a_sheet_is_full_where_excel_s_are(tmp_path):
    rows, size = 1_048_577, 50_000
    with (tmp_path / "file.xlsx").open("wb") as file, XlsxWriter(file, [Column("n")], title="Numbers") as writer:
        for start in range(0, rows, size):
            writer.write([list(range(start, min(rows, start + size)))])
    book = python_calamine.load_workbook(tmp_path / "file.xlsx")
    first, second = (list(book.get_sheet_by_name(name).iter_rows()) for name in book.sheet_names)
    assert (len(first), len(second)) == (1_048_576, 3)
    found = first[1:] + second[1:]
    assert found == [[number] for number in range(rows)]
