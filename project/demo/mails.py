"""The mails that the demo would send: Django's file backend keeps them in a folder."""

from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import AbstractUser

# What the file backend writes after each mail (Django 5.2 to 6.1).
SEPARATOR = b"-" * 79 + b"\n"
MAX_SHOWN = 20


@dataclass(frozen=True)
class Mail:
    """A mail in the folder; `key` names it in URLs."""

    key: str
    subject: str
    to: str
    sent_at: datetime | None
    text: str
    html: str


def mails_of(user: AbstractUser) -> list[Mail]:
    """Return the newest mails to this user, for staff those to anyone, newest first."""
    if settings.MAILS_DIR is None:
        return []
    found: list[Mail] = []
    # The names begin with the time of the mail.
    for path in sorted(Path(settings.MAILS_DIR).glob("*.log"), reverse=True):
        for number, content in enumerate(path.read_bytes().split(SEPARATOR)):
            mail = _parsed(f"{path.stem}-{number}", content)
            if content.strip() and (user.is_staff or (user.email and mail.to == user.email)):
                found.append(mail)
        if len(found) >= MAX_SHOWN:
            break
    return found[:MAX_SHOWN]


def _parsed(key: str, content: bytes) -> Mail:
    message = message_from_bytes(content, policy=policy.default)
    date = message["Date"]
    return Mail(
        key,
        subject=str(message["Subject"] or ""),
        to=str(message["To"] or ""),
        sent_at=date.datetime if date else None,
        text=_part(message, "plain"),
        html=_part(message, "html"),
    )


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part else ""
