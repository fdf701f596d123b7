"""The folder of this host for unfinished files. Nothing runs in it unless it is private to the user of this process."""

import io
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from exports.conf import config
from exports.exceptions import NoFile, UnsafeWorkDir

# The first two are missing on Windows, the last one everywhere else.
SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def root() -> Path:
    """Return EXPORTS["WORK_DIR"], or a folder of this user in the system's temporary folder."""
    return Path(config.WORK_DIR or Path(tempfile.gettempdir()) / f"exports-work-{user_id()}")


def user_id() -> int | None:
    """Return the user of this process; None on Windows, where each user has a temporary folder."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def ensure_private() -> Path:
    """Create the root if it is missing, and return it. Raise UnsafeWorkDir if other users may enter or replace it."""
    folder = root()
    # `parents` ignores the mode, so the last folder is private even if those above are not.
    with suppress(FileExistsError):
        folder.mkdir(parents=True, mode=0o700)
    flaw = flaw_of(folder, owner=user_id())
    if flaw is not None:
        raise UnsafeWorkDir(f"{folder} {flaw}. Set EXPORTS['WORK_DIR'] to a folder of the workers' user, mode 700.")
    return folder


def flaw_of(folder: Path, *, owner: int | None) -> str | None:
    """Return why an existing folder is not private to `owner`, or None. Any owner will do if it is None."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return "is not a folder, or a symbolic link to one"
    if user_id() is None:
        return None  # The modes of Windows say nothing about users.
    if owner is not None and found.st_uid != owner:
        return "belongs to another user"
    if found.st_mode & 0o077:
        return "can be entered by other users"
    for above in folder.absolute().parents:
        mode = above.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"can be replaced, because all users may write to {above}"
    return None


def open_finished(path: Path) -> io.BufferedReader:
    """Open the file that an exporter wrote. Raise NoFile if there is none, or something else such as a link."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | SAFELY), "rb")
    except OSError as error:
        raise NoFile("The exporter wrote no file.") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NoFile("The exporter wrote no file, but something else.")
    return file


def state_of(file: io.BufferedReader) -> tuple[int, int, int]:
    """Return what changes when an open file is written to; moving the file changes nothing."""
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns
