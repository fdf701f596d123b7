"""SQLite with Django's own options: the site is usable while an export is made, and its file is of one moment."""

from pathlib import Path

from tests.office.processes import run

MEANWHILE = """
import subprocess, sys
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from exports import services, storage
from exports.exporters import Column, QuerySetExport, registry
from exports.models import FileRequest
from exports.worker import loop

WRITE = '''
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0)
connection.execute("UPDATE auth_user SET first_name = 'new'")
connection.commit()
connection.close()
'''

def name_of(user):
    if user.username == "0003":
        subprocess.run([sys.executable, "-c", WRITE, connection.settings_dict["NAME"]], check=True)
    return user.first_name

class NamesExport(QuerySetExport):
    file_type = "names"
    columns = (Column("name", "Name", source=name_of),)
    queue_name = "small"

    def get_queryset(self, user, criteria):
        return User.objects.order_by("username")

    def has_permission(self, user, criteria):
        return True

call_command("migrate", verbosity=0)
registry.register(NamesExport)
User.objects.bulk_create(User(username=f"{number:04}", first_name="old") for number in range(2000))
"""


def test_another_process_writes_while_rows_are_read_and_the_file_is_of_one_moment(tmp_path: Path):
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
    code = """
export = services.request_export(User.objects.get(username="0000"), "names", {}, format="csv")[0]
loop.WorkerLoop("small").run_due()
export.refresh_from_db()
with storage.open_file(export.filehandle.name) as file:
    words = file.read().decode("utf-8-sig").split()
print(export.status, export.error_detail, sorted(set(words)))
print(set(User.objects.values_list("first_name", flat=True)))
"""
    printed = run(MEANWHILE + code, tmp_path, DATABASES={"default": database})
    assert printed.splitlines()[-2:] == ["ready  ['Name', 'old']", "{'new'}"]
