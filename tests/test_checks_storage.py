"""System checks of the storage and of the folders."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.checks import Warning
from django.core.files.storage import FileSystemStorage

from exports.checks.folders import is_open_to_others
from tests.test_checks import FOLDER, S3, basic_checks, change, ids, store_in, use_safe_settings


@pytest.fixture(autouse=True)
def safe(settings: LazySettings, tmp_path: Path) -> None:
    use_safe_settings(settings, tmp_path)


def test_a_storage_that_cannot_be_made_is_an_error(settings: LazySettings):
    change(settings, STORAGE="storages.nowhere.Storage")
    [message] = basic_checks()
    assert ids([message]) == ["E037"]
    assert "ModuleNotFoundError" in message.msg


@pytest.mark.parametrize(
    ("location", "roots"),
    [
        *((name, []) for name in ("private", "media-exports", "static2", "../media")),
        ("media", ["MEDIA_ROOT"]),
        ("media/exports", ["MEDIA_ROOT"]),
        ("private/../media/exports", ["MEDIA_ROOT"]),
        ("static/x/y", ["STATIC_ROOT"]),
        (".", ["MEDIA_ROOT", "STATIC_ROOT"]),
        ("link", ["MEDIA_ROOT"]),
    ],
)
def test_a_folder_must_be_separate_from_those_that_the_web_server_serves(
    settings: LazySettings, tmp_path: Path, location: str, roots: list[str]
):
    (tmp_path / "media").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "media")
    store_in(settings, FOLDER, location=tmp_path / location)
    messages = basic_checks()
    assert ids(messages) == ["E005"] * len(roots)
    assert all(root in message.msg for root, message in zip(roots, messages, strict=True))


def test_a_storage_instance_is_checked_too_and_roots_that_are_not_set_ignored(settings: LazySettings, tmp_path: Path):
    change(settings, STORAGE=FileSystemStorage(location=tmp_path / "media"))
    assert ids(basic_checks()) == ["E005"]
    settings.MEDIA_ROOT, settings.STATIC_ROOT = "", None
    assert ids(basic_checks()) == []


def test_a_base_url_of_the_storage_is_a_warning(settings: LazySettings, tmp_path: Path):
    store_in(settings, FOLDER, location=tmp_path / "private", base_url="/files/")
    [message] = basic_checks()
    assert ids([message]) == ["W003"]
    assert "base_url" in message.hint


BUCKET = {"bucket_name": "private-exports", "region_name": "eu-central-1"}


@pytest.mark.parametrize(
    ("options", "reasons"),
    [
        ({}, []),
        ({"default_acl": "private"}, []),
        ({"custom_domain": "files.example", "cloudfront_signer": object()}, []),
        ({"object_parameters": {"ServerSideEncryption": "aws:kms"}}, []),
        ({"querystring_auth": False}, ["querystring_auth is off"]),
        ({"default_acl": "public-read"}, ["its ACL is public-read"]),
        ({"default_acl": "public-read-write"}, ["its ACL is public-read-write"]),
        ({"object_parameters": {"ACL": "authenticated-read"}}, ["its ACL is authenticated-read"]),
        (
            {"querystring_auth": False, "custom_domain": "files.example"},
            ["querystring_auth is off", "custom_domain gives URLs without a signature"],
        ),
    ],
)
def test_a_public_bucket_is_an_error_with_each_reason(
    settings: LazySettings, options: Mapping[str, Any], reasons: list[str]
):
    store_in(settings, S3, **BUCKET | options)
    messages = basic_checks()
    assert ids(messages) == ["E005"] * len(reasons)
    assert [each.msg.partition(": ")[2] for each in messages] == [f"{reason}." for reason in reasons]


def test_an_s3_storage_without_a_bucket_is_an_error(settings: LazySettings):
    store_in(settings, S3)
    assert ids(basic_checks()) == ["E006"]


def test_djangos_default_storage_is_a_warning_and_in_deployments_an_error(settings: LazySettings):
    settings.STORAGES = {name: each for name, each in settings.STORAGES.items() if name != "exports"}
    [message] = basic_checks()
    assert isinstance(message, Warning)
    assert "STORAGES['exports']" in message.hint
    assert "E004" not in ids(basic_checks())
    assert "E004" in ids()


# Folders


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that every user of this host can enter; pytest's own are private."""
    folder = Path("/var/tmp") / f"live-exports-{os.getpid()}"
    folder.mkdir(mode=0o755)
    yield folder
    folder.rmdir()


def test_a_work_dir_in_which_no_worker_runs_is_an_error(settings: LazySettings, open_folder: Path, tmp_path: Path):
    change(settings, WORK_DIR=str(open_folder))
    assert ids() == ["E032"]
    open_folder.chmod(0o700)
    assert ids() == []
    (tmp_path / "link").symlink_to(open_folder)
    change(settings, WORK_DIR=str(tmp_path / "link"))
    assert ids() == ["E032"]


def test_finished_files_that_others_can_read_are_reported(settings: LazySettings, open_folder: Path):
    change(settings, STORAGE=FileSystemStorage(location=open_folder))
    assert ids() == ["W042"]
    open_folder.chmod(0o750)
    assert ids() == []


def test_a_folder_is_only_open_if_all_folders_above_it_are(tmp_path: Path, open_folder: Path):
    assert is_open_to_others(open_folder)
    assert is_open_to_others(open_folder / "not created yet")
    assert not is_open_to_others(tmp_path / "not created yet")
