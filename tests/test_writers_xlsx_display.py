"""What a reader of an XLSX file sees: the text of each cell by SheetJS, in a column that is wide enough for it."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers import XlsxWriter
from tests.sheetjs import displayed
from tests.written import widths_of, written

MANY_NUMBERS = [0, 7, -1, 0.5, -0.25, 1234.5678, -99999.999, 123456789, -12345678901, 0.999, 1e9, 31.6]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.xlsx"


def shown(path: Path, columns: Sequence[Column], batch: Sequence, **given) -> list[list[str]]:
    """Return the texts of the cells below the header. Each has to fit its column."""
    path.write_bytes(content := written(XlsxWriter, columns, batch, **given))
    rows = displayed(path)[0][1:]
    for row in rows:
        for text, width, column in zip(row, widths_of(content), columns, strict=True):
            assert len(text) <= width, (column, text, width)
    return rows


VALUES = [
    (4006381333931, "integer", "", "4006381333931"), (Decimal("1234567890.12"), "decimal", "0.00", "1234567890.12"),
    (datetime(2013, 1, 2, 3, 4, 5), "", "", "2013-01-02 03:04:05"), (True, "", "", "TRUE"),
    (datetime(2013, 1, 1, 23, 59, 59, 999_999), "", "", "2013-01-01 23:59:59.999"),
    (time(23, 59, 59, 999_999), "", "", "23:59:59.999"), (timedelta(hours=99, milliseconds=1), "", "", "99:00:00.001"),
    (214746263552.25, "float", "", "214746263552.25"), (-123456789012.0, "float", "", "-123456789012"),
    (Decimal("214746263552.25"), "", "", "214746263552.25"), (Decimal("1234567890.50"), "", "", "1234567890.50"),
    (Decimal("-123456789012"), "decimal", "", "-123456789012"), (Decimal("0.1234567890123"), "", "", "0.1234567890123"),
    (1e20, "float", "", "1E+20"), (Decimal("1E-300"), "", "", "1E-300"), (date(2013, 1, 2), "", "", "2013-01-02"),
    (1234.5, "float", "#,##0.00", "1,234.50"), (Decimal("99.999"), "decimal", "0.00", "100.00"),
]  # fmt: skip


@pytest.mark.parametrize("width", [None, 1])
def test_values_are_shown_in_full(width, path):
    columns = [Column("x", kind=kind, format=format, width=width) for _, kind, format, _ in VALUES]
    assert shown(path, columns, [[value] for value, *_ in VALUES]) == [[text for *_, text in VALUES]]


def test_a_column_of_large_and_small_numbers_shows_each_of_them(path):
    floats = [1.5, 214746263552.25, 1e-9, None, -1e11, 1e300]
    decimals = [None if value is None else Decimal(repr(value)) for value in floats]
    rows = shown(path, list(map(Column, "fdm")), [floats, decimals, [1, 10**12, None, "x", 2.5, -3]])
    assert [row[0] for row in rows] == ["1.5", "214746263552.25", "0.000000001", "", "-100000000000", "1E+300"]
    assert [row[1] for row in rows] == ["1.5", "214746263552.25", "0.000000001", "", "-100000000000", "1E+300"]
    assert [row[2] for row in rows] == ["1", "1000000000000", "", "x", "2.5", "-3"]


@pytest.mark.parametrize("kind", ["float", "decimal"])
def test_numbers_fit_their_columns_whatever_the_format(kind, path):
    formats = ["0", "0.00", "#,##0.00", "0.0%", "0.00E+00", "[$€-407] #,##0.00", '#,##0.00" EUR"', "# ?/?", "000000"]
    formats += ["_-* #,##0.00 €_-;-* #,##0.00 €_-", "[Red]0.0;[Blue](0.0)", '"No. "0', r"0\ kg", "0;-0;;@"]
    # Each number has its column, or the others would widen it.
    columns = [Column("x", format=format, kind=kind, width=1) for format in formats for _ in MANY_NUMBERS]
    numbers = MANY_NUMBERS if kind == "float" else [Decimal(str(number)) for number in MANY_NUMBERS]
    [texts] = shown(path, columns, [[number] for _ in formats for number in numbers])
    assert texts[5 * len(numbers) + 7] == "€ 123,456,789.00"


def test_dates_fit_their_columns_whatever_the_format(path):
    formats = [
        "dd/mm/yyyy hh:mm",
        "d mmmm yyyy",
        "ddd dd mmm yy",
        "h:mm:ss AM/PM",
        "yyyy-mm-dd hh:mm:ss.000",
        "mmmmm",
        "0",
    ]
    columns = [Column("x", format=format, kind="datetime", width=1) for format in formats]
    rows = shown(path, columns, [[datetime(2013, month, 25, 23, 59, 59) for month in range(1, 13)]] * len(formats))
    assert rows[8][1] == "25 September 2013"


@pytest.mark.parametrize("as_text", [False, True])
def test_moments_are_rounded_down_to_milliseconds_and_counted(as_text, path):
    moments = [datetime(2013, 1, 1, 23, 59, 59, micro) for micro in (999_999, 999_000, 0, 1)] + [datetime(9999, 12, 31)]
    clocks = [moment.time() for moment in moments]
    batch = [moments, clocks]
    if as_text:
        batch = [RawColumn(map(str, moments), "datetime"), RawColumn(map(str, clocks), "time")]
    rows = shown(path, [Column("a"), Column("b")], batch, alterations=(counted := Alterations()))
    assert [row[0][11:] for row in rows[:4]] == ["23:59:59.999", "23:59:59.999", "23:59:59.000", "23:59:59.000"]
    assert [row[0][:10] for row in rows] == ["2013-01-01"] * 4 + ["9999-12-31"]
    assert [row[1] for row in rows] == ["23:59:59.999", "23:59:59.999", "23:59:59.000", "23:59:59.000", "00:00:00.000"]
    assert counted == {"fraction_cut": 4}


def test_the_hour_that_is_repeated_is_counted_with_its_offsets(path):
    values = [datetime(2024, 10, 27, hour, 30, tzinfo=UTC) for hour in (0, 1, 2)]
    rows = shown(path, [Column("a")], [values], zone=ZoneInfo("Europe/Berlin"), alterations=(counted := Alterations()))
    assert [text for [text] in rows] == ["2024-10-27 02:30:00", "2024-10-27 02:30:00", "2024-10-27 03:30:00"]
    assert counted == {"hour_repeated +02:00": 1, "hour_repeated +01:00": 1}
