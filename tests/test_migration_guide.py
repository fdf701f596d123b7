"""The code in docs/migrating-from-dj-bgfiles.md works, and its table lists the old settings."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection
from django.test import Client

from exports import housekeeping, storage
from exports.conf import DJ_BGFILES_NAMES
from exports.models import Artifact, FileRequest, Status
from tests.seed.files import ID, OLD_GENERAL_TOKEN, OLD_TOKEN
from tests.shop.requests import NOON
from tests.shop.runs import stored_files, use_folders

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "migrating-from-dj-bgfiles.md").read_text()
KEY = "reports/login.csv"
# The table as dj-bgfiles' own migration made it, on each database.
TABLE = """
CREATE TABLE bgfiles_filerequest (id {uuid} NOT NULL PRIMARY KEY, criteria text NOT NULL, filehandle varchar(100) NULL,
filename varchar(200) NOT NULL, description text NOT NULL, file_type varchar(100) NOT NULL, content_type varchar(200)
NOT NULL, size bigint NULL, requester_language varchar(10) NOT NULL, requester_timezone varchar(200) NOT NULL,
requested_at {time} NOT NULL, finished_at {time} NULL, expires_at {time} NULL, requester_id integer NULL
REFERENCES auth_user (id) DEFERRABLE INITIALLY DEFERRED)
"""
TYPES = {
    "sqlite": {"uuid": "char(32)", "time": "datetime"},
    "postgresql": {"uuid": "uuid", "time": "timestamp with time zone"},
}


def rows_of(text: str, heading: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables whose first heading is this, without enclosing backticks."""
    is_inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        is_inside = bool(cells) and (is_inside or cells[0] == heading)
        if is_inside and cells[0] != heading and not line.startswith("|--"):
            yield [cell[1:-1] if re.fullmatch(r"`[^`]*`", cell) else cell for cell in cells]


# The settings


def test_the_guide_lists_every_old_name_of_a_setting():
    rows = rows_of(GUIDE, "Setting in dj-bgfiles, or in the export helper often used with it")
    assert {re.sub(r"\[`(\w+)`\].*", r"\1", new): old for old, new in rows} == DJ_BGFILES_NAMES


# The import


def test_the_sed_command_changes_the_imports():
    (expression,) = re.findall(r"sed -i -E '(.*)'", GUIDE)
    before = "from bgfiles import toolbox\nfrom bgfiles.patterns import FullPattern\nfrom mybgfiles import other\n"
    done = subprocess.run(["sed", "-E", expression], input=before, capture_output=True, text=True, check=True)
    assert done.stdout == before.replace("from bgfiles", "from exports")


# The migration


@pytest.fixture
def old_table(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """dj-bgfiles' table, and the guide's migration as the only one of an app."""
    folder = tmp_path / "migrations_of_the_guide"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (code,) = re.findall(r"```python\n(# yourapp/migrations/.*?)```", GUIDE, re.DOTALL)
    (folder / "0042_exports_from_bgfiles.py").write_text(code.replace('"yourapp"', '"seed"'))
    monkeypatch.syspath_prepend(str(tmp_path))
    settings.MIGRATION_MODULES = {"seed": folder.name}
    use_folders(settings, tmp_path)
    with connection.cursor() as cursor:
        cursor.execute(TABLE.format(**TYPES[connection.vendor]))
    yield
    call_command("migrate", "seed", "zero", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE bgfiles_filerequest")


def insert(**columns: Any) -> UUID:
    """A row as dj-bgfiles wrote it."""
    given = {
        **{"id": uuid4(), "criteria": "from_date=2016-01-01", "filehandle": "", "filename": "", "description": ""},
        **{"file_type": "login_events", "content_type": "text/csv", "size": None, "requester_language": "en-us"},
        **{"requester_timezone": "America/Chicago", "requested_at": NOON, "finished_at": None, "expires_at": None},
        **{"requester_id": None, **columns},
    }
    adapted = {name: adapt(value) for name, value in given.items()}
    with connection.cursor() as cursor:
        marks = ", ".join(["%s"] * len(adapted))
        cursor.execute(f"INSERT INTO bgfiles_filerequest ({', '.join(adapted)}) VALUES ({marks})", [*adapted.values()])
    return given["id"]


def adapt(value: Any) -> Any:
    if isinstance(value, UUID):
        return value.hex if connection.vendor == "sqlite" else value
    return connection.ops.adapt_datetimefield_value(value) if value == NOON else value


def bring_over() -> None:
    call_command("migrate", "seed", verbosity=0)


@pytest.fixture
def ada(transactional_db: None) -> User:
    """The user whom the old tokens name."""
    return User.objects.create_user("ada", pk=7)


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("old_table")
@pytest.mark.urls("tests.seed.urls")
class TestRows:
    def test_rows_are_copied_with_their_ids_and_fields(self, ada: User):
        named = {"filehandle": KEY, "filename": "login.csv", "description": "Mine"}
        insert(id=ID, size=7, finished_at=NOON, requester_id=7, **named)
        bring_over()
        request = FileRequest.objects.get(pk=ID)
        assert (request.status, request.phase, request.requester, request.size) == (Status.READY, "done", ada, 7)
        assert (request.filehandle.name, request.filename, request.description) == (KEY, "login.csv", "Mine")
        stored = request.criteria, request.file_type, request.content_type
        assert stored == ("from_date=2016-01-01", "login_events", "text/csv")
        assert (request.requester_language, request.requester_timezone) == ("en-us", "America/Chicago")
        assert (request.requested_at, request.finished_at, request.expires_at) == (NOON, NOON, None)

    def test_unfinished_rows_are_queued_and_rows_without_a_file_failed(self):
        waiting, failed = insert(), insert(finished_at=NOON, filehandle=None)
        bring_over()
        ends = {
            pk: (status, code) for pk, status, code in FileRequest.objects.values_list("pk", "status", "error_code")
        }
        assert ends == {waiting: (Status.QUEUED, ""), failed: (Status.FAILED, "no_file")}
        assert [request.pk for request in FileRequest.objects.to_handle()] == [waiting]

    def test_old_tokens_serve_the_old_files(self, ada: User, settings: Any):
        settings.BGFILES_DEFAULT_KEY, settings.BGFILES_DEFAULT_MAX_AGE = "the-key-of-old", None
        storage.exports_storage().save(KEY, ContentFile(b"id\n1\n"))
        insert(id=ID, filehandle=KEY, filename="login.csv", finished_at=NOON, requester_id=7)
        bring_over()
        client = Client()
        client.force_login(ada)
        for address in (f"/downloads/{OLD_TOKEN}/", f"/anyone/{OLD_GENERAL_TOKEN}/"):
            response = client.get(address)
            assert (response.getvalue(), response["Content-Type"]) == (b"id\n1\n", "text/csv")
            assert response["Content-Disposition"] == 'attachment; filename="login.csv"'
        settings.BGFILES_DEFAULT_SALT = "another"
        assert b"naughty" in client.get(f"/downloads/{OLD_TOKEN}/").content

    def test_old_files_expire_and_are_deleted(self, settings: Any):
        kept = storage.exports_storage().save("reports/kept.csv", ContentFile(b"x"))
        storage.exports_storage().save(KEY, ContentFile(b"x"))
        insert(filehandle=kept, finished_at=NOON)
        insert(id=ID, filehandle=KEY, finished_at=NOON, expires_at=NOON)
        bring_over()
        assert (housekeeping.expire(), housekeeping.delete_files(0)) == (1, 1)
        assert [path.name for path in stored_files(Path(storage.exports_storage().location))] == ["kept.csv"]

    def test_the_migration_runs_twice_and_in_several_batches(self):
        for number in range(2100):
            insert(filehandle=f"reports/{number}.csv", finished_at=NOON)
        bring_over()
        call_command("migrate", "seed", "zero", verbosity=0)
        bring_over()
        assert (FileRequest.objects.count(), Artifact.objects.count()) == (2100, 2100)

    def test_no_migration_is_left_afterwards(self):
        call_command("makemigrations", "exports", check=True, dry_run=True, verbosity=0)
        bring_over()
        call_command("migrate", check_unapplied=True, verbosity=0)
