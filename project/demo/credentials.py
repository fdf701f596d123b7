"""The demo's secrets: generated once and stored in var/demo.json, which only its owner can read."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

USERNAMES = ("ada", "grace", "staff")


def ensure(path: Path) -> dict[str, Any]:
    """Return {"secret_key": ..., "passwords": {username: password}} from the file, which is written if missing."""
    if path.exists():
        return json.loads(path.read_text())
    generated = {
        "secret_key": secrets.token_urlsafe(48),
        "passwords": {username: secrets.token_urlsafe(9) for username in USERNAMES},
    }
    store(path, generated)
    return generated


def store(path: Path, credentials: dict[str, Any]) -> None:
    # Renamed into place: a reader never sees half a file, and losing the key would log out all users.
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(credentials, file, indent=2)
    draft.replace(path)
