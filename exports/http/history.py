"""The list of a user's own exports, as a page or as JSON: search, filter and sort it, delete one, clear what ended."""

from collections import Counter
from typing import Any

from django import forms
from django.core.paginator import Page
from django.db.models import F, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.shortcuts import render
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST, require_safe

from exports import services
from exports.conf import config, url_of
from exports.exceptions import TransitionNotAllowed
from exports.exporters import registry
from exports.exporters.stored_rows import StoredExport
from exports.http import bodies
from exports.http.actors import actor_of
from exports.http.bodies import wants_json
from exports.http.decorators import signed_in
from exports.http.pages import NewestPages, Place
from exports.http.refusals import refusal_response
from exports.http.views import get_changeable, is_plain
from exports.models import ACTIVE, AuditEntry, FileRequest, FileRequestQuerySet, Status
from exports.models.request import AnyUser
from exports.state import State

PAGE_SIZE = 20
MAX_SEARCHED = 2_000
QUEUE_SECONDS = 1.0
"""How old the places in a queue may be, which a list reads once for all its rows."""

ACTIVE_CHOICE = "active"
SORTS: dict[str, tuple[Any, ...]] = {
    "": ("-requested_at", "-pk"),
    "oldest": ("requested_at", "pk"),
    "name": ("label", "-requested_at", "-pk"),
    "size": (F("size").desc(nulls_last=True), "-requested_at", "-pk"),
}


class ListFilter(forms.Form):
    """What a user looks for among their exports. A value that is no choice finds everything."""

    q = forms.CharField(label=_("Search"), required=False, max_length=200, widget=forms.SearchInput)
    status = forms.ChoiceField(label=_("Status"), required=False)
    type = forms.ChoiceField(label=_("Type"), required=False)
    sort = forms.ChoiceField(
        label=_("Sort by"),
        required=False,
        choices=[
            ("", _("Newest first")),
            ("oldest", _("Oldest first")),
            ("name", _("Name")),
            ("size", _("Largest first")),
        ],
    )

    def __init__(self, *args: Any, own: FileRequestQuerySet, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ended = [(str(status), status.label) for status in Status if status not in ACTIVE]
        self.fields["status"].choices = [("", _("All")), (ACTIVE_CHOICE, _("Under way")), *ended]  # type: ignore[attr-defined]
        newest = own.order_by("-requested_at").values_list("file_type", flat=True)
        types = set(newest[:MAX_SEARCHED])
        asked = self.data.get("type", "")
        # PostgreSQL refuses texts with NUL.
        if asked and asked not in types and "\0" not in asked and own.filter(file_type=asked).exists():
            types.add(asked)
        titles = [(name, title_of_type(name)) for name in sorted(types)]
        uses = Counter(title for _name, title in titles)
        named = [(name, title if uses[title] == 1 else f"{title} ({name})") for name, title in titles]
        self.fields["type"].choices = [("", _("All")), *named]  # type: ignore[attr-defined]

    def found(self, own: FileRequestQuerySet) -> FileRequestQuerySet:
        """Keep the exports that match, in the chosen order.

        Texts are looked for, and other columns than the time sorted by, among the newest MAX_SEARCHED exports.
        """
        self.is_valid()
        chosen = self.cleaned_data
        if chosen.get("q") or chosen.get("sort") in ("name", "size"):
            own = own.filter(pk__in=own.order_by("-requested_at").values("pk")[:MAX_SEARCHED])
        names = {"text": "q", "status": "status", "file_type": "type"}
        own = matching(own, **{name: chosen.get(field, "") for name, field in names.items()})
        return own.order_by(*SORTS[chosen.get("sort", "")])


def matching(own: FileRequestQuerySet, *, text: str, status: str, file_type: str) -> FileRequestQuerySet:
    """Keep the exports with `text` in their title, label or file name, of a status or "active", and of a type.

    An empty text finds everything.
    """
    if text:
        own = own.filter(Q(description__icontains=text) | Q(label__icontains=text) | Q(filename__icontains=text))
    if status:
        own = own.filter(status__in=ACTIVE if status == ACTIVE_CHOICE else [status])
    return own.filter(file_type=file_type) if file_type else own


def title_of_type(file_type: str) -> str:
    """Return the title of the exports of this type, or its name in words if it is not registered any more."""
    handler = registry.handlers.get(file_type)
    if isinstance(handler, type) and issubclass(handler, StoredExport):
        return str(_("Lists of pages"))
    title = getattr(handler, "title", "")
    return str(title) or capfirst(file_type.replace("_", " "))


@require_safe
@signed_in
def list_view(request: HttpRequest) -> HttpResponse:
    """List the user's own exports, newest first unless the query says otherwise; as JSON to a program."""
    own = FileRequest.objects.owned_by(request.user)
    chosen = ListFilter(request.GET, own=own)
    # STATE reads the criteria of exports that can be retried.
    shown = chosen.found(own.timed().defer("options", "columns", "error_detail"))
    sort = chosen.cleaned_data.get("sort", "")
    page = page_of(shown, sort, request.GET)
    rows = list(page)
    exports = own_states(request.user, rows)
    if wants_json(request):
        return JsonResponse({"exports": exports, "page": page.number, "pages": page.paginator.num_pages})
    # By their places what is requested meanwhile moves no row to another page; new rows are on the first.
    places = (Place.of(rows[0]), Place.of(rows[-1])) if rows and sort in ("", "oldest") else None
    context = {
        "page": page,
        "exports": exports,
        "chosen": chosen,
        # What is asked for decides where an export belongs, so the page asks again instead of adding it at the top.
        "is_filtered": any(chosen.cleaned_data.values()) or page.number > 1,
        "is_grouped": sort in ("", "oldest"),
        "source": request.get_full_path(),
        "newer": page_link(request, page.number - 1, before=places[0] if places and page.number > 2 else None),
        "older": page_link(request, page.number + 1, after=places[1] if places else None),
        "count": PAGE_SIZE,
        "is_live": any(state["status"] in ACTIVE for state in exports),
        "is_plain": is_plain(request),
        "has_tokens": config.ACCESS_TOKENS,
        "has_webhooks": config.WEBHOOKS,
    }
    return render(request, "exports/list.html", context)


def page_of(shown: FileRequestQuerySet, sort: str, asked: QueryDict) -> "Page[Any]":
    """Return the page of the list that is asked for by its number and, in the order of time, by a place in the list."""
    page = NewestPages(shown, PAGE_SIZE).get_page(asked.get("page"))
    is_before = "before" in asked
    place = Place.read(asked.get("before" if is_before else "after") or "")
    if place is None or page.number == 1 or sort not in ("", "oldest"):
        return page
    beyond = shown.filter(place.later() if is_before == (sort == "") else place.earlier())
    rows = list((beyond.reverse() if is_before else beyond)[:PAGE_SIZE])
    # Too few rows are left there if many were deleted meanwhile. Then the number of the page decides.
    if len(rows) == PAGE_SIZE or (rows and not is_before):
        page.object_list = rows[::-1] if is_before else rows
    return page


def page_link(request: HttpRequest, number: int, **place: Place | None) -> str:
    """Return the query of this list for another page, which begins after or ends before a place."""
    query = request.GET.copy()
    for name in ("page", "after", "before"):
        query.pop(name, None)
    query["page"] = str(number)
    query.update({name: str(each) for name, each in place.items() if each is not None})
    return query.urlencode()


@require_POST
@signed_in
def delete_view(request: HttpRequest, pk: Any) -> HttpResponse:
    """Delete an export that has ended from its owner's lists, and end the links of its file."""
    bodies.refuse_unknown_fields(request)
    export = get_changeable(request, pk, AuditEntry.Verb.REMOVE)
    try:
        services.remove(export, actor_of(request))
    except TransitionNotAllowed as error:
        return refusal_response(request, error)
    return HttpResponse(status=204) if wants_json(request) else to_list()


@require_POST
@signed_in
def clear_view(request: HttpRequest) -> HttpResponse:
    """Delete the user's failed, cancelled and expired exports from their lists. Files that are ready stay."""
    bodies.refuse_unknown_fields(request)
    removed = services.remove_ended(request.user, actor_of(request))
    return JsonResponse({"removed": removed}) if wants_json(request) else to_list()


def to_list() -> HttpResponseRedirect:
    """Redirect a form to the list of exports."""
    response = HttpResponseRedirect(url_of("list"))
    response.status_code = 303
    return response


def own_states(user: AnyUser, exports: Any, *, is_bearer: bool = False) -> list[State]:
    """Return the states of the user's own exports. The user's permissions are loaded once, not once for each."""
    states = []
    for export in exports:
        export.requester = user
        states.append(services.state_for(user, export, is_bearer=is_bearer, queue_seconds=QUEUE_SECONDS))
    return states
