"""ExportMixin: an export button and an export action for the changelist of any ModelAdmin."""

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.views.main import ERROR_FLAG, ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.loader import select_template
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from exports import services
from exports.admin.exporter import create_exporter
from exports.admin.exporting import ExportingAdmin
from exports.admin.replay import ListRequest, RowsOnly, list_query, replayed_list, rows_of
from exports.exceptions import InvalidStoredCriteria
from exports.exporters import registry
from exports.http import views
from exports.http.forms import opened_by
from exports.models import FileRequest

RECENT = 5
FORM_TEMPLATE = "exports/admin/export.html"


class ExportMixin(ExportingAdmin):
    """Let users export what a changelist shows: `class OrderAdmin(ExportMixin, ModelAdmin)`.

    A button exports all rows that match the filters, the search and the ordering of the list, an action those that are
    selected. `export_columns` replaces `list_display`; it has the same entries, and Columns. `export_formats` replaces
    the list of all installed formats.
    """

    def __init__(self, model: type[Model], admin_site: admin.AdminSite) -> None:
        super().__init__(model, admin_site)
        self.exporter_class = registry.register(create_exporter(self))

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export/", self.admin_site.admin_view(self.export_view), name=name), *super().get_urls()]

    # Any: an ActionLocation, which Django has since 6.1, where the page of an object offers actions too.
    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        location = {} if action_location is None else {"action_location": action_location}
        actions = super().get_actions(request, **location)
        is_off = self.actions is None or IS_POPUP_VAR in request.GET
        action = self.get_action("export_selected", **location)
        if not is_off and action is not None and self.has_export_permission(request):
            actions["export_selected"] = action
        return actions

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        changelist = super().get_changelist(request, **kwargs)
        return type("Replayed", (RowsOnly, changelist), {}) if isinstance(request, ListRequest) else changelist

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        # Other responses are those of actions.
        if isinstance(response, TemplateResponse) and "cl" in (response.context_data or {}):
            may_export = IS_POPUP_VAR not in request.GET and self.has_export_permission(request)
            if may_export and response.context_data is not None:
                # The project may have another template, which a mixin must not replace.
                # Any: a name or a list of names, by Django's changelist_view.
                names: Any = response.template_name
                response.context_data["export_base"] = select_template([names] if isinstance(names, str) else names)
                response.context_data["export_url"] = self._export_url(list_query(request.GET))
                response.context_data["has_unfold"] = apps.is_installed("unfold")
                response.template_name = "exports/admin/change_list.html"
        return response

    @admin.action(description=gettext_lazy("Export selected %(verbose_name_plural)s"), permissions=["export"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        """Show the export form for the selected rows, or for all rows that match the filters."""
        is_all = request.POST.get("select_across") == "1"
        selected = [] if is_all else request.POST.getlist(ACTION_CHECKBOX_NAME)
        return self._render_export_form(request, list_query(request.GET), selected)

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the export form for the rows of a changelist, whose query string this page has; or request the file."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return self._open_export_form(request)
        # The cells and the days by which the list is filtered are in the time zone that the list is shown in.
        posted = request.POST.copy()
        posted.pop("time_zone", None)
        request.POST = posted  # type: ignore[assignment]  # Immutable by its annotation only.
        context = self._export_context(request, posted.get("query", ""), posted.getlist("selected"))
        response = views.form_view(
            request, self.exporter_class.file_type, template_name=FORM_TEMPLATE, extra_context=context
        )
        if response.status_code == 303:
            return HttpResponseRedirect(self._export_url(posted.get("query", "")))
        return response

    def _open_export_form(self, request: HttpRequest) -> HttpResponse:
        """Show the form for the list of the query string, or as the export that it names was requested."""
        exporter = self.exporter_class()
        # A filter of the list may have the same name, with other parameters beside it.
        named = request.GET if set(request.GET) == {"from"} else {}
        try:
            opened = opened_by(request.user, exporter, named)
        except FileRequest.DoesNotExist:
            raise Http404(_("There is no such export.")) from None
        if not isinstance(opened, FileRequest):
            return self._render_export_form(request, list_query(request.GET), [])
        criteria = exporter.restore(opened)
        return self._render_export_form(request, criteria["query"], criteria["selected"], opened)

    def _render_export_form(
        self, request: HttpRequest, query: str, selected: Sequence[str], opened: FileRequest | None = None
    ) -> HttpResponse:
        exporter = self.exporter_class()
        context = self._export_context(request, query, selected)
        if context["row_count"] is None:
            return HttpResponseRedirect(f"{self._admin_url('changelist')}?{ERROR_FLAG}=1")
        form = exporter.get_form(None, request.user)
        form.initial = {"query": query, "selected": selected}
        return views.render_form(
            request, exporter, form, opened=opened, template_name=FORM_TEMPLATE, extra_context=context
        )

    def _export_context(self, request: HttpRequest, query: str, selected: Sequence[str]) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        user = request.user
        assert user.is_authenticated
        own = FileRequest.objects.owned_by(user).filter(file_type=self.exporter_class.file_type)
        try:
            row_count = rows_of(replayed_list(self, user, query), selected).count()
        except InvalidStoredCriteria:
            row_count = None
        exports = []
        for export in own[:RECENT]:
            # The same instance as the signed-in user: its permissions are loaded once.
            export.requester = user
            exports.append(services.state_for(user, export))
        return {
            **self.admin_site.each_context(request),
            "title": _("Export %(name)s") % {"name": self.opts.verbose_name_plural},
            "opts": self.opts,
            "list_url": f"{self._admin_url('changelist')}?{query}",
            "form_url": self._export_url(query),
            "row_count": row_count,
            "are_columns_chosen": True,
            "exports": exports,
            "is_live": any(state["status"] in ("queued", "running") for state in exports),
        }

    def _export_url(self, query: str) -> str:
        return f"{self._admin_url('export')}?{query}" if query else self._admin_url("export")

    def _admin_url(self, view: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, current_app=self.admin_site.name)
