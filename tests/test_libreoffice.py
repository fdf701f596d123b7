"""Files opened in LibreOffice: no hostile text is a formula, and every value of a workbook is the one that was written.

These tests fail if LibreOffice is not installed.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from python_calamine import CalamineWorkbook

from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.writers.xlsx.workbook import SheetDesign
from tests import hostile
from tests.libreoffice import ENGLISH, FIXED_WIDTH, GERMAN, cell_count, convert, csv_filter, displayed, formulas
from tests.reference.cells import sheet_text
from tests.test_writers_xlsx_display import VALUES

pytestmark = pytest.mark.slow

CELLS = 10_000
WIDE = 10
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
QUOTED, QUOTED_AS_TEXT, NO_QUOTES = ('"', False), ('"', True), ("", False)


@pytest.fixture(scope="module")
def cells() -> list[str]:
    print(f"hostile cells by the seed {hostile.SEED}")
    return hostile.cells(CELLS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("libreoffice")


@pytest.fixture(scope="module")
def texts(cells: Sequence[str], folder: Path) -> dict[str, Path]:
    """Write the cells with each delimiter: as CsvWriter does, with quotes around every field, and not escaped."""
    contents = {}
    for separator, name in SEPARATORS.items():
        escaped = written("csv", cells, {"delimiter": separator})
        contents[name] = escaped
        contents[f"{name}-quoted"] = quoted(escaped, separator)
        contents[f"{name}-raw"] = written("csv", cells, {"delimiter": separator, "formulas": "raw"})
    paths = {name: folder / f"{name}.csv" for name in contents}
    for name, content in contents.items():
        paths[name].write_bytes(content)
    return paths


def written(format: str, cells: Sequence[str], options: Mapping[str, object] | None = None) -> bytes:
    """Return a file with the cells as a table, which has hostile headers too."""
    file = io.BytesIO()
    columns = [Column(f"c{number}", header) for number, header in enumerate(cells[-WIDE:])]
    with writers.get(format)(file, columns, options=options) as writer:
        writer.write([cells[start::WIDE] for start in range(WIDE)])
    return file.getvalue()


def quoted(content: bytes, separator: str) -> bytes:
    """Return the same table as written by a tool that puts every field into quotes."""
    rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator)
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL).writerows(rows)
    return file.getvalue().encode("utf-8-sig")


# LibreOffice's dialog splits at all three, unless the user changes that.
@pytest.mark.parametrize("read_at", [*SEPARATORS, ",;\t"], ids=[*SEPARATORS.values(), "all"])
@pytest.mark.parametrize("quoting", [QUOTED, QUOTED_AS_TEXT, NO_QUOTES], ids=["quotes", "text in quotes", "no quotes"])
def test_no_hostile_text_is_a_formula_if_the_reader_splits_at_a_comma_semicolon_or_tab(
    texts: dict[str, Path], folder: Path, read_at: str, quoting: tuple[str, bool]
):
    names = [name for name in texts if not name.endswith("-raw") and (quoting == QUOTED or "quoted" not in name)]
    if quoting == NO_QUOTES and "," in read_at:
        # Texts with commas are in quotes; a reader without quotes would split them at every comma.
        names.remove("comma")
    raw = f"{SEPARATORS[read_at[0]]}-raw"
    names += [raw] if quoting == QUOTED else []
    into = folder / f"{len(read_at)}-{SEPARATORS[read_at[0]]}-{len(quoting[0])}-{quoting[1]}"
    read_as = csv_filter(read_at, quote=quoting[0], is_quoted_text=quoting[1])
    made = dict(zip(names, convert([texts[name] for name in names], into, to="fods", read_as=read_as), strict=True))
    assert min(map(cell_count, made.values())) > CELLS / 3
    if quoting == QUOTED:
        # Check that this way of reading finds formulas in texts that are not escaped.
        assert len(formulas(made.pop(raw))) > 80
    assert {name: formulas(document) for name, document in made.items()} == {name: [] for name in made}


@pytest.mark.parametrize("read_at", " |:/")
def test_a_reader_who_splits_at_another_character_may_find_a_formula(tmp_path: Path, read_at: str):
    # docs/formats.md says so: the guard cannot hold at every character that the dialog of an import offers.
    path = tmp_path / "other.csv"
    path.write_bytes(written("csv", [f"x{read_at}=1+1"] * WIDE))
    read_as = csv_filter(read_at, quote='"', is_quoted_text=False)
    [document] = convert([path], tmp_path / "made", to="fods", read_as=read_as)
    assert formulas(document)[0].startswith(b"of:=1+1")


def test_hostile_texts_in_a_workbook_stay_text(cells: Sequence[str], folder: Path):
    ours = folder / "hostile.xlsx"
    ours.write_bytes(written("xlsx", cells))
    [flat] = convert([ours], folder / "workbook", to="fods")
    assert formulas(flat) == []
    [theirs] = convert([ours], folder / "workbook", to="xlsx")
    expected = [sheet_text(cell)[0] for cell in (*cells[-WIDE:], *cells)]
    assert texts_in(theirs) == [expected[start : start + WIDE] for start in range(0, CELLS + WIDE, WIDE)]


def texts_in(workbook: Path) -> list[list[Any]]:
    sheet = openpyxl.load_workbook(workbook).active
    assert "f" not in {cell.data_type for row in sheet.iter_rows() for cell in row}
    return [list(row) for row in sheet.iter_rows(values_only=True)]


PEOPLE = ["float", "float", "date", "date", "time", "time", "float"]


@pytest.mark.parametrize(
    ("language", "options", "types"),
    [
        (ENGLISH, {"profile": "spreadsheet", "delimiter": ",", "decimal": "."}, PEOPLE),
        (GERMAN, {"profile": "spreadsheet", "delimiter": ";", "decimal": ","}, PEOPLE),
        # What the profile is there for.
        (GERMAN, {"delimiter": ";"}, ["string", "string", "string", "date", "string", "string", "float"]),
    ],
    ids=["English", "German", "exchange"],
)
def test_a_csv_for_a_spreadsheet_has_numbers_dates_and_times(
    tmp_path: Path, language: int, options: dict[str, str], types: list[str]
):
    values = [Decimal("-1234.50"), 0.25, datetime(2024, 3, 5, 12, 30, 0, 5, UTC), date(2024, 3, 5), time(13, 30, 0, 5)]
    values += [timedelta(hours=26, milliseconds=500), 7]
    path = tmp_path / "people.csv"
    columns = [Column(f"c{number}") for number in range(len(values))]
    with (
        path.open("wb") as file,
        writers.get("csv")(file, columns, options=options, zone=ZoneInfo("Europe/Berlin")) as writer,
    ):
        writer.write([[value] for value in values])
    read_as = csv_filter(options["delimiter"], quote='"', is_quoted_text=False, language=language)
    [document] = convert([path], tmp_path / "made", to="fods", read_as=read_as)
    [_, cells] = displayed(document)
    assert [kind for kind, _ in cells] == types
    if types == PEOPLE:
        assert [text for _, text in cells[:3]] == ["-1234.5", "0.25", "2024-03-05 13:30:00"]


@pytest.mark.parametrize("width", [None, 1])
def test_numbers_and_dates_fit_their_columns(tmp_path: Path, width: float | None):
    columns = [
        Column(f"c{number}", kind=kind, format=format, width=width)
        for number, (_, kind, format, _) in enumerate(VALUES)
    ]
    columns += [Column("narrow", kind="date")]
    columns += [Column("bold", kind="integer", style={"bold": True, "font_size": 24})]

    def design(sheet: SheetDesign) -> None:
        sheet.worksheet.set_column(len(VALUES), len(VALUES), 5)

    path = tmp_path / "wide.xlsx"
    with path.open("wb") as file, writers.get("xlsx")(file, columns, design=design) as writer:
        writer.write([*([value] for value, *_ in VALUES), [date(2013, 1, 1)], [123_456_789]])
    [made] = convert([path], tmp_path / "made", to=FIXED_WIDTH)
    [_, cells] = made.read_text().splitlines()
    # Only where a hook makes a column too narrow.
    assert cells.count("###") == 1
    assert "1234567890.12" in cells


LARGE = 100_500
COLUMNS = [
    Column("number", "Number", kind="integer"),
    Column("price", "Price", kind="decimal", places=2, width=14),
    Column("ratio", "Ratio", kind="float"),
    Column("day", "Day", kind="date"),
    Column("at", "At", kind="datetime"),
    Column("opens", "Opens", kind="time"),
    Column("note", "Note", kind="text"),
    Column("paid", "Paid", kind="boolean"),
]


def row_of(number: int) -> tuple[Any, ...]:
    # Never midnight, which readers return as a date.
    seconds = timedelta(seconds=3 * number + 1)
    return (
        number * 7919,
        Decimal(number) / 100,
        number / 7,
        date(2013, 1, 1) + timedelta(days=number % 3000),
        datetime(2013, 1, 1) + seconds,
        (datetime(2013, 1, 1) + seconds).time(),
        f"=note {number} & <more> \u00e9" if number % 3 else None,
        number % 2 == 0,
    )


def style(sheet: SheetDesign) -> None:
    sheet.worksheet.conditional_format("A2:A50", {"type": "data_bar"})
    sheet.worksheet.set_tab_color("green")


def test_a_large_workbook_with_styles_and_several_sheets_keeps_every_value(folder: Path):
    path = folder / "large.xlsx"
    sizes = {"Large": LARGE, "Small": 50, "Empty": 0}
    with path.open("wb") as file:
        writer = writers.get("xlsx")(file, COLUMNS, title="Large", design=style)
        for name, rows in sizes.items():
            if name != "Large":
                writer.begin_table(name, COLUMNS)
            for start in range(0, rows, 2000):
                writer.write(list(zip(*map(row_of, range(start, min(start + 2000, rows))), strict=True)))
        writer.close()
    [theirs] = convert([path], folder / "large", to="xlsx")
    workbook = CalamineWorkbook.from_path(theirs)
    assert workbook.sheet_names == list(sizes)
    for name, rows in sizes.items():
        header, *found = workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
        assert header == [column.label for column in COLUMNS]
        assert len(found) == rows
        different = [(number, row) for number, row in enumerate(found) if not is_same(row, row_of(number))]
        assert different == []


def is_same(read: Sequence[Any], given: Sequence[Any]) -> bool:
    return all(map(is_same_value, read, given))


def is_same_value(read: Any, given: Any) -> bool:
    if isinstance(given, datetime):
        return abs(read - given) < timedelta(milliseconds=1)
    if isinstance(given, Decimal | float):
        return abs(float(read) - float(given)) <= 1e-14 * abs(float(given))
    return read == (given if given is not None else "")
