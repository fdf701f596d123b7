"""Probe the configuration: the system checks, BASE_URL and the secrets."""

from collections.abc import Iterator
from uuid import UUID

from django.conf import settings
from django.core.checks import run_checks

from exports import checks
from exports.access import tenants
from exports.contrib.operations.doctor.findings import Finding, Probe, from_checks, ok, warning
from exports.queue import base as queue
from exports.queue import huey as huey_queue
from exports.signing import Ticket


def system_checks(name: str) -> list[Finding]:
    """Report what `manage.py check` says about the app."""
    return from_checks(name, run_checks(tags=["exports"])) or [ok(name, "manage.py check reports nothing.")]


def base_url(name: str) -> list[Finding]:
    """Report whether links in mails work."""
    return from_checks(name, checks.check_base_url()) or [ok(name, tenants.base_url("") or "A function of the tenant.")]


def secrets(name: str) -> Iterator[Finding]:
    """Report weak secrets, and whether this process can read what it signs. Never shows a secret."""
    findings = from_checks(name, checks.check_secrets())
    if settings.SECRET_KEY.startswith("django-insecure-"):
        advice = "Set SECRET_KEY to a long random text, the same for every process."
        findings.append(warning(name, "SECRET_KEY is one for development.", advice))
    yield from findings
    Ticket.read(Ticket(UUID(int=0), 0, "", 0).sign())
    if queue.has_own_workers():
        serializer = huey_queue.SignedJSONSerializer()
        serializer.deserialize(serializer.serialize(()))
    if not findings:
        yield ok(name, "Strong and separate; this process can read what it signs.")


PROBES = (
    Probe("settings", system_checks, "See docs/settings.md."),
    Probe("base url", base_url, "See docs/settings.md."),
    Probe("secrets", secrets, "Give every process the same SECRET_KEY, TICKET_KEYS and QUEUE_KEYS."),
)
