"""Settings that cannot work, whatever the site is for."""

from collections.abc import Iterable
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from exports.checks.numbers import is_at_least, is_positive
from exports.conf import DEFAULTS, config
from exports.exceptions import BadOption
from exports.tabular.writers.xlsx.deflate import Deflate


def check_settings(**kwargs: Any) -> Iterable[CheckMessage]:
    for name in config.unknown():
        known = ", ".join(sorted(DEFAULTS))
        yield checks.Error(f"EXPORTS has no setting {name!r}.", hint=f"Known settings: {known}.", id="exports.E001")
    if config.HEARTBEAT_SECONDS * 2 > config.LEASE_SECONDS:
        hint = "Set EXPORTS['HEARTBEAT_SECONDS'] to a quarter of EXPORTS['LEASE_SECONDS'], or less."
        yield checks.Error("A lease must outlive at least two heartbeats.", hint=hint, id="exports.E002")
    yield from _check_doorbell()
    yield from _check_work()
    yield from _check_limits()
    yield from _check_lists()


def _check_doorbell() -> Iterable[CheckMessage]:
    if config.QUEUE_BACKEND is None:
        return
    try:
        import_string(config.QUEUE_BACKEND)
    except ImportError:
        hint = "Give the dotted path of a function that takes a queue, or None for cron alone."
        yield checks.Error(
            f"EXPORTS['QUEUE_BACKEND'] {config.QUEUE_BACKEND!r} cannot be imported.", hint=hint, id="exports.E003"
        )


def _check_work() -> Iterable[CheckMessage]:
    if config.MAX_PROCESSES is not None and not is_positive(config.MAX_PROCESSES):
        hint = "Give a whole number from 1 on, or None for as many as there are cores."
        yield checks.Error(f"EXPORTS['MAX_PROCESSES'] is {config.MAX_PROCESSES!r}.", hint=hint, id="exports.E007")
    try:
        Deflate.chosen(config.DEFLATE_ENGINE, config.DEFLATE_LEVEL)
    except BadOption as error:
        hint = "Correct EXPORTS['DEFLATE_ENGINE'] and EXPORTS['DEFLATE_LEVEL'], or leave both out."
        yield checks.Error(f"XLSX cannot be compressed as asked. {error}", hint=hint, id="exports.E008")


def _check_limits() -> Iterable[CheckMessage]:
    for name in ("MAX_QUEUED_PER_USER", "MAX_RUNNING_PER_USER", "MAX_PER_USER_PER_DAY", "MAX_SOCKETS_PER_USER"):
        if (limit := getattr(config, name)) is not None and not is_positive(limit):
            hint = "Give a whole number from 1 on, or None for no limit."
            yield checks.Error(f"EXPORTS[{name!r}] is {limit!r}.", hint=hint, id="exports.E013")
    for name in ("MAX_ROWS", "MAX_BYTES", "MAX_RUNTIME_SECONDS"):
        if (most := getattr(config, name)) is not None and not is_at_least(1, most):
            hint = "Give a number from 1 on, or None for no ceiling."
            yield checks.Error(f"EXPORTS[{name!r}] is {most!r}.", hint=hint, id="exports.E014")
    if not is_at_least(1, config.PUBLIC_LINK_MAX_AGE_SECONDS):
        message = f"EXPORTS['PUBLIC_LINK_MAX_AGE_SECONDS'] is {config.PUBLIC_LINK_MAX_AGE_SECONDS!r}."
        yield checks.Error(message, hint="Give a number of seconds from 1 on.", id="exports.E014")
    for name in ("MIN_FREE_DISK_BYTES", "REUSE_WITHIN_SECONDS"):
        if not is_at_least(0, value := getattr(config, name)):
            yield checks.Error(f"EXPORTS[{name!r}] is {value!r}.", hint="Give a number from 0 on.", id="exports.E014")


def _check_lists() -> Iterable[CheckMessage]:
    """A text where a list is meant: its letters would count, or keys could not be rotated."""
    for name in ("SOCKET_ALLOWED_ORIGINS", "TICKET_KEYS", "QUEUE_KEYS"):
        if isinstance(getattr(config, name), str):
            hint = f"Write a list, also of one: EXPORTS[{name!r}] = [...]."
            yield checks.Error(f"EXPORTS[{name!r}] is one text.", hint=hint, id="exports.E033")
    origins = () if isinstance(config.SOCKET_ALLOWED_ORIGINS, str) else config.SOCKET_ALLOWED_ORIGINS
    for origin in {"", "null", "*"}.intersection(origins):
        hint = "Write each origin as browsers send it, such as 'https://other.example'."
        yield checks.Error(
            f"EXPORTS['SOCKET_ALLOWED_ORIGINS'] has {origin!r}, which is no site.", hint=hint, id="exports.E034"
        )
