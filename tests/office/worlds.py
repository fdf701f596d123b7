"""For each person of the access table a world of their own: an owner, a request in every status, and a browser."""

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
    """The report of the office, with links for anyone."""

    public_links = True


@dataclass(frozen=True)
class World:
    """What one person finds when they come: `client` is signed in as them, as far as they ever were."""

    owner: User
    someone: User | None
    client: Client
    requests: dict[str, FileRequest]
    links: dict[str, str]
    """The link for anyone that each request had, or would have."""


@contextmanager
def open_worlds() -> Iterator[None]:
    """Inside, the report is one that may be shared."""
    with open_office(), registered(SharedReport):
        yield


def world_of(name: str) -> World:
    owner = people.user(f"the one of {name}")
    requests = {str(status): make(owner) for status, make in rows.IN_STATUS.items()}
    links = {status: shared(request) for status, request in requests.items()}
    return entered(owner, name, {status: rows.fresh(request) for status, request in requests.items()}, links)


def shared(request: FileRequest) -> str:
    """The link for anyone: made where there is a file; else what would be one if only the signature counted."""
    if request.status == Status.READY:
        assert transitions.share(request, seconds=SHARED_SECONDS)
    until = rows.fresh(request).public_until or request.requested_at
    return PublicLink(request.pk, request.epoch, int(until.timestamp())).sign()


def entered(owner: User, name: str, requests: dict[str, FileRequest], links: dict[str, str]) -> World:
    """The world of somebody who signed in before anything happened to them."""
    client, make = Client(), people.PEOPLE[name]
    if name == "deactivated owner":
        client.force_login(owner)
        return World(owner, make(owner), client, requests, links)
    someone = make(owner)
    if someone is not None:
        client.force_login(someone)
    return World(owner, someone, client, requests, links)
