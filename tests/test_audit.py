"""The audit log: who did what to which export, when, from where, and how it ended; as an export, and as a chain."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from exports import audit, housekeeping, services
from exports.contrib.operations.audit import AuditExport
from exports.exporters import registry
from exports.models import Actor, AuditEntry, FileRequest, transitions
from exports.models import audit as models_audit
from exports.models.audit import SYSTEM, record
from exports.worker import loop
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, status_of, ticket_for, url_of
from tests.office.worlds import open_worlds
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

FORM = "/exports/new/audit/"
KEY = "a key of the audit log, for tests"


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_worlds():
        registry.register(AuditExport)
        yield


@pytest.fixture
def auditor() -> Client:
    return signed_in(people.staff("auditor", "view_auditentry"))


def entries(**columns: Any) -> list[tuple[str, str, str, str]]:
    """Return the actor, verb, outcome and reason of the entries, oldest first."""
    found = AuditEntry.objects.filter(**columns).order_by("pk")
    return [(each.actor, each.verb, each.outcome, each.reason) for each in found]


# What is recorded


def test_the_life_of_an_export_names_who_did_what(owner: User):
    client, name = signed_in(owner), f"user {owner.pk}"
    answer = client.post("/exports/new/report/", {"month": 4, "format": "csv"}, headers=JSON)
    loop.WorkerLoop("small").run_due()
    export = FileRequest.objects.get(pk=answer.json()["id"])
    link = (
        client.post(url_of("share", export), headers=JSON).json()["public_link"].removeprefix("https://exports.example")
    )
    assert status_of(Client(), link) == 200
    client.post(url_of("revoke", export))
    status_of(client, ticket_for(rows.fresh(export), owner))
    FileRequest.objects.update(expires_at=timezone.now() - timedelta(days=1))
    housekeeping.sweep()
    assert entries(export=export) == [
        (name, "request", "done", ""),
        ("system worker", "start", "done", ""),
        ("system worker", "publish", "done", ""),
        (name, "share", "done", ""),
        ("public_link", "download", "sent", ""),
        (name, "revoke", "done", ""),
        (name, "download", "sent", ""),
        ("system housekeeping", "expire", "done", ""),
        ("system housekeeping", "delete", "done", ""),
    ]
    assert set(AuditEntry.objects.values_list("file_type", flat=True)) == {"report"}


def test_cancelling_retrying_and_losing_the_permission_are_recorded(owner: User):
    export, client, name = rows.failed(owner), signed_in(owner), f"user {owner.pk}"
    again = client.post(url_of("retry", export), headers=JSON).json()["id"]
    client.post(reverse("exports:cancel", args=[again]))
    assert entries(export=again) == [(name, "request", "done", ""), (name, "cancel", "done", "")]
    assert entries(export=export)[-1] == ("system worker", "fail", "failed", "storage_full")
    refused = rows.queued(people.refuse(owner))
    loop.WorkerLoop("small").run_due()
    assert entries(export=refused) == [
        ("system worker", "start", "done", ""),
        ("system worker", "fail", "denied", "permission_lost"),
    ]


def test_admin_actions_are_recorded_with_the_staff_and_their_network(owner: User):
    export, staff = rows.ready(owner), people.staff("staff", people.VIEW, people.CHANGE)
    chosen = {"action": "expire_files", "_selected_action": [str(export.pk)]}
    signed_in(staff).post(reverse("admin:exports_filerequest_changelist"), chosen, REMOTE_ADDR="203.0.113.7")
    expired = AuditEntry.objects.get(verb="expire")
    assert (expired.user, expired.export, expired.address) == (staff, export, "203.0.113.0")


def test_polls_pages_and_progress_leave_no_entry(owner: User):
    export, claim = rows.claimed(owner)
    before = AuditEntry.objects.count()
    client = signed_in(owner)
    for name in ("detail", "page"):
        assert client.get(url_of(name, export)).status_code == 200
    assert transitions.renew_lease(claim, rows.progress(10), began_phase=True, progressed=True)
    assert AuditEntry.objects.count() == before


@pytest.mark.parametrize("transition", [transitions.cancel, transitions.expire, transitions.revoke_links])
def test_a_transition_adds_one_entry_and_none_if_it_loses(owner: User, transition: Any):
    export = rows.running(owner) if transition is transitions.cancel else rows.ready(owner)
    for entry_count in (1, 0):
        before = AuditEntry.objects.count()
        assert transition(export) is bool(entry_count)
        assert AuditEntry.objects.count() - before == entry_count
        FileRequest.objects.filter(pk=export.pk).update(status="failed")


def test_without_its_entry_nothing_changes(owner: User, monkeypatch: pytest.MonkeyPatch):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("no space left")

    export, client = rows.ready(owner), signed_in(owner)
    with pytest.raises(IntegrityError), transaction.atomic():
        services.expire(export, replace(Actor.of(owner), kind=None))
    monkeypatch.setattr(AuditEntry, "save", fail)
    with pytest.raises(DatabaseError):
        client.get(ticket_for(export, owner))
    assert rows.fresh(export).status == "ready"


# Refusals


def test_what_was_refused_is_recorded_with_who_tried(owner: User):
    export, other = rows.ready(owner), people.user("other")
    client, name = signed_in(other), f"user {other.pk}"
    for verb in ("cancel", "expire", "revoke", "share", "retry"):
        assert client.post(url_of(verb, export), headers=JSON).status_code == 404
    assert client.get(url_of("download", export)).status_code == 404
    assert client.get(ticket_for(export, owner)).status_code == 404
    verbs = ["cancel", "expire", "revoke", "share", "request", "download"]
    assert entries(user=other) == [(name, verb, "denied", "") for verb in verbs]
    assert AuditEntry.objects.get(user=other, verb="download").count == 2
    assert client.get(url_of("page", export)).status_code == 404
    people.refuse(other)
    assert client.post("/exports/new/report/", {"month": 4}, headers=JSON).status_code == 403
    assert entries(user=other, file_type="report") == [(name, "request", "denied", "")]


def test_a_public_link_that_has_ended_is_recorded_but_garbage_is_not(owner: User):
    export = rows.ready(owner)
    services.share(export, SYSTEM)
    address = reverse("exports:public", args=[services.public_link_of(export)])
    services.revoke(export, SYSTEM)
    assert [status_of(Client(), url) for url in (address, "/exports/public/nonsense/")] == [404, 404]
    assert entries(outcome="denied") == [("public_link", "download", "denied", "")]


def test_many_refusals_of_one_user_stay_a_bounded_number_of_entries(owner: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models_audit, "MAX_REFUSALS", 3)
    client, exports = signed_in(owner), [rows.ready(people.user(f"u{number}")) for number in range(5)]
    for export in exports * 2:
        client.post(url_of("cancel", export))
    assert list(AuditEntry.objects.filter(outcome="denied").order_by("pk").values_list("count", flat=True)) == [2, 2, 6]


def test_refusals_of_different_exports_and_files_have_their_own_entries(owner: User):
    for about in ({"file_type": "report"}, {"file_type": "salaries"}, {"filename": "a"}, {"filename": "b"}) * 2:
        record("request", None, Actor.of(owner), outcome="denied", **about)
    assert list(AuditEntry.objects.order_by("pk").values_list("file_type", "filename", "count")) == [
        ("report", "", 2), ("salaries", "", 2), ("", "a", 2), ("", "b", 2),
    ]  # fmt: skip


def test_names_with_control_characters_can_be_recorded():
    entry = record("answer", None, SYSTEM, filename="a\x00b\u202e.csv", reason="created: a\x00b")
    assert (entry.filename, entry.reason) == ("a b .csv", "created: a b")


# Downloads


def test_the_ranges_of_a_download_make_one_entry(owner: User):
    export, client = rows.ready(owner), signed_in(owner)
    for start in range(0, 300):
        status_of(client, ticket_for(export, owner), headers={"range": f"bytes={start}-{start}"})
    entry = rows.downloads().get()
    assert (entry.count, entry.byte_count, entry.bytes_sent, entry.outcome) == (300, 300, 300, "sent")
    status_of(signed_in(people.staff("staff", people.VIEW, people.ANY)), ticket_for(export, owner))
    AuditEntry.objects.update(at=timezone.now() - timedelta(seconds=models_audit.JOINED_SECONDS + 1))
    status_of(client, ticket_for(export, owner), headers={"range": "bytes=5-5"})
    assert rows.downloads().count() == 2


def test_ranges_that_another_server_sends_are_counted_in_the_entry_of_the_download(owner: User, settings: LazySettings):
    configure(settings, ACCEL_REDIRECT="/finished/")
    export, client = rows.ready(owner), signed_in(owner)
    for headers in ({"range": "bytes=0-0"}, {}, {"range": "bytes=1-"}, {"range": "bytes=2-"}):
        status_of(client, ticket_for(export, owner), headers=headers)
    found = rows.downloads().order_by("pk").values_list("count", "byte_count", "outcome")
    assert list(found) == [(1, None, "handed_over"), (3, export.size, "handed_over")]


@pytest.mark.parametrize(
    ("sender", "forwarded", "network"),
    [
        ("203.0.113.7", "198.51.100.1", "203.0.113.0"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.0"),
        ("10.0.0.1", "192.0.2.1, 198.51.100.1, 10.0.0.9", "198.51.100.0"),
        ("::ffff:10.0.0.1", "2001:db8:1:2::3", "2001:db8:1::"),
        ("10.0.0.1", "", "10.0.0.0"),
        ("10.0.0.1", "nonsense", ""),
        ("10.0.0.1", "10.0.0.2", "10.0.0.0"),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(
    owner: User, settings: LazySettings, sender: str, forwarded: str, network: str
):
    configure(settings, TRUSTED_PROXIES=["10.0.0.0/8"])
    export = rows.ready(owner)
    client = signed_in(owner)
    status_of(client, ticket_for(export, owner), REMOTE_ADDR=sender, headers={"x-forwarded-for": forwarded})
    assert rows.downloads().get().address == network


# The export, the admin


def request_export(client: Client, **criteria: str) -> FileRequest:
    answer = client.post(FORM, {"format": "csv", **criteria}, headers=JSON)
    assert answer.status_code == 202, answer.content
    loop.WorkerLoop("small").run_due()
    return FileRequest.objects.get(pk=answer.json()["id"])


def read(client: Client, request: FileRequest) -> list[dict[str, str]]:
    """Download the file as a browser does, and return its rows."""
    response = client.get(client.get(url_of("download", request))["Location"])
    return list(csv.DictReader(io.StringIO(response.getvalue().decode("utf-8-sig"), newline="")))


def test_staff_export_the_log_including_their_own_downloads(auditor: Client, owner: User):
    request = rows.ready(owner)
    signed_in(owner).get(ticket_for(request, owner), REMOTE_ADDR="203.0.113.77").getvalue()
    first = request_export(auditor, verb="download")
    [whole] = read(auditor, first)
    assert (whole["Name"], whole["Export"], whole["Request"]) == ("owner", "report", str(request.pk))
    assert (whole["Bytes"], whole["Sent"], whole["Outcome"]) == (str(request.size), str(request.size), "sent")
    assert (whole["Network"], whole["Actor"], whole["Times"]) == ("203.0.113.0", "user", "1")
    *_, own = read(auditor, request_export(auditor, verb="download", since="2000-01-01"))
    assert (own["Name"], own["Export"], own["Request"]) == ("auditor", "audit", str(first.pk))


def test_both_days_of_the_form_are_included(auditor: Client, owner: User):
    for days in (0, 1, 2, 3):
        made = record("download", None, Actor.of(owner), file_type=f"d{days}")
        AuditEntry.objects.filter(pk=made.pk).update(at=timezone.now() - timedelta(days=days))
    day = (timezone.now() - timedelta(days=2)).date(), (timezone.now() - timedelta(days=1)).date()
    found = read(auditor, request_export(auditor, since=str(day[0]), until=str(day[1])))
    assert [row["Export"] for row in found] == ["d2", "d1"]


def test_users_without_the_permission_are_refused():
    staff = people.staff("staff", "view_filerequest", "download_any_filerequest")
    for someone in (people.user("grace"), people.user("user", "view_auditentry"), staff):
        assert signed_in(someone).post(FORM, {"format": "csv"}, headers=JSON).status_code == 403
    assert not FileRequest.objects.exists()


def test_a_user_name_that_is_a_formula_is_escaped(auditor: Client):
    record("download", None, Actor.of(people.user("=1+1")))
    [row] = read(auditor, request_export(auditor, verb="download"))
    assert row["Name"] == "'=1+1"


def test_the_admin_shows_the_log_and_cannot_change_it(auditor: Client, owner: User):
    made = record("download", None, Actor.of(owner), file_type="report")
    assert b"report" in auditor.get(reverse("admin:exports_auditentry_changelist")).content
    root = signed_in(User.objects.create_superuser("root"))
    change = reverse("admin:exports_auditentry_change", args=[made.pk])
    assert root.get(change, headers=HTML).status_code == 200
    for address in (change, reverse("admin:exports_auditentry_delete", args=[made.pk])):
        assert root.post(address, {"post": "yes", "file_type": "another"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [made.pk], "post": "yes"}
    root.post(reverse("admin:exports_auditentry_changelist"), chosen)
    made.refresh_from_db()
    assert made.file_type == "report"


def test_entries_of_deleted_users_and_exports_are_still_shown(auditor: Client, owner: User):
    export = rows.ready(owner)
    rows.downloaded(export)
    name = owner.pk
    owner.delete()
    [entry] = read(auditor, request_export(auditor, verb="download"))
    assert (entry["User"], entry["Name"], entry["Request"]) == (str(name), "", str(export.pk))
    changelist = reverse("admin:exports_auditentry_changelist")
    for query in ({}, {"q": str(export.pk)}):
        assert str(export.pk) in auditor.get(changelist, query).content.decode()
    for entry_id in AuditEntry.objects.values_list("pk", flat=True):
        assert auditor.get(reverse("admin:exports_auditentry_change", args=[entry_id])).status_code == 200


# Retention and the chain


def age(*made: AuditEntry, days: float = 1) -> None:
    AuditEntry.objects.filter(pk__in=[each.pk for each in made]).update(at=timezone.now() - timedelta(days=days))


def test_old_entries_are_deleted_in_batches(settings: LazySettings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "MAX_PER_STEP", 2)
    made = [record("answer", None, SYSTEM) for _ in range(4)]
    age(*made[:3], days=400)
    assert [audit.prune() for _ in range(3)] == [2, 1, 0]
    configure(settings, AUDIT_RETENTION_SECONDS=None)
    age(made[3], days=4000)
    assert (audit.prune(), AuditEntry.objects.count()) == (0, 1)


@pytest.fixture
def chain(settings: LazySettings, owner: User) -> list[AuditEntry]:
    """Five sealed entries a day old."""
    configure(settings, AUDIT_KEYS=[KEY])
    made = [record("download", rows.queued(owner).pk, Actor.of(owner), file_type=f"d{number}") for number in range(5)]
    age(*made)
    assert audit.seal() == 5
    return list(AuditEntry.objects.order_by("position"))


def check(**options: Any) -> str:
    """Return what the command prints about the chain."""
    out = io.StringIO()
    try:
        call_command("exports", "audit", stdout=out, **options)
    except CommandError:
        assert "complete. Keep" not in out.getvalue()
    return out.getvalue()


def test_a_chain_that_nobody_touched_is_complete(chain: list[AuditEntry], settings: LazySettings):
    printed = check()
    assert re.fullmatch(rf"The audit log is complete. Keep this for --head: 5:{chain[-1].seal}\n", printed)
    later = record("answer", None, SYSTEM)
    age(later)
    configure(settings, AUDIT_KEYS=["a newer key of the audit log", KEY])
    assert audit.seal() == 1
    assert "complete" in check(head=f"5:{chain[-1].seal}")


@pytest.mark.parametrize("column", ["user_id", "verb", "file_type", "address", "outcome", "at", "count", "export_id"])
def test_an_entry_that_was_changed_is_found(chain: list[AuditEntry], column: str):
    other = chain[3]
    values = {"user_id": 99, "verb": "share", "at": timezone.now(), "count": 7, "export_id": other.export_id}
    AuditEntry.objects.filter(position=3).update(**{column: values.get(column, "changed")})
    assert check() == "Number 3 was changed.\n"


def test_missing_swapped_and_added_entries_are_found(chain: list[AuditEntry]):
    AuditEntry.objects.filter(position=3).delete()
    assert check() == "The entries between number 2 and number 4 are missing.\n"
    chain[3].position, chain[3].pk = 3, None
    chain[3].save(force_insert=True)
    assert "Number 3 does not follow number 2.\nNumber 3 was changed.\n" in check()


def test_a_missing_beginning_or_end_is_found(chain: list[AuditEntry]):
    head = f"5:{chain[-1].seal}"
    AuditEntry.objects.filter(position=1).delete()
    assert check() == "The entries before number 2 are missing.\n"
    AuditEntry.objects.filter(position__gte=4).delete()
    assert "The entries from number 4 to number 5 are missing." in check(head=head)


def test_retention_keeps_the_chain_complete(chain: list[AuditEntry], settings: LazySettings):
    configure(settings, AUDIT_RETENTION_SECONDS=3600 * 12)
    fresh = record("answer", None, SYSTEM)
    AuditEntry.objects.filter(pk=fresh.pk).update(at=timezone.now() - timedelta(hours=1))
    audit.seal()
    assert audit.prune() == 4
    assert list(AuditEntry.objects.filter(position__isnull=False).values_list("position", flat=True)) == [6, 5]
    assert "complete" in check()


def test_a_sealed_download_that_ends_later_gets_a_second_entry(settings: LazySettings, owner: User):
    configure(settings, AUDIT_KEYS=[KEY])
    export = rows.ready(owner)
    response = signed_in(owner).get(ticket_for(export, owner))
    age(*AuditEntry.objects.all())
    audit.seal()
    response.getvalue()
    begun, ended = rows.downloads()
    assert (begun.outcome, ended.outcome, ended.reason) == ("begun", "sent", f"end of entry {begun.pk}")
    assert "complete" in check()


def test_without_keys_nothing_is_sealed_and_the_command_says_so(owner: User):
    age(rows.downloaded(rows.ready(owner)))
    assert audit.seal() == 0
    with pytest.raises(CommandError, match="AUDIT_KEYS"):
        call_command("exports", "audit")
