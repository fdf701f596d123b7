"""Signed download links, and signed messages in Redis.

A link's signature alone grants nothing: the row decides, when the link is used, whether it still counts. Links are
signed with EXPORTS["TICKET_KEYS"], messages with EXPORTS["QUEUE_KEYS"]: lists with the newest key first, or SECRET_KEY.
The first key signs, all of them verify.
"""

import hashlib
import hmac
import logging
import re
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from django.core import signing

from exports.conf import secret_keys

TICKET_SALT = "exports.ticket"
PUBLIC_SALT = "exports.public"
# What unpacking and converting a payload of another shape raises.
MALFORMED = (signing.BadSignature, ValueError, TypeError, AttributeError, UnicodeError)


SIGNED = re.compile(r"[\w.=-]+(?::|%3A)(?:[0-9A-Za-z]{6}(?::|%3A))?[\w-]{43}\b|\bfeed_[\w-]{43}")
"""Text signed by Django, and the tokens of feeds: they open a file for anyone who has them. Logs must not show it."""


class WithoutLinks(logging.Filter):
    """Replaces signed text and the tokens of feeds in a record by "(signed)"."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(SIGNED.sub("(signed)", arg) if isinstance(arg, str) else arg for arg in record.args)
        record.msg = SIGNED.sub("(signed)", record.msg) if isinstance(record.msg, str) else record.msg
        return True


class InvalidLink(Exception):
    """Raised for text that is not a link signed by this site."""


class BadMessage(ValueError):
    """A message that this site did not sign, or not for this purpose."""


def seal(body: bytes, purpose: str) -> bytes:
    """Return a message with its signature, which is only valid for this purpose."""
    return _mac(secret_keys("QUEUE_KEYS")[0], body, purpose) + b"." + body


def unseal(data: bytes, purpose: str) -> bytes:
    """Return the body of a message that is signed with any of the keys. Raise BadMessage for anything else."""
    signature, _, body = data.partition(b".")
    if not any(hmac.compare_digest(signature, _mac(key, body, purpose)) for key in secret_keys("QUEUE_KEYS")):
        raise BadMessage("A message is not signed with EXPORTS['QUEUE_KEYS']; it was dropped.")
    return body


@dataclass(frozen=True)
class Ticket:
    """A short-lived link for one user.

    It contains the epoch of the row, so revoking, expiring or replacing the file ends all its tickets. `expires` is in
    seconds since 1970. Until then a bearer ticket counts without signing in: it was given to a request with a token,
    whose page cannot open a link with that token. One that was given to an API token of this app ends with it.
    """

    request_id: UUID
    epoch: int
    user_id: str
    expires: int
    is_bearer: bool = False
    token_id: int | None = None

    def sign(self) -> str:
        bearer = [True, self.token_id] if self.is_bearer else []
        payload = [self.request_id.hex, self.epoch, self.user_id, self.expires, *bearer]
        return _signer(signing.TimestampSigner, TICKET_SALT).sign_object(payload)

    @classmethod
    def read(cls, text: str) -> Self:
        """Verify the signature and return the ticket, which may have expired. Raise InvalidLink for anything else."""
        try:
            payload = _signer(signing.TimestampSigner, TICKET_SALT).unsign_object(text)
            request_id, epoch, user_id, expires, *bearer = payload
            is_bearer, token_id = bearer or (False, None)
            return cls(UUID(hex=request_id), int(epoch), str(user_id), int(expires), is_bearer is True, token_id)
        except MALFORMED as error:
            raise InvalidLink("This link is not one of ours.") from error


@dataclass(frozen=True)
class PublicLink:
    """A link for anyone who has it, valid while `until` (seconds since 1970) equals the row's `public_until`.

    Revoking, expiring or replacing the file ends it, and so does a newer public link, which has another `until`.
    """

    request_id: UUID
    epoch: int
    until: int

    def sign(self) -> str:
        """Return the signed text. It has no timestamp, so a page can show the same text again."""
        return _signer(signing.Signer, PUBLIC_SALT).sign_object([self.request_id.hex, self.epoch, self.until])

    @classmethod
    def read(cls, text: str) -> Self:
        """Verify the signature and return the link, which may have ended. Raise InvalidLink for anything else."""
        try:
            request_id, epoch, until = _signer(signing.Signer, PUBLIC_SALT).unsign_object(text)
            return cls(UUID(hex=request_id), int(epoch), int(until))
        except MALFORMED as error:
            raise InvalidLink("This link is not one of ours.") from error


def _signer(signer_class: type[signing.Signer], salt: str) -> signing.Signer:
    key, *others = secret_keys("TICKET_KEYS")
    return signer_class(key=key, salt=salt, fallback_keys=[*others])


def _mac(key: str, body: bytes, purpose: str) -> bytes:
    derived = hashlib.sha256(purpose.encode() + b"\0" + key.encode()).digest()
    return hmac.new(derived, body, hashlib.sha256).hexdigest().encode()
