"""The export of a changelist: one exporter class for each ModelAdmin with an ExportMixin."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import Form
from django.http import QueryDict
from django.urls import reverse
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from exports.admin.exporting import ExportingAdmin
from exports.admin.list_columns import columns_of
from exports.admin.replay import ListRequest, describe_list, replayed_list, rows_of
from exports.exceptions import InvalidStoredCriteria
from exports.exporters.labels import bounded
from exports.exporters.queryset import QuerySetExport
from exports.filenames import slug_of
from exports.models import FileRequest
from exports.models.locale import local_time
from exports.models.request import AnyUser
from exports.tabular import writers
from exports.tabular.columns import Column
from exports.tabular.readers import resolve


class ChangeListForm(Form):
    """The query string of a changelist, and the keys of the selected rows; none means all rows."""

    query = forms.CharField(required=False, widget=forms.HiddenInput)
    selected = forms.Field(required=False, widget=forms.MultipleHiddenInput)

    def __init__(self, criteria: QueryDict | None, exporter: "AdminExport", user: AnyUser) -> None:
        super().__init__(criteria)
        self.label = ""
        self.exporter, self.user = exporter, user

    def clean(self) -> dict[str, Any]:
        criteria: dict[str, Any] = super().clean() or self.cleaned_data
        selected = criteria.get("selected", [])
        try:
            changelist = replayed_list(self.exporter.model_admin, self.user, criteria.get("query", ""))
            rows_of(changelist, selected)
            self.label = describe_list(changelist, selected)
        except InvalidStoredCriteria as error:
            raise ValidationError(_("The list cannot be filtered like this.")) from error
        return criteria


class AdminExport(QuerySetExport):
    """What a changelist shows, for users who may see it there. `create_exporter` makes a subclass with a ModelAdmin."""

    model_admin: ClassVar[ExportingAdmin]
    columns_need_database = True

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        """Return True for users of this admin site who have the export permission of the ModelAdmin."""
        request = ListRequest(self.model_admin, user)
        return self.model_admin.admin_site.has_permission(request) and self.model_admin.has_export_permission(request)

    def get_form(self, criteria: QueryDict | None, user: AnyUser) -> Form:
        return ChangeListForm(criteria, self, user)

    def get_form_url(self) -> str:
        options = self.model_admin.opts
        name = f"admin:{options.app_label}_{options.model_name}_export"
        return reverse(name, current_app=self.model_admin.admin_site.name)

    def restore(self, export: FileRequest) -> Mapping[str, Any]:
        """Return the stored criteria. They are validated where the rows are read, which costs queries."""
        stored = QueryDict(export.criteria)
        return {"query": stored.get("query", ""), "selected": stored.getlist("selected")}

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any]:
        return rows_of(replayed_list(self.model_admin, user, criteria["query"]), criteria["selected"])

    def get_columns(self, user: AnyUser, criteria: Mapping[str, Any]) -> Sequence[Column]:
        """Return all columns that this user may choose from, with the headers of the list."""
        entries = self.model_admin.get_export_columns(ListRequest(self.model_admin, user))
        columns = columns_of(self.model_admin, entries, named=self.sensitive_columns)
        return resolve.resolve(self.model_admin.model._base_manager.all(), columns)

    def label_of(self, form: Form) -> str:
        assert isinstance(form, ChangeListForm)
        return bounded(form.label)

    def get_filename(self, export: FileRequest) -> str:
        """Return "<plural name of the model>-<label>-<local date>.<extension>", without the label if there is none."""
        day = local_time(export.requested_at).date().isoformat()
        name = slug_of(str(self.model_admin.opts.verbose_name_plural))
        return f"{'-'.join(filter(None, [name, slug_of(export.label), day]))}.{self.extension(export)}"


def create_exporter(model_admin: ExportingAdmin) -> type[AdminExport]:
    """Return the exporter of a ModelAdmin. Its file type is "admin-<site>-<app>-<model>"."""
    options, owner = model_admin.opts, type(model_admin)
    names = [each if isinstance(each, str) else getattr(each, "name", "") for each in model_admin.export_columns or ()]
    installed = [writer.format for writer in writers.formats()]
    attributes = {
        "__module__": owner.__module__,
        "__doc__": f"The export of the changelist of {owner.__qualname__}.",
        "model_admin": model_admin,
        "file_type": f"admin-{model_admin.admin_site.name}-{options.app_label}-{options.model_name}",
        "title": capfirst(options.verbose_name_plural),
        "formats": tuple(model_admin.export_formats or dict.fromkeys([*AdminExport.formats, *installed])),
        "sensitive_columns": tuple(filter(None, names)),
    }
    return type(f"{owner.__name__}Export", (AdminExport,), attributes)
