"""What Django can check at start: settings that cannot work, storage that anybody can read, exports that cannot be."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage
from django.core.files.storage import FileSystemStorage
from django.utils.module_loading import import_string

from exports import storage, writers
from exports.conf import DEFAULTS, config
from exports.exceptions import BadOption
from exports.patterns import QuerySetExport, registry
from exports.patterns.sheets import COUNTS
from exports.patterns.table import TableExport
from exports.writers.deflate import Deflate

IN_DEFAULT_STORAGE = "Exports are kept in Django's default storage."
CHOOSE_A_STORAGE = "Add STORAGES['exports'] with a private location; Django's default storage is often public."
E_PUBLIC = "exports.E005"
PUBLIC_ACLS = {"authenticated-read", "public-read", "public-read-write"}


def register_all() -> None:
    checks.register(check_settings, "exports")
    checks.register(check_storage, "exports")
    checks.register(check_exports, "exports")
    checks.register(check_base_url, "exports", deploy=True)
    checks.register(check_default_storage, "exports", deploy=True)


def check_settings(**kwargs: Any) -> Iterable[CheckMessage]:
    for name in config.unknown():
        known = ", ".join(sorted(DEFAULTS))
        yield checks.Error(f"EXPORTS has no setting {name!r}.", hint=f"Known settings: {known}.", id="exports.E001")
    if config.HEARTBEAT * 2 > config.LEASE:
        hint = "Set EXPORTS['HEARTBEAT'] to a quarter of EXPORTS['LEASE'], or less."
        yield checks.Error("A lease must outlive at least two heartbeats.", hint=hint, id="exports.E002")
    yield from _check_doorbell()
    yield from _check_work()
    yield from _check_limits()


def check_storage(**kwargs: Any) -> Iterable[CheckMessage]:
    """What was chosen for exports must be private; where nothing was, the host is told."""
    chosen = storage.configured()
    if chosen is None:
        yield checks.Warning(IN_DEFAULT_STORAGE, hint=CHOOSE_A_STORAGE, id="exports.W001")
    elif isinstance(chosen, FileSystemStorage):
        yield from _check_folder(chosen)
    elif storage.is_s3(chosen):
        yield from _check_bucket(chosen)


def check_exports(**kwargs: Any) -> Iterable[CheckMessage]:
    """What is declared wrongly would otherwise be told to whoever asks for the file."""
    for handler in dict.fromkeys(registry.handlers.values()):
        if isinstance(handler, type) and issubclass(handler, TableExport):
            yield from _check_processes(handler)
            yield from _check_ceilings(handler)
        if isinstance(handler, type) and issubclass(handler, QuerySetExport):
            yield from _check_formats(handler)
            yield from _check_count(handler)


def check_default_storage(**kwargs: Any) -> Iterable[CheckMessage]:
    if storage.configured() is None:
        yield checks.Error(IN_DEFAULT_STORAGE, hint=CHOOSE_A_STORAGE, id="exports.E004")


def check_base_url(**kwargs: Any) -> Iterable[CheckMessage]:
    if not config.BASE_URL.startswith("https://"):
        hint = "Set EXPORTS['BASE_URL'] to the address people use, such as 'https://example.com'."
        yield checks.Warning("Mails need an https address to lead to.", hint=hint, id="exports.W002")


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


def _check_work() -> Iterable[CheckMessage]:
    if config.MAX_PROCESSES is not None and not _is_positive(config.MAX_PROCESSES):
        hint = "Give a whole number from 1 on, or None for as many as there are cores."
        yield checks.Error(f"EXPORTS['MAX_PROCESSES'] is {config.MAX_PROCESSES!r}.", hint=hint, id="exports.E007")
    try:
        Deflate.chosen(config.DEFLATE_ENGINE, config.DEFLATE_LEVEL)
    except BadOption as error:
        hint = "Correct EXPORTS['DEFLATE_ENGINE'] and EXPORTS['DEFLATE_LEVEL'], or leave both out."
        yield checks.Error(f"XLSX cannot be compressed as asked. {error}", hint=hint, id="exports.E008")


def _check_limits() -> Iterable[CheckMessage]:
    for name in ("MAX_QUEUED_PER_USER", "MAX_RUNNING_PER_USER", "MAX_PER_DAY"):
        if (limit := getattr(config, name)) is not None and not _is_positive(limit):
            hint = "Give a whole number from 1 on, or None for no limit."
            yield checks.Error(f"EXPORTS[{name!r}] is {limit!r}.", hint=hint, id="exports.E013")
    for name in ("MAX_ROWS", "MAX_BYTES"):
        if (most := getattr(config, name)) is not None and not _is_at_least(1, most):
            hint = "Give a number from 1 on, or None for no ceiling."
            yield checks.Error(f"EXPORTS[{name!r}] is {most!r}.", hint=hint, id="exports.E014")
    for name in ("MIN_FREE_DISK", "REUSE_FRESH"):
        if not _is_at_least(0, value := getattr(config, name)):
            yield checks.Error(f"EXPORTS[{name!r}] is {value!r}.", hint="Give a number from 0 on.", id="exports.E014")


def _check_ceilings(export: type[TableExport]) -> Iterable[CheckMessage]:
    for name, least in (("max_rows", 1), ("max_bytes", 1), ("reuse_fresh", 0)):
        value = getattr(export, name, None)
        if value is not None and not _is_at_least(least, value):
            hint = f"Give a number from {least} on, or None for what the settings say."
            yield checks.Error(f"{export.__name__}.{name} is {value!r}.", hint=hint, obj=export, id="exports.E015")


def _check_processes(export: type[TableExport]) -> Iterable[CheckMessage]:
    if not _is_positive(export.processes):
        yield checks.Error(
            f"{export.__name__}.processes is {export.processes!r}.",
            hint="Give a whole number from 1 on.",
            obj=export,
            id="exports.E009",
        )


def _check_formats(export: type[QuerySetExport]) -> Iterable[CheckMessage]:
    offered = {writer.format for writer in export.offered()}
    for format in export.formats:
        if format not in offered:
            yield _check_format(export.__name__, format)
    if not export.formats:
        hint = "Name at least one of the formats in `formats`."
        yield checks.Error(f"{export.__name__} has no format.", hint=hint, id="exports.E010")


def _check_format(export: str, format: str) -> CheckMessage:
    """Why a declared format is not offered. Where only its library is missing, that may be meant so."""
    if missing := writers.why_missing(format):
        return checks.Info(f"{export} is not offered as {format!r}.", hint=missing, id="exports.I001")
    known = {writer.format: writer.holds_tables for writer in writers.formats()}
    if format not in known:
        hint = f"Known formats: {', '.join(known)}."
        return checks.Error(f"{export}: no format is named {format!r}.", hint=hint, id="exports.E010")
    capable = ", ".join(name for name, holds_tables in known.items() if holds_tables)
    hint = f"get_sheets() gives several tables; formats that hold them: {capable}."
    return checks.Error(f"{export}: {format!r} holds one table.", hint=hint, id="exports.E011")


def _check_count(export: type[QuerySetExport]) -> Iterable[CheckMessage]:
    if export.count not in COUNTS:
        hint = f"Use one of {', '.join(map(repr, COUNTS))}."
        yield checks.Error(f"{export.__name__}.count is {export.count!r}.", hint=hint, id="exports.E012")


def _is_positive(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number > 0


def _is_at_least(least: float, number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and number >= least


def _check_doorbell() -> Iterable[CheckMessage]:
    if config.DOORBELL is None:
        return
    try:
        import_string(config.DOORBELL)
    except ImportError:
        hint = "Give the dotted path of a function that takes a lane, or None for cron alone."
        yield checks.Error(f"EXPORTS['DOORBELL'] {config.DOORBELL!r} cannot be imported.", hint=hint, id="exports.E003")
