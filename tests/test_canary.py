"""What nobody may read is planted in rows, criteria, exceptions and secrets; then an export ends in every way, and all
that leaves the app is searched for it: log lines of every level, events, mails, metrics, the wire, the pages."""

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
from exports.models.request import AnyUser
from exports.worker import loop
from project import logs
from tests.office import people
from tests.office.browsers import HTML, JSON, signed_in, url_of
from tests.servers import wait_until
from tests.shop.exports import registered
from tests.shop.models import Order

pytestmark = pytest.mark.django_db(transaction=True)

CELL, CRITERION, WORDS = "canary-of-a-cell", "canary-of-a-criterion", "canary-of-an-exception"
TICKET, QUEUE, METRICS, SITE = (
    f"canary-of-a-{name}-{'0123456789' * 3}" for name in ("ticket", "queue", "token", "site")
)
CANARIES = (CELL, CRITERION, WORDS, TICKET, QUEUE, METRICS, SITE)


class KeepingLayer:
    """A channel layer that keeps what it is sent."""

    sent: ClassVar[list[dict[str, Any]]] = []
    extensions: ClassVar[list[str]] = ["groups"]

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.sent.append({"group": group, **message})


class BrokenStorage(FileSystemStorage):
    def _save(self, name: str, content: ContentFile) -> str:
        raise OSError(5, WORDS)


class SecretForm(forms.Form):
    """It takes every word, and later, when `is_broken`, none any more."""

    is_broken: ClassVar[bool] = False
    secret = forms.CharField()

    def clean_secret(self) -> str:
        if self.is_broken:
            raise forms.ValidationError(f"{self.cleaned_data['secret']} is wrong")
        return self.cleaned_data["secret"]


class CanaryExport(QuerySetExport):
    """Its second column does what a test tells it, once for each row."""

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
    services.cancel(FileRequest.objects.get())
    return order.number


def hanging(order: Order) -> str:
    time.sleep(1.0)
    return order.number


# Each way: what is set on the export, in the settings and on the form before the run, and how it ends.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], bool, str]] = {
    "it succeeds": ({}, {}, False, "ready"),
    "a column raises": ({"make": staticmethod(raising(ValueError(WORDS)))}, {}, False, "export_failed"),
    "the database raises": (
        {"make": staticmethod(raising(DatabaseError(WORDS)))},
        {},
        False,
        "export_failed",
    ),
    "it is to be tried again": ({"make": staticmethod(raising(ConnectionError(WORDS)))}, {}, False, "unavailable"),
    "the storage breaks": ({}, {"STORAGE": "tests.test_canary.BrokenStorage"}, False, "storage_failed"),
    "it is cancelled": ({"make": staticmethod(cancelling)}, {"BATCH_ROWS": 1}, False, "cancelled"),
    "it hangs": (
        {"make": staticmethod(hanging)},
        {"BATCH_ROWS": 1, "STALL_TIMEOUT_SECONDS": 0.3, "HEARTBEAT_SECONDS": 0.1},
        False,
        "stalled",
    ),
    "the permission is lost": ({"is_granted": False}, {}, False, "permission_lost"),
    "the criteria do not hold any more": ({}, {}, True, "invalid_criteria"),
}


class Kept(logging.Handler):
    """Every record of any level, in both formats of the project; those of the app as Python itself formats them too."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._formats = [logs.OneLine("%(message)s"), logs.JSONLines()]

    def emit(self, record: logging.LogRecord) -> None:
        own = [logging.Formatter("%(message)s")] if record.name.startswith("exports") else []
        self.lines += [each.format(record) for each in [*own, *self._formats]]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, root = Kept(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # As the project's own configuration has it, and docs/operations.md tells a host.
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
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.test_canary.KeepingLayer"}}
    KeepingLayer.sent.clear()
    Order.objects.bulk_create(Order(number=CELL, note=CELL) for _ in range(3))
    with registered(CanaryExport):
        yield people.user("ada")


@pytest.mark.parametrize("way", WAYS)
def test_nothing_that_leaves_the_app_has_a_canary_in_it(
    kept: Kept, owner: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, way: str
):
    declared, given, is_broken, end = WAYS[way]
    request, _ = services.request_export(owner, "canaries", {"secret": CRITERION}, format="csv")
    for name, value in declared.items():
        monkeypatch.setattr(CanaryExport, name, value)
    monkeypatch.setattr(SecretForm, "is_broken", is_broken)
    settings.EXPORTS = {**settings.EXPORTS, **given}
    loop.WorkerLoop("small").run_due()
    request.refresh_from_db()
    assert end in (request.status, request.error_code), request.error_detail

    wait_until(lambda: any(each["export"]["seq"] == request.seq for each in KeepingLayer.sent), seconds=5)
    Notification.objects.update(due_at=timezone.now())
    housekeeping.sweep()
    assert len(mail.outbox) == (request.status in ("ready", "failed"))
    client = signed_in(owner)
    said = {
        "log": "\n".join(kept.lines),
        "events": json.dumps(KeepingLayer.sent),
        "mails": "\n".join(each.message().as_string() for each in mail.outbox),
        "metrics": metrics.scrape("")[0].decode(),
        "wire": client.get(url_of("detail", request), headers=JSON).content.decode(),
        "page": client.get(url_of("page", request), headers=HTML).content.decode(),
        "list": client.get("/exports/", headers=HTML).content.decode(),
        "detail for staff": request.error_detail,
    }
    assert kept.lines
    assert len(KeepingLayer.sent) > 1
    found = [(where, canary) for where, text in said.items() for canary in CANARIES if canary in text]
    assert found == []


def test_a_canary_that_is_there_is_found(kept: Kept, owner: User):
    logging.getLogger("exports.somewhere").warning("%s", CRITERION)
    assert CRITERION in "\n".join(kept.lines)


def test_a_mail_server_that_answers_with_an_address_is_not_quoted(
    kept: Kept, owner: User, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
):
    settings.EMAIL_BACKEND = "tests.test_canary.RefusingMail"
    services.request_export(owner, "canaries", {"secret": CRITERION}, format="csv")
    loop.WorkerLoop("small").run_due()
    Notification.objects.update(due_at=timezone.now())
    housekeeping.sweep()
    [waiting] = Notification.objects.all()
    assert (waiting.state, waiting.reason) == ("pending", "ConnectionRefusedError")
    assert WORDS not in "\n".join(kept.lines)


class RefusingMail:
    """A mail backend whose server quotes what it was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes what Django gives every backend."""

    def send_messages(self, messages: list[Any]) -> int:
        raise ConnectionRefusedError(WORDS)
