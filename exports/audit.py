"""The chain of the audit log: seal its entries, delete old ones, and find out if one was changed or removed.

With EXPORTS["AUDIT_KEYS"] housekeeping seals each entry some minutes after it was written, in the order of their
positions: the seal is an HMAC of the entry and of the seal before it. Nothing waits for it. An entry that is changed or
removed without the key breaks the chain; one that is changed before it is sealed is not noticed.
"""

import logging
from collections.abc import Iterator
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from exports.conf import config, secret_keys
from exports.models.audit import JOINED_SECONDS, AuditEntry

log = logging.getLogger("exports.audit")

MAX_PER_STEP = 500
MAX_UNSEALED_SECONDS = 3600


def seal() -> int:
    """Seal the entries that have not changed for JOINED_SECONDS. Return how many; none without AUDIT_KEYS.

    A second process that seals the same entries fails at their positions, which are unique.
    """
    if not config.AUDIT_KEYS:
        return 0
    key = secret_keys("AUDIT_KEYS")[0]
    settled = AuditEntry.objects.filter(position=None, at__lt=timezone.now() - timedelta(seconds=JOINED_SECONDS))
    with transaction.atomic():
        # Locked, so that a download that ends now does not change an entry that is being sealed.
        entries = list(settled.select_for_update().order_by("at", "pk")[:MAX_PER_STEP])
        newest = _sealed().last()
        position, previous = (newest.position or 0, newest.seal) if newest else (0, "")
        for entry in entries:
            position += 1
            entry.position, entry.previous = position, previous
            entry.seal = previous = entry.digest(key)
        AuditEntry.objects.bulk_update(entries, ["position", "previous", "seal"], batch_size=100)
    if entries:
        # Kept outside the database, it shows if the end of the chain was removed or replaced.
        log.info("the audit log is sealed up to %d:%s", position, previous)
    return len(entries)


def prune() -> int:
    """Delete entries older than EXPORTS["AUDIT_RETENTION_SECONDS"], at most MAX_PER_STEP. Return how many.

    The newest of the old sealed ones stays: it shows that those before it were old, too.
    """
    if config.AUDIT_RETENTION_SECONDS is None:
        return 0
    before = timezone.now() - timedelta(seconds=config.AUDIT_RETENTION_SECONDS)
    unsealed = AuditEntry.objects.filter(position=None, at__lt=before).order_by("at")
    keys = list(unsealed.values_list("pk", flat=True)[:MAX_PER_STEP])
    sealed = _sealed()[: MAX_PER_STEP + 1].values_list("pk", "at")
    old = []
    for pk, at in sealed:
        if at >= before:
            break
        old.append(pk)
    return AuditEntry.objects.filter(pk__in=[*keys, *old[:-1]]).delete()[0]


def head() -> str:
    """Return the position and the seal of the newest sealed entry, as `verify` takes them; "" if there is none."""
    newest = _sealed().last()
    return f"{newest.position}:{newest.seal}" if newest else ""


def verify(head: tuple[int, str] | None = None) -> Iterator[str]:
    """Yield a sentence for each place where the chain is broken. `head` is a position and its seal, noted before."""
    keys = secret_keys("AUDIT_KEYS")
    last, last_seal = 0, ""
    for entry in _entries():
        number = entry.position or 0
        if not last:
            retention = config.AUDIT_RETENTION_SECONDS
            is_old = retention is not None and entry.at < timezone.now() - timedelta(seconds=retention)
            if number > 1 and not is_old:
                yield f"The entries before number {number} are missing."
        elif number != last + 1:
            yield f"The entries between number {last} and number {number} are missing."
        elif entry.previous != last_seal:
            yield f"Number {number} does not follow number {last}."
        if entry.seal not in [entry.digest(key) for key in keys]:
            yield f"Number {number} was changed."
        if head is not None and head[0] == number and head[1] != entry.seal:
            yield f"Number {number} has another seal than {head[1]}."
        last, last_seal = number, entry.seal
    if head is not None and last < head[0]:
        yield f"The entries from number {last + 1} to number {head[0]} are missing."
    late = timezone.now() - timedelta(seconds=MAX_UNSEALED_SECONDS)
    if unsealed := AuditEntry.objects.filter(position=None, at__lt=late).count():
        yield f"Entries that are not sealed although they are old: {unsealed}. Does housekeeping run?"


def _entries() -> Iterator[AuditEntry]:
    """Yield the sealed entries in batches: a pooler of transactions knows no cursor that stays open between them."""
    last = 0
    while batch := list(_sealed().filter(position__gt=last)[:MAX_PER_STEP]):
        yield from batch
        last = batch[-1].position or 0


def _sealed() -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(position__isnull=False).order_by("position")
