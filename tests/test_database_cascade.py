"""Rows that the database itself deletes (DB_CASCADE of Django 6.1): no signal is sent, and no file is left."""

import json
from pathlib import Path

import django
import pytest

from tests.office.processes import run

# Each foreign key is one of the database in these tables, and a model of the host has one to an export.
BEFORE = """
from django.db import models
models.CASCADE, models.SET_NULL = models.DB_CASCADE, models.DB_SET_NULL
"""
SITE = """
import json
from pathlib import Path
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from exports import housekeeping, storage
from exports.models import FileRequest
from tests.office import rows
from tests.office.exports import open_office
from tests.office.people import user

class Note(models.Model):
    export = models.ForeignKey(FileRequest, on_delete=models.DB_CASCADE)

    class Meta:
        app_label = "shop"

def counts():
    files = [path for path in Path(storage.exports_storage().path("")).rglob("*") if path.is_file()]
    return [model.objects.count() for model in (FileRequest, Note)] + [len(files)]

def status(path):
    return client.get(path).status_code

call_command("migrate", run_syncdb=True, verbosity=0)
with open_office():
    ada, bob = user("ada"), user("bob")
    kept, gone, *others = rows.ready(bob), rows.ready(bob), *(make(ada) for make in rows.IN_STATUS.values())
    Note.objects.bulk_create(Note(export=each) for each in (kept, gone, *others))
    client = Client()
    client.force_login(bob)
    seen = {"made": counts()}
    gone.delete()
    User.objects.filter(pk=ada.pk).delete()
    seen["pages"] = [status(f"/exports/{each}") for each in ("", f"{kept.pk}/", f"{gone.pk}/", f"{others[2].pk}/")]
    seen["user deleted"] = counts()
    housekeeping.sweep()
    seen["swept"] = counts()
print(json.dumps(seen))
"""
APPS = ("admin", "auth", "contenttypes", "exports", "seed", "sessions", "shop")


@pytest.mark.skipif(django.VERSION < (6, 1), reason="DB_CASCADE is new in Django 6.1")
def test_no_file_is_left_after_a_sweep_of_rows_that_the_database_deleted(folder: Path, tmp_path: Path):
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
    printed = run(
        SITE, tmp_path, before=BEFORE,
        DATABASES={"default": database}, MIGRATION_MODULES=dict.fromkeys(APPS), MEDIA_ROOT=str(tmp_path / "media"),
    )  # fmt: skip
    seen = json.loads(printed.splitlines()[-1])
    # Of the six exports of ada two have files: the one that is READY and the one that is EXPIRED.
    assert seen == {
        "made": [8, 8, 4],
        "pages": [200, 200, 404, 404],
        "user deleted": [1, 1, 3],
        "swept": [1, 1, 1],
    }
