"""The outbox of mails, the presets, the addresses for other programs and the audit log in the admin."""

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from exports.admin.base import ExportActionsAdmin, ReadOnlyAdmin
from exports.admin.search import FormatFilter, TypeFilter
from exports.http.actors import actor_of
from exports.models import AuditEntry, Feed, Notification, Preset
from exports.models.feed import revoke_feed


@admin.register(Notification)
class NotificationAdmin(ExportActionsAdmin):
    """The outbox of mails. Staff can send those again that were sent or given up."""

    tenant_path = "request__tenant"
    list_display = ("request", "kind", "state", "attempts", "due_at", "settled_at", "reason")
    list_filter = ("state", "kind")
    list_select_related = ("request__requester",)
    actions = ("resend_mails",)

    @admin.action(description=_("Send the selected mails again"), permissions=["change_requests"])
    def resend_mails(self, request: HttpRequest, queryset: QuerySet[Notification]) -> None:
        self.resend(request, [notification.request for notification in queryset.select_related("request")])


@admin.register(Preset)
class PresetAdmin(ReadOnlyAdmin):
    """Who has saved which presets, without their criteria."""

    list_display = ("name", "file_type", "format", "owner", "is_shared", "changed_at")
    list_filter = ("is_shared", TypeFilter, FormatFilter)
    search_fields = ("name", f"owner__{get_user_model().USERNAME_FIELD}")
    list_select_related = ("owner",)
    fields = readonly_fields = list_display


@admin.register(Feed)
class FeedAdmin(ExportActionsAdmin):
    """The addresses for other programs, without their tokens and choices. Staff can end them."""

    list_display = (
        "name", "file_type", "format", "owner", "max_age_seconds", "created_at", "last_used_at", "revoked_at",
    )  # fmt: skip
    list_filter = (TypeFilter, FormatFilter)
    search_fields = ("name", f"owner__{get_user_model().USERNAME_FIELD}")
    list_select_related = ("owner",)
    fields = readonly_fields = list_display
    actions = ("revoke_feeds",)

    @admin.action(description=_("End the selected addresses"), permissions=["change_requests"])
    def revoke_feeds(self, request: HttpRequest, queryset: QuerySet[Feed]) -> None:
        ended = sum(revoke_feed(feed, actor_of(request)) for feed in queryset)
        self.message_user(request, ngettext("%d address ended.", "%d addresses ended.", ended) % ended)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """The audit log. Entries without an export belong to no tenant."""

    tenant_path = "export__tenant"
    list_display = (
        "at", "actor_kind", "user", "actor_name", "verb", "outcome", "reason", "file_type", "export_id", "byte_count",
        "bytes_sent", "count", "address",
    )  # fmt: skip
    list_filter = ("verb", "outcome", "actor_kind", TypeFilter, ("at", admin.DateFieldListFilter))
    search_fields = ("export__id", f"user__{get_user_model().USERNAME_FIELD}")
    list_select_related = ("user",)
