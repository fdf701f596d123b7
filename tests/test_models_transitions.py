"""The transitions of a FileRequest, one by one: when each wins, when it loses, and what it writes."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from exports.conf import config
from exports.models import ACTIVE, Artifact, FileRequest, Notification, Status, transitions
from exports.models.progress import Snapshot
from exports.models.transitions import Claim
from tests.shop.requests import NOON, after, at_once, changes, claimed, in_status, made, queued, row
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

Transition = Callable[[FileRequest], Any]
LATER = after(10 * 365 * 86400)
LEASE = config.LEASE_SECONDS


def held(export: FileRequest) -> Claim:
    """The claim of a worker with the epoch that `export` was loaded with."""
    return Claim(export.pk, export.epoch, "generated/some-key.csv", export.file_type)


def renew(claim: Claim, progress: Snapshot, *, now: Any = None, **options: Any) -> FileRequest | None:
    return transitions.renew_lease(claim, progress, **{"began_phase": False, "progressed": True, "now": now} | options)


QUEUED, RUNNING, READY = (Status.QUEUED,), (Status.RUNNING,), (Status.READY,)
ERROR = {"code": "unavailable", "detail": "at x.py:1"}
# The statuses from which each is possible, and how it is called.
TRANSITIONS: dict[str, tuple[tuple[str, ...], Callable[[FileRequest, datetime], Any]]] = {
    "claim": (QUEUED, lambda it, now: transitions.claim(it, owner="host:1:1", extension="csv", now=now)),
    "renew_lease": (RUNNING, lambda it, now: renew(held(it), Snapshot("writing", 1), now=now)),
    "publish": (RUNNING, lambda it, now: transitions.publish(held(it), made(), now=now)),
    "release": (RUNNING, lambda it, now: transitions.release(held(it), now=now)),
    "retry_later": (RUNNING, lambda it, now: transitions.retry_later(held(it), delay=7.5, **ERROR, now=now)),
    "fail": (RUNNING, lambda it, now: transitions.fail(held(it), **ERROR, now=now)),
    "rescue": (RUNNING, lambda it, now: transitions.rescue(it, now=now)),
    "cancel": (ACTIVE, lambda it, now: transitions.cancel(it, now=now)),
    "time_out": (QUEUED, lambda it, now: transitions.time_out(it, now=now)),
    "expire": (READY, lambda it, now: transitions.expire(it, now=now)),
    "revoke_links": (READY, lambda it, now: transitions.revoke_links(it)),
    "share": (READY, lambda it, now: transitions.share(it, seconds=60, now=now)),
}


def act(name: str, export: FileRequest, now: datetime = LATER) -> Any:
    """Call it, by default at a time when nothing but the status and the epoch can prevent it."""
    return TRANSITIONS[name][1](export, now)


def everything(export: FileRequest) -> tuple[Any, ...]:
    rows = list(FileRequest.objects.filter(pk=export.pk).values())
    return rows, list(Artifact.objects.values()), list(Notification.objects.values())


# Guards


@pytest.mark.parametrize("status", Status.values)
@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_transition_wins_only_from_its_statuses_else_it_changes_nothing(name: str, status: str) -> None:
    export = in_status(status)
    before, seq = everything(export), export.seq

    won = act(name, export)

    assert bool(won) is (status in TRANSITIONS[name][0])
    if won:
        assert row(export.pk)["seq"] == seq + 1
    else:
        assert everything(export) == before


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_transition_loses_with_another_epoch_except_cancel_and_revoke(name: str, step: int) -> None:
    export = in_status(TRANSITIONS[name][0][0])
    FileRequest.objects.filter(pk=export.pk).update(epoch=5)
    before = everything(export)
    export.epoch = 5 + step

    assert bool(act(name, export)) is (name in ("cancel", "revoke_links"))
    assert (everything(export) == before) is (name not in ("cancel", "revoke_links"))


@pytest.mark.parametrize("name", TRANSITIONS)
def test_a_transition_of_a_deleted_row_loses(name: str) -> None:
    export = in_status(TRANSITIONS[name][0][0])
    FileRequest.objects.filter(pk=export.pk).delete()
    assert not act(name, export)
    assert not FileRequest.objects.exists()


@pytest.mark.parametrize("name", ["claim", "time_out", "cancel"])
def test_a_row_that_was_inserted_as_finished_never_changes(name: str) -> None:
    export = FileRequest.objects.create(file_type="orders", finished_at=NOON)
    before = everything(export)
    assert not act(name, export)
    assert everything(export) == before


# What each writes

NO_LEASE = {"lease_owner": "", "lease_expires_at": None, "deadline_at": None}
FENCED = {"seq": 2, "epoch": 2}


def back_in_queue(seconds: float, **columns: Any) -> dict[str, Any]:
    progress = {"phase": "queued", "phase_started_at": None, "progressed_at": after(seconds)}
    return {"status": "queued", "seq": 2, **progress, **NO_LEASE, **columns}


WRITTEN_ERROR = {"error_code": "unavailable", "error_detail": "at x.py:1"}
# The seconds after which each is called, and what changes.
WRITES: dict[str, tuple[float, dict[str, Any]]] = {
    "release": (2, back_in_queue(2, attempts=0)),
    "retry_later": (2, back_in_queue(2, not_before=after(9.5), **WRITTEN_ERROR)),
    "rescue": (LEASE + 1, back_in_queue(LEASE + 1, epoch=2, crashes=1)),
    "fail": (2, {"status": "failed", "seq": 2, "finished_at": after(2), **WRITTEN_ERROR, **NO_LEASE}),
    "cancel": (3, {"status": "cancelled", "finished_at": after(3), **FENCED, **NO_LEASE}),
    "time_out": (9e4, {"status": "failed", "seq": 1, "finished_at": after(9e4), "error_code": "expired_in_queue"}),
    "expire": (60, {"status": "expired", "seq": 3, "epoch": 2, "expires_at": after(60)}),
    "revoke_links": (0, {"seq": 3, "epoch": 2}),
    "share": (0, {"seq": 3, "public_until": after(60)}),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_transition_writes_exactly_these_columns(name: str) -> None:
    seconds, expected = WRITES[name]
    export = in_status(TRANSITIONS[name][0][-1])
    before = row(export.pk)
    Notification.objects.all().delete()

    assert act(name, export, after(seconds))

    assert changes(before, row(export.pk)) == expected
    mails = list(Notification.objects.values_list("kind", "due_at"))
    is_failed = expected.get("status") == "failed"
    assert mails == ([("failed", after(seconds + config.MAIL_DELAY_SECONDS))] if is_failed else [])


def test_a_claim_takes_the_lease_and_records_its_key() -> None:
    export = queued()
    before = row(export.pk)

    claim = transitions.claim(export, owner="host:7:8", extension="xlsx", runtime=600, now=after(5))

    assert claim is not None
    assert changes(before, row(export.pk)) == {
        "status": "running",
        "epoch": 1,
        "seq": 1,
        "attempts": 1,
        "lease_owner": "host:7:8",
        "lease_expires_at": after(5 + LEASE),
        "deadline_at": after(5 + 600),
        "started_at": after(5),
        "phase": "counting",
        "phase_started_at": after(5),
        "progressed_at": after(5),
    }
    artifact = Artifact.objects.get()
    assert (artifact.request_id, artifact.epoch, artifact.state) == (export.pk, claim.epoch, "staged")
    assert artifact.key == claim.key
    assert claim.key.startswith(f"generated/{export.pk}/1-")
    assert claim.key.endswith(".xlsx")


def test_a_claim_and_a_wake_lose_before_the_request_is_due() -> None:
    export, claim = claimed()
    assert transitions.retry_later(claim, delay=60, code="unavailable", detail="", now=NOON)
    export.refresh_from_db()

    assert not transitions.mark_woken([export.pk], now=after(59))
    assert not act("claim", export, after(59))
    assert transitions.mark_woken([export.pk], now=after(60))
    assert act("claim", export, after(60))


def test_publish_writes_the_file_clears_the_error_and_queues_the_mail() -> None:
    export, first = claimed()
    assert transitions.retry_later(first, delay=0, code="unavailable", detail="ConnectionError", now=NOON)
    export.refresh_from_db()
    _, claim = claimed(export)
    before = row(export.pk)

    assert transitions.publish(claim, made(receipt={"rows": 7, "language": "de"}), now=after(30))

    assert changes(before, row(export.pk)) == {
        "status": "ready",
        "seq": 4,
        "error_code": "",
        "error_detail": "",
        "filehandle": claim.key,
        "filename": "orders.csv",
        "content_type": "text/csv",
        "size": 3,
        "sha256": "ab" * 32,
        "receipt": {"rows": 7, "language": "de"},
        "rows_done": 7,
        "rows_total": 7,
        "phase": "done",
        "finished_at": after(30),
        "expires_at": after(30 + config.RETENTION_SECONDS),
        **NO_LEASE,
    }
    assert Artifact.objects.get(key=claim.key).state == "published"
    mail = Notification.objects.get()
    assert (mail.request_id, mail.kind, mail.state) == (export.pk, "ready", "pending")
    assert mail.due_at == after(30 + config.MAIL_DELAY_SECONDS)
    assert mail.message_id.startswith("<")
    assert mail.message_id.endswith("@exports.example>")


def test_publish_is_all_or_nothing() -> None:
    export, claim = claimed()
    before = everything(export)
    with pytest.raises(TypeError), transaction.atomic():
        transitions.publish(claim, made(receipt={"not JSON": object()}), now=NOON)
    assert everything(export) == before


def test_an_expiry_in_the_past_stays_when_the_file_expires() -> None:
    export = in_status(Status.READY)
    assert transitions.expire(export, now=LATER)
    assert row(export.pk)["expires_at"] == after(config.RETENTION_SECONDS)


def test_the_first_expiry_stays() -> None:
    export = queued()
    assert transitions.set_expiry_once(export, timedelta(hours=1), now=NOON)
    assert not transitions.set_expiry_once(export, timedelta(hours=9), now=NOON)
    assert row(export.pk)["expires_at"] == after(3600)


# Leases


def test_renewing_writes_the_lease_the_progress_and_its_times() -> None:
    export, claim = claimed()
    before = row(export.pk)

    renewed = renew(claim, Snapshot("writing", 10, 100, 40, 90), began_phase=True, now=after(15))

    assert renewed is not None
    assert {name: getattr(renewed, name) for name in before} == row(export.pk)
    assert changes(before, row(export.pk)) == {
        "seq": 2,
        "lease_expires_at": after(15 + LEASE),
        "phase": "writing",
        "phase_started_at": after(15),
        "progressed_at": after(15),
        "rows_done": 10,
        "rows_total": 100,
        "bytes_done": 40,
        "bytes_total": 90,
    }


def test_renewing_without_progress_writes_the_lease_alone() -> None:
    export, claim = claimed()
    before = row(export.pk)
    assert renew(claim, Snapshot("counting"), progressed=False, now=after(15))
    assert changes(before, row(export.pk)) == {"seq": 2, "lease_expires_at": after(15 + LEASE)}


def test_renewing_a_seen_row_is_one_statement_and_returns_the_new_row(django_assert_num_queries: Any) -> None:
    _, claim = claimed()
    assert renew(claim, Snapshot("writing", 10, 100), began_phase=True, now=after(15))
    seen, before = FileRequest.objects.get(), row(claim.request_id)

    with django_assert_num_queries(1):
        renewed = renew(claim, Snapshot("writing", 20, 100), seen=seen, progressed_at=after(16))

    now = row(claim.request_id)
    lease = {"lease_expires_at": now["lease_expires_at"]}
    assert changes(before, now) == {"seq": 3, "progressed_at": after(16), "rows_done": 20, **lease}
    assert {name: getattr(renewed, name) for name in now} == now | {"lease_expires_at": before["lease_expires_at"]}
    assert seen.rows_done == 10


def test_a_renewed_lease_counts_from_the_clock_of_the_database() -> None:
    _, claim = claimed(now=timezone.now())
    yesterday = timezone.now() - timedelta(days=1)
    assert renew(claim, Snapshot("counting", 1), seen=FileRequest.objects.get(), progressed_at=yesterday)
    left = FileRequest.objects.get().lease_expires_at - timezone.now()
    assert timedelta(seconds=LEASE - 30) < left <= timedelta(seconds=LEASE)


MEANWHILE: dict[str, Transition] = {
    "another renewal": lambda seen: renew(held(seen), Snapshot("writing", 15)),
    "a cancel": transitions.cancel,
    "a rescue": lambda seen: transitions.rescue(seen, now=LATER),
    "a publish": lambda seen: transitions.publish(held(seen), made()),
    "a deletion": lambda seen: FileRequest.objects.all().delete(),
}


@pytest.mark.parametrize("name", MEANWHILE)
def test_renewing_a_seen_row_loses_against_any_change_since(name: str) -> None:
    _, claim = claimed()
    seen = FileRequest.objects.get()
    assert MEANWHILE[name](seen)
    before = list(FileRequest.objects.values())
    assert renew(claim, Snapshot("writing", 20, 100), seen=seen, progressed_at=after(16)) is None
    assert list(FileRequest.objects.values()) == before


@pytest.mark.parametrize(
    "end",
    [
        lambda claim: renew(claim, Snapshot("writing", 101, None), now=after(9)),
        lambda claim: transitions.publish(claim, made(), now=after(9)),
        lambda claim: transitions.release(claim, now=after(9)),
    ],
)
def test_an_estimated_total_is_marked_until_it_ends(end: Callable[[Claim], Any]) -> None:
    export, claim = claimed()
    assert renew(claim, Snapshot("writing", 10, 100, rows_estimated=True), began_phase=True, now=after(5))
    assert (row(export.pk)["rows_total"], row(export.pk)["rows_estimated"]) == (100, True)
    assert end(claim)
    assert row(export.pk)["rows_estimated"] is False


def test_a_rescue_loses_while_the_lease_holds_and_after_a_renewal() -> None:
    export, claim = claimed()
    assert not transitions.rescue(export, now=after(LEASE))
    assert renew(claim, Snapshot("counting"), progressed=False, now=after(LEASE - 1))
    assert not transitions.rescue(export, now=after(LEASE + 1))


def test_the_last_allowed_crash_ends_the_export_as_failed_with_a_mail() -> None:
    export, _ = claimed(queued(crashes=config.MAX_CRASHES - 1))
    assert transitions.rescue(export, now=after(LEASE + 1))
    export.refresh_from_db()
    assert (export.status, export.crashes) == (Status.FAILED, config.MAX_CRASHES)
    assert (export.error_code, export.finished_at) == ("worker_lost", after(LEASE + 1))
    assert Notification.objects.get().kind == "failed"


# Waking and mails


def test_a_worker_is_woken_again_only_after_an_interval() -> None:
    export, interval = queued(woken_at=NOON), config.WAKE_AGAIN_SECONDS
    assert not transitions.mark_woken([export.pk], now=after(interval))
    assert transitions.mark_woken([export.pk], now=after(interval + 1))
    assert row(export.pk)["woken_at"] == after(interval + 1)
    assert not transitions.mark_woken([export.pk], now=after(interval + 2))


@pytest.mark.parametrize("status", Status.values)
def test_ended_exports_are_marked_as_seen_once_and_queued_ones_as_woken(status: str) -> None:
    export = in_status(status)
    before = row(export.pk)
    is_seen = status in (Status.READY, Status.FAILED)

    assert transitions.mark_seen(export, now=after(5)) is is_seen
    assert not transitions.mark_seen(export, now=after(6))
    assert changes(before, row(export.pk)) == ({"seen_at": after(5)} if is_seen else {})
    assert transitions.mark_woken([export.pk], now=LATER) == (status == Status.QUEUED)


# Active rows with one dedupe_key


def test_an_active_row_with_the_same_key_is_joined_inside_a_transaction_too() -> None:
    first = queued(dedupe_key="same")

    with transaction.atomic():
        again, is_new = transitions.enqueue(FileRequest(file_type="orders", dedupe_key="same"))
        assert (again.pk, is_new) == (first.pk, False)
        # Rows without a key are never joined.
        for key in ("other", "", ""):
            assert transitions.enqueue(FileRequest(file_type="orders", dedupe_key=key))[1]

    assert FileRequest.objects.count() == 4


def test_a_row_is_inserted_if_the_active_one_ends_during_the_conflict() -> None:
    active = queued(dedupe_key="same")

    def end_the_active_one(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        try:
            return execute(sql, params, many, context)
        except IntegrityError:
            ended.append(True)
            raise
        finally:
            if ended == [True] and sql.startswith(("ROLLBACK TO", "RELEASE")):
                ended.append(False)
                transitions.cancel(active)

    ended: list[bool] = []
    with connection.execute_wrapper(end_the_active_one):
        export, is_new = transitions.enqueue(FileRequest(file_type="orders", dedupe_key="same"))

    assert is_new
    assert export.pk != active.pk


def test_any_other_integrity_error_is_raised() -> None:
    export = queued(dedupe_key="one")
    with pytest.raises(IntegrityError):
        transitions.enqueue(FileRequest(pk=export.pk, file_type="orders", dedupe_key="another"))


# The clock, and races


def claim_now(export: FileRequest) -> Claim | None:
    return transitions.claim(export, owner="", extension="csv")


def mark_woken(export: FileRequest, *, now: Any = None) -> int:
    return transitions.mark_woken([export.pk], now=now)


TIMES = [("started_at", claim_now), ("finished_at", transitions.cancel), ("woken_at", mark_woken)]


@pytest.mark.parametrize(("column", "transition"), TIMES)
def test_times_come_from_the_clock_of_the_database(column: str, transition: Transition) -> None:
    export = queued()
    assert transition(export)
    assert abs(row(export.pk)[column] - timezone.now()) < timedelta(seconds=30)


@pytest.mark.django_db(transaction=True)
def test_of_eight_simultaneous_claims_one_wins() -> None:
    for _ in range(6):
        export = queued()
        workers = [FileRequest.objects.get(pk=export.pk) for _ in range(8)]

        claims = at_once(*[partial(claim_now, each) for each in workers])

        [winner] = [claim for claim in claims if claim is not None]
        assert Artifact.objects.get(request=export).key == winner.key
        assert row(export.pk)["attempts"] == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("rival", "status"), [(transitions.cancel, "cancelled"), (transitions.rescue, "queued")])
def test_publish_and_its_rival_at_once_have_one_winner(rival: Transition, status: str) -> None:
    for _ in range(8):
        export, claim = claimed(queued(requester=None), now=NOON)
        published, won = at_once(partial(transitions.publish, claim, made()), partial(rival, export))

        assert [published, won].count(True) == 1
        written = row(export.pk)
        assert written["status"] == (Status.READY if published else status)
        assert bool(written["filehandle"]) is published
        assert Notification.objects.filter(request=export).count() == int(published)
        assert Artifact.objects.get(request=export).state == ("published" if published else "staged")


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has no server that could end a transaction")
def test_the_locks_of_a_frozen_process_are_released_after_a_lease(settings: Any) -> None:
    configure(settings, LEASE_SECONDS=0.5)
    export = queued()
    is_frozen, thaw, raised = threading.Event(), threading.Event(), []

    def freeze(export: FileRequest) -> transitions.Attempt:
        is_frozen.set()
        thaw.wait(30)
        return transitions.Attempt("csv", None)

    def claim() -> None:
        try:
            transitions.claim_first("large", ["orders"], owner="host:1:1", attempt=freeze)
        except DatabaseError as error:
            raised.append(error)
        finally:
            connection.close()

    worker = threading.Thread(target=claim)
    worker.start()
    assert is_frozen.wait(30)
    assert transitions.cancel(export), "it waits for the lock no longer than a lease"
    thaw.set()
    worker.join(30)

    assert len(raised) == 1
    assert row(export.pk)["status"] == "cancelled"
