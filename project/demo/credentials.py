"""The demo's secrets: generated once and stored in var/demo.json, which only its owner can read."""

import json
import os
import secrets
from pathlib import Path
from typing import NotRequired, TypedDict

USERNAMES = ("ada", "grace", "staff")


class Credentials(TypedDict):
    """`passwords` and `stored` are by username; `stored` has the hashes in the database."""

    secret_key: str
    passwords: dict[str, str]
    stored: NotRequired[dict[str, str]]


def ensure(path: Path) -> Credentials:
    """Return the credentials in this file, which is written if it is missing."""
    if path.exists():
        credentials: Credentials = json.loads(path.read_text())
        return credentials
    generated: Credentials = {
        "secret_key": secrets.token_urlsafe(48),
        "passwords": {username: secrets.token_urlsafe(9) for username in USERNAMES},
    }
    store(path, generated)
    return generated


def store(path: Path, credentials: Credentials) -> None:
    """Write the credentials to this file."""
    # Renamed into place: a reader never sees half a file, and losing the key would log out all users.
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(credentials, file, indent=2)
    draft.replace(path)
