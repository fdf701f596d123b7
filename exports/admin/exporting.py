"""What the export of a changelist asks of its ModelAdmin."""

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.auth import get_permission_codename
from django.core.checks import CheckMessage, Error
from django.core.exceptions import FieldDoesNotExist
from django.http import HttpRequest

from exports.admin.base import ModelAdmin
from exports.admin.list_columns import Entry, columns_of, field_names


class ExportingAdmin(ModelAdmin):
    """The columns, formats and permission of the export; ExportMixin adds the pages."""

    export_columns: Sequence[Entry] = ()
    export_formats: Sequence[str] = ()

    # Any: arguments that only Django reads.
    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """Add the errors of entries of `export_columns` that do not exist to Django's checks of the ModelAdmin."""
        found = super().check(**kwargs)
        for entry in self.export_columns:
            try:
                columns_of(self, [entry], named=())
            except (AttributeError, FieldDoesNotExist) as error:
                hint = "Name a field, a path such as customer__name, or a method of the model or of its admin."
                found.append(Error(f"export_columns: {entry!r}: {error}", hint=hint, obj=type(self), id="exports.E050"))
        return found

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Return True if the user may export the list. Asked again in the worker, and whenever the file is handed out.

        By default that is who may view it; if the model has a permission `export_<model>`, the user must hold it too.
        """
        options = self.opts
        codename = get_permission_codename("export", options)
        is_declared = "export" in options.default_permissions or codename in dict(options.permissions)
        may_export = not is_declared or request.user.has_perm(f"{options.app_label}.{codename}")
        return may_export and self.has_view_permission(request)

    def get_export_columns(self, request: HttpRequest) -> Sequence[Entry]:
        """Return the columns to choose from: `export_columns`, else `list_display`, else the fields that the admin has.

        Those are all fields of the model without `exclude`; if `fields` or `fieldsets` are declared, these and the key.
        """
        shown = self.export_columns or self.get_list_display(request)
        if tuple(shown) != ("__str__",):
            return shown
        names, hidden = field_names(self.model), self.get_exclude(request) or ()
        if declared := flatten_fieldsets(self.fieldsets or [(None, {"fields": self.fields or ()})]):
            names = [name for name in names if name in declared or name == self.opts.pk.name]
        return [name for name in names if name not in hidden]
