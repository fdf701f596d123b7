"""Tickets, public links and tokens: which texts verify, which do not, and how keys are rotated."""

import base64
import itertools
import random
import string
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core import signing
from django.test import Client

from exports.contrib.bgfiles import toolbox
from exports.models import FileRequest
from exports.signing import PUBLIC_SALT, TICKET_SALT, InvalidLink, PublicLink, Ticket
from tests.office import rows
from tests.office.browsers import mutated, signed_in

MANY, FEW, THROUGH_THE_VIEW = 100_000, 2_000, 150
URL_SAFE = string.ascii_letters + string.digits + "-_:"
ALPHABET = URL_SAFE + ".=%+/ \0é"
LATER = 2_000_000_000

Link = Ticket | PublicLink
Kind = tuple[Callable[[], str], Callable[[str], Any], type[Exception]]


def new_ticket() -> Ticket:
    return Ticket(uuid4(), 3, "42", LATER)


def new_link() -> PublicLink:
    return PublicLink(uuid4(), 3, LATER)


def new_token() -> str:
    return toolbox.get_default_signer().dump({"id": str(uuid4()), "requester": 42})


KINDS: dict[str, Kind] = {
    "ticket": (lambda: new_ticket().sign(), Ticket.read, InvalidLink),
    "public link": (lambda: new_link().sign(), PublicLink.read, InvalidLink),
    "token": (new_token, lambda text: toolbox.get_default_signer().load(text), signing.BadSignature),
}

each_link = pytest.mark.parametrize("link", [new_ticket(), new_link()], ids=["ticket", "public link"])
each_kind = pytest.mark.parametrize("kind", KINDS)


def with_keys(settings: LazySettings, *keys: str) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "TICKET_KEYS": list(keys) or None}


def refuses(link: Link, text: str) -> bool:
    with pytest.raises(InvalidLink):
        type(link).read(text)
    return True


# Signing and keys


@each_link
def test_a_signed_link_reads_back_and_fits_into_a_path(link: Link):
    assert type(link).read(link.sign()) == link
    assert set(link.sign()) <= set(URL_SAFE)
    # A public link stays the same text, a ticket contains the time.
    assert isinstance(link, Ticket) or link.sign() == link.sign()


@each_link
def test_the_first_key_signs_and_the_others_verify_until_removed(link: Link, settings: LazySettings):
    with_keys(settings, "old")
    text = link.sign()
    with_keys(settings, "new", "old")
    newer = link.sign()
    assert type(link).read(text) == type(link).read(newer) == link
    with_keys(settings, "new")
    assert type(link).read(newer) == link
    assert refuses(link, text)


def test_secret_key_signs_by_default_until_ticket_keys_are_set(settings: LazySettings):
    ticket, settings.SECRET_KEY = new_ticket(), "retired"
    text = ticket.sign()
    assert Ticket.read(text) == ticket
    with_keys(settings, "own")
    assert refuses(ticket, text)
    with_keys(settings)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "current", ["retired"]
    assert refuses(ticket, text)


def test_a_key_given_as_a_string_is_one_key(settings: LazySettings):
    ticket = new_ticket()
    settings.EXPORTS = {**settings.EXPORTS, "TICKET_KEYS": "secret"}
    text = ticket.sign()
    assert Ticket.read(text) == ticket
    with_keys(settings, *"secret")
    assert refuses(ticket, text)


# Texts that are refused


@pytest.mark.parametrize("text", ["", ":", "::", ":::", "a:b:c", "\0", "é" * 500, "%00", "x" * 100_000, "=" * 7])
@each_link
def test_garbage_is_an_invalid_link(link: Link, text: str):
    assert refuses(link, text)


@pytest.mark.parametrize("payload", [None, 7, "text", [], ["x"], [1, 2, 3, 4], ["x" * 32, 1, "1", 1], {"a": 1}])
def test_a_signed_value_of_another_shape_is_refused(payload: object):
    key = django_settings.SECRET_KEY
    assert refuses(new_ticket(), signing.TimestampSigner(key=key, salt=TICKET_SALT).sign_object(payload))
    assert refuses(new_link(), signing.Signer(key=key, salt=PUBLIC_SALT).sign_object(payload))


def seeded() -> random.Random:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    return random.Random(seed)


def systematic(text: str) -> Iterator[str]:
    """Flip each bit, cut at each place, swap neighbours, add at both ends, permute the parts."""
    for at, letter in enumerate(text):
        yield from (text[:at] + chr(ord(letter) ^ 1 << bit) + text[at + 1 :] for bit in range(7))
        yield from (text[:at], text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + letter + text[at:])
        yield text[:at] + text[at + 1 : at + 2] + letter + text[at + 2 :]
    yield from (text + end for end in (*"=:.-_ A\0\n\t", "==", "%3D", "%00", ":" + text, text))
    yield from (start + text for start in (*"=:.-_ A\0\n\t", "%20", ":"))
    yield from (text.upper(), text.lower(), text.swapcase(), text[::-1], text.replace("-", "+").replace("_", "/") + "=")
    for count in (1, 2, None):
        yield from (":".join(order) for order in itertools.permutations(text.split(":"), count))


def same_bytes(text: str) -> Iterator[str]:
    """Signatures that decode to the same bytes: two bits of the last letter of the Base64 are not used."""
    head, signature = text[:-1], text.rpartition(":")[2]
    for letter in string.ascii_letters + string.digits + "-_":
        other = signature[:-1] + letter
        if other != signature and base64.urlsafe_b64decode(other + "=") == base64.urlsafe_b64decode(signature + "="):
            yield head + letter


def other_times(text: str) -> Iterator[str]:
    """Move the time of the signature, where it has one."""
    content, *timestamp, signature = text.split(":")
    for seconds in (0, 1, -1, 60, -60, 10**6, 10**12, -(10**9)):
        yield ":".join([content, signing.b62_encode(int(time.time()) + seconds), signature])
    yield ":".join([content, *timestamp, *timestamp, signature])


def forged(kind: str, text: str) -> set[str]:
    """Sign the same content with other keys, salts and algorithms."""
    own_key = django_settings.SECRET_KEY
    own_salt = {"ticket": TICKET_SALT, "public link": PUBLIC_SALT, "token": "bgfiles"}[kind]
    keys = (own_key, "0", "x", "None", f"{own_key} ")
    salts = (TICKET_SALT, PUBLIC_SALT, "bgfiles", "django.core.signing", "", "exports")
    makers = (signing.Signer, signing.TimestampSigner)
    return {
        maker(key=key, salt=salt, algorithm=algorithm).sign(text.split(":")[0])
        for key, salt, algorithm, maker in itertools.product(keys, salts, ("sha256", "sha1", "md5", "sha512"), makers)
        # Django verifies SHA-1 too where no algorithm is given, as before Django 3.1; tokens do.
        if (key, salt) != (own_key, own_salt) or algorithm not in ("sha256", "sha1")
    }


def variations(text: str, count: int, chance: random.Random) -> set[str]:
    """Return at least `count` texts that are not `text`, the systematic ones among them."""
    found = {*systematic(text), *same_bytes(text), *other_times(text)} - {text}
    while len(found) < count:
        found.update({mutated(text, chance, ALPHABET) for _ in range(count - len(found))} - {text})
    return found


def accepted(kind: str, candidates: set[str]) -> list[str]:
    _make, read, refusal = KINDS[kind]
    taken = []
    for text in candidates:
        with suppress(refusal):
            read(text)
            taken.append(text)
    return taken


@each_kind
def test_none_of_two_thousand_variations_is_accepted(kind: str):
    good = KINDS[kind][0]()
    assert accepted(kind, {good}) == [good]
    assert len(set(same_bytes(good))) == 3
    assert accepted(kind, variations(good, FEW, seeded())) == []


@pytest.mark.slow
@each_kind
def test_none_of_a_hundred_thousand_variations_is_accepted(kind: str):
    chance, make = seeded(), KINDS[kind][0]
    for _ in range(10):
        assert accepted(kind, variations(make(), MANY // 10, chance)) == []


@each_kind
def test_a_signature_with_another_key_salt_or_algorithm_is_refused(kind: str):
    candidates = forged(kind, KINDS[kind][0]())
    assert len(candidates) > 200
    assert accepted(kind, candidates) == []


@pytest.mark.parametrize("kinds", list(itertools.permutations(KINDS, 2)), ids="-".join)
def test_one_kind_of_link_is_not_accepted_as_another(kinds: tuple[str, str]):
    made, read = kinds
    assert accepted(read, {KINDS[made][0]()}) == []


# Through the views


@pytest.mark.parametrize("kind", ["file", "public"])
def test_each_variation_gets_the_same_404_and_leaves_no_trace(owner: User, kind: str):
    export = rows.ready(owner)
    chance, client = seeded(), signed_in(owner)
    good = Ticket(export.pk, export.epoch, str(owner.pk), int(time.time()) + 30).sign()
    if kind == "public":
        good = PublicLink(export.pk, export.epoch, int(time.time()) + 30).sign()
    candidates = [*chance.sample(sorted(variations(good, FEW, chance)), THROUGH_THE_VIEW), *same_bytes(good)]
    # A text with a slash would be another URL.
    answers = {answer(client, f"/exports/{kind}/", text) for text in candidates if text and "/" not in text}
    assert [status for status, _body in answers] == [404]
    assert not rows.downloads().exists()
    assert FileRequest.objects.get(pk=export.pk).seen_at is None


def answer(client: Client, folder: str, text: str) -> tuple[int, bytes]:
    response = client.get(f"{folder}{quote(text, safe='')}/", headers={"accept": "application/json"})
    return response.status_code, response.content
