"""The rows of a changelist, read again in a worker: the same filters, search and ordering, and the same user."""

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.options import IS_FACETS_VAR, IS_POPUP_VAR, IncorrectLookupParameters
from django.contrib.admin.views.main import ALL_VAR, ERROR_FLAG, PAGE_VAR, ChangeList
from django.contrib.messages.api import MessageFailure
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from exports.admin.base import ModelAdmin
from exports.exceptions import InvalidStoredCriteria
from exports.exporters.labels import SEPARATOR
from exports.exporters.sensitive import is_sensitive
from exports.http.replay import ReplayedRequest
from exports.models.request import AnyUser

# Parameters of a changelist that change no row of it.
WITHOUT_ROWS = (PAGE_VAR, ALL_VAR, ERROR_FLAG, IS_FACETS_VAR, IS_POPUP_VAR)


class ListRequest(ReplayedRequest):
    """A request for the changelist of a ModelAdmin."""

    def __init__(self, model_admin: ModelAdmin, user: AnyUser, query: str = "") -> None:
        name = f"admin:{model_admin.opts.app_label}_{model_admin.opts.model_name}_changelist"
        super().__init__(user, query, reverse(name, current_app=model_admin.admin_site.name))


class RowsOnly(ChangeList):
    """A changelist that counts and reads nothing; it only has the queryset."""

    def get_results(self, request: HttpRequest) -> None:
        pass


def list_query(given: QueryDict) -> str:
    """Return the part of a changelist's query string that decides about its rows."""
    kept = given.copy()
    for name in WITHOUT_ROWS:
        kept.pop(name, None)
    return kept.urlencode()


def replayed_list(model_admin: ModelAdmin, user: AnyUser, query: str) -> ChangeList:
    """Return the changelist that this user gets now for a query string; it has read no rows.

    Raise InvalidStoredCriteria for what the changelist refuses.
    """
    try:
        return model_admin.get_changelist_instance(ListRequest(model_admin, user, query))
    except (IncorrectLookupParameters, SuspiciousOperation, ValidationError, ValueError, MessageFailure) as error:
        raise InvalidStoredCriteria(f"The changelist refuses its filters: {type(error).__name__}.") from error


def rows_of(changelist: ChangeList, selected: Sequence[str]) -> QuerySet[Any]:
    """Return the rows of a changelist; only the `selected` keys, if any. Raise InvalidStoredCriteria for no keys."""
    rows: QuerySet[Any] = changelist.queryset
    try:
        return rows.filter(pk__in=selected) if selected else rows
    except (ValidationError, ValueError) as error:
        raise InvalidStoredCriteria("The selected rows are not named by their keys.") from error


def describe_list(changelist: ChangeList, selected: Sequence[str]) -> str:
    """Return how a changelist is searched and filtered, in words, and how many rows of it are selected."""
    said = []
    if changelist.query:
        said.append(f"“{changelist.query}”")
    for spec in changelist.filter_specs:
        path = getattr(spec, "field_path", None) or getattr(spec, "parameter_name", "") or ""
        if is_sensitive(path):
            continue
        # The first choice of a filter is to show all.
        chosen = [str(choice["display"]) for choice in list(spec.choices(changelist))[1:] if choice.get("selected")]
        if chosen:
            said.append(_("%(field)s: %(value)s") % {"field": spec.title, "value": ", ".join(chosen)})
    if selected:
        count = len(selected)
        said.append(ngettext("%(count)d selected", "%(count)d selected", count) % {"count": count})
    return SEPARATOR.join(said)
