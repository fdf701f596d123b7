"""What the exports of other packages' declarations share: their cells are made by the original, row by row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final, TypeVar, cast

from django.db.models import Model
from django.utils.text import capfirst

from exports.exporters import registry
from exports.exporters.queryset import QuerySetExport
from exports.models import FileRequest

PLAIN: Final = (str, bool, int, float, Decimal, date, time, timedelta)
TEXT_FORMATS: Final = ("csv", "tsv")
NATIVE_FORMATS: Final = ("xlsx", "parquet")

ExportClass = TypeVar("ExportClass", bound=type[QuerySetExport])


@dataclass(frozen=True)
class AdoptedCell:
    """A callable that makes a cell of a row. `name` is the path of its field, for EXPORTS["SENSITIVE_FIELDS"]."""

    name: str
    make: Callable[[Any], object]

    def __call__(self, row: Any) -> object:
        return self.make(row)


class AdoptedExport(QuerySetExport):
    """An export whose columns and cells another package declares."""

    formats: ClassVar = ("xlsx", "csv")
    # The format of the file that is made, known once the criteria of an export are restored.
    made_format = ""

    def restore(self, export: FileRequest) -> Mapping[str, Any]:
        self.made_format = export.format
        return super().restore(export)

    def as_cell(self, value: object) -> object:
        """Return a value as the original writes it: as Python's text in text formats, else as it is where possible."""
        if value is None or (self.made_format not in TEXT_FORMATS and isinstance(value, PLAIN)):
            return value
        return str(value)


def register_adopted(
    base: ExportClass, original: type, file_type: str, model: type[Model] | None, attributes: Mapping[str, Any]
) -> ExportClass:
    """Register a subclass of `base` with these attributes, and return it.

    By default the title is the plural name of the model, and users need the permission to view it.
    """
    defaults: dict[str, Any] = {"file_type": file_type, "__module__": original.__module__}
    if model is not None:
        options = model._meta
        defaults |= {
            "title": capfirst(options.verbose_name_plural),
            "permission": f"{options.app_label}.view_{options.model_name}",
        }
    # The stubs take the result of type() for any class.
    adopted = cast(ExportClass, type(f"{original.__name__}Export", (base,), {**defaults, **attributes}))
    return registry.register(adopted)
