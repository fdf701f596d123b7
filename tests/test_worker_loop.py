"""From a queued row to a run: dispatch, permission at the claim, the loop of a worker, and the registry."""

import csv
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import IntegrityError, OperationalError
from django.db.models import QuerySet
from django.utils import timezone, translation

from exports import storage
from exports.contrib.bgfiles import toolbox
from exports.exceptions import UnknownFileType
from exports.exporters import permissions, registry
from exports.exporters.base import Table
from exports.models import FileRequest, Status, transitions
from exports.models.locale import zone_named
from exports.queue import base as queue
from exports.tabular.writers import Batch
from exports.worker import loop, runner
from tests.servers import wait_until
from tests.shop.exports import OrderExport, heard, order_rule, registered
from tests.shop.models import Customer, Order
from tests.shop.requests import at_once, claimed, in_status, queued, row, user
from tests.shop.runs import configure, has_ended, use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def woken(settings: Any, tmp_path: Path) -> Iterator[list[str]]:
    """The queues that were woken. Files are in folders of this test."""
    use_folders(settings, tmp_path)
    configure(settings, QUEUE_BACKEND="tests.shop.exports.RecordingQueue")
    heard.clear()
    yield heard
    runner.stopping.clear()


class LoudExport(OrderExport):
    """Every hook may break: a test says how."""

    file_type = "loud"
    error: Exception | None = None

    def has_permission(self, user: Any, criteria: Mapping[str, Any]) -> bool:
        if self.error is not None:
            raise self.error
        return True


def breaking(error: Exception) -> type:
    return type("Breaking", (LoudExport,), {"error": error})


def lines_of(export: FileRequest) -> list[list[str]]:
    with storage.open_file(export.filehandle.name) as file:
        return list(csv.reader(file.read().decode("utf-8-sig").splitlines()))


def make_orders(*quantities: int, **columns: Any) -> None:
    customer = Customer.objects.create(name="Ada", city="Oslo")
    for number, quantity in enumerate(quantities):
        Order.objects.create(number=f"N{number}", quantity=quantity, customer=customer, **columns)


# Dispatching


def test_a_queued_export_becomes_a_file() -> None:
    make_orders(1, 2, 3)
    export = queued(criteria="at_least=2")

    assert loop.dispatch(export.pk)

    export.refresh_from_db()
    assert export.status == Status.READY
    assert lines_of(export) == [
        ["Order number", "Quantity", "Customer", "Placed at"],
        ["N1", "2", "Ada", ""],
        ["N2", "3", "Ada", ""],
    ]
    assert (export.receipt["rows_asked"], export.receipt["rows"]) == (2, 2)
    assert export.filename == "orders-2026-06-01.csv"


@pytest.mark.aware_times
def test_the_owners_language_and_time_zone_are_active_in_the_run() -> None:
    seen: list[tuple[str, str]] = []

    class LocalExport(OrderExport):
        file_type = "local"

        def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet[Order]:
            seen.append((translation.get_language(), timezone.get_current_timezone_name()))
            return super().get_queryset(user, criteria)

    make_orders(1, placed_at=datetime(2026, 6, 1, 22, 30, tzinfo=UTC))
    export = queued(file_type="local", requester_language="de", requester_timezone="Asia/Tokyo")

    with registered(LocalExport):
        loop.dispatch(export.pk)

    export.refresh_from_db()
    assert set(seen) == {("de", "Asia/Tokyo")}
    assert (export.receipt["language"], export.receipt["time_zone"]) == ("de", "Asia/Tokyo")
    assert "2026-06-02" in lines_of(export)[1][3]
    assert translation.get_language() == "en"
    assert timezone.get_current_timezone_name() == settings.TIME_ZONE


def test_each_transition_is_logged_once_even_if_the_handler_attaches_the_file(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Handler:
        file_type = "handled"

        @staticmethod
        def handle(export: FileRequest) -> None:
            toolbox.attach_file(export, b"by a handler", "handled.txt", "text/plain")

    caplog.set_level(logging.INFO, "exports.audit")
    with registered(Handler):
        loop.dispatch(queued(file_type="handled").pk)

    assert [record.fields["event"] for record in caplog.records if record.name == "exports.audit"] == [
        "export.request",
        "export.start",
        "export.publish",
    ]


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "Europe", "\x00"])
def test_an_unknown_time_zone_is_replaced_by_the_sites(name: str) -> None:
    assert str(zone_named(name)) == settings.TIME_ZONE


def test_a_cancel_stops_the_run_within_one_batch(settings: Any) -> None:
    configure(settings, BATCH_ROWS=10, PROGRESS_INTERVAL_SECONDS=0.01, HEARTBEAT_SECONDS=0.01)
    make_orders(*range(300))
    written: list[int] = []

    class SlowExport(OrderExport):
        file_type = "slow"

        @contextmanager
        def tables(self, export: FileRequest) -> Iterator[list[Table]]:
            with super().tables(export) as [table]:
                yield [replace(table, batches=self.batches(table.batches, export))]

        def batches(self, batches: Iterable[Batch], export: FileRequest) -> Iterator[Batch]:
            for number, batch in enumerate(batches):
                written.append(number)
                if number == 3:
                    at_once(lambda: transitions.cancel(export))
                    wait_until(partial(has_ended, runner.current(export)))
                yield batch

    export = queued(file_type="slow")
    with registered(SlowExport):
        assert loop.dispatch(export.pk)

    export.refresh_from_db()
    assert export.status == Status.CANCELLED
    assert written == [0, 1, 2, 3]


# Refusing


@pytest.mark.parametrize(
    ("columns", "is_active", "is_granted", "code"),
    [
        ({}, True, False, "permission_lost"),
        ({}, False, True, "permission_lost"),
        ({"criteria": "city=Atlantis"}, True, True, "invalid_criteria"),
        ({"format": "dbf"}, True, True, "unknown_format"),
    ],
)
def test_an_export_that_is_refused_when_it_begins_fails_and_stores_nothing(
    columns: dict[str, Any], is_active: bool, is_granted: bool, code: str
) -> None:
    export = queued(**columns)
    export.requester.is_active = is_active
    export.requester.save()

    with order_rule(lambda user: is_granted):
        assert loop.dispatch(export.pk)

    export.refresh_from_db()
    assert (export.status, export.error_code, bool(export.filehandle)) == (Status.FAILED, code, False)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("of row no-hex"),
        ValidationError("of row no-hex", code="strange"),
        IntegrityError("of row no-hex"),
        type("Answer", (Exception,), {"code": 404})("of row no-hex"),
    ],
)
def test_a_permission_rule_that_raises_fails_its_export_alone(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = queued(file_type="loud"), queued()

    with registered(breaking(error)):
        assert loop.WorkerLoop("large").run_due() == 2

    ended = row(broken.pk)
    assert (ended["status"], ended["error_code"]) == ("failed", "export_failed")
    assert type(error).__name__ in ended["error_detail"]
    assert row(fine.pk)["status"] == "ready"
    assert "no-hex" not in caplog.text + str(ended)


def test_a_rule_whose_database_is_down_leaves_the_export_queued(settings: Any) -> None:
    configure(settings, RETRY_DELAY_SECONDS=30)
    stuck, fine = queued(file_type="loud"), queued()

    with registered(breaking(OperationalError("the other database is down"))):
        assert loop.WorkerLoop("large").run_due() == 2

    assert (row(stuck.pk)["status"], row(fine.pk)["status"]) == ("queued", "ready")
    FileRequest.objects.filter(pk=stuck.pk).update(not_before=None)
    with registered(LoudExport):
        assert loop.WorkerLoop("large").run_due() == 1
    assert row(stuck.pk)["status"] == "ready"


def test_a_rule_that_raises_or_is_not_registered_withholds_the_file() -> None:
    export = in_status(Status.READY, file_type="loud")

    with registered(breaking(RuntimeError("of row no-hex"))):
        assert not permissions.is_still_granted(export)
    with registered(LoudExport):
        assert permissions.is_still_granted(export)
    assert not permissions.is_still_granted(export)


# Nothing to dispatch


def test_dispatching_an_unknown_type_raises_and_claims_nothing() -> None:
    export = queued(file_type="gone")

    with pytest.raises(UnknownFileType, match=r"'gone'.*orders"):
        loop.dispatch(export.pk)

    assert row(export.pk)["status"] == "queued"
    # dj-bgfiles raised a KeyError.
    assert issubclass(UnknownFileType, KeyError)


def test_dispatching_a_deleted_export_raises() -> None:
    with pytest.raises(FileRequest.DoesNotExist):
        loop.dispatch(FileRequest().pk)


@pytest.mark.parametrize("status", [each for each in Status if each != Status.QUEUED])
def test_dispatching_an_export_that_is_not_queued_does_nothing(status: str) -> None:
    export = in_status(status)
    before = row(export.pk)

    assert not loop.dispatch(export.pk)
    assert row(export.pk) == before


# The queue


def test_a_worker_runs_all_due_exports_of_its_queue_only() -> None:
    mine = [queued(), queued(), queued()]
    other = queued(queue_name="small")

    assert loop.WorkerLoop("large").run_due() == 3

    assert {row(each.pk)["status"] for each in mine} == {"ready"}
    assert row(other.pk)["status"] == "queued"
    assert loop.WorkerLoop("large").run_due() == 0


def test_an_exporter_that_cannot_be_made_fails_and_does_not_block_the_queue() -> None:
    class UnmadeExport(OrderExport):
        file_type = "unmade"

        def __init__(self) -> None:
            raise RuntimeError("its configuration is missing")

    unmade, fine = queued(file_type="unmade"), queued()
    with registered(UnmadeExport):
        assert loop.WorkerLoop("large").run_due() == 2

    assert (row(unmade.pk)["status"], row(fine.pk)["status"]) == ("failed", "ready")
    assert row(unmade.pk)["attempts"] == 1


@pytest.mark.parametrize(
    "attributes", [{"max_runtime_seconds": "an hour"}, {"max_rows": "many"}, {"max_bytes": float("nan")}]
)
def test_a_limit_that_is_no_number_fails_its_export_alone(attributes: dict[str, Any]) -> None:
    limited, fine = queued(file_type="limited"), queued()
    with registered(type("Limited", (OrderExport,), {"file_type": "limited", **attributes})):
        assert loop.WorkerLoop("large").run_due() == 2

    assert (row(limited.pk)["status"], row(fine.pk)["status"]) == ("failed", "ready")
    assert "must be a number" in row(limited.pk)["error_detail"]


def test_an_extension_too_long_for_a_storage_key_stops_no_queue() -> None:
    class LongExport(OrderExport):
        file_type = "long"

        def extension(self, export: FileRequest) -> str:
            return "x" * 300

    long, fine = queued(file_type="long"), queued()
    with registered(LongExport):
        assert loop.WorkerLoop("large").run_due() == 2

    assert (row(long.pk)["status"], row(fine.pk)["status"]) == ("ready", "ready")
    assert len(row(long.pk)["filename"]) == 200


def test_users_take_turns() -> None:
    order: list[str] = []

    def note(user: Any) -> bool:
        order.append(user.username)
        return True

    running, _ = claimed(requester=user("ada"))
    for name in ("ada", "ada", "bob"):
        queued(requester=user(name))

    with order_rule(note):
        loop.WorkerLoop("large").run_due()

    assert order[0] == "bob"
    assert row(running.pk)["status"] == "running"


def test_a_worker_that_stops_claims_nothing_more() -> None:
    export = queued()
    runner.stopping.set()

    assert loop.WorkerLoop("large").run_due() == 0
    assert row(export.pk)["status"] == "queued"


def test_a_released_export_wakes_another_worker(woken: list[str]) -> None:
    class StoppedExport(OrderExport):
        file_type = "stopped"

        def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet[Order]:
            runner.stopping.set()
            return super().get_queryset(user, criteria)

    export = queued(file_type="stopped")
    with registered(StoppedExport):
        loop.WorkerLoop("large").run_due()

    assert row(export.pk)["status"] == "queued"
    assert woken == ["large"]


def test_an_export_that_is_retried_later_wakes_no_worker_now(woken: list[str]) -> None:
    class DownExport(OrderExport):
        file_type = "down"

        def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet[Order]:
            raise ConnectionError

    export = queued(file_type="down")
    with registered(DownExport):
        loop.WorkerLoop("large").run_due()

    assert row(export.pk)["status"] == "queued"
    assert woken == []


def test_a_queue_that_cannot_be_woken_is_logged(
    settings: Any, caplog: pytest.LogCaptureFixture, woken: list[str]
) -> None:
    configure(settings, QUEUE_BACKEND="tests.shop.exports.BrokenQueue")
    queue.wake("large")
    assert "queue large not woken: ConnectionRefusedError" in caplog.text


def test_in_cron_mode_nothing_is_woken_and_no_worker_listens(settings: Any, woken: list[str]) -> None:
    configure(settings, QUEUE_BACKEND=None)
    queue.wake("large")
    assert woken == []
    with pytest.raises(ImproperlyConfigured, match="exports process"):
        queue.listen("large", lambda: None)


def test_one_exporter_can_be_registered_for_several_types() -> None:
    with registered(OrderExport):
        assert registry.register(OrderExport, ["a", "b"]) is OrderExport
        assert [type(registry.find_exporter(name)) for name in ("a", "b")] == [OrderExport, OrderExport]
