"""For each user of the access table: an owner, an export in every status, and a client."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from exports.access import tokens
from exports.models import FileRequest, Status, transitions
from exports.models.audit import SYSTEM
from exports.signing import PublicLink
from tests.office import people, rows
from tests.office.exports import ReportExport, open_office
from tests.shop.exports import registered

SHARED_SECONDS = 600

EVERYBODY = tuple(people.PEOPLE)
STATUSES = tuple(Status.values)

OWN = {"owner", "refused owner"}
SIGNED_IN = {*EVERYBODY} - {"anonymous", "deactivated owner"}
SEEING = OWN | {"viewer", "changer", "downloader", "steward"}
CHANGING = OWN | {"changer", "steward"}
HAVING = {"owner", "downloader", "steward"}


@dataclass(frozen=True)
class TokenOf:
    """An API token of a user of the table. Its requests are answered like those of `like`, or of `owner` if empty."""

    owner: str
    scope: Mapping[str, Any]
    like: str = ""
    is_revoked: bool = False


ENDED = timezone.now() - timedelta(seconds=1)

TOKENS = {
    "creating token": TokenOf("owner", {"can_create": True}),
    "token of this type": TokenOf("owner", {"can_create": True, "exporters": ["long", "report"]}),
    "token of another type": TokenOf("owner", {"can_create": True, "exporters": ["long"]}, like="stranger"),
    "reading token": TokenOf("owner", {}),
    "staff's reading token": TokenOf("steward", {}),
    "staff's token of another type": TokenOf("steward", {"exporters": ["long"]}, like="stranger"),
    "stranger's token": TokenOf("stranger", {"can_create": True}),
    "refused owner's token": TokenOf("refused owner", {"can_create": True}),
    "revoked token": TokenOf("owner", {"can_create": True}, like="anonymous", is_revoked=True),
    "expired token": TokenOf("owner", {"expires_at": ENDED}, like="anonymous"),
}


class SharedReport(ReportExport):
    """The report, with public links and feeds."""

    public_links = True
    feeds = True


@dataclass(frozen=True)
class World:
    """What one user finds; `client` is signed in as this user if they could ever sign in."""

    owner: User
    someone: User | None
    client: Client
    requests: dict[str, FileRequest]
    links: dict[str, str]
    """The public link of each export, or what it would be."""


@contextmanager
def open_worlds() -> Iterator[None]:
    """Register the exports of the office, with public links for the report."""
    with open_office(), registered(SharedReport):
        yield


def world_of(name: str) -> World:
    owner = people.user(f"the one of {name}")
    requests = {str(status): make(owner) for status, make in rows.IN_STATUS.items()}
    links = {status: shared(request) for status, request in requests.items()}
    return entered(owner, name, {status: rows.fresh(request) for status, request in requests.items()}, links)


def shared(request: FileRequest) -> str:
    """Share an export with a file, and return its link; for others, return a correctly signed link."""
    if request.status == Status.READY:
        assert transitions.share(request, seconds=SHARED_SECONDS)
    until = rows.fresh(request).public_until or request.requested_at
    return PublicLink(request.pk, request.epoch, int(until.timestamp())).sign()


def entered(owner: User, name: str, requests: dict[str, FileRequest], links: dict[str, str]) -> World:
    """Return the world of a user who signed in before they were deactivated or refused."""
    client, make = Client(), people.PEOPLE[name]
    if name == "deactivated owner":
        client.force_login(owner)
        return World(owner, make(owner), client, requests, links)
    someone = make(owner)
    if someone is not None:
        client.force_login(someone)
    return World(owner, someone, client, requests, links)


def with_token(world: World, given: TokenOf) -> World:
    """Return the world of a user with a program that has this token instead of the user's browser."""
    assert world.someone is not None
    token, text = tokens.create(world.someone, "nightly", SYSTEM, **given.scope)
    if given.is_revoked:
        assert tokens.revoke(token, SYSTEM)
    return replace(world, client=Client(headers={"authorization": f"Bearer {text}"}))
