"""What Django says at start about settings that cannot work, storage that anybody can read, exports that cannot be."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.checks import CheckMessage, Error, Info, Warning, run_checks
from django.core.files.storage import FileSystemStorage

from exports import checks
from exports.exceptions import UnknownFormat
from exports.tabular import writers
from tests.shop.exports import OrderExport, registered

FOLDER = "django.core.files.storage.FileSystemStorage"
S3 = "storages.backends.s3.S3Storage"


def ids(found: Iterable[CheckMessage]) -> list[str]:
    return [each.id for each in found]


@pytest.fixture(autouse=True)
def folders(settings: LazySettings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT, settings.STATIC_ROOT = tmp_path / "media", tmp_path / "static"
    return tmp_path


def choose(settings: LazySettings, backend: str, **options: Any) -> list[CheckMessage]:
    settings.STORAGES = {**settings.STORAGES, "exports": {"BACKEND": backend, "OPTIONS": options}}
    return list(checks.check_storage())


# A folder


@pytest.mark.parametrize("location", ["private", "media-exports", "static2", "../media"])
def test_a_folder_of_its_own_is_fine(settings: LazySettings, folders: Path, location: str):
    assert choose(settings, FOLDER, location=folders / location) == []


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("media", ["MEDIA_ROOT"]),
        ("media/exports", ["MEDIA_ROOT"]),
        ("private/../media/exports", ["MEDIA_ROOT"]),
        ("static/x/y", ["STATIC_ROOT"]),
        (".", ["MEDIA_ROOT", "STATIC_ROOT"]),
    ],
)
def test_a_folder_that_is_served_is_refused(settings: LazySettings, folders: Path, location: str, named: list[str]):
    found = choose(settings, FOLDER, location=folders / location)
    assert all(isinstance(each, Error) and each.id == "exports.E005" and each.hint for each in found)
    assert [each.msg.split()[4].strip(",") for each in found] == named


def test_a_link_into_a_folder_that_is_served_is_refused(settings: LazySettings, folders: Path):
    (folders / "media").mkdir()
    (folders / "link").symlink_to(folders / "media")
    assert ids(choose(settings, FOLDER, location=folders / "link")) == ["exports.E005"]


def test_a_storage_given_as_an_instance_is_looked_at_too(settings: LazySettings, folders: Path):
    settings.EXPORTS = {**settings.EXPORTS, "STORAGE": FileSystemStorage(location=folders / "media")}
    assert ids(checks.check_storage()) == ["exports.E005"]


def test_roots_that_are_not_set_hold_nothing(settings: LazySettings, folders: Path):
    settings.MEDIA_ROOT, settings.STATIC_ROOT = "", None
    assert choose(settings, FOLDER, location=folders / "media") == []


def test_an_address_of_its_own_is_pointed_out(settings: LazySettings, folders: Path):
    [found] = choose(settings, FOLDER, location=folders / "private", base_url="/files/")
    assert isinstance(found, Warning)
    assert (found.id, "base_url" in found.hint) == ("exports.W003", True)


# A bucket

PRIVATE = {"bucket_name": "private-exports", "region_name": "eu-central-1"}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"default_acl": "private"},
        {"file_overwrite": False},
        {"custom_domain": "files.example", "cloudfront_signer": object()},
        {"object_parameters": {"ServerSideEncryption": "aws:kms"}},
    ],
)
def test_a_private_bucket_is_fine(settings: LazySettings, options: Mapping[str, Any]):
    assert choose(settings, S3, **PRIVATE | options) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"querystring_auth": False}, "querystring_auth is off"),
        ({"default_acl": "public-read"}, "its ACL is public-read"),
        ({"default_acl": "public-read-write"}, "its ACL is public-read-write"),
        ({"default_acl": "authenticated-read"}, "its ACL is authenticated-read"),
        ({"object_parameters": {"ACL": "public-read"}}, "its ACL is public-read"),
        ({"custom_domain": "files.example"}, "custom_domain gives URLs without a signature"),
    ],
)
def test_a_public_bucket_is_refused_with_its_reason(settings: LazySettings, options: Mapping[str, Any], reason: str):
    [found] = choose(settings, S3, **PRIVATE | options)
    assert isinstance(found, Error)
    assert (found.id, found.msg) == ("exports.E005", f"The S3 storage of the exports is public: {reason}.")
    assert found.hint


def test_every_way_in_is_named(settings: LazySettings):
    open_to_all = {"querystring_auth": False, "default_acl": "public-read", "custom_domain": "files.example"}
    assert ids(choose(settings, S3, **PRIVATE | open_to_all)) == ["exports.E005"] * 3


def test_a_storage_without_a_bucket_is_refused(settings: LazySettings):
    [found] = choose(settings, S3)
    assert (found.id, isinstance(found, Error)) == ("exports.E006", True)


# Nothing chosen


@pytest.fixture
def nothing_chosen(settings: LazySettings) -> None:
    settings.STORAGES = {name: each for name, each in settings.STORAGES.items() if name != "exports"}


@pytest.mark.usefixtures("nothing_chosen")
def test_djangos_default_storage_is_pointed_out_and_refused_in_a_deployment():
    [found] = checks.check_storage()
    assert isinstance(found, Warning)
    assert "STORAGES['exports']" in found.hint
    assert "exports.E004" not in ids(run_checks(tags=["exports"]))
    deployed = {each.id: each for each in run_checks(tags=["exports"], include_deployment_checks=True)}
    assert isinstance(deployed["exports.E004"], Error)


# Settings


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"LAESE": 60}, "exports.E001"),
        ({"LEASE_SECONDS": 10, "HEARTBEAT_SECONDS": 6}, "exports.E002"),
        ({"QUEUE_BACKEND": "exports.nowhere.wake"}, "exports.E003"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: LazySettings, given: Mapping[str, Any], found: str):
    settings.EXPORTS = {**settings.EXPORTS, **given}
    [refused] = checks.check_settings()
    assert (refused.id, isinstance(refused, Error), bool(refused.hint)) == (found, True, True)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://exports.example", []),
        ("http://exports.example", ["exports.W002"]),
        ("https://localhost:8000", ["exports.W002"]),
        ("", ["exports.E035"]),
        ("/exports/", ["exports.E035"]),
        ("exports.example", ["exports.E035"]),
    ],
)
def test_links_in_mails_need_an_absolute_https_url(settings: LazySettings, url: str, found: list[str]):
    settings.EXPORTS = {**settings.EXPORTS, "BASE_URL": url}
    assert ids(checks.check_base_url()) == found


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"MAX_PROCESSES": 0}, "exports.E007"),
        ({"MAX_PROCESSES": "2"}, "exports.E007"),
        ({"DEFLATE_ENGINE": "steam"}, "exports.E008"),
        ({"DEFLATE_ENGINE": "zlib", "DEFLATE_LEVEL": 10}, "exports.E008"),
    ],
)
def test_settings_of_the_work_that_cannot_be_are_refused(settings: LazySettings, given: Mapping[str, Any], found: str):
    settings.EXPORTS = {**settings.EXPORTS, **given}
    [refused] = checks.check_settings()
    assert (refused.id, isinstance(refused, Error), bool(refused.hint)) == (found, True, True)


@pytest.mark.parametrize("given", [{"MAX_PROCESSES": 2}, {"DEFLATE_ENGINE": "zlib", "DEFLATE_LEVEL": 9}])
def test_settings_of_the_work_that_can_be_are_fine(settings: LazySettings, given: Mapping[str, Any]):
    settings.EXPORTS = {**settings.EXPORTS, **given}
    assert ids(checks.check_settings()) == []


# Exports


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        ({"processes": 0}, "exports.E009"),
        ({"processes": True}, "exports.E009"),
        ({"processes": None}, "exports.E009"),
        ({"formats": ("xslx",)}, "exports.E010"),
        ({"formats": ()}, "exports.E010"),
        ({"formats": ("csv",), "get_sheets": lambda self, user, criteria: []}, "exports.E011"),
        ({"count": "guess"}, "exports.E012"),
    ],
)
def test_exports_that_are_declared_wrongly_are_refused(declared: Mapping[str, Any], found: str):
    with registered(type("Wrong", (OrderExport,), {"file_type": "wrong", **declared})):
        [refused] = checks.check_exports()
    assert (refused.id, isinstance(refused, Error), bool(refused.hint)) == (found, True, True)
    assert "Wrong" in refused.msg


def test_a_format_of_which_only_the_library_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(writers._writers, "parquet")
    export = type("Wide", (OrderExport,), {"file_type": "wide", "formats": ("csv", "parquet")})
    with registered(export):
        [found] = checks.check_exports()
    assert (found.id, isinstance(found, Info)) == ("exports.I001", True)
    assert "pyarrow" in found.hint
    assert export().format_choices() == [("csv", "CSV")]
    with pytest.raises(UnknownFormat, match="pyarrow"):
        export().writer_of("parquet")


def test_exports_that_are_declared_well_are_fine():
    several = {"formats": ("xlsx",), "get_sheets": lambda self, user, criteria: [], "processes": 2, "count": "none"}
    with registered(type("Several", (OrderExport,), {"file_type": "several", **several})):
        assert list(checks.check_exports()) == []


def test_a_handler_that_declares_nothing_is_not_asked():
    with registered(type("Handler", (), {"file_type": "own", "processes": 0})):
        assert list(checks.check_exports()) == []
