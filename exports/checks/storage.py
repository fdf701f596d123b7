"""Check where finished files are stored: a storage that anyone can read is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.core.files.storage import FileSystemStorage

from exports import storage
from exports.checks.folders import is_open_to_others
from exports.checks.registration import register
from exports.failures import describe_error

IN_DEFAULT_STORAGE = "Exports are stored in Django's default storage."
CHOOSE_A_STORAGE = "Add STORAGES['exports'] with a private location; Django's default storage is often public."
PUBLIC = "exports.E005"
PUBLIC_ACLS = {"authenticated-read", "public-read", "public-read-write"}


@register()
def check_storage() -> Iterator[CheckMessage]:
    """Report a storage that cannot be used, that a web server serves, or that anyone can read; warn about none."""
    try:
        configured = storage.configured_storage()
    except Exception as error:
        message = f"The storage of the exports cannot be used: {describe_error(error, with_message=True)}"
        hint = "Correct EXPORTS['STORAGE'] or STORAGES['exports']."
        yield checks.Error(message, hint=hint, id="exports.E037")
        return
    if configured is None:
        yield checks.Warning(IN_DEFAULT_STORAGE, hint=CHOOSE_A_STORAGE, id="exports.W001")
    elif isinstance(configured, FileSystemStorage):
        yield from _check_folder(configured)
    elif storage.is_s3(configured):
        yield from _check_bucket(configured)


@register(deploy=True)
def check_default_storage() -> Iterator[CheckMessage]:
    """Refuse Django's default storage in a deployment."""
    if storage.configured_storage() is None:
        yield checks.Error(IN_DEFAULT_STORAGE, hint=CHOOSE_A_STORAGE, id="exports.E004")


@register(deploy=True)
def check_storage_folder() -> Iterator[CheckMessage]:
    """Warn if other users of this host can read the finished files."""
    used = storage.exports_storage()
    if isinstance(used, FileSystemStorage) and is_open_to_others(Path(used.location)):
        message = f"Other users of this host can read the exports in {used.location}."
        hint = "chmod 750 the folder or one above it; the web server's group may read it if it sends the files itself."
        yield checks.Warning(message, hint=hint, id="exports.W042")


def _check_folder(configured: FileSystemStorage) -> Iterator[CheckMessage]:
    folder = Path(configured.location).resolve()
    for name in ("MEDIA_ROOT", "STATIC_ROOT"):
        if root := getattr(settings, name):
            public = Path(root).resolve()
            if folder.is_relative_to(public) or public.is_relative_to(folder):
                message = f"Exports are stored in {name}, or around it: anyone could fetch them."
                hint = "Choose a separate location that no web server lists or serves."
                yield checks.Error(message, hint=hint, id=PUBLIC)
    if configured.base_url not in (None, settings.MEDIA_URL):
        hint = "Remove base_url: exports are served by the views of this app, which check permissions."
        yield checks.Warning("The storage of the exports has a base_url.", hint=hint, id="exports.W003")


# Any: django-storages' S3Storage is not imported, because it is an optional dependency.
def _check_bucket(bucket: Any) -> Iterator[CheckMessage]:
    if not bucket.bucket_name:
        hint = "Set its bucket_name to a private bucket; docs/s3.md explains how to create one."
        yield checks.Error("The S3 storage of the exports names no bucket.", hint=hint, id="exports.E006")
    reasons = {}
    if not bucket.querystring_auth:
        reasons["querystring_auth is off"] = "Leave querystring_auth on, and the bucket private."
    if acls := {bucket.default_acl, bucket.object_parameters.get("ACL")} & PUBLIC_ACLS:
        hint = "Set default_acl to None, and name no ACL in object_parameters."
        reasons[f"its ACL is {', '.join(sorted(acls))}"] = hint
    if bucket.custom_domain and not bucket.cloudfront_signer:
        hint = "Remove custom_domain: the bucket signs its own URLs."
        reasons["custom_domain gives URLs without a signature"] = hint
    for reason, hint in reasons.items():
        yield checks.Error(f"The S3 storage of the exports is public: {reason}.", hint=hint, id=PUBLIC)
