"""Exports in the admin: staff see them live, try them again, cancel them, expire their files, send their mails again.

They can neither add, edit nor delete them.
"""

from collections.abc import Callable
from itertools import count
from operator import itemgetter
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from exports import services
from exports.admin.base import ExportActionsAdmin
from exports.admin.search import ErrorFilter, FormatFilter, QueueFilter, TypeFilter, found
from exports.conf import url_of
from exports.exceptions import InvalidForm, UnknownFileType
from exports.http.actors import actor_of
from exports.http.refusals import REFUSALS, refusal_of
from exports.http.words import duration_text
from exports.models import FileRequest, Notification, Status
from exports.state import ERROR_MESSAGES, State, fraction_of, serialize, took_seconds

LIVE_ROWS = 3
"""How many running exports of a list have a socket, of which a user may have few. Others are read every 15 s."""

TIMELINE_ENTRIES = 100


@admin.register(FileRequest)
class FileRequestAdmin(ExportActionsAdmin):
    """All exports with their labels, but without their criteria and storage keys, which only their owner may know."""

    change_list_template = "exports/admin/requests.html"
    change_form_template = "exports/admin/request.html"
    list_display = (
        "file_type", "label", "format", "requester", "rows_done", "file_size", "duration", "attempts", "error_code",
        "requested_at", "mail",
    )  # fmt: skip
    list_filter = (
        "status", TypeFilter, ErrorFilter, FormatFilter, QueueFilter, ("requested_at", admin.DateFieldListFilter),
    )  # fmt: skip
    search_fields = ("id", "label", "filename", f"requester__{get_user_model().USERNAME_FIELD}")
    search_help_text = _(
        "An id, the beginning of a user's name or e-mail address, or a part of a label or a file name."
    )
    list_select_related = ("requester",)
    fieldsets = (
        (None, {"fields": ("id", "file_type", "label", "description", "format", "requester", "permission")}),
        (
            _("Run"),
            {
                "description": _("An attempt that a worker could not finish is made again, up to a limit."),
                "fields": (
                    "status", "phase", "rows_done", "rows_total", "requested_at", "started_at", "finished_at",
                    "duration", "attempts", "crashes", "queue_name", "lease_owner",
                ),
            },
        ),
        (
            _("File"),
            {
                "description": _("After it has expired the file is deleted, and a while later what the user chose."),
                "fields": (
                    "filename", "file_size", "sha256", "receipt", "expires_at", "public_until", "erased_at",
                ),
            },
        ),
        (
            _("Error"),
            {
                "description": _("The owner reads a sentence for the code; the detail is for staff."),
                "fields": ("error_code", "error_detail"),
            },
        ),
        (
            _("News for the owner"),
            {
                "description": _("No mail is sent if the owner has seen the end on a page."),
                "fields": ("seen_at", "mail"),
            },
        ),
    )  # fmt: skip
    readonly_fields = (*flatten_fieldsets(fieldsets), "timeline")
    actions = ("cancel_requests", "expire_files", "resend_mails")

    def get_urls(self) -> list[URLPattern]:
        act = path(
            "<uuid:pk>/act/<slug:verb>/", self.admin_site.admin_view(self.act_view), name="exports_filerequest_act"
        )
        return [act, *super().get_urls()]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        shown: list[Any] = list(super().get_list_display(request))
        shown.insert(shown.index("requester") + 1, self._progress_column())
        return [*shown, self._links_for(request)]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        return super().get_queryset(request).prefetch_related("notifications")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Model], search_term: str
    ) -> tuple[QuerySet[Model], bool]:
        text = search_term.strip()
        return (found(queryset, text) if text else queryset), False

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Return the groups; who did what is for staff who may read the audit log."""
        groups = super().get_fieldsets(request, obj)
        if not request.user.has_perm("exports.view_auditentry"):
            return groups
        return [*groups, (_("Timeline"), {"fields": ("timeline",)})]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        export = self.get_object(request, object_id)
        if isinstance(export, FileRequest) and self.has_view_permission(request, export):
            state = serialize(export)
            may_act = self.has_change_requests_permission(request)
            buttons = verbs_for(export, state) if may_act else {}
            extra_context = {**(extra_context or {}), "state": state, "export": export, "buttons": buttons}
        return super().change_view(request, object_id, form_url, extra_context)

    def act_view(self, request: HttpRequest, pk: Any, verb: str) -> HttpResponse:
        """Apply a verb to one export (POST); then show its page, or that of the new export after "Try again"."""
        if not self.has_change_requests_permission(request):
            raise PermissionDenied
        export = self.get_object(request, str(pk))
        if not isinstance(export, FileRequest) or request.method != "POST":
            raise Http404
        match verb:
            case "cancel":
                self.change(request, [export], services.cancel)
            case "expire":
                self.change(request, [export], services.expire)
            case "resend":
                self.resend(request, [export])
            case "retry":
                export = self._retry(request, export)
            case _:
                raise Http404
        return HttpResponseRedirect(
            reverse("admin:exports_filerequest_change", args=[export.pk], current_app=self.admin_site.name)
        )

    def _retry(self, request: HttpRequest, export: FileRequest) -> FileRequest:
        """Request the same again for its owner, and return the new export; the old one if that was refused."""
        try:
            new, is_new = services.retry(export, actor_of(request))
        except InvalidForm:
            self.message_user(request, ERROR_MESSAGES["invalid_criteria"], messages.ERROR)
            return export
        except UnknownFileType:
            self.message_user(request, ERROR_MESSAGES["unknown_file_type"], messages.ERROR)
            return export
        except REFUSALS as error:
            self.message_user(request, refusal_of(error).message, messages.ERROR)
            return export
        said = gettext("This is the new request.") if is_new else gettext("The same is on its way already.")
        self.message_user(request, said)
        return new

    @admin.display(description=_("mail"))
    def mail(self, export: FileRequest) -> str:
        """Return the kind and the state of its mail, and why it is in that state."""
        return "; ".join(each.summary for each in export.notifications.all())

    @admin.display(description=_("size"), ordering="size")
    def file_size(self, export: FileRequest) -> str:
        return self.get_empty_value_display() if export.size is None else filesizeformat(export.size)

    @admin.display(description=_("duration"))
    def duration(self, export: FileRequest) -> str:
        """Return how long the last attempt of an ended export took."""
        seconds = took_seconds(export)
        return self.get_empty_value_display() if seconds is None else duration_text(seconds)

    @admin.display(description=_("What happened"))
    def timeline(self, export: FileRequest) -> str:
        """Return the newest entries of the audit log about the export, and its mails, oldest first."""
        entries = [(each.at, each) for each in export.audit_entries.select_related("user")[:TIMELINE_ENTRIES]]
        mails = [(each.settled_at, each) for each in export.notifications.exclude(settled_at=None)]
        happened = sorted([*entries, *mails], key=itemgetter(0))
        return render_to_string("exports/admin/_timeline.html", {"happened": happened})

    @admin.action(description=_("Cancel the selected requests"), permissions=["change_requests"])
    def cancel_requests(self, request: HttpRequest, queryset: QuerySet[FileRequest]) -> None:
        self.change(request, queryset, services.cancel)

    @admin.action(description=_("Remove the files of the selected requests"), permissions=["change_requests"])
    def expire_files(self, request: HttpRequest, queryset: QuerySet[FileRequest]) -> None:
        self.change(request, queryset, services.expire)

    @admin.action(description=_("Send the mails about the selected requests again"), permissions=["change_requests"])
    def resend_mails(self, request: HttpRequest, queryset: QuerySet[FileRequest]) -> None:
        self.resend(request, queryset)

    def _progress_column(self) -> Callable[[FileRequest], str]:
        """Return a column with the status of an export, and its bar while it is active."""
        running = count()

        @admin.display(description=_("status"), ordering="status")
        def status(export: FileRequest) -> str:
            if not export.is_active:
                return export.get_status_display()
            is_live = export.status == Status.RUNNING and next(running) < LIVE_ROWS
            context = {"export": export, "fraction": fraction_of(export), "is_live": is_live}
            return render_to_string("exports/admin/_bar.html", context)

        return status

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


def verbs_for(export: FileRequest, state: State) -> dict[str, str]:
    """Return the verbs that apply to the export now, with the text of a button for each."""
    offered = {
        "retry": (state["urls"]["retry"] is not None, gettext("Try again")),
        "cancel": (state["urls"]["cancel"] is not None, gettext("Cancel")),
        "expire": (export.status == Status.READY, gettext("Remove the file")),
        "resend": (
            Notification.objects.resendable().filter(request=export).exists(), gettext("Send the mail again")
        ),
    }  # fmt: skip
    return {verb: text for verb, (applies, text) in offered.items() if applies}
