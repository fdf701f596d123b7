"""A permission that is lost at any moment: no file, no mail, no link, and a reason that says so."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.core.files.base import ContentFile
from django.db import OperationalError
from django.db.models import F
from django.http import Http404, HttpRequest
from django.template import Context, Template
from django.test import RequestFactory

from exports import housekeeping, services, storage
from exports.contrib.bgfiles import toolbox
from exports.contrib.bgfiles import views as bgfiles_views
from exports.exceptions import InvalidStoredCriteria, SensitiveColumn
from exports.exporters import Column, QuerySetExport
from exports.models import Artifact, AuditEntry, FileRequest, Notification, Status
from exports.realtime import events
from exports.shortcuts import export_response
from exports.worker import loop
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, status_of, ticket_for, url_of
from tests.office.exports import REFUSED, ReportExport, open_office
from tests.office.pages import leave, one, opened
from tests.shop.exports import registered
from tests.shop.runs import configure, stored_files, use_folders

pytestmark = pytest.mark.django_db(transaction=True)

CHOSEN = {"month": "4"}


@pytest.fixture(autouse=True)
def folder(settings: LazySettings, tmp_path: Path) -> Iterator[Path]:
    configure(settings, MAIL_DELAY_SECONDS=0)
    with open_office():
        yield use_folders(settings, tmp_path)


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


class Meanwhile(ReportExport):
    """The report; `happens` is called while its rows are read."""

    happens: Callable[[], object] = lambda: None

    def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> Any:
        type(self).happens()
        return super().get_queryset(user, criteria)


def made_while(owner: User, happens: Callable[[], object], exporter: type[ReportExport] = Meanwhile) -> FileRequest:
    """Run an export, and call `happens` in the middle of the run. Return its row."""
    export, _ = services.request_export(owner, "report", CHOSEN, format="csv")
    with registered(type("Export", (exporter,), {"happens": staticmethod(happens)})):
        assert loop.dispatch(export.pk)
    return FileRequest.objects.filter(pk=export.pk).first() or export


def check_nothing_is_left(export: FileRequest, folder: Path) -> None:
    """Check that the row has no file, and that the next sweep deletes its bytes."""
    assert not export.filehandle
    assert (export.expires_at, export.sha256, export.receipt) == (None, "", {})
    housekeeping.delete_files()
    assert stored_files(folder) == []
    assert not Artifact.objects.filter(state=Artifact.State.PUBLISHED).exists()


# During the run


@pytest.mark.parametrize("lose", [people.refuse, people.deactivate], ids=["demoted", "deactivated"])
def test_losing_the_permission_during_the_run_fails_the_export(
    owner: User, folder: Path, lose: Callable[[User], User]
) -> None:
    export = made_while(owner, lambda: lose(owner))
    assert (export.status, export.error_code, export.attempts) == (Status.FAILED, "permission_lost", 1)
    check_nothing_is_left(export, folder)


def test_deleting_the_owner_during_the_run_leaves_no_file(owner: User, folder: Path) -> None:
    made_while(owner, owner.delete)
    assert not FileRequest.objects.exists()
    housekeeping.delete_files()
    assert stored_files(folder) == []


def test_criteria_that_become_invalid_during_the_run_fail_the_export(owner: User, folder: Path) -> None:
    class Moody(Meanwhile):
        is_over = False

        def restore(self, export: FileRequest) -> Mapping[str, Any]:
            if self.is_over:
                raise InvalidStoredCriteria("Not any more.")
            return super().restore(export)

    export = made_while(owner, lambda: setattr(Moody, "is_over", True), Moody)
    assert (export.status, export.error_code) == (Status.FAILED, "invalid_criteria")
    check_nothing_is_left(export, folder)


class Breaking(Meanwhile):
    """A report whose permission rule raises `error`."""

    error: Exception | None = None

    def has_permission(self, user: Any, criteria: Mapping[str, Any]) -> bool:
        if self.error is not None:
            raise self.error
        return True


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ZeroDivisionError(), Status.FAILED, "export_failed"),
        (OperationalError(), Status.QUEUED, "unavailable"),
        (None, Status.READY, ""),
    ],
)
def test_a_permission_rule_that_raises_after_the_run_leaves_no_file(
    owner: User, folder: Path, error: Exception | None, status: str, code: str
) -> None:
    breaking = type("AnyBreaking", (Breaking,), {})

    export = made_while(owner, lambda: setattr(breaking, "error", error), breaking)

    assert (export.status, export.error_code) == (status, code)
    if status == Status.FAILED:
        check_nothing_is_left(export, folder)


def test_a_file_attached_for_a_deactivated_owner_is_expired(owner: User, folder: Path, settings: LazySettings) -> None:
    configure(settings, FILE_DELETE_DELAY_SECONDS=0)

    class Handler:
        file_type = "handled"

        @staticmethod
        def handle(export: FileRequest) -> None:
            people.deactivate(owner)
            toolbox.attach_file(export, ContentFile(b"by a handler"), "handled.txt", "text/plain")

    with registered(Handler):
        export = rows.queued(owner, file_type="handled")
        assert loop.dispatch(export.pk)
    assert rows.fresh(export).status == Status.EXPIRED
    housekeeping.delete_files()
    assert stored_files(folder) == []


def test_stored_rows_of_a_deactivated_owner_become_no_file(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    export = services.request_rows(
        owner, [{"a": 1}], ["a"], format="csv", options={}, filename="rows.csv", is_small=True
    )
    put = storage.put

    def put_while(*arguments: Any, **named: Any) -> None:
        people.deactivate(owner)
        put(*arguments, **named)

    monkeypatch.setattr(storage, "put", put_while)
    assert loop.dispatch(export.pk)
    export.refresh_from_db()
    assert (export.status, export.error_code) == (Status.FAILED, "permission_lost")


# Mail


@pytest.mark.parametrize(("lose", "reason"), [(people.refuse, "permission lost"), (people.deactivate, "no requester")])
def test_an_owner_without_permission_gets_no_mail_about_the_file(
    owner: User, lose: Callable[[User], User], reason: str, mailoutbox: list[Any]
) -> None:
    export = rows.ready(owner)
    lose(owner)
    assert housekeeping.send_mails() == 0
    assert mailoutbox == []
    notification = Notification.objects.get(request=export)
    assert (notification.state, notification.reason) == (Notification.State.SUPPRESSED, reason)


def test_an_owner_who_lost_the_permission_is_told_why_by_mail(owner: User, mailoutbox: list[Any]) -> None:
    made_while(owner, lambda: people.refuse(owner))
    assert housekeeping.send_mails() == 1
    [mail] = mailoutbox
    assert "You may no longer export this." in mail.body
    assert "download" not in mail.body


# Pages and sockets


async def test_an_open_socket_gets_no_link_after_the_permission_was_lost(owner: User) -> None:
    export, claim = await sync_to_async(rows.claimed)(owner)
    async with opened(owner) as mine, opened(owner, one(export)) as its:
        assert [(await page.next_state())["status"] for page in (mine, its)] == ["running", "running"]

        @sync_to_async
        def publish_to_the_refused() -> None:
            people.refuse(owner)
            assert rows.publish(claim)
            events.send_state(rows.fresh(export))

        await publish_to_the_refused()
        for page in (mine, its):
            [*_, state] = await page.states_until(lambda state: state["status"] == "ready")
            assert (state["urls"]["ticket"], state["urls"]["download"], state["file"]) == (None, None, None)
            assert state["error"] == {"code": "permission_lost", "message": "You may no longer export this."}
    await leave()


@pytest.mark.parametrize("address", ["page", "list"])
def test_pages_say_that_the_permission_was_lost(owner: User, address: str) -> None:
    export, client = rows.ready(owner), signed_in(owner)
    shown = url_of("page", export) if address == "page" else "/exports/"
    assert "You may no longer export this." not in client.get(shown, headers=HTML).content.decode()
    people.refuse(owner)
    text = client.get(shown, headers=HTML).content.decode()
    assert "You may no longer export this." in text
    assert url_of("download", export) not in text
    assert "report.csv" not in text


def test_the_etag_of_a_state_changes_with_the_permission(owner: User) -> None:
    export, client = rows.ready(owner), signed_in(owner)
    etag = client.get(url_of("detail", export))["ETag"]
    assert client.get(url_of("detail", export), headers={"If-None-Match": etag}).status_code == 304
    people.refuse(owner)
    assert client.get(url_of("detail", export), headers={"If-None-Match": etag}).status_code == 200


# Downloads


def test_every_download_asks_for_the_permission_again(owner: User) -> None:
    export, client = rows.ready(owner), signed_in(owner)
    addresses = [ticket_for(export, owner), url_of("download", export)]
    assert [status_of(client, address) for address in addresses] == [200, 302]
    downloads = rows.downloads().count()
    people.refuse(owner)
    assert [status_of(client, address) for address in addresses] == [404, 404]
    owner.groups.clear()
    assert [status_of(client, address) for address in addresses] == [200, 302]
    assert rows.downloads().count() == downloads + 1


def test_tokens_of_dj_bgfiles_open_no_file_after_the_permission_was_lost(owner: User, rf: RequestFactory) -> None:
    export = rows.ready(owner)
    asked = rf.get("/")
    asked.user = owner
    for token in (toolbox.create_token(export), toolbox.create_general_token(export)):
        assert bgfiles_views.evaluate_request(asked, token, require_requester=False)[0] == export
    people.refuse(owner)
    for token in (toolbox.create_token(export), toolbox.create_general_token(export)):
        with pytest.raises(Http404):
            bgfiles_views.evaluate_request(asked, token, require_requester=False)


def test_staff_can_download_the_file_of_a_refused_owner(owner: User) -> None:
    export = rows.ready(people.refuse(owner))
    staff = people.staff("staff", people.VIEW, people.ANY)
    assert status_of(signed_in(staff), ticket_for(export, staff)) == 200


# Exports without a form


def may_have_report(user: Any) -> bool:
    """Return False for members of the group `refused`."""
    return not user.groups.filter(name=REFUSED).exists()


CODENAME, FUNCTION = "auth.view_user", f"{__name__}:may_have_report"
STORED_RULES = {"": None, CODENAME: CODENAME, FUNCTION: may_have_report}


def asked(rf: RequestFactory, user: User) -> HttpRequest:
    request = rf.post("/report/", headers=JSON)
    request.user = user
    return request


def grant(user: User) -> None:
    user.user_permissions.add(Permission.objects.get(codename="view_user"))


def withdraw(user: User) -> None:
    """Take away what both rules ask for."""
    people.refuse(user)
    user.user_permissions.clear()


@pytest.fixture
def holder(owner: User) -> User:
    grant(owner)
    return owner


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("status", Status.values)
@pytest.mark.parametrize("rule", STORED_RULES)
def test_every_way_to_a_stored_export_asks_for_its_rule(
    holder: User, rf: RequestFactory, rule: str, status: str, lost: bool
) -> None:
    people_rows = [{"name": "Ada"}]
    response = export_response(asked(rf, holder), people_rows, format="csv", wait=0, permission=STORED_RULES[rule])
    asked_for = FileRequest.objects.get(pk=json.loads(response.content)["id"])
    assert asked_for.permission == rule
    columns = {"file_type": "exports.rows", "criteria": asked_for.criteria, "permission": rule}
    export, client = rows.IN_STATUS[status](holder, **columns), signed_in(holder)
    if lost:
        withdraw(holder)
    is_refused = lost and rule != ""
    ended = status in ("failed", "cancelled", "expired")
    state = client.get(url_of("detail", export)).json()
    assert (state["urls"]["retry"] is not None) is (ended and rule != "")
    retried = client.post(url_of("retry", export), headers=JSON).status_code
    assert retried == (409 if not ended or rule == "" else 403 if is_refused else 201)
    has_file = status == "ready" and not is_refused
    assert (state["urls"]["download"] is not None) is has_file
    assert status_of(client, ticket_for(export, holder)) == (200 if has_file else 404)
    if status == "queued":
        assert loop.dispatch(export.pk)
        assert rows.fresh(export).status == ("failed" if is_refused else "ready")


def test_expiring_and_retrying_gives_no_rows_to_who_lost_the_permission(holder: User, rf: RequestFactory) -> None:
    response = export_response(asked(rf, holder), User.objects.values("username"), format="csv", wait=0)
    export = FileRequest.objects.get(pk=json.loads(response.content)["id"])
    assert loop.dispatch(export.pk)
    client = signed_in(holder)
    assert client.post(url_of("expire", export), headers=JSON).status_code == 200
    assert client.post(url_of("retry", export), headers=JSON).status_code == 409
    assert FileRequest.objects.count() == 1


def test_the_rule_is_asked_before_a_file_is_answered_at_once(owner: User, rf: RequestFactory) -> None:
    request = asked(rf, owner)
    with pytest.raises(PermissionDenied):
        export_response(request, [{"a": 1}], "secret", "csv", permission=CODENAME)
    response = export_response(request, [{"a": 1}], "people", "csv", permission=may_have_report)
    with closing(response):
        assert response.getvalue()
    entries = AuditEntry.objects.order_by("pk").values_list("user", "verb", "outcome", "filename")
    assert list(entries) == [(owner.pk, "answer", "denied", "secret"), (owner.pk, "answer", "done", "people.csv")]


@pytest.mark.parametrize("rule", [lambda user: True, partial(bool), "nonsense", "module:function"])
def test_a_rule_that_no_worker_could_ask_is_an_error(owner: User, rf: RequestFactory, rule: Any) -> None:
    with pytest.raises(ValueError, match=r"permission|function"):
        export_response(asked(rf, owner), [{"a": 1}], format="csv", permission=rule)


# Forms


class ByMonth(ReportExport):
    """The report; its rule depends on the criteria."""

    def has_permission(self, user: Any, criteria: Mapping[str, Any]) -> bool:
        return super().has_permission(user, criteria) and criteria.get("month") == 4


def test_a_form_is_shown_unless_its_export_refuses_the_user_whatever_they_choose(owner: User) -> None:
    client = signed_in(owner)
    with registered(ByMonth):
        page = client.get("/exports/new/report/")
        assert page.status_code == 200
        assert client.post("/exports/new/report/", {"month": 5}, headers=JSON).status_code == 403
        assert client.post("/exports/new/report/", {"month": 4}, headers=JSON).status_code == 202
        people.refuse(owner)
        for answer in (client.get("/exports/new/report/"), client.post("/exports/new/report/", {"month": "no"})):
            assert (answer.status_code, "month" in answer.content.decode()) == (403, False)


def test_the_form_on_a_page_of_the_project_is_left_out_for_a_refused_user(owner: User, rf: RequestFactory) -> None:
    page = Template("{% load exports %}{% export_form 'report' %}")
    for number in (1, 0):
        assert page.render(Context({"request": asked(rf, owner)})).count("<form") == number
        people.refuse(owner)


def test_an_export_may_name_the_permission_that_its_users_need(owner: User) -> None:
    class Declared(ReportExport):
        permission = CODENAME
        has_permission = QuerySetExport.has_permission

    with registered(Declared):
        assert signed_in(owner).get("/exports/new/report/").status_code == 403
        grant(owner)
        assert signed_in(User.objects.get()).get("/exports/new/report/").status_code == 200


# Fields that hold secrets


@pytest.mark.parametrize(
    "table",
    [
        lambda: User.objects.all(),
        lambda: User.objects.values(),
        lambda: list(User.objects.values()),
        lambda: [{"name": "Ada", "api_token": "s3cret"}],
    ],
)
@pytest.mark.parametrize("threshold", [0, 100])
def test_fields_that_hold_secrets_are_not_exported_unless_named(
    owner: User, rf: RequestFactory, table: Callable[[], Any], threshold: int
) -> None:
    with pytest.raises(SensitiveColumn, match=r"password|api_token"):
        export_response(asked(rf, owner), table(), format="csv", threshold=threshold)
    assert not FileRequest.objects.exists()


def test_named_fields_are_exported_and_a_setting_says_which_are_secret(
    owner: User, rf: RequestFactory, settings: LazySettings
) -> None:
    request = asked(rf, owner)
    for given in ({"columns": ["password"], "rows": User.objects.all()}, {"rows": User.objects.values("password")}):
        with closing(export_response(request, format="csv", **given)) as response:
            assert owner.password.encode() in response.getvalue()
    configure(settings, SENSITIVE_FIELDS=["email"])
    with pytest.raises(SensitiveColumn, match="email"):
        export_response(request, User.objects.all(), format="csv")


@pytest.mark.parametrize(
    ("declared", "status"),
    [
        ({"columns": (Column("password"),)}, "ready"),
        (
            {"get_columns": lambda self, user, criteria: [Column(field.name) for field in User._meta.concrete_fields]},
            "failed",
        ),
        ({"get_columns": lambda self, user, criteria: [Column("hash", source="password")]}, "failed"),
        ({"get_columns": lambda self, user, criteria: [Column("hash", source=F("password"))]}, "failed"),
        (
            {"get_columns": lambda self, user, criteria: [Column("password")], "sensitive_columns": ("password",)},
            "ready",
        ),
    ],
)
def test_an_exporter_names_the_secrets_that_it_exports(owner: User, declared: dict[str, Any], status: str) -> None:
    export, _ = services.request_export(owner, "report", CHOSEN, format="csv")
    with registered(type("Export", (ReportExport,), declared)):
        assert loop.dispatch(export.pk)
    export.refresh_from_db()
    assert (export.status, export.error_code) == (status, "" if status == "ready" else "sensitive_column")
