"""A process that is frozen in the middle of a move does not hold up everybody else for as long as that lasts."""

import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection

from exports.models import FileRequest, transitions
from tests.shop.requests import claimed
from tests.shop.runs import configure

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]


@pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has no server that could end a transaction")
def test_the_locks_of_a_move_that_does_not_go_on_are_gone_after_a_lease(settings: Any, monkeypatch: pytest.MonkeyPatch):
    configure(settings, LEASE_SECONDS=0.5)
    request, claim = claimed()
    is_frozen, thaw, raised = threading.Event(), threading.Event(), []

    def freeze(*arguments: Any) -> None:
        is_frozen.set()
        thaw.wait(30)

    def fail() -> None:
        try:
            transitions.fail(claim, code="export_failed", detail="")
        except DatabaseError as error:
            raised.append(error)
        finally:
            connection.close()

    monkeypatch.setattr(transitions, "_notify", freeze)
    worker = threading.Thread(target=fail)
    worker.start()
    assert is_frozen.wait(30)
    assert transitions.cancel(request), "it waits for the lock no longer than a lease"
    thaw.set()
    worker.join(30)

    assert len(raised) == 1
    assert FileRequest.objects.get(pk=request.pk).status == "cancelled"
