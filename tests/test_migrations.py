"""Migrations run while processes of the version before go on: they stop none, and lock no table for long."""

from typing import Any

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from exports.models import FileRequest

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

EXEMPT = {
    "0002_audit_log": {"DROP_TABLE": "docs/operations.md says that downloads by older processes fail from then on."},
    "0010_turns": {"DROP_INDEX": "It reads no rows: the lock is held for a moment."},
    "0011_preset_tenant": {
        "ADD_UNIQUE": "One more column in a constraint can refuse no row; a user saves few presets."
    },
    "0020_fewer_indexes": {"DROP_INDEX": "It reads no rows: the lock is held for a moment."},
    "0021_callback_token": {
        "CREATE_INDEX": "The table is as new as the column, and has a row only for exports with a `callback_url`.",
        "CREATE_INDEX_EXCLUSIVE": "The same.",
    },
}
"""What the linter finds and need not be changed: by migration and code, the reason."""


@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has one writer, who waits for a migration.")
def test_the_linter_of_migrations_finds_nothing_but_what_has_a_reason() -> None:
    linter = pytest.importorskip("django_migration_linter")
    lint = linter.MigrationLinter(analyser_string="postgresql", no_cache=True)
    found = {}
    for (app, name), migration in lint.migration_loader.disk_migrations.items():
        if app == "exports":
            statements = linter.sql_analyser.analyse_sql_statements(lint.sql_analyser_class, lint.get_sql(app, name))
            issues = [*statements, *lint.analyse_data_migration(migration)]
            found[name] = {issue.code for each in issues for issue in each}
    assert len(found) >= 22
    assert {name: codes for name, codes in found.items() if codes} == {name: set(EXEMPT[name]) for name in EXEMPT}


def test_a_process_of_the_first_version_can_still_request_an_export() -> None:
    """Its INSERT names the columns that it knows; the database fills the others."""
    first: Any = MigrationLoader(connection).project_state(("exports", "0001_initial")).apps
    old = first.get_model("exports", "FileRequest").objects.create(file_type="report", format="csv")

    export = FileRequest.objects.get(pk=old.pk)

    filled = (export.label, export.permission, export.tenant, export.turn, export.is_held_back, export.by_system)
    assert filled == ("", "", "", 0, False, False)
    assert (export.columns, export.error_numbers, export.sends_mail) == ([], {}, True)
