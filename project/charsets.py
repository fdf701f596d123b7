"""Refuses what says to be in a charset that is none: Django fails at it before any view is reached."""

import codecs
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.utils.http import parse_header_parameters

Application = Callable[..., Awaitable[None]]

# What browsers and programs write, by Python's names. Python also knows rot13, zip and punycode as charsets.
TEXT: Final = {"utf-8", "ascii", "iso8859-1", "cp1252"}
REFUSAL: Final = b"This site reads UTF-8.\n"


class TextCharsets:
    """ASGI middleware for HTTP: answers 415 instead (RFC 9110, 15.5.16)."""

    def __init__(self, application: Application) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if all(is_text(value) for name, value in scope["headers"] if name == b"content-type"):
            await self.application(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 415, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": REFUSAL})


def is_text(content_type: bytes) -> bool:
    """Whether Django can read a body of this type. It passes over a charset that Python does not know."""
    try:
        _, parameters = parse_header_parameters(content_type.decode("latin-1"))
    except ValueError:
        return False
    try:
        return codecs.lookup(parameters.get("charset", "utf-8")).name in TEXT
    except (LookupError, ValueError):
        return True
