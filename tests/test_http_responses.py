"""A stored file as a response: ranges, conditions, safe headers, and streaming block by block."""

import asyncio
import hashlib
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.core.asgi import get_asgi_application
from django.core.files.storage import FileSystemStorage
from django.core.signals import request_finished
from django.db import close_old_connections
from django.http import HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory

from exports import storage
from exports.exporters import registry
from exports.http import responses
from exports.models import FileRequest
from tests.office import people, rows
from tests.office.browsers import signed_in, ticket_for
from tests.office.exports import open_office
from tests.office.pages import leave

CONTENT = bytes(range(256)) * 4
KEY = "generated/7/report 7.csv"
MEBIBYTE = 1 << 20
BIG = 256 * MEBIBYTE
FEW_BLOCKS = 8 * responses.BLOCK


@pytest.fixture(autouse=True)
def store(settings: LazySettings, tmp_path: Path) -> Path:
    """A storage in a temporary folder, with one file in it."""
    settings.EXPORTS = {**settings.EXPORTS, "STORAGE": FileSystemStorage(location=tmp_path)}
    (tmp_path / KEY).parent.mkdir(parents=True)
    (tmp_path / KEY).write_bytes(CONTENT)
    return tmp_path


@pytest.fixture(autouse=True)
def no_database() -> Iterator[None]:
    """Keep Django from closing database connections when a response is closed: there are none here."""
    request_finished.disconnect(close_old_connections)
    yield
    request_finished.connect(close_old_connections)


def request_for(content: bytes = CONTENT, **columns: Any) -> FileRequest:
    given = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "filename": "report.csv"}
    return FileRequest(filehandle=KEY, **given | {"content_type": "text/csv; charset=utf-8"} | columns)


ETAG = f'"{request_for().sha256}"'


def respond(*, method: str = "get", request: FileRequest | None = None, **headers: str) -> tuple[HttpResponse, bytes]:
    """The response and its whole body. Header names as keywords: if_range="..." ."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    http_request = getattr(RequestFactory(), method)("/file/", headers=given)
    response = responses.file_response(http_request, request or request_for())
    body = response.getvalue()
    response.close()
    return response, body


def test_the_whole_file_is_sent_with_length_and_etag():
    response, body = respond()
    assert (response.status_code, body) == (200, CONTENT)
    assert response["Content-Length"] == "1024"
    assert response["ETag"] == ETAG
    assert response["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=500-600", 500, 600), ("bytes=-24", 1000, 1023), ("bytes=1000-99999", 1000, 1023)],
)
def test_a_range_returns_exactly_that_part(asked: str, first: int, last: int):
    response, body = respond(range=asked)
    assert (response.status_code, body) == (206, CONTENT[first : last + 1])
    assert response["Content-Range"] == f"bytes {first}-{last}/1024"
    assert response["Content-Length"] == str(last - first + 1)
    assert response["ETag"] == ETAG


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "nonsense"])
def test_several_or_malformed_ranges_return_the_whole_file(asked: str):
    response, body = respond(range=asked)
    assert (response.status_code, body) == (200, CONTENT)
    assert "Content-Range" not in response.headers


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=-0"])
def test_a_range_outside_the_file_is_416_with_its_size(asked: str):
    response, body = respond(range=asked)
    assert (response.status_code, body) == (416, b"")
    assert response["Content-Range"] == "bytes */1024"


def test_an_empty_file_is_sent_and_has_no_ranges(store: Path):
    (store / KEY).write_bytes(b"")
    assert respond(request=request_for(b""))[1] == b""
    assert respond(request=request_for(b""), range="bytes=0-")[0].status_code == 416


@pytest.mark.parametrize(
    ("condition", "status"),
    [(ETAG, 206), ('"another"', 200), (f"W/{ETAG}", 200), ("Sun, 22 Nov 2026 06:00:00 GMT", 200), ("", 200)],
)
def test_if_range_with_another_etag_returns_the_whole_file(condition: str, status: int):
    response, body = respond(range="bytes=0-9", if_range=condition)
    assert (response.status_code, body) == (status, CONTENT[:10] if status == 206 else CONTENT)


@pytest.mark.parametrize("condition", [ETAG, f"W/{ETAG}", f'"other", {ETAG}', "*"])
def test_if_none_match_with_the_same_etag_is_304(condition: str):
    response, body = respond(if_none_match=condition)
    assert (response.status_code, body) == (304, b"")
    assert response["ETag"] == ETAG
    assert respond(if_none_match='"other"')[0].status_code == 200


def test_head_has_the_headers_of_get_and_ignores_ranges():
    got, (head, body) = respond()[0], respond(method="head")
    assert (head.status_code, body) == (200, b"")
    assert dict(head.headers) == dict(got.headers)
    head, _ = respond(method="head", range="bytes=0-9")
    assert (head.status_code, head["Content-Length"]) == (200, "1024")
    assert respond(method="head", range="bytes=9999-")[0].status_code == 200


@pytest.mark.parametrize(
    ("stored", "sent"),
    [
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",) * 2,
        ("application/jsonl",) * 2,
        ("", "application/octet-stream"),
    ],
)
def test_the_content_type_is_that_of_the_export(stored: str, sent: str):
    assert respond(request=request_for(content_type=stored))[0]["Content-Type"] == sent


def test_a_file_name_beyond_ascii_is_encoded():
    disposition = respond(request=request_for(filename="Flüge.csv"))[0]["Content-Disposition"]
    assert disposition == "attachment; filename=\"Fluge.csv\"; filename*=UTF-8''Fl%C3%BCge.csv"


@pytest.mark.parametrize("method", ["get", "head"])
def test_a_missing_file_raises_file_not_found(store: Path, method: str):
    (store / KEY).unlink()
    with pytest.raises(FileNotFoundError):
        respond(method=method)


# Sent by the front web server


@pytest.fixture
def accel_redirect(settings: LazySettings, store: Path) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "ACCEL_REDIRECT": "/protected/"}
    (store / KEY).unlink()


@pytest.mark.usefixtures("accel_redirect")
def test_accel_redirect_names_the_file_without_opening_it():
    response, body = respond()
    assert (response.status_code, body) == (200, b"")
    assert response["X-Accel-Redirect"] == "/protected/generated/7/report%207.csv"
    assert response["Content-Disposition"] == 'attachment; filename="report.csv"'
    assert response["Cache-Control"] == "private, no-store"
    assert "Content-Range" not in respond(range="bytes=0-9")[0].headers
    assert respond(if_none_match=ETAG)[0].status_code == 304


# Streaming


def is_open(path: Path) -> bool:
    """Return True if this process has the file open."""
    descriptors = Path("/proc/self/fd")
    return any(os.path.realpath(each) == str(path) for each in descriptors.iterdir())


@pytest.fixture
def big(store: Path) -> tuple[Path, FileRequest]:
    """A sparse file of 256 MiB."""
    path = store / KEY
    with path.open("wb") as file:
        file.truncate(BIG)
    return path, request_for(size=BIG)


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """Return the peak of the traced memory since the test began, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def test_a_big_file_is_streamed_in_blocks_under_wsgi(big: tuple[Path, FileRequest], memory: Callable[[], int]):
    path, request = big
    response = responses.file_response(RequestFactory().get("/file/"), request)
    sizes = [len(block) for block in response]
    response.close()
    assert sum(sizes) == BIG
    assert max(sizes) == responses.BLOCK
    assert memory() < FEW_BLOCKS
    assert not is_open(path)


async def test_a_big_file_is_streamed_in_blocks_under_asgi(big: tuple[Path, FileRequest], memory: Callable[[], int]):
    path, request = big
    response = await sync_to_async(responses.file_response)(AsyncRequestFactory().get("/file/"), request)
    sizes = [len(block) async for block in response]
    await sync_to_async(response.close)()
    assert sum(sizes) == BIG
    assert max(sizes) == responses.BLOCK
    assert memory() < FEW_BLOCKS
    assert not is_open(path)


def test_closing_a_response_early_closes_the_file(big: tuple[Path, FileRequest]):
    path, request = big
    response = responses.file_response(RequestFactory().get("/file/"), request)
    blocks = iter(response)
    next(blocks)
    assert is_open(path)
    response.close()
    assert not is_open(path)


# Through the site


@pytest.fixture
def ready(transactional_db: None) -> Iterator[tuple[Client, FileRequest, Path]]:
    """A signed-in client, its READY export with a big file, and the path of the file."""
    with open_office():
        request = rows.ready(people.user("owner"))
        path = Path(storage.exports_storage().path(request.filehandle.name))
        with path.open("r+b") as file:
            file.truncate(BIG)
        FileRequest.objects.filter(pk=request.pk).update(size=BIG)
        request_finished.connect(close_old_connections)
        yield signed_in(request.requester), request, path


@pytest.fixture
async def by_asgi() -> AsyncIterator[None]:
    yield
    await leave()


def test_the_site_streams_a_file_over_wsgi(ready: tuple[Client, FileRequest, Path]):
    client, request, path = ready
    response = client.get(ticket_for(request, request.requester))
    assert response.streaming
    assert response["Content-Length"] == str(BIG)
    assert sum(map(len, response)) == BIG
    assert not is_open(path)
    assert rows.downloads().get().outcome == "sent"


@pytest.mark.usefixtures("by_asgi")
async def test_the_site_streams_a_range_over_asgi(ready: tuple[Client, FileRequest, Path]):
    client, request, path = ready
    browser = AsyncClient()
    browser.cookies = client.cookies
    response = await browser.get(ticket_for(request, request.requester), headers={"range": f"bytes={BIG - 10}-"})
    assert response.status_code == 206
    assert b"".join([block async for block in response]) == b"\0" * 10
    assert not is_open(path)


@pytest.mark.usefixtures("by_asgi")
async def test_a_client_that_disconnects_leaves_no_file_open(ready: tuple[Client, FileRequest, Path]):
    client, request, path = ready
    visitor = Visitor(client, ticket_for(request, request.requester))
    application = asyncio.create_task(get_asgi_application()(visitor.scope, visitor.receive, visitor.send))
    await asyncio.wait_for(visitor.has_first_block.wait(), 10)
    assert is_open(path)
    visitor.has_disconnected.set()
    await asyncio.wait_for(application, 10)
    assert visitor.received < 4 * responses.BLOCK
    assert not is_open(path)
    download = await sync_to_async(lambda: rows.downloads().get())()
    assert (download.outcome, download.bytes_sent < visitor.received + responses.BLOCK) == ("aborted", True)


@pytest.mark.usefixtures("by_asgi")
async def test_the_end_of_an_iterator_in_a_hook_is_an_error_over_asgi(
    ready: tuple[Client, FileRequest, Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(registry.handlers["report"], "has_permission", lambda *args: next(iter([])))
    browser = AsyncClient(raise_request_exception=False)
    browser.cookies = ready[0].cookies
    response = await asyncio.wait_for(browser.get("/exports/new/report/"), 30)
    assert response.status_code == 500


class Visitor:
    """An ASGI client that receives one block, waits, and disconnects."""

    def __init__(self, client: Client, address: str) -> None:
        cookies = "; ".join(f"{name}={each.value}" for name, each in client.cookies.items())
        headers = [(b"host", b"testserver"), (b"cookie", cookies.encode())]
        more = {"query_string": b"", "headers": headers, "scheme": "http", "http_version": "1.1"}
        self.scope = {"type": "http", "method": "GET", "path": address, **more}
        self.received = 0
        self.has_first_block = asyncio.Event()
        self.has_disconnected = asyncio.Event()
        self._messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive(self) -> dict[str, Any]:
        for message in self._messages:
            return message
        await self.has_disconnected.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            self.received += len(message["body"])
            self.has_first_block.set()
            await self.has_disconnected.wait()
