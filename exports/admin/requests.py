"""Exports in the admin: staff can see and cancel them and expire their files, but not add, edit or delete them."""

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from exports import services
from exports.admin.base import ReadOnlyAdmin
from exports.exceptions import TransitionNotAllowed
from exports.http.actors import actor_of
from exports.models import FileRequest


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
