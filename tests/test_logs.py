"""Structured logs: what a collector gets of an export, and what it must never get."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured

from exports import audit, services, signing
from exports.models import FileRequest
from exports.worker import loop
from project import environment, logs
from tests.office import people, rows
from tests.office.exports import ReportExport, open_office
from tests.office.processes import Worker
from tests.servers import Valkey, wait_until

CRITERION, CELL, FAILURE = "a-criterion-nobody-may-read", "a-cell-nobody-may-read", "a-row-in-an-exception"


@pytest.fixture(autouse=True)
def office() -> Iterator[None]:
    with open_office():
        yield


class Lines(io.StringIO):
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def events(self) -> list[dict[str, Any]]:
        return [line for line in self.all() if "event" in line]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What the process logs from here on, down to DEBUG, as the JSON lines of the project."""
    stream, root = Lines(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JSONLines())
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # As the project's own configuration has it.
    logging.getLogger("django.db.backends").setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)
    logging.getLogger("django.db.backends").setLevel(logging.NOTSET)


@pytest.fixture
def owner(transactional_db: None) -> User:
    owner = people.user("owner")
    people.user(CELL)
    return owner


def asked(owner: User) -> FileRequest:
    return services.request_export(owner, "report", {"month": 4, "note": CRITERION}, format="csv")[0]


@pytest.mark.django_db(transaction=True)
def test_an_export_leaves_a_line_for_each_status_with_its_numbers(lines: Lines, owner: User):
    request = asked(owner)
    loop.work_off("small")
    queued, running, ready = lines.events()
    assert [line["event"] for line in (queued, running, ready)] == ["export.queued", "export.running", "export.ready"]
    assert {line["request"] for line in (queued, running, ready)} == {str(request.pk)}
    assert [line["epoch"] for line in (queued, running, ready)] == [0, 1, 1]
    assert {line["queue_name"] for line in (queued, running, ready)} == {"small"}
    row = rows.fresh(request)
    assert ready["seconds"] == pytest.approx((row.finished_at - row.started_at).total_seconds(), abs=0.001)
    assert (ready["rows"], ready["bytes"], ready["attempt"]) == (2, row.size, 1)
    assert (ready["level"], ready["logger"]) == ("INFO", "exports.audit")


@pytest.mark.django_db(transaction=True)
def test_neither_criteria_nor_cells_nor_the_words_of_an_exception_are_in_any_line(
    lines: Lines, owner: User, monkeypatch: pytest.MonkeyPatch
):
    asked(owner)
    loop.work_off("small")

    def broken(*_: Any) -> None:
        raise ValueError(FAILURE)

    monkeypatch.setattr(ReportExport, "get_queryset", broken)
    asked(owner)
    loop.work_off("small")
    assert [line["event"] for line in lines.events()][-1] == "export.failed"
    text = lines.getvalue()
    assert len(lines.all()) > 6
    assert not [secret for secret in (CRITERION, CELL, FAILURE, "month=4") if secret in text]


@pytest.mark.django_db(transaction=True)
def test_a_real_worker_logs_json_and_nothing_else(valkey: Valkey, owner: User, settings: LazySettings, tmp_path: Path):
    settings.EXPORTS = {**settings.EXPORTS, "WORK_DIR": str(tmp_path / "work")}
    with Worker("small", LOGGING=logs.configuration("DEBUG", format="json")) as worker:
        request = asked(owner)
        wait_until(lambda: rows.fresh(request).status == "ready", describe=worker.words)
        worker.stop()
        words = worker.words()
    told = [json.loads(line) for line in words.splitlines() if line != "worker small: ready"]
    events = [line["event"] for line in told if line.get("request") == str(request.pk) and "event" in line]
    assert events == ["export.running", "export.ready"]
    assert not [secret for secret in (CRITERION, CELL) if secret in words]


@pytest.mark.django_db(transaction=True)
def test_the_end_of_a_run_is_one_line_and_revoking_its_links_is_another_of_its_own(lines: Lines, owner: User):
    request = asked(owner)
    loop.work_off("small")
    ends = [line for line in lines.all() if "ready" in line["message"]]
    assert [line["event"] for line in ends] == ["export.ready"]
    # Another process would revoke them, which has not said that the file is ready.
    audit._logged.clear()
    services.revoke(rows.fresh(request))
    assert [line["event"] for line in lines.events()][3:] == ["export.links_changed"]
    assert lines.events()[-1]["epoch"] == 2


@pytest.mark.django_db(transaction=True)
def test_progress_is_not_logged_again_and_again(lines: Lines, owner: User):
    request = rows.running(owner)
    for _ in range(5):
        audit.note(request)
    assert [line["event"] for line in lines.events()] == ["export.running"]


def test_a_message_that_names_a_request_and_its_epoch_has_them_as_fields():
    line = formatted("request %s epoch %d: %s", "an-id", 3, "storage_full")
    assert (line["request"], line["epoch"]) == ("an-id", 3)
    assert line["message"] == "request an-id epoch 3: storage_full"
    assert formatted("request %s: worker lost", "an-id")["request"] == "an-id"
    assert "request" not in formatted("swept: %s", "nothing")


def test_of_an_exception_the_type_and_the_places_are_said_and_not_the_message():
    try:
        raise ValueError(FAILURE)
    except ValueError as error:
        line = formatted("It failed", exc_info=(type(error), error, error.__traceback__))
    assert line["exception"] == "ValueError"
    assert line["trace"][-1].endswith("in test_of_an_exception_the_type_and_the_places_are_said_and_not_the_message")
    assert FAILURE not in json.dumps(line)


@pytest.mark.parametrize("formatter", [logs.JSONLines(), logs.OneLine("%(message)s")])
def test_a_ticket_in_an_address_is_not_logged(formatter: logging.Formatter):
    ticket = signing.Ticket(rows.FileRequest().pk, 1, "7", 2_000_000_000).sign()
    line = formatter.format(record("Not Found: %s", f"/exports/file/{ticket}/"))
    assert ticket not in line
    assert "Not Found: /exports/file/(signed)/" in line


def test_lines_are_json_or_text_as_the_environment_says():
    assert logs.configuration("INFO", format="json")["handlers"]["stderr"]["formatter"] == "json"
    assert environment.choice("json", logs.FORMATS, variable="LOG_FORMAT") == "json"
    with pytest.raises(ImproperlyConfigured, match="LOG_FORMAT must be one of text, json, not 'xml'"):
        environment.choice("xml", logs.FORMATS, variable="LOG_FORMAT")


def formatted(message: str, *args: Any, exc_info: Any = None) -> dict[str, Any]:
    return json.loads(logs.JSONLines().format(record(message, *args, exc_info=exc_info)))


def record(message: str, *args: Any, exc_info: Any = None) -> logging.LogRecord:
    return logging.LogRecord("exports", logging.INFO, "here.py", 1, message, args, exc_info)
