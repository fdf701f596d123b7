"""The folder of unfinished files: private, or no worker runs in it; what is published is what was hashed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from exports import storage
from exports.exceptions import UnsafeWorkDir
from exports.models import Status
from exports.worker import work_dir
from exports.worker.runner import Run
from tests.shop.requests import queued
from tests.shop.runs import Events, configure, run_now, write

pytestmark = pytest.mark.django_db


@pytest.fixture
def given(tmp_path: Path, settings: LazySettings) -> Path:
    """The path that WORK_DIR names; nothing is there yet."""
    configure(settings, WORK_DIR=str(tmp_path / "work"))
    return tmp_path / "work"


def link(path: Path) -> None:
    path.with_name("elsewhere").mkdir(mode=0o700)
    path.symlink_to(path.with_name("elsewhere"))


def folder_below_one_that_all_may_change(path: Path) -> None:
    path.mkdir(mode=0o700)
    path.parent.chmod(0o777)


def folder_of_another_user(path: Path) -> None:
    path.mkdir(mode=0o700)
    if os.geteuid() != 0:
        pytest.skip("Only root can give a folder away.")
    os.chown(path, 12345, 12345)


UNSAFE: dict[str, Callable[[Path], Any]] = {
    "link": link,
    "file": lambda path: path.touch(mode=0o600),
    "open to all": lambda path: path.mkdir(mode=0o755),
    "open to the group": lambda path: path.mkdir(mode=0o750),
    "of another user": folder_of_another_user,
    "below a folder that all may change": folder_below_one_that_all_may_change,
}


@pytest.mark.parametrize("make", UNSAFE.values(), ids=UNSAFE)
def test_no_worker_runs_in_a_folder_that_is_not_private(given: Path, make: Callable[[Path], Any]):
    make(given)
    export = queued()
    for command in (("work", "small"), ("process",)):
        with pytest.raises(
            CommandError, match="Set EXPORTS\\['WORK_DIR'\\] to a folder of the workers' user, mode 700"
        ):
            call_command("exports", *command)
    export.refresh_from_db()
    assert (export.status, export.attempts) == (Status.QUEUED, 0)


def test_a_missing_folder_is_created_private(given: Path):
    assert work_dir.ensure_private() == given
    assert given.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_was_opened_to_others_meanwhile_ends_the_run(given: Path, events: Events):
    given.mkdir(mode=0o755)
    export, _ = run_now(write(b"abc"), events)
    assert (export.status, export.error_code) == (Status.QUEUED, "unavailable")
    with pytest.raises(UnsafeWorkDir):
        work_dir.ensure_private()


def link_to_a_secret(run: Run) -> Any:
    secret = run.work_dir / "secret"
    secret.write_bytes(b"secret")
    run.path.symlink_to(secret)
    return write(b"")


def pipe(run: Run) -> Any:
    os.mkfifo(run.path)


@pytest.mark.parametrize("make", [link_to_a_secret, pipe])
def test_what_is_no_file_is_not_published(make: Callable[[Run], Any], events: Events, folder: Path):
    def produce(run: Run) -> Any:
        result = write(b"abc")(run)
        run.path.unlink()
        make(run)
        return result

    export, _ = run_now(produce, events)
    assert (export.status, export.error_code) == (Status.FAILED, "no_file")
    assert not [each for each in folder.rglob("*") if each.is_file()]


def test_a_file_that_is_written_to_while_it_is_stored_is_not_published(
    events: Events, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    put = storage.put

    def put_and_write(path: Path, key: str, **options: Any) -> None:
        put(path, key, **options)
        with (folder / key).open("ab") as stored:
            stored.write(b"more")

    monkeypatch.setattr(storage, "put", put_and_write)
    export, _ = run_now(write(b"abc"), events)
    assert (export.status, export.error_code) == (Status.QUEUED, "storage_failed")
