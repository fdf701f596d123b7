"""docs/migrating-from-dj-bgfiles.md and docs/settings.md say what is so: their code runs, their tables are tests."""

import ast
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
from exports.conf import DEFAULTS, ORIGINALS
from exports.models import Artifact, FileRequest, Status
from tests.shop.requests import NOON
from tests.shop.runs import stored_files, use_folders
from tests.test_toolbox_tokens import ID, OLD_GENERAL_TOKEN, OLD_TOKEN

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "migrating-from-dj-bgfiles.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
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
# Every name that dj-bgfiles' users know.
NAMES = {
    *("FileRequest", "FileRequest.attach_file", "FileRequest.expire_in", "FileRequest.delete", "FileRequest.__str__"),
    *("objects.to_handle", "objects.remove_expired"),
    *("fields.ConfigurableFileField", "fields.get_storage", "fields.get_upload_to"),
    *(name for name in ORIGINALS.values() if name.startswith("BG")),
    *(f"toolbox.{name}" for name in ("JSONSerializer", "Signer", "get_default_signer", "add_request", "attach_file")),
    *(f"toolbox.{name}" for name in ("attach_local_file", "create_token", "create_general_token", "decode", "serve")),
    *("views.evaluate_request", "views.serve_file"),
    *("views.SuspiciousToken", "views.SignatureHasExpired", "views.UserIsNotRequester"),
    "http.create_content_disposition",
    *("patterns.InvalidCriteria", "patterns.InvalidForm", "patterns.Criteria", "patterns.QueryDictCriteria"),
    *("patterns.QueryDictCriteriaWithRequester", "patterns.Dataset", "patterns.SimplePattern"),
    *(f"WriterPattern.{name}" for name in ("respond_to", "buffer_class", "get_*", "get_file_request_data", "schedule")),
    *(f"WriterPattern.{name}" for name in ("create_file", "send_notification", "requester_only", "signer", "handle")),
    *("patterns.DelayedTemplateResponseMixin", "patterns.EmailNotificationMixin", "patterns.FullPattern"),
    *("patterns.celery", "registry.register", "registry.dispatch"),
    *("manage.py bgfiles process", "manage.py bgfiles clean"),
}


def rows_of(text: str, heading: str) -> Iterator[list[str]]:
    """The cells of every table under this column heading, without their backticks around the whole."""
    is_inside = False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        is_inside = bool(cells) and (is_inside or cells[0] == heading)
        if is_inside and cells[0] != heading and not line.startswith("|--"):
            yield [cell[1:-1] if re.fullmatch(r"`[^`]*`", cell) else cell for cell in cells]


NAMED = list(rows_of(GUIDE, "Name"))


# The table


def test_the_table_has_every_name_once():
    assert len(NAMED) == len({name for name, *_ in NAMED})
    assert {name for name, *_ in NAMED} == NAMES


@pytest.mark.parametrize(("name", "difference", "shown_by"), NAMED, ids=lambda cell: cell[:40])
def test_each_row_of_the_table_is_a_test(name: str, difference: str, shown_by: str):
    module, _, function = shown_by.partition(".")
    tree = ast.parse((ROOT / "tests" / f"{module}.py").read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert difference.endswith(".")


# The settings


def test_the_settings_are_listed_as_they_are():
    listed = {name: cells for name, *cells in rows_of(SETTINGS, "Setting")}
    assert list(listed) == list(DEFAULTS)
    for name, (kind, unit, default, meaning, original) in listed.items():
        assert ast.literal_eval(default) == DEFAULTS[name], name
        assert original == ORIGINALS.get(name, "-"), name
        assert (kind != "-", bool(unit), meaning.endswith(".")) == (True, True, True), name


# The import


def test_the_import_changes_by_one_command():
    (expression,) = re.findall(r"sed -i -E '(.*)'", GUIDE)
    before = "from bgfiles import toolbox\nfrom bgfiles.patterns import FullPattern\nfrom mybgfiles import other\n"
    done = subprocess.run(["sed", "-E", expression], input=before, capture_output=True, text=True, check=True)
    assert (
        done.stdout
        == "from exports import toolbox\nfrom exports.patterns import FullPattern\nfrom mybgfiles import other\n"
    )


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
    def test_rows_come_over_with_their_ids_and_all_they_said(self, ada: User):
        insert(
            id=ID, filehandle=KEY, filename="login.csv", description="Mine", size=7, finished_at=NOON, requester_id=7
        )
        bring_over()
        request = FileRequest.objects.get(pk=ID)
        assert (request.status, request.phase, request.requester, request.size) == (Status.READY, "done", ada, 7)
        assert (request.criteria, request.filename, request.description) == (
            "from_date=2016-01-01",
            "login.csv",
            "Mine",
        )
        assert (request.file_type, request.content_type) == ("login_events", "text/csv")
        assert (request.requester_language, request.requester_timezone) == ("en-us", "America/Chicago")
        assert (request.requested_at, request.finished_at, request.expires_at) == (NOON, NOON, None)
        assert request.filehandle.name == KEY

    def test_what_is_unfinished_waits_and_what_has_no_file_has_failed(self):
        waiting, failed = insert(), insert(finished_at=NOON, filehandle=None)
        bring_over()
        assert FileRequest.objects.get(pk=waiting).status == Status.QUEUED
        assert (FileRequest.objects.get(pk=failed).status, FileRequest.objects.get(pk=failed).error_code) == (
            Status.FAILED,
            "no_file",
        )
        assert [request.pk for request in FileRequest.objects.to_handle()] == [waiting]

    def test_old_links_serve_the_old_files_where_they_are(self, ada: User, settings: Any):
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

    def test_old_files_are_cleaned_like_new_ones(self, settings: Any):
        kept = storage.exports_storage().save("reports/kept.csv", ContentFile(b"x"))
        storage.exports_storage().save(KEY, ContentFile(b"x"))
        insert(filehandle=kept, finished_at=NOON)
        insert(id=ID, filehandle=KEY, finished_at=NOON, expires_at=NOON)
        bring_over()
        assert (housekeeping.expire(), housekeeping.delete_files(0)) == (1, 1)
        assert [path.name for path in stored_files(Path(storage.exports_storage().location))] == ["kept.csv"]

    def test_it_may_run_twice_and_takes_many(self):
        for number in range(2100):
            insert(filehandle=f"reports/{number}.csv", finished_at=NOON)
        bring_over()
        call_command("migrate", "seed", "zero", verbosity=0)
        bring_over()
        assert (FileRequest.objects.count(), Artifact.objects.count()) == (2100, 2100)

    def test_django_finds_nothing_left_to_migrate(self):
        call_command("makemigrations", "exports", check=True, dry_run=True, verbosity=0)
        bring_over()
        call_command("migrate", check_unapplied=True, verbosity=0)
