"""What a client may send, and why the server closes a socket. docs/protocol.md describes both."""

import json
from enum import IntEnum
from typing import Any
from uuid import UUID

from exports.conf import config

RESUME_BYTES_PER_EXPORT = 64
MOST_KNOWN = 50
"""How many exports a client may say that it knows: docs/protocol.md, and frontend/shared-socket.js."""
# A code of the registry of RFC 6455.
TRY_AGAIN_LATER = 1013


class CloseCode(IntEnum):
    """Why the server closed a socket; docs/protocol.md says what a client does then."""

    MALFORMED = 4400
    LOGGED_OUT = 4401
    NOT_FOUND = 4404
    SILENT = 4408
    TOO_FAST = 4429
    TOO_MANY = 4430


class SocketRefused(Exception):
    """The user may not listen to this socket, or not any more."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def parse_frame(text: str | None) -> dict[str, Any] | None:
    """Return a client's frame, or None if it is too long or docs/protocol.md does not define it."""
    most_known = max(MOST_KNOWN, config.SNAPSHOT_MAX_EXPORTS)
    most_bytes = config.SOCKET_MAX_FRAME_BYTES + RESUME_BYTES_PER_EXPORT * most_known
    if text is None or len(text.encode()) > most_bytes:
        return None
    try:
        frame = json.loads(text)
        if frame["type"] == "resume":
            known = {UUID(export_id): seq for export_id, seq in frame["known"].items()}
            is_valid = all(type(seq) is int for seq in known.values()) and isinstance(frame["epoch"], str | None)
            return {"type": "resume", "known": known, "epoch": frame["epoch"]} if is_valid else None
        if len(text.encode()) > config.SOCKET_MAX_FRAME_BYTES:
            return None
        if frame["type"] == "seen":
            return {"type": "seen", "id": UUID(frame["id"])}
        if frame["type"] == "authenticate" and isinstance(frame["token"], str):
            return {"type": "authenticate", "token": frame["token"]}
        return {"type": "ping"} if frame["type"] == "ping" else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
