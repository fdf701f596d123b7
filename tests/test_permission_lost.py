"""The permission to have a file, lost at any moment: no file, no mail, no link, and a reason that says so."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import OperationalError
from django.http import Http404
from django.test import RequestFactory

from exports import housekeeping, services, storage
from exports.contrib.bgfiles import toolbox
from exports.contrib.bgfiles import views as bgfiles_views
from exports.exceptions import InvalidStoredCriteria
from exports.models import Artifact, Download, FileRequest, Notification, Status
from exports.realtime import events
from exports.worker import loop
from tests.office import people, rows
from tests.office.browsers import HTML, signed_in, status_of, ticket_for, url_of
from tests.office.exports import ReportExport, open_office
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
    """The report, which looks at its rows while something happens to its owner."""

    happens: Callable[[], object] = lambda: None

    def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> Any:
        type(self).happens()
        return super().get_queryset(user, criteria)


def made_while(owner: User, happens: Callable[[], object], export: type[ReportExport] = Meanwhile) -> FileRequest:
    """A request after its run, in the middle of which this happened."""
    request, _ = services.request_export(owner, "report", CHOSEN, format="csv")
    with registered(type("Export", (export,), {"happens": staticmethod(happens)})):
        assert loop.dispatch(request.pk)
    return FileRequest.objects.filter(pk=request.pk).first() or request


def check_nothing_is_left(request: FileRequest, folder: Path) -> None:
    """There is no file on the row, and its bytes go at the next sweep."""
    assert not request.filehandle
    assert (request.expires_at, request.sha256, request.receipt) == (None, "", {})
    housekeeping.delete_files()
    assert stored_files(folder) == []
    assert not Artifact.objects.filter(state=Artifact.State.PUBLISHED).exists()


# While it runs


@pytest.mark.parametrize("lose", [people.refuse, people.deactivate], ids=["demoted", "deactivated"])
def test_whoever_loses_the_permission_while_it_runs_gets_no_file(
    owner: User, folder: Path, lose: Callable[[User], User]
) -> None:
    request = made_while(owner, lambda: lose(owner))
    assert (request.status, request.error_code, request.attempts) == (Status.FAILED, "permission_lost", 1)
    check_nothing_is_left(request, folder)


def test_nothing_happening_there_is_a_file(owner: User) -> None:
    assert made_while(owner, lambda: None).status == Status.READY


def test_whoever_is_deleted_while_it_runs_leaves_no_file(owner: User, folder: Path) -> None:
    made_while(owner, owner.delete)
    assert not FileRequest.objects.exists()
    housekeeping.delete_files()
    assert stored_files(folder) == []


def test_criteria_that_do_not_hold_any_more_at_the_end_leave_no_file(owner: User, folder: Path) -> None:
    class Moody(Meanwhile):
        is_over = False

        def restore(self, request: FileRequest) -> Mapping[str, Any]:
            if self.is_over:
                raise InvalidStoredCriteria("Not any more.")
            return super().restore(request)

    request = made_while(owner, lambda: setattr(Moody, "is_over", True), Moody)
    assert (request.status, request.error_code) == (Status.FAILED, "invalid_criteria")
    check_nothing_is_left(request, folder)


class Breaking(Meanwhile):
    """Its rule raises `error` once something has happened."""

    error: Exception | None = None

    def has_permission(self, user: Any, criteria: Mapping[str, Any]) -> bool:
        if self.error is not None:
            raise self.error
        return True


def test_a_rule_that_breaks_at_the_end_leaves_no_file(owner: User, folder: Path) -> None:
    class Broken(Breaking):
        pass

    request = made_while(owner, lambda: setattr(Broken, "error", ZeroDivisionError()), Broken)
    assert (request.status, request.error_code) == (Status.FAILED, "export_failed")
    check_nothing_is_left(request, folder)


def test_a_rule_whose_database_is_away_at_the_end_is_asked_again_later(owner: User) -> None:
    class Away(Breaking):
        pass

    request = made_while(owner, lambda: setattr(Away, "error", OperationalError()), Away)
    assert (request.status, request.error_code) == (Status.QUEUED, "unavailable")
    assert not request.filehandle


def test_a_handler_that_attaches_its_file_for_somebody_who_was_deactivated_leaves_none(
    owner: User, folder: Path, settings: LazySettings
) -> None:
    configure(settings, FILE_DELETE_DELAY_SECONDS=0)

    class Handler:
        file_type = "handled"

        @staticmethod
        def handle(request: FileRequest) -> None:
            people.deactivate(owner)
            toolbox.attach_file(request, ContentFile(b"by a handler"), "handled.txt", "text/plain")

    with registered(Handler):
        request = rows.queued(owner, file_type="handled")
        assert loop.dispatch(request.pk)
    assert rows.fresh(request).status == Status.EXPIRED
    housekeeping.delete_files()
    assert stored_files(folder) == []


def test_stored_rows_of_somebody_who_was_deactivated_while_they_were_written_become_no_file(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = services.request_rows(
        owner, [{"a": 1}], ["a"], format="csv", options={}, filename="rows.csv", is_small=True
    )
    put = storage.put

    def put_while(*arguments: Any, **named: Any) -> None:
        people.deactivate(owner)
        put(*arguments, **named)

    monkeypatch.setattr(storage, "put", put_while)
    assert loop.dispatch(request.pk)
    request.refresh_from_db()
    assert (request.status, request.error_code) == (Status.FAILED, "permission_lost")


# The mail


@pytest.mark.parametrize("lose", [people.refuse, people.deactivate], ids=["demoted", "deactivated"])
def test_whoever_may_not_have_the_file_any_more_gets_no_mail_about_it(
    owner: User, lose: Callable[[User], User], mailoutbox: list[Any]
) -> None:
    request = rows.ready(owner)
    lose(owner)
    assert housekeeping.send_mails() == 0
    assert mailoutbox == []
    notification = Notification.objects.get(request=request)
    assert (notification.state, notification.reason) == (Notification.State.SUPPRESSED, "permission lost")


def test_who_is_demoted_while_it_runs_is_told_why_there_is_no_file(owner: User, mailoutbox: list[Any]) -> None:
    made_while(owner, lambda: people.refuse(owner))
    assert housekeeping.send_mails() == 1
    [mail] = mailoutbox
    assert "You may no longer export this." in mail.body
    assert "download" not in mail.body


# The pages and the sockets


async def test_a_page_that_is_open_gets_no_way_to_a_file_that_its_reader_may_not_have_any_more(owner: User) -> None:
    request, claim = await sync_to_async(rows.claimed)(owner)
    async with opened(owner) as mine, opened(owner, one(request)) as its:
        assert [(await page.next_state())["status"] for page in (mine, its)] == ["running", "running"]

        @sync_to_async
        def publish_to_the_refused() -> None:
            people.refuse(owner)
            assert rows.publish(claim)
            events.publish(rows.fresh(request))

        await publish_to_the_refused()
        for page in (mine, its):
            [*_, state] = await page.states_until(lambda state: state["status"] == "ready")
            assert (state["urls"]["ticket"], state["urls"]["download"], state["file"]) == (None, None, None)
            assert state["error"] == {"code": "permission_lost", "message": "You may no longer export this."}
    await leave()


@pytest.mark.parametrize("address", ["page", "list"])
def test_a_page_says_that_its_reader_may_not_have_the_file_any_more(owner: User, address: str) -> None:
    request, client = rows.ready(owner), signed_in(owner)
    shown = url_of("page", request) if address == "page" else "/exports/"
    assert "You may no longer export this." not in client.get(shown, headers=HTML).content.decode()
    people.refuse(owner)
    text = client.get(shown, headers=HTML).content.decode()
    assert "You may no longer export this." in text
    assert url_of("download", request) not in text
    assert "report.csv" not in text


def test_the_etag_of_a_state_tells_whether_its_reader_may_have_the_file(owner: User) -> None:
    request, client = rows.ready(owner), signed_in(owner)
    etag = client.get(url_of("detail", request))["ETag"]
    assert client.get(url_of("detail", request), headers={"If-None-Match": etag}).status_code == 304
    people.refuse(owner)
    assert client.get(url_of("detail", request), headers={"If-None-Match": etag}).status_code == 200


# The download


def test_every_address_of_the_file_is_asked_of_the_export_each_time(owner: User) -> None:
    request, client = rows.ready(owner), signed_in(owner)
    addresses = [ticket_for(request, owner), url_of("download", request)]
    assert [status_of(client, address) for address in addresses] == [200, 302]
    downloads = Download.objects.count()
    people.refuse(owner)
    assert [status_of(client, address) for address in addresses] == [404, 404]
    owner.groups.clear()
    assert [status_of(client, address) for address in addresses] == [200, 302]
    assert Download.objects.count() == downloads + 1


def test_a_token_of_the_hosts_own_opens_no_file_that_the_export_refuses_its_owner_now(
    owner: User, rf: RequestFactory
) -> None:
    request = rows.ready(owner)
    asked = rf.get("/")
    asked.user = owner
    for token in (toolbox.create_token(request), toolbox.create_general_token(request)):
        assert bgfiles_views.evaluate_request(asked, token, require_requester=False)[0] == request
    people.refuse(owner)
    for token in (toolbox.create_token(request), toolbox.create_general_token(request)):
        with pytest.raises(Http404):
            bgfiles_views.evaluate_request(asked, token, require_requester=False)


def test_staff_who_may_download_any_file_get_that_of_an_owner_whom_the_export_refuses_now(owner: User) -> None:
    request = rows.ready(people.refuse(owner))
    staff = people.staff("staff", people.VIEW, people.ANY)
    assert status_of(signed_in(staff), ticket_for(request, staff)) == 200
