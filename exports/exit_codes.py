"""The exit codes of `manage.py exports run` and `python -m exports.client`. Imports no Django, as the client needs."""

from enum import IntEnum


class Exit(IntEnum):
    """With what a program that makes or fetches a file ends."""

    DONE = 0
    """The file is there."""

    FAILED = 1
    """The export failed, was cancelled or has expired, or the file could not be written."""

    USAGE = 2
    """The request is wrong: the command line, the criteria, a format, an option, or a name that does not exist."""

    DENIED = 3
    """The user may not have this export, or the token is not valid."""

    UNAVAILABLE = 4
    """A limit is reached, or the site does not answer: try again later."""

    DAMAGED = 5
    """The bytes are not those that the export made: their SHA-256 differs."""

    INTERRUPTED = 130
    """Stopped by Ctrl-C, which cancels the export."""
