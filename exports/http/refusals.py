"""How refusals of the services are told: the status, the stable code and the sentence, for pages and the JSON API.

`refusal_response` and the functions below it make the responses.
"""

from dataclasses import dataclass, field
from math import ceil
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from exports import services
from exports.conf import config
from exports.exceptions import (
    BadOption,
    InvalidForm,
    KeyReused,
    LimitReached,
    ReadOnlyToken,
    TransitionNotAllowed,
    UnknownFormat,
    UnstorableQuerySet,
)
from exports.http.bodies import wants_json
from exports.state import ERROR_MESSAGES, limit_message


class NotOwner(Exception):
    """Raised when a user wants to try an export of another one again."""


REFUSALS = (
    InvalidForm,
    KeyReused,
    LimitReached,
    services.NotAllowed,
    ReadOnlyToken,
    NotOwner,
    TransitionNotAllowed,
    UnknownFormat,
    BadOption,
)
"""What is raised when a request is refused; `refusal_of` describes it."""


@dataclass(frozen=True)
class Refusal:
    """The status, the code and the message of a response, what else it tells, and when to try again, in seconds."""

    status: int
    code: str
    message: str
    # Any: values of JSON.
    extra: dict[str, Any] = field(default_factory=dict)
    retry_seconds: int | None = None


def refusal_of(error: Exception) -> Refusal:
    """Describe one of REFUSALS or an UnstorableQuerySet. Raise TypeError for anything else."""
    match error:
        case InvalidForm():
            fields = {name: [str(each) for each in errors] for name, errors in error.form.errors.items()}
            return Refusal(400, "invalid_criteria", _("Please correct the marked fields."), {"fields": fields})
        case LimitReached():
            return Refusal(429, error.code, limit_message(error), {"limit": error.limit}, ceil(error.seconds))
        case services.NotAllowed():
            return Refusal(403, "not_allowed", str(error))
        case ReadOnlyToken():
            return Refusal(403, "read_only_token", str(error))
        case NotOwner():
            return Refusal(403, "not_owner", _("Only its owner can try an export again."))
        case TransitionNotAllowed():
            return Refusal(409, "too_late", str(error))
        case UnknownFormat() | BadOption():
            return Refusal(400, error.code, str(error))
        case KeyReused():
            return Refusal(422, "key_reused", str(error))
        case UnstorableQuerySet():
            return Refusal(400, "too_many_rows", str(ERROR_MESSAGES["too_many_rows"]))
        case _:
            raise TypeError(f"{error!r} is not a refusal.")


def refusal_response(request: HttpRequest, error: Exception) -> HttpResponse:
    """Return the response to a request that a service refused with one of REFUSALS: 400, 403, 409 or 429."""
    refusal = refusal_of(error)
    response = refuse(request, refusal.status, refusal.code, refusal.message, **refusal.extra)
    if refusal.retry_seconds is not None:
        response.headers["Retry-After"] = str(refusal.retry_seconds)
    return response


def error_response(status: int, code: str, message: str, **extra: object) -> JsonResponse:
    """Return an error as docs/protocol.md describes it."""
    headers = {"Cache-Control": "private, no-store", "Vary": "Accept"}
    if status == 401 and (config.ACCESS_TOKENS or config.AUTHENTICATE):
        headers["WWW-Authenticate"] = "Bearer"
    return JsonResponse({"error": {"code": code, "message": message, **extra}}, status=status, headers=headers)


def not_found(request: HttpRequest) -> HttpResponse:
    """Return the 404 of every export that does not exist or that the user may not see; for HTML, raise Http404."""
    if wants_json(request):
        return error_response(404, "not_found", _("There is no such export."))
    raise Http404(_("There is no such export."))


def refuse(request: HttpRequest, status: int, code: str, message: str, **extra: object) -> HttpResponse:
    """Return an error to a program, the page that says so to a browser."""
    if wants_json(request):
        return error_response(status, code, message, **extra)
    return render(request, "exports/refused.html", {"message": message}, status=status)
