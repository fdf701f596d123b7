"""The exports of a user: request, follow, list, cancel, retry, expire and delete them."""

import json
from typing import Annotated, Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Header, Query, Router

from exports import services
from exports.access.authentication import carries_token
from exports.contrib.api.choices import chosen_by, criteria_of
from exports.contrib.api.documented import errors
from exports.contrib.api.headers import add_quotas, preference_of
from exports.contrib.api.problems import json_response
from exports.contrib.api.schemas import ListAnswer, ListQuery, NewExport, Retry, StateAnswer
from exports.exporters import permissions
from exports.http import views
from exports.http.actors import actor_of
from exports.http.bodies import BadBody, read_json, refuse_unknown
from exports.http.history import matching, own_states
from exports.http.pages import Place
from exports.http.waiting import wait_until_ended
from exports.models import AuditEntry, FileRequest
from exports.models.idempotency import Repeatable
from exports.state import State

router = Router(tags=["exports"])

CHANGE: Final = errors(400, 401, 403, 404, 409, 413, 415)


@router.post(
    "/",
    response={
        200: StateAnswer,
        202: StateAnswer,
        303: StateAnswer,
        **errors(400, 401, 403, 404, 413, 415, 422, 429, 503),
    },
    url_name="exports",
    operation_id="create_export",
)
def create_export(
    request: HttpRequest,
    given: NewExport,
    idempotency_key: Annotated[
        str, Header(alias="Idempotency-Key", max_length=200, description="A repeated request gets the same export")
    ] = "",
    prefer: Annotated[str, Header(alias="Prefer", description="RFC 7240: respond-async, wait=<seconds>")] = "",
) -> HttpResponse:
    """Request a file: 202 while it is made. With the preference `wait`, 303 to the file if it is ready in time.

    200 for one that has ended: a recent file of the same request, or the export of a repeated Idempotency-Key.
    """
    exporter = permissions.find_exporter(request.user, given.type)
    repeatable = None
    if idempotency_key:
        repeatable = Repeatable(idempotency_key, json.dumps(given.model_dump(), sort_keys=True, default=str))
    export, _is_new = services.request_export(
        request.user,
        given.type,
        criteria_of(request.user, exporter, given),
        **chosen_by(given),
        time_zone=given.time_zone,
        fresh=given.fresh,
        callback_url=given.callback_url,
        repeatable=repeatable,
        actor=actor_of(request),
    )
    if export.removed_at is not None:
        raise FileRequest.DoesNotExist
    preference = preference_of(prefer)
    waited = wait_until_ended(export, preference.wait) if preference.wait else 0.0
    response = _created(request, export, to_file=bool(preference.wait))
    applied = ["respond-async"] if preference.respond_async else []
    applied += [f"wait={waited:.0f}"] if waited else []
    if applied:
        response.headers["Preference-Applied"] = ", ".join(applied)
    add_quotas(request, response)
    return response


@router.get("/", response={200: ListAnswer, **errors(400, 401)}, operation_id="list_exports")
def list_exports(request: HttpRequest, query: Query[ListQuery]) -> HttpResponse:
    """List the user's own exports, newest first, a page at a time."""
    refuse_unknown(request.GET, ListQuery.model_fields)
    own = FileRequest.objects.owned_by(request.user).timed().order_by("-requested_at", "-pk")
    found = matching(own, text=query.q, status=query.status, file_type=query.type)
    if query.cursor:
        place = Place.read(query.cursor)
        if place is None:
            message = "This cursor is not one of this API."
            raise BadBody(400, "invalid_parameters", message, fields={"cursor": [message]})
        found = found.filter(place.earlier())
    page = list(found[: query.limit + 1])
    next_cursor = str(Place.of(page[query.limit - 1])) if len(page) > query.limit else None
    states = own_states(request.user, page[: query.limit], is_bearer=carries_token(request))
    return json_response({"exports": states, "next": next_cursor})


@router.get(
    "/{uuid:id}/",
    response={200: StateAnswer, 304: None, 410: StateAnswer, **errors(401, 404)},
    url_name="export",
    operation_id="get_export",
)
def get_export(request: HttpRequest, id: UUID) -> HttpResponse:
    """Return STATE, with an ETag; while the export is active, Retry-After says when to ask again."""
    return views.polled_state(request, views.get_visible(request, id))


@router.post("/{uuid:id}/cancel/", response={200: StateAnswer, **CHANGE}, operation_id="cancel_export")
def cancel_export(request: HttpRequest, id: UUID) -> HttpResponse:
    """Cancel an export that is queued or running."""
    return _change(request, id, AuditEntry.Verb.CANCEL, services.cancel)


@router.post("/{uuid:id}/expire/", response={200: StateAnswer, **CHANGE}, operation_id="expire_export")
def expire_export(request: HttpRequest, id: UUID) -> HttpResponse:
    """End the links of a file now; its bytes are deleted later."""
    return _change(request, id, AuditEntry.Verb.EXPIRE, services.expire)


@router.post(
    "/{uuid:id}/retry/",
    response={201: StateAnswer, **CHANGE, **errors(429, 503)},
    operation_id="retry_export",
)
def retry_export(request: HttpRequest, id: UUID, given: Retry | None = None) -> HttpResponse:
    """Request the same again as a new export."""
    export = views.request_again(request, id, fresh=given is not None and given.fresh)
    response = _created(request, export, status=201)
    add_quotas(request, response)
    return response


@router.delete("/{uuid:id}/", response={204: None, **CHANGE}, operation_id="delete_export")
def delete_export(request: HttpRequest, id: UUID) -> HttpResponse:
    """Delete an export that has ended from its owner's lists, and end the links of its file."""
    refuse_unknown(read_json(request), ())
    services.remove(views.get_changeable(request, id, AuditEntry.Verb.REMOVE), actor_of(request))
    return HttpResponse(status=204)


def _change(request: HttpRequest, pk: UUID, verb: str, change: services.Verb) -> HttpResponse:
    refuse_unknown(read_json(request), ())
    export = views.get_changeable(request, pk, verb)
    change(export, actor_of(request))
    return json_response(_state(request, export))


def _created(request: HttpRequest, export: FileRequest, *, status: int = 0, to_file: bool = False) -> HttpResponse:
    """Return STATE of an export that was asked for and where to follow it, or redirect to its file if it is ready."""
    state = _state(request, export)
    if to_file and (ticket := state["urls"]["ticket"]):
        return json_response(state, status=303, headers={"Location": ticket})
    namespace = request.resolver_match.namespace if request.resolver_match is not None else ""
    headers = {"Location": reverse(f"{namespace}:export", args=[export.pk])}
    if export.is_active:
        headers["Retry-After"] = str(views.POLL_SECONDS)
    return json_response(state, status=status or (202 if export.is_active else 200), headers=headers)


def _state(request: HttpRequest, export: FileRequest) -> State:
    return services.state_for(request.user, export, is_bearer=carries_token(request))
