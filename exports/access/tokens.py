"""The API tokens of this app: made, found by the header of a request, and revoked.

A token is "exp_" and 256 random bits. The database has their SHA-256, by which the token is found: whoever reads the
table cannot use it, and the time of a look-up tells nothing about the digests, since no client can choose one. So many
bits cannot be guessed at any rate, so attempts are not counted; a wrong token costs one look-up in a unique index.
"""

import hashlib
import logging
import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from exports.conf import config
from exports.models.audit import Actor, AuditEntry, record
from exports.models.request import AnyUser
from exports.models.token import AccessToken
from exports.realtime import events

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger("exports.access")

PREFIX = "exp_"
SECRET_BYTES = 32
SHOWN = 10
"""How many characters of a token lists and logs show."""

HEADER = re.compile(rf"bearer +({PREFIX}\S*)\s*", re.IGNORECASE)


@sensitive_variables("text")
def create(
    owner: AnyUser,
    name: str,
    actor: Actor,
    *,
    can_create: bool = False,
    exporters: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> tuple[AccessToken, str]:
    """Make a token for this user, with an entry in the audit log. Return it and its text, which is stored nowhere.

    It expires at the latest when EXPORTS["ACCESS_TOKEN_MAX_AGE_SECONDS"] have passed.
    """
    if config.ACCESS_TOKEN_MAX_AGE_SECONDS is not None:
        latest = timezone.now() + timedelta(seconds=config.ACCESS_TOKEN_MAX_AGE_SECONDS)
        expires_at = min(expires_at or latest, latest)
    text = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    with transaction.atomic():
        token = AccessToken.objects.create(
            owner=cast("User", owner),
            name=name,
            digest=_digest(text),
            prefix=text[:SHOWN],
            can_create=can_create,
            exporters=list(exporters),
            expires_at=expires_at,
        )
        record(AuditEntry.Verb.TOKEN, None, actor, reason=f"created: {token}")
    return token, text


def revoke(token: AccessToken, actor: Actor) -> bool:
    """End a token and its sockets now, with an entry in the audit log. Return False if it was revoked before."""
    with transaction.atomic():
        now = timezone.now()
        if not AccessToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now):
            return False
        token.revoked_at = now
        record(AuditEntry.Verb.TOKEN, None, actor, reason=f"revoked: {token}")
        transaction.on_commit(lambda: events.recheck_sockets(token.owner_id), robust=True)
    return True


def is_carried_by(request: HttpRequest) -> bool:
    """Return True if the request carries a token of this app, valid or not."""
    return _text_of(request) is not None


@sensitive_variables("text")
def token_of(request: HttpRequest) -> AccessToken | None:
    """Return the valid token of this app that the request carries, with its owner, and note that it was used."""
    text = _text_of(request)
    if text is None:
        return None
    token = AccessToken.objects.of_tenant().valid().filter(digest=_digest(text)).first()
    if token is None:
        log.info("a token was refused that is unknown, revoked, expired or of a user who is not active")
        return None
    token.mark_used(timezone.now())
    return token


@sensitive_variables("found")
def _text_of(request: HttpRequest) -> str | None:
    found = HEADER.fullmatch(request.META.get("HTTP_AUTHORIZATION", "")) if config.ACCESS_TOKENS else None
    return found and found[1]


@sensitive_variables("text")
def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
