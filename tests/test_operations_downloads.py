"""DownloadExport: the audit log of downloads as an export, for staff who may view it."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from exports.contrib.operations.downloads import DownloadExport
from exports.exporters import registry
from exports.models import Download, FileRequest
from exports.worker import loop
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, ticket_for, url_of
from tests.office.exports import open_office

pytestmark = pytest.mark.django_db(transaction=True)

FORM = "/exports/new/downloads/"


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        registry.register(DownloadExport)
        yield


@pytest.fixture
def auditor() -> Client:
    return signed_in(people.staff("auditor", "view_download"))


def request_export(client: Client, **criteria: str) -> FileRequest:
    answer = client.post(FORM, {"format": "csv", **criteria}, headers=JSON)
    assert answer.status_code == 202, answer.content
    loop.WorkerLoop("small").run_due()
    return FileRequest.objects.get(pk=answer.json()["id"])


def read(client: Client, request: FileRequest) -> list[dict[str, str]]:
    """Download the file as a browser does, and return its rows."""
    response = client.get(client.get(url_of("download", request))["Location"])
    return list(csv.DictReader(io.StringIO(response.getvalue().decode("utf-8-sig"), newline="")))


def test_staff_export_the_downloads_including_their_own(auditor: Client, owner: User):
    request = rows.ready(owner)
    client = signed_in(owner)
    client.get(ticket_for(request, owner), REMOTE_ADDR="203.0.113.77").getvalue()
    client.get(ticket_for(request, owner), headers={"range": "bytes=5-9"}).getvalue()
    first = request_export(auditor)
    whole, part = read(auditor, first)
    assert (whole["Name"], whole["Export"], whole["Request"]) == ("owner", "report", str(request.pk))
    assert (whole["Bytes"], whole["Sent"], whole["Outcome"]) == (str(request.size), str(request.size), "completed")
    assert (whole["Network"], whole["Link for anyone"]) == ("203.0.113.0", "false")
    assert (part["First byte"], part["Bytes"]) == ("5", "5")
    *_, own = read(auditor, request_export(auditor, since="2000-01-01"))
    assert (own["Name"], own["Export"], own["Request"]) == ("auditor", "downloads", str(first.pk))


def test_both_days_of_the_form_are_included(auditor: Client, owner: User):
    for days in (0, 1, 2, 3):
        made = Download.objects.create(user=owner, file_type=f"d{days}", byte_count=1)
        Download.objects.filter(pk=made.pk).update(at=timezone.now() - timedelta(days=days))
    day = (timezone.now() - timedelta(days=2)).date(), (timezone.now() - timedelta(days=1)).date()
    found = read(auditor, request_export(auditor, since=str(day[0]), until=str(day[1])))
    assert [row["Export"] for row in found] == ["d2", "d1"]


def test_users_without_the_permission_are_refused():
    staff = people.staff("staff", "view_filerequest", "download_any_filerequest")
    for someone in (people.user("grace"), people.user("user", "view_download"), staff):
        assert signed_in(someone).post(FORM, {"format": "csv"}, headers=JSON).status_code == 403
    assert not FileRequest.objects.exists()


def test_losing_the_permission_before_the_run_fails_the_export(auditor: Client):
    answer = auditor.post(FORM, {"format": "csv"}, headers=JSON)
    User.objects.get(username="auditor").user_permissions.clear()
    loop.WorkerLoop("small").run_due()
    request = FileRequest.objects.get(pk=answer.json()["id"])
    assert (request.status, request.error_code) == ("failed", "permission_lost")


def test_a_user_name_that_is_a_formula_is_escaped(auditor: Client):
    Download.objects.create(user=people.user("=1+1"), file_type="report", byte_count=1)
    [row] = read(auditor, request_export(auditor))
    assert row["Name"] == "'=1+1"


def test_the_admin_shows_downloads_and_cannot_change_them(auditor: Client, owner: User):
    made = Download.objects.create(user=owner, file_type="report", byte_count=1)
    assert b"report" in auditor.get(reverse("admin:exports_download_changelist")).content
    root = signed_in(User.objects.create_superuser("root"))
    change = reverse("admin:exports_download_change", args=[made.pk])
    assert root.get(change, headers=HTML).status_code == 200
    for address in (change, reverse("admin:exports_download_delete", args=[made.pk])):
        assert root.post(address, {"post": "yes", "file_type": "another"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [made.pk], "post": "yes"}
    root.post(reverse("admin:exports_download_changelist"), chosen)
    made.refresh_from_db()
    assert made.file_type == "report"
