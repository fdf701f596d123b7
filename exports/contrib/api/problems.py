"""Errors as problem details (RFC 9457), with the codes of docs/protocol.md."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from ninja.errors import ValidationError

from exports.contrib.api.headers import add_quotas, add_rate_limit
from exports.exceptions import UnknownFileType
from exports.http.bodies import BadBody
from exports.http.estimates import quota_of
from exports.http.presets import BadPreset
from exports.http.refusals import REFUSALS, refusal_of
from exports.models import FileRequest, Preset
from exports.queue.base import QueueNotConfigured

PROBLEM: Final = "application/problem+json"
NO_STORE: Final = {"Cache-Control": "private, no-store"}


class NotSignedIn(Exception):
    """Raised for a request without a user."""


class Forged(Exception):
    """Raised for a request by session that Django's check against forged requests refuses."""


ANSWERED: Final = (
    NotSignedIn,
    Forged,
    BadBody,
    BadPreset,
    ValidationError,
    FileRequest.DoesNotExist,
    Preset.DoesNotExist,
    UnknownFileType,
    Http404,
    QueueNotConfigured,
    SuspiciousOperation,
    *REFUSALS,
)
"""What the operations raise; `answer` answers them."""


def answer(request: HttpRequest, error: Exception) -> HttpResponse:
    """Return the response to a request that raised one of ANSWERED."""
    match error:
        case NotSignedIn():
            response = problem(401, "not_signed_in", _("Please sign in."))
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        case Forged():
            return problem(403, "csrf_failed", "A request by session needs the header X-CSRFToken.")
        case BadBody():
            return problem(error.status, error.code, str(error), **error.extra)
        case BadPreset():
            return problem(error.status, "bad_preset", str(error))
        case ValidationError():
            return _invalid(error)
        case FileRequest.DoesNotExist() | Preset.DoesNotExist() | UnknownFileType() | Http404():
            return not_found(request)
        case QueueNotConfigured():
            return problem(503, "no_queue", _("No files can be made on this site at the moment."))
        case RequestDataTooBig():
            return problem(413, "body_too_large", "The body of this request is too long.")
        case SuspiciousOperation():
            return problem(400, "invalid_body", "The request cannot be read.")
    refusal = refusal_of(error)
    response = problem(refusal.status, refusal.code, refusal.message, **refusal.extra)
    if refusal.retry_seconds is not None:
        response.headers["Retry-After"] = str(refusal.retry_seconds)
    if refusal.code == "too_many_estimates":
        add_rate_limit(response, [quota_of(request.user)])
    elif refusal.status == 429:
        add_quotas(request, response)
    return response


def not_found(request: HttpRequest, **parameters: object) -> HttpResponse:
    """Return the 404 of whatever does not exist or is not for this user; also the view of addresses of nothing."""
    return problem(404, "not_found", _("There is no such export."))


def problem(status: int, code: str, detail: str, **extra: object) -> HttpResponse:
    """Return a problem; `extra` are members beside those of the RFC and `code`."""
    # With the type about:blank the title is that of the status, and `code` says more.
    told = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "code": code}
    return HttpResponse(json.dumps({**told, **extra}), status=status, content_type=PROBLEM, headers=NO_STORE)


# Any: a dictionary, also a TypedDict.
def json_response(content: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> JsonResponse:
    """Return an answer, which no cache may keep."""
    return JsonResponse(content, status=status, headers={**NO_STORE, **(headers or {})})


def _invalid(error: ValidationError) -> HttpResponse:
    """Return the response to a body or to parameters that are not as the document says."""
    fields: dict[str, list[str]] = {}
    for each in error.errors:
        # ("body", "asked", "criteria"), ("query", "limit"): where, the parameter of our function, and the field.
        place = [str(part) for part in each["loc"][2 if each["loc"][0] == "body" else 1 :]]
        fields.setdefault(".".join(place) or "__all__", []).append(each["msg"])
    if all(each["type"] == "extra_forbidden" for each in error.errors):
        names = ", ".join(fields)
        return problem(
            400, "unknown_fields", _("There are no such fields: %(names)s.") % {"names": names}, fields=fields
        )
    is_body = error.errors[0]["loc"][0] == "body"
    code = "invalid_body" if is_body else "invalid_parameters"
    return problem(400, code, _("Please correct the marked fields."), fields=fields)
