"""A hundred thousand texts that are nearly a link of ours, and none is one.

A signature is compared as text, not as the bytes that it stands for. So the two bits that the last letter of a base64
signature does not need, and the padding that it may have, make another text, and that is refused as well.
"""

import base64
import itertools
import random
import string
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client

from exports.contrib.bgfiles import toolbox
from exports.models import Download, FileRequest
from exports.signing import PUBLIC_SALT, TICKET_SALT, InvalidLink, PublicLink, Ticket
from tests.office import people, rows
from tests.office.browsers import mutated, signed_in

ALL, FEW, THROUGH_THE_DOOR = 100_000, 2_000, 150
ALPHABET = string.ascii_letters + string.digits + "-_:.=%+/ \0é"
LATER = 2_000_000_000


def ticket() -> str:
    return Ticket(uuid4(), 3, "42", LATER).sign()


def public_link() -> str:
    return PublicLink(uuid4(), 3, LATER).sign()


def token() -> str:
    return toolbox.get_default_signer().dump({"id": str(uuid4()), "requester": 42})


KINDS: dict[str, tuple[Callable[[], str], Callable[[str], Any], type[Exception]]] = {
    "ticket": (ticket, Ticket.read, InvalidLink),
    "link for anyone": (public_link, PublicLink.read, InvalidLink),
    "token": (token, lambda text: toolbox.get_default_signer().load(text), signing.BadSignature),
}


def seeded() -> random.Random:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def systematic(text: str) -> Iterator[str]:
    """Every bit of every letter turned, every cut at both ends, each pair of neighbours swapped, and more like it."""
    for at, letter in enumerate(text):
        yield from (text[:at] + chr(ord(letter) ^ 1 << bit) + text[at + 1 :] for bit in range(7))
        yield from (text[:at], text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + letter + text[at:])
        yield text[:at] + text[at + 1 : at + 2] + letter + text[at + 2 :]
    yield from (text + end for end in (*"=:.-_ A\0\n\t", "==", "%3D", "%00", ":" + text, text))
    yield from (start + text for start in (*"=:.-_ A\0\n\t", "%20", ":"))
    yield from (text.upper(), text.lower(), text.swapcase(), text[::-1], text.replace("-", "+").replace("_", "/") + "=")
    for count in (1, 2):
        for order in itertools.permutations(text.split(":"), count):
            yield ":".join(order)
    yield from (":".join(order) for order in itertools.permutations(text.split(":")))


def last_letters(text: str) -> Iterator[str]:
    """Signatures that decode to the very same bytes."""
    head, signature = text[:-1], text.rpartition(":")[2]
    for letter in string.ascii_letters + string.digits + "-_":
        other = signature[:-1] + letter
        if other != signature and base64.urlsafe_b64decode(other + "=") == base64.urlsafe_b64decode(signature + "="):
            yield head + letter


def forged(text: str) -> Iterator[str]:
    """The same content, or another, signed by somebody who does not know the key, or for something else."""
    content = text.split(":")[0]
    for salt in (TICKET_SALT, PUBLIC_SALT, "bgfiles", "django.core.signing", "", "exports"):
        for key in (django_settings.SECRET_KEY, "", "x", "None", django_settings.SECRET_KEY + " "):
            for algorithm in ("sha256", "sha1", "md5", "sha512"):
                for maker in (signing.Signer, signing.TimestampSigner):
                    yield maker(key=key or "0", salt=salt, algorithm=algorithm).sign(content)


def of_another_time(text: str) -> Iterator[str]:
    """With the moment of its signature moved, where it has one."""
    content, *moment, signature = text.split(":")
    for seconds in (0, 1, -1, 60, -60, 10**6, 10**12, -(10**9)):
        yield ":".join([content, signing.b62_encode(int(time.time()) + seconds), signature])
    yield ":".join([content, *moment, *moment, signature])


def texts(text: str, count: int, chance: random.Random) -> set[str]:
    """So many texts that are not `text`, the systematic ones among them."""
    found = {*systematic(text), *last_letters(text), *of_another_time(text)} - {text}
    while len(found) < count:
        found.update({mutated(text, chance, ALPHABET) for _ in range(count - len(found))} - {text})
    return found


def accepted(kind: str, candidates: set[str]) -> list[str]:
    _make, read, refusal = KINDS[kind]
    taken = []
    for text in candidates:
        try:
            read(text)
        except refusal:
            continue
        taken.append(text)
    return taken


@pytest.mark.parametrize("kind", KINDS)
def test_of_two_thousand_mutations_none_is_accepted(kind: str):
    good = KINDS[kind][0]()
    assert accepted(kind, {good}) == [good]
    assert accepted(kind, texts(good, FEW, seeded())) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_of_a_hundred_thousand_mutations_none_is_accepted(kind: str):
    chance, make = seeded(), KINDS[kind][0]
    for _ in range(10):
        candidates = texts(make(), ALL // 10, chance)
        assert len(candidates) >= ALL // 10
        assert accepted(kind, candidates) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_in_other_letters_for_the_same_bytes_is_refused(kind: str):
    candidates = set(last_letters(KINDS[kind][0]()))
    assert len(candidates) == 3
    assert accepted(kind, candidates) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_another_key_salt_or_algorithm_signed_is_refused(kind: str):
    good = KINDS[kind][0]()
    # Tokens are signed as Django signs, under their own salt; SHA-1 is what Django itself used before 3.1.
    candidates = set(forged(good)) - set(own_signatures(kind, good))
    assert len(candidates) > 200
    assert accepted(kind, candidates) == []


def own_signatures(kind: str, text: str) -> Iterator[str]:
    content, key = text.split(":")[0], django_settings.SECRET_KEY
    if kind == "ticket":
        yield signing.TimestampSigner(key=key, salt=TICKET_SALT).sign(content)
    elif kind == "link for anyone":
        yield signing.Signer(key=key, salt=PUBLIC_SALT).sign(content)
    else:
        for algorithm in ("sha256", "sha1"):
            yield signing.TimestampSigner(key=key, salt="bgfiles", algorithm=algorithm).sign(content)


@pytest.mark.parametrize("kinds", list(itertools.permutations(KINDS, 2)), ids="-".join)
def test_one_kind_of_link_is_no_other_kind(kinds: tuple[str, str]):
    made, read = kinds
    assert accepted(read, {KINDS[made][0]()}) == []


# Through the door


@pytest.fixture
def owner(db: None) -> User:
    return people.user("owner")


@pytest.mark.parametrize("kind", ["file", "public"])
def test_through_the_door_every_one_is_the_same_404_and_nothing_is_recorded(owner: User, kind: str):
    request = rows.ready(owner)
    chance, client = seeded(), signed_in(owner)
    good = Ticket(request.pk, request.epoch, str(owner.pk), int(time.time()) + 30).sign()
    if kind == "public":
        good = PublicLink(request.pk, request.epoch, int(time.time()) + 30).sign()
    candidates = [*chance.sample(sorted(texts(good, FEW, chance)), THROUGH_THE_DOOR), *last_letters(good)]
    answers = {answer(client, f"/exports/{kind}/", text) for text in candidates if is_one_part(text)}
    assert len(answers) == 1
    assert answers.pop()[0] == 404
    assert not Download.objects.exists()
    assert FileRequest.objects.get(pk=request.pk).seen_at is None


def answer(client: Client, door: str, text: str) -> tuple[int, bytes]:
    response = client.get(f"{door}{quote(text, safe='')}/", headers={"accept": "application/json"})
    return response.status_code, response.content


def is_one_part(text: str) -> bool:
    """Whether the address is that of the door at all: another number of parts is another address."""
    return bool(text) and "/" not in text
