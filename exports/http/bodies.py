"""The body of a POST: a form, or a JSON object with the same fields. What is not understood is refused by name."""

import json
from collections.abc import Collection, Iterator
from typing import Any, Final

from django.conf import settings
from django.forms import Form
from django.forms.widgets import ChoiceWidget
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _

JSON: Final = "application/json"
FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


class BadBody(Exception):
    """Raised for a body that cannot be used: the status, the code and the message of the response, and the fields."""

    def __init__(self, status: int, code: str, message: str, **extra: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.extra = extra


def read_body(request: HttpRequest) -> None:
    """Make the fields of a JSON object the fields of `request.POST`, so that forms read them as they read a form's.

    Numbers keep their digits, true and false become the words, lists are fields with several values, and null is a
    field without one. Raise BadBody for anything else, and for a body of another type.
    """
    if request.content_type in FORMS:
        return
    try:
        body = request.body
    except ValueError:
        # Django reads the length first, which a server may pass on unchecked.
        raise BadBody(400, "invalid_body", _("The length of the body is not a number.")) from None
    if request.content_type != JSON:
        if body:
            types = _("Send application/json, application/x-www-form-urlencoded or multipart/form-data.")
            raise BadBody(415, "unsupported_media_type", types)
        return
    try:
        given = json.loads(body or b"{}", object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise BadBody(400, "invalid_body", _("The body is not valid JSON.")) from None
    if not isinstance(given, dict):
        raise BadBody(400, "invalid_body", _("The body must be a JSON object with the fields of the form."))
    posted = QueryDict(mutable=True)
    for name, value in given.items():
        posted.setlist(name, list(_texts(name, value)))
    limit = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
    if limit is not None and sum(len(values) for _name, values in posted.lists()) > limit:
        raise BadBody(400, "invalid_body", _("The body has too many values."))
    posted._mutable = False
    request.POST = posted  # type: ignore[assignment] # the stubs know no way to make an immutable one


def refuse_unknown_fields(request: HttpRequest, known: Collection[str] = ()) -> None:
    """Raise BadBody if a JSON body has fields that are not known. Forms may have others, such as the CSRF token."""
    unknown = [] if request.content_type != JSON else [name for name in request.POST if name not in known]
    if unknown:
        message = _("There are no such fields: %(names)s.") % {"names": ", ".join(unknown)}
        fields = {name: [_("There is no such field.")] for name in unknown}
        raise BadBody(400, "unknown_fields", message, fields=fields)


def names_of(form: Form) -> Iterator[str]:
    """Yield the names under which a form reads its fields; a widget of several inputs has several."""
    for field in form:
        yield field.html_name
        widget = field.field.widget
        # The context of a choice has all its options, which may be rows of the database.
        if not isinstance(widget, ChoiceWidget):
            inputs: list[dict[str, Any]] = widget.get_context(field.html_name, None, {})["widget"].get("subwidgets", [])
            yield from (each["name"] for each in inputs)


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
        elif isinstance(each, str):
            yield each
        elif each is not None:
            message = _("The field %(name)s must be a text, a number, true, false, null or a list of these.")
            raise BadBody(400, "invalid_body", message % {"name": name}, fields={name: [_("Enter a valid value.")]})
