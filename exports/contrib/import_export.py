"""A Resource of django-import-export as an export: the same columns, and the same cells.

    register_resource(BookResource, "books")

Its fields, columns, widgets, `dehydrate_` methods, `export_order`, `get_queryset`, `before_export` and `filter_export`
apply. `after_export` cannot: it gets the whole data set, which an export in batches never has.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils.encoding import force_str
from import_export.resources import Resource

from exports.contrib.adopting import NATIVE_FORMATS, AdoptedCell, AdoptedExport, register_adopted
from exports.exceptions import DeclarationError
from exports.models.request import AnyUser
from exports.tabular.columns import Column


class ResourceExport(AdoptedExport):
    """The export of `resource_class`. In XLSX and Parquet, numbers and dates are such, as in the admin's XLSX."""

    resource_class: ClassVar[type[Any]]

    def get_resource(self, user: AnyUser) -> Any:
        """Return the resource; override it to give its constructor arguments."""
        return self.resource_class()

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any]:
        resource = self._resource(user)
        queryset: QuerySet[Any] = resource.get_queryset()
        resource.before_export(queryset, **self._arguments)
        return resource.filter_export(queryset, **self._arguments)  # type: ignore[no-any-return]  # It has no types.

    def get_columns(self, user: AnyUser, criteria: Mapping[str, Any]) -> Sequence[Column]:
        resource = self._resource(user)
        if type(resource).after_export is not Resource.after_export:
            name = type(resource).__name__
            raise DeclarationError(f"{name}.after_export() needs all rows at once, and they are read in batches.")
        columns = []
        for field in resource.get_export_fields():
            name = resource.get_field_name(field)
            source = AdoptedCell(field.attribute or name, partial(self._cell, resource, field))
            columns.append(Column(name, force_str(field.column_name), source=source))
        return columns

    @property
    def _arguments(self) -> dict[str, Any]:
        return {"force_native_type": self.made_format in NATIVE_FORMATS}

    # Any: a Resource, which has no types.
    def _resource(self, user: AnyUser) -> Any:
        """Return the one resource of this run: what `before_export` keeps in it, its other methods find."""
        made: Any = vars(self).get("_made")
        if made is None:
            made = self._made = self.get_resource(user)
        return made

    def _cell(self, resource: Any, field: Any, row: Any) -> object:
        return self.as_cell(resource.export_field(field, row, **self._arguments))


def register_resource(resource_class: type[Any], file_type: str, **attributes: Any) -> type[ResourceExport]:
    """Register the export of a Resource. `attributes` are those of an export class, such as `permission` or `title`."""
    attributes["resource_class"] = resource_class
    return register_adopted(ResourceExport, resource_class, file_type, resource_class._meta.model, attributes)
