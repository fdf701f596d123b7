"""Check the settings that cannot work on any site."""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from ipaddress import ip_network
from os import PathLike

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage

from exports.checks.numbers import NumberRule
from exports.checks.registration import register
from exports.conf import DEFAULTS, HUEY, Settings, config, function_of
from exports.exceptions import BadOption
from exports.failures import describe_error
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
    NumberRule(("PUBLIC_LINK_MAX_AGE_SECONDS", "WEBHOOK_TIMEOUT_SECONDS"), 1, "exports.E014"),
    NumberRule(("BUCKET_URL_MAX_AGE_SECONDS",), 1, "exports.E014", whole=True),
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

FUNCTIONS = ("AUTHENTICATE", "TENANT_OF", "TENANT_CONTEXT")

# What a value must be, by the parts of a setting's type: how it is told, and how a hint says it.
KINDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "str": (lambda value: isinstance(value, str), "text"),
    "Path": (lambda value: isinstance(value, PathLike), "a path"),
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "Sequence[str]": (
        lambda value: isinstance(value, list | tuple) and all(isinstance(each, str) for each in value),
        "a list of texts",
    ),
    "None": (lambda value: value is None, "None"),
}


@register()
def check_settings() -> Iterator[CheckMessage]:
    """Report unknown settings, wrong types and values that contradict each other."""
    given = getattr(settings, "EXPORTS", {})
    if not isinstance(given, Mapping):
        yield checks.Error("EXPORTS is no dictionary.", hint="Set EXPORTS = {...}.", id="exports.E001")
        return
    for name in config.unknown():
        close = [each for each in sorted(DEFAULTS) if each.startswith(f"{name}_")] or get_close_matches(name, DEFAULTS)
        known = f"Known settings: {', '.join(sorted(DEFAULTS))}."
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else known
        yield checks.Error(f"EXPORTS has no setting {name!r}.", hint=hint, id="exports.E001")
    wrong = set()
    for rule in (*NUMBERS, *OTHER_NUMBERS):
        for name in rule.names:
            if not rule.accepts(value := getattr(config, name)):
                wrong.add(name)
                yield checks.Error(f"EXPORTS[{name!r}] is {value!r}.", hint=rule.hint(name, value), id=rule.id)
    for name, annotation in Settings.__annotations__.items():
        parts, value = annotation.split(" | "), getattr(config, name)
        if isinstance(value, str) and "Sequence[str]" in parts:
            # Each letter would count as an item, and keys could not be rotated.
            hint = f"Use a list, even for one value: EXPORTS[{name!r}] = [...]."
            yield checks.Error(f"EXPORTS[{name!r}] is text, not a list.", hint=hint, id="exports.E033")
        elif KINDS.keys() >= set(parts) and not any(KINDS[part][0](value) for part in parts):
            # Not the value: it may be a secret.
            message = f"EXPORTS[{name!r}] is of the type {type(value).__name__}."
            hint = f"Set {' or '.join(KINDS[part][1] for part in parts)}."
            yield checks.Error(message, hint=hint, id="exports.E023")
    if wrong.isdisjoint(("HEARTBEAT_SECONDS", "LEASE_SECONDS")) and config.HEARTBEAT_SECONDS * 2 > config.LEASE_SECONDS:
        hint = "Set EXPORTS['HEARTBEAT_SECONDS'] to a quarter of EXPORTS['LEASE_SECONDS'], or less."
        yield checks.Error("A lease must outlive at least two heartbeats.", hint=hint, id="exports.E002")


@register()
def check_queue_backend() -> Iterator[CheckMessage]:
    """Report a QUEUE_BACKEND that cannot be imported, and libraries that it needs."""
    if not config.QUEUE_BACKEND:
        return
    try:
        queue.backend().wake  # noqa: B018 - only that it exists
    except Exception as error:
        why = describe_error(error, with_message=True)
        message = f"EXPORTS['QUEUE_BACKEND'] {config.QUEUE_BACKEND!r} cannot be imported: {why}"
        hint = "Set the dotted path of a module or class with wake() and listen(), or None to run from cron alone."
        yield checks.Error(message, hint=hint, id="exports.E003")
    # Its module imports them when it is used, so that sites in cron mode need not install them.
    needed = ("huey", "redis") if config.QUEUE_BACKEND == HUEY else ()
    if missing := [name for name in needed if find_spec(name) is None]:
        message = f"EXPORTS['QUEUE_BACKEND'] needs {' and '.join(missing)}, which cannot be imported."
        hint = "pip install 'django-live-exports[live]', or set EXPORTS['QUEUE_BACKEND'] = None to run from cron alone."
        yield checks.Error(message, hint=hint, id="exports.E026")


@register()
def check_webhooks() -> Iterator[CheckMessage]:
    """Report the library that sends webhooks if it is missing."""
    # Its module imports it when a webhook is sent, so that other sites need not install it.
    if config.WEBHOOKS and find_spec("httpcore") is None:
        message = "EXPORTS['WEBHOOKS'] needs httpcore, which cannot be imported."
        hint = "pip install 'django-live-exports[webhooks]'"
        yield checks.Error(message, hint=hint, id="exports.E060")


@register()
def check_functions() -> Iterator[CheckMessage]:
    """Report settings that are to name a function, and do not."""
    for name in FUNCTIONS:
        try:
            is_function = callable(function_of(name) or check_functions)
        except Exception as error:
            is_function = False
            why = f" cannot be imported: {describe_error(error, with_message=True)}"
        else:
            why = " is no function."
        if not is_function:
            hint = "Set a function, or its dotted path, such as 'yours.exports.function'."
            yield checks.Error(f"EXPORTS[{name!r}]{why}", hint=hint, id="exports.E047")


@register()
def check_compression() -> Iterator[CheckMessage]:
    """Report a compression of XLSX files that does not exist."""
    try:
        Deflate.choose(config.DEFLATE_ENGINE, config.DEFLATE_LEVEL)
    except BadOption as error:
        hint = "Correct EXPORTS['DEFLATE_ENGINE'] and EXPORTS['DEFLATE_LEVEL'], or remove both."
        yield checks.Error(f"XLSX files cannot be compressed as configured. {error}", hint=hint, id="exports.E008")


@register()
def check_addresses() -> Iterator[CheckMessage]:
    """Report networks that do not exist, and origins that no browser sends."""
    for name in ("TRUSTED_PROXIES", "WEBHOOK_ALLOWED_NETWORKS"):
        given = getattr(config, name)
        for network in () if isinstance(given, str) else given:
            try:
                ip_network(network)
            except ValueError as error:
                hint = "Write an address or a network, such as '10.0.0.0/8'."
                yield checks.Error(f"EXPORTS[{name!r}]: {error}.", hint=hint, id="exports.E036")
    origins = () if isinstance(config.SOCKET_ALLOWED_ORIGINS, str) else config.SOCKET_ALLOWED_ORIGINS
    for origin in {"", "null", "*"}.intersection(origins):
        message = f"EXPORTS['SOCKET_ALLOWED_ORIGINS'] contains {origin!r}, which is not an origin."
        hint = "Write each origin as browsers send it, such as 'https://other.example'."
        yield checks.Error(message, hint=hint, id="exports.E034")
