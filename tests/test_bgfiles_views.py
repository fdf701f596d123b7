"""evaluate_request and serve_file of dj-bgfiles: whom they let in and how they refuse; the header with the filename."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.test import RequestFactory

from exports import toolbox
from exports.http import create_content_disposition
from exports.models import FileRequest, transitions
from exports.toolbox import Signer
from exports.views import SignatureHasExpired, SuspiciousToken, UserIsNotRequester, evaluate_request, serve_file
from tests.office import rows
from tests.seed.files import CONTENT, attached, body_of
from tests.shop.requests import queued, user
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db, pytest.mark.usefixtures("folder")]

VIEWS = (evaluate_request, serve_file)


@pytest.fixture
def ready() -> FileRequest:
    return attached()


def asked_by(someone: Any) -> HttpRequest:
    request = RequestFactory().get("/")
    if someone is not None:
        request.user = someone
    return request


def let_in(view: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
    """Return True if this view returns the file, or the request with its data."""
    given = view(*args, **kwargs)
    return body_of(given) == CONTENT if isinstance(given, HttpResponseBase) else given[0].filename == "events.csv"


def test_the_exceptions_have_the_base_classes_of_dj_bgfiles():
    assert issubclass(SuspiciousToken, SuspiciousOperation)
    assert issubclass(SignatureHasExpired, PermissionDenied)
    assert issubclass(UserIsNotRequester, PermissionDenied)


@pytest.mark.parametrize("view", VIEWS)
def test_the_requester_gets_the_file_unless_the_token_is_broken_or_old(
    view: Callable[..., Any], ready: FileRequest, settings: Any
):
    token = toolbox.create_token(ready)
    assert let_in(view, asked_by(user()), token)
    with pytest.raises(SuspiciousToken):
        view(asked_by(user()), token[:-1])
    configure(settings, TOKEN_MAX_AGE_SECONDS=-1)
    with pytest.raises(SignatureHasExpired):
        view(asked_by(user()), token)


@pytest.mark.parametrize("view", VIEWS)
def test_a_token_without_requester_is_suspicious_if_one_is_required(view: Callable[..., Any], ready: FileRequest):
    token = toolbox.create_general_token(ready)
    with pytest.raises(SuspiciousToken):
        view(asked_by(user()), token)
    assert let_in(view, asked_by(user()), token, require_requester=False)
    anonymous = toolbox.create_general_token(attached(requester=None))
    with pytest.raises(UserIsNotRequester):
        view(asked_by(AnonymousUser()), anonymous, require_requester=False)


@pytest.mark.parametrize("view", VIEWS)
def test_another_user_is_refused_unless_verify_requester_is_off(view: Callable[..., Any], ready: FileRequest):
    token = toolbox.create_token(ready)
    for http_request in (asked_by(user("eve")), asked_by(AnonymousUser())):
        with pytest.raises(UserIsNotRequester):
            view(http_request, token)
        assert let_in(view, http_request, token, verify_requester=False)


@pytest.mark.parametrize("view", VIEWS)
def test_with_both_flags_off_anyone_with_a_token_gets_the_file(view: Callable[..., Any], ready: FileRequest):
    for token in (toolbox.create_token(ready), toolbox.create_general_token(ready)):
        for someone in (user("eve"), AnonymousUser(), None):
            assert let_in(view, asked_by(someone), token, require_requester=False, verify_requester=False)


@pytest.mark.parametrize("view", VIEWS)
def test_a_custom_signer_is_used(view: Callable[..., Any], ready: FileRequest):
    signer = Signer(key="my-key", salt="my-salt")
    token = toolbox.create_token(ready, signer=signer)
    assert let_in(view, asked_by(user()), token, signer=signer)
    with pytest.raises(SuspiciousToken):
        view(asked_by(user()), token)


@pytest.mark.parametrize("view", VIEWS)
def test_the_token_is_checked_first_then_the_requester_then_the_file(view: Callable[..., Any]):
    request = queued()
    token = toolbox.create_token(request)
    with pytest.raises(SuspiciousToken):
        view(asked_by(user("eve")), token + "x")
    with pytest.raises(UserIsNotRequester):
        view(asked_by(user("eve")), token)
    with pytest.raises(Http404):
        view(asked_by(user()), token)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("end", [transitions.expire, FileRequest.delete])
def test_an_expired_file_and_a_deleted_request_are_not_found(
    view: Callable[..., Any], end: Callable[[FileRequest], object], ready: FileRequest
):
    token = toolbox.create_token(ready)
    assert end(ready)
    with pytest.raises(Http404):
        view(asked_by(user()), token)


def test_a_download_is_recorded_and_marks_the_request_seen_by_its_owner(ready: FileRequest):
    token = toolbox.create_token(ready)
    for someone in (user("eve"), None):
        body_of(serve_file(asked_by(someone), token, require_requester=False, verify_requester=False))
    ready.refresh_from_db()
    assert (rows.downloads().count(), ready.seen_at) == (2, None)
    body_of(serve_file(asked_by(user()), token))
    ready.refresh_from_db()
    assert ready.seen_at is not None


# The header


@pytest.mark.parametrize(
    ("filename", "attachment", "header"),
    [
        ("events.csv", True, 'attachment; filename="events.csv"'),
        (b"events.csv", True, 'attachment; filename="events.csv"'),
        ("events.csv", False, 'inline; filename="events.csv"'),
        ('a/b\\c"d;e.csv', True, 'attachment; filename="a b c d e.csv"'),
        ("café.csv", True, "attachment; filename=\"cafe.csv\"; filename*=UTF-8''caf%C3%A9.csv"),
        ("café.csv".encode(), True, "attachment; filename=\"cafe.csv\"; filename*=UTF-8''caf%C3%A9.csv"),
        ("", True, 'attachment; filename="download"'),
    ],
)
def test_content_disposition_names_the_file(filename: str | bytes, attachment: bool, header: str):
    assert create_content_disposition(filename, attachment) == header


@pytest.mark.parametrize("name", ["a\r\nSet-Cookie: x.csv", "a\nb.csv", "a\0b.csv", "a\x7fb\u2028c.csv", b"a\r\nb.csv"])
def test_content_disposition_contains_no_control_characters(name: str | bytes):
    header = create_content_disposition(name)
    assert header.isprintable()
    assert header.isascii()
