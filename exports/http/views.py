"""The pages and the JSON API: request an export, list, follow, cancel, retry, share and expire it.

Each view finds the export, checks the permission, calls one service and shapes the response. Exports that do not exist
and exports of other users get the same 404. With `Accept: application/json` the views that change something return
STATE; browsers are redirected to the page of the export.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import Any
from urllib.parse import urljoin
from uuid import UUID

from django.conf import settings
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from exports import services
from exports.access.authentication import carries_token
from exports.access.tenants import base_url
from exports.conf import url_of
from exports.exceptions import ExportError, InvalidForm, LimitReached, TransitionNotAllowed
from exports.exporters import QuerySetExport, permissions, registry
from exports.exporters.choosing import FIELD, HEADER, OFFERED_FIELD, POSITION, posted_columns
from exports.exporters.options import PREFIX, posted_options
from exports.exporters.preview import FirstRows, first_rows
from exports.http import bodies
from exports.http.actors import actor_of, record_refusal
from exports.http.bodies import wants_json
from exports.http.decorators import identify, signed_in
from exports.http.estimates import check_rate, estimate
from exports.http.forms import erased_message, form_context, opened_by
from exports.http.ranges import is_match
from exports.http.refusals import REFUSALS, NotOwner, error_response, refusal_response, refuse
from exports.models import AuditEntry, FileRequest, Preset, Status
from exports.models.audit import refuse_reader
from exports.models.locale import zone_named
from exports.models.request import AnyUser
from exports.state import limit_message

log = logging.getLogger("exports.http.views")

POLL_SECONDS = 2
YES = ("1", "true")


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def form_view(
    request: HttpRequest,
    file_type: str,
    *,
    template_name: str = "exports/form.html",
    extra_context: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """Show the form of an export (GET), or request a file with it (POST).

    `template_name` and `extra_context` are for pages of other sites, such as the admin, that show the same form.
    """
    exporter = permissions.find_exporter(request.user, file_type)
    posted = request.POST
    shown = partial(render_form, request, exporter, template_name=template_name, extra_context=extra_context)
    if not permissions.may_open_form(request.user, exporter):
        record_refusal(request, AuditEntry.Verb.REQUEST, file_type=file_type)
        return refuse(request, 403, "not_allowed", _("You may not export this."))
    if request.method != "POST":
        if own_url := exporter.get_form_url():
            return HttpResponseRedirect(f"{own_url}?{request.GET.urlencode()}")
        opened = opened_by(request.user, exporter, request.GET)
        is_filled = opened is not None and not erased_message(opened)
        form = exporter.get_form(QueryDict(opened.criteria) if opened and is_filled else None, request.user)
        return shown(form, opened=opened, refusal=erased_message(opened))
    refuse_unknown_choices(request, exporter)
    try:
        if posted.get("estimate") and not wants_json(request):
            check_rate(request.user)
            chosen = posted_choices(exporter, posted)
            asked = services.check_request(request.user, file_type, posted, **chosen, actor=actor_of(request))
            return shown(asked.form, estimated=estimate(request.user, asked)["text"])
        export, _is_new = services.request_export(
            request.user,
            file_type,
            posted,
            **posted_choices(exporter, posted),
            time_zone=posted.get("time_zone", ""),
            fresh=posted.get("fresh") in YES,
            callback_url=posted.get("callback_url", ""),
            actor=actor_of(request),
        )
    except REFUSALS as error:
        if wants_json(request) or not isinstance(error, InvalidForm | LimitReached):
            return refusal_response(request, error)
        if isinstance(error, InvalidForm):
            return shown(error.form, status=400)
        response = shown(exporter.get_form(posted, request.user), status=429, refusal=limit_message(error))
        response.headers["Retry-After"] = str(ceil(error.seconds))
        return response
    if export.status == Status.READY and export.finished_at is not None:
        age = (timezone.now() - export.finished_at).total_seconds()
        return state_response(request, export, reused={"age_seconds": round(max(age, 0.0), 1)})
    return state_response(request, export, status=202)


@require_safe
def detail_view(request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Return STATE as JSON for polling, always as JSON: ETag, Retry-After while it is active, 410 once it expired."""
    identify(request)
    if not request.user.is_authenticated:
        return error_response(401, "not_signed_in", _("Please sign in."))
    try:
        export = get_visible(request, pk)
    except FileRequest.DoesNotExist:
        return error_response(404, "not_found", _("There is no such export."))
    return polled_state(request, export)


@require_safe
@signed_in
def page_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show the page of one export. Without a working script it reloads itself while the export is active."""
    export = get_visible(request, pk)
    user = request.user
    is_owner = export.requester_id == user.pk
    sharing = None
    # The form is in the page before there is a file; the stylesheet shows it once the export is ready.
    if (export.is_active or export.status == Status.READY) and services.may_share(user, export):
        seconds = permissions.public_link_seconds(export)
        sharing = {"address": _public_url(request, export), "until": export.public_until, "seconds": seconds}
    zone = zone_named(export.requester_timezone) if is_owner and settings.USE_TZ else None
    context = {
        "export": services.state_for(request.user, export),
        "is_live": export.is_active,
        "is_plain": is_plain(request),
        "sharing": sharing,
        "error_detail": export.error_detail if settings.DEBUG or user.has_perm("exports.view_filerequest") else "",
        "can_regenerate": is_owner and services.can_regenerate(export),
        "has_preview": is_owner and export.is_active and registry.is_offered(export.file_type),
        "preview": None,
    }
    if context["has_preview"] and request.GET.get("rows"):
        context["preview"] = _first_rows(user, export)
    # One clock on the whole page: the owner's, as at the request. A script replaces it by that of the browser.
    with timezone.override(zone or timezone.get_current_timezone()):
        return render(request, "exports/page.html", {**context, "time_zone": timezone.get_current_timezone_name()})


@require_safe
@signed_in
def rows_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Return the first rows of the user's own export as JSON, with the columns that they may have.

    A browser is redirected to the page that shows them.
    """
    export = get_visible(request, pk)
    is_own = export.requester_id == request.user.pk
    # Without its criteria it would show other rows.
    if not is_own or export.erased_at is not None or not registry.is_offered(export.file_type):
        raise Http404
    if not wants_json(request):
        return HttpResponseRedirect(f"{url_of('page', pk)}?rows=1#rows")
    try:
        found = _first_rows(request.user, export)
    except LimitReached as error:
        return refusal_response(request, error)
    if found is None:
        return HttpResponse(status=204)
    return JsonResponse({"columns": found.columns, "rows": found.rows})


@require_POST
@signed_in
def cancel_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Cancel a queued or running export."""
    return _change(request, pk, AuditEntry.Verb.CANCEL, services.cancel)


@require_POST
@signed_in
def expire_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Expire a ready file: its links end now and its bytes are deleted later."""
    return _change(request, pk, AuditEntry.Verb.EXPIRE, services.expire)


@require_POST
@signed_in
def revoke_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """End every ticket and the public link of a ready file."""
    return _change(request, pk, AuditEntry.Verb.REVOKE, services.revoke)


@require_POST
@signed_in
def share_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Create a public link; the one before it stops working."""
    bodies.refuse_unknown_fields(request)
    export = get_changeable(request, pk, AuditEntry.Verb.SHARE)
    if not services.may_share(request.user, export):
        record_refusal(request, AuditEntry.Verb.SHARE, pk)
        return refuse(request, 403, "not_shareable", _("You may make no link for anyone to this file."))
    try:
        services.share(export, actor_of(request))
    except TransitionNotAllowed:
        return state_response(request, export, status=409)
    return state_response(request, export, public_link=_public_url(request, export))


@require_POST
@signed_in
def seen_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Note that the owner's page has shown the end, so that no mail is sent. Other users' pages do not count."""
    bodies.refuse_unknown_fields(request)
    export = get_visible(request, pk)
    refuse_reader(actor_of(request), None)
    if export.requester_id == request.user.pk:
        services.mark_seen(export)
    return state_response(request, export)


@require_POST
@signed_in
def retry_view(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Request the same again as a new export; with `fresh=1` a newer file in place of one that is ready."""
    bodies.refuse_unknown_fields(request, {"fresh"})
    try:
        again = request_again(request, pk, fresh=request.POST.get("fresh") in YES)
    except REFUSALS as error:
        return refusal_response(request, error)
    return state_response(request, again, status=201)


def request_again(request: HttpRequest, pk: UUID, *, fresh: bool) -> FileRequest:
    """Request the same as an export of the user as a new one. Raises DoesNotExist and REFUSALS."""
    export = get_visible(request, pk, AuditEntry.Verb.REQUEST)
    if export.requester_id != request.user.pk:
        record_refusal(request, AuditEntry.Verb.REQUEST, pk)
        raise NotOwner
    verb = services.regenerate if fresh else services.retry
    return verb(export, actor_of(request))[0]


def get_visible(request: HttpRequest, pk: UUID, verb: str = "") -> FileRequest:
    """Return an export that the user may see. Raises FileRequest.DoesNotExist, and records the refusal of a `verb`."""
    try:
        return FileRequest.objects.visible_to(request.user).select_related("requester").timed().get(pk=pk)
    except FileRequest.DoesNotExist:
        if verb:
            record_refusal(request, verb, pk)
        raise


def polled_state(request: HttpRequest, export: FileRequest) -> HttpResponse:
    """Return the response to a GET of STATE: 200, 304 or 410, with ETag, and Retry-After while it is active."""
    state = services.state_for(request.user, export, is_bearer=carries_token(request))
    # The ticket is another one each time, and the worker's silence grows.
    compared = {**state, "worker": None, "urls": {**state["urls"], "ticket": None, "ticket_expires_at": None}}
    etag = f'W/"{hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()[:32]}"'
    status = 410 if export.status == Status.EXPIRED else 200
    if status == 200 and is_match(request.headers.get("If-None-Match"), etag):
        response: HttpResponse = HttpResponse(status=304)
    else:
        response = JsonResponse(state, status=status)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "private, no-store"
    if export.is_active:
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return response


def is_plain(request: HttpRequest) -> bool:
    """Return True for a page that includes no script, for browsers that could not load it: it reloads itself."""
    return request.GET.get("plain") == "1"


def state_response(request: HttpRequest, export: FileRequest, *, status: int = 200, **extra: object) -> HttpResponse:
    """Return STATE, with the keys of `extra` beside its own, to a program; redirect a browser to the export's page."""
    if not wants_json(request):
        response = HttpResponseRedirect(url_of("page", export.pk))
        response.status_code = 303
        return response
    headers = {"Retry-After": str(POLL_SECONDS)} if export.is_active else {}
    if status in (201, 202):
        headers["Location"] = url_of("detail", export.pk)
    state = services.state_for(request.user, export, is_bearer=carries_token(request))
    return JsonResponse({**state, **extra}, status=status, headers=headers)


def posted_choices(exporter: QuerySetExport, posted: QueryDict) -> dict[str, Any]:
    """Return the format, the options and the columns of a posted form, as `services.check_request` takes them.

    Any: arguments of different types. Raise UnknownFormat.
    """
    format = posted.get("format", "")
    options = posted_options(posted, exporter.writer_of(format))
    return {"format": format, "options": options, "columns": posted_columns(posted)}


def refuse_unknown_choices(request: HttpRequest, exporter: QuerySetExport, *more: str) -> None:
    """Raise BadBody if a JSON body has a field that a request for this export does not have; `more` names others."""
    if request.content_type != bodies.JSON:
        return
    names = {name for writer in exporter.offered() for name in writer.choices}
    options = {f"{PREFIX}{writer.format}.{name}" for writer in exporter.offered() for name in writer.choices}
    columns = {f"{kind}{name}" for kind in (POSITION, HEADER) for name in request.POST.getlist(FIELD)}
    known = {
        "format",
        "time_zone",
        "fresh",
        "callback_url",
        "estimate",
        FIELD,
        OFFERED_FIELD,
        *more,
        *columns,
        *options,
    }
    known |= {f"{PREFIX}{name}" for name in names}
    bodies.refuse_unknown_fields(request, known | {*bodies.names_of(exporter.get_form(request.POST, request.user))})


def render_form(
    request: HttpRequest,
    exporter: QuerySetExport,
    form: Form,
    *,
    status: int = 200,
    opened: FileRequest | Preset | None = None,
    refusal: str = "",
    estimated: str = "",
    preset_error: str = "",
    template_name: str = "exports/form.html",
    extra_context: Mapping[str, Any] | None = None,
) -> HttpResponse:
    """Return a page with the form of an export, bound or not, filled in as it was posted, or as `opened` says.

    `refusal` says why a request was refused, `estimated` how much it is, `preset_error` why a preset was not saved.
    """
    context = {
        **form_context(request.user, exporter, form, posted=request.POST or None, opened=opened),
        "refusal": refusal,
        "estimate": estimated,
        "preset_error": preset_error,
        **(extra_context or {}),
    }
    return render(request, template_name, context, status=status)


def get_changeable(request: HttpRequest, pk: UUID, verb: str) -> FileRequest:
    """Return an export that the user may change. Raises DoesNotExist or Http404, and records the refusal."""
    export = get_visible(request, pk, verb)
    if not export.is_changeable_by(request.user):
        record_refusal(request, verb, pk)
        raise Http404
    return export


def _change(request: HttpRequest, pk: UUID, name: str, verb: services.Verb) -> HttpResponse:
    bodies.refuse_unknown_fields(request)
    export = get_changeable(request, pk, name)
    try:
        verb(export, actor_of(request))
    except TransitionNotAllowed:
        return state_response(request, export, status=409)
    return state_response(request, export)


def _first_rows(user: AnyUser, export: FileRequest) -> FirstRows | None:
    """Return the first rows, or None if the policy refuses the export, or they cannot be read here and now.

    Raise LimitReached.
    """
    check_rate(user)
    exporter = registry.find_exporter(export.file_type)
    if permissions.refusal_of(export, exporter, to_run=True)[0] is not None:
        return None
    try:
        return first_rows(exporter, export)
    except ExportError as error:
        # The run ends with the same error, or reads what takes too long here.
        log.info("request %s: no first rows: %s", export.pk, error.code)
        return None


def _public_url(request: HttpRequest, export: FileRequest) -> str | None:
    """Return the absolute URL of the public link, or None if there is no valid one."""
    link = services.public_link_of(export)
    if link is None:
        return None
    return urljoin(base_url(export.tenant) or request.build_absolute_uri("/"), url_of("public", link))
