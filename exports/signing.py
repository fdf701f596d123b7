"""Signed links to one file: tickets, short-lived and for one user, and links for anyone. The row has the last word on
whether one is good.

The keys are EXPORTS["TICKET_KEYS"], newest first, or SECRET_KEY; the first one signs, all of them verify.
"""

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from django.core import signing

from exports.conf import secret_keys

TICKET_SALT = "exports.ticket"
PUBLIC_SALT = "exports.public"


class InvalidLink(Exception):
    """The text is not a ticket that this site signed."""


@dataclass(frozen=True)
class Ticket:
    """`epoch` ties it to one state of the row: revoking, expiring or replacing the file ends every ticket."""

    request_id: UUID
    epoch: int
    user_id: str
    expires: int  # seconds since 1970

    def sign(self) -> str:
        payload = [self.request_id.hex, self.epoch, self.user_id, self.expires]
        key, *others = secret_keys("TICKET_KEYS")
        return signing.TimestampSigner(key=key, salt=TICKET_SALT, fallback_keys=others).sign_object(payload)

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises InvalidLink for whatever was not signed here, or is not a ticket."""
        key, *others = secret_keys("TICKET_KEYS")
        try:
            payload = signing.TimestampSigner(key=key, salt=TICKET_SALT, fallback_keys=others).unsign_object(text)
            request_id, epoch, user_id, expires = payload
            return cls(UUID(hex=request_id), int(epoch), str(user_id), int(expires))
        except (signing.BadSignature, ValueError, TypeError, AttributeError, UnicodeError) as error:
            raise InvalidLink("This link is not one of ours.") from error


@dataclass(frozen=True)
class PublicLink:
    """For anyone who has it, as long as the row says so: revoking, expiring or replacing the file ends it, and so does
    another link, which has another end."""

    request_id: UUID
    epoch: int
    until: int  # seconds since 1970

    def sign(self) -> str:
        """The same text each time, so that the page can show it again."""
        key, *others = secret_keys("TICKET_KEYS")
        payload = [self.request_id.hex, self.epoch, self.until]
        return signing.Signer(key=key, salt=PUBLIC_SALT, fallback_keys=others).sign_object(payload)

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises InvalidLink for whatever was not signed here, or is not a link for anyone."""
        key, *others = secret_keys("TICKET_KEYS")
        try:
            payload = signing.Signer(key=key, salt=PUBLIC_SALT, fallback_keys=others).unsign_object(text)
            request_id, epoch, until = payload
            return cls(UUID(hex=request_id), int(epoch), int(until))
        except (signing.BadSignature, ValueError, TypeError, AttributeError, UnicodeError) as error:
            raise InvalidLink("This link is not one of ours.") from error
