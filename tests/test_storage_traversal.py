"""No key, file name or URL leads out of the storage folder, and none causes a server error."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.test import Client

from exports import storage
from exports.contrib.bgfiles import toolbox
from exports.models import FileRequest
from tests.office import rows
from tests.office.browsers import signed_in, ticket_for, url_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

SECRET = b"this must not be served"

# Beside the folder "store" stand "store-of-another" and "secret.txt".
PATHS = [
    "../secret.txt", "../store-of-another/secret.txt", "../../secret.txt", "x/../../secret.txt", "./../secret.txt",
    "..", "../", ".", "./", "", "/", "//", "x/..", "{root}/secret.txt", "/{root}/secret.txt", "/etc/passwd",
    "//etc/passwd", "-of-another/secret.txt", "..\\secret.txt", "..\\..\\secret.txt", "\\secret.txt", "C:\\secret.txt",
    "C:secret.txt",
    "file:///etc/passwd", "~root/secret.txt", "~/secret.txt", "$HOME/secret.txt", "\0", "a\0b", "../secret.txt\0.csv",
    "%2e%2e/secret.txt", "%2e%2e%2fsecret.txt", "..%2fsecret.txt", "%252e%252e%252fsecret.txt", "..%5csecret.txt",
    "%00", "..%00/secret.txt", "%c0%ae%c0%ae/secret.txt", "\udcc0\udcae\udcc0\udcae/secret.txt", "%c0%afsecret.txt",
    "\ud800", "\uff0e\uff0e/secret.txt", "\uff0e\uff0e\uff0fsecret.txt", "\u2024\u2024/secret.txt", "\u2025/secret.txt",
    "..\u2215secret.txt", "..\u2044secret.txt", "..\u2216secret.txt", "....//secret.txt", "..;/secret.txt",
    ".. /secret.txt", " ../secret.txt", "\t../secret.txt", "..\n/secret.txt", "..\r\n/secret.txt", "inner", "inner/",
    "inner/file.csv/x",
    "inner/file.csv/", "x" * 255, "é" * 200, "x" * 250 + "/..", "link/secret.txt",
]  # fmt: skip
# What a column of 255 characters can hold, and a database can store.
STORABLE = [each for each in PATHS if not re.search("[\0\ud800-\udfff]", each)]

each_path = pytest.mark.parametrize("path_out", PATHS, ids=range(len(PATHS)))


@pytest.fixture(autouse=True)
def root(settings: LazySettings, tmp_path: Path) -> Path:
    location = {"location": str(tmp_path / "store")}
    files = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location}
    settings.STORAGES = {**settings.STORAGES, "exports": files}
    for folder in (tmp_path, tmp_path / "store-of-another"):
        folder.mkdir(exist_ok=True)
        (folder / "secret.txt").write_bytes(SECRET)
    (tmp_path / "store" / "inner").mkdir(parents=True)
    (tmp_path / "store" / "inner" / "file.csv").write_bytes(b"inside")
    return tmp_path


def outside(root: Path) -> dict[str, bytes]:
    """Return the files outside the storage folder."""
    files = [path for path in root.rglob("*") if path.is_file() and (root / "store") not in path.parents]
    return {str(path): path.read_bytes() for path in files}


# Keys


@each_path
def test_an_invalid_key_is_not_found(root: Path, path_out: str):
    key = path_out.replace("{root}", str(root))
    with pytest.raises(FileNotFoundError):
        storage.open_file(key).close()
    with suppress(FileNotFoundError):
        assert storage.size_of(key) != len(SECRET)


@each_path
def test_an_invalid_key_writes_and_deletes_nothing_outside(root: Path, path_out: str):
    key, before = path_out.replace("{root}", str(root)), outside(root)
    for verb in (storage.delete, lambda key: storage.put_contents(ContentFile(b"evil"), key)):
        try:
            verb(key)
        except (SuspiciousFileOperation, storage.StorageDenied, storage.base.StorageFailed, OSError, ValueError):
            continue
    assert outside(root) == before


# Rows written outside the app


@pytest.mark.parametrize("path_out", STORABLE, ids=range(len(STORABLE)))
@pytest.mark.parametrize("accel", [None, "/finished/"], ids=["streamed", "by nginx"])
def test_a_manipulated_row_serves_no_file_outside(
    root: Path, owner: User, settings: LazySettings, path_out: str, accel: str | None
):
    settings.EXPORTS = {**settings.EXPORTS, "ACCEL_REDIRECT": accel}
    export, client = rows.ready(owner), signed_in(owner)
    key = path_out.replace("{root}", str(root))[:255]
    FileRequest.objects.filter(pk=export.pk).update(filehandle=key)
    response = client.get(ticket_for(export, owner))
    body = response.getvalue() if response.streaming else response.content
    assert SECRET not in body
    if accel is None:
        assert response.status_code == 404
    elif response.status_code != 404:
        assert ".." not in response.headers["X-Accel-Redirect"].split("/")
        assert response.headers["X-Accel-Redirect"].startswith("/finished/")


@each_path
def test_the_file_name_is_not_part_of_the_key(root: Path, owner: User, path_out: str):
    before = outside(root)
    export = toolbox.add_request(file_type="report", requester=owner)
    name = path_out.replace("{root}", str(root)).encode("utf-8", "replace").decode().replace("\0", "?")[:255]
    toolbox.attach_file(export, ContentFile(b"mine"), filename=name)
    stored = rows.fresh(export).filehandle
    assert (root / "store" / "generated") in Path(stored.path).resolve().parents
    assert stored.name.rpartition("/")[0] == f"generated/{export.pk}"
    assert outside(root) == before
    with storage.open_file(stored.name) as file:
        assert file.read() == b"mine"


# URLs


@each_path
def test_a_url_with_a_path_outside_is_404(root: Path, owner: User, path_out: str):
    client, export = signed_in(owner), rows.ready(owner)
    errors = "surrogateescape" if "\udcc0" in path_out else "replace"
    text = path_out.replace("{root}", str(root)).encode("utf-8", errors)
    for address in urls_with(text, export):
        assert status_and_body(client, address) in ((404, False), (301, False)), address


def urls_with(text: bytes, export: FileRequest) -> list[str]:
    plain, once, twice = quote(text, safe="/"), quote(text, safe=""), quote(quote(text, safe=""), safe="")
    folders = ["/exports/file/", "/exports/public/", "/exports/new/", f"/exports/{export.pk}/"]
    written = [written for written in (plain, once, twice) if written]
    return [f"{folder}{each}{end}" for folder in folders for each in written for end in ("/", "/download/")]


def status_and_body(client: Client, address: str) -> tuple[int, bool]:
    """Return the status of a GET, and True if the response contains the secret."""
    response: Any = client.get(address)
    return response.status_code, SECRET in (response.getvalue() if response.streaming else response.content)


def test_a_download_redirects_to_a_ticket_whatever_the_name(owner: User):
    export = rows.ready(owner, filename="../../secret.txt")
    response = signed_in(owner).get(url_of("download", export))
    assert response.headers["Location"].startswith("/exports/file/")
    final = signed_in(owner).get(response.headers["Location"])
    assert final.headers["Content-Disposition"] == 'attachment; filename="secret.txt"'
    assert final.getvalue() == rows.CONTENT
