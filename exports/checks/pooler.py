"""Check what code loses behind PgBouncer, which may give each transaction another connection to the server.

The app itself needs no setting there. These checks ask the database: `check --database`, `migrate`, the doctor.
"""

from collections.abc import Collection, Iterator

from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from exports.checks.registration import register, registered_classes
from exports.exporters import QuerySetExport
from exports.models import server_side


@register(database=True)
def check_pooler(databases: Collection[str]) -> Iterator[CheckMessage]:
    """Warn about cursors and roles that end with the transaction, of these databases."""
    for alias in databases:
        connection, name = connections[alias], f"DATABASES[{alias!r}]"
        if connection.vendor != "postgresql" or not pools_transactions(connection):
            continue
        given = connection.settings_dict
        readers = [each.__name__ for each in registered_classes(QuerySetExport) if "get_rows" in each.sources()]
        if readers and not given.get("DISABLE_SERVER_SIDE_CURSORS"):
            message = (
                f"{name} is behind PgBouncer in transaction mode, where iterator() fails outside a transaction. "
                f"These exports read their rows themselves: {', '.join(sorted(readers))}."
            )
            hint = (
                "Read within `with transaction.atomic():` and silence this check, or set "
                f"{name}['DISABLE_SERVER_SIDE_CURSORS'] = True: iterator() then holds all rows in memory."
            )
            yield checks.Warning(message, hint=hint, id="exports.W059")
        if given["OPTIONS"].get("assume_role"):
            message = f"{name} is behind PgBouncer in transaction mode: others get connections with its 'assume_role'."
            hint = f"Remove 'assume_role' from {name}['OPTIONS'], and let the pooler log in as that role."
            yield checks.Warning(message, hint=hint, id="exports.W060")


def pools_transactions(connection: BaseDatabaseWrapper) -> bool:
    """Return True if a transaction gets the server's connection that another open session has just used.

    That is proof: without a pooler, or in its session mode, no two open sessions share one.
    """
    if server_side.is_direct(connection):
        return False
    other = connections.create_connection(connection.alias)
    try:
        used = server_side.process_of(other)
        with transaction.atomic(connection.alias):
            return server_side.process_of(connection) == used
    finally:
        other.close()
