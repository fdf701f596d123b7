"""The time of the database's clock, as an expression."""

from datetime import datetime
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import functions
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone


class Now(functions.Now):
    """The present time in the zone in which Django stores times in this database.

    Django's own function returns UTC on SQLite, even if times are stored in another zone: with USE_TZ = False in
    TIME_ZONE, else in the TIME_ZONE of the database.
    """

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> tuple[str, tuple[str]]:
        offset = datetime.now(connection.timezone or timezone.get_default_timezone()).utcoffset()
        seconds = offset.total_seconds() if offset else 0
        return "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW', %s)", (f"{seconds:+g} seconds",)
