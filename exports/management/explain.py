"""The output of `manage.py exports explain`: the strategy of each sheet of an export, and why no faster one is used."""

from collections.abc import Iterator, Sequence

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import CommandError
from django.db import connections
from django.db.models import QuerySet
from django.http import QueryDict

from exports.exceptions import UnknownColumn, UnknownFileType
from exports.exporters import registry
from exports.exporters.base import dialect_of, time_limits
from exports.exporters.sheets import Sheet
from exports.models.request import AnyUser
from exports.tabular import writers
from exports.tabular.readers import explain
from exports.tabular.readers.arrow import ArrowRows


def lines(
    file_type: str, *, criteria: Sequence[str], user: str | None, database: str | None, verbosity: int
) -> Iterator[str]:
    """Yield the lines to print. Raises CommandError with what to do."""
    if database and database not in connections:
        raise CommandError(f"There is no database {database!r}. Databases: {', '.join(connections)}.")
    sheets = _sheets(file_type, criteria, user)
    csv_options = registry.find_exporter(file_type).clean_options(writers.get("csv"), {})
    for sheet in sheets:
        if not isinstance(sheet.rows, QuerySet):
            source = "Arrow" if isinstance(sheet.rows, ArrowRows) else f"Python ({type(sheet.rows).__name__})"
            yield f"{sheet.title or file_type}: rows from {source}, read in batches."
            continue
        queryset = sheet.rows.using(database) if database else sheet.rows
        try:
            explained = explain.explain(queryset, sheet.columns, dialect_of("csv", csv_options), time_limits())
        except UnknownColumn as error:
            raise CommandError(str(error)) from error
        title = sheet.title or file_type
        yield f"{title}: {explained.strategy} ({explained.summary}), database {explained.database!r}."
        yield from (f"  {reason}" for reason in explained.reasons)
        if explained.obstacles is not None:
            yield f"  The lines of CSV are written by {'Python' if explained.obstacles else 'PostgreSQL'}."
            yield from (f"    {obstacle}" for obstacle in explained.obstacles)
        width = max((len(name) for name, _ in explained.columns), default=0)
        yield from (f"    {name.ljust(width)}  {decoder}" for name, decoder in explained.columns)
        if verbosity > 1:
            yield f"  {explained.sql}"


def _sheets(file_type: str, criteria: Sequence[str], username: str | None) -> Sequence[Sheet]:
    user: AnyUser = AnonymousUser()
    try:
        export = registry.find_exporter(file_type)
        if username is not None:
            user = get_user_model()._default_manager.get_by_natural_key(username)
    except UnknownFileType as error:
        raise CommandError(str(error)) from error
    except ObjectDoesNotExist as error:
        raise CommandError(f"There is no user {username!r}.") from error
    query = QueryDict(mutable=True)
    for pair in criteria:
        name, equals, value = pair.partition("=")
        if not equals:
            raise CommandError(f"{pair!r} is not a criterion. Use --criteria 'month=3'.")
        query.appendlist(name, value)
    form = export.get_form(query, user)
    if not form.is_valid():
        wrong = " ".join(f"{name}: {' '.join(map(str, errors))}" for name, errors in form.errors.items())
        examples = " ".join(f"--criteria '{name}=...'" for name in form.errors if name != "__all__")
        raise CommandError(
            f"These criteria are not valid. {wrong} Use {examples or '--criteria'} as the form takes it."
        )
    try:
        return export.get_sheets(user, form.cleaned_data)
    except (TypeError, ValueError) as error:
        if username is not None:
            raise
        raise CommandError(
            f"{file_type!r} has no rows for an anonymous user ({error}). Name a user: --user NAME."
        ) from error
