"""Refuse requests in a charset that is not text, at which Django fails before it reaches a view."""

import codecs
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.utils.http import parse_header_parameters

from exports.asgi import PLAIN_HEADERS

Application = Callable[..., Awaitable[None]]

# By their names in Python, which also has codecs such as rot13, zip and punycode.
TEXT: Final = {"utf-8", "ascii", "iso8859-1", "cp1252"}
REFUSAL: Final = b"This site reads UTF-8.\n"


class TextCharsets:
    """Answer such requests with 415 (RFC 9110, 15.5.16)."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if all(is_text(value) for name, value in scope["headers"] if name == b"content-type"):
            await self.application(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 415, "headers": PLAIN_HEADERS})
        await send({"type": "http.response.body", "body": REFUSAL})


def is_text(content_type: bytes) -> bool:
    """Return True if Django can read a body of this content type. It ignores charsets unknown to Python."""
    try:
        _, parameters = parse_header_parameters(content_type.decode("latin-1"))
    except ValueError:
        return False
    try:
        return codecs.lookup(parameters.get("charset", "utf-8")).name in TEXT
    except (LookupError, ValueError):
        return True
