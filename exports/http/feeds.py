"""Feeds: the address for Excel and other programs, and the views that list, make and revoke such addresses."""

from functools import partial
from math import ceil
from typing import Any
from urllib.parse import urljoin

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from exports import feeds, services
from exports.access.authentication import carries_token
from exports.access.tenants import base_url
from exports.conf import url_of
from exports.exceptions import BadOption, InvalidForm, LimitReached, UnknownFileType, UnknownFormat
from exports.exporters import permissions
from exports.filenames import visible_name
from exports.http.actors import actor_of, feed_actor, record_refusal
from exports.http.bodies import refuse_unknown_fields, wants_json
from exports.http.decorators import signed_in
from exports.http.downloads import download_response
from exports.http.presets import check_posted
from exports.http.refusals import error_response
from exports.http.responses import SAFE_HEADERS
from exports.http.views import render_form
from exports.models import AuditEntry, Feed, FileRequest
from exports.models.feed import MAX_AGES, create_feed, revoke_feed
from exports.models.locale import zone_name
from exports.queue.base import QueueNotConfigured
from exports.state import ERROR_MESSAGES, limit_message, rfc3339

MAX_FEEDS = 100
RETRY_SECONDS = 10
NO_INDEX = {"X-Robots-Tag": "noindex, nofollow"}
# A program may keep the file and ask with its ETag whether there is a newer one.
FILE_HEADERS = NO_INDEX | {"Cache-Control": "private, no-cache"}
INVALID_CHOICES = (InvalidForm, UnknownFormat, BadOption)


# A run that is requested while a transaction is open would begin only when the response is sent.
@transaction.non_atomic_requests
@require_safe
@sensitive_variables("address", "token")
def feed_view(request: HttpRequest, address: str) -> HttpResponseBase:
    """Return the file of a feed to anyone who has its address, streamed by the app, with its age.

    GET requests a new run if the file is too old, and waits; HEAD does neither. A feed that does not exist, is revoked
    or whose owner may not have the file, and a wrong extension, get the same 404.
    """
    token, _dot, extension = address.partition(".")
    feed = Feed.objects.with_token(token).first()
    if feed is None:
        return _not_found()
    actor = feed_actor(request, feed)
    try:
        if feeds.check(feed, actor).writer.extension != extension:
            return _not_found()
        export = feeds.current_file(feed, actor, may_run=request.method == "GET")
        # It may have waited for a run, and the address or its owner may have ended meanwhile.
        if not feeds.may_go_on(feed, export):
            return _not_found()
        request.user = feed.owner
        response = download_response(
            request,
            export,
            actor,
            may_go_on=partial(feeds.may_go_on, feed, export),
            refuse=lambda _request, error: _refused(feed, error),
            filename=f"{feed.name}.{extension}",
            by_app=True,
        )
    except (services.NotAllowed, UnknownFileType, Http404):
        return _not_found()
    except (LimitReached, feeds.NoFileYet, QueueNotConfigured, *INVALID_CHOICES) as error:
        return _refused(feed, error)
    for name, value in FILE_HEADERS.items():
        response[name] = value
    if export.finished_at is not None:
        response["Age"] = str(max(0, int((timezone.now() - export.finished_at).total_seconds())))
    return response


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@sensitive_variables("token", "path", "address")
def feeds_view(request: HttpRequest, file_type: str) -> HttpResponse:
    """List the user's own feeds of an export (GET), or make one of what is chosen in the form (POST).

    The address is in the response to the POST, and nowhere later.
    """
    user = request.user
    exporter = permissions.find_exporter(user, file_type)
    if not permissions.offers_feeds(file_type):
        raise Http404
    if carries_token(request):
        return _refused_to_token(request, file_type)
    own = Feed.objects.owned_by(user).filter(file_type=file_type)
    if request.method != "POST":
        if wants_json(request):
            return JsonResponse({"feeds": [_as_json(feed) for feed in own]})
        return HttpResponseRedirect(url_of("form", file_type))
    asked = check_posted(request, exporter, "feed_name", "feed_max_age")
    if isinstance(asked, HttpResponse):
        return asked
    seconds = request.POST.get("feed_max_age") or str(Feed._meta.get_field("max_age_seconds").default)
    if seconds not in map(str, MAX_AGES):
        allowed = ", ".join(map(str, MAX_AGES))
        return _again(
            request, asked, _("The age must be one of these numbers of seconds: {ages}.").format(ages=allowed)
        )
    if own.count() >= MAX_FEEDS:
        message = _("You have {count} addresses and may have no more.").format(count=MAX_FEEDS)
        return _again(request, asked, message)
    given = " ".join(visible_name(request.POST.get("feed_name", "")).split())
    feed, token = create_feed(
        user,
        actor_of(request),
        name=(given or exporter.label_of(asked.form) or str(exporter.title) or file_type)[:100],
        file_type=file_type,
        criteria=asked.criteria,
        format=asked.writer.format,
        options=asked.options,
        columns=asked.columns,
        language=translation.get_language() or "",
        time_zone=zone_name(request.POST.get("time_zone", "")),
        max_age_seconds=int(seconds),
    )
    path = url_of("feed", f"{token}.{asked.writer.extension}")
    address = urljoin(base_url(feed.tenant) or request.build_absolute_uri("/"), path)
    if wants_json(request):
        return JsonResponse({**_as_json(feed), "address": address}, status=201)
    return render_form(
        request, exporter, asked.form, status=201, extra_context={"new_feed": feed, "feed_address": address}
    )


@require_POST
@signed_in
def revoke_feed_view(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of the user's own feeds for ever."""
    refuse_unknown_fields(request)
    feed = Feed.objects.owned_by(request.user).get(pk=pk)
    if carries_token(request):
        return _refused_to_token(request, feed.file_type)
    revoke_feed(feed, actor_of(request))
    if wants_json(request):
        return HttpResponse(status=204)
    return HttpResponseRedirect(url_of("form", feed.file_type))


def _refused_to_token(request: HttpRequest, file_type: str) -> HttpResponse:
    """Refuse a token: an address would outlive it, and has no limits of its own."""
    record_refusal(request, AuditEntry.Verb.FEED, file_type=file_type)
    return error_response(403, "bad_feed", _("Addresses are made and ended by their users, and not with an API token."))


def _refused(feed: Feed, error: Exception) -> HttpResponse:
    """Return why there is no file, as text in the language of the feed, which Excel and others show."""
    with translation.override(feed.language or translation.get_language()):
        match error:
            case LimitReached():
                return _text(429, limit_message(error), retry_after=ceil(error.seconds))
            case feeds.NoFileYet(ended=None):
                message = _("The file is still being made. Please refresh again in a moment.")
            case feeds.NoFileYet(ended=FileRequest(error_code=code)):
                failed = _("The file could not be made.")
                message = f"{failed} {ERROR_MESSAGES.get(code, '')}".strip()
            case QueueNotConfigured():
                message = _("No files can be made on this site at the moment.")
            case _:
                return _text(410, _("What was chosen for this address is no longer valid. Please make a new address."))
        return _text(503, message, retry_after=RETRY_SECONDS)


def _not_found() -> HttpResponse:
    return _text(404, _("There is no such address."))


def _text(status: int, message: str, *, retry_after: int | None = None) -> HttpResponse:
    response = HttpResponse(f"{message}\n", status=status, headers=SAFE_HEADERS | NO_INDEX)
    response["Content-Type"] = "text/plain; charset=utf-8"
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
        # Or Django logs each 503 as an error, and mails it to the admins. Checked with Django 5.2 to 6.1.
        response._has_been_logged = True  # type: ignore[attr-defined]
    return response


# Any: values of different types.
def _as_json(feed: Feed) -> dict[str, Any]:
    return {
        "id": feed.pk,
        "name": feed.name,
        "format": feed.format,
        "max_age_seconds": feed.max_age_seconds,
        "created_at": rfc3339(feed.created_at),
        "last_used_at": rfc3339(feed.last_used_at),
    }


def _again(request: HttpRequest, asked: services.Asked, message: str) -> HttpResponse:
    """Return the form as it was posted, with a message beside what makes the address."""
    if wants_json(request):
        return error_response(400, "bad_feed", message)
    return render_form(request, asked.exporter, asked.form, status=400, extra_context={"feed_error": message})
