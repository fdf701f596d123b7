"""From a queued row to a run: dispatch, permission at the claim, the loop of a worker, and the registry."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, OperationalError
from django.db.models import QuerySet
from django.utils import timezone, translation

from exports import storage
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
def bell(settings: Any, tmp_path: Path) -> Iterator[list[str]]:
    """A doorbell that is heard here, and folders of this test's own."""
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


def lines_of(request: FileRequest) -> list[list[str]]:
    with storage.open_file(request.filehandle.name) as file:
        return list(csv.reader(file.read().decode("utf-8-sig").splitlines()))


def make_orders(*quantities: int, **columns: Any) -> None:
    customer = Customer.objects.create(name="Ada", city="Oslo")
    for number, quantity in enumerate(quantities):
        Order.objects.create(number=f"N{number}", quantity=quantity, customer=customer, **columns)


# The way to a file


def test_a_queued_export_becomes_a_file() -> None:
    make_orders(1, 2, 3)
    request = queued(criteria="at_least=2")

    assert loop.dispatch(request.pk)

    request.refresh_from_db()
    assert request.status == Status.READY
    assert lines_of(request) == [
        ["Order number", "Quantity", "Customer", "Placed at"],
        ["N1", "2", "Ada", ""],
        ["N2", "3", "Ada", ""],
    ]
    assert (request.receipt["rows_asked"], request.receipt["rows"]) == (2, 2)
    assert request.filename == "orders-2026-06-01.csv"


def test_xlsx_is_made_the_same_way() -> None:
    make_orders(1)
    request = queued(format="xlsx")

    assert loop.dispatch(request.pk)

    request.refresh_from_db()
    assert request.filename == "orders-2026-06-01.xlsx"
    with storage.open_file(request.filehandle.name) as file:
        assert file.read(2) == b"PK"


def test_the_owners_language_and_time_zone_are_active_in_the_run() -> None:
    seen: list[tuple[str, str]] = []

    class LocalExport(OrderExport):
        file_type = "local"

        def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet[Order]:
            seen.append((translation.get_language(), timezone.get_current_timezone_name()))
            return super().get_queryset(user, criteria)

    make_orders(1, placed_at=datetime(2026, 6, 1, 22, 30, tzinfo=UTC))
    request = queued(file_type="local", requester_language="de", requester_timezone="Asia/Tokyo")

    with registered(LocalExport):
        loop.dispatch(request.pk)

    request.refresh_from_db()
    assert set(seen) == {("de", "Asia/Tokyo")}
    assert (request.receipt["language"], request.receipt["time_zone"]) == ("de", "Asia/Tokyo")
    assert "2026-06-02" in lines_of(request)[1][3]
    assert translation.get_language() == "en"
    assert timezone.get_current_timezone_name() == "UTC"


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "Europe", "\x00"])
def test_an_unknown_time_zone_is_replaced_by_the_sites(name: str) -> None:
    assert str(zone_named(name)) == "UTC"


def test_a_cancel_stops_the_run_within_one_batch(settings: Any) -> None:
    configure(settings, BATCH_ROWS=10, PROGRESS_INTERVAL_SECONDS=0.01, HEARTBEAT_SECONDS=0.01)
    make_orders(*range(300))
    written: list[int] = []

    class SlowExport(OrderExport):
        file_type = "slow"

        @contextmanager
        def tables(self, request: FileRequest) -> Iterator[list[Table]]:
            with super().tables(request) as [table]:
                yield [replace(table, batches=self.batches(table.batches, request))]

        def batches(self, batches: Iterable[Batch], request: FileRequest) -> Iterator[Batch]:
            for number, batch in enumerate(batches):
                written.append(number)
                if number == 3:
                    at_once(lambda: transitions.cancel(request))
                    wait_until(partial(has_ended, runner.current(request)))
                yield batch

    request = queued(file_type="slow")
    with registered(SlowExport):
        assert loop.dispatch(request.pk)

    request.refresh_from_db()
    assert request.status == Status.CANCELLED
    assert written == [0, 1, 2, 3]


# Who may not


def test_a_permission_that_was_lost_since_ends_the_request_before_it_runs() -> None:
    request = queued()

    with order_rule(lambda user: user.username != "ada"):
        assert loop.dispatch(request.pk)

    request.refresh_from_db()
    assert (request.status, request.error_code, request.attempts) == (Status.FAILED, "permission_lost", 0)


def test_an_owner_who_is_no_longer_active_gets_no_file() -> None:
    request = queued()
    request.requester.is_active = False
    request.requester.save()

    loop.dispatch(request.pk)

    assert row(request.pk)["error_code"] == "permission_lost"


def test_criteria_that_do_not_hold_any_more_end_the_request() -> None:
    request = queued(criteria="city=Atlantis")

    loop.dispatch(request.pk)

    assert (row(request.pk)["status"], row(request.pk)["error_code"]) == ("failed", "invalid_criteria")


def test_a_format_that_is_gone_ends_the_request() -> None:
    request = queued(format="dbf")

    loop.dispatch(request.pk)

    assert (row(request.pk)["status"], row(request.pk)["error_code"]) == ("failed", "unknown_format")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("of row no-hex"),
        ValidationError("of row no-hex"),
        ValidationError("of row no-hex", code="strange"),
        IntegrityError("of row no-hex"),
        DataError("of row no-hex"),
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
    assert (ended["status"], ended["error_code"], ended["attempts"]) == ("failed", "export_failed", 0)
    assert type(error).__name__ in ended["error_detail"]
    assert row(fine.pk)["status"] == "ready"
    assert "no-hex" not in caplog.text + str(ended)


def test_a_rule_whose_database_is_down_leaves_the_export_queued() -> None:
    stuck, fine = queued(file_type="loud"), queued()

    with registered(breaking(OperationalError("the other database is down"))):
        assert loop.WorkerLoop("large").run_due() == 1

    assert (row(stuck.pk)["status"], row(fine.pk)["status"]) == ("queued", "ready")
    with registered(LoudExport):
        assert loop.WorkerLoop("large").run_due() == 1
    assert row(stuck.pk)["status"] == "ready"


def test_a_permission_rule_that_raises_withholds_the_file() -> None:
    request = in_status(Status.READY, file_type="loud")

    with registered(breaking(RuntimeError("of row no-hex"))):
        assert not permissions.is_still_granted(request)
    with registered(LoudExport):
        assert permissions.is_still_granted(request)


def test_the_file_of_an_unknown_type_is_withheld() -> None:
    assert not permissions.is_still_granted(in_status(Status.READY, file_type="gone"))


# Nothing to do


def test_dispatching_an_unknown_type_raises_and_claims_nothing() -> None:
    request = queued(file_type="gone")

    with pytest.raises(UnknownFileType, match=r"'gone'.*orders"):
        loop.dispatch(request.pk)

    assert row(request.pk)["status"] == "queued"


def test_an_unknown_type_is_a_key_error_as_in_dj_bgfiles() -> None:
    with pytest.raises(KeyError):
        registry.find("gone")


def test_dispatching_a_deleted_export_raises() -> None:
    with pytest.raises(FileRequest.DoesNotExist):
        loop.dispatch(FileRequest().pk)


@pytest.mark.parametrize("status", [Status.READY, Status.FAILED, Status.CANCELLED, Status.EXPIRED])
def test_a_request_that_has_ended_is_nothing_to_do(status: str) -> None:
    request = in_status(status)
    before = row(request.pk)

    assert not loop.dispatch(request.pk)
    assert row(request.pk) == before


def test_a_request_that_somebody_else_makes_is_nothing_to_do() -> None:
    request, _ = claimed()

    assert not loop.dispatch(request.pk)


# The queue


def test_a_worker_runs_all_due_exports_of_its_queue_only() -> None:
    mine = [queued(), queued(), queued()]
    other = queued(queue_name="small")

    assert loop.WorkerLoop("large").run_due() == 3

    assert {row(each.pk)["status"] for each in mine} == {"ready"}
    assert row(other.pk)["status"] == "queued"
    assert loop.WorkerLoop("large").run_due() == 0


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
    request = queued()
    runner.stopping.set()

    assert loop.WorkerLoop("large").run_due() == 0
    assert row(request.pk)["status"] == "queued"


def test_a_released_export_wakes_another_worker(bell: list[str]) -> None:
    class StoppedExport(OrderExport):
        file_type = "stopped"

        def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet[Order]:
            runner.stopping.set()
            return super().get_queryset(user, criteria)

    request = queued(file_type="stopped")
    with registered(StoppedExport):
        loop.WorkerLoop("large").run_due()

    assert row(request.pk)["status"] == "queued"
    assert bell == ["large"]


def test_an_export_that_is_retried_later_wakes_no_worker_now(bell: list[str]) -> None:
    class DownExport(OrderExport):
        file_type = "down"

        def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet[Order]:
            raise ConnectionError

    request = queued(file_type="down")
    with registered(DownExport):
        loop.WorkerLoop("large").run_due()

    assert row(request.pk)["status"] == "queued"
    assert bell == []


def test_a_queue_that_cannot_be_woken_is_logged(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    configure(settings, QUEUE_BACKEND="tests.shop.exports.BrokenQueue")

    queue.wake("large")

    assert "queue large not woken: ConnectionRefusedError" in caplog.text


def test_without_a_queue_backend_nothing_is_woken(settings: Any, bell: list[str]) -> None:
    configure(settings, QUEUE_BACKEND=None)

    queue.wake("large")

    assert bell == []


def test_one_exporter_can_be_registered_for_several_types() -> None:
    with registered(OrderExport):
        assert registry.register(OrderExport, ["a", "b"]) is OrderExport
        assert [type(registry.find_export(name)) for name in ("a", "b")] == [OrderExport, OrderExport]
