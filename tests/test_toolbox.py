"""The toolbox of dj-bgfiles: its names and signatures, requests, files and tokens by hand."""

import asyncio
import tracemalloc
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.signals import request_finished
from django.db import close_old_connections, transaction
from django.http import Http404
from django.http.response import HttpResponseBase
from django.test import RequestFactory
from django.utils import timezone, translation
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy

from exports import toolbox
from exports.exceptions import TransitionNotAllowed
from exports.models import Artifact, FileRequest, Status, transitions
from tests.seed.pages import Pages
from tests.shop.requests import queued, user
from tests.shop.runs import use_folders

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    """Where the stored files of this test lie."""
    return use_folders(settings, tmp_path)


def attached(**columns: Any) -> FileRequest:
    request = queued(**columns)
    toolbox.attach_file(request, ContentFile(b"id\r\n1\r\n"), "events.csv", "text/csv")
    return request


def fresh(request: FileRequest) -> FileRequest:
    return FileRequest.objects.get(pk=request.pk)


def body_of(response: HttpResponseBase) -> bytes:
    """All of it. Its end is no end of a request here, and must not look for database connections."""
    body = response.getvalue()
    request_finished.disconnect(close_old_connections)
    response.close()
    request_finished.connect(close_old_connections)
    return body


def content_of(request: FileRequest) -> bytes:
    with fresh(request).filehandle.open() as file:
        return file.read()


# Requests


def test_a_request_is_added_with_the_active_language_and_zone():
    with translation.override("nl"), timezone.override("Europe/Brussels"):
        request = toolbox.add_request("a=1", "events", user("ada"), "text/csv", "My events")
    row = fresh(request)
    assert (row.criteria, row.file_type, row.requester, row.content_type) == ("a=1", "events", user("ada"), "text/csv")
    assert (row.description, row.requester_language, row.requester_timezone) == ("My events", "nl", "Europe/Brussels")
    assert (row.status, row.finished_at, row.expires_at, row.size) == (Status.QUEUED, None, None, None)
    assert timezone.now() - row.requested_at < timedelta(minutes=1)


def test_language_and_zone_may_be_given_and_may_be_empty():
    request = toolbox.add_request(language="fr", tz="Asia/Tokyo")
    assert (request.requester_language, request.requester_timezone) == ("fr", "Asia/Tokyo")
    request = toolbox.add_request(language="", tz="")
    assert (request.requester_language, request.requester_timezone) == ("", "")


def test_no_active_language_is_no_language():
    with translation.override(None):
        assert toolbox.add_request().requester_language == ""


@pytest.mark.parametrize("nobody", [None, AnonymousUser(), SimpleLazyObject(AnonymousUser)])
def test_an_anonymous_user_is_nobody(nobody: Any):
    assert fresh(toolbox.add_request(requester=nobody)).requester is None


def test_the_user_of_a_request_is_that_user():
    assert fresh(toolbox.add_request(requester=SimpleLazyObject(lambda: user("ada")))).requester == user("ada")


def test_a_filename_and_a_translated_description_are_stored():
    request = fresh(toolbox.add_request(description=gettext_lazy("Export"), filename="events.csv"))
    assert (request.description, request.filename) == ("Export", "events.csv")


@pytest.mark.django_db(transaction=True)
def test_the_pages_hear_of_a_request_when_the_transaction_commits(settings: Any):
    settings.CHANNEL_LAYERS = Pages.LAYER
    pages = Pages()
    with transaction.atomic():
        request = toolbox.add_request(file_type="events", requester=user("ada"))
        assert pages.heard(request.pk) == []
    toolbox.attach_file(request, b"x", "x.csv")
    assert [state["status"] for state in pages.heard(request.pk)] == ["queued", "ready"]


# Files


@pytest.mark.parametrize(
    "contents", [ContentFile(b"id\r\n"), ContentFile("id\r\n"), File(BytesIO(b"id\r\n")), BytesIO(b"id\r\n"), b"id\r\n"]
)
def test_anything_with_bytes_in_it_can_be_attached(contents: Any):
    request = queued()
    toolbox.attach_file(request, contents, "events.csv")
    assert content_of(request) == b"id\r\n"


def test_an_attached_request_is_ready_finished_and_saved():
    row = fresh(attached())
    assert (row.status, row.filename, row.content_type, row.size) == (Status.READY, "events.csv", "text/csv", None)
    assert timezone.now() - row.finished_at < timedelta(minutes=1)
    assert row.filehandle.name.startswith(f"generated/{row.pk}/1-")
    assert row.filehandle.name.endswith(".csv")


def test_falsy_arguments_keep_what_is_there():
    request = queued(filename="kept.csv", content_type="text/csv", size=7)
    toolbox.attach_file(request, ContentFile(b"x"), "", "", 0)
    row = fresh(request)
    assert (row.filename, row.content_type, row.size) == ("kept.csv", "text/csv", 7)
    toolbox.attach_file(request, ContentFile(b"x"), "new.tsv", "text/tsv", 9)
    row = fresh(request)
    assert (row.filename, row.content_type, row.size) == ("new.tsv", "text/tsv", 9)


def test_a_file_attached_again_lies_under_a_new_key_and_the_old_one_is_garbage():
    request = attached()
    first = request.filehandle.name
    toolbox.attach_file(request, ContentFile(b"second"))
    assert request.filehandle.name != first
    assert content_of(request) == b"second"
    assert [artifact.key for artifact in Artifact.objects.deletable(timezone.now())] == [first]


def test_a_request_that_was_cancelled_in_the_meantime_takes_no_file():
    request = queued()
    transitions.cancel(fresh(request))
    with pytest.raises(TransitionNotAllowed):
        toolbox.attach_file(request, ContentFile(b"x"), "x.csv")
    row = fresh(request)
    assert (row.status, row.filename, row.filehandle.name) == (Status.CANCELLED, "", "")
    assert Artifact.objects.deletable(timezone.now()).count() == 1


def test_a_local_file_is_copied_as_bytes(tmp_path: Path):
    path = tmp_path / "local.bin"
    path.write_bytes(bytes(range(256)))
    request = queued()
    toolbox.attach_local_file(request, str(path), "events.bin", "application/octet-stream", 256)
    assert (content_of(request), path.exists()) == (bytes(range(256)), True)
    assert (request.filename, request.content_type, request.size) == ("events.bin", "application/octet-stream", 256)


def test_nobody_is_mailed_about_a_file_attached_by_hand():
    assert not attached().notifications.exists()


# Serving


def test_a_file_is_served_with_its_name_and_type():
    response = toolbox.serve(attached())
    assert (response.status_code, body_of(response)) == (200, b"id\r\n1\r\n")
    assert response["Content-Type"] == "text/csv"
    assert response["Content-Disposition"] == 'attachment; filename="events.csv"'


def test_a_file_without_type_or_name_has_the_type_given_and_no_name():
    request = queued()
    toolbox.attach_file(request, ContentFile(b"x"))
    response = toolbox.serve(request)
    assert (response["Content-Type"], response["Content-Disposition"]) == ("application/octet-stream", "attachment")
    response.close()
    response = toolbox.serve(request, default_content_type="text/plain")
    assert response["Content-Type"] == "text/plain"
    response.close()


class Missing(Exception):
    pass


def test_what_is_missing_raises_what_was_asked_for():
    with pytest.raises(Http404):
        toolbox.serve(queued())
    with pytest.raises(Missing):
        toolbox.serve(queued(), raise_on_missing=Missing)
    expired = attached()
    transitions.expire(expired)
    with pytest.raises(Missing):
        toolbox.serve(fresh(expired), Missing)


def test_a_range_is_served_where_the_request_asks_for_one():
    asked = RequestFactory().get("/", headers={"range": "bytes=0-1"})
    response = toolbox.serve(attached(), http_request=asked)
    assert (response.status_code, body_of(response)) == (206, b"id")


@pytest.mark.django_db(transaction=True)
def test_an_asgi_server_gets_it_by_blocks_too_even_without_the_request(folder: Path):
    request = queued()
    toolbox.attach_file(request, ContentFile(b"\0" * (8 << 20)), "big.bin")
    response = toolbox.serve(request)

    async def sizes() -> list[int]:
        return [len(block) async for block in response]

    tracemalloc.start()
    blocks = asyncio.run(sizes())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    response.close()
    assert (sum(blocks), max(blocks) <= 1 << 18, peak < 4 << 20) == (8 << 20, True, True)
