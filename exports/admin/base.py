"""What the admin pages of this app share."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import ngettext

from exports import services
from exports.access import tenants
from exports.exceptions import TransitionNotAllowed
from exports.http.actors import actor_of
from exports.http.pages import NewestPages
from exports.models import FileRequest

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Model]
else:
    # Django's class cannot be subscripted at runtime without django-stubs-ext.
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """A model that the admin shows and does not change, and that can be filtered by what its own pages offer only.

    `tenant_path` leads from a row to its tenant.
    """

    tenant_path: ClassVar = "tenant"
    paginator = NewestPages
    change_list_template = "exports/admin/list.html"
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        """Keep the rows of the current tenant, or all on a site without one."""
        found = super().get_queryset(request)
        return found.filter(**{self.tenant_path: tenants.current()}) if tenants.current() else found

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Return True for the lookups of `list_filter`.

        Django allows every lookup of a column, so `?criteria__startswith=` would tell what the pages do not show, and
        a regular expression may keep the database busy for minutes.
        """
        allowed: set[str] = set()
        # Any: names, classes, and pairs of both.
        filters: Sequence[Any] = self.list_filter
        for given in filters:
            match given:
                case str(name):
                    allowed |= {f"{name}{suffix}" for suffix in ("", "__exact", "__isnull")}
                case (name, _):
                    # A DateFieldListFilter
                    allowed |= {f"{name}{suffix}" for suffix in ("__gte", "__lt", "__isnull")}
                case _:
                    allowed.add(given.parameter_name)
        return lookup in allowed

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False on the pages of this app only.

        The admin of users asks, too, before it deletes a user and everything that belongs to them.
        """
        url_name = request.resolver_match.url_name if request.resolver_match is not None else None
        is_own_page = (url_name or "").startswith("exports_")
        return not is_own_page and super().has_delete_permission(request, obj)


class ExportActionsAdmin(ReadOnlyAdmin):
    """A model with actions on exports, for staff with the permission `exports.change_filerequest`."""

    def has_change_requests_permission(self, request: HttpRequest) -> bool:
        """Return True for staff who may run the actions; Django finds this by the name in `permissions`."""
        return request.user.has_perm("exports.change_filerequest")

    def change(self, request: HttpRequest, exports: Collection[FileRequest], verb: services.Verb) -> None:
        """Apply a verb to each export, and show how many were changed and for how many it was too late."""
        done = self.apply(request, exports, verb)
        self.message_user(request, ngettext("%d request changed.", "%d requests changed.", done) % done)
        if late := len(exports) - done:
            message = ngettext("%d request had moved on.", "%d requests had moved on.", late) % late
            self.message_user(request, message, messages.WARNING)

    def resend(self, request: HttpRequest, exports: Collection[FileRequest]) -> None:
        """Send the mail about the end of each export once more, and show how many will be sent."""
        done = self.apply(request, exports, services.resend_mail)
        self.message_user(request, ngettext("%d mail will be sent.", "%d mails will be sent.", done) % done)
        if refused := len(exports) - done:
            message = ngettext(
                "%d mail is not sent again: it waits, was not needed, or the export has changed since.",
                "%d mails are not sent again: they wait, were not needed, or the export has changed since.",
                refused,
            )
            self.message_user(request, message % refused, messages.WARNING)

    def apply(self, request: HttpRequest, exports: Collection[FileRequest], verb: services.Verb) -> int:
        """Apply a verb to each export. Return how many were changed."""
        done = 0
        for export in exports:
            try:
                verb(export, actor_of(request))
            except TransitionNotAllowed:
                continue
            done += 1
        return done
