"""Files as LibreOffice opens them: no hostile cell is a formula, whatever it is split at; every value of a workbook is
the one that was written.

Where LibreOffice is missing these tests fail: bin/test all installs it.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from python_calamine import CalamineWorkbook

from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.writers.xlsx.workbook import SheetDesign
from tests import hostile
from tests.libreoffice import cell_count, converted, csv_filter, formulas

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
    """The cells by each separator, in as few quotes as our files have them, in quotes all of them, and unguarded."""
    made = {}
    for separator, name in SEPARATORS.items():
        written = text_of(cells, separator, "escape")
        made[f"{name}"] = written
        made[f"{name}-quoted"] = quoted(written, separator)
        made[f"{name}-raw"] = text_of(cells, separator, "raw")
    paths = {name: folder / f"{name}.csv" for name in made}
    for name, content in made.items():
        paths[name].write_bytes(content)
    return paths


def text_of(cells: Sequence[str], separator: str, formulas: str) -> bytes:
    options = {"delimiter": separator, "formulas": formulas}
    return written("csv", cells, options)


def written(format: str, cells: Sequence[str], options: Mapping[str, object] | None = None) -> bytes:
    """The cells as a table, hostile headers included."""
    file = io.BytesIO()
    columns = [Column(f"c{number}", header) for number, header in enumerate(cells[-WIDE:])]
    with writers.get(format)(file, columns, options=options) as writer:
        writer.write([cells[start::WIDE] for start in range(WIDE)])
    return file.getvalue()


def quoted(content: bytes, separator: str) -> bytes:
    """The same table as a tool writes it that puts every field into quotes."""
    rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator)
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, quoting=csv.QUOTE_ALL).writerows(rows)
    return file.getvalue().encode("utf-8-sig")


# Text. It is read as it was meant, split at another separator, and by a program that knows of no quotes.


@pytest.mark.parametrize("read_at", SEPARATORS, ids=SEPARATORS.values())
@pytest.mark.parametrize("quoting", [QUOTED, QUOTED_AS_TEXT, NO_QUOTES], ids=["quotes", "text in quotes", "no quotes"])
def test_no_hostile_cell_is_a_formula_and_without_the_guard_many_are(
    texts: dict[str, Path], folder: Path, read_at: str, quoting: tuple[str, bool]
):
    names = [name for name in texts if not name.endswith("-raw") and (quoting == QUOTED or "quoted" not in name)]
    if quoting == NO_QUOTES and read_at == ",":
        # Text between commas is in quotes where it has some. Without them it is torn at every comma of every text.
        names.remove("comma")
    names += [f"{SEPARATORS[read_at]}-raw"] if quoting == QUOTED else []
    into = folder / f"{SEPARATORS[read_at]}-{len(quoting[0])}-{quoting[1]}"
    read_as = csv_filter(read_at, quote=quoting[0], is_quoted_text=quoting[1])
    made = dict(zip(names, converted([texts[name] for name in names], into, to="fods", read_as=read_as), strict=True))
    assert min(map(cell_count, made.values())) > CELLS / 3
    if quoting == QUOTED:
        # That this very reading finds formulas where there are some.
        assert len(formulas(made.pop(f"{SEPARATORS[read_at]}-raw"))) > 80
    assert {name: formulas(document) for name, document in made.items()} == {name: [] for name in made}


# Workbooks


def test_hostile_cells_of_a_workbook_are_texts_and_equal(cells: Sequence[str], folder: Path):
    ours = folder / "hostile.xlsx"
    ours.write_bytes(written("xlsx", cells))
    [flat] = converted([ours], folder / "workbook", to="fods")
    assert formulas(flat) == []
    [theirs] = converted([ours], folder / "workbook", to="xlsx")
    given = [sheet_text(cell) for cell in cells]
    assert texts_in(theirs) == [[sheet_text(cell) for cell in cells[-WIDE:]]] + [
        given[start : start + WIDE] for start in range(0, CELLS, WIDE)
    ]


def sheet_text(text: str) -> str | None:
    """What a sheet can hold of a text: no control characters, one kind of line break, no half of a surrogate pair."""
    kept = text.replace("\r\n", "\n").replace("\r", "\n")
    kept = "".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in kept)
    return "".join(each for each in kept if is_kept(each)) or None


def is_kept(character: str) -> bool:
    return character in "\t\n" or not (character < " " or character in "\x7f\ufffe\uffff")


def texts_in(workbook: Path) -> list[list[Any]]:
    sheet = openpyxl.load_workbook(workbook).active
    assert "f" not in {cell.data_type for row in sheet.iter_rows() for cell in row}
    return [list(row) for row in sheet.iter_rows(values_only=True)]


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
    # Never midnight, which readers take for a date without a time.
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


def test_every_value_of_a_large_styled_workbook_of_several_sheets_is_equal(folder: Path):
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
    [theirs] = converted([path], folder / "large", to="xlsx")
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
