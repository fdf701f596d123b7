"""The options of formats: what the user's language decides, and the fields of a form that offers them."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.forms import ChoiceField
from django.utils.formats import get_format
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from exports.tabular.writers import Writer

# The field "option_csv.delimiter" is for one format, "option_delimiter" for whichever format is requested.
PREFIX: Final = "option_"

LABELS: Final[Mapping[str, str | Promise]] = {
    "profile": _("{format} for"),
    "delimiter": _("{format}: separator"),
    "decimal": _("{format}: decimal mark"),
    "bom": _("{format}: byte order mark"),
    "formulas": _("{format}: text that looks like a formula"),
    "compression": _("{format}: compression"),
}
VALUES: Final[Mapping[str, str | Promise]] = {
    "exchange": _("other programs"),
    "spreadsheet": _("a spreadsheet"),
    ",": _("comma"),
    ";": _("semicolon"),
    "\t": _("tab"),
    ".": _("point"),
    "true": _("yes"),
    "false": _("no"),
    "escape": _("is made harmless"),
    "raw": _("stays as it is"),
    "reject": _("ends the export"),
}


def with_language(writer: type[Writer], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with the decimal mark and the delimiter that spreadsheets expect in the active language.

    That concerns the profile "spreadsheet" alone, and only what the options do not say themselves.
    """
    usual: dict[str, Any] = {}
    if options.get("profile") == "spreadsheet":
        has_comma = get_format("DECIMAL_SEPARATOR") == ","
        usual = {"decimal": ",", "delimiter": ";"} if has_comma else {"decimal": ".", "delimiter": ","}
    return {name: value for name, value in usual.items() if name in writer.choices} | dict(options)


def posted_options(posted: Mapping[str, str], writer: type[Writer]) -> dict[str, object]:
    """Return the options among the fields of a posted form, for this format. An empty field is an option not chosen."""
    options: dict[str, object] = {}
    for field, value in posted.items():
        format, _dot, name = field.removeprefix(PREFIX).rpartition(".")
        if field.startswith(PREFIX) and format in ("", writer.format) and value:
            options[name] = {_posted(each): each for each in writer.choices.get(name, ())}.get(value, value)
    return options


def format_of(field: str) -> str:
    """Return the format that an option's field is for, "" for one that is for every format."""
    return field.removeprefix(PREFIX).rpartition(".")[0]


def option_field(writer: type[Writer], name: str, values: Iterable[object], initial: object) -> ChoiceField:
    """Return the form field of an option with these values."""
    choices = [(posted, VALUES.get(posted, posted)) for posted in map(_posted, values)]
    if name in ("delimiter", "decimal"):
        choices.insert(0, ("", _("the usual one")))
    label = str(LABELS.get(name, f"{{format}}: {name}")).format(format=writer.label)
    return ChoiceField(label=label, choices=choices, initial=_posted(initial), required=False)


def _posted(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
