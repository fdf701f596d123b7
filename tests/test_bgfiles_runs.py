"""A pattern runs like any export: under a lease, with progress, and without publishing after a cancel."""

import time
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone, translation

from exports.models import Artifact, FileRequest, Notification, Status, transitions
from exports.patterns import Dataset, FullPattern
from exports.worker import loop
from tests.seed.files import content_of
from tests.seed.models import LoginEvent
from tests.seed.pages import Pages
from tests.shop.exports import registered
from tests.shop.requests import at_once, queued, row
from tests.shop.runs import configure, lease_threads_of, stored_files, use_folders, work_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

ROWS = 30


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    """The folder of the stored files; mails are due at once."""
    configure(settings, MAIL_DELAY_SECONDS=0)
    return use_folders(settings, tmp_path)


@pytest.fixture
def pages(settings: Any) -> Pages:
    settings.CHANNEL_LAYERS = Pages.LAYER
    return Pages()


class Slow(FullPattern):
    """Write one line for each event, slowly enough to see progress. Tests override the items and how they are read."""

    file_type = "slow"
    content_type = "text/plain"
    pace = 0.02

    def get_items(self, criteria: Any) -> Any:
        return LoginEvent.objects.order_by("pk")

    def read(self, items: Any) -> Iterable[Any]:
        return items

    def evaluate_dataset(self, dataset: Dataset, http_request: HttpRequest) -> None:
        dataset.delay = True

    def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
        for item in self.read(dataset.items):
            buffer.write(f"{item}\n".encode())
            time.sleep(self.pace)


def log_in_events(count: int = ROWS) -> None:
    LoginEvent.objects.bulk_create([LoginEvent() for _ in range(count)])


def make(pattern: type, **columns: Any) -> FileRequest:
    """Dispatch a request for this pattern and return it as it is in the database."""
    with registered(pattern):
        request = queued(file_type=pattern.file_type, filename="slow.txt", **columns)
        assert loop.dispatch(request.pk) is True
    return FileRequest.objects.get(pk=request.pk)


# Under a lease


def test_a_pattern_runs_under_a_lease_in_the_language_and_zone_of_the_requester(folder: Path):
    log_in_events(3)
    seen = {}

    class Watched(Slow):
        def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
            seen.update(row(FileRequest.objects.get().pk))
            seen["lease_keepers"] = len(lease_threads_of(FileRequest.objects.get()))
            seen["local"] = translation.get_language(), timezone.get_current_timezone_name()
            super().write_bytes(dataset, buffer)

    request = make(Watched, requester_language="nl", requester_timezone="Europe/Brussels")
    assert seen["local"] == ("nl", "Europe/Brussels")
    assert (seen["status"], seen["epoch"], seen["attempts"], seen["lease_keepers"]) == (Status.RUNNING, 1, 1, 1)
    assert seen["lease_owner"]
    assert seen["lease_expires_at"] > timezone.now()
    assert (request.status, request.lease_owner, request.epoch) == (Status.READY, "", 1)
    content = content_of(request)
    assert (request.size, request.sha256) == (len(content), sha256(content).hexdigest())
    assert (request.rows_done, request.rows_total, request.filename) == (3, 3, "slow.txt")
    artifact = Artifact.objects.get()
    assert (artifact.key, artifact.state) == (request.filehandle.name, Artifact.State.PUBLISHED)
    assert len(stored_files(folder)) == 1
    assert work_folders() == []


def test_a_run_inside_a_transaction_of_the_project_keeps_its_lease():
    log_in_events()
    with transaction.atomic():
        assert content_of(make(Slow)).count(b"\n") == ROWS


READINGS: dict[str, Callable[[Any], Iterable[Any]]] = {
    "queryset": lambda items: items,
    "chained": lambda items: items.filter(pk__gt=0).select_related("user").order_by("-pk"),
    "values": lambda items: items.values_list("pk", flat=True),
    "iterator": lambda items: items.iterator(chunk_size=7),
    "chained iterator": lambda items: items.exclude(pk=0).iterator(),
    "slices": lambda items: (item for start in range(0, ROWS, 7) for item in items[start : start + 7]),
    "after a look at the first": lambda items: items if items.first() else (),
    "two halves": lambda items: (item for flag in (False, True) for item in items.filter(succeeded=flag)),
}


@pytest.mark.parametrize("read", READINGS.values(), ids=READINGS)
def test_rows_are_counted_however_the_queryset_is_read(read: Callable[[Any], Iterable[Any]], pages: Pages):
    log_in_events()
    LoginEvent.objects.filter(pk__gt=LoginEvent.objects.earliest("pk").pk + ROWS // 2).update(succeeded=False)
    request = make(type("Read", (Slow,), {"read": lambda self, items: read(items)}))
    states = pages.heard(request.pk)
    assert (request.rows_done, states[-1]["progress"]["rows_done"], content_of(request).count(b"\n")) == (ROWS,) * 3
    assert_grew([state["progress"] for state in states], total=ROWS)


def assert_grew(progress: list[dict[str, Any]], *, total: int | None) -> None:
    """Check that the pages saw a growing number of rows and the right total."""
    done = [each["rows_done"] for each in progress]
    assert done == sorted(done)
    assert len(set(done)) > 2  # between the first and the last
    assert {each["rows_total"] for each in progress[1:-1]} <= {None, total}
    fractions = [each["fraction"] for each in progress if each["fraction"] is not None]
    assert fractions == sorted(fractions)


ITEMS: dict[str, tuple[Callable[[], Any], int | None]] = {
    "list": (lambda: list(range(ROWS)), ROWS),
    "generator": (lambda: (number for number in range(ROWS)), None),
    "iterator": (lambda: iter(range(ROWS)), None),
    "sliced queryset": (lambda: LoginEvent.objects.order_by("pk")[: ROWS // 2], ROWS // 2),
    "queryset of dicts": (lambda: LoginEvent.objects.values("pk", "succeeded"), ROWS),
}


@pytest.mark.parametrize(("items", "total"), ITEMS.values(), ids=ITEMS)
def test_rows_of_lists_iterators_and_querysets_are_counted(items: Callable[[], Any], total: int | None, pages: Pages):
    log_in_events()
    request = make(type("Counted", (Slow,), {"get_items": lambda self, criteria: items()}))
    assert request.rows_done == (total or ROWS)
    assert_grew([state["progress"] for state in pages.heard(request.pk)], total=total)


@pytest.mark.parametrize("items", [None, "text", {"a": 1}, (1, 2), 7], ids=str)
def test_other_items_are_passed_unchanged(items: Any):
    class Whole(Slow):
        get_items = staticmethod(lambda criteria: items)

        def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
            assert (type(dataset.items), dataset.items) == (type(items), items)
            buffer.write(b"x")

    request = make(Whole)
    assert (request.status, request.rows_done) == (Status.READY, 0)


def test_a_counted_queryset_behaves_like_its_class():
    class Asked(Slow):
        def write_bytes(self, dataset: Dataset, buffer: Any) -> None:
            items = dataset.items
            assert isinstance(items, type(LoginEvent.objects.all()))
            assert (items.count(), len(items), items.exists()) == (3, 3, True)
            assert LoginEvent.objects.filter(pk__in=items).count() == 3
            assert (items | LoginEvent.objects.none()).count() == 3
            assert deepcopy(items).count() == 3
            buffer.write(str(items[0].pk).encode())

    log_in_events(3)
    assert make(Asked).status == Status.READY


# Cancelled and concurrent runs


def test_a_cancel_stops_the_writing_and_publishes_nothing(folder: Path):
    log_in_events(1000)
    written = []

    class Cancelled(Slow):
        def read(self, items: Any) -> Iterator[Any]:
            for number, item in enumerate(items):
                if number == 5:
                    assert transitions.cancel(FileRequest.objects.get())
                written.append(number)
                yield item

    request = make(Cancelled)
    assert (request.status, request.filehandle.name) == (Status.CANCELLED, "")
    assert 5 < len(written) < 500
    assert stored_files(folder) == []
    assert not Notification.objects.exists()


def test_two_concurrent_create_file_calls_make_one_file(folder: Path):
    log_in_events(5)
    request = queued(file_type="slow", filename="slow.txt")
    create = lambda: Slow("slow.txt").create_file(FileRequest.objects.get())  # noqa: E731
    outcomes = at_once(create, create)
    request.refresh_from_db()
    assert (sorted(outcomes), request.status, len(stored_files(folder))) == ([False, True], Status.READY, 1)
