"""The admin: staff look, cancel and expire; nobody edits, and nothing is shown that is its owner's alone."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from exports.models import Artifact, Download, FileRequest, Notification
from tests.office import people, rows
from tests.office.browsers import signed_in, ticket_for
from tests.office.exports import open_office

pytestmark = pytest.mark.django_db

LIST = "/admin/exports/filerequest/"
MODELS = (FileRequest, Notification, Download)


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


@pytest.fixture
def owner() -> User:
    return people.user("owner")


@pytest.fixture
def root() -> Client:
    """A superuser's browser: whatever is refused to them is refused to everybody."""
    return signed_in(User.objects.create_superuser("root", password=people.PASSWORD))


@pytest.fixture
def everything(owner: User) -> list[FileRequest]:
    """A request in every status, a mail and a download."""
    requests = [make(owner, criteria="month=4&secret=blue") for make in rows.IN_STATUS.values()]
    ready = rows.ready(owner)
    signed_in(owner).get(ticket_for(ready, owner)).getvalue()
    return [*requests, ready]


def page_of(row: FileRequest | Notification | Download, name: str = "change") -> str:
    return reverse(f"admin:exports_{row._meta.model_name}_{name}", args=[row.pk])


@pytest.mark.usefixtures("everything")
def test_every_list_and_every_row_can_be_looked_at(root: Client):
    for model in MODELS:
        assert root.get(reverse(f"admin:exports_{model._meta.model_name}_changelist")).status_code == 200
        assert model.objects.exists()
        for row in model.objects.all():
            assert root.get(page_of(row)).status_code == 200


def test_staff_see_why_a_request_failed(root: Client, owner: User):
    page = root.get(page_of(rows.failed(owner))).content.decode()
    assert "storage_full" in page
    assert "secret detail for staff" in page


def test_neither_the_criteria_nor_the_key_of_the_file_nor_a_ticket_are_shown(
    root: Client, everything: list[FileRequest]
):
    for request in everything:
        for address in (LIST, page_of(request)):
            page = root.get(address).content.decode()
            assert "secret=blue" not in page
            assert "month=4" not in page
            assert "/exports/file/" not in page
            assert not request.filehandle or request.filehandle.name not in page


@pytest.mark.usefixtures("everything")
def test_nothing_can_be_added_edited_or_deleted_even_by_a_superuser(root: Client):
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


def test_a_user_can_be_deleted_with_all_that_is_theirs_and_the_bytes_stay_known(
    root: Client, owner: User, everything: list[FileRequest]
):
    keys = {request.filehandle.name for request in everything if request.filehandle}
    response = root.post(reverse("admin:auth_user_delete", args=[owner.pk]), {"post": "yes"})
    assert response.status_code == 302
    assert not User.objects.filter(pk=owner.pk).exists()
    assert not FileRequest.objects.exists()
    assert keys <= set(Artifact.objects.values_list("key", flat=True))
    assert Download.objects.get().user is None


def act(client: Client, action: str, *requests: FileRequest) -> HttpResponse:
    selected = {"action": action, "_selected_action": [str(request.pk) for request in requests]}
    return client.post(LIST, selected, follow=True)


def messages_of(response: HttpResponse) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def changer() -> Client:
    return signed_in(people.staff("changer", people.VIEW, people.CHANGE))


def test_staff_cancel_what_is_under_way_and_are_told_what_was_too_late(owner: User):
    requests = [make(owner) for make in (rows.queued, rows.running, rows.ready)]
    response = act(changer(), "cancel_requests", *requests)
    assert [rows.fresh(request).status for request in requests] == ["cancelled", "cancelled", "ready"]
    assert messages_of(response) == ["2 requests changed.", "1 request had moved on."]


def test_staff_remove_files_and_the_links_die(owner: User):
    request = rows.ready(owner)
    address = ticket_for(request, owner)
    assert messages_of(act(changer(), "expire_files", request)) == ["1 request changed."]
    assert rows.fresh(request).status == "expired"
    assert signed_in(owner).get(address).status_code == 404


@pytest.mark.parametrize("action", ["cancel_requests", "expire_files", "delete_selected"])
def test_whoever_may_only_look_has_no_action(owner: User, action: str):
    requests = [rows.queued(owner), rows.ready(owner)]
    viewer = signed_in(people.staff("viewer", people.VIEW))
    assert "cancel_requests" not in viewer.get(LIST).content.decode()
    act(viewer, action, *requests)
    assert [rows.fresh(request).status for request in requests] == ["queued", "ready"]


def test_whoever_may_change_other_things_has_no_action_here(owner: User):
    request, someone = rows.queued(owner), people.staff("someone", people.VIEW)
    someone.user_permissions.add(*Permission.objects.filter(content_type__app_label="auth"))
    act(signed_in(someone), "cancel_requests", request)
    assert rows.fresh(request).status == "queued"


def test_a_request_is_found_by_its_id_its_file_and_its_owner(root: Client, owner: User):
    wanted = rows.queued(owner, filename="wanted.csv")
    rows.queued(people.user("somebody"), filename="other.csv")
    for text in (str(wanted.pk), "wanted", "owner"):
        found = root.get(LIST, {"q": text}).context["cl"].queryset
        assert [request.pk for request in found] == [wanted.pk]
