"""Permissions that columns name: one that does not exist is held by nobody, save superusers."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from django.apps import apps
from django.contrib.auth import get_permission_codename
from django.core import checks
from django.core.checks import CheckMessage

from exports.exporters import QuerySetExport


def check_columns(export: type[QuerySetExport]) -> Iterable[CheckMessage]:
    """The columns of the class. An export that answers for its permissions itself may name them as it likes."""
    if export.has_column_permission is not QuerySetExport.has_column_permission:
        return
    named = {column.permission: column.name for column in export.columns if column.permission}
    known = set(_declared()) if named else set()
    for permission, column in named.items():
        if permission not in known:
            close = get_close_matches(permission, known, n=3)
            hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else 'Name it "app.codename".'
            message = f"{export.__name__}: no model has the permission {permission!r} of the column {column!r}."
            yield checks.Warning(f"{message} Only superusers get it.", hint=hint, obj=export, id="exports.W020")


def _declared() -> Iterator[str]:
    """The permissions that migrations make: those of every model, by default and by its Meta."""
    for model in apps.get_models():
        options = model._meta
        own = [codename for codename, _ in options.permissions]
        for codename in [*(get_permission_codename(action, options) for action in options.default_permissions), *own]:
            yield f"{options.app_label}.{codename}"
