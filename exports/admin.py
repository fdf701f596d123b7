"""Exports in the admin: staff can see and cancel them and expire their files, but not add, edit or delete them."""

from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from exports import services
from exports.exceptions import TransitionNotAllowed
from exports.http.actors import actor_of
from exports.models import AuditEntry, FileRequest, Notification

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Model]
else:
    # Django's class cannot be subscripted at runtime without django-stubs-ext.
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """A model that the admin shows and does not change, and that can be filtered by what its own pages offer only."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Return True for the lookups of `list_filter` and `date_hierarchy`.

        Django allows every lookup of a column, so `?criteria__startswith=` would tell what the pages do not show, and
        a regular expression may keep the database busy for minutes.
        """
        allowed = {f"{self.date_hierarchy}__{unit}" for unit in ("year", "month", "day")}
        for name in self.list_filter:
            allowed |= {f"{name}{suffix}" for suffix in ("", "__exact", "__isnull")}
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


@admin.register(FileRequest)
class FileRequestAdmin(ReadOnlyAdmin):
    """All exports, without their criteria and storage keys, which only their owner may know."""

    list_display = ("file_type", "format", "requester", "status", "phase", "rows_done", "requested_at", "finished_at")
    list_filter = ("status", "file_type", "format", "queue_name")
    search_fields = ("id", "filename", f"requester__{get_user_model().USERNAME_FIELD}")
    date_hierarchy = "requested_at"
    list_select_related = ("requester",)
    fields = readonly_fields = (
        "id", "file_type", "format", "description", "requester", "permission", "queue_name", "status", "phase",
        "rows_done", "rows_total", "attempts", "crashes", "lease_owner", "requested_at", "started_at", "finished_at",
        "expires_at", "seen_at", "erased_at", "public_until", "filename", "size", "sha256", "receipt",
        "error_code", "error_detail",
    )  # fmt: skip
    actions = ("cancel_requests", "expire_files")

    def has_change_requests_permission(self, request: HttpRequest) -> bool:
        """Return True for staff who may run the actions below; Django finds this by the name in `permissions`."""
        return request.user.has_perm("exports.change_filerequest")

    @admin.action(description=_("Cancel the selected requests"), permissions=["change_requests"])
    def cancel_requests(self, request: HttpRequest, queryset: QuerySet[FileRequest]) -> None:
        self._apply(request, queryset, services.cancel)

    @admin.action(description=_("Remove the files of the selected requests"), permissions=["change_requests"])
    def expire_files(self, request: HttpRequest, queryset: QuerySet[FileRequest]) -> None:
        self._apply(request, queryset, services.expire)

    def _apply(self, request: HttpRequest, queryset: QuerySet[FileRequest], verb: services.Verb) -> None:
        late = 0
        for export in queryset:
            try:
                verb(export, actor_of(request))
            except TransitionNotAllowed:
                late += 1
        changed = len(queryset) - late
        self.message_user(request, ngettext("%d request changed.", "%d requests changed.", changed) % changed)
        if late:
            message = ngettext("%d request had moved on.", "%d requests had moved on.", late) % late
            self.message_user(request, message, messages.WARNING)


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    """The outbox of mails."""

    list_display = ("request", "kind", "state", "attempts", "due_at", "settled_at", "reason")
    list_filter = ("state", "kind")
    list_select_related = ("request__requester",)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """The audit log."""

    list_display = (
        "at", "actor_kind", "user", "actor_name", "verb", "outcome", "reason", "file_type", "export_id", "byte_count",
        "bytes_sent", "count", "address",
    )  # fmt: skip
    list_filter = ("verb", "outcome", "actor_kind", "file_type")
    search_fields = ("export__id", f"user__{get_user_model().USERNAME_FIELD}")
    date_hierarchy = "at"
    list_select_related = ("user",)
