"""What a body chooses, as the services take it."""

import json
from typing import Any

from django.http import HttpRequest, QueryDict

from exports import services
from exports.contrib.api.schemas import Choices, RenamedColumn
from exports.exporters import QuerySetExport, permissions
from exports.http.actors import actor_of
from exports.http.bodies import Number, fields_of, names_of, refuse_unknown
from exports.models.request import AnyUser


def criteria_of(user: AnyUser, exporter: QuerySetExport, given: Choices) -> QueryDict:
    """Return the criteria as the fields of the form. Raise BadBody, which names fields that the form does not have."""
    criteria = fields_of(given.criteria)
    # The services refuse a user who may not see the form, and record that.
    if permissions.may_open_form(user, exporter):
        refuse_unknown(criteria, {*names_of(exporter.get_form(criteria, user))})
    return criteria


def chosen_by(given: Choices) -> dict[str, Any]:
    """Return the format, the options and the columns as `services.check_request` takes them.

    Any: arguments of different types.
    """
    columns = None
    if given.columns is not None:
        columns = [
            [each.name, each.header.strip()] if isinstance(each, RenamedColumn) else [each, ""]
            for each in given.columns
        ]
    options = {}
    for name, value in given.options.items():
        try:
            options[name] = json.loads(value.digits) if isinstance(value, Number) else value
        except ValueError:
            # A number too long for Python stays a text.
            options[name] = value.digits
    return {"format": given.format, "options": options, "columns": columns}


def check(request: HttpRequest, exporter: QuerySetExport, given: Choices) -> services.Asked:
    """Check what the user chooses without requesting it. Raise BadBody and what `services.check_request` raises."""
    criteria = criteria_of(request.user, exporter, given)
    return services.check_request(
        request.user, exporter.file_type, criteria, **chosen_by(given), actor=actor_of(request)
    )
