"""What `manage.py exports explain` prints: the strategy of each sheet of an export, and why it is not a faster one."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import CommandError
from django.db import connections
from django.http import QueryDict

from exports.exceptions import UnknownColumn, UnknownFileType
from exports.exporters import QuerySetExport, registry
from exports.exporters.base import dialect_of, time_limits
from exports.exporters.sheets import Sheet
from exports.tabular.readers import explain
from exports.tabular.readers.explain import Explanation

LINES_BY_THE_DATABASE = "  The lines of CSV are written by PostgreSQL."


def lines(
    file_type: str, *, criteria: list[str], user: str | None, database: str | None, verbosity: int
) -> Iterator[str]:
    """The lines to print. Raises CommandError, which says what to do."""
    for sheet in _sheets(file_type, criteria, user):
        queryset = sheet.queryset.using(_known(database)) if database else sheet.queryset
        try:
            explained = explain.explain(queryset, sheet.columns, dialect_of("csv", {}), time_limits())
        except UnknownColumn as error:
            raise CommandError(str(error)) from error
        yield from _described(sheet.title or file_type, explained, has_sql=verbosity > 1)


def _sheets(file_type: str, criteria: list[str], user: str | None) -> list[Sheet]:
    try:
        export = registry.find_export(file_type)
    except UnknownFileType as error:
        raise CommandError(str(error)) from error
    owner = _user(user)
    cleaned = _cleaned(export, criteria, owner)
    try:
        return list(export.get_sheets(owner, cleaned))
    except (TypeError, ValueError) as error:
        if user is not None:
            raise
        raise CommandError(f"{file_type!r} has no rows for nobody ({error}). Say whose: --user NAME.") from error


def _user(name: str | None) -> Any:
    if name is None:
        return AnonymousUser()
    try:
        return get_user_model()._default_manager.get_by_natural_key(name)
    except ObjectDoesNotExist as error:
        raise CommandError(f"There is no user {name!r}.") from error


def _cleaned(export: QuerySetExport, criteria: list[str], user: Any) -> Mapping[str, Any]:
    query = QueryDict(mutable=True)
    for pair in criteria:
        name, equals, value = pair.partition("=")
        if not equals:
            raise CommandError(f"{pair!r} is no criterion. Say --criteria 'month=3'.")
        query.appendlist(name, value)
    form = export.get_form(query, user)
    if not form.is_valid():
        wrong = " ".join(f"{name}: {' '.join(errors)}" for name, errors in form.errors.items())
        examples = " ".join(f"--criteria '{name}=...'" for name in form.errors if name != "__all__")
        raise CommandError(
            f"These criteria are not valid. {wrong} Say {examples or '--criteria'} as the form takes it."
        )
    return form.cleaned_data


def _known(database: str) -> str:
    if database not in connections:
        raise CommandError(f"There is no database {database!r}. Databases: {', '.join(connections)}.")
    return database


def _described(title: str, explained: Explanation, *, has_sql: bool) -> Iterator[str]:
    yield f"{title}: {explained.strategy} ({explained.summary}), database {explained.database!r}."
    yield from (f"  {reason}" for reason in explained.reasons)
    if explained.obstacles is not None:
        yield "  The lines of CSV are written by Python." if explained.obstacles else LINES_BY_THE_DATABASE
        yield from (f"    {obstacle}" for obstacle in explained.obstacles)
    width = max((len(name) for name, _ in explained.columns), default=0)
    yield from (f"    {name.ljust(width)}  {form}" for name, form in explained.columns)
    if has_sql:
        yield f"  {explained.sql}"
