"""The label of an export: what its user chose, in words, from the bound form."""

from collections.abc import Collection, Iterable
from datetime import date, datetime, time
from typing import Any, Final

from django import forms
from django.core.files.uploadedfile import UploadedFile
from django.forms.boundfield import BoundField
from django.utils.formats import date_format, localize, time_format
from django.utils.translation import gettext as _

from exports.exporters.sensitive import is_sensitive
from exports.filenames import visible_name
from exports.models.locale import local_time

MAX_LENGTH: Final = 200
MAX_VALUES: Final = 5
SEPARATOR: Final = " · "


def describe_form(form: forms.Form, *, secret: Collection[str] = ()) -> str:
    """Return what a valid form asks for, in the active language: "From month: January · Airport: JFK".

    Fields with their initial value are left out, and so are hidden fields, files, passwords, fields that match
    EXPORTS["SENSITIVE_FIELDS"] and those named in `secret`.
    """
    said = []
    for name in form.changed_data:
        field, value = form[name], form.cleaned_data.get(name)
        is_private = name in secret or is_sensitive(name) or isinstance(field.field.widget, forms.PasswordInput)
        if field.is_hidden or is_private or isinstance(value, UploadedFile):
            continue
        if shown := _shown(field, value):
            said.append(_("%(field)s: %(value)s") % {"field": field.label, "value": shown})
    return SEPARATOR.join(said)


def bounded(label: str) -> str:
    """Return a label as it is stored: in one line, without invisible characters, at most MAX_LENGTH long."""
    line = " ".join(visible_name(label).split())
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 1].rstrip()}…"


# Any: the cleaned value of any field.
def _shown(bound: BoundField, value: Any) -> str:
    """Return the value as the form shows it."""
    field = bound.field
    if isinstance(field, forms.ModelMultipleChoiceField):
        return _listed(field.label_from_instance(each) for each in value)
    if isinstance(field, forms.ModelChoiceField):
        return "" if value is None else field.label_from_instance(value)
    if isinstance(field, forms.ChoiceField):
        # The posted texts: a coerced value need not be one of the choices.
        chosen = bound.data if isinstance(bound.data, list | tuple) else [bound.data]
        labels = _labels(field.choices)
        return _listed(labels.get(str(each), str(each)) for each in chosen if each not in (None, ""))
    return _text(value)


# Any: choices, nested or not; Django's stubs have no common type for them.
def _labels(choices: Any) -> dict[str, str]:
    labels: dict[str, str] = {}
    for value, label in choices:
        if isinstance(label, list | tuple):
            labels |= _labels(label)
        else:
            labels[str(value)] = str(label)
    return labels


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return _("yes") if value else _("no")
        case datetime():
            return date_format(local_time(value), "SHORT_DATETIME_FORMAT")
        case date():
            return date_format(value, "SHORT_DATE_FORMAT")
        case time():
            return time_format(value, "TIME_FORMAT")
        case slice():
            # The range fields of django-filter.
            return f"{_text(value.start)} - {_text(value.stop)}"
        case list() | tuple() | set() | frozenset():
            return _listed(_text(each) for each in value)
        case _:
            return str(localize(value))


def _listed(texts: Iterable[object]) -> str:
    """Return the first MAX_VALUES texts with commas, and how many more there are."""
    every = [str(text) for text in texts]
    more = len(every) - MAX_VALUES
    shown = ", ".join(every[:MAX_VALUES])
    return _("%(values)s and %(count)d more") % {"values": shown, "count": more} if more > 0 else shown
