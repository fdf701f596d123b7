"""Check the settings that cannot work on any site."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

from django.core import checks
from django.core.checks import CheckMessage

from exports.checks.numbers import NumberRule
from exports.conf import DEFAULTS, Settings, config
from exports.exceptions import BadOption
from exports.queue import base as queue
from exports.tabular.writers.xlsx.deflate import Deflate

NUMBERS = (
    NumberRule(("MAX_PROCESSES",), 1, "exports.E007", whole=True, none_means="the number of cores"),
    NumberRule(
        ("MAX_QUEUED_PER_USER", "MAX_RUNNING_PER_USER", "MAX_PER_USER_PER_DAY", "MAX_SOCKETS_PER_USER"),
        1,
        "exports.E013",
        whole=True,
        none_means="no limit",
    ),
    NumberRule(("MAX_ROWS", "MAX_BYTES", "MAX_RUNTIME_SECONDS"), 1, "exports.E014", none_means="no limit"),
    NumberRule(("PUBLIC_LINK_MAX_AGE_SECONDS",), 1, "exports.E014"),
    NumberRule(("MIN_FREE_DISK_BYTES", "REUSE_WITHIN_SECONDS"), 0, "exports.E014"),
)
OTHER_NUMBERS = tuple(
    NumberRule(
        (name,),
        0,
        "exports.E016",
        whole=annotation.startswith("int") and not name.endswith("_SECONDS"),
        none_means="no limit" if annotation.endswith("| None") else "",
    )
    for name, annotation in Settings.__annotations__.items()
    if annotation in ("int", "float", "int | None", "float | None") and not any(name in rule.names for rule in NUMBERS)
)


@checks.register("exports")
def check_settings(**kwargs: Any) -> Iterator[CheckMessage]:
    """Report unknown settings, wrong types and values that contradict each other."""
    for name in config.unknown():
        known = ", ".join(sorted(DEFAULTS))
        yield checks.Error(f"EXPORTS has no setting {name!r}.", hint=f"Known settings: {known}.", id="exports.E001")
    wrong = set()
    for rule in (*NUMBERS, *OTHER_NUMBERS):
        for name in rule.names:
            if not rule.accepts(value := getattr(config, name)):
                wrong.add(name)
                yield checks.Error(f"EXPORTS[{name!r}] is {value!r}.", hint=rule.hint, id=rule.id)
    if wrong.isdisjoint(("HEARTBEAT_SECONDS", "LEASE_SECONDS")) and config.HEARTBEAT_SECONDS * 2 > config.LEASE_SECONDS:
        hint = "Set EXPORTS['HEARTBEAT_SECONDS'] to a quarter of EXPORTS['LEASE_SECONDS'], or less."
        yield checks.Error("A lease must outlive at least two heartbeats.", hint=hint, id="exports.E002")


@checks.register("exports")
def check_queue_backend(**kwargs: Any) -> Iterator[CheckMessage]:
    """Report a QUEUE_BACKEND that cannot be imported."""
    if config.QUEUE_BACKEND is None:
        return
    try:
        queue.backend().wake  # noqa: B018 - only that it exists
    except (ImportError, AttributeError, ValueError):
        message = f"EXPORTS['QUEUE_BACKEND'] {config.QUEUE_BACKEND!r} cannot be imported."
        hint = "Set the dotted path of a module or class with wake() and listen(), or None to run from cron alone."
        yield checks.Error(message, hint=hint, id="exports.E003")


@checks.register("exports")
def check_compression(**kwargs: Any) -> Iterator[CheckMessage]:
    """Report a compression of XLSX files that does not exist."""
    try:
        Deflate.choose(config.DEFLATE_ENGINE, config.DEFLATE_LEVEL)
    except BadOption as error:
        hint = "Correct EXPORTS['DEFLATE_ENGINE'] and EXPORTS['DEFLATE_LEVEL'], or remove both."
        yield checks.Error(f"XLSX files cannot be compressed as configured. {error}", hint=hint, id="exports.E008")


@checks.register("exports")
def check_lists(**kwargs: Any) -> Iterator[CheckMessage]:
    """Report text where a list is expected: each letter would count as an item, and keys could not be rotated."""
    for name in ("SOCKET_ALLOWED_ORIGINS", "TICKET_KEYS", "QUEUE_KEYS", "AUDIT_KEYS", "TRUSTED_PROXIES"):
        if isinstance(getattr(config, name), str):
            hint = f"Use a list, even for one value: EXPORTS[{name!r}] = [...]."
            yield checks.Error(f"EXPORTS[{name!r}] is text, not a list.", hint=hint, id="exports.E033")
    proxies = () if isinstance(config.TRUSTED_PROXIES, str) else config.TRUSTED_PROXIES
    for proxy in proxies:
        try:
            ip_network(proxy)
        except ValueError as error:
            hint = "Write an address or a network, such as '10.0.0.0/8'."
            yield checks.Error(f"EXPORTS['TRUSTED_PROXIES']: {error}.", hint=hint, id="exports.E036")
    origins = () if isinstance(config.SOCKET_ALLOWED_ORIGINS, str) else config.SOCKET_ALLOWED_ORIGINS
    for origin in {"", "null", "*"}.intersection(origins):
        message = f"EXPORTS['SOCKET_ALLOWED_ORIGINS'] contains {origin!r}, which is not an origin."
        hint = "Write each origin as browsers send it, such as 'https://other.example'."
        yield checks.Error(message, hint=hint, id="exports.E034")
