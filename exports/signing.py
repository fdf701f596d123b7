"""Tickets: signed, short-lived links to one file, for one user. The row has the last word on whether one is good.

The keys are EXPORTS["TICKET_KEYS"], newest first, or SECRET_KEY; the first one signs, all of them verify.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from django.conf import settings
from django.core import signing

from exports.conf import config

SALT = "exports.ticket"


class BadTicket(Exception):
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
        key, *others = _keys()
        return signing.TimestampSigner(key=key, salt=SALT, fallback_keys=others).sign_object(payload)

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises BadTicket for whatever was not signed here, or is not a ticket."""
        key, *others = _keys()
        try:
            payload = signing.TimestampSigner(key=key, salt=SALT, fallback_keys=others).unsign_object(text)
            request_id, epoch, user_id, expires = payload
            return cls(UUID(hex=request_id), int(epoch), str(user_id), int(expires))
        except (signing.BadSignature, ValueError, TypeError, AttributeError, UnicodeError) as error:
            raise BadTicket("This link is not one of ours.") from error


def _keys() -> Sequence[str]:
    given = config.TICKET_KEYS or settings.SECRET_KEY
    # One key given as text must not be taken for a list of keys of one letter each.
    return [given] if isinstance(given, str) else given
