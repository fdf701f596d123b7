"""docs/custom-writers.md: its writer makes files that programs open, and gets the values that the page promises."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import python_calamine
from django.db.models import QuerySet
from django.utils import timezone

from exports import services, storage
from exports.exporters import QuerySetExport, registry
from exports.models import Status
from exports.tabular import writers
from exports.tabular.columns import Column
from exports.worker import loop
from tests.shop.models import Customer, EveryField, Order
from tests.shop.requests import user
from tests.written import written_and_counted

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

GUIDE = (Path(__file__).resolve().parent.parent / "docs" / "custom-writers.md").read_text()
CODE = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)).replace("from shop.", "from tests.shop.")
MOMENT = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def guide(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """Register the writer and the export of the page."""
    monkeypatch.setattr(writers, "_writers", dict(writers._writers))
    monkeypatch.setattr(registry, "handlers", dict(registry.handlers))
    exec(CODE, {"__name__": "shop.ods"})


def sheet(content: bytes) -> list[list[Any]]:
    return python_calamine.load_workbook(BytesIO(content)).get_sheet_by_index(0).to_python()


def test_an_export_in_the_format_of_the_page_is_read_by_a_spreadsheet_program() -> None:
    ada = Customer.objects.create(name="Ada <&>\n\x07")
    Order.objects.create(number="=A1", quantity=1, price="10.50", placed_at=MOMENT, customer=ada, is_paid=True)
    export, _ = services.request_export(user(), "open_orders", {}, format="ods", time_zone="America/New_York")
    assert loop.dispatch(export.pk)
    export.refresh_from_db()
    assert (export.status, export.filename[-4:]) == (Status.READY, ".ods"), export.error_detail
    with storage.open_file(export.filehandle.name) as file:
        rows = sheet(file.read())
    assert rows == [
        ["Order number", "Customer full name", "Price", "Placed at", "Paid"],
        ["=A1", "Ada <&>\n\ufffd", 10.5, datetime(2026, 6, 1, 8), True],
    ]
    assert export.receipt["alterations"] == {"control_removed": 1}


def test_the_writer_of_the_page_takes_values_of_every_type() -> None:
    values = [
        None, date(2026, 1, 2), time(3, 4, 5), timedelta(hours=26), 10**20 + 1, float("nan"), [Decimal("1.5")],
        b"\xff", "",
    ]  # fmt: skip
    columns = [Column(f"c{number}") for number in range(len(values))]
    content, counted = written_and_counted(writers.get("ods"), columns, [[[value] for value in values]])
    found = sheet(content)[1]
    assert found[:3] == ["", date(2026, 1, 2), time(3, 4, 5)]
    # The reader leaves a duration as it is in the file.
    assert found[3:] == ["PT26H00M00.000000S", "1" + "0" * 19 + "1", "nan", '["1.5"]', "ff", ""]
    assert counted == {"number_as_text": 1, "not_a_number": 1}


@pytest.mark.parametrize("number", [10**400, Decimal("1.0000000000000000000000000000000000001"), 10**20 + 1])
def test_the_writer_of_the_page_writes_numbers_that_it_cannot_hold_as_text(number: int | Decimal) -> None:
    content, counted = written_and_counted(writers.get("ods"), [Column("a")], [[[number]]])
    assert (sheet(content)[1:], counted) == ([[str(number)]], {"number_as_text": 1})


def test_an_error_of_a_custom_writer_names_the_rows_of_the_batch() -> None:
    writer = RecordingWriter(BytesIO(), [Column("a")])
    writer.write([[1, 2]])
    writer.got = ()  # type: ignore[misc]  # A tuple, which cannot be extended.
    with pytest.raises(AttributeError) as error:
        writer.write([[3, 4, 5]])
    assert error.value.__notes__ == ["rows 3 to 5"]


class RecordingWriter(writers.Writer):
    """Keep the rows that a custom writer gets."""

    format, extension, content_type, label = "recorded", "txt", "text/plain", "Recorded"
    got: ClassVar[list[tuple[Any, ...]]] = []

    def add(self, batch: Any) -> None:
        self.got.extend(zip(*batch, strict=True))


VALUES = {
    "small": 1, "price": Decimal("1.20"), "weight": 2.0, "flag": True, "day": date(2026, 1, 2), "moment": MOMENT,
    "clock": time(3, 4), "text": "a", "reference": UUID(int=7), "details": {"a": [1.5, None]},
    "took": timedelta(hours=1),
}  # fmt: skip


COLUMNS = [Column(name) for name in VALUES]
WAYS = {
    "the fastest": COLUMNS,
    # A value that each database converts in Python, and one that is made of an instance.
    "cursor": [*COLUMNS, Column("shouted")],
    "instances": [*COLUMNS, Column("key", source=lambda row: row.pk)],
}


@pytest.mark.parametrize("way", [*WAYS, "stored rows"])
def test_a_custom_writer_gets_the_same_values_however_the_rows_are_read(way: str) -> None:
    class EveryFieldExport(QuerySetExport):
        file_type, formats, columns = "recorded", ("recorded",), WAYS.get(way, ())

        def get_queryset(self, user: Any, criteria: Any) -> QuerySet[EveryField]:
            return EveryField.objects.all()

    writers.register(RecordingWriter)
    RecordingWriter.got.clear()
    EveryField.objects.create(**VALUES)
    registry.register(EveryFieldExport)
    with timezone.override("America/New_York"):
        if way == "stored rows":
            export = services.request_rows(
                user(), [VALUES], list(VALUES), format="recorded", options={}, filename="a.txt", is_small=True
            )
        else:
            export, _ = services.request_export(user(), "recorded", {})
    assert loop.dispatch(export.pk)
    [row] = RecordingWriter.got
    expected = {**VALUES, "moment": MOMENT.astimezone(ZoneInfo("America/New_York"))}
    # repr() tells 1 from True, and one zone from another.
    assert repr(row[: len(VALUES)]) == repr(tuple(expected.values()))
