"""What was chosen: the settings as Django's checks see them, the address in mails, the keys."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.core import checks

from exports.conf import config
from exports.contrib.operations.doctor.findings import Finding, Probe, error, ok, warning
from exports.queue import huey as huey_queue
from exports.signing import Ticket

HERE = ("localhost", "127.0.0.1", "::1")
SHORTEST_KEY = 20


def chosen(name: str) -> Iterator[Finding]:
    """What `manage.py check` says of the app."""
    messages = [message for message in checks.run_checks(tags=["exports"]) if message.level >= checks.WARNING]
    for message in messages:
        as_finding = error if message.is_serious() else warning
        yield as_finding(name, f"{message.id}: {message.msg}", message.hint or "See docs/settings.md.")
    if not messages:
        yield ok(name, "manage.py check has nothing to say.")


def base_url(name: str) -> Iterator[Finding]:
    advice = "Set BASE_URL to the address people use, such as https://exports.example."
    parts = urlsplit(config.BASE_URL)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield error(name, f"{config.BASE_URL!r} is not an absolute address: links in mails lead nowhere.", advice)
    elif parts.hostname in HERE:
        yield warning(name, f"{config.BASE_URL} leads readers of mails to their own machine.", advice)
    else:
        yield (
            ok(name, config.BASE_URL)
            if parts.scheme == "https"
            else warning(name, f"{config.BASE_URL} is not https.", advice)
        )


def keys(name: str) -> Iterator[Finding]:
    """Never says a key, only what is wrong with it."""
    advice = "Long random texts, the newest first. One more: python -c 'import secrets; print(secrets.token_hex(32))'"
    wrong = False
    for setting, given in secrets().items():
        for flaw in flaws(given):
            wrong = True
            yield error(name, f"{setting} {flaw}.", advice)
    if settings.SECRET_KEY.startswith("django-insecure-"):
        wrong = True
        yield warning(name, "SECRET_KEY is one for development.", advice)
    if not wrong:
        _sign_and_read()
        own = [setting for setting in ("TICKET_KEYS", "QUEUE_KEYS") if getattr(config, setting)]
        yield ok(name, f"{' and '.join(own) or 'SECRET_KEY'}: what they sign, they read.")


def secrets() -> dict[str, Sequence[str]]:
    """Every secret of ours, by its setting: a list of keys each, empty where it is not set."""
    given = {name: getattr(config, name) or () for name in ("TICKET_KEYS", "QUEUE_KEYS")}
    given["METRICS_TOKEN"] = [config.METRICS_TOKEN] if config.METRICS_TOKEN is not None else ()
    return {name: [value] if isinstance(value, str) else list(value) for name, value in given.items()}


def flaws(given: Sequence[str]) -> Iterator[str]:
    """What is wrong with these keys, in words that follow the name of their setting."""
    if len(set(given)) < len(given):
        yield "has a key twice"
    if any(not key.strip() for key in given):
        yield "has an empty key, with which anybody can sign"
    elif any(len(key) < SHORTEST_KEY for key in given):
        yield f"has a key of less than {SHORTEST_KEY} characters"


def _sign_and_read() -> None:
    """Raises InvalidLink or BadMessage where what is signed here cannot be read here."""
    Ticket.read(Ticket(UUID(int=0), 0, "", 0).sign())
    if config.QUEUE_BACKEND:
        serializer = huey_queue.SignedJSONSerializer()
        serializer.deserialize(serializer.serialize(()))


PROBES = (
    Probe("settings", chosen, "See docs/settings.md."),
    Probe("base url", base_url, "See docs/settings.md."),
    Probe("keys", keys, "Give every process the same SECRET_KEY, TICKET_KEYS and QUEUE_KEYS."),
)
