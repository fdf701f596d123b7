"""Folders of this host: where files are made and kept, and whether other users of the host get at them."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage
from django.core.files.storage import FileSystemStorage

from exports import storage
from exports.conf import config
from exports.worker import runner


def check_work_dir(**kwargs: Any) -> Iterable[CheckMessage]:
    """Files in the making lie in a folder that nobody else can take first, or look into."""
    folder = runner.work_root()
    hint = "Set EXPORTS['WORK_DIR'] to a folder of the workers' user alone, and chmod 700 it."
    if not config.WORK_DIR and folder.is_relative_to(gettempdir()):
        yield checks.Warning(f"Others can foresee {folder} and take it first.", hint=hint, id="exports.W040")
    elif _is_somebody_elses(folder):
        yield checks.Error(f"{folder} is a link, or belongs to another user.", hint=hint, id="exports.E032")
    elif is_open_to_others(folder):
        yield checks.Warning(f"Other users of this host can look into {folder}.", hint=hint, id="exports.W041")


def check_folder(**kwargs: Any) -> Iterable[CheckMessage]:
    """Finished files in a folder are for the site alone."""
    chosen = storage.exports_storage()
    if isinstance(chosen, FileSystemStorage) and is_open_to_others(Path(chosen.location)):
        hint = "chmod 750 it, or a folder above it: the web server's group may read where it sends the files itself."
        yield checks.Warning(
            f"Other users of this host can read the exports in {chosen.location}.", hint=hint, id="exports.W042"
        )


def is_open_to_others(folder: Path) -> bool:
    """Whether somebody who is neither its user nor of its group gets into a folder, through all that lie above it.

    One that is not there yet is judged by those above it, which decide once it is made.
    """
    above = [each for each in (folder, *folder.absolute().parents) if each.is_dir()]
    return all(each.stat().st_mode & stat.S_IXOTH for each in above)


def _is_somebody_elses(folder: Path) -> bool:
    """Root, who may look at the settings of a worker that is another user, is not told that it is somebody else's."""
    if folder.is_symlink() or not folder.exists() or os.getuid() == 0:
        return folder.is_symlink()
    return folder.stat().st_uid not in (0, os.getuid())
