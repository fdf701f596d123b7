"""What a user may ask for, for programs: the types with their JSON Schemas."""

from typing import Any

from exports.exporters import QuerySetExport, permissions, registry
from exports.exporters.json_schema import schema_of_columns, schema_of_criteria, schema_of_options
from exports.models.request import AnyUser


def open_types(user: AnyUser) -> list[QuerySetExport]:
    """Return the exporters that the user may use, by the names of their types."""
    exporters = [registry.find_exporter(name) for name in sorted(registry.handlers) if registry.is_offered(name)]
    return [exporter for exporter in exporters if permissions.may_open_form(user, exporter)]


# Any: values of JSON.
def describe_type(user: AnyUser, exporter: QuerySetExport) -> dict[str, Any]:
    """Return the title, the formats and the schemas of a type."""
    writers = exporter.offered()
    names = ("format", "label", "content_type", "extension")
    return {
        "type": exporter.file_type,
        "title": str(exporter.title),
        "formats": [{name: getattr(writer, name) for name in names} for writer in writers],
        "criteria": schema_of_criteria(exporter.get_form(None, user)),
        "columns": schema_of_columns(user, exporter),
        "options": {writer.format: schema_of_options(exporter, writer) for writer in writers},
    }
