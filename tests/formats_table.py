"""The table in docs/formats.md of what a person sees who opens a file in a spreadsheet.

`python -m tests.formats_table` writes it again.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from exports.tabular import writers
from exports.tabular.columns import Column
from tests import libreoffice, sheetjs

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "formats.md"
BEGIN: Final = "<!-- The table of `python -m tests.formats_table` -->\n"
END: Final = "<!-- The end of the table -->\n"
BERLIN: Final = ZoneInfo("Europe/Berlin")
GERMAN: Final = {"profile": "spreadsheet", "delimiter": ";", "decimal": ","}

MOMENT: Final = datetime(2024, 3, 5, 12, 30, 15, 250_000, UTC)
VALUES: Final[Sequence[tuple[str, Any, Mapping[str, Any]]]] = (
    ("text", "Zoë", {}),
    ("text of digits", "007", {}),
    ("text of a number", "-5", {}),
    ("text of a phone number", "+49 (30) 1234-56", {}),
    ("text of a formula", "=1+1", {}),
    ("text of two lines", "a\nb", {}),
    ('None, or `""`', None, {}),
    ("integer", -1234, {"kind": "integer"}),
    ("integer of 13 digits", 4006381333931, {"kind": "integer"}),
    ("integer of 17 digits", 12345678901234567, {"kind": "integer"}),
    ("decimal with 2 places", Decimal("1234.50"), {"kind": "decimal", "places": 2}),
    ("decimal of unknown places", Decimal("1234567890.125"), {"kind": "decimal"}),
    ("float", 0.1, {"kind": "float"}),
    ("large float", 214746263552.25, {"kind": "float"}),
    ("NaN", float("nan"), {"kind": "float"}),
    ("boolean", True, {"kind": "boolean"}),
    ("date", date(2024, 3, 5), {"kind": "date"}),
    ("aware datetime, of Berlin", MOMENT.replace(microsecond=0), {"kind": "datetime"}),
    ("aware datetime with a fraction", MOMENT, {"kind": "datetime"}),
    ("naive datetime", MOMENT.replace(tzinfo=None, microsecond=0), {"kind": "datetime"}),
    ("datetime before 1900", datetime(1875, 3, 5, 12, 30), {"kind": "datetime"}),
    ("time of day", time(13, 30), {"kind": "time"}),
    ("duration", timedelta(hours=26, minutes=5), {"kind": "duration"}),
    ("negative duration", -timedelta(hours=1), {"kind": "duration"}),
    ("UUID", UUID(int=7), {"kind": "uuid"}),
    ("bytes", b"\x01\xff", {}),
    ("list, JSON", [1, -2.5], {"kind": "json"}),
)
TYPES: Final = {"string": "text", "float": "number", "boolean": "yes or no"}
COLUMNS: Final = tuple(Column(f"c{number}", **given) for number, (_, _, given) in enumerate(VALUES))


def write(path: Path, format: str, options: Mapping[str, object]) -> None:
    """Write the values as one row."""
    with path.open("wb") as file, writers.get(format)(file, COLUMNS, options=options, zone=BERLIN) as writer:
        writer.write([[value] for _, value, _ in VALUES])


def by_libreoffice(path: Path, locale: str = "en-US", read_as: str | None = None) -> list[str]:
    """Return what the cell of each value is and shows."""
    [document] = libreoffice.convert([path], path.parent / path.stem, to="fods", read_as=read_as, locale=locale)
    [_header, cells] = libreoffice.displayed(document)
    return [f"{TYPES.get(kind, kind)} {code(text)}" if kind else "empty" for kind, text in cells]


def by_sheetjs(path: Path) -> list[str]:
    """Return what the cell of each value shows."""
    [[_header, cells]] = sheetjs.displayed(path)
    return [code(text) if text else "empty" for text in cells]


def code(text: str) -> str:
    return "`" + text.replace("\n", "\u23ce") + "`"


def table() -> str:
    """Return the table. Raises NotInstalled without LibreOffice or SheetJS."""
    with TemporaryDirectory() as folder:
        exchange, spreadsheet, workbook = (Path(folder) / name for name in ("programs.csv", "people.csv", "book.xlsx"))
        write(exchange, "csv", {})
        write(spreadsheet, "csv", GERMAN)
        write(workbook, "xlsx", {})
        english = libreoffice.csv_filter(",", quote='"', is_quoted_text=False)
        german = libreoffice.csv_filter(";", quote='"', is_quoted_text=False, language=libreoffice.GERMAN)
        columns = {
            "Value": [name for name, _, _ in VALUES],
            "CSV, LibreOffice": by_libreoffice(exchange, read_as=english),
            "CSV, SheetJS": by_sheetjs(exchange),
            "CSV for a German spreadsheet, LibreOffice": by_libreoffice(spreadsheet, "de-DE", german),
            "XLSX, LibreOffice": by_libreoffice(workbook),
            "XLSX, SheetJS": by_sheetjs(workbook),
        }
    rows = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def documented() -> str:
    """Return the table in the page."""
    return PAGE.read_text().split(BEGIN)[1].split(END)[0].strip("\n") + "\n"


def write_page() -> None:
    """Put the table into the page."""
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    write_page()
