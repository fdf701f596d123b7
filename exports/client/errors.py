"""What the client raises. Each error has the exit code with which `python -m exports.client` ends.

* ClientError
  x RequestRefused     The request is wrong: criteria, format, options, columns, or a reused idempotency key.
  x Denied             The token is not valid, or its user may not have this export; or there is none.
  x Unavailable        A limit is reached, or the site has not answered for longer than the client waits.
  x ExportFailed       The export ended without a file.
  x DamagedFile        The bytes are not those that the export made.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from exports.exit_codes import Exit


class ClientError(Exception):
    """Base of the client's errors. `code` is that of docs/protocol.md, or one of the client itself."""

    exit_code = Exit.FAILED

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class RequestRefused(ClientError):
    """Raised for a request that the site does not understand. `fields` are the errors of each field."""

    exit_code = Exit.USAGE

    def __init__(self, message: str, *, code: str = "", fields: Mapping[str, Sequence[str]] | None = None) -> None:
        named = " ".join(f"{name}: {' '.join(errors)}" for name, errors in (fields or {}).items())
        super().__init__(f"{message} {named}".strip(), code=code)
        self.fields = fields or {}


class Denied(ClientError):
    """Raised if the user of the token may not have this, or if it does not exist: the site does not tell which."""

    exit_code = Exit.DENIED


class Unavailable(ClientError):
    """Raised for a reached limit, and for a site that does not answer. Another attempt may succeed."""

    exit_code = Exit.UNAVAILABLE


class ExportFailed(ClientError):
    """Raised for an export that failed, was cancelled or has expired. `state` is its STATE."""

    # Any: values of JSON.
    def __init__(self, state: Mapping[str, Any]) -> None:
        error = state["error"] or {"code": state["status"], "message": f"The export is {state['status']}."}
        super().__init__(error["message"], code=error["code"])
        self.state = state


class DamagedFile(ClientError):
    """Raised if the SHA-256 or the size of a download is not that of the file. The bytes are deleted."""

    exit_code = Exit.DAMAGED
