"""Which user gets which response from which view for an export in which status: every cell of the table.

A refusal is the same, byte for byte, as the response for an export that does not exist, and changes missing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from urllib.parse import unquote
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.urls import reverse

from exports.models import Feed, FileRequest, Notification
from exports.models.audit import SYSTEM
from exports.models.feed import create_feed
from tests.office import people, rows
from tests.office.browsers import HTML, JSON, signed_in, ticket_for
from tests.office.worlds import (
    CHANGING,
    EVERYBODY,
    HAVING,
    OWN,
    SEEING,
    SIGNED_IN,
    STATUSES,
    TOKENS,
    World,
    open_worlds,
    with_token,
    world_of,
)

# The status codes for a browser and for a program.
SIGN_IN, OK, CHANGED, NOT_FOUND = (302, 401), (200, 200), (303, 200), (404, 404)
FORBIDDEN, TOO_LATE, CREATED = (403, 403), (303, 409), (303, 201)
ACTIVE, WITHOUT_FILE = ("queued", "running"), ("failed", "cancelled", "expired")

Codes = tuple[int, int]
Cells = Mapping[str, Codes]
Response = tuple[int, bytes, list[tuple[str, str]]]
Stored = Mapping[UUID, list[Any]]
Missing = Callable[[str, str, str], Response]


def in_every_status(codes: Codes, **others: Codes) -> dict[str, Codes]:
    return dict.fromkeys(STATUSES, codes) | others


def in_these(statuses: tuple[str, ...], codes: Codes, otherwise: Codes) -> dict[str, Codes]:
    return in_every_status(otherwise) | dict.fromkeys(statuses, codes)


@dataclass(frozen=True)
class View:
    """`allowed` has the codes by status for each user; all others are refused."""

    method: str
    allowed: Mapping[str, Cells]
    is_public: bool = False
    posted: Mapping[str, str] = field(default_factory=dict)


def for_all(people: set[str], cells: Cells, **others: Cells) -> dict[str, Cells]:
    return dict.fromkeys(people, cells) | {name.replace("_", " "): given for name, given in others.items()}


POSTED = {"month": "4", "format": "csv"}
CANCELS = in_these(ACTIVE, CHANGED, TOO_LATE)
ENDS_LINKS = in_these(("ready",), CHANGED, TOO_LATE)
RETRIES = in_these(WITHOUT_FILE, CREATED, (409, 409))
RETRIES_REFUSED = in_these(WITHOUT_FILE, FORBIDDEN, (409, 409))
RENEWS = in_these(("ready",), CREATED, (409, 409))
RENEWS_REFUSED = in_these(("ready",), FORBIDDEN, (409, 409))
GETS_TICKET = in_every_status((302, 302))
SEES_NO_FILE = in_every_status((302, 302), ready=NOT_FOUND)
GETS_FILE = in_these(("ready",), OK, NOT_FOUND)
SHARES = in_these(("ready",), CHANGED, TOO_LATE)

VIEWS: dict[str, View] = {
    "list": View("get", for_all(SIGNED_IN, in_every_status(OK))),
    "form": View("get", for_all(SIGNED_IN, in_every_status(OK), refused_owner=in_every_status(FORBIDDEN))),
    "ask": View(
        "post",
        for_all(SIGNED_IN, in_every_status((303, 202)), refused_owner=in_every_status(FORBIDDEN)),
        posted={**POSTED, "month": "5"},
    ),
    "detail": View("get", for_all(SEEING, in_every_status(OK, expired=(410, 410)))),
    "page": View("get", for_all(SEEING, in_every_status(OK))),
    "cancel": View("post", for_all(CHANGING, CANCELS)),
    "expire": View("post", for_all(CHANGING, ENDS_LINKS)),
    "revoke": View("post", for_all(CHANGING, ENDS_LINKS)),
    "seen": View("post", for_all(SEEING, in_every_status(CHANGED))),
    "retry": View(
        "post", for_all(SEEING, in_every_status(FORBIDDEN), owner=RETRIES, refused_owner=RETRIES_REFUSED), posted=POSTED
    ),
    "retry fresh": View(
        "post",
        for_all(SEEING, in_every_status(FORBIDDEN), owner=RENEWS, refused_owner=RENEWS_REFUSED),
        posted={**POSTED, "fresh": "1"},
    ),
    "share": View("post", for_all(CHANGING, in_every_status(FORBIDDEN), owner=SHARES, steward=SHARES)),
    "ticket": View("get", for_all(SEEING, SEES_NO_FILE) | for_all(HAVING, GETS_TICKET)),
    "file": View("get", for_all(HAVING, GETS_FILE)),
    "file of the owner's ticket": View("get", {"owner": GETS_FILE}),
    "public": View(
        "get",
        for_all({*EVERYBODY}, GETS_FILE, refused_owner=in_every_status(NOT_FOUND))
        | {"deactivated owner": in_every_status(NOT_FOUND)},
        is_public=True,
    ),
}
JSON_ONLY = ("detail",)
# These show no export, so its status does not matter.
ABOUT_NO_EXPORT = ("list", "form", "ask")
CELLS = [
    (view, name, status)
    for view in VIEWS
    for name in EVERYBODY
    for status in (STATUSES if view not in ABOUT_NO_EXPORT else ("ready",))
]


@pytest.fixture(scope="module")
def worlds(django_db_setup: None, django_db_blocker: Any) -> Iterator[dict[str, World]]:
    """The exports and the client of every user, made once; each test is rolled back."""
    with django_db_blocker.unblock(), open_worlds(), transaction.atomic():
        made = {name: world_of(name) for name in EVERYBODY}
        yield made | {name: with_token(made[given.owner], given) for name, given in TOKENS.items()}
        transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def db(worlds: dict[str, World]) -> Iterator[None]:
    """Roll back each test. pytest-django's fixture would make the worlds again for each."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def url_for(view: str, world: World, request: FileRequest, link: str) -> str:
    name = view.split()[0]
    if name == "list":
        return reverse("exports:list")
    if name in ("form", "ask"):
        return reverse("exports:form", args=["report"])
    if name == "public":
        return reverse("exports:public", args=[link])
    if name == "file":
        return ticket_for(request, world.owner if "owner" in view else world.someone or world.owner)
    return reverse(f"exports:{'download' if name == 'ticket' else name}", args=[request.pk])


def missing_url(view: str) -> tuple[str, str]:
    """Return the URL of the view for an export that does not exist, and the part of it that names the export."""
    if view.startswith(("file", "public")):
        return reverse(f"exports:{view.split()[0]}", args=["nonsense"]), "nonsense"
    missing = uuid4()
    name = "download" if view == "ticket" else view.split()[0]
    return reverse(f"exports:{name}", args=[missing]), str(missing)


def send(world: World, view: str, url: str, headers: dict[str, str]) -> HttpResponse:
    method = VIEWS[view].method
    posted = VIEWS[view].posted if method == "post" else None
    response = getattr(world.client, method)(url, posted, headers=headers)
    response.getvalue()
    return response


@pytest.fixture(scope="module")
def before(worlds: dict[str, World]) -> Stored:
    """What is stored about every export before the tests."""
    return {request.pk: stored(request) for world in worlds.values() for request in world.requests.values()}


@pytest.fixture(scope="module")
def missing(worlds: dict[str, World]) -> Missing:
    """Return the response to a user for an export that does not exist."""

    @cache
    def answered(name: str, view: str, accept: str) -> Response:
        url, echoed = missing_url(view)
        return comparable(send(worlds[name], view, url, HTML if accept == "html" else JSON), echoed)

    return answered


def stored(request: FileRequest) -> list[Any]:
    """Return what a refusal must not change: the export, and the numbers of all rows."""
    counts = [FileRequest.objects.count(), Notification.objects.count(), rows.downloads().count()]
    return [*counts, FileRequest.objects.filter(pk=request.pk).values().get()]


def comparable(response: HttpResponse, echoed: str) -> Response:
    """Return a response without its time and without the id in the URL to return to after signing in."""
    headers = [(name, unquote(value).replace(echoed, "ID")) for name, value in response.items() if name != "Expires"]
    return response.status_code, response.content, sorted(headers)


def speaks_json(view: str, accept: str) -> bool:
    return accept == "json" or view in JSON_ONLY


def refusal_of(view: str, name: str, accept: str) -> int:
    needs_signing_in = name not in SIGNED_IN and not VIEWS[view].is_public
    return (SIGN_IN if needs_signing_in else NOT_FOUND)[speaks_json(view, accept)]


def expected_of(view: str, name: str, status: str, accept: str) -> int:
    cells = VIEWS[view].allowed.get(name)
    return cells[status][accept == "json"] if cells else refusal_of(view, name, accept)


@pytest.mark.parametrize("accept", ["html", "json"])
@pytest.mark.parametrize(("view", "name", "status"), CELLS)
def test_each_view_answers_as_the_table_says(
    worlds: dict[str, World], before: Stored, missing: Missing, view: str, name: str, status: str, accept: str
) -> None:
    world, headers = worlds[name], HTML if accept == "html" else JSON
    request, link, expected = world.requests[status], world.links[status], expected_of(view, name, status, accept)
    is_refusal = expected in (401, 404) or (name not in SIGNED_IN and expected == 302)
    url = url_for(view, world, request, link)
    response = send(world, view, url, headers)
    assert response.status_code == expected
    if is_refusal or expected in (403, 409):
        assert stored(request) == before[request.pk]
    if is_refusal and view not in ABOUT_NO_EXPORT:
        told = url.rstrip("/").rpartition("/")[2] if view.startswith(("file", "public")) else str(request.pk)
        assert comparable(response, told) == missing(name, view, accept)
    if expected == 404 and not speaks_json(view, accept):
        assert str(request.pk).encode() not in response.content


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", sorted(SEEING))
def test_only_users_who_may_have_the_file_see_its_urls(worlds: dict[str, World], name: str, status: str) -> None:
    state = worlds[name].client.get(reverse("exports:detail", args=[worlds[name].requests[status].pk])).json()
    is_shown = status == "ready" and name in HAVING
    assert (state["urls"]["ticket"] is not None, state["urls"]["download"] is not None) == (is_shown, is_shown)
    if name == "refused owner" and status == "ready":
        assert (state["error"]["code"], state["file"]) == ("permission_lost", None)
    else:
        assert (state["error"] is not None, state["file"] is not None) == (status == "failed", status == "ready")


# Programs with API tokens

CHANGES = ("ask", "cancel", "expire", "revoke", "seen", "retry", "retry fresh", "share")


def expected_of_token(view: str, name: str, status: str) -> int:
    given = TOKENS[name]
    like = given.like or given.owner
    if "other type" in name and view in ("form", "ask"):
        return 404
    expected = expected_of(view, like, status, "json")
    if not given.scope.get("can_create") and view in CHANGES and expected not in (401, 404):
        return 403
    # Without a file a program gets the state, and no page.
    return 409 if (view, expected) == ("ticket", 302) and status != "ready" else expected


@pytest.mark.parametrize("name", TOKENS)
@pytest.mark.parametrize("view", VIEWS)
def test_each_view_answers_a_token_as_its_scope_says(
    worlds: dict[str, World], before: Stored, missing: Missing, view: str, name: str
) -> None:
    for status in STATUSES if view not in ABOUT_NO_EXPORT else ("ready",):
        world, expected = worlds[name], expected_of_token(view, name, status)
        request, link = world.requests[status], world.links[status]
        url = url_for(view, world, request, link)
        with transaction.atomic():
            response = send(world, view, url, HTML)
            assert response.status_code == expected, status
            if expected in (401, 403, 404, 409):
                assert stored(request) == before[request.pk]
            if expected in (401, 404) and view not in ABOUT_NO_EXPORT:
                told = url.rstrip("/").rpartition("/")[2] if view.startswith(("file", "public")) else str(request.pk)
                assert comparable(response, told) == missing(name, view, "html")
            transaction.set_rollback(True)


def test_a_token_lists_the_exports_of_its_types_only(worlds: dict[str, World]) -> None:
    listed = {name: worlds[name].client.get(reverse("exports:list")).json().get("exports") for name in TOKENS}
    own = {each for each in TOKENS if TOKENS[each].owner in OWN and not TOKENS[each].like}
    assert {name: len(found) for name, found in listed.items() if found is not None} == {
        name: len(STATUSES) if name in own else 0 for name in TOKENS if TOKENS[name].like != "anonymous"
    }


# Beside the table


@pytest.mark.parametrize("headers", [JSON, HTML], ids=["json", "html"])
def test_every_invalid_ticket_gets_the_same_response(worlds: dict[str, World], headers: dict[str, str]) -> None:
    owner, stranger = worlds["owner"].owner, worlds["stranger"].someone
    ready, expired = worlds["owner"].requests["ready"], worlds["owner"].requests["expired"]
    urls = [
        "/exports/file/nonsense/",
        ticket_for(ready, owner),
        ticket_for(ready, stranger),
        ticket_for(expired, stranger),
        ticket_for(FileRequest(pk=uuid4()), stranger),
        ticket_for(ready, stranger, seconds=-5),
    ]
    answers = [worlds["stranger"].client.get(url, headers=headers) for url in urls]
    assert {str((each.content, sorted(each.items()))) for each in answers} == {
        str((answers[0].content, sorted(answers[0].items())))
    }
    assert {each.status_code for each in answers} == {404}


def test_an_export_without_an_owner_is_visible_to_staff_only(worlds: dict[str, World]) -> None:
    url = reverse("exports:detail", args=[rows.ready(None).pk])
    codes = {name: worlds[name].client.get(url).status_code for name in ("anonymous", "owner", "bare staff", "viewer")}
    assert codes == {"anonymous": 401, "owner": 404, "bare staff": 404, "viewer": 200}


def test_permissions_to_change_and_download_need_the_one_to_view(worlds: dict[str, World]) -> None:
    ready, half = worlds["owner"].requests["ready"], people.staff("half", people.CHANGE, people.ANY)
    world = replace(worlds["owner"], client=signed_in(half))
    for view in VIEWS.keys() - {*ABOUT_NO_EXPORT, "file", "file of the owner's ticket", "public"}:
        assert send(world, view, url_for(view, world, ready, ""), JSON).status_code == 404
    assert world.client.get(ticket_for(ready, half)).status_code == 404


# Feeds

FEED_CODES = in_every_status((503, 503), ready=OK)
OWN_TOKENS = ("creating token", "token of this type", "reading token", "refused owner's token")
ENDS_FEED = {"owner": 204, "refused owner": 204, **dict.fromkeys(OWN_TOKENS, 403)}


def feed_of(world: World, status: str) -> tuple[Feed, str]:
    """Make a feed of the world's owner whose newest run is in this status; return it and its URL."""
    chosen = {"name": "Month end", "file_type": "report", "criteria": "month=4", "format": "csv"}
    feed, token = create_feed(world.owner, SYSTEM, export=world.requests[status], **chosen)
    return feed, reverse("exports:feed", args=[f"{token}.csv"])


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", EVERYBODY)
def test_a_feed_asks_for_the_permission_of_its_owner_whoever_reads_it(
    worlds: dict[str, World], settings: Any, name: str, status: str
) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "FEED_WAIT_SECONDS": 0}
    _feed, url = feed_of(worlds[name], status)
    response = worlds[name].client.get(url)
    is_refused = name in ("refused owner", "deactivated owner")
    assert response.status_code == (404 if is_refused else FEED_CODES[status][0])
    body, missing = response.getvalue(), worlds[name].client.get("/exports/feed/nonsense.csv")
    if is_refused:
        assert (body, sorted(response.items())) == (missing.content, sorted(missing.items()))


@pytest.mark.parametrize("name", [*EVERYBODY, *TOKENS])
def test_only_its_owner_lists_and_ends_a_feed(worlds: dict[str, World], name: str) -> None:
    client, (feed, _url) = worlds[name].client, feed_of(worlds[name], "ready")
    listed = client.get(reverse("exports:feeds", args=["report"]), headers=JSON)
    assert ("Month end" in listed.content.decode()) == (ENDS_FEED.get(name) == 204)
    url = reverse("exports:revoke_feed", args=[feed.pk])
    response, missing = (client.post(each, headers=JSON) for each in (url, url.replace(str(feed.pk), "987654")))
    assert response.status_code == ENDS_FEED.get(name, missing.status_code)
    if name not in ENDS_FEED:
        assert response.status_code in (401, 404)
        assert comparable(response, url) == comparable(missing, url)
    feed.refresh_from_db()
    assert (feed.revoked_at is None) == (ENDS_FEED.get(name) != 204)


# The admin

LISTS = ("filerequest", "notification", "auditentry")
IN_ADMIN = SEEING - OWN


def admin_refusal(name: str) -> int:
    return 403 if name == "bare staff" else 302


@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("model", LISTS)
def test_admin_lists_are_for_staff_with_the_permission(worlds: dict[str, World], name: str, model: str) -> None:
    response = worlds[name].client.get(reverse(f"admin:exports_{model}_changelist"))
    assert response.status_code == (
        (200 if model == "filerequest" else 403) if name in IN_ADMIN else admin_refusal(name)
    )


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", EVERYBODY)
def test_the_admin_shows_exports_to_staff_who_may_view_them(worlds: dict[str, World], name: str, status: str) -> None:
    browser, pk = worlds[name].client, worlds[name].requests[status].pk
    response = browser.get(reverse("admin:exports_filerequest_change", args=[pk]))
    assert response.status_code == (200 if name in IN_ADMIN else admin_refusal(name))
    if name not in IN_ADMIN:
        other = browser.get(reverse("admin:exports_filerequest_change", args=[(missing := uuid4())]))
        assert comparable(response, str(pk)) == comparable(other, str(missing))


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", EVERYBODY)
@pytest.mark.parametrize("action", ["cancel_requests", "expire_files"])
def test_admin_actions_are_for_staff_who_may_change_exports(
    worlds: dict[str, World], action: str, name: str, status: str
) -> None:
    client, request = worlds[name].client, worlds[name].requests[status]
    client.post(
        reverse("admin:exports_filerequest_changelist"), {"action": action, "_selected_action": [str(request.pk)]}
    )
    is_possible = status in (ACTIVE if action == "cancel_requests" else ("ready",))
    is_changed = FileRequest.objects.get(pk=request.pk).status != status
    assert is_changed == (is_possible and name in ("changer", "steward"))


@pytest.mark.parametrize("method", ["add", "delete", "history"])
@pytest.mark.parametrize("name", EVERYBODY)
def test_no_staff_can_add_or_delete_in_the_admin(worlds: dict[str, World], name: str, method: str) -> None:
    arguments = [] if method == "add" else [worlds[name].requests["ready"].pk]
    url = reverse(f"admin:exports_filerequest_{method}", args=arguments)
    expected = 200 if method == "history" else 403
    assert worlds[name].client.get(url).status_code == (expected if name in IN_ADMIN else admin_refusal(name))
