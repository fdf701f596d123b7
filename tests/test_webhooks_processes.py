"""Housekeeping as a process: it sends webhooks by itself, and a message of one that was killed is sent by the next."""

import signal
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from exports.models import Webhook, WebhookDelivery
from tests.office import people, rows
from tests.office.processes import Process
from tests.office.receiver import Receiver, status
from tests.servers import wait_until
from tests.shop.runs import configure

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("office")]


class Housekeeper(Process):
    """`manage.py exports housekeep`"""

    ready = "housekeeper: ready"

    def command(self) -> list[str]:
        return [sys.executable, "manage.py", "exports", "housekeep"]


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    configure(settings, WEBHOOKS=True, WEBHOOK_ALLOWED_NETWORKS=["127.0.0.0/8"], WEBHOOK_TIMEOUT_SECONDS=30)
    with Receiver() as found:
        yield found


@pytest.fixture
def someone(transactional_db: None) -> User:
    return people.user("someone")


def test_a_message_of_a_killed_process_is_sent_by_the_next_with_the_same_id(receiver: Receiver, someone: User) -> None:
    let_go = threading.Event()

    def answer_late(handler: BaseHTTPRequestHandler) -> None:
        let_go.wait(30)
        status(204)(handler)

    receiver.answers.append(answer_late)
    Webhook.objects.create(owner=someone, url=receiver.url)
    with Housekeeper() as housekeeper:
        rows.ready(someone)
        wait_until(lambda: len(receiver.received) == 1)
        housekeeper.stop(signal.SIGKILL)
        let_go.set()
        assert WebhookDelivery.objects.get().state == WebhookDelivery.State.SENDING
        WebhookDelivery.objects.update(due_at=timezone.now() - timedelta(seconds=1))
        housekeeper.start()
        wait_until(lambda: WebhookDelivery.objects.get().state == WebhookDelivery.State.SENT)
    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1
