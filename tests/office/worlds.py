"""For each user of the access table: an owner, an export in every status, and a client."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.contrib.auth.models import User
from django.test import Client

from exports.models import FileRequest, Status, transitions
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


class SharedReport(ReportExport):
    """The report, with public links."""

    public_links = True


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
