"""Whatever XlsxWriter can style is in the file: by columns, and by an export's `design` hook. Read back by openpyxl."""

import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal

import openpyxl
import pytest
import python_calamine

from exports.tabular.columns import Column
from exports.tabular.writers import XlsxWriter
from exports.tabular.writers.xlsx.workbook import SheetDesign

COLUMNS = [Column("name", "Name", kind="text"), Column("amount", "Amount", kind="decimal"), Column("day", kind="date")]
ROWS = [["a", "b", None], [Decimal("1.5"), None, Decimal(3)], [date(2013, 1, 1), date(2013, 1, 2), None]]


def written(columns=COLUMNS, batches=(ROWS,), design: Callable[[SheetDesign], None] | None = None, **given):
    """The first sheet, which both readers must open."""
    file = io.BytesIO()
    with XlsxWriter(file, columns, design=design, **given) as writer:
        for batch in batches:
            writer.write(batch)
    file.seek(0)
    assert len(python_calamine.load_workbook(file).get_sheet_by_index(0).to_python()) == 1 + writer.rows
    return openpyxl.load_workbook(file).worksheets[0]


# Columns


def test_a_column_has_its_style_on_every_cell_whatever_its_type():
    style = {"bold": True, "font_color": "#FF0000"}
    values = ["text", 1, 2.5, Decimal("1.5"), True, datetime(2013, 1, 1, 5), 10**12]
    sheet = written([Column("a", style=style), Column("b")], [[values, values]])
    assert [sheet.cell(row, 1).font.b for row in range(2, 9)] == [True] * 7
    assert {sheet.cell(row, 1).font.color.rgb for row in range(2, 9)} == {"FFFF0000"}
    assert [sheet.cell(row, 2).font.b for row in range(2, 9)] == [False] * 7
    formats = ["General"] * 5 + ["yyyy-mm-dd hh:mm:ss", "0"]
    assert [sheet.cell(row, 1).number_format for row in range(2, 9)] == formats
    assert [sheet.cell(row, 2).number_format for row in range(2, 9)] == formats


def test_a_style_goes_with_the_format_of_its_column():
    sheet = written([Column("a", kind="decimal", format="0.000", style={"italic": True})], [[[Decimal("1.5"), "text"]]])
    assert [(cell.number_format, cell.font.i) for [cell] in sheet["A2:A3"]] == [("0.000", True), ("General", True)]


def test_the_number_format_of_a_style_is_that_of_a_column_without_one():
    style = {"num_format": "dd.mm.yy"}
    columns = [Column("a", kind="date", style=style), Column("b", format="0", style=style)]
    sheet = written(columns, [[[date(2013, 1, 1), "text"], [1, 2]]])
    assert [cell.number_format for cell in sheet["A"][1:]] == ["dd.mm.yy", "General"]
    assert sheet["B2"].number_format == "0"


def test_a_header_has_a_style_of_its_own():
    columns = [Column("a", header_style={"bg_color": "#00FF00"}), Column("b", header_style={"bold": False})]
    sheet = written(columns, [[[1], [2]]])
    assert (sheet["A1"].font.b, sheet["A1"].fill.fgColor.rgb) == (True, "FF00FF00")
    assert not sheet["B1"].font.b
    assert sheet["A2"].fill.fill_type is None


def test_a_style_that_xlsxwriter_does_not_know_is_refused_by_name():
    with pytest.raises(ValueError, match=r"Column 'Name' has a style .*set_colour"):
        written([Column("a", "Name", style={"colour": "red"})])


def test_columns_of_a_style_work_in_two_processes():
    sheet = written([Column("a", style={"bold": True}, source=lambda row: row)], [[[1, 2]]], processes=2)
    assert [cell.font.b for cell in sheet["A"]] == [True, True, True]


# The hook


def test_the_hook_is_called_before_the_rows_with_one_and_after_them_with_their_number():
    seen = []
    written(batches=[ROWS, ROWS], design=seen.append, title="Amounts")
    assert [(design.rows, design.title, design.columns) for design in seen] == [
        (1, "Amounts", COLUMNS),
        (6, "Amounts", COLUMNS),
    ]


def test_a_table_spans_the_rows_and_replaces_the_filter():
    def design(sheet: SheetDesign) -> None:
        columns = [{"header": column.label} for column in sheet.columns]
        sheet.worksheet.add_table(0, 0, sheet.rows, 2, {"name": "Amounts", "columns": columns})

    sheet = written(design=design)
    table = sheet.tables["Amounts"]
    assert (table.ref, table.autoFilter.ref, table.column_names) == ("A1:C4", "A1:C4", ["Name", "Amount", "day"])
    assert sheet.auto_filter.ref is None
    assert sheet.freeze_panes == "A2"
    assert [cell.value for cell in sheet["A"]] == ["Name", "a", "b", None]


def test_a_table_of_no_rows_has_the_one_that_excel_asks_for():
    sheet = written(batches=(), design=lambda sheet: sheet.worksheet.add_table(f"A1:C{1 + sheet.rows}"))
    assert [table.ref for table in sheet.tables.values()] == ["A1:C2"]


def test_a_table_of_a_million_rows_costs_nothing():
    """XlsxWriter alone would visit each of its cells."""
    sheet = written(design=lambda sheet: sheet.worksheet.add_table(0, 0, 1_000_000, 2))
    assert [table.ref for table in sheet.tables.values()] == ["A1:C1000001"]


def test_a_table_that_xlsxwriter_refuses_leaves_the_filter():
    def design(sheet: SheetDesign) -> None:
        with pytest.warns(UserWarning, match="cannot contain spaces"):
            sheet.worksheet.add_table(0, 0, sheet.rows, 2, {"name": "two words"})

    assert written(design=design).auto_filter.ref == "A1:C4"


def test_conditional_formats_and_validations_span_the_rows():
    def design(sheet: SheetDesign) -> None:
        red = sheet.workbook.add_format({"bg_color": "#FFC7CE"})
        rule = {"type": "cell", "criteria": ">", "value": 2, "format": red}
        sheet.worksheet.conditional_format(1, 1, sheet.rows, 1, rule)
        sheet.worksheet.data_validation(1, 0, sheet.rows, 0, {"validate": "list", "source": ["a", "b"]})

    sheet = written(design=design)
    [[conditional, [rule]]] = sheet.conditional_formatting._cf_rules.items()
    assert (str(conditional.sqref), rule.operator, rule.formula) == ("B2:B4", "greaterThan", ["2"])
    assert rule.dxf.fill.bgColor.rgb == "FFFFC7CE"
    [validation] = sheet.data_validations.dataValidation
    assert (str(validation.sqref), validation.formula1) == ("A2:A4", '"a,b"')


def test_the_look_of_the_sheet_is_the_hooks():
    def design(sheet: SheetDesign) -> None:
        sheet.worksheet.set_row(0, 30)
        sheet.worksheet.freeze_panes(1, 2)
        sheet.worksheet.set_column(2, 2, None, None, {"hidden": True})
        sheet.worksheet.set_tab_color("green")
        sheet.worksheet.set_landscape()
        sheet.worksheet.repeat_rows(0)
        sheet.worksheet.protect("secret", {"sort": True})
        sheet.worksheet.write_comment(0, 0, "The name")

    sheet = written(design=design)
    assert sheet.row_dimensions[1].height == 30
    assert sheet.freeze_panes == "C2"
    assert sheet.column_dimensions["C"].hidden
    assert sheet.sheet_properties.tabColor.rgb == "FF008000"
    assert (sheet.page_setup.orientation, sheet.print_title_rows) == ("landscape", "$1:$1")
    assert (sheet.protection.sheet, sheet.protection.sort) == (True, False)
    assert sheet["A1"].comment.text == "The name"


def test_the_format_that_a_hook_gives_a_column_is_that_of_its_cells_without_one_of_their_own():
    def design(sheet: SheetDesign) -> None:
        money = sheet.workbook.add_format({"num_format": "#,##0.00", "bold": True})
        sheet.worksheet.set_column(0, 1, 12, money)

    columns = [*COLUMNS[:2], Column("c", kind="integer"), Column("d", kind="decimal", format="0.0")]
    sheet = written(columns, [[["a", "b"], [Decimal("1.5"), Decimal(2)], [1, 2], [Decimal(3), None]]], design)
    assert [cell.number_format for cell in sheet[2]] == ["#,##0.00", "#,##0.00", "General", "0.0"]
    assert [cell.font.b for cell in sheet[3]] == [True, True, False, False]
    assert sheet.column_dimensions["A"].width == pytest.approx(12, abs=1)


def test_a_cell_with_a_format_of_its_own_keeps_it_in_a_column_that_a_hook_formats():
    def design(sheet: SheetDesign) -> None:
        sheet.worksheet.set_column(2, 2, None, sheet.workbook.add_format({"bold": True}))

    sheet = written(design=design)
    assert (sheet["C2"].number_format, sheet["C2"].font.b) == ("yyyy-mm-dd", False)


def test_a_merged_header_keeps_its_style():
    def design(sheet: SheetDesign) -> None:
        style = sheet.workbook.add_format({"italic": True, "align": "center"})
        sheet.worksheet.merge_range(0, 0, 0, 1, "Name and amount", style)

    file = io.BytesIO()
    with XlsxWriter(file, COLUMNS, design=design) as writer:
        writer.write(ROWS)
    sheet = openpyxl.load_workbook(file).active
    assert [str(merged) for merged in sheet.merged_cells.ranges] == ["A1:B1"]
    assert (sheet["A1"].value, sheet["A1"].font.i, sheet["A1"].alignment.horizontal) == (
        "Name and amount",
        True,
        "center",
    )


def test_a_default_row_height_is_for_all_rows():
    sheet = written(design=lambda sheet: sheet.worksheet.set_default_row(24))
    assert sheet.sheet_format.defaultRowHeight == 24


def test_properties_of_the_document_are_the_hooks():
    def design(sheet: SheetDesign) -> None:
        sheet.workbook.set_properties({"title": "Another", "author": "A. Author", "keywords": "k" * 50})
        sheet.workbook.set_custom_property("Checked", True)

    book = written(design=design, title="Title").parent
    assert (book.properties.title, book.properties.creator) == ("Another", "A. Author")
    assert book.custom_doc_props["Checked"].value is True


def test_the_hook_may_add_sheets_pictures_and_charts():
    def design(sheet: SheetDesign) -> None:
        notes = sheet.workbook.add_worksheet("Notes")
        notes.write_string(0, 0, "Read me")
        notes.write_formula(1, 0, f"=SUM('{sheet.worksheet.name}'!B2:B{sheet.rows + 1})")
        chart = sheet.workbook.add_chart({"type": "line"})
        chart.add_series({"values": [sheet.worksheet.name, 1, 1, sheet.rows, 1]})
        sheet.worksheet.insert_chart("F2", chart)

    sheet = written(design=design, title="Rows")
    assert sheet.parent.sheetnames == ["Rows", "Notes"]
    assert [cell.value for cell in sheet.parent["Notes"]["A"]] == ["Read me", "=SUM('Rows'!B2:B4)"]
    [chart] = sheet._charts
    assert chart.series[0].val.numRef.f == "Rows!$B$2:$B$4"
    assert sheet["B2"].value == 1.5


def test_the_hook_may_show_a_later_sheet_first():
    def design(sheet: SheetDesign) -> None:
        if sheet.title == "Second":
            sheet.worksheet.activate()

    file = io.BytesIO()
    with XlsxWriter(file, COLUMNS, design=design, title="First") as writer:
        writer.write(ROWS)
        writer.begin_table("Second", COLUMNS)
        writer.write(ROWS)
    book = openpyxl.load_workbook(file)
    assert book.active.title == "Second"
    assert [bool(sheet.sheet_view.tabSelected) for sheet in book] == [False, True]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda sheet: sheet.worksheet.write(1, 0, "into a row"),
        lambda sheet: sheet.worksheet.write(50, 0, "below the rows"),
        lambda sheet: sheet.worksheet.write_blank(2, 9, None, sheet.workbook.add_format({"bold": True})),
        lambda sheet: sheet.worksheet.set_row(1, 40),
        lambda sheet: sheet.worksheet.set_row(30, 40),
        lambda sheet: sheet.worksheet.add_table(0, 0, 3, 0, {"total_row": True, "columns": [{"total_string": "T"}]}),
        lambda sheet: sheet.worksheet.add_table(0, 0, 9, 0, {"columns": [{"formula": "=1"}]}),
    ],
)
def test_rows_below_the_header_are_not_the_hooks(misuse):
    file = io.BytesIO()
    with pytest.raises(ValueError, match="below the header"):
        XlsxWriter(file, COLUMNS, design=misuse)


@pytest.mark.parametrize(
    "change",
    [
        lambda sheet: sheet.worksheet.set_column(0, 0, 9, sheet.workbook.add_format({"italic": True})),
        lambda sheet: [sheet.worksheet.set_column(number, number, number) for number in range(50)],
        lambda sheet: sheet.workbook.set_properties({"comments": "x" * 1000}),
    ],
)
def test_a_hook_that_changes_its_mind_is_an_error(change):
    calls = []

    def design(sheet: SheetDesign) -> None:
        calls.append(sheet)
        if len(calls) > 1:
            change(sheet)

    writer = XlsxWriter(io.BytesIO(), COLUMNS, design=design)
    writer.write(ROWS)
    with pytest.raises(ValueError, match="must do the same each time"):
        writer.close()


def test_the_dimension_is_that_of_the_rows():
    file = io.BytesIO()
    with XlsxWriter(file, COLUMNS) as writer:
        writer.write(ROWS)
    assert b'<dimension ref="A1:C4"/>' in zipfile.ZipFile(file).read("xl/worksheets/sheet1.xml")
    with XlsxWriter(file := io.BytesIO(), COLUMNS[:1]):
        pass
    assert b'<dimension ref="A1"/>' in zipfile.ZipFile(file).read("xl/worksheets/sheet1.xml")


def test_data_bars_of_excel_2010_survive():
    bar = {"type": "data_bar", "bar_solid": True, "data_bar_2010": True}
    file = io.BytesIO()
    with XlsxWriter(file, COLUMNS, design=lambda sheet: sheet.worksheet.conditional_format(1, 1, 3, 1, bar)) as writer:
        writer.write(ROWS)
    file.seek(0)
    assert len(python_calamine.load_workbook(file).get_sheet_by_index(0).to_python()) == 4
    # openpyxl does not know them.
    assert b"<x14:dataBar " in zipfile.ZipFile(file).read("xl/worksheets/sheet1.xml")


def test_a_workbook_has_a_title_of_its_own_beside_those_of_its_sheets():
    file = io.BytesIO()
    with XlsxWriter(file, COLUMNS, title="First", document="All of it") as writer:
        writer.begin_table("Second", COLUMNS)
    book = openpyxl.load_workbook(file)
    assert (book.properties.title, book.sheetnames) == ("All of it", ["First", "Second"])
