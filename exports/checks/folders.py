"""Check the folder of unfinished files on this host, and who may enter it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from django.core import checks
from django.core.checks import CheckMessage

from exports.checks.registration import register
from exports.conf import config
from exports.worker import work_dir


@register(deploy=True)
def check_work_dir() -> Iterator[CheckMessage]:
    """Report a work folder in which no worker runs, and one that another user of this host could create first."""
    folder = work_dir.root()
    hint = "Set EXPORTS['WORK_DIR'] to a folder that only the workers' user may enter (chmod 700)."
    # Root may run this check for a worker that is another user.
    owner = work_dir.user_id() or None
    flaw = work_dir.flaw_of(folder, owner=owner) if os.path.lexists(folder) else None
    if flaw is not None:
        yield checks.Error(f"{folder} {flaw}: no worker runs there.", hint=hint, id="exports.E032")
    elif not config.WORK_DIR and work_dir.user_id() is not None:
        message = f"Other users of this host can predict the name {folder} and keep workers from running there."
        yield checks.Warning(message, hint=hint, id="exports.W040")


def is_open_to_others(folder: Path) -> bool:
    """Return True if users other than the folder's owner and group can enter it and every folder above it.

    A folder that does not exist yet is judged by those above it, which decide once it is created.
    """
    if work_dir.user_id() is None:
        return False  # The modes of Windows say nothing about users.
    above = [each for each in (folder, *folder.absolute().parents) if each.is_dir()]
    return all(each.stat().st_mode & stat.S_IXOTH for each in above)
