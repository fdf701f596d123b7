"""The log of the site and of an export: what a log collector gets, and what it must never get."""

import io
import json
import logging
import logging.config
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured

from exports import services, signing
from exports.models import FileRequest
from exports.models.audit import SYSTEM
from exports.realtime import events
from exports.worker import loop
from project import environment, logs
from tests.office import people, rows
from tests.office.exports import open_office
from tests.office.processes import Worker
from tests.servers import Valkey, wait_until

CRITERION, CELL, FAILURE = "a-secret-criterion", "a-secret-cell", "a-secret\nin two lines"

with_rows = pytest.mark.django_db(transaction=True)


# The log of an export


class Lines(io.StringIO):
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def events(self) -> list[dict[str, Any]]:
        return [line for line in self.all() if "event" in line]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Yield what this process logs from here on, down to DEBUG, as JSON lines."""
    stream, root = Lines(), logging.getLogger()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JSONLines())
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # As in the configuration of the project.
    logging.getLogger("django.db.backends").setLevel(logging.INFO)
    with open_office():
        yield stream
    root.removeHandler(handler)
    root.setLevel(before)
    logging.getLogger("django.db.backends").setLevel(logging.NOTSET)


@pytest.fixture
def owner(transactional_db: None) -> User:
    owner = people.user("owner")
    people.user(CELL)
    return owner


def request_report(owner: User) -> FileRequest:
    return services.request_export(owner, "report", {"month": 4, "note": CRITERION}, format="csv")[0]


@with_rows
def test_an_export_logs_each_status_with_its_figures(lines: Lines, owner: User):
    export = request_report(owner)
    loop.WorkerLoop("small").run_due()
    queued, running, ready = lines.events()
    assert [line["event"] for line in (queued, running, ready)] == ["export.request", "export.start", "export.publish"]
    assert [line["actor"] for line in (queued, running)] == [f"user {owner.pk}", "system worker"]
    assert {line["request"] for line in (queued, running, ready)} == {str(export.pk)}
    assert [line["epoch"] for line in (queued, running, ready)] == [0, 1, 1]
    assert {line["queue_name"] for line in (queued, running, ready)} == {"small"}
    row = rows.fresh(export)
    assert ready["seconds"] == pytest.approx((row.finished_at - row.started_at).total_seconds(), abs=0.001)
    assert (ready["rows"], ready["bytes"], ready["attempt"]) == (2, row.size, 1)
    assert (ready["level"], ready["logger"]) == ("INFO", "exports.audit")


@with_rows
def test_a_worker_process_logs_only_json(valkey: Valkey, owner: User, settings: LazySettings, tmp_path: Path):
    settings.EXPORTS = {**settings.EXPORTS, "WORK_DIR": str(tmp_path / "work")}
    with open_office(), Worker("small", LOGGING=logs.configuration("DEBUG", format="json")) as worker:
        export = request_report(owner)
        wait_until(lambda: rows.fresh(export).status == "ready", describe=worker.words)
        worker.stop()
        output = worker.words()
    records = [json.loads(line) for line in output.splitlines() if line != "worker small: ready"]
    events = [line["event"] for line in records if line.get("request") == str(export.pk) and "event" in line]
    assert events == ["export.start", "export.publish"]
    assert not [secret for secret in (CRITERION, CELL) if secret in output]


@with_rows
def test_revoked_links_are_logged_and_progress_is_not(lines: Lines, owner: User):
    running = rows.running(owner)
    before = lines.events()
    events.send_state(running)
    assert lines.events() == before
    export = request_report(owner)
    loop.WorkerLoop("small").run_due()
    services.revoke(rows.fresh(export), SYSTEM)
    assert [line["event"] for line in lines.events()][-1] == "export.revoke"
    assert lines.events()[-1]["epoch"] == 2


@with_rows
def test_in_development_a_worker_without_settings_for_logs_shows_the_traceback(
    valkey: Valkey, owner: User, settings: LazySettings, tmp_path: Path
):
    settings.EXPORTS = {**settings.EXPORTS, "WORK_DIR": str(tmp_path / "work")}
    criteria = {"until": "never", "log": str(tmp_path / "nowhere" / "log")}
    with open_office(), Worker("small", DEBUG=True) as worker:
        export = services.request_export(owner, "long", criteria, format="csv")[0]
        wait_until(lambda: rows.fresh(export).status == "failed", describe=worker.words)
        worker.stop()
        output = worker.words()
    assert "Traceback (most recent call last):" in output
    assert "    with Path(path).open(" in output
    assert f"FileNotFoundError: [Errno 2] No such file or directory: '{criteria['log']}'" in output


# The formatters


def record(message: str, *args: Any, error: Exception | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("exports", logging.ERROR, "here.py", 1, message, args, exc_info)


def as_json(message: str, *args: Any, error: Exception | None = None) -> dict[str, Any]:
    return json.loads(logs.JSONLines().format(record(message, *args, error=error)))


@pytest.fixture
def error() -> Exception:
    try:
        raise ValueError(FAILURE)
    except ValueError as error:
        return error


def test_the_request_and_epoch_of_a_message_become_fields():
    line = as_json("request %s epoch %d: %s", "an-id", 3, "storage_full")
    assert (line["request"], line["epoch"]) == ("an-id", 3)
    assert line["message"] == "request an-id epoch 3: storage_full"
    assert as_json("request %s: worker lost", "an-id")["request"] == "an-id"
    assert "request" not in as_json("swept: %s", "nothing")


def test_json_has_the_type_and_places_of_an_exception(error: Exception):
    line = as_json("It failed", error=error)
    assert line["exception"] == "ValueError"
    assert line["trace"][-1].endswith("in error")
    assert "a-secret" not in json.dumps(line)


def test_text_has_the_type_and_places_of_an_exception(error: Exception):
    failed = record("It failed", error=error)
    # Another handler has cached the whole traceback on the record.
    assert "a-secret" in logging.Formatter().format(failed)
    line = logs.OneLine("%(levelname)s %(message)s").format(failed)
    assert line.startswith("ERROR It failed | ValueError | ")
    assert line.endswith("in error")
    assert "a-secret" not in line


def test_in_development_the_whole_traceback_follows_indented(error: Exception):
    text = logs.OneLine("%(levelname)s %(message)s", exceptions="full").format(record("It failed", error=error))
    assert text.startswith("ERROR It failed\n    Traceback (most recent call last):\n")
    assert text.endswith("\n    ValueError: a-secret\n    in two lines")
    assert all(line.startswith("    ") for line in text.splitlines()[1:])


def test_json_has_the_whole_traceback_if_it_is_wanted(error: Exception):
    line = json.loads(logs.JSONLines(exceptions="full").format(record("It failed", error=error)))
    assert line["traceback"].endswith("ValueError: a-secret\nin two lines")


@pytest.mark.parametrize("formatter", [logs.JSONLines(), logs.OneLine("%(message)s")])
def test_signed_links_are_removed(formatter: logging.Formatter):
    ticket = signing.Ticket(FileRequest().pk, 1, "7", 2_000_000_000).sign()
    link = signing.PublicLink(FileRequest().pk, 1, 2_000_000_000).sign()
    for signed in (ticket, link, link.replace(":", "%3A")):
        assert "Not Found: /a/(signed)/" in formatter.format(record("Not Found: %s", f"/a/{signed}/"))


# The configuration


@pytest.mark.parametrize("format", logs.FORMATS)
def test_the_environment_selects_the_format(format: str, error: Exception):
    assert environment.choice(format, logs.FORMATS, variable="LOG_FORMAT") == format
    with pytest.raises(ImproperlyConfigured, match="LOG_FORMAT must be one of text, json, not 'xml'"):
        environment.choice("xml", logs.FORMATS, variable="LOG_FORMAT")
    configuration = logs.configuration("INFO", format=format)
    assert configuration["handlers"]["stderr"]["formatter"] == format
    configurator = logging.config.DictConfigurator({"version": 1})
    formatter = configurator.configure_formatter(configuration["formatters"][format])
    assert "ValueError" in formatter.format(record("It failed", error=error))


@pytest.mark.parametrize("name", ["django.db.backends", "boto3", "botocore", "s3transfer", "urllib3"])
def test_queries_and_signed_requests_are_never_logged(name: str):
    assert logs.configuration("DEBUG")["loggers"][name]["level"] == "INFO"
