"""The HTTP doors: find, authorise, one call, shape the reply. docs/protocol.md describes them.

Not yours and not there are the same answer, byte for byte.
"""

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.core.paginator import Paginator
from django.core.signing import BadSignature, SignatureExpired
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from exports import delivery, services, toolbox
from exports.conf import config
from exports.exceptions import BadOption, UnknownFileType, UnknownFormat
from exports.http import is_match
from exports.models import Download, FileRequest, Status
from exports.patterns import InvalidForm, QuerySetExport, registry
from exports.serializers import State, personalize, serialize
from exports.signing import BadTicket, Ticket

PAGE_SIZE = 20
POLL_SECONDS = 2
CLOCKS_DIFFER_SECONDS = 60

View = Callable[..., HttpResponseBase]


def wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def door(view: View) -> View:
    """Lets signed-in users in, and turns what is not theirs and what is not there into the same answer."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            return _sign_in(request)
        try:
            response = view(request, *args, **kwargs)
        except (FileRequest.DoesNotExist, UnknownFileType, Http404):
            return _not_found(request)
        if "Cache-Control" not in response.headers:
            patch_cache_control(response, private=True, no_cache=True)
        return response

    return guarded


@require_safe
@door
def list_view(request: HttpRequest) -> HttpResponse:
    """The history of one's own requests, newest first."""
    mine = FileRequest.objects.filter(requester=request.user).select_related("requester")
    page = Paginator(mine, PAGE_SIZE).get_page(request.GET.get("page"))
    exports = [_state(request, each) for each in page]
    return render(request, "exports/list.html", {"page": page, "exports": exports, "is_live": _any_active(exports)})


@require_http_methods(["GET", "HEAD", "POST"])
@door
def form_view(request: HttpRequest, file_type: str) -> HttpResponse:
    """GET: the filter of an export as a page. POST: ask for the file."""
    exporter = registry.find_export(file_type)
    if request.method == "POST":
        return _create(request, exporter)
    return _render_form(request, exporter, exporter.get_form(None, request.user))


@require_safe
def detail_view(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """The state as JSON, for polling: ETag, Retry-After while it is under way, 410 once it has expired."""
    return _json_door(request, lambda: _poll(request, _find(request, pk)))


@require_safe
@door
def page_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The page of one request. It works without JavaScript, by reloading itself while the request is under way."""
    file_request = _find(request, pk)
    context = {"export": _state(request, file_request), "is_live": file_request.is_active}
    return render(request, "exports/page.html", context)


@require_POST
@door
def cancel_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _change(request, _changeable(request, pk), services.cancel)


@require_POST
@door
def expire_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _change(request, _changeable(request, pk), services.expire)


@require_POST
@door
def revoke_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _change(request, _changeable(request, pk), services.revoke_links)


@require_POST
@door
def seen_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A page says that it has shown the end. Only the owner's page counts: the mail is the owner's."""
    file_request = _find(request, pk)
    if file_request.requester_id == request.user.pk:
        services.mark_seen(file_request)
    return answer(request, file_request)


@require_POST
@door
def retry_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask again, as a new request."""
    file_request = _find(request, pk)
    if file_request.requester_id != request.user.pk:
        return refuse(request, 403, "not_owner", _("Only its owner can try an export again."))
    return _created(request, lambda: services.retry(file_request), status=201)


@require_safe
@door
def download_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The address that is good as long as the row: checks the owner, then leads to a fresh ticket."""
    file_request = _find(request, pk)
    if file_request.status != Status.READY:
        return HttpResponseRedirect(reverse("exports:page", args=[pk]))
    ticket = _state(request, file_request)["urls"]["ticket"]
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


class SuspiciousToken(SuspiciousOperation):
    """The token is not one that this signer made."""


class SignatureHasExpired(PermissionDenied):
    """The token was good once."""


class UserIsNotRequester(PermissionDenied):
    """The file is somebody else's."""


def evaluate_request(
    request: HttpRequest,
    token: str,
    require_requester: bool = True,
    verify_requester: bool = True,
    signer: Any = None,
) -> tuple[FileRequest, Any]:
    """The request of this token, and the data in it, for a view of the host's own.

    Looks at the token, then at the requester, then at the file. Raises SuspiciousToken, SignatureHasExpired,
    UserIsNotRequester or Http404. With both flags False whoever holds a token of this signer is let in.
    """
    try:
        file_request, data = toolbox.decode(token, require_requester=require_requester, signer=signer)
    except SignatureExpired as error:
        raise SignatureHasExpired("This link has expired.") from error
    except BadSignature as error:
        raise SuspiciousToken("This link is not one of ours.") from error
    except FileRequest.DoesNotExist as error:
        raise Http404("There is no such file.") from error
    if verify_requester and (file_request.requester_id is None or file_request.requester_id != request.user.pk):
        raise UserIsNotRequester("This file is somebody else's.")
    if not file_request.filehandle or file_request.status == Status.EXPIRED:
        raise Http404("There is no such file.")
    return file_request, data


def serve_file(
    request: HttpRequest,
    token: str,
    require_requester: bool = True,
    verify_requester: bool = True,
    signer: Any = None,
) -> HttpResponseBase:
    """The file of this token, streamed. Raises like evaluate_request."""
    file_request, _data = evaluate_request(request, token, require_requester, verify_requester, signer)
    response = toolbox.serve(file_request, http_request=request)
    if request.method == "GET" and response.status_code in delivery.HANDED_OVER:
        _record(request, file_request, response)
    return response


def hand_over(request: HttpRequest, file_request: FileRequest) -> HttpResponseBase:
    """The file of a READY request, for somebody who may have it, and a record of it. Raises Http404 when it is gone.

    After a POST the answer is never another site but the page with the link: browsers that go by a `form-action` let no
    form lead elsewhere, not even by a redirect.
    """
    try:
        response = delivery.respond(request, file_request)
    except FileNotFoundError:
        raise Http404 from None
    if request.method == "POST" and response.status_code == 302:
        return answer(request, file_request)
    if request.method != "HEAD" and response.status_code in delivery.HANDED_OVER:
        _record(request, file_request, response)
    return response


def _find(request: HttpRequest, pk: UUID) -> FileRequest:
    return FileRequest.objects.visible_to(request.user).select_related("requester").get(pk=pk)


def _changeable(request: HttpRequest, pk: UUID) -> FileRequest:
    file_request = _find(request, pk)
    if not file_request.is_changeable_by(request.user):
        raise Http404
    return file_request


def _state(request: HttpRequest, file_request: FileRequest) -> State:
    return personalize(serialize(file_request), file_request, request.user)


def _any_active(exports: list[State]) -> bool:
    return any(export["status"] in ("queued", "running") for export in exports)


def _admit(request: HttpRequest, text: str) -> FileRequest:
    try:
        ticket = Ticket.read(text)
    except BadTicket:
        raise Http404 from None
    file_request = FileRequest.objects.select_related("requester").get(pk=ticket.request_id)
    left = ticket.expires - timezone.now().timestamp()
    is_good = (
        ticket.user_id == str(request.user.pk)
        and ticket.epoch == file_request.epoch
        and 0 < left <= config.TICKET_MAX_AGE + CLOCKS_DIFFER_SECONDS
        and file_request.status == Status.READY
        and services.may_download(request.user, file_request)
    )
    if not is_good:
        raise Http404
    return file_request


def _record(request: HttpRequest, file_request: FileRequest, response: HttpResponseBase) -> None:
    """A download is the best proof that its owner has seen the end. Whoever holds a token may be nobody."""
    user = getattr(request, "user", AnonymousUser())
    first_byte = int(response.headers.get("Content-Range", "bytes 0-").split()[1].split("-")[0])
    Download.objects.create(
        request=file_request,
        user=user if user.is_authenticated else None,
        file_type=file_request.file_type,
        address=delivery.shortened(request.META.get("REMOTE_ADDR", "")),
        first_byte=first_byte,
        byte_count=int(response.headers.get("Content-Length") or file_request.size or 0),
    )
    if user.is_authenticated and file_request.requester_id == user.pk:
        services.mark_seen(file_request)


def _poll(request: HttpRequest, file_request: FileRequest) -> HttpResponse:
    state = serialize(file_request)
    etag = f'W/"{hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:32]}"'
    status = 410 if file_request.status == Status.EXPIRED else 200
    if status == 200 and is_match(request.headers.get("If-None-Match"), etag):
        response: HttpResponse = HttpResponse(status=304)
    else:
        response = JsonResponse(personalize(state, file_request, request.user), status=status)
    response.headers["ETag"] = etag
    if file_request.is_active:
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return response


def _create(request: HttpRequest, exporter: QuerySetExport) -> HttpResponse:
    posted = request.POST
    options = {
        name.removeprefix("option_"): {"true": True, "false": False}.get(value, value)
        for name, value in posted.items()
        if name.startswith("option_")
    }
    return _created(
        request,
        lambda: services.request_export(
            request.user,
            exporter.file_type,
            posted,
            format=posted.get("format", ""),
            options=options,
            time_zone=posted.get("time_zone", ""),
        ),
        status=202,
        exporter=exporter,
    )


def _created(
    request: HttpRequest,
    make: Callable[[], tuple[FileRequest, bool]],
    *,
    status: int,
    exporter: QuerySetExport | None = None,
) -> HttpResponse:
    """Run a verb that makes a request, and say what came of it."""
    try:
        file_request, _is_new = make()
    except InvalidForm as error:
        return _invalid(request, exporter, error)
    except services.NotAllowed as error:
        return refuse(request, 403, "not_allowed", str(error))
    except services.TooLate as error:
        return refuse(request, 409, "too_late", str(error))
    except (UnknownFormat, BadOption) as error:
        return refuse(request, 400, error.code, str(error))
    return answer(request, file_request, status=status)


def _invalid(request: HttpRequest, exporter: QuerySetExport | None, error: InvalidForm) -> HttpResponse:
    if exporter is not None and not wants_json(request):
        return _render_form(request, exporter, error.form, status=400)
    fields = {name: [str(each) for each in errors] for name, errors in error.form.errors.items()}
    message = _("Please correct the marked fields.")
    return refuse(request, 400, "invalid_criteria", message, fields=fields)


def _render_form(request: HttpRequest, exporter: QuerySetExport, form: Any, *, status: int = 200) -> HttpResponse:
    return render(request, "exports/form.html", {"exporter": exporter, "form": form}, status=status)


def _change(request: HttpRequest, file_request: FileRequest, verb: Callable[[FileRequest], None]) -> HttpResponse:
    try:
        verb(file_request)
    except services.TooLate:
        return answer(request, file_request, status=409)
    return answer(request, file_request)


def answer(request: HttpRequest, file_request: FileRequest, *, status: int = 200) -> HttpResponse:
    """The state for a program, the way to its page for a browser."""
    if wants_json(request):
        headers = {"Retry-After": str(POLL_SECONDS)} if file_request.is_active else {}
        if status in (201, 202):
            headers["Location"] = reverse("exports:detail", args=[file_request.pk])
        return JsonResponse(_state(request, file_request), status=status, headers=headers)
    response = HttpResponseRedirect(reverse("exports:page", args=[file_request.pk]))
    response.status_code = 303
    return response


def _json_door(request: HttpRequest, answer: Callable[[], HttpResponse]) -> HttpResponse:
    """A door that speaks JSON to everybody."""
    if not request.user.is_authenticated:
        return _error(401, "not_signed_in", _("Please sign in."))
    try:
        response = answer()
    except FileRequest.DoesNotExist:
        return _error(404, "not_found", _("There is no such export."))
    patch_cache_control(response, private=True, no_cache=True)
    return response


def _sign_in(request: HttpRequest) -> HttpResponse:
    if wants_json(request):
        return _error(401, "not_signed_in", _("Please sign in."))
    return redirect_to_login(request.get_full_path() if request.method in ("GET", "HEAD") else reverse("exports:list"))


def _not_found(request: HttpRequest) -> HttpResponse:
    if wants_json(request):
        return _error(404, "not_found", _("There is no such export."))
    raise Http404("There is no such export.")


def refuse(request: HttpRequest, status: int, code: str, message: str, **more: Any) -> HttpResponse:
    if wants_json(request):
        return _error(status, code, message, **more)
    return render(request, "exports/refused.html", {"message": message}, status=status)


def _error(status: int, code: str, message: str, **more: Any) -> JsonResponse:
    headers = {"Cache-Control": "private, no-cache", "Vary": "Accept"}
    return JsonResponse({"error": {"code": code, "message": message, **more}}, status=status, headers=headers)
