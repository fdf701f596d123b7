"""What a socket that connects again has missed: one query answers all that ask at about the same time.

After a restart thousands of pages say which states they know, and most have missed nothing. Only the numbers of their
exports are read then, from the database itself: a cache beside it could be behind it, lost or forged.
"""

import asyncio
import hashlib
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import timedelta
from functools import cache
from typing import NamedTuple
from uuid import UUID

from django.db import InternalError, NotSupportedError, ProgrammingError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Q
from django.utils import timezone

from exports.access import tenants
from exports.conf import config
from exports.models import ACTIVE, FileRequest
from exports.realtime import admission

log = logging.getLogger("exports.realtime.resume")

SNAPSHOT_AGE = timedelta(hours=24)
WAIT_SECONDS = 0.05
USERS_AT_ONCE = 100


class Missed(NamedTuple):
    """The exports whose states are to be sent, those that are gone, and what tells one database from another.

    `is_restored` is True if the client has heard of another database, or of this one in a later state.
    """

    changed: list[UUID]
    gone: list[UUID]
    epoch: str
    is_restored: bool


class Question(NamedTuple):
    """The exports of a user with the numbers of their states, as a client knows them, and the epoch that it heard.

    `file_types` are those that the client's API token opens; none means all.
    """

    user_id: object
    known: Mapping[UUID, int]
    epoch: str | None
    file_types: Collection[str] = ()


_waiting: dict[tuple[asyncio.AbstractEventLoop, str], list[tuple[Question, asyncio.Future[Missed]]]] = defaultdict(list)
_answering: set[asyncio.Task[None]] = set()


async def missed(question: Question, tenant: str) -> Missed:
    """Return what the client has missed, together with others of this tenant who ask within WAIT_SECONDS."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Missed] = loop.create_future()
    if (loop, tenant) not in _waiting:
        # A task of its own, since the client that asked first may leave.
        answering = asyncio.create_task(_answer(loop, tenant))
        _answering.add(answering)
        answering.add_done_callback(_answering.discard)
    _waiting[loop, tenant].append((question, future))
    return await future


async def _answer(loop: asyncio.AbstractEventLoop, tenant: str) -> None:
    await asyncio.sleep(WAIT_SECONDS)
    together = _waiting.pop((loop, tenant))
    for start in range(0, len(together), USERS_AT_ONCE):
        batch = [
            (question, future) for question, future in together[start : start + USERS_AT_ONCE] if not future.done()
        ]
        try:
            answers = await admission.handshakes.call(compare, [question for question, _ in batch], tenant)
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


def compare(questions: Collection[Question], tenant: str) -> list[Missed]:
    """Return what each client has missed, by one query for all of them."""
    with tenants.active(tenant):
        known = [export_id for question in questions for export_id in question.known]
        rows = FileRequest.objects.of_tenant().filter(
            removed_at=None, requester__in={each.user_id for each in questions}
        )
        rows = rows.filter(recent() | Q(pk__in=known)).order_by("-requested_at")
        found: dict[object, list[tuple[UUID, int, str]]] = defaultdict(list)
        for user_id, export_id, seq, file_type in rows.values_list("requester_id", "pk", "seq", "file_type"):
            found[user_id].append((export_id, seq, file_type))
        epoch = epoch_of(tenant)
    answers = []
    for question in questions:
        opened = question.file_types
        numbers = {pk: seq for pk, seq, file_type in found[question.user_id] if not opened or file_type in opened}
        answers.append(_missed(question, numbers, epoch))
    return answers


def recent() -> Q:
    """Return the condition of what a socket tells on connect: active exports and those ended within SNAPSHOT_AGE."""
    return Q(status__in=ACTIVE) | Q(finished_at__gte=timezone.now() - SNAPSHOT_AGE)


@cache
def epoch_of(tenant: str) -> str:
    """Return a text that is another one for another database. A backup is restored while no process runs.

    PostgreSQL tells a restored cluster by its timeline, if the user of the database may read that, and restored tables
    by their numbers. Other databases only tell when their tables were made first.
    """
    first = MigrationRecorder.Migration.objects.filter(app="exports").order_by("applied", "pk").first()
    marks: list[object] = [tenant, first and first.applied.isoformat()]
    if connection.vendor == "postgresql":
        marks += first_row("SELECT to_regclass(%s)::oid", FileRequest._meta.db_table)
        try:
            # A savepoint, so that a refusal does not end an open transaction.
            with transaction.atomic():
                marks += first_row(
                    "SELECT system_identifier, timeline_id FROM pg_control_system(), pg_control_checkpoint()"
                )
        except (ProgrammingError, NotSupportedError, InternalError) as error:
            # Not an OperationalError: an outage passes, and the epoch would change with it.
            log.warning("PostgreSQL does not tell its timeline: %s", type(error).__name__)
    return hashlib.sha256(repr(marks).encode()).hexdigest()[:16]


def first_row(query: str, *values: str) -> tuple[object, ...]:
    """Return the first row of an SQL query. Raises DatabaseError."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return tuple(cursor.fetchone())


def _missed(question: Question, numbers: Mapping[UUID, int], epoch: str) -> Missed:
    known = question.known
    is_other = question.epoch not in (None, epoch)
    is_restored = is_other or any(numbers.get(export_id, seq) < seq for export_id, seq in known.items())
    newest = [*numbers][: config.SNAPSHOT_MAX_EXPORTS]
    told = [*newest, *(export_id for export_id in numbers if export_id in known and export_id not in newest)]
    changed = [export_id for export_id in told if is_restored or known.get(export_id) != numbers[export_id]]
    return Missed(changed[::-1], [export_id for export_id in known if export_id not in numbers], epoch, is_restored)
