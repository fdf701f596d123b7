"""Where finished files are kept: a storage that anybody can read is refused."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.core.files.storage import FileSystemStorage

from exports import storage

IN_DEFAULT_STORAGE = "Exports are kept in Django's default storage."
CHOOSE_A_STORAGE = "Add STORAGES['exports'] with a private location; Django's default storage is often public."
E_PUBLIC = "exports.E005"
PUBLIC_ACLS = {"authenticated-read", "public-read", "public-read-write"}


def check_storage(**kwargs: Any) -> Iterable[CheckMessage]:
    """What was chosen for exports must be private; where nothing was, the host is told."""
    chosen = storage.configured_storage()
    if chosen is None:
        yield checks.Warning(IN_DEFAULT_STORAGE, hint=CHOOSE_A_STORAGE, id="exports.W001")
    elif isinstance(chosen, FileSystemStorage):
        yield from _check_folder(chosen)
    elif storage.is_s3(chosen):
        yield from _check_bucket(chosen)


def check_default_storage(**kwargs: Any) -> Iterable[CheckMessage]:
    if storage.configured_storage() is None:
        yield checks.Error(IN_DEFAULT_STORAGE, hint=CHOOSE_A_STORAGE, id="exports.E004")


def _check_folder(chosen: FileSystemStorage) -> Iterable[CheckMessage]:
    for name in ("MEDIA_ROOT", "STATIC_ROOT"):
        if _overlap(chosen.location, getattr(settings, name)):
            hint = "Give it a location of its own, which no web server lists or serves."
            yield checks.Error(
                f"Exports are kept in {name}, or around it: anybody could fetch them.", hint=hint, id=E_PUBLIC
            )
    if chosen.base_url not in (None, settings.MEDIA_URL):
        hint = "Leave base_url out: exports are reached by the app's own addresses, which ask who comes."
        yield checks.Warning("The storage of the exports has a base_url.", hint=hint, id="exports.W003")


def _overlap(folder: str, root: Any) -> bool:
    if not root:
        return False
    ours, public = Path(folder).resolve(), Path(root).resolve()
    return ours.is_relative_to(public) or public.is_relative_to(ours)


def _check_bucket(chosen: Any) -> Iterable[CheckMessage]:
    if not chosen.bucket_name:
        hint = "Set its bucket_name to a private bucket; docs/s3.md says how to make one."
        yield checks.Error("The S3 storage of the exports names no bucket.", hint=hint, id="exports.E006")
    for reason, hint in _ways_in(chosen):
        yield checks.Error(f"The S3 storage of the exports is public: {reason}.", hint=hint, id=E_PUBLIC)


def _ways_in(chosen: Any) -> Iterable[tuple[str, str]]:
    """Why anybody could fetch what is in the bucket, and what to do about each."""
    if not chosen.querystring_auth:
        yield "querystring_auth is off", "Leave querystring_auth on, and the bucket private."
    acls = {chosen.default_acl, chosen.object_parameters.get("ACL")} & PUBLIC_ACLS
    if acls:
        yield f"its ACL is {', '.join(sorted(acls))}", "Set default_acl to None, and name no ACL in object_parameters."
    if chosen.custom_domain and not chosen.cloudfront_signer:
        yield "custom_domain gives addresses without a signature", "Leave custom_domain out: the bucket signs its own."
