"""A stored file as a response: streamed with byte ranges, sent by the front web server, or redirected to the storage.

Django's FileResponse reads a whole file into memory under ASGI; FileStream sends it block by block there, too.
"""

import hashlib
import io
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.db import DatabaseError, close_old_connections
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from exports import storage
from exports.conf import config
from exports.filenames import create_content_disposition
from exports.http.ranges import ByteRange, RangeNotSatisfiable, is_match, parse_range
from exports.models import FileRequest

log = logging.getLogger("exports.http.responses")

BLOCK = 1 << 18
RECHECK_SECONDS = 1.0
UNKNOWN_TYPE = "application/octet-stream"

# Browsers run nothing in the file, caches do not store it, and other sites cannot embed it. A declared encoding keeps
# Django's GZipMiddleware and nginx from compressing the bytes, whose length and ranges would then be wrong.
SAFE_HEADERS = {
    "Content-Encoding": "identity",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
HEADERS = SAFE_HEADERS | {"Accept-Ranges": "bytes"}
# The signed URL must not be cached, and the storage must not learn the URL of the ticket.
REDIRECT_HEADERS = {name: HEADERS[name] for name in ("Cache-Control", "Referrer-Policy")}
# The status codes of responses that deliver bytes of the file.
DELIVERING = (200, 206, 302)


def file_response(
    request: HttpRequest, export: FileRequest, *, filename: str = "", by_app: bool = False
) -> HttpResponse | StreamingHttpResponse:
    """Return the response to a GET or HEAD of a READY export: 200, 206, 304 or 416, or 302 to a URL of the storage.

    `filename` replaces that of the export. With `by_app` neither the storage nor the front web server sends the bytes.
    Raises FileNotFoundError if the file is missing. A redirect does not check that: the storage itself answers 404.
    """
    key, content_type = str(export.filehandle), export.content_type or UNKNOWN_TYPE
    disposition = create_content_disposition(filename or export.filename)
    is_head = request.method == "HEAD"
    if not (config.ACCEL_REDIRECT or by_app):
        url = storage.presign(
            key,
            seconds=config.BUCKET_URL_MAX_AGE_SECONDS,
            content_type=content_type,
            disposition=disposition,
            method="HEAD" if is_head else "GET",
        )
        if url is not None:
            return HttpResponse(status=302, headers=REDIRECT_HEADERS | {"Location": url})
    etag = etag_of(export)
    headers = HEADERS | {"ETag": etag, "Content-Type": content_type, "Content-Disposition": disposition}
    # Only publishing a run measures the bytes; attach_file stores the size that its caller claims.
    size = export.size if export.sha256 and export.size is not None else storage.size_of(key)
    if is_match(request.headers.get("If-None-Match"), etag):
        return HttpResponse(status=304, headers=headers)
    part = None
    if request.method == "GET" and "Range" in request.headers and request.headers.get("If-Range", etag) == etag:
        try:
            part = parse_range(request.headers["Range"], size)
        except RangeNotSatisfiable:
            return HttpResponse(status=416, headers=headers | {"Content-Range": f"bytes */{size}"})
    if config.ACCEL_REDIRECT and not by_app:
        storage.check_key(key)
        return HttpResponse(headers=headers | {"X-Accel-Redirect": config.ACCEL_REDIRECT + quote(key)})
    sent = part or ByteRange(0, size)
    headers["Content-Length"] = str(sent.count)
    if part is not None:
        headers["Content-Range"] = f"bytes {part.first}-{part.last}/{size}"
    if is_head:
        storage.size_of(key)
        return HttpResponse(headers=headers)
    return FileStream(FilePart(storage.open_file(key), sent), status=200 if part is None else 206, headers=headers)


def buffer_response(
    buffer: Any, *, filename: str, content_type: str, attachment: bool = True
) -> HttpResponse | StreamingHttpResponse:
    """Return the contents of a buffer as a response, streamed if the buffer has `read`; the response closes it."""
    headers = SAFE_HEADERS | {
        "Content-Type": content_type,
        "Content-Disposition": create_content_disposition(filename, attachment),
    }
    if not hasattr(buffer, "read"):
        return HttpResponse(buffer.getvalue(), headers=headers)
    size = buffer.seek(0, io.SEEK_END)
    return FileStream(FilePart(buffer, ByteRange(0, size)), headers=headers | {"Content-Length": str(size)})


def etag_of(export: FileRequest) -> str:
    """Return a strong ETag: the hash of the bytes if it is known, else that of the key, which is never used again."""
    return f'"{export.sha256 or hashlib.sha256(str(export.filehandle).encode()).hexdigest()}"'


class DownloadStopped(Exception):
    """The user may not have the rest of the file."""


class FilePart:
    """A part of an open file in blocks. The response closes it, whether or not it was read to the end.

    `file` is anything with seek, read and close. `on_close` is called once with the number of bytes sent; a block
    counts as sent when the server asks for the next one. `may_go_on` is asked between blocks, every RECHECK_SECONDS at
    most.
    """

    def __init__(self, file: Any, part: ByteRange) -> None:
        self.on_close: Callable[[int], None] | None = None
        self.may_go_on: Callable[[], bool] = lambda: True
        self._file = file
        self._count = part.count
        self._sent = 0
        file.seek(part.first)

    def __iter__(self) -> Iterator[bytes]:
        """Yield the blocks. Raise DownloadStopped, at which a server ends the connection, so that the file is short."""
        left, asked_at = self._count, time.monotonic()
        while block := self._file.read(min(BLOCK, left)):
            left -= len(block)
            yield block
            self._sent += len(block)
            if time.monotonic() - asked_at > RECHECK_SECONDS:
                if not self._may_go_on_now():
                    raise DownloadStopped("The user may not have the rest of the file.")
                asked_at = time.monotonic()

    def close(self) -> None:
        self._file.close()
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close(self._sent)

    def _may_go_on_now(self) -> bool:
        try:
            return self.may_go_on()
        except DatabaseError as error:
            log.warning("a download goes on unchecked: %s", type(error).__name__)
            return True
        finally:
            # A stream runs outside of a request, and under ASGI in any thread.
            close_old_connections()


class FileStream(StreamingHttpResponse):
    """A streaming response that WSGI and ASGI servers can both send without reading the whole file into memory."""

    def __init__(self, part: FilePart, **kwargs: Any) -> None:
        super().__init__(part, **kwargs)
        self.part = part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # Django 5.2 reads a sync iterator to its end before it sends anything under ASGI; this reads block by block.
        blocks = iter(self)
        next_block = sync_to_async(lambda: next(blocks, b""), thread_sensitive=False)
        try:
            while block := await next_block():
                yield block
        except DownloadStopped:
            # The response is shorter than its Content-Length says, so the server ends the connection.
            return
        except Exception:
            # Django 5.2 does not close a response that raises.
            await sync_to_async(self.part.close)()
            raise
