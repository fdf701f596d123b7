"""A Table of django-tables2 as an export: what `Table.as_values()` gives, in its order.

    register_table(OrderTable, "orders")

Its columns, accessors, `render_` and `value_` methods, `order_by` and `exclude_from_export` apply.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils.encoding import force_str
from django_tables2.rows import BoundRow

from exports.contrib.adopting import AdoptedCell, AdoptedExport, register_adopted
from exports.models.request import AnyUser
from exports.tabular.columns import Column

ROW = "_exports_bound_row"


class DjangoTableExport(AdoptedExport):
    """The export of `table_class`."""

    table_class: ClassVar[type[Any]]

    def get_data(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any]:
        """Return the rows for the table, by default all of its model."""
        rows: QuerySet[Any] = self.table_class._meta.model._default_manager.all()
        return rows

    # Any: a Table, which has no types.
    def get_table(self, user: AnyUser, data: QuerySet[Any]) -> Any:
        """Return the table with these rows; override it to give its constructor arguments, such as `order_by`."""
        return self.table_class(data)

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Any]:
        rows: QuerySet[Any] = self.get_table(user, self.get_data(user, criteria)).data.data
        return rows

    def get_columns(self, user: AnyUser, criteria: Mapping[str, Any]) -> Sequence[Column]:
        table = self.get_table(user, self.table_class._meta.model._default_manager.none())
        columns = []
        for bound in table.columns.iterall():
            if not bound.column.exclude_from_export:
                path = str(bound.accessor).replace(".", "__")
                source = AdoptedCell(path, partial(self._cell, table, bound.name))
                columns.append(Column(bound.name, force_str(bound.header), source=source))
        return columns

    def _cell(self, table: Any, name: str, record: Any) -> object:
        # One for each record, as the table counts its rows.
        row = vars(record).get(ROW)
        if row is None:
            row = vars(record)[ROW] = BoundRow(record, table)
        return self.as_cell(force_str(row.get_cell_value(name), strings_only=True))


def register_table(table_class: type[Any], file_type: str, **attributes: Any) -> type[DjangoTableExport]:
    """Register the export of a Table. `attributes` are those of an export class, such as `permission` or `title`."""
    attributes["table_class"] = table_class
    return register_adopted(DjangoTableExport, table_class, file_type, table_class._meta.model, attributes)
