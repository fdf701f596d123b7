"""A stored file as a response: streamed by parts, never as a whole, with ranges; or handed to the front web server, or
to the storage by an address that it signs.

FileResponse reads a whole file into memory under ASGI, so this streams by an async iterator there.
"""

import hashlib
import io
import ipaddress
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.core.files import File
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from exports import storage
from exports.conf import config
from exports.filenames import create_content_disposition
from exports.http.ranges import ByteRange, RangeNotSatisfiable, is_match, parse_range
from exports.models import Download, FileRequest

BLOCK = 1 << 18
UNKNOWN_TYPE = "application/octet-stream"

# A file runs nothing, is kept by nobody on the way, and is of no use to other sites.
SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
HEADERS = SAFE_HEADERS | {"Accept-Ranges": "bytes"}
# Neither the signed address may be kept, nor may the storage learn the address of the ticket.
REDIRECT_HEADERS = {name: HEADERS[name] for name in ("Cache-Control", "Referrer-Policy")}
# The answers by which somebody gets bytes.
HANDED_OVER = (200, 206, 302)


def respond(http_request: HttpRequest, request: FileRequest) -> HttpResponse | StreamingHttpResponse:
    """The file of a READY request, for GET and HEAD: 200, 206, 304 or 416, or 302 to the storage that sends it itself.

    Raises FileNotFoundError when it is gone, unless the storage is the one to say so.
    """
    if (address := _presigned(http_request, request)) is not None:
        return HttpResponse(status=302, headers=REDIRECT_HEADERS | {"Location": address})
    etag, size = etag_of(request), size_of(request)
    if is_match(http_request.headers.get("If-None-Match"), etag):
        return _with_headers(HttpResponse(status=304), request, etag)
    try:
        part = _asked_part(http_request, etag, size)
    except RangeNotSatisfiable:
        response = HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
        return _with_headers(response, request, etag)
    if config.ACCEL_REDIRECT:
        return _with_headers(_handed_over(request), request, etag)
    return _with_headers(_streamed(http_request, request, part, size), request, etag)


def once(
    http_request: HttpRequest, buffer: Any, *, filename: str, content_type: str, attachment: bool = True
) -> HttpResponse | StreamingHttpResponse:
    """What was written into a buffer as a response, streamed where the buffer can be read, and gone afterwards."""
    if not hasattr(buffer, "read"):
        response: HttpResponse | StreamingHttpResponse = HttpResponse(buffer.getvalue())
    else:
        size = buffer.seek(0, io.SEEK_END)
        response = _streaming(http_request, buffer, ByteRange(0, size))
        response.headers["Content-Length"] = str(size)
    disposition = create_content_disposition(filename, attachment)
    for name, value in (SAFE_HEADERS | {"Content-Type": content_type, "Content-Disposition": disposition}).items():
        response.headers[name] = value
    return response


def etag_of(request: FileRequest) -> str:
    """A strong ETag: of the bytes where they were measured, else of the key, which is never used for other bytes."""
    return f'"{request.sha256 or hashlib.sha256(request.filehandle.name.encode()).hexdigest()}"'


def size_of(request: FileRequest) -> int:
    """The bytes of the file: as measured at publish, or as the storage says of a file attached by hand."""
    return request.size if request.sha256 else storage.size_of(request.filehandle.name)


def when_ended(response: HttpResponseBase, tell: Callable[[int], None]) -> None:
    """Let `tell` have the bytes that the web server took, once this streamed response is closed."""
    response.part.tell = tell


def outcome_of(response: HttpResponseBase) -> str:
    """How far this site sees what becomes of a response that hands over bytes."""
    if response.status_code == 302:
        return Download.Outcome.REDIRECTED
    return Download.Outcome.HANDED_OVER if "X-Accel-Redirect" in response.headers else Download.Outcome.BEGUN


def _streaming(http_request: HttpRequest | None, file: Any, asked: ByteRange) -> StreamingHttpResponse:
    is_async = isinstance(http_request, ASGIRequest)
    part = _AsyncPart(file, asked) if is_async else _Part(file, asked)
    response = StreamingHttpResponse(part) if is_async else _StreamedEitherWay(part)
    response.part = part
    return response


def _asked_part(http_request: HttpRequest, etag: str, size: int) -> ByteRange | None:
    """The range that a GET asks for, unless If-Range names another file than this one."""
    header = http_request.headers.get("Range")
    if header is None or http_request.method != "GET" or http_request.headers.get("If-Range", etag) != etag:
        return None
    return parse_range(header, size)


def _streamed(
    http_request: HttpRequest, request: FileRequest, part: ByteRange | None, size: int
) -> HttpResponse | StreamingHttpResponse:
    asked = part or ByteRange(0, size)
    file = storage.open_file(request.filehandle.name)
    response: HttpResponse | StreamingHttpResponse
    if http_request.method == "HEAD":
        file.close()
        response = HttpResponse()
    else:
        response = _streaming(http_request, file, asked)
    response.headers["Content-Length"] = str(asked.count)
    if part is not None:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {part.first}-{part.last}/{size}"
    return response


def _presigned(http_request: HttpRequest, request: FileRequest) -> str | None:
    """The address, good for one click, where the storage sends the file itself, if it does."""
    if config.ACCEL_REDIRECT:
        return None
    return storage.presign(
        request.filehandle.name,
        seconds=config.TICKET_MAX_AGE_SECONDS,
        content_type=request.content_type or UNKNOWN_TYPE,
        disposition=create_content_disposition(request.filename),
        method="HEAD" if http_request.method == "HEAD" else "GET",
    )


def _handed_over(request: FileRequest) -> HttpResponse:
    """An empty answer that tells nginx which internal location holds the bytes; ranges are then its business."""
    storage.check_key(request.filehandle.name)
    return HttpResponse(headers={"X-Accel-Redirect": config.ACCEL_REDIRECT + quote(request.filehandle.name)})


def _with_headers(
    response: HttpResponse | StreamingHttpResponse, request: FileRequest, etag: str
) -> HttpResponse | StreamingHttpResponse:
    own = {
        "ETag": etag,
        "Content-Type": request.content_type or UNKNOWN_TYPE,
        "Content-Disposition": create_content_disposition(request.filename),
    }
    for name, value in (HEADERS | own).items():
        response.headers[name] = value
    return response


class _Part:
    """The blocks of a part of a file. The response closes it, read to the end or not."""

    tell: Callable[[int], None] | None = None

    def __init__(self, file: File, part: ByteRange) -> None:
        # A block counts as sent when the next one is asked for.
        self.sent = 0
        self._file = file
        self._left = part.count
        file.seek(part.first)

    def close(self) -> None:
        self._file.close()
        tell, self.tell = self.tell, None
        if tell is not None:
            tell(self.sent)

    def __iter__(self) -> Iterator[bytes]:
        while block := self._next():
            yield block
            self.sent += len(block)

    def _next(self) -> bytes:
        block = self._file.read(min(BLOCK, self._left))
        self._left -= len(block)
        return block


class _AsyncPart(_Part):
    """The same, each block read in a thread."""

    __iter__ = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while block := await sync_to_async(self._next, thread_sensitive=False)():
            yield block
            self.sent += len(block)


class _StreamedEitherWay(StreamingHttpResponse):
    """A response made without the request that it answers: an ASGI server that sends it gets it by blocks too."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        blocks = iter(self.streaming_content)
        while block := await sync_to_async(next, thread_sensitive=False)(blocks, b""):
            yield block


def shortened(address: str) -> str:
    """An address without its host part: the network of 24 bits of IPv4, of 48 bits of IPv6; '' for anything else."""
    try:
        given = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    return str(ipaddress.ip_network(f"{given}/{24 if given.version == 4 else 48}", strict=False).network_address)
