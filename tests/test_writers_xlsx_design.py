"""The styles of XLSX files, those of columns and those of an export's `design` hook, read back by openpyxl."""

import io
import re
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal

import pytest
import xlsxwriter
from openpyxl.worksheet.worksheet import Worksheet

from exports.exceptions import ExportError
from exports.tabular.columns import Column
from exports.tabular.writers import XlsxWriter
from exports.tabular.writers.xlsx import xlsxwriter_internals
from exports.tabular.writers.xlsx.workbook import SheetDesign
from tests.written import rows_by_calamine, workbook, written

COLUMNS = [Column("name", "Name", kind="text"), Column("amount", "Amount", kind="decimal"), Column("day", kind="date")]
ROWS = [["a", "b", None], [Decimal("1.5"), None, Decimal(3)], [date(2013, 1, 1), date(2013, 1, 2), None]]


def xlsx(columns=COLUMNS, batches=(ROWS,), design: Callable[[SheetDesign], None] | None = None, **given) -> bytes:
    return written(XlsxWriter, columns, *batches, design=design, **given)


def sheet_of(*given, **named) -> Worksheet:
    """Return the first sheet, which python-calamine opens too."""
    content = xlsx(*given, **named)
    sheet = workbook(content).worksheets[0]
    assert len(rows_by_calamine(content)) == sheet.max_row
    return sheet


# Columns


def test_a_column_has_its_style_on_cells_of_every_type():
    style = {"bold": True, "font_color": "#FF0000"}
    values = ["text", 1, 2.5, Decimal("1.5"), True, datetime(2013, 1, 1, 5), 10**12]
    sheet = sheet_of([Column("a", style=style), Column("b")], [[values, values]])
    assert [sheet.cell(row, 1).font.b for row in range(2, 9)] == [True] * 7
    assert {sheet.cell(row, 1).font.color.rgb for row in range(2, 9)} == {"FFFF0000"}
    assert [sheet.cell(row, 2).font.b for row in range(2, 9)] == [False] * 7
    formats = ["General"] * 5 + ["yyyy-mm-dd hh:mm:ss", "0"]
    assert [sheet.cell(row, 1).number_format for row in range(2, 9)] == formats
    assert [sheet.cell(row, 2).number_format for row in range(2, 9)] == formats


def test_a_style_may_hold_the_number_format():
    style, italic = {"num_format": "dd.mm.yy"}, {"italic": True}
    columns = [Column("a", kind="date", style=style), Column("b", format="0", style=style)]
    columns.append(Column("c", kind="decimal", format="0.000", style=italic))
    sheet = sheet_of(columns, [[[date(2013, 1, 1), "text"], [1, 2], [Decimal("1.5"), "text"]]])
    formats = [[cell.number_format for cell in row] for row in sheet["A2:C3"]]
    assert formats == [["dd.mm.yy", "0", "0.000"], ["General", "0", "General"]]
    assert [cell.font.i for cell in sheet[2]] == [False, False, True]


def test_headers_have_their_own_style():
    columns = [Column("a", header_style={"bg_color": "#00FF00"}), Column("b", header_style={"bold": False})]
    sheet = sheet_of(columns, [[[1], [2]]])
    assert (sheet["A1"].font.b, sheet["A1"].fill.fgColor.rgb) == (True, "FF00FF00")
    assert not sheet["B1"].font.b
    assert sheet["A2"].fill.fill_type is None


def test_an_unknown_style_is_refused_with_the_name_of_its_column():
    with pytest.raises(ValueError, match=r"Column 'Name' has a style .* no 'colour'"):
        xlsx([Column("a", "Name", style={"colour": "red"})])


def test_styles_are_the_same_with_two_processes():
    sheet = sheet_of([Column("a", style={"bold": True}, source=lambda row: row)], [[[1, 2]]], processes=2)
    assert [cell.font.b for cell in sheet["A"]] == [True, True, True]


# The hook


def test_the_hook_is_called_before_the_rows_and_after_them():
    seen = []
    xlsx(batches=[ROWS, ROWS], design=seen.append, title="Amounts")
    assert [(design.rows, design.title, design.columns) for design in seen] == [
        (1, "Amounts", COLUMNS),
        (6, "Amounts", COLUMNS),
    ]


def test_a_table_spans_the_rows_and_replaces_the_filter():
    def design(sheet: SheetDesign) -> None:
        columns = [{"header": column.label} for column in sheet.columns]
        sheet.worksheet.add_table(0, 0, sheet.rows, 2, {"name": "Amounts", "columns": columns})

    sheet = sheet_of(design=design)
    table = sheet.tables["Amounts"]
    assert (table.ref, table.autoFilter.ref, table.column_names) == ("A1:C4", "A1:C4", ["Name", "Amount", "day"])
    assert sheet.auto_filter.ref is None
    assert sheet.freeze_panes == "A2"
    assert [cell.value for cell in sheet["A"]] == ["Name", "a", "b", None]


def test_a_table_of_no_rows_has_one_because_excel_needs_it():
    sheet = sheet_of(batches=(), design=lambda sheet: sheet.worksheet.add_table(f"A1:C{1 + sheet.rows}"))
    assert [table.ref for table in sheet.tables.values()] == ["A1:C2"]


def test_a_table_may_have_a_million_rows():
    """XlsxWriter alone would visit each of its cells."""
    sheet = sheet_of(design=lambda sheet: sheet.worksheet.add_table(0, 0, 1_000_000, 2))
    assert [table.ref for table in sheet.tables.values()] == ["A1:C1000001"]


@pytest.mark.parametrize(("call", "message"), [
    (lambda worksheet: worksheet.add_table(0, 0, 3, 2, {"name": "two words"}), r"add_table\(0, 0, 3, 2, .*two words"),
    (lambda worksheet: worksheet.conditional_format("A2:A4", {"type": "colour"}), r"conditional_format\('A2:A4'"),
    (lambda worksheet: worksheet.set_column(20_000, 20_000, 5), r"set_column\(20000"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_xlsxwriter_refuses_is_an_error(call, message):
    with pytest.raises(ValueError, match=f"XlsxWriter refused {message}"):
        xlsx(design=lambda sheet: call(sheet.worksheet))


def table_of_labels(sheet: SheetDesign) -> None:
    columns = [{"header": column.label} for column in sheet.columns]
    sheet.worksheet.add_table(0, 0, sheet.rows, len(columns) - 1, {"columns": columns})


def test_the_labels_for_a_table_are_fitted_and_unique_as_are_the_cells():
    labels = ["Date", "date", "DATE 2", "a\r\nb", "a\nb", "\x00", "Date\x01"]
    columns = [Column(f"c{number}", label) for number, label in enumerate(labels)]
    content = xlsx(columns, [[[1]] * len(columns)], table_of_labels)
    [table] = workbook(content).active.tables.values()
    headers = ["Date", "date 2", "DATE 2 2", "a\nb", "a\nb 2", "Column", "Date 3"]
    assert [name.replace("_x000a_", "\n") for name in table.column_names] == headers
    assert rows_by_calamine(content)[0] == headers


def test_headers_stay_as_they_are_without_a_table():
    columns = [Column("a", "Date"), Column("b", "date")]
    assert [cell.value for cell in sheet_of(columns, [[[1], [2]]], lambda sheet: None)[1]] == ["Date", "date"]


@pytest.mark.parametrize("headers", [["Date", "date", "c"], ["a\r\nb", "b", "c"], ["a\x00", "b", "c"]])
def test_headers_that_make_excel_remove_the_table_are_an_error(headers):
    def design(sheet: SheetDesign) -> None:
        sheet.worksheet.add_table(0, 0, sheet.rows, 2, {"columns": [{"header": header} for header in headers]})

    with pytest.raises(ValueError, match=r"The header .* of a table occurs twice, or has characters"):
        xlsx(design=design)


def test_conditional_formats_and_validations_span_the_rows():
    def design(sheet: SheetDesign) -> None:
        red = sheet.workbook.add_format({"bg_color": "#FFC7CE"})
        rule = {"type": "cell", "criteria": ">", "value": 2, "format": red}
        sheet.worksheet.conditional_format(1, 1, sheet.rows, 1, rule)
        sheet.worksheet.data_validation(1, 0, sheet.rows, 0, {"validate": "list", "source": ["a", "b"]})

    sheet = sheet_of(design=design)
    [[conditional, [rule]]] = sheet.conditional_formatting._cf_rules.items()
    assert (str(conditional.sqref), rule.operator, rule.formula) == ("B2:B4", "greaterThan", ["2"])
    assert rule.dxf.fill.bgColor.rgb == "FFFFC7CE"
    [validation] = sheet.data_validations.dataValidation
    assert (str(validation.sqref), validation.formula1) == ("A2:A4", '"a,b"')


def test_the_hook_may_change_the_sheet():
    def design(sheet: SheetDesign) -> None:
        sheet.worksheet.set_default_row(24)
        sheet.worksheet.set_row(0, 30)
        sheet.worksheet.freeze_panes(1, 2)
        sheet.worksheet.set_column(2, 2, None, None, {"hidden": True})
        sheet.worksheet.set_tab_color("green")
        sheet.worksheet.set_landscape()
        sheet.worksheet.repeat_rows(0)
        sheet.worksheet.protect("secret", {"sort": True})
        sheet.worksheet.write_comment(0, 0, "The name")

    sheet = sheet_of(design=design)
    assert (sheet.sheet_format.defaultRowHeight, sheet.row_dimensions[1].height) == (24, 30)
    assert sheet.freeze_panes == "C2"
    assert sheet.column_dimensions["C"].hidden
    assert sheet.sheet_properties.tabColor.rgb == "FF008000"
    assert (sheet.page_setup.orientation, sheet.print_title_rows) == ("landscape", "$1:$1")
    assert (sheet.protection.sheet, sheet.protection.sort) == (True, False)
    assert sheet["A1"].comment.text == "The name"


def test_the_format_of_a_column_applies_to_cells_without_a_format():
    def design(sheet: SheetDesign) -> None:
        money = sheet.workbook.add_format({"num_format": "#,##0.00", "bold": True})
        sheet.worksheet.set_column(0, 1, 12, money)

    columns = [*COLUMNS[:2], Column("c", kind="integer"), Column("d", kind="decimal", format="0.0")]
    sheet = sheet_of(columns, [[["a", "b"], [Decimal("1.5"), Decimal(2)], [1, 2], [Decimal(3), None]]], design)
    assert [cell.number_format for cell in sheet[2]] == ["#,##0.00", "#,##0.00", "General", "0.0"]
    assert [cell.font.b for cell in sheet[3]] == [True, True, False, False]
    assert sheet.column_dimensions["A"].width == pytest.approx(12, abs=1)


def test_a_cell_with_a_format_keeps_it_in_a_formatted_column():
    def design(sheet: SheetDesign) -> None:
        sheet.worksheet.set_column(2, 2, None, sheet.workbook.add_format({"bold": True}))

    sheet = sheet_of(design=design)
    assert (sheet["C2"].number_format, sheet["C2"].font.b) == ("yyyy-mm-dd", False)


def test_a_merged_header_keeps_its_style():
    def design(sheet: SheetDesign) -> None:
        style = sheet.workbook.add_format({"italic": True, "align": "center"})
        sheet.worksheet.merge_range(0, 0, 0, 1, "Name and amount", style)

    sheet = workbook(xlsx(design=design)).active
    assert [str(merged) for merged in sheet.merged_cells.ranges] == ["A1:B1"]
    header = sheet["A1"]
    assert (header.value, header.font.i, header.alignment.horizontal) == ("Name and amount", True, "center")


def test_the_hook_may_set_the_properties_of_the_workbook():
    def design(sheet: SheetDesign) -> None:
        sheet.workbook.set_properties({"title": "Another", "author": "A. Author", "keywords": "k" * 50})
        sheet.workbook.set_custom_property("Checked", True)

    book = workbook(xlsx(design=design, title="Title"))
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

    sheet = sheet_of(design=design, title="Rows")
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
    book = workbook(file.getvalue())
    assert book.active.title == "Second"
    assert [bool(sheet.sheet_view.tabSelected) for sheet in book] == [False, True]


@pytest.mark.parametrize("misuse", [
    lambda sheet: sheet.worksheet.write(1, 0, "into a row"),
    lambda sheet: sheet.worksheet.write(50, 0, "below the rows"),
    lambda sheet: sheet.worksheet.write_blank(2, 9, None, sheet.workbook.add_format({"bold": True})),
    lambda sheet: sheet.worksheet.set_row(1, 40), lambda sheet: sheet.worksheet.set_row(30, 40),
    lambda sheet: sheet.worksheet.add_table(0, 0, 3, 0, {"total_row": True, "columns": [{"total_string": "T"}]}),
    lambda sheet: sheet.worksheet.add_table(0, 0, 9, 0, {"columns": [{"formula": "=1"}]}),
])  # fmt: skip
def test_a_hook_that_writes_below_the_header_is_refused(misuse):
    file = io.BytesIO()
    with pytest.raises(ValueError, match="below the header"):
        XlsxWriter(file, COLUMNS, design=misuse)


@pytest.mark.parametrize("change", [
    lambda sheet: sheet.worksheet.set_column(0, 0, 9, sheet.workbook.add_format({"italic": True})),
    lambda sheet: [sheet.worksheet.set_column(number, number, number) for number in range(50)],
    lambda sheet: sheet.workbook.set_properties({"comments": "x" * 1000}),
])  # fmt: skip
def test_a_hook_that_differs_after_the_rows_is_refused(change):
    calls = []

    def design(sheet: SheetDesign) -> None:
        calls.append(sheet)
        if len(calls) > 1:
            change(sheet)

    writer = XlsxWriter(io.BytesIO(), COLUMNS, design=design)
    writer.write(ROWS)
    with pytest.raises(ValueError, match="must do the same each time"):
        writer.close()


def test_data_bars_of_excel_2010_are_kept():
    bar = {"type": "data_bar", "bar_solid": True, "data_bar_2010": True}
    content = xlsx(design=lambda sheet: sheet.worksheet.conditional_format(1, 1, 3, 1, bar))
    assert len(rows_by_calamine(content)) == 4
    # openpyxl does not read them.
    assert b"<x14:dataBar " in zipfile.ZipFile(io.BytesIO(content)).read("xl/worksheets/sheet1.xml")


# Another XlsxWriter


@pytest.mark.parametrize("pattern", ["_ROW", "_DIMENSION", "_DEFAULT_HEIGHT", "_PROBES"])
def test_an_xlsxwriter_that_writes_other_xml_is_refused_by_its_version(pattern, monkeypatch):
    monkeypatch.setattr(xlsxwriter_internals, pattern, re.compile("<other/>"))
    monkeypatch.setattr("xlsxwriter.__version__", "9.8.7")
    with pytest.raises(ExportError, match=r"need XlsxWriter 3\.3\.1\. XlsxWriter 9\.8\.7") as raised:
        XlsxWriter(io.BytesIO(), COLUMNS)
    assert raised.value.code == "unsupported_library"


def test_the_installed_xlsxwriter_is_of_the_series_that_was_checked():
    checked = xlsxwriter_internals.CHECKED_VERSION.split(".")
    assert xlsxwriter.__version__.split(".")[:2] == checked[:2]
