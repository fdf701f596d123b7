"""The body of a POST: a form, or a JSON object with the same fields. What is not understood is refused by name.

`wants_json` tells if the response is to be JSON, too.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.forms import Form
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _

from exports.access.authentication import carries_token
from exports.exporters.json_schema import inputs_of

JSON: Final = "application/json"
FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


class BadBody(Exception):
    """Raised for a body that cannot be used: the status, the code and the message of the response, and the fields."""

    def __init__(self, status: int, code: str, message: str, **extra: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.extra = extra


@dataclass(frozen=True)
class Number:
    """A number of a JSON body with the digits that were sent, since forms parse texts."""

    digits: str

    def __str__(self) -> str:
        return self.digits


def read_body(request: HttpRequest) -> None:
    """Make the fields of a JSON object the fields of `request.POST`, so that forms read them as they read a form's.

    Raise BadBody for anything that `read_json` and `fields_of` refuse, and for a body of another type.
    """
    if request.content_type == JSON:
        request.POST = fields_of(read_json(request))  # type: ignore[assignment] # stubs know no immutable QueryDict
    elif request.content_type not in FORMS and _body_of(request):
        types = _("Send application/json, application/x-www-form-urlencoded or multipart/form-data.")
        raise BadBody(415, "unsupported_media_type", types)


# Any: what JSON can hold, with each number as a Number.
def read_json(request: HttpRequest) -> dict[str, Any]:
    """Return the JSON object in the body, {} for an empty body. Raise BadBody for other JSON and other types."""
    body = _body_of(request)
    if request.content_type != JSON:
        if body:
            raise BadBody(415, "unsupported_media_type", "Send application/json.")
        return {}
    try:
        given = json.loads(body or b"{}", object_pairs_hook=_unique, parse_int=Number, parse_float=Number)
        # An escaped half of a surrogate pair is no character, and could not be stored.
        json.dumps(given, ensure_ascii=False, default=str).encode()
    except (ValueError, RecursionError):
        raise BadBody(400, "invalid_body", _("The body is not valid JSON.")) from None
    if not isinstance(given, dict):
        raise BadBody(400, "invalid_body", _("The body must be a JSON object with the fields of the form."))
    return given


def fields_of(given: Mapping[str, object]) -> QueryDict:
    """Return values of JSON as the fields of a posted form.

    Numbers keep their digits, true and false become the words, lists are fields with several values, and null is a
    field without one. Raise BadBody for nested values, and for more than DATA_UPLOAD_MAX_NUMBER_FIELDS.
    """
    posted = QueryDict(mutable=True)
    for name, value in given.items():
        posted.setlist(name, list(_texts(name, value)))
    limit = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
    if limit is not None and sum(len(values) for _name, values in posted.lists()) > limit:
        raise BadBody(400, "invalid_body", _("The body has too many values."))
    posted._mutable = False
    return posted


def refuse_unknown_fields(request: HttpRequest, known: Collection[str] = ()) -> None:
    """Raise BadBody if a JSON body has fields that are not known. Forms may have others, such as the CSRF token."""
    if request.content_type == JSON:
        refuse_unknown(request.POST, known)


def refuse_unknown(names: Iterable[str], known: Collection[str]) -> None:
    """Raise BadBody, which names them, if there are names that are not known."""
    unknown = [name for name in names if name not in known]
    if unknown:
        message = _("There are no such fields: %(names)s.") % {"names": ", ".join(unknown)}
        fields = {name: [_("There is no such field.")] for name in unknown}
        raise BadBody(400, "unknown_fields", message, fields=fields)


def names_of(form: Form) -> Iterator[str]:
    """Yield the names under which a form reads its fields; a widget of several inputs has several."""
    for field in form:
        yield field.html_name
        yield from inputs_of(field)


def _body_of(request: HttpRequest) -> bytes:
    try:
        return request.body
    except ValueError:
        # Django reads the length first, which a server may pass on unchecked.
        raise BadBody(400, "invalid_body", _("The length of the body is not a number.")) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Python would keep the last one and say nothing.
        raise ValueError("A name is repeated.")
    return found


def _texts(name: str, value: object) -> Iterator[str]:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, bool):
            yield "true" if each else "false"
        elif isinstance(each, str | Number):
            yield str(each)
        elif each is not None:
            message = _("The field %(name)s must be a text, a number, true, false, null or a list of these.")
            raise BadBody(400, "invalid_body", message % {"name": name}, fields={name: [_("Enter a valid value.")]})


def wants_json(request: HttpRequest) -> bool:
    """Return True if the client carries a token, sends JSON, or prefers JSON to HTML."""
    types = [JSON, "text/html"] if request.content_type == JSON else ["text/html", JSON]
    return carries_token(request) or request.get_preferred_type(types) == JSON
