"""Views that deliver the bytes of a file: by export, by ticket, by public link. Each download is recorded."""

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.http import require_safe

from exports import services
from exports.access.authentication import carries_token
from exports.conf import config, url_of
from exports.exceptions import LimitReached
from exports.http.actors import actor_of, public_actor, record_refusal
from exports.http.decorators import answering, signed_in
from exports.http.refusals import not_found, refusal_response
from exports.http.responses import DELIVERING, FileStream, file_response
from exports.http.views import get_visible, state_response
from exports.models import Actor, AuditEntry, FileRequest, Status
from exports.models.audit import ActorKind, record
from exports.models.token import present_user
from exports.signing import InvalidLink, Ticket

RETRY_SECONDS = 10
# How many files each user, and the users of each public link, are reading from this process.
_reading: Counter[str] = Counter()
_counting = threading.Lock()


@require_safe
@signed_in
def download_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Redirect to a fresh ticket. This URL works for as long as the file is kept."""
    export = get_visible(request, pk, AuditEntry.Verb.DOWNLOAD)
    if export.status != Status.READY:
        if carries_token(request):
            return state_response(request, export, status=409)
        return HttpResponseRedirect(url_of("page", pk))
    if not services.may_download(request.user, export):
        record_refusal(request, AuditEntry.Verb.DOWNLOAD, pk)
        raise Http404
    return redirect_to_ticket(request, export)


@require_safe
def file_view(request: HttpRequest, ticket: str) -> HttpResponseBase:
    """Return the bytes for a ticket that is signed, of this user and of the current epoch; if it expired, a fresh one.

    A browser resumes a download that was cut at the same URL, after any time, and asks for a range then. Chromium
    (checked with 156) gives up if the answer is a redirect. Nor do the clocks of web servers have to agree: one that
    takes a ticket for expired signs the next by its own clock.
    A bearer ticket is that of its user and token until it expires, also if another user is signed in.
    """
    try:
        signed = Ticket.read(ticket)
    except InvalidLink:
        signed = None
    if signed is not None and signed.is_bearer and signed.expires > timezone.now().timestamp():
        request.user = present_user(signed.user_id, signed.token_id) or AnonymousUser()
        return answering(_ticket_response)(request, signed)
    return signed_in(_ticket_response)(request, signed)


def _ticket_response(request: HttpRequest, signed: Ticket | None) -> HttpResponseBase:
    if signed is None:
        raise Http404
    export = FileRequest.objects.select_related("requester").get(pk=signed.request_id)
    is_good = (
        signed.user_id == str(request.user.pk)
        and signed.epoch == export.epoch
        and export.status == Status.READY
        and services.may_download(request.user, export)
    )
    if not is_good:
        record_refusal(request, AuditEntry.Verb.DOWNLOAD, export.pk)
        raise Http404
    if signed.expires <= timezone.now().timestamp() and "Range" not in request.headers:
        return redirect_to_ticket(request, export)
    return download_response(request, export, actor_of(request))


def redirect_to_ticket(request: HttpRequest, export: FileRequest) -> HttpResponseRedirect:
    """Redirect to a fresh ticket for this user, whose permission the caller has checked."""
    url, _expires = services.sign_ticket(request.user, export, is_bearer=carries_token(request))
    return HttpResponseRedirect(url, headers={"Referrer-Policy": "no-referrer"})


@require_safe
def public_view(request: HttpRequest, link: str) -> HttpResponseBase:
    """Return the bytes for a public link, which works for anyone and any number of times until it expires."""
    actor = public_actor(request)
    try:
        return download_response(request, services.find_public(link, actor), actor)
    except (FileRequest.DoesNotExist, Http404):
        return not_found(request)


def download_response(
    request: HttpRequest,
    export: FileRequest,
    actor: Actor,
    *,
    may_go_on: Callable[[], bool] | None = None,
    refuse: Callable[[HttpRequest, LimitReached], HttpResponse] = refusal_response,
    filename: str = "",
    by_app: bool = False,
) -> HttpResponseBase:
    """Return the file of a READY export and record the download. The caller has checked the permission.

    `may_go_on` is asked during the download, by default `services.may_go_on`; `refuse` answers one that is too many.
    `filename` and `by_app` are those of `file_response`. Raises Http404 if the file is missing.
    """
    # A public link has no user, even if one is signed in.
    user = None if actor.kind == ActorKind.PUBLIC_LINK else request.user
    reader = str(export.pk) if user is None else f"user {user.pk}"
    try:
        response = file_response(request, export, filename=filename, by_app=by_app)
    except FileNotFoundError:
        raise Http404 from None
    if request.method == "POST" and response.status_code == 302:
        # Browsers apply the CSP directive form-action to redirects too, so a form must not lead to another site.
        return state_response(request, export)
    if isinstance(response, FileStream):
        limit = config.MAX_DOWNLOADS_PER_USER
        # Also of requests at the same time, only as many are read.
        with _counting:
            is_refused = limit is not None and _reading[reader] >= limit
            if not is_refused:
                _reading[reader] += 1
        if limit is not None and is_refused:
            response.part.close()
            return refuse(request, LimitReached("too_many_downloads", limit, seconds=RETRY_SECONDS))
        response.part.on_close = lambda _sent: _end_reading(reader)
        response.part.may_go_on = may_go_on or partial(services.may_go_on, user, export)
    if request.method != "HEAD" and response.status_code in DELIVERING:
        end = record_download(request, export, response, actor)
        if isinstance(response, FileStream):

            def close(sent: int) -> None:
                _end_reading(reader)
                end(sent)

            response.part.on_close = close
    return response


def _end_reading(reader: str) -> None:
    with _counting:
        _reading[reader] -= 1
        if not _reading[reader]:
            del _reading[reader]


def record_download(
    request: HttpRequest, export: FileRequest, response: HttpResponseBase, actor: Actor
) -> Callable[[int], None]:
    """Record the download of a response of `file_response`, and mark the export as seen if its owner downloads it.

    Return what records how many bytes were sent in the end.
    """
    outcome = AuditEntry.Outcome.BEGUN
    if response.status_code == 302:
        outcome = AuditEntry.Outcome.REDIRECTED
    elif "X-Accel-Redirect" in response.headers:
        outcome = AuditEntry.Outcome.HANDED_OVER
    length = int(response.headers.get("Content-Length") or export.size or 0)
    # How long such a range is, only the server that sends it knows.
    is_range_elsewhere = outcome != AuditEntry.Outcome.BEGUN and "Range" in request.headers
    try:
        entry = record(
            AuditEntry.Verb.DOWNLOAD,
            export.pk,
            actor,
            file_type=export.file_type,
            outcome=outcome,
            byte_count=None if is_range_elsewhere else length,
            is_part=is_range_elsewhere or response.status_code == 206,
        )
        # A program that reads a feed shows its owner nothing.
        is_person = actor.kind != ActorKind.FEED and actor.user_id is not None
        if is_person and export.requester_id == actor.user_id:
            services.mark_seen(export)
    except DatabaseError:
        # Without an entry there is no download; the file is open already.
        response.close()
        raise
    return partial(entry.end, of=length)
