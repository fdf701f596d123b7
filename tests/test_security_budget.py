"""What an anonymous request costs: docs/security.md has the budget of each endpoint, and real servers keep it."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from exports import urls
from exports.models import FileRequest
from exports.signing import PublicLink, Ticket
from tests.office import rows
from tests.office.browsers import JSON, signed_in, url_of
from tests.office.processes import Daphne, Uvicorn
from tests.office.worlds import open_worlds
from tests.servers import Valkey
from tests.test_asgi_limits import MOST_BYTES, MOST_SECONDS, answer, memory_of, seconds_of

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = (DOCS / "security.md").read_text()
BUDGET = {
    name: int(queries) for name, queries in re.findall(r"^\| `([a-z_ ]+)` \|[^|]*\| (\d+) \|", TEXT, re.MULTILINE)
}
# What an attacker chooses: a session that does not exist, and a CSRF token, which makes Django read the form.
COOKIES = {"sessionid": "x" * 32, "csrftoken": "t" * 32}
TIMES = 20


def addresses(export: FileRequest) -> dict[str, str]:
    """Return the address of each endpoint, with a genuine id or link of this export."""
    shared = signed_in(export.requester).post(url_of("share", export), headers=JSON).json()["public_link"]
    arguments = {
        "file_type": "report",
        "ticket": Ticket(export.pk, export.epoch, str(export.requester_id), 2_000_000_000).sign(),
        "link": shared.rstrip("/").rpartition("/")[2],
        "pk": str(export.pk),
        "address": f"feed_{'x' * 43}.csv",
    }
    found = {
        pattern.name: "/exports/"
        + re.sub(r"<(int)?\w*:(\w+)>", lambda match: "1" if match[1] else arguments[match[2]], str(pattern.pattern))
        for pattern in urls.urlpatterns
    }
    forged = PublicLink(uuid4(), 1, 2_000_000_000).sign()
    return found | {
        "public forged": f"/exports/public/{forged}x/",
        "login": "/accounts/login/",
        "not found": "/nowhere/",
    }


@pytest.fixture
def export(owner: User) -> Iterator[FileRequest]:
    with open_worlds():
        yield rows.ready(owner)


@pytest.mark.django_db
def test_each_endpoint_has_a_budget_of_queries_and_keeps_it(export: FileRequest):
    found = addresses(export)
    assert BUDGET.keys() == found.keys() | {"socket"}
    for name, address in found.items():
        for method in ("get", "head", "post", "options"):
            client = Client(enforce_csrf_checks=True)
            client.cookies.load(COOKIES)
            with CaptureQueriesContext(connection) as queries:
                getattr(client, method)(address).getvalue()
            assert len(queries) <= BUDGET[name], (name, method, queries.captured_queries)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", [Daphne, Uvicorn])
def test_no_anonymous_request_costs_the_process_much(kind: type[Daphne], export: FileRequest, valkey: Valkey):
    cookies = "; ".join(f"{name}={value}" for name, value in COOKIES.items())
    handshake = (
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Origin: http://localhost\r\n"
    )
    requests = {"socket": f"GET /ws/exports/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n{handshake}"}
    for name, address in addresses(export).items():
        for method in ("GET", "POST"):
            lines = f"{method} {address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n"
            requests[f"{method} {name}"] = lines
    with kind(CHANNEL_LAYERS=django_settings.CHANNEL_LAYERS) as server:
        for each in requests.values():
            answer(server, f"{each}Cookie: {cookies}\r\n\r\n".encode())
        memory = memory_of(server)
        for name, each in requests.items():
            before = seconds_of(server)
            for _ in range(TIMES):
                assert answer(server, f"{each}Cookie: {cookies}\r\n\r\n".encode()), name
            assert (seconds_of(server) - before) / TIMES < MOST_SECONDS, name
        assert memory_of(server) - memory < MOST_BYTES


# The table of the standard

# How many requirements each section of ASVS 5.0.0 has.
SECTIONS = {
    1: [2, 10, 12, 3, 3], 2: [3, 3, 5, 2], 3: [1, 3, 5, 8, 8, 1, 5], 4: [5, 5, 2, 4], 5: [1, 6, 3, 3],
    6: [3, 12, 8, 6, 8, 4, 2, 4], 7: [3, 4, 2, 5, 3, 2], 8: [4, 4, 3, 2], 9: [3, 4], 10: [2, 3, 5, 16, 5, 2, 3],
    11: [4, 5, 5, 4, 2, 2, 2], 12: [5, 2, 5], 13: [4, 6, 4, 7], 14: [2, 8, 3], 15: [5, 5, 7, 4], 16: [1, 5, 4, 3, 4],
    17: [2, 8, 2],
}  # fmt: skip
REQUIREMENTS = [
    f"{chapter}.{section}.{number}"
    for chapter, sizes in SECTIONS.items()
    for section, size in enumerate(sizes, start=1)
    for number in range(1, size + 1)
]


def test_the_table_of_the_standard_has_each_requirement_once_and_names_tests_that_exist():
    text = (DOCS / "asvs.md").read_text()
    listed = []
    for cell in re.findall(r"^\| ([\d., -]+) \| (?:met|site|n/a|open) \|", text, re.MULTILINE):
        for part in cell.split(", "):
            first, _, last = part.partition("-")
            listed += REQUIREMENTS[REQUIREMENTS.index(first) : REQUIREMENTS.index(last or first) + 1]
    assert sorted(listed) == sorted(REQUIREMENTS)
    assert len(REQUIREMENTS) == 345
    assert all((DOCS.parent / "tests" / name).exists() for name in re.findall(r"`(test_\w+\.py)`", text))
