"""JSON Schemas of what a program may ask of an export: its criteria, its columns and the options of its formats."""

from collections.abc import Mapping
from typing import Any, Final, cast

from django import forms
from django.forms.models import ModelChoiceField
from django.forms.widgets import ChoiceWidget

from exports.exporters.choosing import MAX_HEADER_LENGTH, named
from exports.exporters.queryset import QuerySetExport
from exports.exporters.sheets import spoken
from exports.models.request import AnyUser
from exports.tabular.writers import Writer

Schema = dict[str, Any]
"""A JSON Schema. Any: its values are of every type that JSON has."""

MAX_CHOICES: Final = 500
"""A field with more choices is described without them."""

TYPES: Final[Mapping[type[forms.Field], Schema]] = {
    forms.BooleanField: {"type": "boolean"},
    forms.DateTimeField: {"type": "string", "format": "date-time"},
    forms.DateField: {"type": "string", "format": "date"},
    forms.DecimalField: {"type": "number"},
    forms.EmailField: {"type": "string", "format": "email"},
    forms.FloatField: {"type": "number"},
    forms.IntegerField: {"type": "integer"},
    forms.UUIDField: {"type": "string", "format": "uuid"},
    forms.CharField: {"type": "string"},
}


def schema_of_criteria(form: forms.Form) -> Schema:
    """Return the schema of the fields of a form."""
    properties: dict[str, Schema] = {}
    required = []
    for bound in form:
        if inputs := inputs_of(bound):
            # Each input has a text, whatever type the field makes of them.
            properties.update({name: {"type": "string"} for name in inputs})
            continue
        properties[bound.html_name] = _schema_of_field(bound.field) | {"title": str(bound.label)}
        if bound.help_text:
            properties[bound.html_name]["description"] = str(bound.help_text)
        if bound.field.required:
            required.append(bound.html_name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def inputs_of(bound: forms.BoundField) -> list[str]:
    """Return the names of the inputs of a widget that has several, [] for any other."""
    # The context of a choice has all its options, which may be rows of the database.
    if isinstance(bound.field.widget, ChoiceWidget):
        return []
    widget = bound.field.widget.get_context(bound.html_name, None, {})["widget"]
    return [each["name"] for each in widget.get("subwidgets", ())]


def schema_of_columns(user: AnyUser, exporter: QuerySetExport) -> Schema:
    """Return the schema of the columns that the user may choose, each by its name or with another header."""
    available, _withheld = exporter.columns_to_choose(user)
    if not available:
        return {"type": "array", "maxItems": 0}
    titles = {name: spoken(column) for name, column in named(available).items()}
    names = {"oneOf": [{"const": name, "title": title} for name, title in titles.items()]}
    header = {"type": "string", "maxLength": MAX_HEADER_LENGTH}
    renamed = {
        "type": "object",
        "properties": {"name": names, "header": header},
        "required": ["name"],
        "additionalProperties": False,
    }
    return {
        "type": "array",
        "items": {"anyOf": [names, renamed]},
        "minItems": 1,
        "default": exporter.usual_columns(available),
    }


def schema_of_options(exporter: QuerySetExport, writer: type[Writer]) -> Schema:
    """Return the schema of the options of a format."""
    properties = {}
    for name, values in writer.choices.items():
        allowed = [value for value in values if value != "raw" or name != "formulas" or exporter.for_machines]
        default = exporter.default_options.get(writer.format, {}).get(name, values[0])
        properties[name] = {"enum": allowed, "default": default}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _schema_of_field(field: forms.Field) -> Schema:
    if isinstance(field, ModelChoiceField):
        # Its choices are rows of the database, which may be many.
        one: Schema = {"type": ["string", "integer"]}
        return {"type": "array", "items": one} if isinstance(field, forms.ModelMultipleChoiceField) else one
    if isinstance(field, forms.NullBooleanField):
        return {"type": ["boolean", "null"]}
    if isinstance(field, forms.ChoiceField):
        # One of the choices, whose keys forms read as texts. Any: the stubs also allow what Django has made a list of.
        options, choices = [], cast(Any, field.choices)
        for key, label in choices:
            group = label if isinstance(label, list | tuple) else [(key, label)]
            options += [{"const": str(value), "title": str(title)} for value, title in group if value not in ("", None)]
        one = {"oneOf": options} if 0 < len(options) <= MAX_CHOICES else {"type": ["string", "integer"]}
        return {"type": "array", "items": one} if isinstance(field, forms.MultipleChoiceField) else one
    described = next((dict(schema) for kind, schema in TYPES.items() if isinstance(field, kind)), {})
    limits = {"min_value": "minimum", "max_value": "maximum", "min_length": "minLength", "max_length": "maxLength"}
    for attribute, name in limits.items():
        value = getattr(field, attribute, None)
        if value is not None:
            described[name] = value() if callable(value) else value
    if not callable(field.initial) and isinstance(field.initial, str | int | float | bool):
        described["default"] = field.initial
    return described
