"""Views that deliver the bytes of a file: by export, by ticket, by public link. Each download is recorded."""

import ipaddress
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from exports import services
from exports.http.responses import DELIVERING, FileStream, file_response
from exports.http.views import get_visible, not_found, signed_in, state_response
from exports.models import Download, FileRequest, Status
from exports.signing import InvalidLink, Ticket


@require_safe
@signed_in
def download_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Redirect to a fresh ticket. This URL works for as long as the file is kept."""
    export = get_visible(request, pk)
    if export.status != Status.READY:
        return HttpResponseRedirect(reverse("exports:page", args=[pk]))
    if not services.may_download(request.user, export):
        raise Http404
    return redirect_to_ticket(request, export)


@require_safe
@signed_in
def file_view(request: HttpRequest, ticket: str) -> HttpResponseBase:
    """Return the bytes for a ticket that is signed, of this user and of the current epoch; if it expired, a fresh one.

    A browser resumes a download that was cut at the same URL, after any time. Nor do the clocks of web servers have to
    agree: one that takes a ticket for expired signs the next by its own clock.
    """
    try:
        signed = Ticket.read(ticket)
    except InvalidLink:
        raise Http404 from None
    export = FileRequest.objects.select_related("requester").get(pk=signed.request_id)
    is_good = (
        signed.user_id == str(request.user.pk)
        and signed.epoch == export.epoch
        and export.status == Status.READY
        and services.may_download(request.user, export)
    )
    if not is_good:
        raise Http404
    if signed.expires <= timezone.now().timestamp():
        return redirect_to_ticket(request, export)
    return download_response(request, export)


def redirect_to_ticket(request: HttpRequest, export: FileRequest) -> HttpResponseRedirect:
    """Redirect to a fresh ticket for this user, whose permission the caller has checked."""
    url, _expires = services.sign_ticket(request.user, export)
    return HttpResponseRedirect(url, headers={"Referrer-Policy": "no-referrer"})


@require_safe
def public_view(request: HttpRequest, link: str) -> HttpResponseBase:
    """Return the bytes for a public link, which works for anyone and any number of times until it expires."""
    try:
        return download_response(request, services.find_public(link), is_public=True)
    except (FileRequest.DoesNotExist, Http404):
        return not_found(request)


def download_response(request: HttpRequest, export: FileRequest, *, is_public: bool = False) -> HttpResponseBase:
    """Return the file of a READY export and record the download. The caller has checked the permission.

    Raises Http404 if the file is missing.
    """
    try:
        response = file_response(request, export)
    except FileNotFoundError:
        raise Http404 from None
    if request.method == "POST" and response.status_code == 302:
        # Browsers apply the CSP directive form-action to redirects too, so a form must not lead to another site.
        return state_response(request, export)
    if request.method != "HEAD" and response.status_code in DELIVERING:
        record_download(request, export, response, is_public=is_public)
    return response


def record_download(
    request: HttpRequest, export: FileRequest, response: HttpResponseBase, *, is_public: bool = False
) -> None:
    """Add a Download for a response of `file_response`, and mark the export as seen if its owner downloads it.

    A download by a public link (`is_public`) has no user, even if one is signed in.
    """
    user = None if is_public else getattr(request, "user", None)
    if user is not None and not user.is_authenticated:
        user = None
    outcome = Download.Outcome.BEGUN
    if response.status_code == 302:
        outcome = Download.Outcome.REDIRECTED
    elif "X-Accel-Redirect" in response.headers:
        outcome = Download.Outcome.HANDED_OVER
    download = Download.objects.create(
        outcome=outcome,
        request=export,
        user=user,
        file_type=export.file_type,
        address=network_of(request.META.get("REMOTE_ADDR", "")),
        first_byte=int(response.headers.get("Content-Range", "bytes 0-").split()[1].split("-")[0]),
        byte_count=int(response.headers.get("Content-Length") or export.size or 0),
        is_public=is_public,
    )
    if isinstance(response, FileStream):
        response.part.on_close = download.end
    if user is not None and export.requester_id == user.pk:
        services.mark_seen(export)


def network_of(address: str) -> str:
    """Return an IP address without its host part: the /24 network of IPv4, the /48 of IPv6; "" for anything else."""
    try:
        given = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    return str(ipaddress.ip_network(f"{given}/{24 if given.version == 4 else 48}", strict=False).network_address)
