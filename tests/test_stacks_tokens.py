"""Programs and single-page applications with tokens of Django REST framework, by docs/single-page-applications.md."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import Client
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from exports.models import FileRequest
from exports.worker.loop import WorkerLoop
from tests.office import rows
from tests.office.processes import Daphne
from tests.servers import Valkey, wait_until
from tests.stacks.project import Project, block

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("office")]

PAGE = "single-page-applications"
NEW_TOKEN = """
from django.contrib.auth import get_user_model
from rest_framework.authtoken.models import Token
from rest_framework_simplejwt.tokens import AccessToken
user = get_user_model().objects.get()
print("Token", Token.objects.create(user=user))
print("Bearer", AccessToken.for_user(user))
"""
FORGET_TOKEN = "from rest_framework.authtoken.models import Token; Token.objects.all().delete()"
CSV = "\ufeffName\r\nowner\r\n".encode()
CHOICES = {"month": "4", "format": "csv"}


class ProjectDaphne(Daphne):
    """The web process of a project."""

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project

    def options(self) -> dict[str, object]:
        return {**super().options(), "env": self.project.environment()}


@pytest.fixture
def project(transactional_db: None, valkey: Valkey, settings: LazySettings, tmp_path: Path) -> Iterator[Project]:
    settings.EXPORTS = {**settings.EXPORTS, "SOCKET_RECHECK_SECONDS": 0.4, "TICKET_MAX_AGE_SECONDS": 4}
    key = f"SIMPLE_JWT = {{'SIGNING_KEY': {'k' * 32!r}}}\n"
    project = Project(tmp_path, block(PAGE, "settings for tokens") + key)
    project.manage("migrate", "authtoken", "--verbosity=0")
    yield project
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE authtoken_token")
        cursor.execute("DELETE FROM django_migrations WHERE app = 'authtoken'")


@pytest.fixture
def authorizations(project: Project, owner: User) -> list[str]:
    """Return the headers of a token in the database and of a JSON Web Token."""
    return project.manage("shell", "--no-imports", "-c", NEW_TOKEN).splitlines()


@contextmanager
def a_worker() -> Iterator[None]:
    """Make the first export that is requested."""

    def work() -> None:
        wait_until(lambda: WorkerLoop("small").run_due())
        connections.close_all()

    thread = Thread(target=work)
    thread.start()
    yield
    thread.join()


def offered(authorization: str) -> list[str]:
    return ["exports", f"authorization.{quote(authorization, safe='')}"]


@pytest.mark.shows("Django REST framework, JWT, single-page applications")
def test_programs_ask_follow_and_download_with_tokens(project: Project, authorizations: list[str], owner: User):
    exec(block(PAGE, "a client"), client := {})
    with ProjectDaphne(project) as site:
        for authorization in authorizations:
            with a_worker():
                name, content = client["export"](f"http://{site.host}", authorization, "report", CHOICES)
            assert (name[-4:], content) == (".csv", CSV)
            FileRequest.objects.all().delete()

        token, jwt = authorizations
        export = rows.ready(owner)
        address = f"http://{site.host}/exports/{export.pk}/"
        ticket = httpx.get(address, headers={"Authorization": jwt}).json()["urls"]["ticket"]
        assert httpx.get(f"http://{site.host}{ticket}").content == rows.CONTENT
        saved = httpx.get(f"{address}download/", headers={"Authorization": jwt}, follow_redirects=True)
        assert saved.content == rows.CONTENT

        origin: Any = "https://app.example"
        with connect(f"ws://{site.host}/ws/exports/", subprotocols=offered(token), origin=origin) as socket:
            assert socket.subprotocol == "exports"
            project.manage("shell", "--no-imports", "-c", FORGET_TOKEN)
            with pytest.raises(ConnectionClosedError):
                list(socket)
            assert socket.close_code == 4401
        with pytest.raises(InvalidStatus):
            connect(f"ws://{site.host}/ws/exports/", subprotocols=offered(token))
        revoked = httpx.get(address, headers={"Authorization": token})
        assert (revoked.status_code, revoked.headers["WWW-Authenticate"]) == (401, "Bearer")

        wait_until(lambda: httpx.get(f"http://{site.host}{ticket}").status_code == 302)


# The rules, in one process


KNOWN = {"Bearer good": "owner", "Basic b3duZXI6": "owner", "": None}


def by_header(request: Any) -> User | None:
    """Stand for a project's own function: it knows the headers of KNOWN, and the cookie `jwt`."""
    name = KNOWN.get(request.headers.get("Authorization", "")) or request.COOKIES.get("jwt")
    return User.objects.filter(username=name).first()


@pytest.fixture
def by_token(settings: LazySettings) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "AUTHENTICATE": f"{__name__}.by_header"}


def status_of_post(client: Client, **headers: str) -> int:
    return client.post("/exports/new/report/", CHOICES, headers=headers).status_code


@pytest.mark.usefixtures("by_token")
@pytest.mark.parametrize(
    ("headers", "cookies", "expected"),
    [
        ({"authorization": "Bearer good"}, {}, 202),
        ({"authorization": "Bearer bad"}, {}, 401),
        ({"authorization": "Bearer"}, {}, 403),
        ({"authorization": "Bearer bad"}, {"session": "owner"}, 401),
        ({"authorization": "Bearer good"}, {"session": "owner"}, 202),
        ({"authorization": "Basic b3duZXI6"}, {}, 403),
        ({"authorization": "Basic b3duZXI6"}, {"session": "owner"}, 403),
        ({}, {"jwt": "owner"}, 403),
        ({}, {"session": "owner"}, 403),
        ({}, {}, 403),
    ],
)
def test_only_a_token_needs_no_check_against_forged_requests(
    owner: User, headers: dict[str, str], cookies: dict[str, str], expected: int
):
    client = Client(enforce_csrf_checks=True)
    if cookies.pop("session", None):
        client.force_login(owner)
    client.cookies.load(cookies)
    assert status_of_post(client, **headers) == expected


def test_without_the_setting_a_token_changes_nothing(owner: User):
    client = Client(enforce_csrf_checks=True)
    assert status_of_post(client, authorization="Bearer good") == 403
    client.force_login(owner)
    assert status_of_post(client, authorization="Bearer good") == 403


@pytest.mark.usefixtures("by_token")
def test_a_deactivated_user_has_no_token_and_no_download_link(owner: User):
    export = rows.ready(owner)
    header = {"authorization": "Bearer good"}
    ticket = Client().get(f"/exports/{export.pk}/", headers=header).json()["urls"]["ticket"]
    assert Client().get(ticket).getvalue() == rows.CONTENT
    User.objects.update(is_active=False)
    assert Client().get(ticket).status_code == 404
    assert Client().get(f"/exports/{export.pk}/", headers=header).status_code == 401


@pytest.mark.usefixtures("by_token")
def test_a_link_of_a_session_needs_the_session_and_a_link_of_a_token_ends_with_the_file(browser: Client, owner: User):
    export = rows.ready(owner)
    ticket = browser.get(f"/exports/{export.pk}/").json()["urls"]["ticket"]
    assert Client().get(ticket).status_code == 302
    header = {"authorization": "Bearer good"}
    bearer = Client().get(f"/exports/{export.pk}/", headers=header).json()["urls"]["ticket"]
    assert Client().post(f"/exports/{export.pk}/revoke/", headers=header).status_code == 200
    assert Client().get(bearer).status_code == 404


@pytest.mark.usefixtures("by_token")
def test_a_program_that_downloads_too_early_gets_the_state_and_no_page(owner: User):
    export = rows.queued(owner)
    answer = Client().get(f"/exports/{export.pk}/download/", headers={"authorization": "Bearer good"})
    assert (answer.status_code, answer.json()["status"]) == (409, "queued")
