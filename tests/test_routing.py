"""Who may knock at the WebSocket door: the Origin rules."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from exports.realtime.routing import SameOrigin, is_allowed_origin, websocket_application
from tests.office.pages import Page

HOST = "exports.example"

# At every message channels closes what connections to the database are too old.
through_channels = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def site(settings: LazySettings) -> Iterator[LazySettings]:
    settings.ALLOWED_HOSTS = [HOST, "xn--bcher-kva.example", "[::1]"]
    return settings


def admits(origin: str | None, *, host: str = HOST, is_secure: bool = True, **headers: str) -> bool:
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
def test_a_page_of_this_very_origin_may_connect(origin: str, host: str, is_secure: bool):
    assert admits(origin, host=host, is_secure=is_secure)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "https://exports.example:444",
        "https://exports.example:80",
        "https://exports.example:0",
        "https://exports.example:x",
        "https://exports.example:99999",
        "http://exports.example",
        "wss://exports.example",
        "file://exports.example",
        "exports.example",
        "//exports.example",
        "https://user@exports.example",
        "https://user:pass@exports.example",
        "https://exports.example@evil.example",
        "https://exports.example.evil.example",
        "https://evil-exports.example",
        "https://sub.exports.example",
        "https://example",
        "https://exports.example.",
        "https://exports.example/",
        "https://exports.example?",
        "https://exports.example#",
        "https://exports.example\\@evil.example",
        "https://exports .example",
        "https://exports\t.example",
        "https://exports.example https://evil.example",
        "https://exports.example, https://evil.example",
        "https://\u0435xports.example",
        "https://",
        "https://[::1",
        "https://%65xports.example",
        "https://exports.example:",
        "https://exports.example:0443",
        "https://exports.example:+443",
        "https://exports.example:443:443",
        "https://exports.example:443.evil.example",
        "https://exports.example.:443",
        "https://exports.example..",
        "https://.exports.example",
        "https://exports.example\x00",
        "https://exports.example\x00.evil.example",
        "https://exports.example%00",
        "https://exports.example\n",
        "https://exports.example;",
        "https://exports.example,https://evil.example",
        "https://exports\u00ad.example",
        "https://exports\u3002example",
        "https://\uff45xports.example",
        "https://[exports.example]",
        "https://exports.example[::1]",
        " https://exports.example",
        "https:exports.example",
        "https:///exports.example",
        "httpss://exports.example",
        "chrome-extension://exports.example",
        "NULL",
        "undefined",
        "*",
        "https://*",
        "https://" + "x" * 10_000,
    ],
)
def test_any_other_origin_is_refused(origin: str | None):
    assert not admits(origin)


def test_an_international_name_counts_in_its_ascii_form_only():
    assert not admits("https://bücher.example", host="xn--bcher-kva.example")


def test_a_host_that_django_would_not_serve_is_refused_even_when_its_origin_matches():
    assert not admits("https://evil.example", host="evil.example")
    assert not admits("https://", host="")


def test_without_allowed_hosts_only_a_debug_site_admits_this_machine(site: LazySettings):
    site.ALLOWED_HOSTS = []
    assert not admits("http://localhost:8000", host="localhost:8000", is_secure=False)
    site.DEBUG = True
    assert admits("http://localhost:8000", host="localhost:8000", is_secure=False)


def test_another_origin_may_be_listed_exactly(site: LazySettings):
    site.EXPORTS = {**site.EXPORTS, "SOCKET_ALLOWED_ORIGINS": ("https://app.example",)}
    assert admits("https://app.example")
    assert not admits("https://app.example:444")
    assert not admits("https://sub.app.example")
    assert not admits(None)


def test_a_list_that_is_one_string_by_mistake_admits_nobody_without_origin(site: LazySettings):
    site.EXPORTS = {**site.EXPORTS, "SOCKET_ALLOWED_ORIGINS": "https://app.example"}
    assert not admits(None)
    assert not admits("https")


def test_the_forwarded_host_counts_where_the_site_trusts_it(site: LazySettings):
    forwarded = {"x-forwarded-host": HOST}
    assert not admits(f"https://{HOST}", host="internal:8000", **forwarded)
    site.USE_X_FORWARDED_HOST = True
    assert admits(f"https://{HOST}", host="internal:8000", **forwarded)


@pytest.mark.parametrize("listed", [("",), [""], ("https://app.example", "")])
def test_an_empty_entry_of_the_list_does_not_admit_who_names_no_origin(site: LazySettings, listed: list[str]):
    site.EXPORTS = {**site.EXPORTS, "SOCKET_ALLOWED_ORIGINS": listed}
    assert not admits(None)
    assert not admits("")


class Reached:
    """Stands behind the door and notes who came through."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.count += 1


async def knock(scope: dict[str, Any]) -> bool:
    """Whether this handshake gets past the Origin rules."""
    behind, sent = Reached(), []
    messages = iter([{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}])

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    await asyncio.wait_for(SameOrigin(behind)({"type": "websocket", **scope}, receive, send), 5)
    assert sent == ([] if behind.count else ["websocket.close"])
    return behind.count == 1


def scope_of(scheme: str, **headers: str) -> dict[str, Any]:
    named = {"host": HOST, **headers}
    encoded = [(name.replace("_", "-").encode(), value.encode("latin1")) for name, value in named.items()]
    return {"scheme": scheme, "headers": encoded}


@through_channels
@pytest.mark.parametrize(
    "more",
    [("origin", "https://evil.example"), ("origin", f"https://{HOST}"), ("origin", ""), ("host", "evil.example")],
)
async def test_a_header_that_is_there_twice_is_refused_whichever_comes_first(more: tuple[str, str]):
    scope = scope_of("wss", origin=f"https://{HOST}")
    other = tuple(part.encode() for part in more)
    for headers in ([*scope["headers"], other], [other, *scope["headers"]]):
        assert not await knock({**scope, "headers": headers})


@through_channels
async def test_a_handshake_without_origin_does_not_get_past():
    assert not await knock(scope_of("wss"))
    assert await knock(scope_of("wss", origin=f"https://{HOST}"))


@through_channels
async def test_the_scheme_is_that_of_the_socket():
    assert await knock(scope_of("wss", origin=f"https://{HOST}"))
    assert not await knock(scope_of("wss", origin=f"http://{HOST}"))
    assert await knock(scope_of("ws", origin=f"http://{HOST}"))
    assert not await knock(scope_of("ws", origin=f"https://{HOST}"))


@through_channels
async def test_behind_a_proxy_the_scheme_is_what_its_header_says(site: LazySettings):
    site.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert await knock(scope_of("ws", origin=f"https://{HOST}", x_forwarded_proto="https"))
    assert await knock(scope_of("ws", origin=f"https://{HOST}", x_forwarded_proto="https, http"))
    assert not await knock(scope_of("ws", origin=f"http://{HOST}", x_forwarded_proto="https"))
    assert not await knock(scope_of("wss", origin=f"https://{HOST}", x_forwarded_proto="http"))
    assert await knock(scope_of("wss", origin=f"https://{HOST}"))


@through_channels
async def test_without_the_setting_nobody_believes_the_header():
    assert not await knock(scope_of("ws", origin=f"https://{HOST}", x_forwarded_proto="https"))


@through_channels
async def test_an_unknown_address_is_refused_without_a_traceback():
    headers = [(b"host", HOST.encode()), (b"origin", f"http://{HOST}".encode())]
    socket = Page(websocket_application, "/ws/somewhere/else/", headers=headers)
    assert await socket.connect() == (False, 1000)
