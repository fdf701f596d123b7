"""The way to the bytes: an address as good as the row, a ticket as good as a minute, a record of each download."""

from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from exports import services
from exports.conf import config
from exports.http import responses
from exports.http.replies import answer, door, find, state_for
from exports.models import Download, FileRequest, Status
from exports.signing import InvalidLink, Ticket

CLOCKS_DIFFER_SECONDS = 60


@require_safe
@door
def download_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The address that is good as long as the row: checks the owner, then leads to a fresh ticket."""
    file_request = find(request, pk)
    if file_request.status != Status.READY:
        return HttpResponseRedirect(reverse("exports:page", args=[pk]))
    ticket = state_for(request, file_request)["urls"]["ticket"]
    if ticket is None or not services.may_download(request.user, file_request):
        raise Http404
    response = HttpResponseRedirect(ticket)
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@require_safe
@door
def file_view(request: HttpRequest, ticket: str) -> HttpResponseBase:
    """The bytes. The ticket must be signed, of this user, of this epoch and not run out; the row must be READY."""
    return hand_over(request, _admit(request, ticket))


def hand_over(request: HttpRequest, file_request: FileRequest, *, is_public: bool = False) -> HttpResponseBase:
    """The file of a READY request, for somebody who may have it, and a record of it. Raises Http404 when it is gone.

    After a POST the answer is never another site but the page with the link: browsers that go by a `form-action` let no
    form lead elsewhere, not even by a redirect.
    """
    try:
        response = responses.respond(request, file_request)
    except FileNotFoundError:
        raise Http404 from None
    if request.method == "POST" and response.status_code == 302:
        return answer(request, file_request)
    if request.method != "HEAD" and response.status_code in responses.HANDED_OVER:
        record(request, file_request, response, is_public=is_public)
    return response


def record(
    request: HttpRequest, file_request: FileRequest, response: HttpResponseBase, *, is_public: bool = False
) -> None:
    """A download is the best proof that its owner has seen the end. Whoever holds a token may be nobody, and whoever
    comes by a link for anyone (`is_public`) is."""
    user = AnonymousUser() if is_public else getattr(request, "user", AnonymousUser())
    first_byte = int(response.headers.get("Content-Range", "bytes 0-").split()[1].split("-")[0])
    download = Download.objects.create(
        outcome=responses.outcome_of(response),
        request=file_request,
        user=user if user.is_authenticated else None,
        file_type=file_request.file_type,
        address=responses.shortened(request.META.get("REMOTE_ADDR", "")),
        first_byte=first_byte,
        byte_count=int(response.headers.get("Content-Length") or file_request.size or 0),
        is_public=is_public,
    )
    if download.outcome == Download.Outcome.BEGUN:
        responses.when_ended(response, download.end)
    if user.is_authenticated and file_request.requester_id == user.pk:
        services.mark_seen(file_request)


def _admit(request: HttpRequest, text: str) -> FileRequest:
    try:
        ticket = Ticket.read(text)
    except InvalidLink:
        raise Http404 from None
    file_request = FileRequest.objects.select_related("requester").get(pk=ticket.request_id)
    left = ticket.expires - timezone.now().timestamp()
    is_good = (
        ticket.user_id == str(request.user.pk)
        and ticket.epoch == file_request.epoch
        and 0 < left <= config.TICKET_MAX_AGE_SECONDS + CLOCKS_DIFFER_SECONDS
        and file_request.status == Status.READY
        and services.may_download(request.user, file_request)
    )
    if not is_good:
        raise Http404
    return file_request
