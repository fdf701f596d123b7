"""The demo's secrets, made up once and kept in one file that only its owner may read: var/demo.json."""

import json
import os
import secrets
from pathlib import Path
from typing import Any

USERNAMES = ("ada", "grace", "staff")


def ensure(path: Path) -> dict[str, Any]:
    """What the file says, written first if it is not there: {"secret_key": ..., "passwords": {username: password}}."""
    if path.exists():
        return json.loads(path.read_text())
    made_up = {
        "secret_key": secrets.token_urlsafe(48),
        "passwords": {username: secrets.token_urlsafe(9) for username in USERNAMES},
    }
    store(path, made_up)
    return made_up


def store(path: Path, credentials: dict[str, Any]) -> None:
    # Written aside and renamed: a reader never sees half a file, and a lost key would log everybody out.
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(credentials, file, indent=2)
    draft.replace(path)
