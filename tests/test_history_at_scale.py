"""A long history costs nothing: few queries a page however many exports have ended, each by an index."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from exports import housekeeping
from exports.http import history, pages
from exports.http.pages import AtLeast
from exports.models import FileRequest, Notification, Status
from exports.state import _queues
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in
from tests.office.exports import open_office
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

MAX_QUERIES = 6
LIST = "/exports/"
ADMIN = reverse("admin:exports_filerequest_changelist")
PAGES = [
    LIST,
    f"{LIST}?page=2",
    f"{LIST}?q=report&sort=name",
    f"{LIST}?status=failed",
    ADMIN,
    f"{ADMIN}?p=2",
    f"{ADMIN}?status__exact=failed",
    f"{ADMIN}?file_type=report",
    f"{ADMIN}?format=csv",
    f"{ADMIN}?error=stalled",
    f"{ADMIN}?q=owner",
    f"{ADMIN}?q=report+1",
    f"{ADMIN}?q=owner%40example.com",
    reverse("admin:exports_auditentry_changelist"),
    reverse("admin:exports_notification_changelist"),
]
SWEEPS: list[Callable[[], object]] = [
    housekeeping.rescue,
    housekeeping.time_out,
    housekeeping.wake_again,
    housekeeping.expire,
    housekeeping.erase,
    housekeeping.remove_old_rows,
    housekeeping.send_mails,
]


@pytest.fixture(autouse=True)
def office(settings: LazySettings) -> Iterator[None]:
    configure(settings, QUEUE_BACKEND="tests.shop.exports.RecordingQueue", MAX_RUNNING_PER_USER=2)
    with open_office():
        yield


@pytest.fixture
def owner() -> User:
    return people.user("owner")


@pytest.fixture
def root(owner: User) -> Client:
    owner.is_staff = owner.is_superuser = True
    owner.save()
    return signed_in(owner)


def end_exports(owner: User, number: int) -> None:
    """Add exports that ended an hour ago, with their mails, in each final status."""
    hour_ago, later = timezone.now() - timedelta(hours=1), timezone.now() + timedelta(days=1)
    statuses = [Status.FAILED, Status.CANCELLED, Status.EXPIRED, Status.READY]
    common = {"requester": owner, "file_type": "report", "format": "csv", "finished_at": hour_ago, "turn": 1}
    exports = FileRequest.objects.bulk_create(
        FileRequest(**common, status=statuses[each % 4], label=f"report {each}", expires_at=later)
        for each in range(number)
    )
    Notification.objects.bulk_create(
        Notification(request=export, kind="ready", state="sent", due_at=hour_ago) for export in exports
    )


@contextmanager
def queries() -> Iterator[list[str]]:
    """Collect the queries of the tables of the app, without those of the session."""
    with CaptureQueriesContext(connection) as context:
        found: list[str] = []
        yield found
    found.extend(query["sql"] for query in context.captured_queries)


@pytest.mark.parametrize("address", PAGES)
def test_a_page_needs_as_few_queries_beside_any_history(root: Client, owner: User, address: str) -> None:
    counts = []
    for more in (30, 100, 300):
        end_exports(owner, more)
        with queries() as found:
            assert root.get(address, headers=HTML).status_code == 200
        counts.append(len(found))
    assert counts[0] == counts[1] == counts[2] <= MAX_QUERIES


def test_the_list_as_json_reads_a_queue_once_for_all_that_wait(root: Client, owner: User) -> None:
    counts = []
    for _ in range(2):
        for _ in range(4):
            rows.queued(owner)
        _queues.clear()
        with queries() as found:
            states = root.get(LIST, headers=JSON).json()["exports"]
        counts.append(len(found))
    assert [state["progress"]["queue_position"] for state in states] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_that_finds_nothing_needs_few_queries_beside_any_history(
    owner: User, sweep: Callable[[], object]
) -> None:
    end_exports(owner, 300)
    with queries() as found:
        assert not sweep()
    assert len(found) <= 3


def test_mails_that_are_not_needed_are_settled_together(owner: User, django_assert_max_num_queries: Any) -> None:
    end_exports(owner, 200)
    FileRequest.objects.update(status=Status.READY, seen_at=timezone.now())
    Notification.objects.update(state="pending")
    # A SELECT and an UPDATE for each hundred, and a look at what is left.
    with django_assert_max_num_queries(6):
        housekeeping.send_mails()
    assert set(Notification.objects.values_list("state", "reason")) == {("suppressed", "seen")}


@pytest.mark.parametrize(
    ("sweep", "done"), [(housekeeping.erase, 30), (housekeeping.remove_old_rows, 30), (housekeeping.send_mails, 0)]
)
def test_a_sweep_changes_a_few_rows_at_a_time(
    owner: User, monkeypatch: pytest.MonkeyPatch, sweep: Callable[[], int], done: int
) -> None:
    monkeypatch.setattr(housekeeping, "MAX_PER_STATEMENT", 7)
    end_exports(owner, 40)
    long_ago = timezone.now() - timedelta(days=1000)
    FileRequest.objects.update(finished_at=long_ago, expires_at=long_ago, seen_at=long_ago)
    Notification.objects.update(state="pending")
    changed = []

    def note(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        result = execute(sql, parameters, many, context)
        if sql.startswith(("UPDATE", "DELETE")):
            changed.append(context["cursor"].rowcount)
        return result

    with connection.execute_wrapper(note):
        assert sweep() == done
    assert max(changed) == 7
    assert not sweep()


def test_due_exports_are_marked_as_woken_together(owner: User, django_assert_max_num_queries: Any) -> None:
    for _ in range(20):
        rows.queued(owner)
    FileRequest.objects.update(woken_at=None)
    with django_assert_max_num_queries(4):
        assert housekeeping.wake_again() == 20
    assert housekeeping.wake_again() == 0


# Bounds


def test_a_list_counts_no_further_than_its_pages_go(root: Client, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_LISTED", 40)
    end_exports(owner, 30)
    assert str(root.get(ADMIN).context["cl"].result_count) == "30"
    end_exports(owner, 30)

    shown = root.get(ADMIN)

    assert shown.context["cl"].result_count == AtLeast(40)
    assert "40+ file requests" in " ".join(shown.content.decode().split())
    assert root.get(LIST, headers=JSON).json()["pages"] == 2
    assert len(root.get(f"{LIST}?page=9", headers=JSON).json()["exports"]) == 20


def test_the_search_of_a_user_reads_their_newest_exports(
    root: Client, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_SEARCHED", 2)
    for number in range(3):
        rows.queued(owner, label=f"April {number}", requested_at=timezone.now() - timedelta(minutes=number))
    found = root.get(f"{LIST}?q=april", headers=JSON).json()["exports"]
    assert [each["label"] for each in found] == ["April 0", "April 1"]


@pytest.mark.parametrize("query", ["", "?q=owner"])
def test_a_separator_of_thousands_leaves_a_bounded_count_as_it_is(
    root: Client, owner: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    monkeypatch.setattr(pages, "MAX_LISTED", 1000)
    end_exports(owner, 1001)
    shown = " ".join(root.get(ADMIN + query).content.decode().split())
    assert "1000+ file requests" in shown
    assert "100,0+" not in shown


def test_a_type_that_the_newest_exports_do_not_have_is_found(
    root: Client, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_SEARCHED", 1)
    for number, file_type in enumerate(("report", "long")):
        asked_at = timezone.now() - timedelta(minutes=number)
        rows.queued(owner, file_type=file_type, label=file_type, requested_at=asked_at)
    found = root.get(f"{LIST}?type=long", headers=JSON).json()["exports"]
    assert [each["label"] for each in found] == ["long"]
    for unknown in ("nothing", "%00"):
        assert len(root.get(f"{LIST}?type={unknown}", headers=JSON).json()["exports"]) == 2


# Indexes


def migrate(name: str = "") -> None:
    """Migrate the app to the migration of this name, or all apps to their newest."""
    executor = MigrationExecutor(connection)
    executor.migrate([("exports", name)] if name else executor.loader.graph.leaf_nodes())


@pytest.fixture
def without_indexes() -> Iterator[None]:
    """Undo the migrations that make the indexes."""
    migrate("0018_feeds")
    yield
    migrate()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("without_indexes")
def test_the_migration_of_the_indexes_can_be_run_again_after_an_interruption() -> None:
    def interrupt(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith("CREATE INDEX") and "exports_by_format" in sql:
            raise InterruptedError
        return execute(sql, *rest)

    with connection.execute_wrapper(interrupt), pytest.raises(InterruptedError):
        migrate()
    migrate()

    with connection.cursor() as cursor:
        made = connection.introspection.get_constraints(cursor, "exports_filerequest")
    assert {index.name for index in FileRequest._meta.indexes} <= set(made)


@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has no other way to make them.")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("without_indexes")
def test_on_postgresql_the_indexes_are_made_while_others_write() -> None:
    made = []

    def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith("CREATE INDEX") and '"exports_filerequest"' in sql:
            made.append(sql)
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        migrate()

    assert "exports_of_feed" in str(made)
    assert {sql.partition(' "')[0] for sql in made} == {"CREATE INDEX CONCURRENTLY"}


@pytest.mark.skipif("postgresql" in connection.vendor, reason="PostgreSQL changes the table in place.")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("without_indexes")
def test_others_wait_with_a_new_export_while_sqlite_copies_the_table() -> None:
    errors = []

    def write_meanwhile(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if sql.startswith('DROP TABLE "exports_filerequest"'):
            with closing(sqlite3.connect(connection.settings_dict["NAME"], timeout=0)) as other:
                with pytest.raises(sqlite3.OperationalError) as refused:
                    other.execute("BEGIN IMMEDIATE")
                errors.append(str(refused.value))
        return execute(sql, *rest)

    with connection.execute_wrapper(write_meanwhile):
        migrate()

    assert set(errors) == {"database is locked"}


@pytest.mark.skipif("sqlite" in connection.vendor, reason="The plans are those of PostgreSQL.")
def test_no_page_and_no_sweep_scans_the_history(root: Client, owner: User) -> None:
    end_exports(owner, 500)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE exports_filerequest")
        # Where an index serves, it is taken then even for a table of a few pages.
        cursor.execute("SET LOCAL enable_seqscan = off")
    with queries() as found:
        for address in PAGES:
            root.get(address, headers=HTML)
        for sweep in SWEEPS:
            sweep()
    read = [sql for sql in found if sql.startswith("SELECT") and 'FROM "exports_filerequest"' in sql]
    assert len(read) > 20
    for sql in read:
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + sql.replace("%", "%%"))
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "Seq Scan on exports_filerequest" not in plan, f"{sql}\n{plan}"
