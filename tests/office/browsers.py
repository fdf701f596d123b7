"""Test clients, URLs and tickets."""

import random
import time
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from exports.models import FileRequest
from exports.signing import Ticket

JSON = {"accept": "application/json"}
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def signed_in(someone: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(someone)
    return client


def second_window(client: Client) -> Client:
    """Return a client with the same session, which keeps its cookie when the first one signs out."""
    copy = Client()
    copy.cookies[settings.SESSION_COOKIE_NAME] = client.cookies[settings.SESSION_COOKIE_NAME].value
    return copy


def url_of(name: str, request: FileRequest) -> str:
    return reverse(f"exports:{name}", args=[request.pk])


def ticket_for(request: FileRequest, user: User, *, seconds: float = 30, epoch: int | None = None) -> str:
    """Return the URL of the file with a ticket that is valid for this many seconds."""
    expires = int(time.time() + seconds)
    ticket = Ticket(request.pk, request.epoch if epoch is None else epoch, str(user.pk), expires)
    return reverse("exports:file", args=[ticket.sign()])


def status_of(client: Client, address: str, **options: Any) -> int:
    """Return the status of a GET after reading its body to the end, which closes the file."""
    response = client.get(address, **options)
    response.getvalue()
    return response.status_code


def mutated(text: str, chance: random.Random, alphabet: str) -> str:
    """Return the text with one to three characters replaced, removed, doubled, swapped or cut off."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(max(1, len(text)))
        text = chance.choice(
            [
                text[:at] + chance.choice(alphabet) + text[at + 1 :],
                text[:at] + text[at + 1 :],
                text[:at] + text[at : at + 1] * 2 + text[at + 1 :],
                text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :],
                text[: at + 1],
                text[:at] + text[at:].swapcase(),
            ]
        )
    return text
