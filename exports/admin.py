"""File requests for staff: to look at, to cancel, to expire. Nothing can be added, edited or deleted by hand."""

from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from exports import services
from exports.models import Download, FileRequest, Notification


class ReadOnly(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Not here; but the admin of users asks too, before it deletes a user with all that is theirs."""
        is_here = request.resolver_match is not None and request.resolver_match.url_name.startswith("exports_")
        return not is_here and super().has_delete_permission(request, obj)


@admin.register(FileRequest)
class FileRequestAdmin(ReadOnly):
    list_display = ("file_type", "format", "requester", "status", "phase", "rows_done", "requested_at", "finished_at")
    list_filter = ("status", "file_type", "format", "queue_name")
    search_fields = ("id", "filename", f"requester__{get_user_model().USERNAME_FIELD}")
    date_hierarchy = "requested_at"
    list_select_related = ("requester",)
    # The criteria may hold what only their owner should see; the key of the file is nobody's business.
    fields = readonly_fields = (
        "id", "file_type", "format", "description", "requester", "queue_name", "status", "phase", "rows_done",
        "rows_total", "attempts", "crashes", "lease_owner", "requested_at", "started_at", "finished_at",
        "expires_at", "seen_at", "erased_at", "public_until", "filename", "size", "sha256", "receipt",
        "error_code", "error_detail",
    )  # fmt: skip
    actions = ("cancel_requests", "expire_files")

    def has_change_requests_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("exports.change_filerequest")

    @admin.action(description=_("Cancel the selected requests"), permissions=["change_requests"])
    def cancel_requests(self, request: HttpRequest, queryset: QuerySet[FileRequest]) -> None:
        self._apply(request, queryset, services.cancel)

    @admin.action(description=_("Remove the files of the selected requests"), permissions=["change_requests"])
    def expire_files(self, request: HttpRequest, queryset: QuerySet[FileRequest]) -> None:
        self._apply(request, queryset, services.expire)

    def _apply(self, request: HttpRequest, queryset: QuerySet[FileRequest], verb: services.Verb) -> None:
        late = 0
        for file_request in queryset:
            try:
                verb(file_request)
            except services.TransitionNotAllowed:
                late += 1
        done = len(queryset) - late
        self.message_user(request, ngettext("%d request changed.", "%d requests changed.", done) % done)
        if late:
            told = ngettext("%d request had moved on.", "%d requests had moved on.", late) % late
            self.message_user(request, told, messages.WARNING)


@admin.register(Notification)
class NotificationAdmin(ReadOnly):
    list_display = ("request", "kind", "state", "attempts", "due_at", "settled_at", "reason")
    list_filter = ("state", "kind")


@admin.register(Download)
class DownloadAdmin(ReadOnly):
    list_display = (
        "at", "user", "is_public", "file_type", "outcome", "byte_count", "bytes_sent", "address", "request",
    )  # fmt: skip
    list_filter = ("outcome", "file_type", "is_public")
    date_hierarchy = "at"
