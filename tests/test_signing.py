"""Tickets: what verifies, what does not, and how keys change."""

import random
import string
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.core import signing as django_signing

from exports.signing import TICKET_SALT, InvalidLink, PublicLink, Ticket
from tests.office.browsers import mutated

MUTATIONS = 2000
ALPHABET = string.ascii_letters + string.digits + "-_:.=%é\0 "


@pytest.fixture
def ticket() -> Ticket:
    return Ticket(uuid4(), 3, "42", 2_000_000_000)


def with_keys(settings: LazySettings, *keys: str) -> None:
    settings.EXPORTS = {**settings.EXPORTS, "TICKET_KEYS": list(keys) or None}


def test_what_is_signed_reads_back_the_same(ticket: Ticket):
    assert Ticket.read(ticket.sign()) == ticket


def test_a_ticket_fits_into_one_part_of_a_path(ticket: Ticket):
    assert set(ticket.sign()) <= set(string.ascii_letters + string.digits + "-_:")


def test_no_altered_ticket_is_accepted(ticket: Ticket):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance, good = random.Random(seed), ticket.sign()
    altered = {mutated(good, chance, ALPHABET) for _ in range(MUTATIONS)} - {good}
    assert len(altered) > MUTATIONS / 2
    for text in altered:
        with pytest.raises(InvalidLink):
            Ticket.read(text)


@pytest.mark.parametrize("text", ["", ":", "::", ":::", "a:b:c", "\0", "é" * 500, "%00", "x" * 100_000, "=" * 7])
def test_garbage_is_a_bad_ticket_and_nothing_else(text: str):
    with pytest.raises(InvalidLink):
        Ticket.read(text)


def test_another_key_verifies_nothing(ticket: Ticket, settings: LazySettings):
    with_keys(settings, "first")
    text = ticket.sign()
    with_keys(settings, "second")
    with pytest.raises(InvalidLink):
        Ticket.read(text)


def test_an_old_key_verifies_until_it_is_removed(ticket: Ticket, settings: LazySettings):
    with_keys(settings, "old")
    text = ticket.sign()
    with_keys(settings, "new", "old")
    assert Ticket.read(text) == ticket
    assert Ticket.read(ticket.sign()) == ticket
    with_keys(settings, "new")
    assert Ticket.read(ticket.sign()) == ticket
    with pytest.raises(InvalidLink):
        Ticket.read(text)


def test_the_first_key_signs(ticket: Ticket, settings: LazySettings):
    with_keys(settings, "new", "old")
    text = ticket.sign()
    with_keys(settings, "new")
    assert Ticket.read(text) == ticket


def test_without_keys_of_its_own_the_site_key_signs_but_its_fallbacks_do_not_count(
    ticket: Ticket, settings: LazySettings
):
    settings.SECRET_KEY = "retired"
    text = ticket.sign()
    assert Ticket.read(text) == ticket
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "current", ["retired"]
    with pytest.raises(InvalidLink):
        Ticket.read(text)


def test_keys_of_its_own_make_the_site_key_worthless_here(ticket: Ticket, settings: LazySettings):
    text = ticket.sign()
    with_keys(settings, "own")
    with pytest.raises(InvalidLink):
        Ticket.read(text)


def test_one_key_given_as_text_is_one_key_and_not_one_of_its_letters(ticket: Ticket, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "TICKET_KEYS": "secret"}
    text = ticket.sign()
    assert Ticket.read(text) == ticket
    with_keys(settings, *"secret")
    with pytest.raises(InvalidLink):
        Ticket.read(text)


@pytest.mark.parametrize("payload", [None, 7, "text", [], ["x"], [1, 2, 3, 4], ["x" * 32, 1, "1", 1], {"a": 1}])
def test_a_signed_value_that_is_no_ticket_is_refused(payload: object, settings: LazySettings):
    text = django_signing.TimestampSigner(key=settings.SECRET_KEY, salt=TICKET_SALT).sign_object(payload)
    with pytest.raises(InvalidLink):
        Ticket.read(text)


def test_a_signature_of_another_purpose_is_refused(ticket: Ticket, settings: LazySettings):
    payload = [ticket.request_id.hex, ticket.epoch, ticket.user_id, ticket.expires]
    text = django_signing.TimestampSigner(key=settings.SECRET_KEY, salt="something else").sign_object(payload)
    with pytest.raises(InvalidLink):
        Ticket.read(text)


# Links for anyone


@pytest.fixture
def link() -> PublicLink:
    return PublicLink(uuid4(), 3, 2_000_000_000)


def test_a_link_for_anyone_reads_back_the_same_and_is_the_same_text_each_time(link: PublicLink):
    assert PublicLink.read(link.sign()) == link
    assert link.sign() == link.sign()
    assert set(link.sign()) <= set(string.ascii_letters + string.digits + "-_:")


def test_no_altered_link_is_accepted(link: PublicLink):
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    chance, good = random.Random(seed), link.sign()
    for text in {mutated(good, chance, ALPHABET) for _ in range(MUTATIONS)} - {good}:
        with pytest.raises(InvalidLink):
            PublicLink.read(text)


def test_a_ticket_is_no_link_and_a_link_is_no_ticket(ticket: Ticket, link: PublicLink):
    with pytest.raises(InvalidLink):
        PublicLink.read(ticket.sign())
    with pytest.raises(InvalidLink):
        Ticket.read(link.sign())


def test_an_old_key_verifies_a_link_until_it_is_removed(link: PublicLink, settings: LazySettings):
    with_keys(settings, "old")
    text = link.sign()
    with_keys(settings, "new", "old")
    assert PublicLink.read(text) == link
    with_keys(settings, "new")
    with pytest.raises(InvalidLink):
        PublicLink.read(text)
