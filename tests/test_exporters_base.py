"""Options of an export: how rows are counted, processes, workbook design."""

import multiprocessing
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.db import connection

from exports import storage
from exports.exporters import Column, QuerySetExport
from exports.exporters.base import table_of, write_now
from exports.exporters.sheets import Total, sum_of
from exports.models import FileRequest, Status
from exports.models.progress import Snapshot
from exports.tabular.readers import querysets
from exports.tabular.writers.xlsx.workbook import SheetDesign
from exports.worker import loop, runner
from tests.shop.exports import registered
from tests.shop.models import Order
from tests.shop.requests import queued
from tests.shop.runs import configure, use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

ORDERS = 12


@pytest.fixture(autouse=True)
def folders(settings: Any, tmp_path: Path) -> None:
    use_folders(settings, tmp_path)
    configure(settings, BATCH_ROWS=5)
    Order.objects.bulk_create(Order(number=f"N{number}", quantity=number % 7) for number in range(ORDERS))


class NumbersExport(QuerySetExport):
    """The numbers of all orders. `look` is called for each row."""

    file_type = "numbers"
    title = "Numbers"

    def get_columns(self, user: Any, criteria: Any) -> list[Column]:
        return [Column("number"), Column("quantity"), Column("look", source=self.look)]

    def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> Any:
        return Order.objects.order_by("pk")

    def look(self, order: Order) -> None:
        return None


def made(exporter: type[QuerySetExport], **columns: Any) -> FileRequest:
    with registered(exporter):
        export = queued(file_type=exporter.file_type, **columns)
        assert loop.dispatch(export.pk)
    return FileRequest.objects.get(pk=export.pk)


def content_of(export: FileRequest) -> bytes:
    with storage.open_file(export.filehandle.name) as file:
        return file.read()


def watched(count: str) -> tuple[FileRequest, list[Snapshot]]:
    """A run that counts in this way, and what it knew at each row."""
    seen: list[Snapshot] = []

    class Watched(NumbersExport):
        def look(self, order: Order) -> None:
            seen.append(runner.current(FileRequest.objects.get()).progress.now)

    return made(type("Counting", (Watched,), {"count": count})), seen


# Counting


@pytest.mark.parametrize(("count", "total"), [("exact", ORDERS), ("none", None)])
def test_rows_are_counted_or_not_before_they_are_read(count: str, total: int | None) -> None:
    export, seen = watched(count)

    assert {(now.rows_total, now.rows_estimated) for now in seen} == {(total, False)}
    assert (export.receipt["rows_asked"], export.receipt["rows"]) == (total, ORDERS)
    assert (export.rows_total, export.rows_estimated) == (ORDERS, False)


def test_an_estimate_is_shown_as_total_but_not_in_the_receipt() -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE shop_order")
    estimate = querysets.estimate(Order.objects.order_by("pk"))

    export, seen = watched("estimate")

    assert export.status == Status.READY
    expected = (ORDERS, False) if estimate is None else (estimate, True)
    assert (seen[0].rows_total, seen[0].rows_estimated) == expected
    assert export.receipt["rows_asked"] == (ORDERS if estimate is None else None)
    assert (export.rows_done, export.rows_total, export.rows_estimated) == (ORDERS, ORDERS, False)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite estimates nothing")
def test_the_total_disappears_when_the_rows_pass_the_estimate() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE shop_order")
        cursor.execute("UPDATE pg_class SET reltuples = 1, relpages = 1000 WHERE relname = 'shop_order'")

    _, seen = watched("estimate")

    totals = [now.rows_total for now in seen]
    assert totals[0] < ORDERS
    assert totals[-1] is None


def test_totals_of_several_sheets_are_added() -> None:
    assert sum_of([Total(2), Total(3)]) == Total(5)
    assert sum_of([Total(2), Total(3, is_estimate=True)]) == Total(5, is_estimate=True)
    assert sum_of([Total(2), Total(3, is_estimate=True), Total()]) == Total()


# Processes


@pytest.mark.parametrize(("asked", "allowed", "expected"), [(1, None, 0), (2, 2, 2), (3, 1, 0)])
def test_an_export_uses_its_processes_up_to_the_limit(
    settings: Any, asked: int, allowed: int | None, expected: int
) -> None:
    configure(settings, MAX_PROCESSES=allowed)
    before = made(NumbersExport)
    alive: list[int] = []

    class Parallel(NumbersExport):
        processes = asked

        def look(self, order: Order) -> None:
            alive.append(len(multiprocessing.active_children()))

    export = made(Parallel)

    assert max(alive) == expected
    assert content_of(export) == content_of(before)
    assert multiprocessing.active_children() == []


def test_in_a_process_that_may_have_no_children_an_export_uses_one(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(settings, MAX_PROCESSES=2)
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    made(type("Parallel", (NumbersExport,), {"processes": 2}))


@pytest.mark.parametrize("format", ["csv", "xlsx"])
def test_processes_write_the_same_file_without_a_run(settings: Any, format: str) -> None:
    configure(settings, MAX_PROCESSES=2, DEFLATE_ENGINE="zlib")
    files = []
    for processes in (1, 2):
        file = BytesIO()
        with table_of(Order.objects.order_by("pk"), [Column("number"), Column("quantity")]) as table:
            write_now(table, file, format=format, options={}, title="Numbers", processes=processes)
        files.append(cells_of(file) if format == "xlsx" else file.getvalue())
    assert files[0] == files[1]
    assert len(files[0]) > ORDERS


def cells_of(file: BytesIO) -> list[tuple[Any, ...]]:
    return list(openpyxl.load_workbook(file).active.values)


# Workbooks


class DesignedExport(NumbersExport):
    def design(self, sheet: SheetDesign) -> None:
        last = len(sheet.columns) - 1
        sheet.worksheet.add_table(
            0, 0, sheet.rows, last, {"columns": [{"header": each.label} for each in sheet.columns]}
        )
        sheet.worksheet.set_tab_color("#1f62d6")


def test_design_styles_sheets_with_xlsxwriters_api() -> None:
    designed, plain = (
        openpyxl.load_workbook(BytesIO(content_of(made(export, format="xlsx")))).active
        for export in (DesignedExport, NumbersExport)
    )

    assert [table.ref for table in designed.tables.values()] == [f"A1:C{ORDERS + 1}"]
    assert designed.sheet_properties.tabColor.rgb == "FF1F62D6"
    assert list(designed.values) == list(plain.values)
    # Other formats do not call `design`.
    assert content_of(made(DesignedExport)) == content_of(made(NumbersExport))


def test_the_compression_level_of_workbooks_is_a_setting(settings: Any) -> None:
    Order.objects.bulk_create(Order(number=f"Order {number}", quantity=number * 31) for number in range(3000))
    sizes = []
    for level in (1, 9):
        configure(settings, DEFLATE_ENGINE="zlib", DEFLATE_LEVEL=level)
        sizes.append(made(NumbersExport, format="xlsx").size)
    assert sizes[0] > sizes[1] * 1.05


def test_an_unknown_compression_engine_fails_the_export(settings: Any) -> None:
    configure(settings, DEFLATE_ENGINE="steam")

    export = made(NumbersExport, format="xlsx")

    assert (export.status, export.error_code) == (Status.FAILED, "bad_option")
    assert "steam" in export.error_detail
