"""Which origins may open a socket."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings
from django.http import HttpRequest

from exports.access import authentication
from exports.realtime.routing import SameOrigin, is_allowed_origin

HOST = "exports.example"

# channels closes old database connections at every message.
through_channels = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def site(settings: LazySettings) -> Iterator[LazySettings]:
    settings.ALLOWED_HOSTS = [HOST, "xn--bcher-kva.example", "[::1]"]
    return settings


def is_allowed(origin: str | None, *, host: str = HOST, is_secure: bool = True, **headers: str) -> bool:
    """Return True if a page of this origin may open a socket; None stands for no Origin header."""
    given = {"host": host, **headers, **({} if origin is None else {"origin": origin})}
    return is_allowed_origin(given, is_secure=is_secure)


@pytest.mark.parametrize(
    ("origin", "host", "is_secure"),
    [
        ("https://exports.example", HOST, True),
        ("http://exports.example", HOST, False),
        ("https://exports.example:443", HOST, True),
        ("https://exports.example", "exports.example:443", True),
        ("https://exports.example:8443", "exports.example:8443", True),
        ("http://exports.example:8000", "exports.example:8000", False),
        ("HTTPS://Exports.Example", HOST, True),
        ("https://xn--bcher-kva.example", "xn--bcher-kva.example", True),
        ("https://exports.example.", "exports.example.", True),
        ("http://[::1]:8000", "[::1]:8000", False),
    ],
)
def test_a_page_of_the_sites_own_origin_may_connect(origin: str, host: str, is_secure: bool):
    assert is_allowed(origin, host=host, is_secure=is_secure)


@pytest.mark.parametrize(
    "origin",
    [
        None, "", "null", "https://exports.example:444", "https://exports.example:80", "https://exports.example:0",
        "https://exports.example:x", "https://exports.example:99999", "http://exports.example",
        "wss://exports.example", "file://exports.example", "exports.example", "//exports.example",
        "https://user@exports.example", "https://user:pass@exports.example", "https://exports.example@evil.example",
        "https://exports.example.evil.example", "https://evil-exports.example", "https://sub.exports.example",
        "https://example", "https://exports.example.", "https://exports.example/", "https://exports.example?",
        "https://exports.example#", "https://exports.example\\@evil.example", "https://exports .example",
        "https://exports\t.example", "https://exports.example https://evil.example",
        "https://exports.example, https://evil.example", "https://\u0435xports.example", "https://", "https://[::1",
        "https://%65xports.example", "https://exports.example:", "https://exports.example:0443",
        "https://exports.example:+443", "https://exports.example:443:443", "https://exports.example:443.evil.example",
        "https://exports.example.:443", "https://exports.example..", "https://.exports.example",
        "https://exports.example\x00", "https://exports.example\x00.evil.example", "https://exports.example%00",
        "https://exports.example\n", "https://exports.example;", "https://exports.example,https://evil.example",
        "https://exports\u00ad.example", "https://exports\u3002example", "https://\uff45xports.example",
        "https://[exports.example]", "https://exports.example[::1]", " https://exports.example",
        "https:exports.example", "https:///exports.example", "httpss://exports.example",
        "chrome-extension://exports.example", "NULL", "undefined", "*", "https://*", "https://" + "x" * 10_000,
    ],
)  # fmt: skip
def test_any_other_origin_is_refused(origin: str | None):
    assert not is_allowed(origin)


def test_origins_that_the_site_trusts_with_forms_may_connect(site: LazySettings):
    site.CSRF_TRUSTED_ORIGINS = ["https://other.example"]
    assert is_allowed("https://other.example")
    assert not is_allowed("https://sub.other.example")


def test_an_international_host_is_compared_in_its_ascii_form():
    assert not is_allowed("https://bücher.example", host="xn--bcher-kva.example")


def test_a_host_outside_allowed_hosts_is_refused_even_with_its_own_origin():
    assert not is_allowed("https://evil.example", host="evil.example")
    assert not is_allowed("https://", host="")


def test_without_allowed_hosts_localhost_may_connect_only_with_debug(site: LazySettings):
    site.ALLOWED_HOSTS = []
    assert not is_allowed("http://localhost:8000", host="localhost:8000", is_secure=False)
    site.DEBUG = True
    assert is_allowed("http://localhost:8000", host="localhost:8000", is_secure=False)


def test_a_listed_origin_may_connect_and_similar_ones_may_not(site: LazySettings):
    site.EXPORTS = {**site.EXPORTS, "SOCKET_ALLOWED_ORIGINS": ("https://app.example",)}
    assert is_allowed("https://app.example")
    for origin in ("https://app.example:444", "https://sub.app.example", None):
        assert not is_allowed(origin)


@pytest.mark.parametrize("listed", ["https://app.example", ("",), [""], ("https://app.example", "")])
def test_a_mistake_in_the_list_does_not_allow_a_missing_origin(site: LazySettings, listed: str | list[str]):
    site.EXPORTS = {**site.EXPORTS, "SOCKET_ALLOWED_ORIGINS": listed}
    for origin in (None, "", "https"):
        assert not is_allowed(origin)


def test_the_forwarded_host_is_used_only_if_the_site_trusts_it(site: LazySettings):
    forwarded = {"x-forwarded-host": HOST}
    assert not is_allowed(f"https://{HOST}", host="internal:8000", **forwarded)
    site.USE_X_FORWARDED_HOST = True
    assert is_allowed(f"https://{HOST}", host="internal:8000", **forwarded)


async def is_passed_on(scheme: str, *headers: tuple[str, str]) -> bool:
    """Return True if SameOrigin passes a handshake with these headers on to the application behind it."""
    scopes, sent = [], []
    messages = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}])

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        scopes.append(scope)

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    encoded = [(name.encode(), value.encode()) for name, value in headers]
    scope = {"type": "websocket", "path": "/ws/exports/", "scheme": scheme, "headers": encoded}
    await asyncio.wait_for(SameOrigin(application)(scope, receive, send), 5)
    assert sent == ([] if scopes else ["websocket.close"])
    return bool(scopes)


HOST_HEADER, HTTP, HTTPS = ("host", HOST), ("origin", f"http://{HOST}"), ("origin", f"https://{HOST}")


@through_channels
@pytest.mark.parametrize("more", [("origin", "https://evil.example"), HTTPS, ("origin", ""), ("host", "evil.example")])
async def test_a_repeated_header_is_refused_in_either_order(more: tuple[str, str]):
    assert not await is_passed_on("wss", HOST_HEADER, HTTPS, more)
    assert not await is_passed_on("wss", more, HOST_HEADER, HTTPS)


@through_channels
async def test_a_refusal_logs_both_origins_and_what_to_set(caplog: pytest.LogCaptureFixture):
    assert not await is_passed_on("wss", HOST_HEADER, ("origin", "https://www.exports.example"))
    [line] = [record.getMessage() for record in caplog.records if record.name == "exports.realtime.routing"]
    assert "'https://www.exports.example'" in line
    assert "https://exports.example." in line
    assert "SOCKET_ALLOWED_ORIGINS" in line


def proto(value: str) -> tuple[str, str]:
    """Return the header in which a proxy names the scheme of the page."""
    return ("x-forwarded-proto", value)


@through_channels
@pytest.mark.parametrize(
    ("trusts_proxy", "scheme", "headers", "expected"),
    [
        (False, "wss", [], False),
        (False, "wss", [HTTPS], True),
        (False, "wss", [HTTP], False),
        (False, "ws", [HTTP], True),
        (False, "ws", [HTTPS], False),
        (False, "ws", [HTTPS, proto("https")], False),
        (True, "ws", [HTTPS, proto("https")], True),
        (True, "ws", [HTTPS, proto("https, http")], True),
        (True, "ws", [HTTP, proto("https")], False),
        (True, "wss", [HTTPS, proto("http")], False),
        (True, "wss", [HTTPS], True),
    ],
)
async def test_the_scheme_of_the_origin_is_that_of_the_socket_or_the_trusted_proxy(
    site: LazySettings, trusts_proxy: bool, scheme: str, headers: list[tuple[str, str]], expected: bool
):
    site.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if trusts_proxy else None
    assert await is_passed_on(scheme, HOST_HEADER, *headers) == expected


def cookie_of(request: HttpRequest) -> str | None:
    """A function for EXPORTS["AUTHENTICATE"] that also knows a cookie."""
    return request.COOKIES.get("jwt")


@pytest.mark.parametrize("subprotocols", [[], ["exports", "authorization.Bearer%20guess"]])
def test_a_page_of_another_site_sends_no_cookie_beside_a_guessed_token(site: LazySettings, subprotocols: list[str]):
    site.EXPORTS = {**site.EXPORTS, "AUTHENTICATE": cookie_of}
    headers = [(b"host", HOST.encode()), (b"cookie", b"jwt=of-the-user")]
    scope = {"type": "websocket", "path": "/ws/exports/", "headers": headers, "subprotocols": subprotocols}
    # Without the check of the origin no cookie counts.
    is_checked = not authentication.socket_carries_token(scope)
    assert cookie_of(authentication.request_of(scope)) == ("of-the-user" if is_checked else None)
    assert is_checked == (not subprotocols)
