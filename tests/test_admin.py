"""The admin: staff can look, cancel and expire; they cannot edit, and criteria and storage keys are hidden."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core import mail
from django.db import connection
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from exports import housekeeping
from exports.access import tokens
from exports.admin import requests, search
from exports.exceptions import ExportError
from exports.models import AccessToken, Actor, Artifact, AuditEntry, FileRequest, Notification, Preset
from exports.models.audit import SYSTEM, record
from tests.office import people, rows
from tests.office.browsers import signed_in, ticket_for

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

LIST = "/admin/exports/filerequest/"
MODELS = (FileRequest, Notification, AuditEntry, Preset, AccessToken)


@pytest.fixture
def root() -> Client:
    """A client of a superuser, who has every permission."""
    return signed_in(User.objects.create_superuser("root", password=people.PASSWORD))


@pytest.fixture
def exports(office: None, owner: User) -> list[FileRequest]:
    """An export in every status, with mails and a download."""
    requests = [make(owner, criteria="month=4&secret=blue") for make in rows.IN_STATUS.values()]
    ready = rows.ready(owner)
    Preset.objects.create(owner=owner, file_type="report", name="Month end", criteria="month=4&secret=blue")
    tokens.create(owner, "nightly", SYSTEM)
    signed_in(owner).get(ticket_for(ready, owner)).getvalue()
    return [*requests, ready]


def page_of(row: FileRequest | Notification | AuditEntry, name: str = "change") -> str:
    return reverse(f"admin:exports_{row._meta.model_name}_{name}", args=[row.pk])


@pytest.mark.usefixtures("exports")
def test_every_list_and_every_row_has_a_page(root: Client):
    for model in MODELS:
        assert root.get(reverse(f"admin:exports_{model._meta.model_name}_changelist")).status_code == 200
        assert model.objects.exists()
        for row in model.objects.all():
            assert root.get(page_of(row)).status_code == 200


@pytest.mark.parametrize("model", MODELS)
def test_more_rows_in_a_list_need_no_more_queries(root: Client, owner: User, model: type[Model]):
    counts = []
    for _ in range(2):
        export = rows.queued(owner)
        Notification.objects.create(request=export, due_at=timezone.now())
        record("cancel", export.pk, Actor.of(owner))
        Preset.objects.create(owner=owner, file_type="report", name=str(export.pk))
        with CaptureQueriesContext(connection) as queries:
            root.get(reverse(f"admin:exports_{model._meta.model_name}_changelist"))
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_staff_see_why_an_export_failed(root: Client, owner: User):
    page = root.get(page_of(rows.failed(owner))).content.decode()
    assert "storage_full" in page
    assert "secret detail for staff" in page


def test_criteria_storage_keys_and_tickets_are_hidden(root: Client, exports: list[FileRequest]):
    for request in exports:
        for address in (LIST, page_of(request)):
            page = root.get(address).content.decode()
            assert "secret=blue" not in page
            assert "month=4" not in page
            assert "/exports/file/" not in page
            assert not request.filehandle or request.filehandle.name not in page


@pytest.mark.usefixtures("exports")
def test_a_superuser_cannot_add_edit_or_delete(root: Client):
    for model in MODELS:
        row = model.objects.first()
        before = model.objects.filter(pk=row.pk).values().get()
        assert root.get(reverse(f"admin:exports_{model._meta.model_name}_add")).status_code == 403
        assert root.post(page_of(row), {"status": "ready", "description": "changed"}).status_code == 403
        assert root.post(page_of(row, "delete"), {"post": "yes"}).status_code == 403
        assert model.objects.filter(pk=row.pk).values().get() == before
        assert (
            "delete_selected"
            not in root.get(reverse(f"admin:exports_{model._meta.model_name}_changelist")).content.decode()
        )


def test_deleting_a_user_deletes_their_exports_but_keeps_artifacts(
    root: Client, owner: User, exports: list[FileRequest]
):
    keys = {request.filehandle.name for request in exports if request.filehandle}
    response = root.post(reverse("admin:auth_user_delete", args=[owner.pk]), {"post": "yes"})
    assert response.status_code == 302
    assert not User.objects.filter(pk=owner.pk).exists()
    assert not FileRequest.objects.exists()
    assert keys <= set(Artifact.objects.values_list("key", flat=True))
    assert rows.downloads().get().user_id == owner.pk


def act(client: Client, action: str, *selected: FileRequest | Notification) -> HttpResponse:
    given = {"action": action, "_selected_action": [str(row.pk) for row in selected]}
    return client.post(reverse(f"admin:exports_{selected[0]._meta.model_name}_changelist"), given, follow=True)


def messages_of(response: HttpResponse) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def changer() -> Client:
    return signed_in(people.staff("changer", people.VIEW, people.CHANGE))


def test_staff_cancel_active_exports_and_see_which_were_too_late(owner: User):
    requests = [make(owner) for make in (rows.queued, rows.running, rows.ready)]
    response = act(changer(), "cancel_requests", *requests)
    assert [rows.fresh(request).status for request in requests] == ["cancelled", "cancelled", "ready"]
    assert messages_of(response) == ["2 requests changed.", "1 request had moved on."]


def test_staff_expire_files_and_their_links_end(owner: User):
    request = rows.ready(owner)
    address = ticket_for(request, owner)
    assert messages_of(act(changer(), "expire_files", request)) == ["1 request changed."]
    assert rows.fresh(request).status == "expired"
    assert signed_in(owner).get(address).status_code == 404


@pytest.mark.parametrize("of_requests", [True, False])
def test_staff_send_mails_again_and_see_which_are_not(owner: User, of_requests: bool):
    requests = [rows.ready(owner), rows.failed(owner), rows.ready(owner)]
    lost, sent, waiting = (request.notifications.get() for request in requests)
    Notification.objects.filter(pk=lost.pk).update(state="suppressed", reason="gave up: OSError")
    Notification.objects.filter(pk=sent.pk).update(state="sent")
    staff = signed_in(people.staff("changer", people.VIEW, people.CHANGE, "view_notification"))
    response = act(staff, "resend_mails", *(requests if of_requests else [lost, sent, waiting]))
    message, warning = messages_of(response)
    assert message == "2 mails will be sent."
    assert warning.startswith("1 mail is not sent again: it waits")
    assert list(Notification.objects.exclude(resent_at=None).order_by("pk")) == [lost, sent]
    assert set(Notification.objects.values_list("state", flat=True)) == {"pending"}


def test_staff_see_what_became_of_the_mail(root: Client, owner: User):
    request = rows.ready(owner)
    Notification.objects.update(state="suppressed", reason="gave up: OSError")
    for address in (LIST, page_of(request)):
        assert "Ready: Suppressed (gave up: OSError)" in root.get(address).content.decode()


@pytest.mark.parametrize("action", ["cancel_requests", "expire_files", "resend_mails", "delete_selected"])
def test_staff_who_may_only_view_have_no_actions(owner: User, action: str):
    requests = [rows.queued(owner), rows.ready(owner)]
    viewer = signed_in(people.staff("viewer", people.VIEW))
    Notification.objects.update(state="sent")
    assert "cancel_requests" not in viewer.get(LIST).content.decode()
    act(viewer, action, *requests)
    assert [rows.fresh(request).status for request in requests] == ["queued", "ready"]
    assert Notification.objects.get().state == "sent"


def test_permissions_of_other_apps_give_no_actions(owner: User):
    request, someone = rows.queued(owner), people.staff("someone", people.VIEW)
    someone.user_permissions.add(*Permission.objects.filter(content_type__app_label="auth"))
    act(signed_in(someone), "cancel_requests", request)
    assert rows.fresh(request).status == "queued"


@pytest.mark.parametrize("model", MODELS)
def test_no_column_can_be_read_through_the_address_of_a_list(root: Client, model: type[Model]):
    address = reverse(f"admin:exports_{model._meta.model_name}_changelist")
    shown = admin.site.get_model_admin(model)
    columns = [each for each in shown.list_filter if isinstance(each, str)]
    times = [each[0] for each in shown.list_filter if isinstance(each, tuple)]
    offered = {f"{name}__{lookup}" for name in columns for lookup in ("exact", "isnull")}
    offered |= {f"{name}__{lookup}" for name in times for lookup in ("gte", "lt", "isnull")}
    for field in model._meta.concrete_fields:
        for lookup in {f"{field.name}__{name}" for name in field.get_lookups()} - offered:
            assert root.get(address, {lookup: "1"}).status_code == 400, lookup
        if field.is_relation:
            related = field.remote_field.model._meta.concrete_fields
            for lookup in [f"{field.name}__{other.name}__startswith" for other in related]:
                assert root.get(address, {lookup: "1"}).status_code == 400, lookup


def test_lists_can_be_filtered_as_their_pages_offer(root: Client, owner: User):
    rows.queued(owner)
    page = root.get(LIST)
    links = [
        choice["query_string"]
        for each in page.context["cl"].filter_specs
        for choice in each.choices(page.context["cl"])
    ]
    assert "?status__exact=queued" in links
    assert any("requested_at__gte" in link for link in links)
    for link in links:
        assert root.get(LIST + link).status_code == 200


def test_the_search_does_not_look_into_what_is_hidden(root: Client, exports: list[FileRequest]):
    for text in ("secret", "month=4", exports[-1].filehandle.name, exports[-1].sha256):
        assert not root.get(LIST, {"q": text}).context["cl"].queryset.exists()


def test_exports_are_found_by_id_label_file_name_and_owner(root: Client, owner: User):
    wanted = rows.queued(owner, filename="wanted.csv", label="From month: April")
    rows.queued(people.user("grace"), filename="other.csv")
    for text in (str(wanted.pk), "wanted", "april", "own", "OWNER@example.com", " owner@ "):
        found = root.get(LIST, {"q": text}).context["cl"].queryset
        assert [request.pk for request in found] == [wanted.pk], text


@pytest.mark.both_databases
def test_a_search_reads_a_bounded_part_of_the_history(root: Client, owner: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search, "SEARCHED", 2)
    for age, label in ((3, "old"), (2, "new"), (1, "newest")):
        rows.queued(owner, label=label, requested_at=timezone.now() - timedelta(days=age))
    labels = [export.label for export in root.get(LIST, {"q": "report"}).context["cl"].queryset]
    assert labels == ["newest", "new"]


def test_a_search_finds_the_user_of_exactly_this_name_beside_many_longer_names(
    root: Client, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search, "MAX_USERS", 2)
    owners = [people.user(name) for name in ("smithson", "smithers", "smithy", "smith")]
    for each in owners:
        rows.queued(each)
    found = root.get(LIST, {"q": "smith"}).context["cl"].queryset
    assert {export.requester.username for export in found} == {"smith", "smithers"}


def test_a_search_keeps_the_filters_of_the_list(root: Client, owner: User):
    rows.queued(owner)
    lost = rows.failed(owner)
    assert [row.pk for row in root.get(LIST, {"q": "owner", "status": "failed"}).context["cl"].queryset] == [lost.pk]


class OutOfPaper(ExportError):
    code = "out_of_paper"


def test_failed_exports_are_filtered_by_their_code(root: Client, owner: User):
    stalled = rows.failed(owner, "stalled")
    rows.failed(owner, "storage_full")
    rows.ready(owner)
    page = root.get(LIST, {"error": "stalled"})
    assert [row.pk for row in page.context["cl"].queryset] == [stalled.pk]
    codes = [code for code, _ in page.context["cl"].filter_specs[2].lookup_choices]
    # Those of transitions, of exceptions of the app, and of one that a project has derived from them.
    assert {"worker_lost", "storage_full", "export_failed", OutOfPaper.code} < set(codes)
    assert "unheard_of" in root.get(LIST, {"error": "unheard_of"}).content.decode()


def test_the_list_shows_sizes_durations_and_a_live_bar(root: Client, owner: User):
    rows.ready(owner)
    running = [rows.running(owner) for _ in range(requests.LIVE_ROWS + 1)]
    page = root.get(LIST).content.decode()
    assert "23.4\xa0KB" in page
    assert "1 second" in page
    assert page.count("<export-progress") == len(running)
    assert page.count(" socket=") == requests.LIVE_ROWS
    for export in running:
        assert f'src="{reverse("exports:detail", args=[export.pk])}"' in page


def press(client: Client, export: FileRequest, verb: str) -> HttpResponse:
    return client.post(reverse("admin:exports_filerequest_act", args=[export.pk, verb]), follow=True)


def verbs_shown(client: Client, export: FileRequest) -> list[str]:
    return re.findall(r'formaction="[^"]*/act/(\w+)/"', client.get(page_of(export)).content.decode())


def test_the_page_has_the_buttons_that_apply(owner: User):
    staff = changer()
    queued, ready, lost = rows.queued(owner), rows.ready(owner), rows.failed(owner)
    Notification.objects.filter(request=lost).update(state="sent")
    assert [verbs_shown(staff, each) for each in (queued, ready, lost)] == [["cancel"], ["expire"], ["retry", "resend"]]
    assert f'href="{reverse("exports:page", args=[ready.pk])}"' in staff.get(page_of(ready)).content.decode()
    assert verbs_shown(signed_in(people.staff("viewer", people.VIEW)), queued) == []


@pytest.mark.parametrize(
    ("verb", "make", "recorded"),
    [("cancel", rows.running, "cancel"), ("expire", rows.ready, "expire"), ("retry", rows.expired, "request")],
)
def test_a_button_is_recorded_with_its_actor(
    owner: User, verb: str, make: Callable[[User], FileRequest], recorded: str
):
    staff = people.staff("changer", people.VIEW, people.CHANGE)
    response = press(signed_in(staff), make(owner), verb)
    assert response.status_code == 200
    assert len(messages_of(response)) == 1
    assert AuditEntry.objects.filter(verb=recorded, user=staff).count() == 1


def test_try_again_shows_the_new_export_of_the_same_owner(owner: User):
    old = rows.expired(owner)
    response = press(changer(), old, "retry")
    new = FileRequest.objects.exclude(pk=old.pk).get()
    assert (new.requester_id, new.status) == (owner.pk, "queued")
    assert response.redirect_chain == [(page_of(new), 302)]
    assert messages_of(response) == ["This is the new request."]


def test_try_again_says_why_it_was_refused(owner: User):
    gone, refused = rows.expired(owner, file_type="gone"), rows.expired(owner)
    people.refuse(owner)
    staff = changer()
    assert messages_of(press(staff, gone, "retry")) == ["This export does not exist any more."]
    assert messages_of(press(staff, refused, "retry")) == ["You may not export this."]
    assert messages_of(press(staff, rows.queued(owner), "retry"))[0].startswith("Only a request that failed")


def test_buttons_are_for_staff_who_may_change_and_only_by_post(owner: User):
    export = rows.queued(owner)
    act = reverse("admin:exports_filerequest_act", args=[export.pk, "cancel"])
    assert signed_in(people.staff("viewer", people.VIEW)).post(act).status_code == 403
    staff = changer()
    assert staff.get(act).status_code == 404
    assert press(staff, export, "delete").status_code == 404
    assert rows.fresh(export).status == "queued"


def test_the_owner_is_told_when_staff_cancel(owner: User):
    export, own = rows.running(owner), rows.queued(owner)
    press(changer(), export, "cancel")
    signed_in(owner).post(reverse("exports:cancel", args=[own.pk]))
    told = signed_in(owner).get(reverse("exports:detail", args=[export.pk])).json()
    assert told["error"] == {"code": "cancelled_by_staff", "message": "An administrator cancelled this export."}
    assert signed_in(owner).get(reverse("exports:detail", args=[own.pk])).json()["error"] is None
    assert "An administrator cancelled" in signed_in(owner).get(told["urls"]["page"]).content.decode()
    Notification.objects.update(due_at=timezone.now())
    housekeeping.sweep()
    [sent] = mail.outbox
    assert (sent.to, sent.subject) == ([owner.email], "Report: the export was cancelled")
    assert "An administrator cancelled this export." in sent.body


def test_an_owner_who_has_read_that_staff_cancelled_gets_no_mail(owner: User):
    export = rows.running(owner)
    press(changer(), export, "cancel")
    signed_in(owner).post(reverse("exports:seen", args=[export.pk]))
    Notification.objects.update(due_at=timezone.now())
    housekeeping.sweep()
    assert mail.outbox == []


def test_the_timeline_is_for_staff_who_may_read_the_audit_log(owner: User):
    export = rows.failed(owner)
    Notification.objects.filter(request=export).update(state="sent", settled_at=timezone.now())
    record("download", export.pk, Actor.of(owner), outcome="denied")
    reader = signed_in(people.staff("reader", people.VIEW, "view_auditentry"))
    page = reader.get(page_of(export)).content.decode()
    cells = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]
    told = [(what, by, outcome) for _, what, by, outcome in filter(None, cells)]
    assert ("Failed", "worker", "Failed (storage_full)") in told
    assert ("Downloaded", "owner", "Denied") in told
    assert ("Mail", "", "Failed: Sent") in told
    assert "export-admin-timeline" not in changer().get(page_of(export)).content.decode()


def test_the_list_of_requests_links_to_pages_and_to_files_that_the_user_may_download(owner: User):
    ready = rows.ready(owner)
    page, file = (reverse(f"exports:{name}", args=[ready.pk]) for name in ("page", "download"))
    for names, has_file in (((people.VIEW,), False), ((people.VIEW, people.ANY), True)):
        listed = signed_in(people.staff("-".join(names), *names)).get(LIST).content.decode()
        assert f'href="{page}"' in listed
        assert (f'href="{file}"' in listed) == has_file
