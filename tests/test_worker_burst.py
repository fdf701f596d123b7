"""A burst of exports of one user must not delay the export of another user."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test import Client

from exports.models import FileRequest, Status
from tests.office import people, rows
from tests.office.browsers import JSON, signed_in
from tests.office.exports import open_office
from tests.office.processes import Worker
from tests.servers import Valkey, wait_until

pytestmark = [pytest.mark.servers, pytest.mark.both_databases, pytest.mark.django_db(transaction=True)]

BURST, AT_ONCE = 200, 8
WITHIN = 5.0
PATIENCE = 60.0
FORM = "/exports/new/report/"


@pytest.fixture(autouse=True)
def office(valkey: Valkey, settings: LazySettings, tmp_path: Path) -> Iterator[None]:
    settings.EXPORTS = {**settings.EXPORTS, "WORK_DIR": str(tmp_path / "work")}
    with open_office():
        yield


@pytest.fixture
def owner(transactional_db: None) -> User:
    return people.user("owner")


def ask(client: Client, number: int) -> tuple[int, str | None]:
    """Request a new report. Return the status and the Retry-After header."""
    posted = {"month": str(number % 12 + 1), "note": f"number {number}", "format": "csv"}
    try:
        response = client.post(FORM, posted, headers=JSON)
        return response.status_code, response.headers.get("Retry-After")
    finally:
        connection.close()


def burst(user: User) -> list[tuple[int, str | None]]:
    """BURST requests of one person, AT_ONCE at a time."""
    clients = [signed_in(user) for _ in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(lambda number: ask(clients[number % AT_ONCE], number), range(BURST)))
    connections.close_all()
    return answers


def begun(user: User) -> FileRequest | None:
    return FileRequest.objects.filter(requester=user, started_at__isnull=False).first()


def wait_of(user: User) -> float:
    """How many seconds the one export of this person waited for its worker."""
    wait_until(lambda: begun(user), seconds=PATIENCE)
    request: Any = begun(user)
    return (request.started_at - request.requested_at).total_seconds()


@pytest.mark.slow
def test_without_quotas_a_burst_does_not_delay_another_user(owner: User, settings: LazySettings) -> None:
    limits = ("MAX_QUEUED_PER_USER", "MAX_RUNNING_PER_USER", "MAX_PER_USER_PER_DAY")
    settings.EXPORTS = {**settings.EXPORTS, **dict.fromkeys(limits)}
    other = people.user("other")
    with Worker(), Worker():
        with ThreadPoolExecutor(1) as beside:
            answers = beside.submit(burst, owner)
            wait_until(lambda: FileRequest.objects.filter(requester=owner).count() > BURST // 4, seconds=PATIENCE)
            assert ask(signed_in(other), 0)[0] == 202
            waited = wait_of(other)
        assert {status for status, _ in answers.result()} == {202}
        print(f"waited {waited:.2f} s; {FileRequest.objects.filter(status=Status.QUEUED).count()} were waiting then")
        assert waited < WITHIN
        wait_until(lambda: not FileRequest.objects.exclude(status=Status.READY).exists(), seconds=PATIENCE)
    assert FileRequest.objects.filter(requester=owner).count() == BURST
    assert set(FileRequest.objects.values_list("attempts", flat=True)) == {1}


def test_a_queue_full_of_one_users_exports_runs_the_other_user_first(owner: User, settings: LazySettings) -> None:
    for number in range(BURST):
        rows.queued(owner, criteria=f"month=4&note={number}")
    other = people.user("other")
    with Worker():
        assert ask(signed_in(other), 0)[0] == 202
        assert wait_of(other) < WITHIN
        assert FileRequest.objects.filter(requester=owner, status=Status.QUEUED).exists()


def test_with_quotas_a_burst_is_refused_with_retry_after(owner: User, settings: LazySettings) -> None:
    other = people.user("other")
    answers = burst(owner)
    refused = [seconds for status, seconds in answers if status == 429]
    assert {status for status, _ in answers} == {202, 429}
    assert len(refused) == BURST - 20
    assert all(seconds is not None and int(seconds) >= 1 for seconds in refused)
    with Worker():
        assert ask(signed_in(other), 0)[0] == 202
        assert wait_of(other) < WITHIN
