"""A stored file as a response: streamed by parts, never as a whole, with ranges; or handed to the front web server.

FileResponse reads a whole file into memory under ASGI, so this streams by an async iterator there.
"""

import ipaddress
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.core.files import File
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from exports import storage
from exports.conf import config
from exports.http import ByteRange, RangeNotSatisfiable, create_content_disposition, is_match, parse_range
from exports.models import FileRequest

BLOCK = 1 << 18

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Accept-Ranges": "bytes",
}


def respond(http_request: HttpRequest, request: FileRequest) -> HttpResponse | StreamingHttpResponse:
    """The file of a READY request: 200, 206, 304 or 416, for GET and HEAD. Raises FileNotFoundError when it is gone."""
    etag = f'"{request.sha256}"'
    if is_match(http_request.headers.get("If-None-Match"), etag):
        return _with_headers(HttpResponse(status=304), request, etag)
    try:
        part = _asked_part(http_request, etag, request.size)
    except RangeNotSatisfiable:
        response = HttpResponse(status=416, headers={"Content-Range": f"bytes */{request.size}"})
        return _with_headers(response, request, etag)
    if config.ACCEL_REDIRECT:
        return _with_headers(_handed_over(request), request, etag)
    return _with_headers(_streamed(http_request, request, part), request, etag)


def _asked_part(http_request: HttpRequest, etag: str, size: int) -> ByteRange | None:
    """The range asked for, unless If-Range names another file than this one."""
    header = http_request.headers.get("Range")
    if header is None or http_request.headers.get("If-Range", etag) != etag:
        return None
    return parse_range(header, size)


def _streamed(
    http_request: HttpRequest, request: FileRequest, part: ByteRange | None
) -> HttpResponse | StreamingHttpResponse:
    asked = part or ByteRange(0, request.size)
    file = storage.open_file(request.filehandle.name)
    response: HttpResponse | StreamingHttpResponse
    if http_request.method == "HEAD":
        file.close()
        response = HttpResponse()
    else:
        part_class = _AsyncPart if isinstance(http_request, ASGIRequest) else _Part
        response = StreamingHttpResponse(part_class(file, asked))
    response.headers["Content-Length"] = str(asked.count)
    if part is not None:
        response.status_code = 206
        response.headers["Content-Range"] = f"bytes {part.first}-{part.last}/{request.size}"
    return response


def _handed_over(request: FileRequest) -> HttpResponse:
    """An empty answer that tells nginx which internal location holds the bytes; ranges are then its business."""
    return HttpResponse(headers={"X-Accel-Redirect": config.ACCEL_REDIRECT + quote(request.filehandle.name)})


def _with_headers(
    response: HttpResponse | StreamingHttpResponse, request: FileRequest, etag: str
) -> HttpResponse | StreamingHttpResponse:
    own = {
        "ETag": etag,
        "Content-Type": request.content_type or "application/octet-stream",
        "Content-Disposition": create_content_disposition(request.filename),
    }
    for name, value in (HEADERS | own).items():
        response.headers[name] = value
    return response


class _Part:
    """The blocks of a part of a file. The response closes it, read to the end or not."""

    def __init__(self, file: File, part: ByteRange) -> None:
        self._file = file
        self._left = part.count
        file.seek(part.first)

    def close(self) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[bytes]:
        while block := self._next():
            yield block

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


def shortened(address: str) -> str:
    """An address without its host part: the network of 24 bits of IPv4, of 48 bits of IPv6; '' for anything else."""
    try:
        given = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    return str(ipaddress.ip_network(f"{given}/{24 if given.version == 4 else 48}", strict=False).network_address)
