"""Claims and ends of runs: few statements, and one logic whether they are sent together or one by one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from exports.models import AuditEntry, FileRequest, Status, prepared, transitions
from tests.shop.requests import after, claimed, made, queued, row, user
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

MESSAGES_OF_A_CLAIM = 3
"""BEGIN, the query of the first request, the owner's lock with the change and COMMIT."""


@contextmanager
def messages() -> Iterator[list[dict[str, Any]]]:
    """Collect what is sent to PostgreSQL. Django logs a COMMIT too where psycopg sends none after that of a claim."""
    with CaptureQueriesContext(connection) as context:
        sent: list[dict[str, Any]] = []
        yield sent
    logged = context.captured_queries
    ended = [number for number, each in enumerate(logged, start=1) if each["sql"].endswith("; COMMIT")]
    sent.extend(each for number, each in enumerate(logged) if number not in ended or each["sql"] != "COMMIT")


def take() -> transitions.Claim:
    attempt = transitions.Attempt("csv", 600)
    claimed = transitions.claim_first("large", ["orders"], owner="host:1:1", attempt=lambda export: attempt)
    assert claimed is not None
    return claimed[1]


def verbs_of(request_id: Any) -> list[str]:
    return list(AuditEntry.objects.filter(export_id=request_id).order_by("pk").values_list("verb", flat=True))


@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite runs in the process.")
def test_a_claim_is_three_messages_and_an_end_is_one(settings: LazySettings) -> None:
    configure(settings, MAX_RUNNING_PER_USER=2)
    for number in range(6):
        queued(counts_toward_quota=True, requested_at=after(number))
    # The first run of a statement makes its SQL, the second prepares it.
    for _ in range(2):
        transitions.fail(take(), code="stalled", detail="")
        transitions.publish(take(), made())

    with messages() as of_the_claim:
        claim = take()
    with messages() as of_the_end:
        assert transitions.publish(claim, made())
    with messages() as of_a_failure:
        assert transitions.fail(take(), code="stalled", detail="")

    assert len(of_the_claim) == MESSAGES_OF_A_CLAIM
    assert len(of_the_end) == 1
    assert len(of_a_failure) == MESSAGES_OF_A_CLAIM + 1
    assert verbs_of(claim.request_id) == ["request", "start", "publish"]


def test_statements_sent_one_by_one_do_the_same(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with psycopg 2, and where the server binds the parameters."""
    configure(settings, MAX_RUNNING_PER_USER=1)
    monkeypatch.setattr(prepared, "is_one_transaction", lambda connection: False)
    first, held_back = (queued(counts_toward_quota=True, requested_at=after(number)) for number in range(2))
    claim = take()
    attempt = transitions.Attempt("csv", None)
    assert transitions.claim_first("large", ["orders"], owner="h:1:2", attempt=lambda export: attempt) is None
    assert row(held_back.pk)["is_held_back"]

    assert transitions.publish(claim, made())
    assert not transitions.publish(claim, made())

    assert verbs_of(first.pk) == ["request", "start", "publish"]
    assert first.notifications.count() == 1
    assert take().request_id == held_back.pk


def test_an_end_that_lost_changes_nothing_and_leaves_no_entry() -> None:
    export, claim = claimed()
    assert transitions.cancel(export)
    assert not transitions.fail(claim, code="stalled", detail="")
    assert row(export.pk)["status"] == Status.CANCELLED
    assert verbs_of(export.pk) == ["request", "start", "cancel"]
    assert not export.notifications.exists()


def test_an_end_is_rolled_back_with_the_transaction_around_it() -> None:
    export, claim = claimed()
    with transaction.atomic():
        assert transitions.fail(claim, code="stalled", detail="")
        transaction.set_rollback(True)
    assert row(export.pk)["status"] == Status.RUNNING
    assert verbs_of(export.pk) == ["request", "start"]


def test_an_error_of_a_statement_rolls_back_the_transaction_around_it() -> None:
    entry = AuditEntry(verb=None)
    committed: list[bool] = []
    with transaction.atomic():
        user("bob")
        transaction.on_commit(lambda: committed.append(True))
        with pytest.raises(IntegrityError):
            prepared.Insert(AuditEntry).bind_row(entry).run()
    assert not committed
    assert not User.objects.exists()


def test_values_of_every_kind_arrive_as_they_are_given() -> None:
    export, claim = claimed(requester=user("O'Neil %s {x}"))
    receipt = {"quote": "';--", "percent": "100 % %s", "umlaut": "ä\u2028", "rows": 7}
    assert transitions.publish(claim, made(receipt=receipt, filename="a'b%s;.csv", retention_seconds=60.5))
    found = FileRequest.objects.get(pk=export.pk)
    assert (found.receipt, found.filename) == (receipt, "a'b%s;.csv")
    assert found.finished_at is not None
    assert found.expires_at is not None
    assert (found.expires_at - found.finished_at).total_seconds() == 60.5
