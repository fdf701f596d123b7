"""Probe the services that exports need: database, queue, channel layer, mail server; and compare the clocks."""

import time
from collections.abc import Iterator
from datetime import datetime

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from exports import checks, notifications
from exports.conf import config, key_prefix
from exports.contrib.operations.doctor.findings import Finding, Probe, error, from_checks, ok, warning
from exports.contrib.operations.doctor.other_queues import broker
from exports.models import FileRequest
from exports.models.clock import Now
from exports.queue import huey as huey_queue
from exports.queue import redis
from exports.queue.base import has_own_workers
from exports.realtime import events

DATABASE_NAMES = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "mysql": "MySQL", "oracle": "Oracle"}
CLOCK_WARNING_SECONDS, CLOCK_ERROR_SECONDS = 2.0, 30.0
TIMEOUT_SECONDS = 2.0
SAMPLE_SECONDS = 1.0
MAX_MESSAGES = 1000
MAX_NEW_MESSAGES = 10


def database(name: str) -> Iterator[Finding]:
    """Report the version, missing migrations, and on SQLite the journal mode."""
    version = f"{DATABASE_NAMES.get(connection.vendor, connection.vendor)} " + ".".join(
        map(str, connection.get_database_version())
    )
    executor = MigrationExecutor(connection)
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "exports"]
    missing = [f"{migration.app_label}.{migration.name}" for migration, _ in executor.migration_plan(targets)]
    journal_mode = "wal"
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode")
            [journal_mode] = cursor.fetchone()
    if missing:
        yield error(name, f"{version} lacks {', '.join(missing)}.", "Run manage.py migrate.")
    elif journal_mode != "wal":
        advice = "Set init_command to PRAGMA journal_mode=WAL, see docs/deploying.md."
        yield warning(name, f"{version} is not in WAL mode: readers and writers wait for each other.", advice)
    else:
        found = from_checks(name, checks.check_pooler(databases=[connection.alias]))
        yield from found or [ok(name, f"{version}, all migrations applied.")]


def clocks(name: str) -> Iterator[Finding]:
    """Report the difference between the clocks of this host and the database."""
    before = timezone.now()
    of_database = _database_now()
    ahead = ((before + (timezone.now() - before) / 2) - of_database).total_seconds()
    text = f"This host is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database."
    advice = "Synchronize both by NTP. Leases use the database's clock, public links the hosts' clocks."
    if abs(ahead) > CLOCK_ERROR_SECONDS:
        yield error(name, text, advice)
    elif abs(ahead) > CLOCK_WARNING_SECONDS:
        yield warning(name, text, advice)
    else:
        yield ok(name, text)


def queue(name: str) -> Iterator[Finding]:
    """Report whether the queue's server answers and keeps its messages, and whether workers read them."""
    if findings := from_checks(name, checks.check_queue()):
        # None is configured, or that of development, which has no server.
        yield from findings
        return
    if not config.QUEUE_BACKEND:
        yield ok(name, "None: EXPORTS['QUEUE_BACKEND'] is None, so cron runs the exports.")
        return
    if not has_own_workers():
        yield from broker(name)
        return
    from redis.exceptions import ResponseError

    server = redis.client()
    began = time.monotonic()
    server.ping()
    milliseconds = (time.monotonic() - began) * 1000
    # A server that is full, or a replica, answers and takes no message.
    try:
        server.set(f"{key_prefix()}.doctor", "", ex=1)
    except ResponseError as refusal:
        advice = "Give the server more memory, or set REDIS_URL to the one that takes writes (docs/deploying.md)."
        yield error(name, f"The server answers, but refuses to store a message: {refusal}", advice)
        return
    info = server.info()
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory") and policy != "noeviction":
        advice = "Set maxmemory-policy to noeviction, or use a separate server for the exports."
        yield warning(name, f"The server may delete messages when its memory is full ({policy}).", advice)
    # Counted twice, because one count does not tell whether it grows.
    before = _unread_messages()
    time.sleep(SAMPLE_SECONDS)
    unread = _unread_messages()
    late = [each for each, count in unread.items() if count > MAX_MESSAGES or count - before[each] > MAX_NEW_MESSAGES]
    counts = ", ".join(f"{queue_name} {count}" for queue_name, count in unread.items())
    version = info.get("valkey_version") or info.get("redis_version", "")
    answer = f"Version {version} answers in {milliseconds:.1f} ms."
    if late:
        advice = f"Start workers: manage.py exports work {late[0]}. They read what has piled up within seconds."
        yield warning(name, f"{answer} Unread messages pile up: {counts}.", advice)
    elif not all(huey_queue.is_signed_here(queue_name) for queue_name in config.QUEUES):
        advice = "Give every process the same QUEUE_KEYS and SECRET_KEY."
        yield error(name, f"{answer} A message is not signed with a key of this process.", advice)
    else:
        yield ok(name, f"{answer} Unread messages: {counts}.")


def channels(name: str) -> Iterator[Finding]:
    """Report whether the channel layer takes a message."""
    backend = checks.channel_layer_backend()
    if not backend:
        yield ok(name, "There is no channel layer: pages poll.")
    elif findings := from_checks(name, checks.check_channel_layer()):
        yield from findings
    else:
        events.ping_channel_layer(TIMEOUT_SECONDS)
        yield ok(name, f"{backend.rpartition('.')[2]} takes messages.")


def mail_server(name: str) -> Iterator[Finding]:
    """Connect and log in to the mail server; send nothing."""
    if findings := from_checks(name, checks.check_mail_backend()):
        yield from findings
        return
    server = notifications.connection(TIMEOUT_SECONDS)
    server.open()
    server.close()
    yield ok(name, f"{getattr(server, 'host', notifications.backend_path())} answers; nothing was sent.")


def _database_now() -> datetime:
    # Compiled without a table, because the app may have no row to select Now() from.
    sql, parameters = FileRequest.objects.all().query.get_compiler(connection=connection).compile(Now())
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql}", parameters)
        [value] = cursor.fetchone()
    now = datetime.fromisoformat(value) if isinstance(value, str) else value
    return now if timezone.is_aware(now) else now.replace(tzinfo=connection.timezone)


def _unread_messages() -> dict[str, int]:
    return {queue_name: huey_queue.pending(queue_name) for queue_name in config.QUEUES}


DATABASE = Probe("database", database, "Start the database, or correct DATABASE_URL.")
PROBES = (
    Probe("clocks", clocks, "Fix the database first.", needs_rows=True),
    Probe("queue", queue, "Start the queue's server, or correct its address. Until then no worker is woken."),
    Probe("channels", channels, "Start the channel layer's server, or correct CHANNEL_LAYERS. Until then pages poll."),
    Probe("mail server", mail_server, "Correct EMAIL_URL, or its host, port, user and password. Mails wait."),
)
