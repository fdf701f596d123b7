"""STATE: what it contains for each status, and what it never contains."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from django.utils import timezone, translation

from exports import exceptions, services
from exports.exceptions import ExportError
from exports.models import FileRequest, Status, transitions
from exports.models.clock import Now
from exports.models.progress import Snapshot
from exports.signing import Ticket
from exports.state import ERROR_MESSAGES, UNKNOWN_ERROR_MESSAGE, serialize
from tests.shop.requests import after, claimed, in_status, made, queued, user

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

ACTIVE = (Status.QUEUED, Status.RUNNING)
ENDED_WITHOUT_FILE = (Status.FAILED, Status.CANCELLED, Status.EXPIRED)


def address(request: FileRequest, name: str = "") -> str:
    return f"/exports/{request.pk}/{name}"


def test_the_state_of_a_running_export() -> None:
    request, claim = claimed(filename="orders.csv", description="Orders of Ada", requested_at=after(-60.5))
    assert transitions.renew_lease(claim, Snapshot("writing", 0, 200), began_phase=True, progressed=True, now=after(10))
    assert transitions.renew_lease(
        claim, Snapshot("writing", 50, 200), began_phase=False, progressed=True, now=after(15)
    )
    request.refresh_from_db()

    assert serialize(request) == {
        "id": str(request.pk),
        "seq": 3,
        "attempt": 1,
        "resumed": False,
        "status": "running",
        "phase": "writing",
        "file_type": "orders",
        "title": "Orders of Ada",
        "label": "",
        "format": "csv",
        "requested_at": "2026-06-01T11:58:59.500000Z",
        "finished_at": None,
        "took_seconds": None,
        "progress": {
            "rows_done": 50,
            "rows_total": 200,
            "rows_total_is_estimate": False,
            "fraction": 0.2475,
            "rows_per_second": 10.0,
            "eta_seconds": 15.0,
            "queue_position": None,
            "wait_seconds": None,
            "unserved_queue": None,
        },
        "worker": {"silent_seconds": 0.0, "lease_seconds": 60.0},
        "file": None,
        "error": None,
        "sends_mail": True,
        "receipt": {},
        "urls": {
            "self": address(request),
            "page": address(request, "page/"),
            "edit": f"/exports/new/orders/?from={request.pk}",
            "seen": None,
            "cancel": address(request, "cancel/"),
            "retry": None,
            "delete": None,
            "download": None,
            "ticket": None,
            "ticket_expires_at": None,
        },
    }


def test_a_state_that_is_read_tells_how_long_the_worker_has_been_silent_by_the_databases_clock() -> None:
    request, _ = claimed(now=timezone.now())
    FileRequest.objects.update(lease_expires_at=Now() + timedelta(seconds=60 - 25))
    with patch.object(timezone, "now", lambda: after(0)):
        worker = serialize(FileRequest.objects.timed().get())["worker"]
    assert worker == {"silent_seconds": pytest.approx(25, abs=1), "lease_seconds": 60.0}
    assert transitions.cancel(request)
    assert serialize(FileRequest.objects.timed().get())["worker"] is None


def test_an_estimated_total_is_marked() -> None:
    request, claim = claimed()
    estimated = Snapshot("writing", 50, 200, rows_estimated=True)
    assert transitions.renew_lease(claim, estimated, began_phase=True, progressed=True, now=after(10))
    request.refresh_from_db()
    told = serialize(request)["progress"]
    assert (told["rows_total"], told["rows_total_is_estimate"], told["fraction"]) == (200, True, 0.2475)


def test_the_state_of_a_ready_file() -> None:
    request, claim = claimed()
    assert transitions.publish(claim, made(receipt={"rows": 7, "sha256": "ab" * 32}), now=after(30))
    request.refresh_from_db()

    state = serialize(request)

    assert state["file"] == {
        "name": "orders.csv",
        "size": 3,
        "content_type": "text/csv",
        "sha256": "ab" * 32,
        "expires_at": "2026-06-03T12:00:30Z",
        "public_until": None,
    }
    assert state["progress"] == {
        "rows_done": 7,
        "rows_total": 7,
        "rows_total_is_estimate": False,
        "fraction": 1.0,
        "rows_per_second": None,
        "eta_seconds": None,
        "queue_position": None,
        "wait_seconds": None,
        "unserved_queue": None,
    }
    assert (state["phase"], state["finished_at"]) == ("done", "2026-06-01T12:00:30Z")
    assert state["receipt"] == {"rows": 7, "sha256": "ab" * 32}


def test_the_example_in_the_documentation_has_the_same_keys() -> None:
    text = (Path(__file__).parents[1] / "docs" / "protocol.md").read_text()
    example = json.loads(re.search(r"```json\n(\{.*?\n\})\n```", text, re.DOTALL)[1])
    state = serialize(in_status(Status.RUNNING))
    assert keys_of(state) == keys_of(example)


def keys_of(state: Any) -> Any:
    return {name: keys_of(value) for name, value in state.items()} if isinstance(state, dict) else None


@pytest.mark.parametrize("status", Status.values)
def test_each_status_has_the_urls_that_apply(status: str) -> None:
    state = serialize(in_status(status))

    assert json.loads(json.dumps(state)) == state
    assert (state["urls"]["cancel"] is not None) is (status in ACTIVE)
    assert (state["urls"]["retry"] is not None) is (status in ENDED_WITHOUT_FILE)
    assert (state["urls"]["download"] is not None) is (status == Status.READY)
    assert (state["file"] is not None) is (status == Status.READY)
    assert (state["error"] is not None) is (status == Status.FAILED)
    assert (state["progress"]["fraction"] == 1.0) is (status == Status.READY)
    assert (state["progress"]["queue_position"] == 1) is (status == Status.QUEUED)
    assert (state["finished_at"] is None) is (status in ACTIVE)


def test_the_state_contains_no_secret_and_no_detail_for_staff() -> None:
    # Words that no hexadecimal id contains by chance.
    request, claim = claimed(criteria="city=Timbuktu", requester=user("zoe"), dedupe_key="d" * 64)
    assert transitions.fail(claim, code="stalled", detail="Stalled at secret.py:47")
    request.refresh_from_db()
    text = json.dumps(serialize(request))
    hidden = ["Timbuktu", "secret.py", "d" * 64, "host:1:1", claim.key, "zoe", "@"]
    assert [word for word in hidden if word in text] == []
    ready = in_status(Status.READY)
    assert ready.filehandle.name not in json.dumps(serialize(ready))


# Errors


def test_an_error_message_is_in_the_language_of_the_requester() -> None:
    request = in_status(Status.FAILED, requester_language="de")
    with translation.override("fr"):
        state = serialize(request)
        assert translation.get_language() == "fr"
    message = "Es war nicht rechtzeitig ein Worker frei. Bitte versuchen Sie es erneut."
    assert state["error"] == {"code": "expired_in_queue", "message": message}


def test_an_unknown_error_code_has_a_general_message() -> None:
    request, claim = claimed()
    assert transitions.fail(claim, code="of_the_host", detail="")
    request.refresh_from_db()
    assert serialize(request)["error"] == {"code": "of_the_host", "message": str(UNKNOWN_ERROR_MESSAGE)}


def test_every_error_code_has_a_message() -> None:
    named = {
        each.code
        for each in vars(exceptions).values()
        if isinstance(each, type) and issubclass(each, ExportError) and each.code != ExportError.code
    }
    # Only the author of an export can fix these; users see UNKNOWN_ERROR_MESSAGE.
    assert named - ERROR_MESSAGES.keys() <= {"lost_cells"}


def test_a_second_attempt_is_marked_as_resumed() -> None:
    request, claim = claimed()
    assert transitions.retry_later(claim, delay=0, code="unavailable", detail="", now=after(0))
    request.refresh_from_db()
    assert serialize(request)["resumed"] is False
    request, _ = claimed(request, now=after(1))
    assert (serialize(request)["resumed"], serialize(request)["attempt"]) == (True, 2)


def test_an_export_whose_worker_was_lost_is_marked_as_resumed() -> None:
    request, _ = claimed()
    assert transitions.rescue(request, now=after(3600))
    request.refresh_from_db()
    assert serialize(request)["resumed"] is True


def test_the_title_is_the_file_type_if_there_is_no_description() -> None:
    assert serialize(queued(file_type="login_events"))["title"] == "Login events"


def test_an_unknown_format_has_progress_too() -> None:
    request, claim = claimed(format="dbf")
    assert transitions.renew_lease(claim, Snapshot("finishing", 5, 5, 1, 2), began_phase=True, progressed=True)
    request.refresh_from_db()
    assert serialize(request)["progress"]["fraction"] == 0.96


# Tickets


def test_the_owner_of_a_ready_file_gets_a_ticket_for_a_minute() -> None:
    request = in_status(Status.READY)
    state = serialize(request)

    mine = services.state_for(request.requester, request)

    ticket = Ticket.read(mine["urls"]["ticket"].split("/")[-2])
    assert (ticket.request_id, ticket.epoch) == (request.pk, request.epoch)
    assert ticket.user_id == str(request.requester.pk)
    assert 58 <= ticket.expires - timezone.now().timestamp() <= 60
    assert mine["urls"]["ticket_expires_at"].endswith("Z")
    assert {**mine, "urls": None} == {**state, "urls": None}
    assert state["urls"]["ticket"] is None


@pytest.mark.parametrize("status", [status for status in Status.values if status != Status.READY])
def test_without_a_file_there_is_no_ticket(status: str) -> None:
    request = in_status(status)
    assert services.state_for(request.requester, request)["urls"]["ticket"] is None


def test_users_who_may_not_have_the_file_get_no_ticket() -> None:
    request = in_status(Status.READY)
    viewer = user("eve")
    viewer.user_permissions.set(Permission.objects.filter(codename="view_filerequest"))
    for reader in (user("bob"), viewer, AnonymousUser()):
        assert services.state_for(reader, request)["urls"]["ticket"] is None
