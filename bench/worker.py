"""What a worker of bench/live does: `fill` creates rows, `send` changes them and tells when. Its input is JSON.

The clocks of its output and of `bench.watchers` are the same: seconds of the machine's monotonic clock.
"""

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from itertools import cycle, islice
from uuid import uuid4

import django

Event = tuple[str, int, float, bool]
"""The export, the number of its state, when it was sent, and True for the last one of the export."""


def fill(sockets: int, shape: str) -> list[dict[str, str]]:
    """Create a signed-in user and a running export for each socket. Return their session cookies and exports."""
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    from django.contrib.sessions.models import Session
    from django.utils import timezone

    from exports.models import FileRequest, Status

    names = (f"user{number}" for number in range(sockets))
    users = User.objects.bulk_create(User(username=name, password="!", is_superuser=shape == "one") for name in names)
    store, sessions, now = SessionStore(), [], timezone.now()
    for user in users:
        data = {
            SESSION_KEY: str(user.pk),
            BACKEND_SESSION_KEY: "django.contrib.auth.backends.ModelBackend",
            HASH_SESSION_KEY: user.get_session_auth_hash(),
        }
        key = uuid4().hex
        sessions.append(Session(session_key=key, session_data=store.encode(data), expire_date=now + timedelta(days=1)))
    Session.objects.bulk_create(sessions)
    exports = FileRequest.objects.bulk_create(
        FileRequest(
            requester=user, file_type="flights", format="csv", filename="flights.csv", description="Flights",
            criteria="month=4&carrier=UA", status=Status.RUNNING, phase="writing", epoch=1, attempts=1, seq=1,
            rows_total=1_000_000, started_at=now, phase_started_at=now, progressed_at=now,
            lease_owner="bench:1:1", lease_expires_at=now + timedelta(hours=1),
        )
        for user in users[: 1 if shape == "one" else None]
    )  # fmt: skip
    each = exports * sockets if shape == "one" else exports
    return [
        {"cookie": session.session_key, "export": str(export.pk)}
        for session, export in zip(sessions, each, strict=True)
    ]


def send(tool: str, shape: str, exports: list[str], *, rate: float, seconds: float, ends: int) -> list[Event]:
    """Change the exports in turn, `rate` times a second for `seconds`, then end `ends` of them at the same rate."""
    change = CHANGES[tool]()
    events: list[Event] = []
    begin, total = time.monotonic(), int(rate * seconds)
    numbers = dict.fromkeys(exports, 1)
    planned = [(export, False) for export in islice(cycle(exports), total)]
    planned += [(export, True) for export in exports[:ends]]
    for place, (export, is_last) in enumerate(planned):
        time.sleep(max(0.0, begin + place / rate - time.monotonic()))
        numbers[export] += 1
        events.append((export, numbers[export], change(export, numbers[export], is_last), is_last))
    return events


Change = Callable[[str, int, bool], float]


def ours() -> Change:
    from uuid import UUID

    from exports.models import FileRequest, transitions
    from exports.models.progress import WRITING, Snapshot
    from exports.models.result import ExportResult
    from exports.realtime import events

    def change(export: str, number: int, is_last: bool) -> float:
        claim = transitions.Claim(UUID(export), 1, f"bench/{export}.csv", "flights")
        if is_last:
            result = ExportResult("flights.csv", "text/csv", 1_000_000, {"rows": 1_000_000}, size=1, sha256="0" * 64)
            assert transitions.publish(claim, result)
            row: FileRequest | None = FileRequest.objects.get(pk=export)
        else:
            progress = Snapshot(WRITING, number * 1000, 1_000_000, 0, None)
            row = transitions.renew_lease(claim, progress, began_phase=False, progressed=True)
        assert row is not None
        assert row.seq == number
        at = time.monotonic()
        events.send_state(row)
        return at

    return change


def celery_progress() -> Change:
    from bench.live_celery import celery_app

    def change(export: str, number: int, is_last: bool) -> float:
        meta = {"pending": False, "current": number, "total": 1_000_000, "percent": 1.0, "description": ""}
        at = time.monotonic()
        celery_app.backend.store_result(export, number if is_last else meta, "SUCCESS" if is_last else "PROGRESS")
        return at

    return change


def django_eventstream() -> Change:
    from django_eventstream import send_event

    def change(export: str, number: int, is_last: bool) -> float:
        at = time.monotonic()
        send_event(export, "message", {"seq": number, "status": "ready" if is_last else "running"})
        return at

    return change


CHANGES: dict[str, Callable[[], Change]] = {
    "ours": ours,
    "polling": ours,
    "celery-progress": celery_progress,
    "django-eventstream": django_eventstream,
}


if __name__ == "__main__":
    django.setup()
    asked = json.load(sys.stdin)
    print(json.dumps({"fill": fill, "send": send}[sys.argv[1]](**asked)))
