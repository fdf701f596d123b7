"""What can be exported: the types with their schemas, and how much an export will be."""

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from ninja import Router

from exports.contrib.api.choices import check
from exports.contrib.api.described import describe_type, open_types
from exports.contrib.api.documented import errors
from exports.contrib.api.headers import add_rate_limit
from exports.contrib.api.problems import json_response
from exports.contrib.api.schemas import Choices, EstimateAnswer, TypeAnswer, TypesAnswer
from exports.exporters import permissions
from exports.http.actors import record_refusal
from exports.http.estimates import check_rate, estimate, quota_of
from exports.models import AuditEntry
from exports.services import NotAllowed

router = Router(tags=["types"])


@router.get("/", response={200: TypesAnswer, **errors(401)}, url_name="types", operation_id="list_types")
def list_types(request: HttpRequest) -> HttpResponse:
    """List the types that the user may export, with JSON Schemas of their criteria, columns and options."""
    return json_response({"types": [describe_type(request.user, each) for each in open_types(request.user)]})


@router.get(
    "/{slug:type}/", response={200: TypeAnswer, **errors(401, 403, 404)}, url_name="type", operation_id="get_type"
)
def get_type(request: HttpRequest, type: str) -> HttpResponse:
    """Describe one type, with JSON Schemas of its criteria, columns and options."""
    exporter = permissions.find_exporter(request.user, type)
    if not permissions.may_open_form(request.user, exporter):
        record_refusal(request, AuditEntry.Verb.REQUEST, file_type=type)
        raise NotAllowed(_("You may not export this."))
    return json_response(describe_type(request.user, exporter))


@router.post(
    "/{slug:type}/estimate/",
    response={200: EstimateAnswer, **errors(400, 401, 403, 404, 413, 415, 429)},
    url_name="estimate",
    operation_id="estimate",
)
def estimate_size(request: HttpRequest, type: str, given: Choices) -> HttpResponse:
    """Count the rows, and take size and time from files made before. Requests nothing."""
    exporter = permissions.find_exporter(request.user, type)
    check_rate(request.user)
    response = json_response(estimate(request.user, check(request, exporter, given)))
    add_rate_limit(response, [quota_of(request.user)])
    return response
