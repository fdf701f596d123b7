"""What `manage.py check --database default` says of PgBouncer in transaction mode, and that it is so."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.db import DatabaseError, connection, connections

from exports.contrib.operations.doctor.services import database
from exports.exporters import QuerySetExport
from tests.pooler import behind_pooler
from tests.shop.exports import registered
from tests.shop.models import Customer

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("PgBouncer is for PostgreSQL.")


class OwnRows(QuerySetExport):
    file_type = "own_rows"
    title = "Own rows"
    permission = "shop.view_customer"
    columns = ("name",)

    def get_rows(self, user: Any, criteria: Mapping[str, Any]) -> Iterator[Any]:
        return Customer.objects.values("name").iterator()


def warnings(*databases: str) -> list[CheckMessage]:
    found = run_checks(tags=["exports"], databases=databases)
    return [each for each in found if each.id in ("exports.W059", "exports.W060")]


def test_exports_that_read_their_rows_themselves_are_a_warning() -> None:
    with behind_pooler():
        assert warnings("default") == []
        with registered(OwnRows):
            [warning] = warnings("default")
            assert warnings() == []
            assert [each.text for each in database("database")] == [f"{warning.msg} (exports.W059)"]
            with pytest.MonkeyPatch.context() as patched:
                patched.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
                assert warnings("default") == []
    assert (warning.id, "OwnRows" in warning.msg) == ("exports.W059", True)
    assert "DATABASES['default']['DISABLE_SERVER_SIDE_CURSORS'] = True" in str(warning.hint)


def test_a_cursor_outside_a_transaction_is_lost() -> None:
    """Sends what iterator() does there: Django's own cursor cannot be closed after that."""
    with behind_pooler(), connection.cursor() as cursor:
        cursor.execute("DECLARE rows CURSOR WITH HOLD FOR SELECT 1")
        with closing(connections.create_connection("default")) as other, other.cursor() as of_other:
            of_other.execute("BEGIN")
            with pytest.raises(DatabaseError, match='cursor "rows" does not exist'):
                cursor.execute("FETCH rows")


def test_a_role_that_others_would_get_is_a_warning() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS reporter")
        cursor.execute("CREATE ROLE reporter")
    with behind_pooler(), pytest.MonkeyPatch.context() as patched:
        plain = connections.create_connection("default")
        plain.ensure_connection()
        patched.setitem(connection.settings_dict, "OPTIONS", {"assume_role": "reporter"})
        [warning] = warnings("default")
        with closing(plain), plain.cursor() as cursor:
            cursor.execute("SELECT current_user")
            assert cursor.fetchone() == ("reporter",)
    assert warning.id == "exports.W060"
    assert "Remove 'assume_role' from DATABASES['default']['OPTIONS']" in str(warning.hint)


@pytest.mark.parametrize("mode", ["session", None])
def test_a_connection_that_is_kept_is_no_warning(mode: str | None) -> None:
    with registered(OwnRows):
        if mode is None:
            assert warnings("default") == []
        else:
            with behind_pooler(mode):
                assert warnings("default") == []


def test_the_command_checks_it(capsys: pytest.CaptureFixture[str]) -> None:
    with registered(OwnRows), behind_pooler():
        call_command("check", databases=["default"])
    assert "(exports.W059)" in capsys.readouterr().err
