"""The doors around a request: ask for one, look at it, cancel it, try it again."""

import hashlib
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from exports import services
from exports.exceptions import BadOption, InvalidForm, LimitReached, UnknownFormat
from exports.exporters import QuerySetExport, registry
from exports.http.ranges import is_match
from exports.http.replies import (
    POLL_SECONDS,
    answer,
    changeable,
    door,
    find,
    json_door,
    over_limit,
    refuse,
    state_for,
    wants_json,
)
from exports.http.sharing import sharing_of
from exports.models import FileRequest, Status
from exports.state import State

PAGE_SIZE = 20


@require_safe
@door
def list_view(request: HttpRequest) -> HttpResponse:
    """The history of one's own requests, newest first."""
    mine = FileRequest.objects.filter(requester=request.user)
    page = Paginator(mine, PAGE_SIZE).get_page(request.GET.get("page"))
    for each in page:
        # Read with this very request; whether they may have a file is asked of each, and what they may need not be.
        each.requester = request.user
    exports = [state_for(request, each) for each in page]
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
    return json_door(request, lambda: _poll(request, find(request, pk)))


@require_safe
@door
def page_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """The page of one request. It works without JavaScript, by reloading itself while the request is under way."""
    file_request = find(request, pk)
    is_mine = file_request.requester_id == request.user.pk
    context = {
        "export": state_for(request, file_request),
        "is_live": file_request.is_active,
        "sharing": sharing_of(request, file_request),
        "made_at": file_request.finished_at if is_mine and services.can_be_made_again(file_request) else None,
    }
    return render(request, "exports/page.html", context)


@require_POST
@door
def cancel_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _change(request, changeable(request, pk), services.cancel)


@require_POST
@door
def expire_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _change(request, changeable(request, pk), services.expire)


@require_POST
@door
def revoke_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    return _change(request, changeable(request, pk), services.revoke_links)


@require_POST
@door
def seen_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """A page says that it has shown the end. Only the owner's page counts: the mail is the owner's."""
    file_request = find(request, pk)
    if file_request.requester_id == request.user.pk:
        services.mark_seen(file_request)
    return answer(request, file_request)


@require_POST
@door
def retry_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Ask again, as a new request; with `fresh=1` for a file that is there too."""
    file_request = find(request, pk)
    if file_request.requester_id != request.user.pk:
        return refuse(request, 403, "not_owner", _("Only its owner can try an export again."))
    verb = services.make_again if request.POST.get("fresh") == "1" else services.retry
    return _created(request, lambda: verb(file_request), status=201)


def _any_active(exports: list[State]) -> bool:
    return any(export["status"] in ("queued", "running") for export in exports)


def _poll(request: HttpRequest, file_request: FileRequest) -> HttpResponse:
    state = state_for(request, file_request)
    etag = f'W/"{hashlib.sha256(json.dumps(_lasting(state), sort_keys=True).encode()).hexdigest()[:32]}"'
    status = 410 if file_request.status == Status.EXPIRED else 200
    if status == 200 and is_match(request.headers.get("If-None-Match"), etag):
        response: HttpResponse = HttpResponse(status=304)
    else:
        response = JsonResponse(state, status=status)
    response.headers["ETag"] = etag
    if file_request.is_active:
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return response


def _lasting(state: State) -> State:
    """The state without the ticket, which is another one each time."""
    return {**state, "urls": {**state["urls"], "ticket": None, "ticket_expires_at": None}}


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
            fresh=posted.get("fresh") == "1",
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
    except LimitReached as error:
        return over_limit(request, error, page=_form_again(request, exporter))
    except services.NotAllowed as error:
        return refuse(request, 403, "not_allowed", str(error))
    except services.TransitionNotAllowed as error:
        return refuse(request, 409, "too_late", str(error))
    except (UnknownFormat, BadOption) as error:
        return refuse(request, 400, error.code, str(error))
    if file_request.status == Status.READY:
        age = (timezone.now() - file_request.finished_at).total_seconds()
        return answer(request, file_request, reused={"age_seconds": round(max(age, 0.0), 1)})
    return answer(request, file_request, status=status)


def _form_again(request: HttpRequest, exporter: QuerySetExport | None) -> Callable[[str], HttpResponse] | None:
    """What shows the form once more, with what was chosen and why there is no file of it."""
    if exporter is None:
        return None
    form = exporter.get_form(request.POST, request.user)
    return lambda sentence: _render_form(request, exporter, form, status=429, refusal=sentence)


def _invalid(request: HttpRequest, exporter: QuerySetExport | None, error: InvalidForm) -> HttpResponse:
    if exporter is not None and not wants_json(request):
        return _render_form(request, exporter, error.form, status=400)
    fields = {name: [str(each) for each in errors] for name, errors in error.form.errors.items()}
    message = _("Please correct the marked fields.")
    return refuse(request, 400, "invalid_criteria", message, fields=fields)


def _render_form(
    request: HttpRequest, exporter: QuerySetExport, form: Any, *, status: int = 200, refusal: str = ""
) -> HttpResponse:
    left_out = exporter.withheld_from(request.user)
    context = {"exporter": exporter, "form": form, "refusal": refusal, "withheld": left_out}
    return render(request, "exports/form.html", context, status=status)


def _change(request: HttpRequest, file_request: FileRequest, verb: Callable[[FileRequest], None]) -> HttpResponse:
    try:
        verb(file_request)
    except services.TransitionNotAllowed:
        return answer(request, file_request, status=409)
    return answer(request, file_request)
