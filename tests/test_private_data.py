"""Private data leaves the app only in the files.

Canaries (marked texts) are put into rows, criteria, exceptions and secrets. Then an export ends in each possible way,
and everything that leaves the app is searched for them: log lines, events, mails, metrics, JSON and pages.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import pytest
from django import forms
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core import mail
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import DatabaseError
from django.db.models import QuerySet
from django.utils import timezone

from exports import housekeeping, services
from exports.contrib.operations import metrics
from exports.exporters import Column, QuerySetExport
from exports.models import FileRequest, Notification
from exports.models.audit import SYSTEM
from exports.models.request import AnyUser
from exports.realtime import events
from exports.worker import loop
from project import logs
from tests.office import people
from tests.office.browsers import HTML, JSON, signed_in, url_of
from tests.servers import wait_until
from tests.shop.exports import registered
from tests.shop.models import Order

pytestmark = pytest.mark.django_db(transaction=True)

CELL, CRITERION, MESSAGE = "canary-of-a-cell", "canary-of-a-criterion", "canary-of-an-exception"
TICKET, QUEUE, METRICS, SITE = (
    f"canary-of-a-{name}-{'0123456789' * 3}" for name in ("ticket", "queue", "token", "site")
)
CANARIES = (CELL, CRITERION, MESSAGE, TICKET, QUEUE, METRICS, SITE)


class RecordingLayer:
    """A channel layer that records the messages sent to it."""

    sent: ClassVar[list[dict[str, Any]]] = []
    extensions: ClassVar[list[str]] = ["groups"]

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.sent.append({"group": group, **events.unseal(message, [group])})


class BrokenStorage(FileSystemStorage):
    def _save(self, name: str, content: ContentFile) -> str:
        raise OSError(5, MESSAGE)


class SecretForm(forms.Form):
    """A form that accepts any text until `is_broken` is set, then none."""

    is_broken: ClassVar[bool] = False
    secret = forms.CharField()

    def clean_secret(self) -> str:
        if self.is_broken:
            raise forms.ValidationError(f"{self.cleaned_data['secret']} is wrong")
        return self.cleaned_data["secret"]


class CanaryExport(QuerySetExport):
    """An export whose second column calls `make` for each row."""

    file_type = "canaries"
    title = "Canaries"
    form_class = SecretForm
    formats = ("csv", "xlsx", "jsonl")
    queue_name = "small"
    columns = (Column("number"), Column("made", source=lambda order: CanaryExport.make(order)))
    make: ClassVar[Callable[[Order], object]] = staticmethod(str)
    is_granted: ClassVar[bool] = True

    def get_queryset(self, user: AnyUser, criteria: Mapping[str, Any]) -> QuerySet[Order]:
        return Order.objects.exclude(number=criteria["secret"]).order_by("pk")

    def has_permission(self, user: AnyUser, criteria: Mapping[str, Any]) -> bool:
        return self.is_granted


def raising(error: Exception) -> Callable[[Order], object]:
    def make(order: Order) -> object:
        raise error

    return make


def cancelling(order: Order) -> str:
    services.cancel(FileRequest.objects.get(), SYSTEM)
    return order.number


def hanging(order: Order) -> str:
    time.sleep(1.0)
    return order.number


STALLING = {"BATCH_ROWS": 1, "STALL_TIMEOUT_SECONDS": 0.3, "HEARTBEAT_SECONDS": 0.1}
# Attributes of the export, settings, whether the form is broken, and the status or error code that follows.
OUTCOMES: dict[str, tuple[dict[str, Any], dict[str, Any], bool, str]] = {
    "success": ({}, {}, False, "ready"),
    "column raises": ({"make": staticmethod(raising(ValueError(MESSAGE)))}, {}, False, "export_failed"),
    "database raises": ({"make": staticmethod(raising(DatabaseError(MESSAGE)))}, {}, False, "export_failed"),
    "failure with retries": ({"make": staticmethod(raising(ConnectionError(MESSAGE)))}, {}, False, "unavailable"),
    "storage fails": ({}, {"STORAGE": "tests.test_private_data.BrokenStorage"}, False, "storage_failed"),
    "cancelled": ({"make": staticmethod(cancelling)}, {"BATCH_ROWS": 1}, False, "cancelled"),
    "stalled": ({"make": staticmethod(hanging)}, STALLING, False, "stalled"),
    "permission lost": ({"is_granted": False}, {}, False, "permission_lost"),
    "criteria invalid": ({}, {}, True, "invalid_criteria"),
}


class LogRecorder(logging.Handler):
    """Records all log lines in both formats of the project; those of the app also in the format of Python."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._formats = [logs.OneLine("%(message)s"), logs.JSONLines()]

    def emit(self, record: logging.LogRecord) -> None:
        own = [logging.Formatter("%(message)s")] if record.name.startswith("exports") else []
        self.lines += [each.format(record) for each in [*own, *self._formats]]


@pytest.fixture
def logged() -> Iterator[LogRecorder]:
    handler, root = LogRecorder(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # SQL at level DEBUG contains values; docs/operations.md says to keep it off.
    logging.getLogger("django.db.backends").setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)
    logging.getLogger("django.db.backends").setLevel(logging.NOTSET)


@pytest.fixture
def owner(settings: LazySettings) -> Iterator[User]:
    settings.SECRET_KEY = SITE
    secrets = {"TICKET_KEYS": [TICKET], "QUEUE_KEYS": [QUEUE], "METRICS_TOKEN": METRICS}
    settings.EXPORTS = {**settings.EXPORTS, **secrets, "MAIL_DELAY_SECONDS": 0.0}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.test_private_data.RecordingLayer"}}
    RecordingLayer.sent.clear()
    Order.objects.bulk_create(Order(number=CELL, note=CELL) for _ in range(3))
    with registered(CanaryExport):
        yield people.user("ada")


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_no_private_data_leaves_the_app(
    logged: LogRecorder, owner: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, outcome: str
):
    attributes, changed_settings, is_broken, end = OUTCOMES[outcome]
    export, _ = services.request_export(owner, "canaries", {"secret": CRITERION}, format="csv")
    for name, value in attributes.items():
        monkeypatch.setattr(CanaryExport, name, value)
    monkeypatch.setattr(SecretForm, "is_broken", is_broken)
    settings.EXPORTS = {**settings.EXPORTS, **changed_settings}
    loop.WorkerLoop("small").run_due()
    export.refresh_from_db()
    assert end in (export.status, export.error_code), export.error_detail
    wait_until(lambda: any(each["export"]["seq"] == export.seq for each in RecordingLayer.sent), seconds=5)
    Notification.objects.update(due_at=timezone.now())
    housekeeping.sweep()
    assert len(mail.outbox) == (export.status in ("ready", "failed"))
    client = signed_in(owner)
    outputs = {
        "log": "\n".join(logged.lines),
        "events": json.dumps(RecordingLayer.sent),
        "mails": "\n".join(each.message().as_string() for each in mail.outbox),
        "metrics": metrics.scrape("")[0].decode(),
        "wire": client.get(url_of("detail", export), headers=JSON).content.decode(),
        "page": client.get(url_of("page", export), headers=HTML).content.decode(),
        "list": client.get("/exports/", headers=HTML).content.decode(),
        "detail for staff": export.error_detail,
    }
    assert logged.lines
    assert len(RecordingLayer.sent) > 1
    found = [(where, canary) for where, text in outputs.items() for canary in CANARIES if canary in text]
    assert found == []


def test_a_canary_in_a_log_line_is_found(logged: LogRecorder, owner: User):
    logging.getLogger("exports.somewhere").warning("%s", CRITERION)
    assert CRITERION in "\n".join(logged.lines)
