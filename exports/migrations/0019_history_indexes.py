"""Indexes for the order in a queue, for feeds, and for the pages and sweeps of a long history.

On PostgreSQL they are made while the site goes on writing.
"""

from typing import Any

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState


class AddIndexConcurrently(migrations.AddIndex):
    """Like the operation of `django.contrib.postgres`, which needs psycopg also where SQLite is the database."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        # Any: only the editor of PostgreSQL takes `concurrently`.
        editor: Any = schema_editor
        is_postgresql = editor.connection.vendor == "postgresql"
        if self.allow_migrate_model(editor.connection.alias, to_state.apps.get_model(app_label, self.model_name)):
            # An interrupted run leaves indexes, the last one perhaps invalid.
            drop = "DROP INDEX CONCURRENTLY IF EXISTS" if is_postgresql else "DROP INDEX IF EXISTS"
            editor.execute(f"{drop} {editor.quote_name(self.index.name)}")
            options = {"concurrently": True} if is_postgresql else {}
            editor.add_index(to_state.apps.get_model(app_label, self.model_name), self.index, **options)


class Migration(migrations.Migration):
    # CREATE INDEX CONCURRENTLY runs in no transaction.
    atomic = False

    dependencies = [("exports", "0018_feeds")]

    operations = [
        AddIndexConcurrently(
            model_name='filerequest',
            index=models.Index(condition=models.Q(('status', 'queued')), fields=['queue_name', 'is_held_back', 'turn', 'requested_at', 'id'], name='exports_in_turn'),
        ),
        AddIndexConcurrently(
            model_name='filerequest',
            index=models.Index(condition=models.Q(('is_held_back', True), ('status', 'queued')), fields=['queue_name', 'requester', 'turn', 'requested_at'], name='exports_held_back'),
        ),
        AddIndexConcurrently(
            model_name='filerequest',
            index=models.Index(fields=['queue_name', 'requester', 'turn'], name='exports_owner_turns'),
        ),
        AddIndexConcurrently(
            model_name='filerequest',
            index=models.Index(condition=models.Q(('started_at__isnull', False)), fields=['queue_name', 'started_at'], name='exports_started'),
        ),
        AddIndexConcurrently(
            model_name="filerequest",
            index=models.Index(condition=models.Q(('feed__isnull', False)), fields=['feed'], name="exports_of_feed"),
        ),
        AddIndexConcurrently(
            model_name="filerequest",
            index=models.Index(fields=['status', '-requested_at'], name="exports_by_status"),
        ),
        AddIndexConcurrently(
            model_name="filerequest",
            index=models.Index(fields=['file_type', '-requested_at'], name="exports_by_type"),
        ),
        AddIndexConcurrently(
            model_name="filerequest",
            index=models.Index(fields=['format', '-requested_at'], name="exports_by_format"),
        ),
        AddIndexConcurrently(
            model_name="filerequest",
            index=models.Index(condition=models.Q(('status', 'running')), fields=['lease_expires_at'], name="exports_running_leases"),
        ),
        AddIndexConcurrently(
            model_name="filerequest",
            index=models.Index(condition=models.Q(('status', 'ready')), fields=['expires_at'], name="exports_to_expire"),
        ),
        AddIndexConcurrently(
            model_name="filerequest",
            index=models.Index(condition=models.Q(('status', 'expired')), fields=['expires_at'], name="exports_expired"),
        ),
        AddIndexConcurrently(
            model_name="filerequest",
            index=models.Index(condition=models.Q(('erased_at', None), ('status', 'expired')), fields=['expires_at'], name="exports_erase_expired"),
        ),
        AddIndexConcurrently(
            model_name="filerequest",
            index=models.Index(condition=models.Q(('status__in', ['failed', 'cancelled'])), fields=['finished_at'], name="exports_without_file"),
        ),
        AddIndexConcurrently(
            model_name="filerequest",
            index=models.Index(condition=models.Q(('status__in', ['failed', 'cancelled']), ('erased_at', None)), fields=['finished_at'], name="exports_erase_failed"),
        ),
    ]
