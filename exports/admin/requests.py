"""Exports in the admin: staff can see and cancel them, expire their files and send their mails again.

They can neither add, edit nor delete them.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from exports import services
from exports.admin.base import ExportActionsAdmin
from exports.conf import url_of
from exports.models import FileRequest, Status


@admin.register(FileRequest)
class FileRequestAdmin(ExportActionsAdmin):
    """All exports with their labels, but without their criteria and storage keys, which only their owner may know."""

    list_display = (
        "file_type", "label", "format", "requester", "status", "phase", "rows_done", "requested_at", "finished_at",
        "mail",
    )  # fmt: skip
    list_filter = ("status", "file_type", "format", "queue_name")
    search_fields = ("id", "label", "filename", f"requester__{get_user_model().USERNAME_FIELD}")
    date_hierarchy = "requested_at"
    list_select_related = ("requester",)
    fields = readonly_fields = (
        "id", "file_type", "label", "format", "description", "requester", "permission", "queue_name", "status", "phase",
        "rows_done", "rows_total", "attempts", "crashes", "lease_owner", "requested_at", "started_at", "finished_at",
        "expires_at", "seen_at", "erased_at", "public_until", "filename", "size", "sha256", "receipt",
        "error_code", "error_detail", "mail",
    )  # fmt: skip
    actions = ("cancel_requests", "expire_files", "resend_mails")

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return [*super().get_list_display(request), self._links_for(request)]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        return super().get_queryset(request).prefetch_related("notifications")

    @admin.display(description=_("mail"))
    def mail(self, export: FileRequest) -> str:
        """Return the kind and the state of its mail, and why it is in that state."""
        return "; ".join(each.summary for each in export.notifications.all())

    @admin.action(description=_("Cancel the selected requests"), permissions=["change_requests"])
    def cancel_requests(self, request: HttpRequest, queryset: QuerySet[FileRequest]) -> None:
        self.change(request, queryset, services.cancel)

    @admin.action(description=_("Remove the files of the selected requests"), permissions=["change_requests"])
    def expire_files(self, request: HttpRequest, queryset: QuerySet[FileRequest]) -> None:
        self.change(request, queryset, services.expire)

    @admin.action(description=_("Send the mails about the selected requests again"), permissions=["change_requests"])
    def resend_mails(self, request: HttpRequest, queryset: QuerySet[FileRequest]) -> None:
        self.resend(request, queryset)

    def _links_for(self, request: HttpRequest) -> Callable[[FileRequest], str]:
        """Return a column with links to the page of an export, and to its file if this user may download it."""

        @admin.display(description=_("links"))
        def links(export: FileRequest) -> str:
            page = format_html('<a href="{}">{}</a>', url_of("page", export.pk), gettext("Page"))
            if export.status != Status.READY or not services.may_download(request.user, export):
                return page
            file = format_html('<a href="{}">{}</a>', url_of("download", export.pk), gettext("File"))
            return format_html("{} {}", page, file)

        return links
