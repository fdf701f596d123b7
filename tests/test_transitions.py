"""The moves of the row, one by one: when each wins, when it loses, and what it writes."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from exports.conf import config
from exports.models import ACTIVE, Artifact, FileRequest, Notification, Status, transitions
from exports.models.progress import Snapshot
from exports.models.transitions import Claim
from tests.shop.requests import NOON, after, at_once, changes, claimed, in_status, made, queued, row, user

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

Move = Callable[[FileRequest], Any]
LATER = after(10 * 365 * 86400)


def held(request: FileRequest) -> Claim:
    """The claim of a worker with exactly the epoch that `request` was loaded with."""
    return Claim(request.pk, request.epoch, "generated/some-key.csv")


# Each move at a time when nothing but the status and the epoch can be in its way.
MOVES: dict[str, Move] = {
    "claim": lambda request: transitions.claim(request, owner="host:1:1", extension="csv", now=LATER),
    "beat": lambda request: transitions.renew_lease(
        held(request), Snapshot("writing", 1), began_phase=True, moved=True, now=LATER
    ),
    "publish": lambda request: transitions.publish(held(request), made(), now=LATER),
    "release": lambda request: transitions.release(held(request), now=LATER),
    "retry_later": lambda request: transitions.retry_later(
        held(request), delay=1, code="unavailable", detail="", now=LATER
    ),
    "fail": lambda request: transitions.fail(held(request), code="no_file", detail="", now=LATER),
    "refuse": lambda request: transitions.refuse(request, code="permission_lost", now=LATER),
    "rescue": lambda request: transitions.rescue(request, now=LATER),
    "cancel": lambda request: transitions.cancel(request, now=LATER),
    "time_out": lambda request: transitions.time_out(request, now=LATER),
    "expire": lambda request: transitions.expire(request, now=LATER),
    "revoke_links": transitions.revoke_links,
}
FROM: dict[str, tuple[str, ...]] = {
    "claim": (Status.QUEUED,),
    "beat": (Status.RUNNING,),
    "publish": (Status.RUNNING,),
    "release": (Status.RUNNING,),
    "retry_later": (Status.RUNNING,),
    "fail": (Status.RUNNING,),
    "refuse": (Status.QUEUED,),
    "rescue": (Status.RUNNING,),
    "cancel": ACTIVE,
    "time_out": (Status.QUEUED,),
    "expire": (Status.READY,),
    "revoke_links": (Status.READY,),
}
IGNORES_EPOCH = ("cancel", "revoke_links")
CASES = [(name, status) for name in MOVES for status in Status.values]


def state_of_everything(request: FileRequest) -> tuple[Any, ...]:
    return row(request.pk), list(Artifact.objects.values()), list(Notification.objects.values())


@pytest.mark.parametrize(("name", "status"), [case for case in CASES if case[1] in FROM[case[0]]])
def test_a_move_wins_from_its_status_and_seq_grows_by_one(name: str, status: str) -> None:
    request = in_status(status)
    before = row(request.pk)

    assert MOVES[name](request)

    assert row(request.pk)["seq"] == before["seq"] + 1


@pytest.mark.parametrize(("name", "status"), [case for case in CASES if case[1] not in FROM[case[0]]])
def test_a_move_loses_from_every_other_status_and_changes_nothing(name: str, status: str) -> None:
    request = in_status(status)
    before = state_of_everything(request)

    assert not MOVES[name](request)

    assert state_of_everything(request) == before


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("name", [name for name in MOVES if name not in IGNORES_EPOCH])
def test_a_move_loses_with_another_epoch_and_changes_nothing(name: str, step: int) -> None:
    request = in_status(FROM[name][0])
    FileRequest.objects.filter(pk=request.pk).update(epoch=5)
    before = state_of_everything(request)
    request.epoch = 5 + step

    assert not MOVES[name](request)

    assert state_of_everything(request) == before


@pytest.mark.parametrize("name", MOVES)
def test_a_move_of_a_request_that_is_gone_loses(name: str) -> None:
    request = in_status(FROM[name][0])
    FileRequest.objects.filter(pk=request.pk).delete()

    assert not MOVES[name](request)

    assert not FileRequest.objects.exists()


def test_a_claim_takes_the_lease_and_records_its_key_before_the_first_byte() -> None:
    request = queued()
    before = row(request.pk)

    claim = transitions.claim(request, owner="host:7:8", extension="xlsx", runtime=600, now=after(5))

    assert claim is not None
    assert changes(before, row(request.pk)) == {
        "status": "running",
        "epoch": 1,
        "seq": 1,
        "attempts": 1,
        "lease_owner": "host:7:8",
        "lease_expires_at": after(5 + config.LEASE_SECONDS),
        "deadline_at": after(5 + 600),
        "started_at": after(5),
        "phase": "counting",
        "phase_started_at": after(5),
        "progressed_at": after(5),
    }
    artifact = Artifact.objects.get()
    assert (artifact.request_id, artifact.epoch, artifact.state) == (request.pk, claim.epoch, "staged")
    assert artifact.key == claim.key
    assert claim.key.startswith(f"generated/{request.pk}/1-")
    assert claim.key.endswith(".xlsx")


def test_two_claims_of_one_request_never_share_a_key() -> None:
    request, first = claimed()
    assert transitions.release(first)
    request.refresh_from_db()

    _, second = claimed(request)

    assert second.key != first.key
    assert second.epoch > first.epoch


def test_a_claim_loses_before_the_request_is_due() -> None:
    request, claim = claimed()
    assert transitions.retry_later(claim, delay=60, code="unavailable", detail="", now=NOON)
    request.refresh_from_db()

    assert transitions.claim(request, owner="", extension="csv", now=after(59)) is None
    assert transitions.claim(request, owner="", extension="csv", now=after(60)) is not None


@pytest.mark.parametrize("name", ["claim", "refuse", "time_out", "cancel"])
def test_a_request_that_was_made_as_finished_is_never_moved(name: str) -> None:
    request = FileRequest.objects.create(file_type="orders", finished_at=NOON)
    before = state_of_everything(request)

    assert not MOVES[name](request)

    assert state_of_everything(request) == before


def test_a_beat_renews_the_lease_and_reports_the_progress() -> None:
    request, claim = claimed()
    before = row(request.pk)

    assert transitions.renew_lease(claim, Snapshot("writing", 10, 100), began_phase=True, moved=True, now=after(15))

    assert changes(before, row(request.pk)) == {
        "seq": 2,
        "lease_expires_at": after(15 + config.LEASE_SECONDS),
        "phase": "writing",
        "phase_started_at": after(15),
        "progressed_at": after(15),
        "rows_done": 10,
        "rows_total": 100,
    }


def test_a_beat_without_progress_leaves_the_times_of_the_progress_alone() -> None:
    request, claim = claimed()
    before = row(request.pk)

    assert transitions.renew_lease(claim, Snapshot("counting"), began_phase=False, moved=False, now=after(15))

    assert changes(before, row(request.pk)) == {"seq": 2, "lease_expires_at": after(15 + config.LEASE_SECONDS)}


def test_a_beat_again_writes_what_is_new_and_gives_the_row_that_it_made() -> None:
    _, claim = claimed()
    assert transitions.renew_lease(claim, Snapshot("writing", 10, 100), began_phase=True, moved=True, now=after(15))
    seen, before = FileRequest.objects.get(), row(claim.request_id)

    told = transitions.renew_lease(
        claim, Snapshot("writing", 20, 100), began_phase=False, moved=True, seen=seen, progressed_at=after(16)
    )

    now = row(claim.request_id)
    assert changes(before, now) == {
        "seq": 3,
        "lease_expires_at": now["lease_expires_at"],
        "progressed_at": after(16),
        "rows_done": 20,
    }
    assert {name: getattr(told, name) for name in now} == now | {"lease_expires_at": before["lease_expires_at"]}
    assert seen.rows_done == 10


def test_a_lease_that_is_renewed_again_counts_from_the_databases_clock() -> None:
    _, claim = claimed(now=timezone.now())
    seen = FileRequest.objects.get()
    assert transitions.renew_lease(
        claim,
        Snapshot("counting", 1),
        began_phase=False,
        moved=True,
        seen=seen,
        progressed_at=timezone.now() - timedelta(days=1),
    )
    ends = FileRequest.objects.get().lease_expires_at
    assert (
        timedelta(seconds=config.LEASE_SECONDS - 30) < ends - timezone.now() <= timedelta(seconds=config.LEASE_SECONDS)
    )


MEANWHILE: dict[str, Move] = {
    "another beat": lambda seen: transitions.renew_lease(
        held(seen), Snapshot("writing", 15), began_phase=False, moved=True
    ),
    "a cancel": transitions.cancel,
    "a rescue": lambda seen: transitions.rescue(seen, now=LATER),
    "a publish": lambda seen: transitions.publish(held(seen), made()),
    "the end of the row": lambda seen: FileRequest.objects.all().delete(),
}


@pytest.mark.parametrize("name", MEANWHILE)
def test_a_beat_again_writes_nothing_over_what_happened_meanwhile(name: str) -> None:
    _, claim = claimed()
    seen = FileRequest.objects.get()
    assert MEANWHILE[name](seen)
    before = list(FileRequest.objects.values())

    assert (
        transitions.renew_lease(
            claim, Snapshot("writing", 20, 100), began_phase=False, moved=True, seen=seen, progressed_at=after(16)
        )
        is None
    )

    assert list(FileRequest.objects.values()) == before


def test_an_estimate_is_written_with_its_total_and_ends_with_it() -> None:
    ends = (
        lambda claim: transitions.renew_lease(
            claim, Snapshot("writing", 101, None), began_phase=False, moved=True, now=after(9)
        ),
        lambda claim: transitions.publish(claim, made(), now=after(9)),
        lambda claim: transitions.release(claim, now=after(9)),
    )
    for number, end in enumerate(ends):
        request, claim = claimed(file_type=f"orders{number}")
        estimated = Snapshot("writing", 10, 100, rows_estimated=True)
        assert transitions.renew_lease(claim, estimated, began_phase=True, moved=True, now=after(5))
        assert (row(request.pk)["rows_total"], row(request.pk)["rows_estimated"]) == (100, True)
        assert end(claim)
        assert row(request.pk)["rows_estimated"] is False


def test_a_beat_reports_bytes() -> None:
    request, claim = claimed()

    assert transitions.renew_lease(claim, Snapshot("storing", 5, 5, 40, 90), began_phase=True, moved=True, now=after(1))

    written = row(request.pk)
    assert (written["bytes_done"], written["bytes_total"]) == (40, 90)


def test_a_publish_attaches_the_file_and_settles_the_artifact_and_puts_the_mail_into_the_outbox() -> None:
    request, claim = claimed()
    before = row(request.pk)

    assert transitions.publish(claim, made(receipt={"rows": 7, "language": "de"}), now=after(30))

    assert changes(before, row(request.pk)) == {
        "status": "ready",
        "seq": 2,
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
        "lease_owner": "",
        "lease_expires_at": None,
        "deadline_at": None,
    }
    assert Artifact.objects.get().state == "published"
    mail = Notification.objects.get()
    assert (mail.request_id, mail.kind, mail.state) == (request.pk, "ready", "pending")
    assert mail.due_at == after(30 + config.MAIL_DELAY_SECONDS)


def test_a_publish_clears_the_error_of_an_earlier_attempt() -> None:
    request, first = claimed()
    assert transitions.retry_later(first, delay=0, code="unavailable", detail="ConnectionError", now=NOON)
    request.refresh_from_db()
    _, second = claimed(request)

    assert transitions.publish(second, made(), now=after(1))

    written = row(request.pk)
    assert (written["error_code"], written["error_detail"]) == ("", "")


def test_a_publish_is_all_or_nothing() -> None:
    request, claim = claimed()
    before = state_of_everything(request)

    with pytest.raises(TypeError), transaction.atomic():
        transitions.publish(claim, made(receipt={"not JSON": object()}), now=NOON)

    assert state_of_everything(request) == before


def test_giving_back_queues_the_request_at_once_and_returns_the_attempt() -> None:
    request, claim = claimed()
    assert transitions.renew_lease(claim, Snapshot("writing", 10, 100), began_phase=True, moved=True, now=after(1))
    before = row(request.pk)

    assert transitions.release(claim, now=after(2))

    assert changes(before, row(request.pk)) == {
        "status": "queued",
        "seq": 3,
        "attempts": 0,
        "phase": "queued",
        "phase_started_at": None,
        "progressed_at": after(2),
        "rows_done": 0,
        "rows_total": None,
        "lease_owner": "",
        "lease_expires_at": None,
        "deadline_at": None,
    }


def test_a_retry_queues_the_request_for_later_with_the_reason() -> None:
    request, claim = claimed()
    before = row(request.pk)

    assert transitions.retry_later(
        claim, delay=7.5, code="unavailable", detail="ConnectionError at x.py:1", now=after(2)
    )

    assert changes(before, row(request.pk)) == {
        "status": "queued",
        "seq": 2,
        "not_before": after(9.5),
        "error_code": "unavailable",
        "error_detail": "ConnectionError at x.py:1",
        "phase": "queued",
        "phase_started_at": None,
        "progressed_at": after(2),
        "lease_owner": "",
        "lease_expires_at": None,
        "deadline_at": None,
    }


def test_a_failure_ends_the_request_with_its_reason_and_a_mail() -> None:
    request, claim = claimed()
    before = row(request.pk)

    assert transitions.fail(claim, code="no_file", detail="NoFile at x.py:1", now=after(2))

    assert changes(before, row(request.pk)) == {
        "status": "failed",
        "seq": 2,
        "finished_at": after(2),
        "error_code": "no_file",
        "error_detail": "NoFile at x.py:1",
        "lease_owner": "",
        "lease_expires_at": None,
        "deadline_at": None,
    }
    assert list(Notification.objects.values_list("kind", "due_at")) == [
        ("failed", after(2 + config.MAIL_DELAY_SECONDS))
    ]


def test_a_refusal_ends_a_waiting_request_and_fences_whoever_saw_it_waiting() -> None:
    request = queued()
    before = row(request.pk)

    assert transitions.refuse(request, code="permission_lost", now=after(1))

    assert changes(before, row(request.pk)) == {
        "status": "failed",
        "seq": 1,
        "epoch": 1,
        "finished_at": after(1),
        "error_code": "permission_lost",
    }
    assert Notification.objects.get().kind == "failed"


def test_a_rescue_queues_the_request_again_and_fences_the_worker() -> None:
    request, claim = claimed()
    before = row(request.pk)

    assert transitions.rescue(request, now=after(config.LEASE_SECONDS + 1))

    assert changes(before, row(request.pk)) == {
        "status": "queued",
        "seq": 2,
        "epoch": 2,
        "crashes": 1,
        "phase": "queued",
        "phase_started_at": None,
        "progressed_at": after(config.LEASE_SECONDS + 1),
        "lease_owner": "",
        "lease_expires_at": None,
        "deadline_at": None,
    }
    assert not transitions.publish(claim, made(), now=after(config.LEASE_SECONDS + 2))


def test_a_rescue_loses_while_the_lease_holds() -> None:
    request, _ = claimed()

    assert not transitions.rescue(request, now=after(config.LEASE_SECONDS))


def test_a_rescue_loses_when_the_worker_was_heard_of_in_the_meantime() -> None:
    request, claim = claimed()
    assert transitions.renew_lease(
        claim, Snapshot("counting"), began_phase=False, moved=False, now=after(config.LEASE_SECONDS - 1)
    )

    assert not transitions.rescue(request, now=after(config.LEASE_SECONDS + 1))


def test_the_last_crash_that_is_allowed_ends_the_request() -> None:
    request = queued()
    for crash in range(1, config.MAX_CRASHES + 1):
        request, _ = claimed(request, now=after(crash * 1000))
        assert transitions.rescue(request, now=after(crash * 1000 + config.LEASE_SECONDS + 1))
        request.refresh_from_db()
        assert request.crashes == crash
        assert request.status == (Status.FAILED if crash == config.MAX_CRASHES else Status.QUEUED)

    assert request.error_code == "worker_lost"
    assert request.finished_at == after(config.MAX_CRASHES * 1000 + config.LEASE_SECONDS + 1)
    assert Notification.objects.get().kind == "failed"


def test_a_cancel_ends_a_running_request_at_once_and_fences_its_worker() -> None:
    request, claim = claimed()
    before = row(request.pk)

    assert transitions.cancel(request, now=after(3))

    assert changes(before, row(request.pk)) == {
        "status": "cancelled",
        "seq": 2,
        "epoch": 2,
        "finished_at": after(3),
        "lease_owner": "",
        "lease_expires_at": None,
        "deadline_at": None,
    }
    assert not transitions.renew_lease(claim, Snapshot(), began_phase=False, moved=False)
    assert not transitions.publish(claim, made())
    assert not Notification.objects.exists()


def test_a_cancel_wins_over_a_worker_that_claimed_since_the_page_was_loaded() -> None:
    page_has = queued()
    claimed(FileRequest.objects.get(pk=page_has.pk))

    assert transitions.cancel(page_has)


def test_giving_up_ends_a_request_that_waited_too_long() -> None:
    request = queued()
    before = row(request.pk)

    assert transitions.time_out(request, now=after(config.QUEUE_TIMEOUT_SECONDS + 1))

    assert changes(before, row(request.pk)) == {
        "status": "failed",
        "seq": 1,
        "finished_at": after(config.QUEUE_TIMEOUT_SECONDS + 1),
        "error_code": "expired_in_queue",
    }
    assert Notification.objects.get().kind == "failed"


def test_an_expiry_ends_the_links_at_once() -> None:
    request = in_status(Status.READY)
    before = row(request.pk)

    assert transitions.expire(request, now=after(60))

    assert changes(before, row(request.pk)) == {"status": "expired", "seq": 3, "epoch": 2, "expires_at": after(60)}


def test_revoking_the_links_changes_the_epoch_and_nothing_else() -> None:
    request = in_status(Status.READY)
    before = row(request.pk)

    assert transitions.revoke_links(request)

    assert changes(before, row(request.pk)) == {"seq": 3, "epoch": 2}


def test_an_expiry_loses_against_a_revocation_that_it_did_not_see() -> None:
    request = in_status(Status.READY)
    assert transitions.revoke_links(request)

    assert not transitions.expire(request)


def test_the_bell_rings_again_only_after_a_silence() -> None:
    request = queued(woken_at=NOON)

    assert not transitions.mark_woken(request, now=after(config.WAKE_AGAIN_SECONDS))
    assert transitions.mark_woken(request, now=after(config.WAKE_AGAIN_SECONDS + 1))
    assert row(request.pk)["woken_at"] == after(config.WAKE_AGAIN_SECONDS + 1)
    assert not transitions.mark_woken(request, now=after(config.WAKE_AGAIN_SECONDS + 2))


@pytest.mark.parametrize("status", [status for status in Status.values if status != Status.QUEUED])
def test_the_bell_never_rings_for_a_request_that_does_not_wait(status: str) -> None:
    assert not transitions.mark_woken(in_status(status), now=LATER)


def test_the_bell_waits_for_a_request_that_is_due_later() -> None:
    request, claim = claimed()
    assert transitions.retry_later(claim, delay=60, code="unavailable", detail="", now=NOON)

    assert not transitions.mark_woken(request, now=after(59))
    assert transitions.mark_woken(request, now=after(61))


@pytest.mark.parametrize("status", Status.values)
def test_only_an_end_that_a_mail_would_tell_of_is_marked_as_seen_and_once(status: str) -> None:
    request = in_status(status)
    before = row(request.pk)
    counts = status in (Status.READY, Status.FAILED)

    assert transitions.mark_seen(request, now=after(5)) is counts
    assert not transitions.mark_seen(request, now=after(6))

    assert changes(before, row(request.pk)) == ({"seen_at": after(5)} if counts else {})


def test_an_active_twin_is_returned_instead_of_a_second_row() -> None:
    first = queued(dedupe_key="same")

    again, is_new = transitions.enqueue(FileRequest(file_type="orders", dedupe_key="same"))

    assert (again.pk, is_new) == (first.pk, False)
    assert FileRequest.objects.count() == 1


def test_the_transaction_of_the_caller_survives_a_twin() -> None:
    queued(dedupe_key="same")

    with transaction.atomic():
        transitions.enqueue(FileRequest(file_type="orders", dedupe_key="same"))
        other, is_new = transitions.enqueue(FileRequest(file_type="orders", dedupe_key="other"))

    assert is_new
    assert FileRequest.objects.filter(pk=other.pk).exists()


@pytest.mark.parametrize("status", [Status.READY, Status.FAILED, Status.CANCELLED, Status.EXPIRED])
def test_a_twin_that_has_ended_is_in_nobodys_way(status: str) -> None:
    in_status(status, dedupe_key="same")

    assert transitions.enqueue(FileRequest(file_type="orders", dedupe_key="same"))[1]


def test_requests_without_a_dedupe_key_are_never_twins() -> None:
    assert [transitions.enqueue(FileRequest(file_type="orders"))[1] for _ in range(2)] == [True, True]


def test_a_twin_that_ends_while_the_new_row_is_refused_lets_it_in_after_all() -> None:
    twin = queued(dedupe_key="same")

    def end_the_twin(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        try:
            return execute(sql, params, many, context)
        except IntegrityError:
            ended.append(True)
            raise
        finally:
            if ended == [True] and sql.startswith(("ROLLBACK TO", "RELEASE")):
                ended.append(False)
                transitions.cancel(twin)

    ended: list[bool] = []
    with connection.execute_wrapper(end_the_twin):
        request, is_new = transitions.enqueue(FileRequest(file_type="orders", dedupe_key="same"))

    assert is_new
    assert request.pk != twin.pk


def test_a_row_that_is_refused_for_another_reason_is_an_error() -> None:
    request = queued(dedupe_key="one")

    with pytest.raises(IntegrityError):
        transitions.enqueue(FileRequest(pk=request.pk, file_type="orders", dedupe_key="another"))


@pytest.mark.parametrize(
    ("column", "move", "offset"),
    [
        ("lease_expires_at", lambda request: transitions.claim(request, owner="", extension="csv"), 60),
        ("finished_at", transitions.cancel, 0),
        ("woken_at", transitions.mark_woken, 0),
    ],
)
def test_the_clock_is_that_of_the_database(column: str, move: Move, offset: float) -> None:
    request = queued()
    assert move(request)

    moment: datetime = row(request.pk)[column]
    assert abs(moment - timedelta(seconds=offset) - timezone.now()) < timedelta(seconds=2)


def test_notifications_keep_a_message_id_in_the_domain_of_the_site() -> None:
    in_status(Status.READY)

    message_id = Notification.objects.get().message_id

    assert message_id.startswith("<")
    assert message_id.endswith("@exports.example>")


@pytest.mark.django_db(transaction=True)
def test_of_eight_workers_that_claim_at_once_one_wins() -> None:
    for _ in range(6):
        request = queued()
        workers = [FileRequest.objects.get(pk=request.pk) for _ in range(8)]

        claims = at_once(*[lambda each=each: transitions.claim(each, owner="", extension="csv") for each in workers])

        winners = [claim for claim in claims if claim is not None]
        assert len(winners) == 1
        assert Artifact.objects.get(request=request).key == winners[0].key
        assert row(request.pk)["attempts"] == 1


@pytest.mark.django_db(transaction=True)
def test_publish_and_cancel_at_once_have_one_winner_and_leave_one_truth() -> None:
    for _ in range(10):
        request, claim = claimed(queued(requester=None))
        published, cancelled = at_once(
            lambda claim=claim: transitions.publish(claim, made()), lambda request=request: transitions.cancel(request)
        )

        assert [published, cancelled].count(True) == 1
        written = row(request.pk)
        assert written["status"] == ("ready" if published else "cancelled")
        assert bool(written["filehandle"]) is published
        assert Notification.objects.filter(request=request).count() == int(published)
        assert Artifact.objects.get(request=request).state == ("published" if published else "staged")


@pytest.mark.django_db(transaction=True)
def test_rescue_and_publish_at_once_have_one_winner() -> None:
    for _ in range(6):
        request, claim = claimed(queued(requester=None), now=NOON)
        published, rescued = at_once(
            lambda claim=claim: transitions.publish(claim, made()), lambda request=request: transitions.rescue(request)
        )

        assert [published, rescued].count(True) == 1
        assert row(request.pk)["status"] == ("ready" if published else "queued")


@pytest.mark.django_db(transaction=True)
def test_of_eight_twins_at_once_one_is_inserted_and_all_get_that_one() -> None:
    owner = user()
    for number in range(4):
        twins = [FileRequest(file_type="orders", requester=owner, dedupe_key=f"same-{number}") for _ in range(8)]

        outcomes = at_once(*[lambda twin=twin: transitions.enqueue(twin) for twin in twins])

        assert [is_new for _, is_new in outcomes].count(True) == 1
        assert len({request.pk for request, _ in outcomes}) == 1


def test_a_claim_of_a_request_that_nobody_knows_is_none() -> None:
    assert transitions.claim(FileRequest(pk=uuid4()), owner="", extension="csv") is None
