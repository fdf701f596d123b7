"""The services an export needs: database, queue, channel layer, mail server; and whether the clocks agree."""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.mail import get_connection
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now
from django.utils import timezone

from exports.conf import config
from exports.contrib.operations.doctor.findings import Finding, Probe, error, ok, warning
from exports.models import FileRequest
from exports.queue import huey as huey_queue
from exports.realtime import events

NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "mysql": "MySQL", "oracle": "Oracle"}
SKEW_WARNING, SKEW_ERROR = 2.0, 30.0
ANSWER_SECONDS = 2.0
LOOK_AGAIN_SECONDS = 1.0
TOO_MANY_BELLS = 1000
GROWING = 10
NOT_A_SERVER = ("filebased", "console", "locmem", "dummy")


def database(name: str) -> Iterator[Finding]:
    version = ".".join(map(str, connection.get_database_version()))
    kind = NAMES.get(connection.vendor, connection.vendor)
    missing = _unapplied()
    if missing:
        yield error(name, f"{kind} {version} lacks {', '.join(missing)}.", "Run manage.py migrate.")
    elif connection.vendor == "sqlite" and _journal_mode() != "wal":
        advice = "Set init_command to PRAGMA journal_mode=WAL, see docs/deploying.md."
        yield warning(name, f"{kind} {version} is not in WAL mode: readers and writers wait for each other.", advice)
    else:
        yield ok(name, f"{kind} {version}, all migrations applied.")


def clocks(name: str) -> Iterator[Finding]:
    before = timezone.now()
    theirs = _database_now()
    ahead = ((before + (timezone.now() - before) / 2) - theirs).total_seconds()
    text = f"This host is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database."
    advice = "Let NTP set both clocks. Leases go by the database's, tickets and signed addresses by the hosts'."
    if abs(ahead) > SKEW_ERROR:
        yield error(name, text, advice)
    else:
        yield warning(name, text, advice) if abs(ahead) > SKEW_WARNING else ok(name, text)


def queue(name: str) -> Iterator[Finding]:
    if not config.QUEUE_BACKEND:
        yield ok(name, "None: EXPORTS['QUEUE_BACKEND'] is None, so cron makes the files.")
        return
    server = huey_queue.server()
    began = time.monotonic()
    server.ping()
    answered = time.monotonic() - began
    about = server.info()
    version = about.get("valkey_version") or about.get("redis_version", "")
    policy = about.get("maxmemory_policy", "noeviction")
    if about.get("maxmemory") and policy != "noeviction":
        advice = "Set maxmemory-policy to noeviction, or give the exports a server of their own."
        yield warning(name, f"Its server may forget bells when its memory is full ({policy}).", advice)
    yield from _bells(name, f"Version {version} answers in {answered * 1000:.1f} ms")


def channels(name: str) -> Iterator[Finding]:
    layer = getattr(settings, "CHANNEL_LAYERS", {}).get("default", {}).get("BACKEND", "")
    if not layer:
        yield warning(name, "There is no channel layer: pages poll.", "Set CHANNEL_LAYERS, see docs/deploying.md.")
    elif "InMemory" in layer:
        advice = "Set CHANNEL_LAYERS to channels_redis' pubsub layer, see docs/deploying.md."
        yield warning(name, "The channel layer is in memory: no other process hears a worker.", advice)
    else:
        events.reach(ANSWER_SECONDS)
        yield ok(name, f"{layer.rpartition('.')[2]} takes messages.")


def mail_server(name: str) -> Iterator[Finding]:
    kind = settings.EMAIL_BACKEND.split(".")[-2]
    if kind in NOT_A_SERVER:
        advice = "Set EMAIL_URL, or EMAIL_BACKEND and its kin, to a mail server."
        yield warning(name, f"Mails are sent to nobody: the backend is {kind}.", advice)
        return
    server = get_connection(timeout=ANSWER_SECONDS)
    server.open()
    server.close()
    yield ok(name, f"{getattr(server, 'host', kind)} answers; nothing was sent.")


def _unapplied() -> list[str]:
    executor = MigrationExecutor(connection)
    wanted = [key for key in executor.loader.graph.leaf_nodes() if key[0] == "exports"]
    return [f"{migration.app_label}.{migration.name}" for migration, _ in executor.migration_plan(wanted)]


def _journal_mode() -> str:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode")
        return cursor.fetchone()[0]


def _database_now() -> datetime:
    """What Now() is there, with or without a row to ask."""
    sql, parameters = FileRequest.objects.all().query.get_compiler(connection=connection).compile(Now())
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql}", parameters)
        return _as_moment(cursor.fetchone()[0])


def _as_moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if timezone.is_aware(moment) else moment.replace(tzinfo=connection.timezone)


def _bells(name: str, about: str) -> Iterator[Finding]:
    """Bells that nobody hears pile up: looked at twice, because a number alone does not say that it grows."""
    before = {queue_name: huey_queue.bells(queue_name) for queue_name in config.QUEUES}
    time.sleep(LOOK_AGAIN_SECONDS)
    after = {queue_name: huey_queue.bells(queue_name) for queue_name in config.QUEUES}
    piling = [
        queue_name
        for queue_name in after
        if after[queue_name] > TOO_MANY_BELLS or after[queue_name] - before[queue_name] > GROWING
    ]
    counts = ", ".join(f"{queue_name} {count}" for queue_name, count in after.items())
    if piling:
        advice = f"Start workers: manage.py exports work {piling[0]}. What has piled up is taken off in seconds."
        yield warning(name, f"{about}. Bells pile up: {counts}.", advice)
    elif not all(huey_queue.is_ours(queue_name) for queue_name in config.QUEUES):
        advice = "Give every process the same QUEUE_KEYS and SECRET_KEY."
        yield error(name, f"{about}. A bell is not signed with a key of this process.", advice)
    else:
        yield ok(name, f"{about}. Bells that wait: {counts}.")


DATABASE = Probe("database", database, "Start the database, or correct DATABASE_URL.")
PROBES = (
    Probe("clocks", clocks, "See to the database first.", needs_rows=True),
    Probe("queue", queue, "Start Valkey or Redis, or correct REDIS_URL. Until then no worker hears of a new request."),
    Probe("channels", channels, "Start the channel layer's server, or correct CHANNEL_LAYERS. Until then pages poll."),
    Probe("mail server", mail_server, "Correct EMAIL_URL, or its host, port, user and password. Mails wait."),
)
