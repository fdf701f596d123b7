"""Check the folder of unfinished files on this host, and who may enter it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

from django.core import checks
from django.core.checks import CheckMessage

from exports.checks.registration import register
from exports.conf import config
from exports.worker import runner


@register(deploy=True)
def check_work_dir() -> Iterator[CheckMessage]:
    """Report a work folder that another user of this host could create first, write to, or look into."""
    folder = runner.work_root()
    hint = "Set EXPORTS['WORK_DIR'] to a folder that only the workers' user may enter (chmod 700)."
    if belongs_to_others(folder):
        message = f"{folder} is a symbolic link, belongs to another user, or can be written to by others."
        yield checks.Error(message, hint=hint, id="exports.E032")
    elif not config.WORK_DIR and folder.is_relative_to(gettempdir()):
        message = f"Other users of this host can predict the name {folder} and create it first."
        yield checks.Warning(message, hint=hint, id="exports.W040")
    elif is_open_to_others(folder):
        yield checks.Warning(f"Other users of this host can look into {folder}.", hint=hint, id="exports.W041")


def is_open_to_others(folder: Path) -> bool:
    """Return True if users other than the folder's owner and group can enter it and every folder above it.

    A folder that does not exist yet is judged by those above it, which decide once it is created.
    """
    above = [each for each in (folder, *folder.absolute().parents) if each.is_dir()]
    return all(each.stat().st_mode & stat.S_IXOTH for each in above)


def belongs_to_others(folder: Path) -> bool:
    """Return True for a symbolic link, and for a folder of another user or one that others can write to."""
    if folder.is_symlink() or not folder.exists():
        return folder.is_symlink()
    found = folder.stat()
    # Root may run this check for a worker that is another user.
    is_foreign = os.getuid() != 0 and found.st_uid not in (0, os.getuid())
    return is_foreign or bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
